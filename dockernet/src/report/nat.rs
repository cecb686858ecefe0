//! NAT transitions as text: one line each, with its answer or with the lack of one.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    block,
    endpoint::{address, named},
    style::{Line, Role},
};
use crate::model::{EndpointKind, NatKind, Transition, Tuple};

/// How long a line waits for its answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(1);
/// How many may wait; beyond that the oldest goes without.
const CROWD: usize = 10_000;

/// Transitions whose answer has not come yet.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    waiting: VecDeque<Transition>,
}

impl Unanswered {
    /// Takes a transition; gives the lines that are complete by it.
    pub(super) fn seen(&mut self, transition: &Transition, zone: &TimeZone) -> Vec<Line> {
        if !transition.replied {
            self.waiting.push_back(transition.clone());
            let over = self.waiting.len() > CROWD;
            return over
                .then(|| self.waiting.pop_front())
                .flatten()
                .map(|oldest| line(&oldest, zone))
                .into_iter()
                .collect();
        }
        let first = self.waiting.iter().position(|known| {
            known.flow == transition.flow && known.original == transition.original
        });
        if let Some(at) = first {
            self.waiting.remove(at);
        }
        vec![line(transition, zone)]
    }

    /// Lines of those that have waited long enough.
    pub(super) fn overdue(&mut self, now: Timestamp, zone: &TimeZone) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(first) = self.waiting.front() {
            if now != Timestamp::MAX && now.duration_since(first.time) < PATIENCE {
                break;
            }
            if let Some(first) = self.waiting.pop_front() {
                lines.push(line(&first, zone));
            }
        }
        lines
    }
}

/// `12:01:03.123 dnat  198.51.100.20:48084 → 198.51.100.10:10001 ⇒ web (172.17.0.2:80)  0.0.0.0:10001→80/tcp  answered in 0.4 ms`
fn line(transition: &Transition, zone: &TimeZone) -> Line {
    let mut line = Line::hanging(13);
    line.push(Role::Dim, block::clock(transition.time, zone))
        .plain(format!(" {:<10} ", kind(transition)));
    let (original, translated) = (&transition.original, &transition.translated);
    match transition.kind {
        NatKind::Dnat => {
            source(&mut line, transition, source_of(original));
            line.plain(" → ")
                .plain(destination_of(original))
                .plain(" ⇒ ");
            destination(&mut line, transition);
        }
        NatKind::Snat => {
            source(&mut line, transition, source_of(original));
            line.plain(" ⇒ ").plain(source_of(translated)).plain(" → ");
            destination(&mut line, transition);
        }
        NatKind::Both => {
            source(&mut line, transition, source_of(original));
            line.plain(" → ")
                .plain(destination_of(original))
                .plain(" ⇒ ");
            line.plain(source_of(translated)).plain(" → ");
            destination(&mut line, transition);
        }
    }
    if let Some(published) = &transition.published {
        line.plain("  ").plain(published.replace("->", "→"));
    } else {
        line.plain(format!("  {}", transition.protocol));
    }
    match (transition.replied, transition.answer_ms) {
        (true, Some(ms)) => line.push(Role::Dim, format!("  answered in {} ms", milliseconds(ms))),
        (true, None) => line.push(Role::Dim, "  answered"),
        // What is answered to the host itself leaves by no device.
        (false, _) if transition.source.kind == EndpointKind::Host => &mut line,
        (false, _) => line.push(Role::Warning, "  no answer yet"),
    };
    line
}

fn kind(transition: &Transition) -> &'static str {
    match (transition.hairpin, transition.kind, transition.masquerade) {
        (true, ..) => "hairpin",
        (_, NatKind::Dnat, _) => "dnat",
        (_, NatKind::Snat, Some(true)) => "masquerade",
        (_, NatKind::Snat, _) => "snat",
        (_, NatKind::Both, _) => "dnat+snat",
    }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{ms:.2}"),
        ..10.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

fn source_of(tuple: &Tuple) -> String {
    address((tuple.src, tuple.src_port))
}

fn destination_of(tuple: &Tuple) -> String {
    address((tuple.dst, tuple.dst_port))
}

fn source(line: &mut Line, transition: &Transition, address: String) {
    match &transition.source.container {
        Some(container) => line
            .push(Role::Name, named(container))
            .plain(format!(" ({address})")),
        None => line.push(Role::Name, address),
    };
}

fn destination(line: &mut Line, transition: &Transition) {
    let address = destination_of(&transition.translated);
    match &transition.destination.container {
        Some(container) => line
            .push(Role::Name, named(container))
            .plain(format!(" ({address})")),
        None => line.push(Role::Name, address),
    };
}
