//! Builds the kernel half and leaves it in `OUT_DIR` for `include_bytes!`.
//!
//! The toolchain: what `DOCKERNET_BPF_TOOLCHAIN` names, else `dockernet-bpf` (made by `cargo xtask setup`, which
//! has tried it with the linker), else `nightly` with rust-src. So plain cargo and editors need no settings.
//! With `AYA_BUILD_SKIP=1` (machines without such a toolchain) an empty object is used.

mod strip;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=DOCKERNET_BPF_TOOLCHAIN");
    println!("cargo:rerun-if-env-changed=AYA_BUILD_SKIP");
    let object =
        PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR not set")?).join("dockernet-ebpf");
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|value| value == "1") {
        return fs::write(&object, []).context("writing the empty kernel object");
    }
    let manifest = env::var("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR not set")?;
    println!("cargo:rerun-if-changed={manifest}/../dockernet-common/src");
    let toolchain = toolchain()?;
    // SAFETY: this process has one thread.
    unsafe {
        // Lets a compiler that is not a nightly build `core`. Set here, not for the outer cargo, as build scripts of
        // many crates watch it: they would be rebuilt whenever it comes and goes.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // aya-build makes a warning of each line, and cargo repeats those at every run.
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    aya_build::build_ebpf(
        [Package {
            name: "dockernet-ebpf",
            root_dir: &format!("{manifest}/../dockernet-ebpf"),
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .context(
        "the kernel half did not build; if its toolchain is at fault, run: cargo xtask setup",
    )?;
    let bytes = fs::read(&object).context("reading the kernel half")?;
    fs::write(&object, strip::stripped(&bytes)?).context("writing the kernel half")
}

/// The rustup toolchain that builds the kernel half.
fn toolchain() -> Result<String> {
    if let Ok(name) = env::var("DOCKERNET_BPF_TOOLCHAIN") {
        return Ok(name);
    }
    for name in ["dockernet-bpf", "nightly"] {
        if has_source_of_core(name) {
            return Ok(name.to_owned());
        }
    }
    bail!("no toolchain can build the kernel half; run: cargo xtask setup")
}

/// True when rustup knows toolchain `name` and it can build `core`.
fn has_source_of_core(name: &str) -> bool {
    Command::new("rustup")
        .args(["run", name, "rustc", "--print", "sysroot"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|sysroot| {
            Path::new(sysroot.trim())
                .join("lib/rustlib/src/rust/library/core")
                .is_dir()
        })
}
