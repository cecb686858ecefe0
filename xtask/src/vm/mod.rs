//! `vm`: a stock Debian kernel in an emulated machine, with our tools and a Docker engine inside.

mod cpio;
mod guest;
mod image;
mod kernel;
pub(crate) mod matrix;
mod modules;
mod outcome;
mod programs;
mod qemu;
pub(crate) mod system;
mod table;

use std::{
    ffi::OsString,
    fs,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};

use self::guest::{Extra, Job};
pub(crate) use self::kernel::numbers;
use crate::{build, process, project, setup};

/// Where the tracer is in the guest.
const TRACER: &str = "/usr/bin/dockernet-trace";

/// Boots `series` and runs `command` in it; gives the command's exit status.
///
/// Without a command: a shell where there is a person, else `dockernet-trace doctor`.
pub(crate) fn verb(
    series: &str,
    command_line: &str,
    limit: u64,
    command: &[OsString],
) -> Result<ExitCode> {
    ensure_tracer()?;
    let engines = setup::lab(false)?;
    let words: Vec<String> = command
        .iter()
        .map(|word| guest::quoted(&word.to_string_lossy()))
        .collect();
    let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let interactive = words.is_empty() && person;
    let script = if interactive {
        "stty sane rows ${LINES:-24} cols ${COLUMNS:-80}; cd /root; exec bash -i".to_owned()
    } else if words.is_empty() {
        format!("exec {TRACER} doctor")
    } else {
        format!("exec {}", words.join(" "))
    };
    let job = Job {
        script,
        environment: environment(&engines),
        files: vec![tracer()],
        folders: Vec::new(),
    };
    let kernel = kernel::get(series)?;
    let limit = if interactive {
        Duration::from_secs(24 * 3600)
    } else {
        Duration::from_secs(limit)
    };
    let mut stdout = std::io::stdout();
    let status = boot(
        &kernel,
        &engines,
        &job,
        command_line,
        interactive,
        limit,
        |bytes| {
            // A reader that is gone is no reason to stop the guest: its status still counts.
            let _gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
        },
    )?;
    Ok(ExitCode::from(status))
}

/// Boots `kernel` once, with a file system made for `job`.
fn boot(
    kernel: &kernel::Kernel,
    engines: &[setup::engines::Engine],
    job: &Job,
    command_line: &str,
    interactive: bool,
    limit: Duration,
    sink: impl FnMut(&[u8]) + Send,
) -> Result<u8> {
    // Of this process alone: several may run at a time.
    let scratch = Scratch::new("boot")?;
    let image = scratch.0.join("image.cpio");
    guest::image(kernel, engines, job)?.write(&image)?;
    process::step(
        &format!("booting Linux {}", kernel.release),
        "an emulated machine, a few seconds",
    );
    qemu::Boot {
        kernel,
        image: &image,
        command_line,
        interactive,
        limit,
        folder: &scratch.0,
    }
    .run(sink)
}

/// Everything about virtual machines is kept here.
fn folder() -> PathBuf {
    project::target().join("vm")
}

/// Builds the tracer, unless `DOCKERNET_TRACE` names one.
fn ensure_tracer() -> Result<()> {
    if named_tracer().is_some() {
        return Ok(());
    }
    build::verb(true)
}

fn named_tracer() -> Option<PathBuf> {
    std::env::var_os("DOCKERNET_TRACE").map(PathBuf::from)
}

fn tracer() -> Extra {
    Extra {
        from: named_tracer().unwrap_or_else(project::tracer),
        to: PathBuf::from(TRACER),
    }
}

/// What programs in the guest find in their environment.
fn environment(engines: &[setup::engines::Engine]) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = [
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("CI", "true"),
        ("NO_COLOR", "1"),
        ("DOCKERNET_TRACE", TRACER),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let list = setup::engines::list(engines);
    variables.push((
        "DOCKERNET_ENGINES".to_owned(),
        list.to_string_lossy().into_owned(),
    ));
    for name in [
        "TERM",
        "LINES",
        "COLUMNS",
        "DOCKERNET_TIER",
        "DOCKERNET_HELPER",
        "DOCKERNET_TEST_SEED",
        "DOCKERNET_TEST_FULL",
    ] {
        if let Ok(value) = std::env::var(name) {
            variables.push((name.to_owned(), value));
        }
    }
    // containerd and runc of an unpacked engine.
    let path: Vec<String> = setup::engines::extra_path()
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    variables.push((
        "PATH".to_owned(),
        format!(
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/vm/applets:{}",
            path.join(":")
        ),
    ));
    variables
}

/// A folder that goes with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(purpose: &str) -> Result<Self> {
        let parent = folder().join("boots");
        clean(&parent);
        let folder = parent.join(format!("{}-{purpose}", std::process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("{} could not be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            process::note(&format!("{} stays: {error}", self.0.display()));
        }
    }
}

/// Removes what a killed process left.
fn clean(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name.split('-').next().unwrap_or_default();
        let alive = Path::new("/proc").join(pid).exists();
        if !alive && let Err(error) = fs::remove_dir_all(entry.path()) {
            process::note(&format!("{} stays: {error}", entry.path().display()));
        }
    }
}
