//! Names of drop reasons. Numbers differ from kernel to kernel, so they come from the running one.

use std::collections::BTreeMap;

use super::{btf::Btf, format::EventFormat};

/// Reason numbers and names.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    names: BTreeMap<u32, String>,
    subsystems: BTreeMap<u32, String>,
}

/// Subsystem number's place in a reason (include/net/dropreason.h, 6.4+).
const SUBSYSTEM_SHIFT: u32 = 16;

impl Reasons {
    /// From BTF (5.17+), else from the tracepoint's format.
    #[must_use]
    pub fn read(btf: &Btf) -> Self {
        let mut names: BTreeMap<u32, String> = btf
            .enumerators("skb_drop_reason")
            .into_iter()
            .filter_map(|(name, value)| {
                Some((u32::try_from(value).ok()?, short(&name)?.to_owned()))
            })
            .collect();
        if names.is_empty() {
            names = EventFormat::read("skb/kfree_skb")
                .map(|format| format.symbols().iter().cloned().collect())
                .unwrap_or_default();
        }
        // Other subsystems keep enums of their own, named after themselves.
        let subsystems: BTreeMap<u32, String> = btf
            .enumerators("skb_drop_reason_subsys")
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("SKB_DROP_REASON_SUBSYS_")?;
                Some((u32::try_from(value).ok()?, name.to_owned()))
            })
            .collect();
        for own in [
            "mac80211_drop_reason",
            "ovs_drop_reason",
            "qdisc_drop_reason",
        ] {
            for (name, value) in btf.enumerators(own) {
                if let Ok(value) = u32::try_from(value) {
                    names.entry(value).or_insert(name);
                }
            }
        }
        Self { names, subsystems }
    }

    /// Name of a reason; `None` on kernels that give no reason (0 before 5.17).
    #[must_use]
    pub fn name(&self, reason: u32) -> Option<String> {
        if let Some(name) = self.names.get(&reason) {
            return Some(name.clone());
        }
        if reason == 0 {
            return None;
        }
        let (subsystem, number) = (reason >> SUBSYSTEM_SHIFT, reason & 0xffff);
        Some(match self.subsystems.get(&subsystem) {
            Some(name) if subsystem != 0 => format!("{name}_{number}"),
            _ => format!("{subsystem}:{number}"),
        })
    }

    /// Number of a name, in any case, with or without the kernel's prefix.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        let upper = name.to_ascii_uppercase();
        let wanted = short(&upper).unwrap_or(&upper);
        self.names
            .iter()
            .find_map(|(number, name)| (name == wanted).then_some(*number))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    /// Whether this kernel tells reasons at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Without the prefix; `None` for the values that are no reasons.
fn short(name: &str) -> Option<&str> {
    match name.strip_prefix("SKB_DROP_REASON_") {
        Some("MAX" | "SUBSYS_MASK") => None,
        Some(short) => Some(short),
        None => (!name.starts_with("SKB_")).then_some(name),
    }
}
