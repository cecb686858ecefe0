//! `test`: unit tests, then the lab's tests as root, and one line with the sum of both.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader, IsTerminal as _},
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use crate::{build, cross, dist, process, project, setup};

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs everything, also after a failure.
pub(crate) fn verb(full: bool, filter: &[OsString]) -> Result<()> {
    if full {
        cross::check()?;
    }
    let mut lab = lab_cargo(full)?;
    if full {
        lab.env("DOCKERNET_TEST_FULL", "1");
    }
    // What was told of each fault; a full run's is kept.
    let page = if full {
        "docs/confusion.md"
    } else {
        "target/confusion.md"
    };
    lab.env("DOCKERNET_CONFUSION", project::root().join(page));
    let seed = seed();
    eprintln!("xtask: DOCKERNET_TEST_SEED={seed} (give it to repeat this choice of cases)");
    lab.env("DOCKERNET_TEST_SEED", seed);
    lab.args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--package",
        "dockernet-tests",
    ]);

    let mut unit = project::cargo();
    unit.args(["test", "--locked", "--no-fail-fast", "--workspace"]);
    unit.args([
        "--exclude",
        "dockernet-ebpf",
        "--exclude",
        "dockernet-tests",
    ]);
    if full {
        unit.env("DOCKERNET_TEST_FULL", "1");
    }

    let mut sum = Sum::default();
    process::step("unit tests", "they need no rights");
    let unit_passed = tests(&mut unit, filter, &mut sum)?;
    process::step("lab tests", "a real Docker host in namespaces of its own");
    let mut lab_passed = tests(&mut lab, filter, &mut sum)?;
    if full && filter.is_empty() {
        process::step("faults", "with the privileges that a service keeps");
        let mut few = lab_cargo(full)?;
        few.env("DOCKERNET_HELPER", "1").args([
            "test",
            "--locked",
            "--package",
            "dockernet-tests",
            "--test",
            "faults",
        ]);
        lab_passed &= tests(&mut few, filter, &mut sum)?;
    }

    println!(
        "{} passed, {} failed, {} skipped",
        sum.passed, sum.failed, sum.ignored
    );
    if !unit_passed || !lab_passed {
        bail!("tests failed");
    }
    if project::is_ci() && filter.is_empty() && sum.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Builds the tracer and sets the lab up, with `every` engine there is or two; gives a cargo whose programs run as root
/// and know where both are.
pub(crate) fn lab_cargo(every: bool) -> Result<Command> {
    build::verb(true)?;
    lab_cargo_for(&project::tracer(), every)
}

fn lab_cargo_for(tracer: &Path, every: bool) -> Result<Command> {
    let engines = setup::lab(every)?;
    let mut cargo = project::cargo();
    for engine in &engines {
        eprintln!(
            "xtask: Docker engine {}: {}",
            engine.name,
            engine.bin.display()
        );
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into))
        .chain(setup::engines::extra_path());
    let path = env::join_paths(path).context("a folder's name cannot stand in PATH")?;
    cargo
        .env("DOCKERNET_TRACE", tracer)
        .env("DOCKERNET_ENGINES", setup::engines::list(&engines))
        .env("PATH", &path);
    if !process::is_root() {
        // Cargo itself stays the user's: only the programs it runs become root's.
        let mut runner = OsString::from("sudo --preserve-env env --unset=SUDO_COMMAND PATH=");
        runner.push(&path);
        process::sudo()?;
        cargo.env(runner_variable(), runner);
    }
    Ok(cargo)
}

/// Runs one of the lab's programs that measure, built with optimisations, with root's rights, on the program as people
/// install it.
pub(crate) fn lab_program(name: &str, args: &[String]) -> Result<()> {
    let mut cargo = lab_cargo_for(&dist::program()?, false)?;
    process::run(
        cargo
            .args([
                "run",
                "--quiet",
                "--locked",
                "--release",
                "--package",
                "dockernet-tests",
                "--bin",
                name,
                "--",
            ])
            .args(args),
    )
}

/// The variable that names the program cargo runs others with, for this machine's target.
fn runner_variable() -> String {
    let arch = env::consts::ARCH.to_ascii_uppercase();
    let libc = if cfg!(target_env = "musl") {
        "MUSL"
    } else {
        "GNU"
    };
    format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_{libc}_RUNNER")
}

/// Runs one `cargo test`, shows its output and adds its results to `sum`.
fn tests(cargo: &mut Command, filter: &[OsString], sum: &mut Sum) -> Result<bool> {
    cargo.arg("--");
    if std::io::stdout().is_terminal() {
        cargo.arg("--color=always");
    }
    cargo
        .args(filter)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cargo test could not be started")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .context("reading cargo test's output")?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        add(sum, &text);
        line.clear();
    }
    Ok(child.wait().context("waiting for cargo test")?.success())
}

/// Adds a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn add(sum: &mut Sum, line: &str) {
    if !line.starts_with("test result:") {
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    for pair in words.windows(2) {
        let [count, name] = pair else { continue };
        let Ok(count) = count.parse::<u64>() else {
            continue;
        };
        match *name {
            "passed;" => sum.passed += count,
            "failed;" => sum.failed += count,
            "ignored;" => sum.ignored += count,
            _ => {}
        }
    }
}

/// Which share of the cases runs: given, or another one for each day and commit.
fn seed() -> String {
    if let Ok(seed) = env::var("DOCKERNET_TEST_SEED") {
        return seed;
    }
    let mut git = Command::new("git");
    git.current_dir(project::root())
        .args(["rev-parse", "--short=8", "HEAD"]);
    let commit = process::output(&mut git)
        .ok()
        .and_then(|hash| u64::from_str_radix(hash.get(..8)?, 16).ok())
        .unwrap_or_default();
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs() / 86_400);
    (commit ^ (days << 32)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added() {
        let mut sum = Sum::default();
        add(
            &mut sum,
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        add(
            &mut sum,
            "test result: \u{1b}[31mFAILED\u{1b}[m. 2 passed; 3 failed; 0 ignored; 0 measured",
        );
        add(&mut sum, "test passed; 9 failed; ok");
        assert_eq!(
            sum,
            Sum {
                passed: 7,
                failed: 3,
                ignored: 1
            }
        );
    }
}
