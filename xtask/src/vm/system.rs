//! A whole system in a folder, booted with its own first process: systemd, say.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Scratch, image::Image, kernel, modules, qemu};
use crate::{process, setup::apt};

/// Boots the system in `root`, whose /init leads to its first process, on a kernel of `series`. It writes what `sink` is to see to its second
/// serial port, an exit status to its third, and switches itself off.
///
/// # Errors
/// There is no such kernel or no emulator, or the system does not end in time or tells no status.
pub(crate) fn boot(
    series: &str,
    root: &Path,
    limit: Duration,
    sink: impl FnMut(&[u8]) + Send,
) -> Result<u8> {
    let kernel = kernel::get(series)?;
    let scratch = Scratch::new("system")?;
    let image = scratch.0.join("image.cpio");
    archive(root, &image)?;
    // Archives may follow each other.
    let extra = scratch.0.join("modules.cpio");
    let mut own = Image::default();
    modules::add(&mut own, &kernel)?;
    own.device("/dev/console", 5, 1);
    own.write(&extra)?;
    append(&extra, &image)?;
    process::step(
        &format!("booting Linux {}", kernel.release),
        "with systemd, in an emulated machine",
    );
    qemu::Boot {
        kernel: &kernel,
        image: &image,
        command_line: "systemd.show_status=false",
        interactive: false,
        limit,
        folder: &scratch.0,
    }
    .run(sink)
}

/// Everything in `root`, as its owners have it.
fn archive(root: &Path, image: &Path) -> Result<()> {
    if process::find("cpio").is_none() {
        apt::install(&["cpio"], "it archives a system for the kernel to unpack")?;
    }
    let mut find = process::as_root("find")?
        .current_dir(root)
        .args([".", "-xdev", "-print0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("find could not be started")?;
    let list = find.stdout.take().context("find has no output")?;
    let out =
        File::create(image).with_context(|| format!("{} could not be made", image.display()))?;
    let status = process::as_root("cpio")?
        .current_dir(root)
        .args(["--create", "--null", "--quiet", "--format=newc"])
        .stdin(list)
        .stdout(out)
        .status()
        .context("cpio could not be started")?;
    let found = find.wait().context("waiting for find")?;
    if !status.success() || !found.success() {
        bail!("{} could not be archived", root.display());
    }
    Ok(())
}

fn append(file: &Path, to: &Path) -> Result<()> {
    let copied = (|| -> io::Result<()> {
        let mut from = File::open(file)?;
        let mut to = File::options().append(true).open(to)?;
        // An archive begins at a multiple of four; cpio's own end at one of 512.
        io::copy(&mut from, &mut to)?;
        to.flush()
    })();
    copied.with_context(|| format!("{} could not be appended", file.display()))
}
