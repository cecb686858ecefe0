//! What packages hold, and where each kind of package puts it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    binary::Binary,
    licences,
    release::{NAME, Release, source, write},
};
use crate::{process, project, setup::archive};

/// What a piece is: that decides where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Unit,
    Config,
    Man,
    Bash,
    Zsh,
    Fish,
    /// Dashboards and rules, in a folder of this name.
    Data(&'static str),
    Doc,
    /// Documents that those name by their folder.
    Page,
    Licence,
    /// Of use beside the program alone.
    Container,
}

/// A file to be packed.
#[derive(Debug)]
struct Piece {
    file: PathBuf,
    kind: Kind,
}

/// Where files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Debian's.
    Debian,
    /// Fedora's, and others' with rpm.
    Fedora,
    /// One folder, for people to copy from.
    Folder,
}

/// Everything there is to pack.
#[derive(Debug)]
pub(crate) struct Pieces(Vec<Piece>);

/// Files put where a layout wants them.
#[derive(Debug)]
pub(super) struct Placed {
    /// What stands in the place of `/`.
    pub(super) root: PathBuf,
    /// Paths below it, sorted.
    pub(super) files: Vec<String>,
}

impl Pieces {
    /// Gathers them; manual pages and completions are the program's own.
    ///
    /// # Errors
    /// One is missing, or the program cannot be run here.
    pub(super) fn gather(release: &Release, binary: &Binary, sbom: &Path) -> Result<Self> {
        let folder = release.scratch("pieces")?;
        let root = project::root();
        let mut pieces = vec![
            (binary.path.clone(), Kind::Program),
            (root.join("dist/dockernet-trace.service"), Kind::Unit),
            (root.join("dist/dockernet-trace.toml"), Kind::Config),
            (
                root.join("dist/grafana/dockernet.json"),
                Kind::Data("grafana"),
            ),
            (
                root.join("dist/prometheus/alerts.yml"),
                Kind::Data("prometheus"),
            ),
            (
                root.join("dist/prometheus/scrape.yml"),
                Kind::Data("prometheus"),
            ),
            (root.join("dist/Containerfile"), Kind::Container),
            (root.join("README.md"), Kind::Doc),
            (root.join("CHANGELOG.md"), Kind::Doc),
            (root.join("KNOWN_ISSUES.md"), Kind::Doc),
            (root.join("SECURITY.md"), Kind::Doc),
            (root.join("ARCHITECTURE.md"), Kind::Doc),
            (root.join("CONTRIBUTING.md"), Kind::Doc),
            (sbom.to_owned(), Kind::Doc),
            (root.join("LICENSE-MIT"), Kind::Licence),
            (root.join("LICENSE-APACHE"), Kind::Licence),
            (licences::write_texts(&folder)?, Kind::Licence),
        ];
        pieces.extend(in_folder(&root.join("docs"), "md", Kind::Page)?);
        pieces.push((root.join("docs/schema.json"), Kind::Page));

        let pages = folder.join("man");
        archive::make(&pages)?;
        let mut man = Command::new(&binary.path);
        man.args(["man", "--folder"]).arg(&pages);
        process::quiet(&mut man, Duration::from_secs(60))?;
        pieces.extend(in_folder(&pages, "1", Kind::Man)?);

        for (shell, kind, name) in [
            ("bash", Kind::Bash, NAME.to_owned()),
            ("zsh", Kind::Zsh, format!("_{NAME}")),
            ("fish", Kind::Fish, format!("{NAME}.fish")),
        ] {
            let script = process::output(Command::new(&binary.path).args(["completions", shell]))?;
            let file = folder.join(shell).join(name);
            write(&file, script + "\n")?;
            pieces.push((file, kind));
        }
        let pieces = pieces.into_iter();
        Ok(Self(
            pieces.map(|(file, kind)| Piece { file, kind }).collect(),
        ))
    }

    /// Copies them to where `layout` wants them below the new folder `root`.
    pub(super) fn place(&self, layout: Layout, root: PathBuf) -> Result<Placed> {
        archive::remove(&root)?;
        let mut files = Vec::new();
        for piece in &self.0 {
            let name = piece.file.file_name().unwrap_or_default().to_string_lossy();
            let Some(folder) = folder(piece.kind, layout) else {
                continue;
            };
            let path = if folder.is_empty() {
                name.into_owned()
            } else {
                format!("{folder}/{name}")
            };
            let to = root.join(&path);
            let content = fs::read(&piece.file)
                .with_context(|| format!("{} could not be read", piece.file.display()))?;
            write(&to, content)?;
            let mode = if piece.kind == Kind::Program {
                0o755
            } else {
                0o644
            };
            fs::set_permissions(&to, fs::Permissions::from_mode(mode))
                .with_context(|| format!("{} could not be changed", to.display()))?;
            if piece.kind == Kind::Man && layout != Layout::Folder {
                // Without a name and a time in it.
                let mut gzip = Command::new("gzip");
                gzip.args(["--best", "--no-name"]).arg(&to);
                process::quiet(&mut gzip, Duration::from_secs(60))?;
                files.push(format!("{path}.gz"));
            } else {
                files.push(path);
            }
        }
        files.sort();
        Ok(Placed { root, files })
    }
}

/// The folder of a kind of file; none where it is not packed.
fn folder(kind: Kind, layout: Layout) -> Option<String> {
    let share = |path: &str| Some(format!("usr/share/{path}"));
    if layout == Layout::Folder {
        let folder = match kind {
            Kind::Program | Kind::Unit | Kind::Config | Kind::Container | Kind::Licence => "",
            Kind::Man => "man",
            Kind::Bash => "completions/bash",
            Kind::Zsh => "completions/zsh",
            Kind::Fish => "completions/fish",
            Kind::Data(name) => name,
            Kind::Doc => "doc",
            Kind::Page => "doc/docs",
        };
        return Some(folder.to_owned());
    }
    let is_debian = layout == Layout::Debian;
    match kind {
        Kind::Program => Some("usr/bin".to_owned()),
        Kind::Unit => Some("usr/lib/systemd/system".to_owned()),
        Kind::Config => Some("etc".to_owned()),
        Kind::Man => share("man/man1"),
        Kind::Bash => share("bash-completion/completions"),
        Kind::Zsh if is_debian => share("zsh/vendor-completions"),
        Kind::Zsh => share("zsh/site-functions"),
        Kind::Fish => share("fish/vendor_completions.d"),
        Kind::Data(name) => share(&format!("{NAME}/{name}")),
        Kind::Licence if !is_debian => share(&format!("licenses/{NAME}")),
        Kind::Doc | Kind::Licence => share(&format!("doc/{NAME}")),
        Kind::Page => share(&format!("doc/{NAME}/docs")),
        Kind::Container => None,
    }
}

/// Files of a folder whose names end so.
fn in_folder(folder: &Path, extension: &str, kind: Kind) -> Result<Vec<(PathBuf, Kind)>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} could not be read", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} is empty", folder.display());
    Ok(files.into_iter().map(|file| (file, kind)).collect())
}

/// A text of `dist/` with its words in capitals replaced.
pub(super) fn template(path: &str, words: &[(&str, &str)]) -> Result<String> {
    let mut text = source(path)?;
    for (name, value) in words {
        text = text.replace(&format!("@{name}@"), value);
    }
    let is_name =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    if let Some(left) = text.split('@').skip(1).find(is_name) {
        anyhow::bail!("{path} asks for @{left}@, which nobody gives");
    }
    Ok(text)
}
