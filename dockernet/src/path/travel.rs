//! A flow's packets from hop to hop, and into its books.

use super::{
    ending::Ending,
    flow::Flow,
    lines,
    observe::Observation,
    packet::{Fit, Traveller},
};
use crate::{
    bpf::clock::Clock,
    inventory::Inventory,
    model::{JourneyEnd, PathEvent, Way},
};

/// Puts an observation where it belongs: to a packet under way, or a new one. `most`: packets of a flow under way.
pub(super) fn travel(flow: &mut Flow, way: Way, seen: &Observation, most: usize) {
    // Nothing fits better than the same skb, and what moves is among the last to have come: most need no look at the others.
    if let Some(traveller) = flow
        .under_way
        .iter_mut()
        .rev()
        .find(|other| other.way == way && other.fit(seen) == Some(Fit::Same))
    {
        traveller.advance(seen);
        return;
    }
    let fitting: Vec<(Fit, usize)> = flow
        .under_way
        .iter()
        .enumerate()
        .filter(|(_, other)| other.way == way)
        .filter_map(|(place, other)| Some((other.fit(seen)?, place)))
        .collect();
    let best = fitting.iter().map(|(fit, _)| *fit).max();
    let chosen: Vec<usize> = fitting
        .iter()
        .filter(|(fit, _)| Some(*fit) == best)
        .map(|(_, place)| *place)
        .collect();
    match (best, chosen.as_slice()) {
        (Some(Fit::Part), all) => {
            // Many that became one all go on in it.
            for place in all {
                if let Some(traveller) = flow.under_way.get_mut(*place) {
                    traveller.advance(seen);
                }
            }
        }
        (Some(fit), [.., last]) => {
            // Copies that nothing tells apart: which of them this is cannot be known.
            if fit == Fit::Alike && chosen.len() > 1 {
                for place in &chosen {
                    if let Some(traveller) = flow.under_way.get_mut(*place) {
                        traveller.ambiguous = true;
                    }
                }
            }
            if let Some(traveller) = flow.under_way.get_mut(*last) {
                traveller.advance(seen);
            }
        }
        _ => start(flow, way, seen, most),
    }
}

fn start(flow: &mut Flow, way: Way, seen: &Observation, most: usize) {
    let mut traveller = Traveller::new(seen, way);
    let [forward, back] = &mut flow.last_started_ns;
    let (mine, theirs) = match way {
        Way::Forward => (forward, back),
        Way::Back => (back, forward),
    };
    traveller.answer_ns = theirs
        .filter(|_| way == Way::Back)
        .map(|then| seen.ktime_ns.saturating_sub(then));
    *mine = Some(seen.ktime_ns);
    match way {
        Way::Back => flow.asked = None,
        Way::Forward if traveller.asks() && flow.asked.is_none() => {
            flow.asked = Some((seen.ktime_ns, false));
        }
        Way::Forward => {}
    }
    if flow.under_way.len() >= most {
        flow.under_way.remove(0);
        flow.let_go += 1;
    }
    flow.under_way.push(traveller);
}

/// Enters a finished journey into its flow's books, and tells it.
pub(super) fn settle(
    flow: &mut Flow,
    traveller: &Traveller,
    ending: &Ending,
    clock: Clock,
    inventory: &Inventory,
) -> PathEvent {
    let [forward, back] = &mut flow.sums;
    match traveller.way {
        Way::Forward => {
            forward.add(traveller, ending.end);
            flow.last_forward = Some(ending.sentence.clone());
            if ending.end == JourneyEnd::Dropped {
                // Its silence needs no telling.
                flow.asked = None;
            }
        }
        Way::Back => {
            back.add(traveller, ending.end);
            let arrived = matches!(ending.end, JourneyEnd::Delivered | JourneyEnd::Left);
            if arrived && (traveller.is_error() || traveller.is_reset()) {
                if flow.refused.is_none() {
                    flow.refused = Some(lines::refusal(traveller, inventory));
                }
            } else if arrived {
                flow.answered = true;
            }
        }
    }
    lines::journey(flow, traveller, ending, clock, inventory)
}
