//! Packets through a loaded router, and their counters beside the predictions.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use dockernet::host::firewall::{
    CtState, Firewall, FlowTuple, Site, attribute, drop_candidates, moved,
};

use crate::{
    frame::{Packet, Payload, Sender},
    packets::Packets,
    place::{Place, counts, drops_at, show},
    predict::{Fate, Flow, inverse, predict},
    rng::Rng,
    world::{DEVICES, Own, World},
};

/// First packets for each ruleset.
const PACKETS: usize = 160;

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rulesets: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) unclear: u64,
    /// Questions asked again with less known.
    pub(crate) blurred: u64,
    pub(crate) blurred_unclear: u64,
    /// Dropped packets whose rule was asked for with counters, and those that left two possible.
    pub(crate) attributed: u64,
    pub(crate) left_open: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        write!(
            f,
            "{} rulesets, {} packets, {} dropped as said, {} cannot be told ({:.1} %); asked {} times with less known ({:.0} % cannot be told); {} of {} found by counters",
            self.rulesets,
            self.sent,
            self.dropped,
            self.unclear,
            share(self.unclear, self.sent),
            self.blurred,
            share(self.blurred_unclear, self.blurred),
            self.attributed - self.left_open,
            self.attributed
        )
    }
}

/// A packet to send, and what is to become of it.
pub(crate) struct Probe {
    pub(crate) packet: Packet,
    pub(crate) flow: Flow,
    pub(crate) fate: Fate,
}

/// Sends all kinds of packets through the router.
pub(crate) fn run(world: &World, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
    let sender = Sender::open(&world.router, &world.ends, DEVICES.len())?;
    let (firewall, passed) = world.read()?;
    let mut run = Run {
        world,
        sender,
        own: Own::new(),
        firewall,
        passed,
        answers: HashSet::new(),
        rng,
        tally,
    };
    run.tally.rulesets += 1;
    let mut packets = Packets::new();
    let first = (0..PACKETS).map(|_| packets.one(run.rng)).collect();
    let sent = run.batch(first, Flow::of).context("first packets")?;
    let answers = run.follow_up(&sent);
    let sent = run.pairs(answers.replies).context("answers")?;
    run.again(sent).context("first packets' successors")?;
    run.pairs(answers.errors).context("ICMP errors")?;
    Ok(())
}

/// What answers look like: protocol, and both ends.
type Answer = (u8, [(IpAddr, Option<u16>); 2]);

pub(crate) struct Run<'a> {
    world: &'a World,
    sender: Sender,
    pub(crate) own: Own,
    pub(crate) firewall: Firewall,
    passed: [u64; 2],
    /// What the answers of new flows look like.
    answers: HashSet<Answer>,
    pub(crate) rng: &'a mut Rng,
    pub(crate) tally: &'a mut Tally,
}

