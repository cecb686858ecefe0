//! Kernel modules that were not loaded when the programs were: their types may be had later.

use std::path::{Path, PathBuf};

use super::features::Features;

/// Where a loaded module's types are (5.11+).
const FOLDER: &str = "/sys/kernel/btf";

const CONNTRACK: &str = "nf_conntrack";
const BRIDGE: &str = "bridge";

/// Modules whose types are not in the kernel's own, and that are not loaded yet.
#[derive(Clone, Debug, Default)]
pub struct Awaited {
    folder: PathBuf,
    modules: Vec<&'static str>,
}

impl Awaited {
    /// All that are not there now, before types are looked for. A module that is there and does not tell its layout tells none later
    /// either.
    #[must_use]
    pub fn absent() -> Self {
        Self::absent_from(Path::new(FOLDER))
    }

    fn absent_from(folder: &Path) -> Self {
        let absent = |name: &&str| !folder.join(name).exists();
        Self {
            folder: folder.to_owned(),
            modules: [CONNTRACK, BRIDGE].into_iter().filter(absent).collect(),
        }
    }

    /// Without those whose types are known all the same.
    #[must_use]
    pub fn needed(mut self, features: &Features) -> Self {
        let is_known = |name: &str| match name {
            CONNTRACK => features.conntrack,
            _ => features.bridge_ports,
        };
        self.modules.retain(|name| !is_known(name));
        self
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
        let absent = || Awaited::absent_from(folder.path());
        let mut both = absent().needed(&features(false, false));
        assert!(both.arrived().is_empty());
        make("bridge");
        assert_eq!(both.arrived(), ["bridge"]);
        assert!(both.arrived().is_empty());
        // It is there, and yet its layout is not known.
        let mut one = absent().needed(&features(false, false));
        let mut none = absent().needed(&features(true, true));
        make("nf_conntrack");
        assert_eq!(both.arrived(), ["nf_conntrack"]);
        assert_eq!(one.arrived(), ["nf_conntrack"]);
        assert!(none.arrived().is_empty());
    }
}
