//! Kernel modules that were not loaded when the programs were: their types may be had later.

use std::path::{Path, PathBuf};

use super::features::Features;

/// Where a loaded module's types are (5.11+).
const FOLDER: &str = "/sys/kernel/btf";

/// Modules whose types are not in the kernel's own, and that are not loaded yet.
#[derive(Clone, Debug, Default)]
pub struct Awaited {
    folder: PathBuf,
    modules: Vec<&'static str>,
}

impl Awaited {
    /// Of what this kernel lacks. A module that is there and did not tell its layout tells none later either.
    #[must_use]
    pub fn of(features: &Features) -> Self {
        Self::of_folder(features, Path::new(FOLDER))
    }

    fn of_folder(features: &Features, folder: &Path) -> Self {
        let needs = [
            ("nf_conntrack", features.conntrack),
            ("bridge", features.bridge_ports),
        ];
        let absent = |name: &&str| !folder.join(name).exists();
        let lacking = needs.iter().filter(|(_, is_known)| !is_known);
        Self {
            folder: folder.to_owned(),
            modules: lacking.map(|(name, _)| *name).filter(absent).collect(),
        }
    }

    /// Those that are loaded by now; each is told once.
    pub fn arrived(&mut self) -> Vec<&'static str> {
        let (there, absent) = self
            .modules
            .drain(..)
            .partition(|name| self.folder.join(name).exists());
        self.modules = absent;
        there
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_comes_is_told_once_and_what_was_there_never() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name| std::fs::write(folder.path().join(name), "types").unwrap();
        let features = |conntrack, bridge_ports| Features {
            reasons: 1,
            rx_sk: true,
            net_cookie: true,
            conntrack,
            bridge_ports,
            recursion_misses: true,
            tcx: true,
        };
        let mut both = Awaited::of_folder(&features(false, false), folder.path());
        assert!(both.arrived().is_empty());
        make("bridge");
        assert_eq!(both.arrived(), ["bridge"]);
        assert!(both.arrived().is_empty());
        // It is there, and yet its layout is not known.
        let mut one = Awaited::of_folder(&features(false, false), folder.path());
        let mut none = Awaited::of_folder(&features(true, true), folder.path());
        make("nf_conntrack");
        assert_eq!(both.arrived(), ["nf_conntrack"]);
        assert_eq!(one.arrived(), ["nf_conntrack"]);
        assert!(none.arrived().is_empty());
    }
}
