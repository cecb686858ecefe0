//! The watch: counters about once a second, a look where they moved.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

use super::{
    Finding, cables,
    counters::{Counters, Reader, folder},
    judge::{Case, judge},
    line,
    signs::{self, Due, Matters, Sign},
};
use crate::{
    host::{
        loss::{self, Loss},
        netns::NetnsHandle,
    },
    inventory::{Inventory, Snapshot},
    model::{Link, LinkKind, NetnsInfo, NetnsKey, Owner, State},
};

/// Between two readings of the counters, at least and at most.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
/// Right after the start containers are still being found, and each needs a first reading to compare with.
const SETTLING: Duration = Duration::from_secs(1);
const SETTLING_PAUSE: Duration = Duration::from_millis(100);
/// A reading takes at most one part in so many of a core: with more containers it is made more seldom.
const SHARE: u32 = 4000;
/// Namespaces that are read although their cables carried nothing since they were read before, at each look: so many, or one in so many if
/// that is more, so that each has its turn within a minute. What they count then are packets that found no way out, or none but loopback's.
const QUIET: usize = 16;
const QUIET_SHARE: usize = 6;
/// After a look behind a sign the next waits so many times as long as it took.
const LOOK_SHARE: u32 = 8;

/// The first event is as good as known, where the reading before was so short ago (the longest pause, and what a look takes); and a vague
/// sign's is as good as the failure's own, where the look before was.
const DATED: Duration = Duration::from_secs(15);

/// Devices whose losses are read, at most.
const UPLINKS: usize = 8;

/// What was read of a namespace.
struct Known {
    counters: Counters,
    /// What its cables had carried before that, if they are known.
    carried: Option<u64>,
    /// Whether those of IPv6 are among the counters.
    with_six: bool,
    read: Instant,
    /// Whether it had carried more than when it was read before: what packets lead to may be counted later than they are.
    moved: bool,
    /// When its cables were last seen to have carried no more.
    still: Instant,
    /// When it was last tried to read it.
    tried: Instant,
}

/// What was counted since a namespace was read before.
struct Counted {
    counters: Counters,
    /// How long ago that was.
    unread: Duration,
    /// How long ago its cables had carried no more than then.
    moving: Duration,
}

impl Counted {
    /// The time in which a sign's events were.
    fn unseen(&self, sign: Sign) -> Duration {
        match sign {
            Sign::Udp => self.moving,
            // What has no route takes no cable, nor do connections of a namespace to itself.
            Sign::NoRoute | Sign::AcceptQueue | Sign::SynQueue => self.unread,
            _ if self.moving.is_zero() => self.unread,
            _ => self.moving,
        }
    }
}

struct Watch<'a> {
    host: NetnsHandle,
    reader: Reader,
    known: HashMap<NetnsKey, Known>,
    losses: HashMap<u32, Loss>,
    matters: Matters,
    sender: &'a Sender<Finding>,
    /// Not before that is anything looked at.
    next_look: Instant,
}

/// Watches until told to stop, then looks a last time.
///
/// # Errors
/// The host's namespace cannot be entered.
pub(super) fn run(
    host: NetnsHandle,
    inventory: &tokio::sync::watch::Receiver<Snapshot>,
    sender: &Sender<Finding>,
    stop: &Receiver<()>,
) -> Result<()> {
    // /proc/thread-self/net is the host's from here on.
    host.enter_for_good()?;
    let now = Instant::now();
    let mut watch = Watch {
        host,
        reader: Reader::default(),
        known: HashMap::new(),
        losses: HashMap::new(),
        matters: Matters::default(),
        sender,
        next_look: now,
    };
    loop {
        let cost = watch.count(&inventory.borrow().clone(), false);
        watch.look(&inventory.borrow().clone(), false);
        let pause = if now.elapsed() < SETTLING {
            SETTLING_PAUSE
        } else {
            (cost * SHARE).clamp(SHORTEST, LONGEST)
        };
        if !matches!(stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
            watch.count(&inventory.borrow().clone(), true);
            watch.look(&inventory.borrow().clone(), true);
            return Ok(());
        }
    }
}

