//! `bpf-linker`, which makes one object of the compiler's bitcode.

use std::{env, path::PathBuf};

use anyhow::Result;

use super::apt;
use crate::{process, project};

/// Major version of the LLVM the linker is built with. A compiler's must not be newer.
pub(crate) const LLVM: u32 = 22;

const VERSION: &str = "0.13.0";

/// Debian's folder of that LLVM.
const DEBIAN: &str = "/usr/lib/llvm-22";

/// Where the linker is, by `PATH` and cargo's own folder.
pub(crate) fn path() -> Option<PathBuf> {
    process::find("bpf-linker")
        .or_else(|| Some(cargo_bin()?.join("bpf-linker")).filter(|file| file.is_file()))
}

/// True when there is a linker; whether it works only a trial tells.
pub(crate) fn is_here() -> bool {
    path().is_some()
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("bin"))
}

/// Builds and installs the linker, LLVM's development files included where apt has them.
pub(crate) fn install() -> Result<()> {
    let prefix = match env::var_os("LLVM_PREFIX") {
        Some(prefix) => PathBuf::from(prefix),
        None => {
            let folder = PathBuf::from(DEBIAN);
            // Polly comes in a package of its own; without it linking fails late.
            let complete =
                folder.join("bin/llvm-config").exists() && folder.join("lib/libPolly.a").exists();
            if !complete {
                apt::install(
                    &["llvm-22-dev", "libpolly-22-dev"],
                    "bpf-linker is built against LLVM; elsewhere set LLVM_PREFIX to an LLVM 22",
                )?;
            }
            folder
        }
    };
    process::step(
        &format!("cargo install bpf-linker {VERSION}"),
        "it links the kernel half; takes a minute or two",
    );
    let mut cargo = project::cargo();
    cargo
        .args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{LLVM}"),
        ])
        .env("LLVM_PREFIX", prefix)
        .env_remove("CARGO_TARGET_DIR");
    process::quiet(&mut cargo, std::time::Duration::from_secs(1800))
}
