//! `lint`: everything that is checked without running the program. Warnings are denied.

use std::process::Command;

use anyhow::Result;

use crate::{cross, docs, licenses, process, project, setup};

/// Formatting, clippy for both halves, documentation, generated pages, licences; `with_cross`: the other architecture too.
pub(crate) fn verb(with_cross: bool) -> Result<()> {
    setup::toolchain()?;
    process::step("cargo fmt --check", "one style");
    process::run(project::cargo().args(["fmt", "--all", "--", "--check"]))?;

    process::step("cargo clippy", "the user half, tests included");
    process::run(
        project::cargo()
            .args([
                "clippy",
                "--locked",
                "--workspace",
                "--exclude",
                "dockernet-ebpf",
            ])
            .args(["--all-targets", "--", "--deny", "warnings"]),
    )?;
    kernel_half()?;

    process::step("cargo doc", "links in the documentation hold");
    process::run(
        project::cargo()
            .args([
                "doc",
                "--locked",
                "--workspace",
                "--exclude",
                "dockernet-ebpf",
            ])
            .args(["--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;

    docs::check()?;
    if with_cross {
        cross::check()?;
    }

    if process::find("cargo-deny").is_some() {
        process::step(
            "cargo deny check",
            "licences, bans and sources of dependencies",
        );
        return process::run(
            project::cargo().args(["deny", "check", "licenses", "bans", "sources"]),
        );
    }
    licenses::verb()
}

/// Clippy for the bpf target, where the toolchain has it: Debian's has not.
fn kernel_half() -> Result<()> {
    if !setup::toolchain::has_tool("cargo-clippy") {
        process::note("no clippy for the kernel half: its toolchain comes without");
        return Ok(());
    }
    process::step("cargo clippy", "the kernel half");
    let mut clippy = Command::new("rustup");
    clippy
        .current_dir(project::root())
        .args(["run", setup::toolchain::NAME, "cargo", "clippy", "--locked"])
        .args(["--package", "dockernet-ebpf", "--bins", "--release"])
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .arg("--target-dir")
        .arg(project::target().join("xtask").join("kernel-clippy"))
        .args(["--", "--deny", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        );
    process::run(&mut clippy)
}