impl Run<'_> {
    fn batch(
        &mut self,
        packets: Vec<Packet>,
        flow: impl Fn(&Packet) -> Flow,
    ) -> Result<Vec<Probe>> {
        let pairs = packets.into_iter().map(|packet| {
            let flow = flow(&packet);
            (packet, flow)
        });
        self.pairs(pairs.collect())
    }

    /// Predicts, sends and compares: first those that are certain, then the others.
    pub(crate) fn pairs(&mut self, pairs: Vec<(Packet, Flow)>) -> Result<Vec<Probe>> {
        let mut sure = Vec::new();
        let mut unclear = Vec::new();
        for (packet, flow) in pairs {
            let (fate, stages) = predict(&self.firewall, &self.own, &packet, flow);
            for stage in &stages {
                self.blur(stage)?;
            }
            let mut probe = Probe { packet, flow, fate };
            if self.clashes(&probe) {
                probe.fate = Fate::Unclear {
                    may: HashSet::new(),
                    any: true,
                };
            }
            match probe.fate {
                Fate::Unclear { .. } => unclear.push(probe),
                _ => sure.push(probe),
            }
        }
        self.tally.sent += (sure.len() + unclear.len()) as u64;
        self.tally.unclear += unclear.len() as u64;
        self.check_sure(&sure)?;
        self.check_unclear(&unclear)?;
        self.check_attribution(&sure)?;
        self.tally.dropped += sure
            .iter()
            .filter(|probe| matches!(probe.fate, Fate::Dropped(..)))
            .count() as u64;
        Ok(sure)
    }

    /// Whether a new flow's answers would look like those of an earlier one: conntrack then takes another port. Where there
    /// are no ports it is the earlier flow.
    fn clashes(&mut self, probe: &Probe) -> bool {
        let answer = match &probe.fate {
            Fate::Passed(_, arrived) => arrived.1,
            Fate::Dropped(_, stage) => stage.packet.ct_answer,
            _ => None,
        };
        if probe.flow.state != CtState::NEW {
            return false;
        }
        let proto = probe.packet.proto();
        let ends = |tuple: FlowTuple| [(tuple.src, tuple.sport), (tuple.dst, tuple.dport)];
        let tuples = match probe.packet.payload {
            Payload::Esp { .. } => vec![
                probe.flow.original,
                probe.flow.answer,
                answer,
                answer.map(inverse),
            ],
            _ if probe.packet.ports().is_some() => vec![answer],
            _ => Vec::new(),
        };
        let looks: Vec<Answer> = tuples
            .into_iter()
            .flatten()
            .map(|tuple| (proto, ends(tuple)))
            .collect();
        let known = looks.iter().any(|look| self.answers.contains(look));
        self.answers.extend(looks);
        known
    }

    fn send<'b>(&self, probes: impl Iterator<Item = &'b Probe>) -> Result<()> {
        for (number, probe) in probes.enumerate() {
            self.sender.send(&probe.packet)?;
            if number % 64 == 63 {
                thread::sleep(Duration::from_millis(2));
            }
        }
        thread::sleep(Duration::from_millis(15));
        Ok(())
    }

    /// What dropping rules and policies counted since the last look, and what passed.
    fn look(&mut self) -> Result<(HashMap<Place, u64>, [u64; 2])> {
        let (firewall, passed) = self.world.read()?;
        let counted = moved(&self.firewall, &firewall);
        let drops = counted
            .iter()
            .map(|moved| (Place::from(moved), moved.packets));
        let drops = drops
            .filter(|(place, _)| drops_at(&firewall, place))
            .collect();
        let new = [passed[0] - self.passed[0], passed[1] - self.passed[1]];
        self.firewall = firewall;
        self.passed = passed;
        Ok((drops, new))
    }

    fn check_sure(&mut self, probes: &[Probe]) -> Result<()> {
        let mut expected: HashMap<Place, u64> = HashMap::new();
        let mut passes = [0, 0];
        let mut uncounted = 0;
        for probe in probes {
            match &probe.fate {
                Fate::Dropped(place, _) if counts(&self.firewall, place) => {
                    *expected.entry(place.clone()).or_default() += 1;
                }
                Fate::Dropped(..) => uncounted += 1,
                Fate::Passed(None, _) => passes[0] += 1,
                Fate::Passed(Some(_), _) => passes[1] += 1,
                Fate::Elsewhere | Fate::Unclear { .. } => {}
            }
        }
        self.send(probes.iter())?;
        let (mut found, mut passed) = self.look()?;
        if (&found, passed) != (&expected, passes) {
            // The machine may be slow.
            thread::sleep(Duration::from_millis(300));
            let (more, later) = self.look()?;
            for (place, packets) in more {
                *found.entry(place).or_default() += packets;
            }
            passed = [passed[0] + later[0], passed[1] + later[1]];
        }
        if (&found, passed) == (&expected, passes) {
            return Ok(());
        }
        let mut places: Vec<&Place> = expected.keys().chain(found.keys()).collect();
        places.retain(|place| expected.get(place) != found.get(place));
        let told: HashSet<String> = places
            .iter()
            .map(|place| {
                let count = |map: &HashMap<Place, u64>| map.get(place).copied().unwrap_or(0);
                format!(
                    "  {}: said {}, counted {}",
                    show(&self.firewall, place),
                    count(&expected),
                    count(&found)
                )
            })
            .collect();
        let told: Vec<String> = told.into_iter().collect();
        let apart = self.one_by_one(probes)?;
        bail!(
            "passed to the router and through it: said {passes:?}, counted {passed:?}; {uncounted} dropped by what does not count\n{}\n{apart}",
            told.join("\n")
        )
    }

    /// Sends packets again, each alone, and tells the first that went another way than was said.
    fn one_by_one(&mut self, probes: &[Probe]) -> Result<String> {
        for probe in probes {
            self.send(std::iter::once(probe))?;
            let (found, passed) = self.look()?;
            let as_said = match &probe.fate {
                Fate::Dropped(place, _) if counts(&self.firewall, place) => {
                    found.contains_key(place)
                }
                Fate::Dropped(..) | Fate::Elsewhere => found.is_empty() && passed == [0, 0],
                Fate::Passed(to, _) => passed[usize::from(to.is_some())] == 1,
                Fate::Unclear { .. } => true,
            };
            if !as_said {
                let by: Vec<String> = found
                    .keys()
                    .map(|place| show(&self.firewall, place))
                    .collect();
                let said = match &probe.fate {
                    Fate::Dropped(place, stage) => {
                        format!("dropped by {} as {:?}", show(&self.firewall, place), stage)
                    }
                    other => format!("{other:?}"),
                };
                let trace = self.world.trace(|| self.sender.send(&probe.packet))?;
                return Ok(format!(
                    "{:?}\n {:?}\n  said: {said}\n  found: passed {passed:?}, dropped by {by:?}\n{trace}",
                    probe.packet, probe.flow
                ));
            }
        }
        Ok("sent one by one, all went as was said".to_owned())
    }

    fn check_unclear(&mut self, probes: &[Probe]) -> Result<()> {
        if probes.is_empty() {
            return Ok(());
        }
        self.send(probes.iter())?;
        let (found, _) = self.look()?;
        for (place, packets) in found {
            let able = probes.iter().filter(|probe| match &probe.fate {
                Fate::Unclear { may, any } => *any || may.contains(&place),
                _ => false,
            });
            let able = able.count() as u64;
            ensure!(
                packets <= able,
                "{} dropped {packets}; it was a candidate for {able}",
                show(&self.firewall, &place)
            );
        }
        Ok(())
    }

    /// Sends a few dropped packets again, and asks for the rule as the tool does: with the counters before and after.
    fn check_attribution(&mut self, probes: &[Probe]) -> Result<()> {
        let dropped = probes.iter().filter_map(|probe| match &probe.fate {
            Fate::Dropped(place, stage) => Some((probe, place, stage)),
            _ => None,
        });
        for (probe, place, stage) in dropped.take(2) {
            let before = self.firewall.clone();
            self.send(std::iter::once(probe))?;
            self.look()?;
            let site = Site::new(stage.hook);
            let packet = &stage.packet;
            self.tally.attributed += 1;
            let found = attribute(Some(&before), &self.firewall, packet, &site, &self.own);
            let Some(found) = found else {
                // A mark that the hook's own rules can give leaves two ways; a rule that counts nothing stays possible.
                let all = drop_candidates(&self.firewall, packet, &site, &self.own);
                let all = all.iter().map(|one| Place::from(&one.dropped));
                let (own, others): (Vec<Place>, Vec<Place>) = all.partition(|one| one == place);
                ensure!(
                    own.iter()
                        .chain(&others)
                        .any(|one| !counts(&self.firewall, one))
                        && !own.is_empty(),
                    "{} is not found by counters: may be {} for {packet:#?}",
                    show(&self.firewall, place),
                    others
                        .iter()
                        .map(|other| show(&self.firewall, other))
                        .collect::<Vec<_>>()
                        .join(" or ")
                );
                self.tally.left_open += 1;
                continue;
            };
            ensure!(
                Place::from(&found.dropped) == *place,
                "counted as {found:#?} instead of {place:?}"
            );
        }
        Ok(())
    }
}
