//! A trial of the packages: installed, upgraded, downgraded, removed and purged on the oldest system that they are for, in a folder of its own.

mod deb;
mod root;
mod rpm;
mod systemd;

use anyhow::Result;

use self::root::Root;
use super::{Made, deb as debian, pieces::Pieces, release::Release, rpm as fedora};
use crate::process;

/// The version that comes after, for the time of the trial.
const NEXT: &str = "99.0.0";

/// Where packages are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Where {
    /// In a folder.
    pub(crate) folder: bool,
    /// In an emulated machine, with systemd.
    pub(crate) machine: bool,
}

/// Tries them.
pub(super) fn run(release: &Release, pieces: &Pieces, made: &Made, places: Where) -> Result<()> {
    let next = release.pretending(NEXT)?;
    let root = Root::base(release)?;
    let newer = debian::build(&next, pieces, &made.binary)?;
    if places.folder {
        process::step("trying the .deb", "in a root of Debian 11");
        deb::run(&root.copy(release)?, &release.version, &made.deb, &newer)?;
        process::step(
            "trying the .rpm",
            "in the same root; only its database is rpm's",
        );
        let newer = fedora::build(&next, pieces)?;
        rpm::run(&root.copy(release)?, &release.version, &made.rpm, &newer)?;
    }
    if places.machine {
        process::step("trying the .deb under systemd", "minutes: it is emulated");
        systemd::run(&root.copy(release)?, &made.deb, &newer)?;
    }
    Ok(())
}
