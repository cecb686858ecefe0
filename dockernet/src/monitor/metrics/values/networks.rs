//! Series of networks that are gone: each has a name of its own, and a host that makes and removes networks all the time has no end of them.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use super::Values;
use crate::inventory::{EngineStatus, Inventory};

/// Networks of series that nobody has any more, and since when.
#[derive(Debug, Default)]
pub(super) struct Unlisted {
    since: BTreeMap<String, Instant>,
}

impl Unlisted {
    /// A packet was counted for it.
    pub(super) fn is_used(&mut self, network: &str) {
        self.since.remove(network);
    }

    /// Those that have been gone for `keep`. They are no longer remembered.
    fn expired<'a>(
        &mut self,
        of_series: impl Iterator<Item = &'a str>,
        living: &HashSet<&str>,
        keep: Duration,
        now: Instant,
    ) -> HashSet<String> {
        let mut before = std::mem::take(&mut self.since);
        for network in of_series.filter(|network| !network.is_empty() && !living.contains(network))
        {
            if !self.since.contains_key(network) {
                let since = before.remove(network).unwrap_or(now);
                self.since.insert(network.to_owned(), since);
            }
        }
        let mut expired = HashSet::new();
        self.since.retain(|network, since| {
            let is_kept = now.saturating_duration_since(*since) < keep;
            if !is_kept {
                expired.insert(network.clone());
            }
            is_kept
        });
        expired
    }
}

impl Values {
    /// Removes the series of networks that have been gone for `keep`: no list of the engine's has them, and no container that runs
    /// is in them (another engine's may be). While the engine does not tell, none is gone.
    pub fn forget_networks(&mut self, inventory: &Inventory, keep: Duration, now: Instant) {
        if !matches!(inventory.engine_status(), EngineStatus::Up { .. }) {
            return;
        }
        let listed = inventory.networks().map(|network| network.name.as_str());
        let joined = inventory
            .containers()
            .filter(|container| container.runs())
            .flat_map(|container| &container.attachments)
            .map(|attachment| attachment.network.as_str());
        let living = listed.chain(joined).collect();
        let of_series = self.drops.keys().map(|(_, _, network)| network.as_str());
        let expired = self.unlisted.expired(of_series, &living, keep, now);
        if !expired.is_empty() {
            self.remove(|_, network| expired.contains(network));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{inventory::Parts, model::Network, report::samples::denied};

    const KEEP: Duration = Duration::from_secs(300);

    fn inventory(status: EngineStatus, networks: &[&str]) -> Inventory {
        let network = |name: &&str| {
            Arc::new(Network {
                id: (*name).to_owned(),
                name: (*name).to_owned(),
                driver: "bridge".to_owned(),
                bridge: None,
                parent: None,
                subnets: Vec::new(),
                internal: false,
                icc: true,
                masquerade: true,
                gateway_mode: None,
                options: Vec::new(),
            })
        };
        Inventory::new(Parts {
            status,
            networks: networks.iter().map(network).collect(),
            ..Parts::default()
        })
    }

    fn up(networks: &[&str]) -> Inventory {
        let status = EngineStatus::Up {
            version: "28".into(),
            podman: false,
            rootless: false,
        };
        inventory(status, networks)
    }

    fn drop_in(values: &mut Values, network: &str, container: &str) {
        let mut drop = denied("198.51.100.20", 4000);
        drop.destination.network = Some(network.to_owned());
        values.dropped(&drop, container, 60, 100);
    }

    /// The networks that have series, and the sum over all packets, those of series that are gone included.
    fn networks(values: &Values) -> (Vec<&str>, u64) {
        let names: std::collections::BTreeSet<&str> =
            values.drops.keys().map(|key| key.2.as_str()).collect();
        let sum: u64 = values.drops.values().map(|series| series.packets).sum();
        (names.into_iter().collect(), sum + values.removed)
    }

    #[test]
    fn series_go_with_their_network_and_the_sum_stays() {
        let mut values = Values::default();
        // Of a container, of none, of those that are too many.
        for container in ["web", "", "other"] {
            drop_in(&mut values, "shop", container);
            drop_in(&mut values, "bridge", container);
        }
        let start = Instant::now();
        let down = || EngineStatus::Down {
            reason: "it hangs".into(),
        };
        let end = start + KEEP;
        values.forget_networks(&up(&["shop", "bridge"]), KEEP, start);
        values.forget_networks(&inventory(down(), &[]), Duration::ZERO, end);
        assert_eq!(networks(&values), (vec!["bridge", "shop"], 6));
        values.forget_networks(&up(&["bridge"]), KEEP, start);
        values.forget_networks(&up(&["bridge"]), KEEP, end - Duration::from_secs(1));
        assert_eq!(networks(&values), (vec!["bridge", "shop"], 6));
        values.forget_networks(&up(&["bridge"]), KEEP, end);
        assert_eq!(networks(&values), (vec!["bridge"], 6));
        assert_eq!(values.removed, 3);
    }

    #[test]
    fn a_network_that_comes_back_or_is_in_use_begins_anew() {
        let mut values = Values::default();
        drop_in(&mut values, "shop", "web");
        drop_in(&mut values, "", "web");
        let start = Instant::now();
        values.forget_networks(&up(&[]), KEEP, start);
        values.forget_networks(&up(&["shop"]), KEEP, start + KEEP / 2);
        values.forget_networks(&up(&[]), KEEP, start + KEEP);
        assert_eq!(networks(&values).0, ["", "shop"]);
        drop_in(&mut values, "shop", "web");
        values.forget_networks(&up(&[]), KEEP, start + KEEP * 3);
        assert_eq!(networks(&values).0, ["", "shop"]);
        values.forget_networks(&up(&[]), KEEP, start + KEEP * 4);
        assert_eq!(networks(&values), (vec![""], 3));
    }
}
