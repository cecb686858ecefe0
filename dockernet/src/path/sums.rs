//! How many packets were seen at each hop of one way, and how long the steps took.

use super::packet::Traveller;
use crate::{
    inventory::Inventory,
    model::{HopSum, JourneyEnd, NetnsKey, Passage},
};

/// Steps whose time is remembered for each hop: enough for a median that means something.
const STEPS: usize = 1024;

/// One way of a flow.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Packets whose way is over.
    pub packets: u64,
    hops: Vec<Sum>,
}

#[derive(Debug)]
struct Sum {
    netns: NetnsKey,
    ifindex: u32,
    device: String,
    passage: Passage,
    packets: u64,
    ended: u64,
    steps_ns: Vec<u64>,
    longest_ns: u64,
}

impl Sums {
    /// Adds a packet whose way is over.
    pub(super) fn add(&mut self, traveller: &Traveller, end: JourneyEnd) {
        self.packets += 1;
        let mut before: Option<(usize, u64)> = None;
        for stop in &traveller.stops {
            let found = self.hops.iter().position(|sum| {
                (sum.netns, sum.ifindex, sum.passage) == (stop.netns, stop.ifindex, stop.passage)
            });
            let place = found.unwrap_or_else(|| {
                // Behind the hop that it came from, so that the list is in the order of the way.
                let place = before.map_or(0, |(place, _)| place + 1);
                self.hops.insert(
                    place,
                    Sum {
                        netns: stop.netns,
                        ifindex: stop.ifindex,
                        device: stop.device.clone(),
                        passage: stop.passage,
                        packets: 0,
                        ended: 0,
                        steps_ns: Vec::new(),
                        longest_ns: 0,
                    },
                );
                place
            });
            if let Some(sum) = self.hops.get_mut(place) {
                sum.packets += 1;
                if let Some((_, then)) = before {
                    let step = stop.ktime_ns.saturating_sub(then);
                    sum.longest_ns = sum.longest_ns.max(step);
                    if sum.steps_ns.len() < STEPS {
                        sum.steps_ns.push(step);
                    }
                }
            }
            before = Some((place, stop.ktime_ns));
        }
        let lost = matches!(end, JourneyEnd::Dropped | JourneyEnd::Lost);
        if let (true, Some((place, _))) = (lost, before)
            && let Some(sum) = self.hops.get_mut(place)
        {
            sum.ended += 1;
        }
    }

    /// In the form that is shown.
    pub(super) fn shown(&self, inventory: &Inventory) -> Vec<HopSum> {
        self.hops
            .iter()
            .map(|sum| {
                let mut steps = sum.steps_ns.clone();
                steps.sort_unstable();
                HopSum {
                    netns: inventory.namespace_label(sum.netns),
                    device: sum.device.clone(),
                    direction: sum.passage,
                    packets: sum.packets,
                    ended: sum.ended,
                    median_us: steps.get(steps.len() / 2).copied().map(microseconds),
                    max_us: (!steps.is_empty()).then(|| microseconds(sum.longest_ns)),
                }
            })
            .collect()
    }
}

/// Nanoseconds as microseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a span of time within one run, for display"
)]
pub(super) fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
