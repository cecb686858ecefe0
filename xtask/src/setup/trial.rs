//! A trial: builds `core` and a program of one function for the bpf target, and links them.
//!
//! Versions alone do not tell whether a linker reads a compiler's bitcode ("Invalid record"); this does.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::linker;
use crate::{process, project};

const MANIFEST: &str = r#"[package]
name = "trial"
version = "0.0.0"
edition = "2024"
[workspace]
[[bin]]
name = "trial"
path = "trial.rs"
"#;

const PROGRAM: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
#[unsafe(link_section = "socket")]
pub extern "C" fn trial(_: *const u8) -> u64 { 7 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"#;

/// Builds and links the trial program with the toolchain in `sysroot` and the linker of this machine.
pub(crate) fn run(sysroot: &Path) -> Result<()> {
    process::step(
        &format!("trying {} with bpf-linker", sysroot.display()),
        "a linker older than the compiler's LLVM fails",
    );
    let folder = project::target().join("xtask").join("trial");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("Cargo.toml"), MANIFEST))
        .and_then(|()| fs::write(folder.join("trial.rs"), PROGRAM))
        .with_context(|| format!("{} could not be written", folder.display()))?;
    let target = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    let mut cargo = Command::new(sysroot.join("bin/cargo"));
    cargo
        .current_dir(&folder)
        .args([
            "build",
            "--release",
            "-Z",
            "build-std=core",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(folder.join("target"))
        // As aya-build does, so that the trial fails where the real build would.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Cdebuginfo=2\x1f-Clink-arg=--btf",
        )
        .env("RUSTC", sysroot.join("bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path()?);
    process::quiet(&mut cargo, Duration::from_secs(600))
}

/// `PATH` with cargo's own folder first, as `rustup run` has it.
fn path() -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = linker::cargo_bin()
        .into_iter()
        .chain(env::split_paths(&path))
        .collect();
    env::join_paths(folders).context("cargo's folder cannot stand in PATH")
}