impl Watch<'_> {
    /// Reads counters and notes the signs in them; `all`: those of quiet namespaces too. Returns the CPU time that it took.
    fn count(&mut self, inventory: &Inventory, all: bool) -> Duration {
        let begin = cpu();
        let now = Instant::now();
        let (mut udp, mut udp_unseen) = (0, Duration::ZERO);
        let host = inventory.host_key();
        let takes_udp = publishes(inventory, "udp");
        let mut take_udp = |counted: &Counted| {
            let datagrams = counted.counters.datagrams();
            if datagrams > 0 {
                udp += datagrams;
                udp_unseen = udp_unseen.max(counted.unseen(Sign::Udp));
            }
        };
        let own = Path::new("/proc/thread-self");
        let mut host_unseen = Duration::ZERO;
        if let Some(counted) = self.read(host, own, takes_udp, None, now) {
            take_udp(&counted);
            host_unseen = counted.unread;
            for (sign, events) in signs::of_host(counted.counters, publishes(inventory, "tcp")) {
                self.matters.note(host, sign, events, now, host_unseen);
            }
        }
        self.uplinks(inventory, now, host_unseen);
        let carried = cables::carried(inventory).unwrap_or_else(|error| {
            log::debug!("/proc/net/dev: {error}");
            HashMap::new()
        });
        for (info, folder) in self.whose_turn(inventory, &carried, takes_udp, all, now) {
            let is_paused = is_paused(inventory, info);
            let with_six = takes_udp || is_paused;
            let carried = carried.get(&info.key).copied();
            let Some(counted) = self.read(info.key, &folder, with_six, carried, now) else {
                continue;
            };
            take_udp(&counted);
            for (sign, events) in signs::of_container(counted.counters, is_paused) {
                let unseen = counted.unseen(sign);
                self.matters.note(info.key, sign, events, now, unseen);
            }
        }
        if udp > 0 && takes_udp {
            self.matters.note(host, Sign::Udp, udp, now, udp_unseen);
        }
        let is_there = |key| inventory.netns(key).is_some();
        self.known.retain(|key, _| is_there(*key));
        self.matters.tidy(now, is_there);
        cpu().saturating_sub(begin)
    }

    /// Containers' namespaces whose turn it is: where something went through a cable, now or the last time, the cables do not tell all, or more
    /// is to be read than was; and some of the others.
    fn whose_turn<'i>(
        &mut self,
        inventory: &'i Inventory,
        carried: &HashMap<NetnsKey, u64>,
        takes_udp: bool,
        all: bool,
        now: Instant,
    ) -> Vec<(&'i NetnsInfo, PathBuf)> {
        let (mut quiet, mut chosen) = (Vec::new(), Vec::new());
        for (info, folder) in containers(inventory) {
            let known = self.known.get_mut(&info.key).filter(|known| {
                let carried = carried.get(&info.key);
                carried.is_some() && known.carried.as_ref() == carried
            });
            let Some(known) = known else {
                chosen.push((info, folder));
                continue;
            };
            known.still = now;
            let with_six = takes_udp || is_paused(inventory, info);
            if all || known.moved || with_six && !known.with_six {
                chosen.push((info, folder));
            } else {
                quiet.push((known.tried, info, folder));
            }
        }
        quiet.sort_by_key(|(tried, info, _)| (*tried, info.key));
        let turn = QUIET.max(quiet.len().div_ceil(QUIET_SHARE));
        let turn = quiet.into_iter().take(turn);
        chosen.extend(turn.map(|(_, info, folder)| (info, folder)));
        chosen
    }

    /// Notes what the host's devices lost since they were read before, `since` ago.
    fn uplinks(&mut self, inventory: &Inventory, now: Instant, since: Duration) {
        let host = inventory.host_key();
        let links: Vec<&Link> = uplinks(inventory).collect();
        for link in &links {
            let lost = match loss::here(link.ifindex, &link.name) {
                Ok(lost) => lost,
                Err(error) => {
                    log::debug!("{error:#}");
                    continue;
                }
            };
            let Some(before) = self.losses.insert(link.ifindex, lost) else {
                continue;
            };
            let missed = lost.missed.saturating_sub(before.missed);
            let xdp = match (lost.xdp, before.xdp) {
                (Some(lost), Some(before)) => lost.saturating_sub(before),
                _ => 0,
            };
            for (sign, events) in [
                (Sign::Missed(link.ifindex), missed),
                (Sign::Xdp(link.ifindex), xdp),
            ] {
                if events > 0 {
                    self.matters.note(host, sign, events, now, since);
                }
            }
        }
        self.losses
            .retain(|index, _| links.iter().any(|link| link.ifindex == *index));
    }

    /// What a namespace counted since it was read before; nothing at the first time.
    fn read(
        &mut self,
        key: NetnsKey,
        folder: &Path,
        with_six: bool,
        carried: Option<u64>,
        now: Instant,
    ) -> Option<Counted> {
        let counters = match self.reader.read(folder, with_six) {
            Ok(counters) => counters,
            Err(error) => {
                log::debug!("counters of {}: {error}", folder.display());
                if let Some(known) = self.known.get_mut(&key) {
                    known.tried = now;
                }
                return None;
            }
        };
        let before = self.known.get(&key);
        let known = Known {
            counters,
            carried,
            with_six,
            moved: before.is_some_and(|before| before.carried != carried),
            read: now,
            still: now,
            tried: now,
        };
        let before = self.known.insert(key, known)?;
        let is_still = carried.is_some() && before.carried.is_some() && !before.moved;
        Some(Counted {
            counters: counters.since(before.counters),
            unread: now.duration_since(before.read),
            moving: now.duration_since(if is_still { before.still } else { before.read }),
        })
    }

    /// Looks behind the signs that wait for it.
    fn look(&mut self, inventory: &Inventory, is_last: bool) {
        let now = Instant::now();
        if now < self.next_look && !is_last {
            return;
        }
        for due in self.matters.due(now, is_last) {
            let Due { key, sign, .. } = due;
            let Some(info) = inventory.netns(key) else {
                continue;
            };
            let case = Case {
                inventory,
                host: &self.host,
                info,
                events: due.events,
                since: due.since + due.unseen,
            };
            // Its container has ended meanwhile: nobody suffers from it any more, the host least.
            if key != inventory.host_key() && case.container().is_none() {
                continue;
            }
            let found = judge(&case, sign).unwrap_or_else(|error| {
                log::info!(
                    "looking behind {sign:?} in {}: {error:#}",
                    info.path.display()
                );
                Vec::new()
            });
            if !found.is_empty() && !is_last && self.matters.may_settle(key, sign, now) {
                continue;
            }
            self.matters.looked(key, sign, !found.is_empty(), now);
            let is_dated = due.unseen <= DATED && (!sign.is_vague() || due.since <= DATED);
            for found in found {
                // Nobody listens any more: the run is over.
                let _ = self.sender.send(line::finding(
                    found,
                    info,
                    inventory,
                    is_dated.then_some(due.since),
                ));
            }
        }
        self.next_look = Instant::now() + now.elapsed() * LOOK_SHARE;
    }
}

