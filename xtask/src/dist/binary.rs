//! The program itself, optimised for size, linked with an old C library, and checked to be so.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    libc::{self, Libc},
    release::{NAME, Release, target},
};
use crate::{process, project, vm::numbers};

/// The newest glibc that the program may ask for: Debian 11's, and no newer than Ubuntu 20.10's.
const GLIBC: [u64; 2] = [2, 31];

/// Bytes that it may have.
const LIMIT: u64 = 10_000_000;

/// Libraries that every system with glibc has.
const LIBRARIES: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// The built program.
#[derive(Debug)]
pub(crate) struct Binary {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The newest glibc that a symbol of it needs, such as `2.30`.
    pub(super) glibc: String,
}

/// Builds and checks it.
pub(super) fn build(release: &Release) -> Result<Binary> {
    let libc = libc::get(release)?;
    let target = target()?;
    process::step(
        "cargo build --profile dist",
        "for size, and for old systems; takes minutes",
    );
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--locked", "--package", "dockernet"])
        .args(["--profile", "dist"])
        // With a target named, the flags are not those of build scripts, which run on this machine.
        .args(["--target", target])
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&libc).join("\x1f"))
        .env(
            format!("CFLAGS_{}", target.replace('-', "_")),
            format!("--sysroot={}", libc.root.display()),
        );
    process::run(&mut cargo)?;
    check(
        project::target()
            .join(target)
            .join("dist")
            .join("dockernet-trace"),
    )
}

fn flags(libc: &Libc) -> Vec<String> {
    let mut flags = vec![format!("-Clink-arg=--sysroot={}", libc.root.display())];
    for folder in &libc.libraries {
        // gcc looks into folders beside itself first, sysroot or not.
        flags.push(format!("-Clink-arg=-B{}", folder.display()));
        flags.push(format!("-Clink-arg=-L{}", folder.display()));
    }
    // Functions that came out the same are kept once. Only the linker that Rust brings for this machine knows how.
    if cfg!(target_arch = "x86_64") {
        flags.push("-Clink-arg=-Wl,--icf=all".to_owned());
    }
    // Where it was built is nobody's business, and would make two builds differ. (The kernel half's line numbers still tell.)
    let home = env::var_os("CARGO_HOME").map_or_else(
        || {
            env::home_dir()
                .unwrap_or_else(|| PathBuf::from("/root"))
                .join(".cargo")
        },
        PathBuf::from,
    );
    for (folder, name) in [
        (home.join("registry").join("src"), "/registry"),
        (project::root().to_owned(), "/dockernet"),
    ] {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    flags
}

/// Demands that it is small, and that it needs nothing which an old system does not have.
fn check(path: PathBuf) -> Result<Binary> {
    let size = path
        .metadata()
        .with_context(|| format!("{} was not built", path.display()))?
        .len();
    ensure!(
        size <= LIMIT,
        "{NAME} has {size} bytes, more than {LIMIT}: see what came in (cargo tree, cargo bloat)"
    );
    let versions = read(&path, "--version-info")?;
    let newest = newest_glibc(&versions).context("the program asks for no glibc at all")?;
    ensure!(
        numbers(&newest) <= GLIBC.to_vec(),
        "{NAME} asks for glibc {newest}, which {}.{} has not",
        GLIBC[0],
        GLIBC[1]
    );
    let dynamic = read(&path, "--dynamic")?;
    let foreign: Vec<&str> = needed(&dynamic)
        .filter(|library| !LIBRARIES.contains(library))
        .collect();
    ensure!(
        foreign.is_empty(),
        "{NAME} needs libraries that not every system has: {}",
        foreign.join(", ")
    );
    let told = process::output(Command::new(&path).arg("--version"))?;
    process::note(&format!(
        "{told}: {:.2} MB, needs glibc {newest}",
        size as f64 / 1e6
    ));
    Ok(Binary {
        path,
        glibc: newest,
    })
}

/// What `readelf` tells. Without it there is no linker either.
fn read(path: &Path, what: &str) -> Result<String> {
    process::output(
        Command::new("readelf")
            .args([what, "--wide"])
            .arg(path)
            .env("LC_ALL", "C"),
    )
}

/// The newest version of glibc that a symbol needs: `… Name: GLIBC_2.30  Flags: none  Version: 12`.
fn newest_glibc(versions: &str) -> Option<String> {
    versions
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_"))
        .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        .max_by_key(|version| numbers(version))
        .map(str::to_owned)
}

/// Its libraries: `0x… (NEEDED)  Shared library: [libc.so.6]`.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.split(']').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readelf_tells() {
        let versions = "Version needs section '.gnu.version_r' contains 2 entries:\n\
            \x20 0x0010:   Name: GLIBC_2.9  Flags: none  Version: 12\n\
            \x20 0x0020:   Name: GLIBC_2.30  Flags: none  Version: 11\n\
            \x20 0x0030:   Name: GLIBC_PRIVATE  Flags: none  Version: 10\n\
            \x20 0x0040:   Name: GCC_4.2.0  Flags: none  Version: 9";
        assert_eq!(newest_glibc(versions).as_deref(), Some("2.30"));
        assert_eq!(newest_glibc("Name: GCC_3.0"), None);
        let dynamic = " 0x01 (NEEDED)  Shared library: [libgcc_s.so.1]\n 0x01 (NEEDED)  Shared library: [libz.so.1]\n \
                       0x1d (RUNPATH) Library runpath: [/x]";
        assert_eq!(
            needed(dynamic).collect::<Vec<_>>(),
            ["libgcc_s.so.1", "libz.so.1"]
        );
    }
}
