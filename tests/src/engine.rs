//! Which Docker engines there are to test against.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::exec::Cmd;

/// A Docker engine: the one of `PATH`, or one unpacked into a folder.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Name in test output: `path`, `sid`, or what `DOCKERNET_ENGINES` says.
    pub name: String,
    /// `dockerd --version`, e.g. `20.10.24`.
    pub version: String,
    /// The folder that holds `usr/sbin/dockerd`; `None` for the one of `PATH`.
    pub root: Option<PathBuf>,
    /// Whether it is to run where `iptables` is iptables-legacy.
    pub legacy: bool,
    /// The folder of programs that go before those of `PATH`: a lab's own.
    pub(crate) shims: Option<PathBuf>,
}

impl Engine {
    fn probe(name: &str, root: Option<PathBuf>) -> Result<Self> {
        let mut engine = Self {
            name: name.to_owned(),
            version: String::new(),
            root,
            legacy: false,
            shims: None,
        };
        let text = Cmd::new(engine.dockerd())
            .arg("--version")
            .run()
            .with_context(|| format!("asking engine {name} for its version"))?;
        engine.version = version_of(&text)
            .with_context(|| format!("`{} --version` said {text:?}", engine.dockerd().display()))?;
        Ok(engine)
    }

    /// First number of the version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version
            .split('.')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn dockerd(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join("usr/sbin/dockerd"),
            None => "dockerd".into(),
        }
    }

    pub(crate) fn proxy(&self) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        ["usr/sbin/docker-proxy", "usr/libexec/docker/docker-proxy"]
            .iter()
            .map(|file| root.join(file))
            .find(|file| file.exists())
    }

    /// The same engine where `iptables` and its like are iptables-legacy's programs, as an administrator can choose
    /// (`update-alternatives`).
    #[must_use]
    pub fn on_legacy(&self) -> Self {
        Self {
            name: format!("{}+legacy", self.name),
            legacy: true,
            ..self.clone()
        }
    }

    /// Whether iptables-legacy works here: kernels from 6.17 on may be built without.
    #[must_use]
    pub fn has_legacy() -> bool {
        let listed = Cmd::shell("unshare -n iptables-legacy -nL").output();
        listed.is_ok_and(|output| output.success())
    }

    /// Gives it the programs that it is to find first, in a folder of the lab.
    pub(crate) fn with_shims(mut self, lab: &Path) -> Result<Self> {
        if self.legacy {
            let folder = lab.join("legacy");
            std::fs::create_dir_all(&folder)?;
            for family in ["iptables", "ip6tables"] {
                for job in ["", "-save", "-restore"] {
                    let legacy = Path::new("/usr/sbin").join(format!("{family}-legacy{job}"));
                    std::os::unix::fs::symlink(&legacy, folder.join(format!("{family}{job}")))
                        .with_context(|| format!("linking to {}", legacy.display()))?;
                }
            }
            self.shims = Some(folder);
        }
        Ok(self)
    }

    /// `PATH` with the engine's own programs first and the system's folders last (`su` may have dropped them).
    pub(crate) fn search_path(&self) -> OsString {
        let mut path = OsString::new();
        if let Some(shims) = &self.shims {
            path.push(shims);
            path.push(":");
        }
        if let Some(root) = &self.root {
            for folder in ["usr/sbin", "usr/bin"] {
                path.push(root.join(folder));
                path.push(":");
            }
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
        path
    }
}

fn version_of(text: &str) -> Option<String> {
    let word = text.split_whitespace().nth(2)?;
    let number: String = word
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    (!number.is_empty()).then_some(number)
}

/// All engines of this machine: `DOCKERNET_ENGINES` (`name=folder:name=folder`, `name=` is the one of `PATH`) if set,
/// else the one of `PATH` and those in `target/engines/*`.
///
/// # Errors
/// An engine that was named does not run, or there is none.
pub fn engines() -> Result<Vec<Engine>> {
    let mut found = Vec::new();
    if let Ok(list) = std::env::var("DOCKERNET_ENGINES") {
        for entry in list.split(':').filter(|entry| !entry.is_empty()) {
            let (name, folder) = entry.split_once('=').with_context(|| {
                format!("DOCKERNET_ENGINES holds {entry:?}; write name=folder:name=folder")
            })?;
            let root = (!folder.is_empty()).then(|| PathBuf::from(folder));
            found.push(Engine::probe(name, root)?);
        }
    } else {
        if Cmd::new("dockerd").arg("--version").output().is_ok() {
            found.push(Engine::probe("path", None)?);
        }
        for root in unpacked() {
            let name = root.file_name().unwrap_or_default().to_string_lossy();
            found.push(Engine::probe(&name, Some(root.clone()))?);
        }
    }
    if found.is_empty() {
        bail!(
            "no Docker engine found: `apt-get install docker.io`, or `cargo xtask setup --tests`"
        );
    }
    Ok(found)
}

impl Engine {
    /// The newest engine of this machine.
    ///
    /// # Errors
    /// As [`engines`].
    pub fn newest() -> Result<Self> {
        engines()?
            .into_iter()
            .max_by_key(Self::major)
            .context("no Docker engine")
    }
}

fn unpacked() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = target_folders()
        .iter()
        .filter_map(|target| std::fs::read_dir(target.join("engines")).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|root| root.join("usr/sbin/dockerd").exists())
        .collect();
    roots.sort();
    roots.dedup_by(|a, b| a.file_name() == b.file_name());
    roots
}

/// Where the build puts things: from the running test's own place, and `target` in the repository.
pub(crate) fn target_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(exe) = std::env::current_exe() {
        // target/debug/deps/faults-123 and target/debug/demo
        folders.extend(
            exe.ancestors()
                .filter(|dir| dir.join("CACHEDIR.TAG").exists())
                .map(Path::to_owned),
        );
    }
    if let Some(repository) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        folders.push(repository.join("target"));
    }
    folders.dedup();
    folders
}
