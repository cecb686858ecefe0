//! The user half checked for the other architecture: types of the C library differ there, and a cast that is right here may be none.
//!
//! Nothing is run, and the kernel half is not built: its code is the same for all machines of one byte order.

use std::process::Command;

use anyhow::Result;

use crate::{process, project, setup};

/// The architecture that this machine is not: Rust's name of it, its C compiler, and the Debian packages that have that.
const fn other() -> (&'static str, &'static str, [&'static str; 2]) {
    if cfg!(target_arch = "aarch64") {
        (
            "x86_64-unknown-linux-gnu",
            "x86_64-linux-gnu-gcc",
            ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
        )
    } else {
        (
            "aarch64-unknown-linux-gnu",
            "aarch64-linux-gnu-gcc",
            ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        )
    }
}

/// `cargo check` for it. The kernel half's toolchain builds Rust's own libraries for it, as no other need have them: some minutes the first
/// time, seconds from then on.
pub(crate) fn check() -> Result<()> {
    let (target, compiler, packages) = other();
    setup::toolchain()?;
    if process::find(compiler).is_none() {
        setup::apt::install(
            &packages,
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
