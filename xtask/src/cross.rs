//! The user half checked for the other architecture: types of the C library differ there, and a cast that is right here may be none.
//!
//! Nothing is run, and the kernel half is not built: its code is the same for all machines of one byte order.

use std::{env, process::Command};

use anyhow::Result;

use crate::{process, project, setup};

/// Rust's and the C compiler's name of the architecture that this machine is not.
fn other() -> (&'static str, &'static str) {
    if env::consts::ARCH == "aarch64" {
        ("x86_64-unknown-linux-gnu", "x86_64-linux-gnu-gcc")
    } else {
        ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc")
    }
}

/// `cargo check` for it. The kernel half's toolchain builds Rust's own libraries for it, as no other need have them: some minutes the first
/// time, seconds from then on.
pub(crate) fn check() -> Result<()> {
    let (target, compiler) = other();
    setup::toolchain()?;
    if process::find(compiler).is_none() {
        let package = compiler.replace('_', "-");
        let architecture = if target.starts_with("aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        setup::apt::install(
            &[
                &format!("gcc-{}", package.trim_end_matches("-gcc")),
                &format!("libc6-dev-{architecture}-cross"),
            ],
            "C code of dependencies is compiled for the other architecture",
        )?;
    }
    process::step(
        &format!("cargo check --target {target}"),
        "the user half on the other architecture",
    );
    let mut check = Command::new("rustup");
    check
        .current_dir(project::root())
        .args(["run", setup::toolchain::NAME, "cargo", "check", "--locked"])
        .args(["--package", "dockernet", "--target", target])
        .args(["-Z", "build-std", "--target-dir"])
        .arg(project::target().join("xtask").join("cross"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("AYA_BUILD_SKIP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings")
        .env(format!("CC_{}", target.replace('-', "_")), compiler);
    process::run(&mut check)
}
