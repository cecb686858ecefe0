//! The Rust toolchain of the kernel half, always known to rustup as `dockernet-bpf`.
//!
//! The name is a link to whatever this machine can offer, so that the build script, editors and every verb agree.
//! Choice: what is already here and passes a trial; a dated nightly from rustup; Debian's `rustc-web`.

use std::{
    env, fs,
    path::PathBuf,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use super::{apt, linker, trial};
use crate::process;

/// The link's name; dockernet's build script knows it too.
pub(crate) const NAME: &str = "dockernet-bpf";

/// A dated nightly: its LLVM is the linker's, which the newest nightly's need not be.
const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's current Rust, with `core`'s source, in `/usr`.
const DEBIAN: [&str; 3] = ["rustc-web", "rust-web-src", "cargo-web"];

/// What a network that refuses slowly may cost.
const NETWORK: Duration = Duration::from_secs(400);

/// The oldest compiler that builds the workspace (`rust-version`).
const OLDEST: (u32, u32) = (1, 90);

/// A toolchain that could build the kernel half.
#[derive(Debug)]
struct Candidate {
    sysroot: PathBuf,
    version: Version,
}

/// What `rustc -vV` says that matters here.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    release: (u32, u32),
    llvm: u32,
}

/// Finds or installs a toolchain and a linker that work together. Quick when that was done before.
pub(crate) fn ensure() -> Result<()> {
    if let Some(name) = env::var_os("DOCKERNET_BPF_TOOLCHAIN") {
        // A person's own choice: only asked whether it is there.
        return process::output(
            Command::new("rustup")
                .arg("run")
                .arg(&name)
                .args(["rustc", "-V"]),
        )
        .map(drop)
        .context("DOCKERNET_BPF_TOOLCHAIN names a toolchain that does not work");
    }
    if process::find("rustup").is_none() {
        bail!("rustup is missing; install it as https://rustup.rs says");
    }
    if fingerprint().is_some_and(|now| fs::read_to_string(stamp()).is_ok_and(|then| then == now)) {
        return Ok(());
    }

    let mut here = present();
    if linker::is_here() {
        for candidate in &here {
            match trial::run(&candidate.sysroot) {
                Ok(()) => return adopt(candidate),
                Err(error) => {
                    process::note(&format!("that one does not do: {}", process::gist(&error)));
                }
            }
        }
    }
    here.retain(|candidate| candidate.version.llvm <= linker::LLVM);
    let chosen = match here.into_iter().next() {
        Some(candidate) => candidate,
        None => {
            let fresh = obtain()?;
            if linker::is_here() && trial::run(&fresh.sysroot).is_ok() {
                return adopt(&fresh);
            }
            fresh
        }
    };
    linker::install()?;
    trial::run(&chosen.sysroot).context(
        "the kernel half's toolchain was installed, but it does not build a trial program",
    )?;
    adopt(&chosen)
}

/// Makes `candidate` the one that builds use, and remembers that it works.
fn adopt(candidate: &Candidate) -> Result<()> {
    process::step(
        &format!(
            "linking toolchain {NAME} to {}",
            candidate.sysroot.display()
        ),
        "builds of the kernel half use this name",
    );
    let mut link = Command::new("rustup");
    link.args(["toolchain", "link", NAME])
        .arg(&candidate.sysroot);
    process::quiet(&mut link, NETWORK)?;
    let stamp = stamp();
    if let Some(folder) = stamp.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} could not be made", folder.display()))?;
    }
    fs::write(&stamp, fingerprint().unwrap_or_default())
        .with_context(|| format!("{} could not be written", stamp.display()))
}

/// Toolchains that are here already, with `core`'s source, the likeliest first.
fn present() -> Vec<Candidate> {
    let named = [NAME, "nightly", NIGHTLY].into_iter().filter_map(sysroot);
    let mut found: Vec<Candidate> = Vec::new();
    for sysroot in named.chain([PathBuf::from("/usr")]) {
        if found.iter().all(|other| other.sysroot != sysroot) {
            found.extend(candidate(sysroot));
        }
    }
    // A compiler newer than the linker seldom passes, and a trial takes half a minute.
    found.sort_by_key(|candidate| candidate.version.llvm > linker::LLVM);
    found
}

/// Where rustup keeps toolchain `name`, links followed.
fn sysroot(name: &str) -> Option<PathBuf> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", name, "rustc", "--print", "sysroot"]);
    let path = process::output(&mut rustc).ok()?;
    fs::canonicalize(path).ok()
}

fn candidate(sysroot: PathBuf) -> Option<Candidate> {
    let told = process::output(Command::new(sysroot.join("bin/rustc")).arg("-vV")).ok()?;
    let version = parse_version(&told)?;
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    let usable =
        version.release >= OLDEST && source.is_dir() && sysroot.join("bin/cargo").is_file();
    usable.then_some(Candidate { sysroot, version })
}

/// Installs a toolchain: rustup's where its server answers, else Debian's.
fn obtain() -> Result<Candidate> {
    process::step(
        &format!("rustup toolchain install {NIGHTLY}"),
        "the kernel half needs a compiler that can build `core`",
    );
    let mut install = Command::new("rustup");
    install.args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    install.args(["--component", "rust-src", "--component", "clippy"]);
    match process::quiet(&mut install, NETWORK) {
        Ok(()) => {
            return sysroot(NIGHTLY)
                .and_then(candidate)
                .with_context(|| format!("rustup installed {NIGHTLY}, but it does not answer"));
        }
        Err(error) => process::note(&format!(
            "rustup cannot; trying the distribution's: {error:#}"
        )),
    }
    apt::install(&DEBIAN, "a compiler for the kernel half")?;
    candidate(PathBuf::from("/usr")).with_context(|| {
        format!(
            "{} are installed, but /usr/bin/rustc is too old or has no source of `core`",
            DEBIAN.join(", ")
        )
    })
}

/// What must stay the same for an earlier trial to hold: the compiler and the linker.
fn fingerprint() -> Option<String> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", NAME, "rustc", "-vV"]);
    let told = process::output(&mut rustc).ok()?;
    let linker = linker::path()?;
    let meta = linker.metadata().ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "{told}\n{} {} {}\n",
        linker.display(),
        meta.len(),
        changed.as_nanos()
    ))
}

/// Where the fingerprint of the last good trial is kept, for all clones of this user.
fn stamp() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".cache"));
    cache.join("dockernet").join("bpf-toolchain")
}

/// True when the linked toolchain has `tool`, such as `cargo-clippy`.
pub(crate) fn has_tool(tool: &str) -> bool {
    sysroot(NAME).is_some_and(|sysroot| sysroot.join("bin").join(tool).is_file())
}

fn parse_version(told: &str) -> Option<Version> {
    let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name));
    let mut release = field("release: ")?.split(['.', '-']);
    let mut llvm = field("LLVM version: ")?.split('.');
    Some(Version {
        release: (release.next()?.parse().ok()?, release.next()?.parse().ok()?),
        llvm: llvm.next()?.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let told = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4";
        let version = parse_version(told);
        assert_eq!(
            version,
            Some(Version {
                release: (1, 97),
                llvm: 22
            })
        );
        assert!(version.is_some_and(|version| version.release >= OLDEST));
        assert_eq!(parse_version("rustc 1.63.0\nrelease: 1.63.0"), None);
        assert_eq!(parse_version("release: x\nLLVM version: y"), None);
    }
}
