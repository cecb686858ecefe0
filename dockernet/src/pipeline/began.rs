//! "began 0.8 s after net.ipv4.ip_forward became 0": what changed on the host just before a cause showed for the first time.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    cause::changed,
    host::changes::{Change, Changes, Subject},
    inventory::EngineStatus,
    model::Drop,
};

/// A cause that was quiet for so long begins anew.
const QUIET: SignedDuration = SignedDuration::from_secs(60);
/// A change before that has nothing to do with it.
const RIGHT_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// A notice is heard a moment after the change took effect.
const LATE: SignedDuration = SignedDuration::from_millis(200);
/// Causes remembered at most.
const REMEMBERED: usize = 1024;

/// One cause at one container, while it goes on.
struct Episode {
    first: Timestamp,
    last: Timestamp,
    fact: Option<String>,
}

/// Remembers when each cause began.
pub(super) struct Began {
    changes: Changes,
    episodes: HashMap<(String, Option<String>), Episode>,
    /// Whether the engine answered when it was last heard of.
    engine: Option<bool>,
}

impl Began {
    pub(super) fn new(changes: Changes) -> Self {
        Self {
            changes,
            episodes: HashMap::new(),
            engine: None,
        }
    }

    /// Notes whether the engine answers: that it stops or starts to is a change.
    pub(super) fn engine_is(&mut self, status: &EngineStatus) {
        let up = match status {
            EngineStatus::Up { .. } => true,
            EngineStatus::Down { .. } => false,
            EngineStatus::Unknown | EngineStatus::Remote { .. } => return,
        };
        let what = match (self.engine.replace(up), up) {
            (Some(true), false) => "Docker stopped answering",
            (Some(false), true) => "Docker answered again",
            _ => return,
        };
        self.changes.push(Subject::Engine, what.to_owned());
    }

    /// What to add to the evidence of a drop whose cause is found.
    pub(super) fn fact(&mut self, drop: &Drop) -> Option<String> {
        let container = [&drop.destination, &drop.source]
            .into_iter()
            .find_map(|end| Some(end.container.as_ref()?.id.clone()));
        let key = (drop.cause.id.to_string(), container);
        if self.episodes.len() >= REMEMBERED {
            self.episodes
                .retain(|_, episode| drop.time.duration_since(episode.last) < QUIET);
        }
        if self.episodes.len() >= REMEMBERED && !self.episodes.contains_key(&key) {
            return None;
        }
        let episode = self.episodes.entry(key).or_insert(Episode {
            first: drop.time,
            last: drop.time,
            fact: None,
        });
        // A clock that was set back puts the last one into the future.
        let is_behind = episode.last.duration_since(drop.time) >= QUIET;
        let was_mended = was_mended(&self.changes, episode.last, drop);
        if is_behind || was_mended || drop.time.duration_since(episode.last) >= QUIET {
            (episode.first, episode.last) = (drop.time, drop.time);
            episode.fact = None;
        }
        episode.last = episode.last.max(drop.time);
        if episode.fact.is_none() && drop.time.duration_since(episode.first) <= LATE {
            let from = episode.first - RIGHT_AFTER;
            let change = self.changes.latest(from, episode.first + LATE, |change| {
                changed::concerns(change, drop)
            })?;
            let after = episode
                .first
                .duration_since(change.at)
                .max(SignedDuration::ZERO);
            episode.fact = Some(format!(
                "began {:.1} s after {}",
                after.as_secs_f64(),
                change.what
            ));
        }
        episode.fact.clone()
    }
}

