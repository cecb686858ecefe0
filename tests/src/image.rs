//! The image: Debian's static busybox, imported from a tar made on the spot.

use std::{os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};

use crate::exec::Cmd;

/// Name of the image in every lab.
pub(crate) const IMAGE: &str = "busybox:lab";

/// Writes the image's tar to `file`; `scratch` is a folder that does not exist yet.
pub(crate) fn write_tar(scratch: &Path, file: &Path) -> Result<()> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("no /bin/busybox: `apt-get install busybox-static`")?;
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "www"] {
        std::fs::create_dir_all(scratch.join(folder))?;
    }
    std::fs::copy(busybox, scratch.join("bin/busybox"))
        .with_context(|| format!("copying {}", busybox.display()))?;
    let applets = Cmd::new(busybox).arg("--list").run()?;
    for applet in applets.lines().map(str::trim) {
        if applet != "busybox" && !applet.is_empty() && !applet.contains('/') {
            symlink("busybox", scratch.join("bin").join(applet))
                .with_context(|| format!("linking applet {applet}"))?;
        }
    }
    for (name, text) in [
        ("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/nsswitch.conf", "hosts: files dns\n"),
        ("www/index.html", "lab\n"),
    ] {
        std::fs::write(scratch.join(name), text)?;
    }
    Cmd::new("tar")
        .arg("-C")
        .arg(scratch)
        .arg("-cf")
        .arg(file)
        .arg(".")
        .run()?;
    std::fs::remove_dir_all(scratch).ok();
    Ok(())
}