/// The namespaces of containers, with the `/proc/PID` that shows their counters.
fn containers(inventory: &Inventory) -> impl Iterator<Item = (&NetnsInfo, PathBuf)> {
    inventory
        .namespaces()
        .filter(|info| info.near && info.key != inventory.host_key())
        .filter(|info| matches!(info.owner, Owner::Containers(_)))
        .filter_map(|info| Some((info, folder(&info.path)?)))
}

fn is_paused(inventory: &Inventory, info: &NetnsInfo) -> bool {
    let mut members = inventory.containers_in(info.key);
    members.any(|container| container.state == State::Paused)
}

/// Devices of the host that packets of others come in by: no bridges, no ends of containers' cables.
fn uplinks(inventory: &Inventory) -> impl Iterator<Item = &Link> {
    let links = inventory.host_netns().map(|info| info.links.as_slice());
    links
        .unwrap_or_default()
        .iter()
        .filter(|link| link.up && !matches!(link.kind, LinkKind::Loopback | LinkKind::Bridge))
        .filter(|link| {
            link.kind != LinkKind::Veth
                || link.master.is_none() && inventory.container_behind(link.ifindex).is_none()
        })
        .take(UPLINKS)
}

fn publishes(inventory: &Inventory, protocol: &str) -> bool {
    inventory
        .containers()
        .filter(|container| container.runs())
        .flat_map(|container| &container.published)
        .any(|published| published.protocol == protocol)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}