/// Whether a setting was put right after the last packet, and then wrong once more.
fn was_mended(changes: &Changes, last: Timestamp, drop: &Drop) -> bool {
    let is_setting = |change: &Change| matches!(change.subject, Subject::Setting(_));
    let value = |change: &Change| change.what.rsplit(' ').next().map(str::to_owned);
    let broken = changes.latest(last + LATE, drop.time + LATE, |change| {
        is_setting(change) && changed::concerns(change, drop)
    });
    let Some(broken) = broken else { return false };
    changes
        .latest(last, broken.at, |change| {
            is_setting(change) && value(change) != value(&broken)
        })
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn set_to_zero(changes: &Changes, key: &str) -> Timestamp {
        changes.push(Subject::Setting(key.into()), format!("{key} became 0"));
        Timestamp::now()
    }

    fn drop(at: Timestamp) -> Drop {
        Drop {
            time: at,
            ..samples::incident()
        }
    }

    const KEY: &str = "net/ipv4/conf/eth0/forwarding";

    #[test]
    fn a_cause_that_begins_after_the_change() {
        let changes = Changes::default();
        let mut began = Began::new(changes.clone());
        let at = set_to_zero(&changes, KEY);
        let after = |seconds| at + SignedDuration::from_secs(seconds);
        let first = began.fact(&drop(after(2)));
        assert_eq!(
            first.as_deref(),
            Some("began 2.0 s after net/ipv4/conf/eth0/forwarding became 0")
        );
        // It goes on: the same words.
        assert_eq!(began.fact(&drop(after(30))), first);
        // Quiet for a while: that began long after.
        assert_eq!(began.fact(&drop(after(120))), None);
    }

    #[test]
    fn a_setting_that_was_mended_and_is_wrong_again_is_another_beginning() {
        let changes = Changes::default();
        let mut began = Began::new(changes.clone());
        let start = Timestamp::now() - SignedDuration::from_secs(5);
        assert_eq!(began.fact(&drop(start)), None);
        // A packet died right before it was put right.
        assert_eq!(began.fact(&drop(Timestamp::now())), None);
        changes.push(Subject::Setting(KEY.into()), format!("{KEY} became 1"));
        std::thread::sleep(std::time::Duration::from_millis(250));
        let at = set_to_zero(&changes, KEY);
        let told = began.fact(&drop(at + SignedDuration::from_secs(1)));
        let wanted = "began 1.0 s after net/ipv4/conf/eth0/forwarding became 0";
        assert_eq!(told.as_deref(), Some(wanted));
        let told = began.fact(&drop(at + SignedDuration::from_secs(3)));
        assert_eq!(told.as_deref(), Some(wanted));
    }

    #[test]
    fn a_cause_that_was_there_before_the_change() {
        let changes = Changes::default();
        let mut began = Began::new(changes.clone());
        let now = Timestamp::now();
        assert_eq!(began.fact(&drop(now - SignedDuration::from_secs(5))), None);
        let at = set_to_zero(&changes, KEY);
        assert_eq!(began.fact(&drop(at + SignedDuration::from_secs(1))), None);
    }

    #[test]
    fn a_change_of_something_else_or_of_long_ago() {
        let changes = Changes::default();
        let mut began = Began::new(changes.clone());
        let at = set_to_zero(&changes, "net/ipv4/conf/eth1/forwarding");
        assert_eq!(began.fact(&drop(at)), None);
        let mut began = Began::new(changes.clone());
        let at = set_to_zero(&changes, KEY);
        assert_eq!(began.fact(&drop(at + SignedDuration::from_secs(20))), None);
    }

    #[test]
    fn an_engine_that_comes_back_is_a_change_and_one_that_is_first_heard_of_is_none() {
        let changes = Changes::default();
        let mut began = Began::new(changes.clone());
        let up = EngineStatus::Up {
            version: "28".into(),
            podman: false,
            rootless: false,
        };
        let down = EngineStatus::Down {
            reason: String::new(),
        };
        let start = Timestamp::now();
        let told = || changes.latest(start, Timestamp::now(), |_| true);
        began.engine_is(&up);
        assert_eq!(told(), None);
        began.engine_is(&down);
        began.engine_is(&EngineStatus::Unknown);
        began.engine_is(&up);
        assert_eq!(
            told().map(|change| change.what).as_deref(),
            Some("Docker answered again")
        );
    }
}
