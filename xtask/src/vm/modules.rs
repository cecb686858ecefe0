//! Kernel modules that the guest may ask for: everything of the network, and what Docker mounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{image::Image, kernel::Kernel};

/// Below `kernel/` in the folder of the modules. A folder ends with a slash.
const WANTED: [&str; 12] = [
    "net/",
    "fs/overlayfs/",
    "drivers/net/veth.",
    "drivers/net/vxlan",
    "drivers/net/macvlan.",
    "drivers/net/ipvlan/",
    "drivers/net/dummy.",
    "drivers/net/ifb.",
    "drivers/net/tun.",
    "drivers/net/bonding/",
    "lib/",
    "crypto/",
];

/// What modprobe reads beside the modules.
const INDEX: &str = "modules.";

/// Puts the wanted modules, all they depend on and modprobe's index into `image`.
///
/// # Errors
/// The kernel's folder cannot be read.
pub(super) fn add(image: &mut Image, kernel: &Kernel) -> Result<()> {
    let folder = kernel.modules();
    let file = folder.join("modules.dep");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    // Where modprobe looks, wherever the package had it.
    let place = Path::new("/usr/lib/modules").join(&kernel.release);
    for module in closure(&text) {
        image.copy(&folder.join(module), &place.join(module))?;
    }
    let list = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in list.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(INDEX) {
            image.copy(&entry.path(), &place.join(name))?;
        }
    }
    Ok(())
}

/// The wanted modules of a `modules.dep` (`a.ko: b.ko c.ko` names all that `a` depends on, indirectly too).
fn closure(dep: &str) -> BTreeSet<&str> {
    let needs: BTreeMap<&str, &str> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let wanted = needs.keys().copied().filter(|module| {
        let path = module.strip_prefix("kernel/").unwrap_or(module);
        WANTED.iter().any(|prefix| path.starts_with(prefix))
    });
    wanted
        .flat_map(|module| {
            let below = needs.get(module).copied().unwrap_or_default();
            std::iter::once(module).chain(below.split_whitespace())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_along() {
        let dep = "kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/other/x.ko\n\
                   kernel/net/802/stp.ko:\nkernel/other/x.ko:\nkernel/drivers/gpu/y.ko: kernel/other/z.ko\n\
                   kernel/drivers/net/veth.ko.xz:\nkernel/drivers/net/veth2/a.ko:\n";
        let found: Vec<&str> = closure(dep).into_iter().collect();
        assert_eq!(
            found,
            [
                "kernel/drivers/net/veth.ko.xz",
                "kernel/net/802/stp.ko",
                "kernel/net/bridge/bridge.ko",
                "kernel/other/x.ko"
            ]
        );
    }
}
