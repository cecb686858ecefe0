//! `fuzz`: the targets of tests/fuzz, built for libFuzzer with the compiler that is there.
//!
//! cargo-fuzz would ask for a nightly toolchain, for sanitizers that safe code has little use for. Coverage instrumentation is
//! an LLVM pass that any rustc runs.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process, project};

const TARGETS: &[&str] = &[
    "btf",
    "config",
    "conntrack",
    "docker",
    "ebtables",
    "iptables",
    "nft",
    "packet",
    "proc",
    "recording",
];

/// What cargo-fuzz gives rustc, without the sanitizer.
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

fn tar() -> Command {
    let mut tar = Command::new("tar");
    tar.arg("--zstd");
    tar
}

/// Packs a folder's files so that the same files give the same archive.
fn pack(folder: &Path, archive: &Path) -> Result<()> {
    if let Some(parent) = archive.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    process::run(
        tar()
            .env("ZSTD_CLEVEL", "19")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
            .args(["--numeric-owner", "-cf"])
            .arg(archive)
            .arg("-C")
            .arg(folder)
            .arg("."),
    )
}

/// Builds all, then runs each for some minutes, beginning with what tests/fuzz/corpus holds; with `keep` that is written anew. What was
/// found is below the target folder. Of 0 minutes there is only the rest.
pub(crate) fn verb(names: &[String], minutes: u32, keep: bool) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("there is no fuzz target {unknown}: {}", TARGETS.join(", "));
    }
    let folder = project::root().join("tests/fuzz");
    let target = project::target().join("fuzz");
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    process::step("fuzz targets", "tests/fuzz, with coverage counters");
    // The kernel half is not parsed here. A target given by name keeps the flags away from build scripts.
    process::run(
        project::cargo()
            .current_dir(&folder)
            .env("AYA_BUILD_SKIP", "1")
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", FLAGS)
            .args(["build", "--release", "--target", &machine]),
    )?;
    process::step("seeds", "from the tests' own");
    let seeds = target.join("seeds");
    process::run(
        project::cargo()
            .args(["test", "--quiet", "--package", "dockernet-tests"])
            .args(["--test", "hostile"])
            .env("DOCKERNET_SEEDS", &seeds),
    )?;
    let mut found = Vec::new();
    for name in TARGETS
        .iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == *target))
    {
        process::step(name, &format!("{minutes} min"));
        let (corpus, finds) = (
            target.join("corpus").join(name),
            target.join("finds").join(name),
        );
        for folder in [&corpus, &finds] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let archive = folder.join("corpus").join(format!("{name}.tar.zst"));
        if archive.is_file() {
            process::run(tar().arg("-xf").arg(&archive).arg("-C").arg(&corpus))?;
        }
        let program = target.join(&machine).join("release").join(name);
        let limits = ["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"];
        if minutes > 0 {
            let mut run = Command::new(&program);
            run.arg(format!("-max_total_time={}", u64::from(minutes) * 60))
                .args(limits)
                .arg(format!("-artifact_prefix={}/", finds.display()))
                .args([corpus.clone(), seeds.join(name)]);
            if process::run(&mut run).is_err() {
                found.push(format!("{name}: see {}", finds.display()));
                continue;
            }
        }
        if keep {
            let kept = target.join("kept").join(name);
            // Of an earlier run; there may be none.
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir_all(&kept).with_context(|| format!("making {}", kept.display()))?;
            process::run(
                Command::new(&program)
                    .arg("-merge=1")
                    .args(limits)
                    .args([&kept, &corpus]),
            )?;
            pack(&kept, &archive)?;
        }
    }
    if !found.is_empty() {
        bail!("fuzzing found something: {}", found.join("; "));
    }
    Ok(())
}
