//! `dist`: the program as people install it, in `target/packages`.

mod binary;
mod components;
mod deb;
mod libc;
mod licences;
mod pieces;
mod release;
mod rpm;
mod sbom;
mod sums;
mod tarball;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::sys::stat::{Mode, umask};

pub(crate) use self::trial::Where;
use self::{binary::Binary, pieces::Pieces, release::Release};
use crate::{
    build, cross, process, project,
    setup::{self, apt},
};

/// What was built.
#[derive(Debug)]
struct Made {
    binary: Binary,
    deb: PathBuf,
    rpm: PathBuf,
}

/// Builds the program as people install it; elsewhere than on Debian, whose old C library it is linked with, as they
/// build it themselves.
pub(crate) fn program() -> Result<PathBuf> {
    if !apt::is_here() {
        build::verb(true)?;
        return Ok(project::tracer());
    }
    setup::toolchain()?;
    Ok(binary::build(&Release::of_workspace()?)?.path)
}

/// Builds the program and every package of it; then tries them where it is told to.
pub(crate) fn verb(places: Where) -> Result<()> {
    // Whoever builds them, packages have the same folders and files.
    umask(Mode::from_bits_truncate(0o022));
    let release = Release::of_workspace()?;
    setup::toolchain()?;
    cross::check()?;
    let binary = binary::build(&release)?;
    sums::clear(&release)?;
    let sbom = sbom::write_to(&release)?;
    let pieces = Pieces::gather(&release, &binary, &sbom)?;
    process::step("packages", "a .deb, an .rpm and a tarball");
    let made = Made {
        deb: deb::build(&release, &pieces, &binary)?,
        rpm: rpm::build(&release, &pieces)?,
        binary,
    };
    let tarball = tarball::build(&release, &pieces)?;
    let files = [made.deb.clone(), made.rpm.clone(), tarball, sbom];
    sums::write_for(&release, &files)?;
    for file in files {
        process::note(&format!("{} {}", file.display(), size(&file)));
    }
    if places.folder || places.machine {
        trial::run(&release, &pieces, &made, places)?;
    }
    Ok(())
}

/// A file's size for people.
fn size(file: &Path) -> String {
    file.metadata().map_or_else(
        |error| error.to_string(),
        |meta| format!("{:.2} MB", meta.len() as f64 / 1e6),
    )
}
