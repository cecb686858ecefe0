//! Values of the label `container`: a bounded number, gone with their containers.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    inventory::{EngineStatus, Inventory},
    model::ContainerRef,
};

/// What has no value of its own.
pub(super) const OTHER: &str = "other";

/// The values in use, and since when their container is gone.
#[derive(Debug, Default)]
pub(super) struct Labels {
    known: HashMap<String, Option<Instant>>,
}

impl Labels {
    /// A container's value: its name, or [`OTHER`] if there are `most` others, or it has none but its id: the label of one that
    /// no engine describes would be gone with it.
    pub(super) fn of(&mut self, container: &ContainerRef, most: usize) -> String {
        if container.name == container.id {
            return OTHER.to_owned();
        }
        let label = stable(&container.name, container.service.as_deref());
        if let Some(gone) = self.known.get_mut(label) {
            *gone = None;
        } else if self.known.len() < most {
            self.known.insert(label.to_owned(), None);
        } else {
            return OTHER.to_owned();
        }
        label.to_owned()
    }

    /// Takes values of before a restart: those whose container does not live any more go as others do.
    pub(super) fn restore(&mut self, labels: HashSet<String>) {
        self.known
            .extend(labels.into_iter().map(|label| (label, None)));
    }

    /// Values whose container has been gone for `keep`: they are forgotten. While the engine does not tell, nobody is gone.
    pub(super) fn expired(
        &mut self,
        inventory: &Inventory,
        keep: Duration,
        now: Instant,
    ) -> HashSet<String> {
        if !matches!(inventory.engine_status(), EngineStatus::Up { .. }) {
            return HashSet::new();
        }
        let alive: HashSet<&str> = inventory
            .containers()
            .filter(|container| container.runs())
            .map(|container| stable(&container.name, container.service.as_deref()))
            .collect();
        let mut expired = HashSet::new();
        self.known.retain(|label, gone| {
            if alive.contains(label.as_str()) {
                *gone = None;
                return true;
            }
            let is_kept = now - *gone.get_or_insert(now) < keep;
            if !is_kept {
                expired.insert(label.clone());
            }
            is_kept
        });
        expired
    }
}

/// The name without what changes with each container of a service: Swarm's `web.1.k2jx…` is `web`, and what
/// `docker compose run` starts, `shop-web-run-0a1b2c3d4e5f`, is `shop-web-run`.
fn stable<'a>(name: &'a str, service: Option<&'a str>) -> &'a str {
    let lower = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if let Some(service) = service
        && let Some(rest) = name.strip_prefix(service)
        && rest.starts_with('.')
        && rest
            .rsplit('.')
            .next()
            .is_some_and(|task| task.len() == 25 && lower(task))
    {
        return service;
    }
    match name.rsplit_once("-run-") {
        Some((before, hash)) if hash.len() == 12 && lower(hash) => {
            name.get(..before.len() + "-run".len()).unwrap_or(name)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::container;

    #[test]
    fn names_that_change_are_cut() {
        for (name, service, label) in [
            ("web", None, "web"),
            ("shop-web-1", Some("web"), "shop-web-1"),
            ("web.1.k2jx0123456789abcdefghijk", Some("web"), "web"),
            ("web.1.short", Some("web"), "web.1.short"),
            ("shop-web-run-0a1b2c3d4e5f", Some("web"), "shop-web-run"),
            ("long-run-home", None, "long-run-home"),
        ] {
            assert_eq!(stable(name, service), label, "{name}");
        }
    }

    #[test]
    fn beyond_the_bound_all_are_one() {
        let mut labels = Labels::default();
        let name = |index: usize| container(&format!("c{index}"));
        assert_eq!(labels.of(&name(1), 2), "c1");
        assert_eq!(labels.of(&name(2), 2), "c2");
        assert_eq!(labels.of(&name(3), 2), OTHER);
        assert_eq!(labels.of(&name(1), 2), "c1");
    }

    #[test]
    fn an_id_is_no_label() {
        let mut nameless = container("84087a212917");
        assert_eq!(Labels::default().of(&nameless, 2), "84087a212917");
        nameless.id = nameless.name.clone();
        assert_eq!(Labels::default().of(&nameless, 2), OTHER);
    }

    #[test]
    fn nobody_is_gone_while_the_engine_does_not_tell() {
        let mut labels = Labels::default();
        labels.of(&container("web"), 2);
        let now = Instant::now() + Duration::from_secs(3600);
        assert!(
            labels
                .expired(&Inventory::default(), Duration::ZERO, now)
                .is_empty()
        );
    }
}
