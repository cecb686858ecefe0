//! One boot: a kernel, a file system, a command's output and exit status, a time limit.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::{
    process,
    setup::{apt, archive},
};

/// The emulator, and the Debian package that has it.
const QEMU: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// What the kernel is always told. Emulated processors have no steady TSC: the kernel would find out in the middle of a
/// test. A panic ends the machine at once. Without AppArmor, whose profiles dockerd would load with tools that are not here.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 oops=panic tsc=unstable clocksource=hpet apparmor=0 rdinit=/init";

/// Lines of the console that a failure shows.
const TAIL: usize = 25;

/// How a boot is done.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Kernel,
    /// The file system, an archive.
    pub(super) image: &'a Path,
    /// More words for the kernel.
    pub(super) command_line: &'a str,
    /// This terminal becomes the guest's.
    pub(super) interactive: bool,
    /// The boot is ended after this time.
    pub(super) limit: Duration,
    /// Scratch space of this boot alone.
    pub(super) folder: &'a Path,
}

/// Installs the emulator where it is missing.
///
/// # Errors
/// This machine cannot have it.
pub(super) fn ensure() -> Result<PathBuf> {
    if process::find(QEMU.0).is_none() {
        apt::install(&[QEMU.1], "kernels are booted in an emulated machine")?;
    }
    process::find(QEMU.0).with_context(|| format!("{} is missing", QEMU.0))
}

impl Boot<'_> {
    /// Boots, hands every byte that the command prints to `sink`, and gives the command's exit status.
    ///
    /// # Errors
    /// The emulator fails, the kernel panics, or the time is up; the message holds the end of the console.
    pub(super) fn run(&self, sink: impl FnMut(&[u8]) + Send) -> Result<u8> {
        archive::make(self.folder)?;
        let status_file = self.folder.join("status");
        let console = self.folder.join("console");
        for file in [&status_file, &console] {
            fs::write(file, "").with_context(|| format!("writing {}", file.display()))?;
        }
        let mut command = self.command(&status_file, &console)?;
        let mut child = command
            .spawn()
            .with_context(|| format!("{} could not be started", QEMU.0))?;
        let ended = self.attend(&mut child, sink);
        let told = fs::read_to_string(&status_file).unwrap_or_default();
        let status = told.trim().parse::<u8>().ok();
        match (ended, status) {
            (Ok(()), Some(status)) => Ok(status),
            (Ok(()), None) => bail!(
                "the guest ended without an exit status; the end of its console:\n{}",
                tail(&console)
            ),
            (Err(error), _) => Err(error.context(format!(
                "the end of the guest's console:\n{}",
                tail(&console)
            ))),
        }
    }

    fn command(&self, status: &Path, console: &Path) -> Result<Command> {
        let qemu = ensure()?;
        let mut command = if process::find("setpriv").is_some() {
            // It ends with us, also when we are killed.
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--pdeathsig", "SIGKILL", "--"]).arg(qemu);
            setpriv
        } else {
            Command::new(qemu)
        };
        let output = if self.interactive {
            "stdio,id=job,signal=off".to_owned()
        } else {
            "stdio,id=job,signal=on".to_owned()
        };
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none"])
            .args(["-M", "q35", "-accel", "tcg,thread=multi"])
            // Without a 16-byte compare-and-exchange: emulated, it makes 6.12 panic now and then.
            .args(["-cpu", "max,-cx16", "-smp", "2", "-m", "4G"])
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(self.image)
            .arg("-append")
            .arg(format!("{COMMAND_LINE} {}", self.command_line))
            .arg("-chardev")
            .arg(format!("file,id=console,path={}", console.display()))
            .arg("-chardev")
            .arg(output)
            .arg("-chardev")
            .arg(format!("file,id=status,path={}", status.display()));
        for port in ["console", "job", "status"] {
            command.arg("-serial").arg(format!("chardev:{port}"));
        }
        if self.interactive {
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        }
        Ok(command)
    }

    /// Until the emulator ends; ends it when the time is up.
    fn attend(&self, child: &mut Child, mut sink: impl FnMut(&[u8]) + Send) -> Result<()> {
        let start = Instant::now();
        let output = child.stdout.take();
        thread::scope(|scope| {
            scope.spawn(move || {
                let Some(mut output) = output else { return };
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = output.read(&mut bytes) {
                    sink(bytes.get(..count).unwrap_or(&[]));
                }
            });
            loop {
                if let Some(status) = child.try_wait().context("waiting for the emulator")? {
                    if !status.success() {
                        bail!("{} failed ({status})", QEMU.0);
                    }
                    return Ok(());
                }
                if start.elapsed() > self.limit {
                    child.kill().context("ending the emulator")?;
                    child.wait().context("waiting for the emulator")?;
                    bail!(
                        "the guest took over {} s and was ended",
                        self.limit.as_secs()
                    );
                }
                thread::sleep(Duration::from_millis(20));
            }
        })
    }
}

/// The last lines of the console.
fn tail(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(TAIL)..)
        .unwrap_or_default()
        .join("\n")
}
