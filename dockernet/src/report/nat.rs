//! NAT transitions as text: one line each, with its answer or with the lack of one.

use jiff::tz::TimeZone;

use super::{
    block,
    endpoint::{address, named},
    style::{Line, Role},
};
use crate::model::{NatKind, Transition, Tuple};

/// `12:01:03.123 dnat  198.51.100.20:48084 → 198.51.100.10:10001 ⇒ web (172.17.0.2:80)  0.0.0.0:10001→80/tcp  answered in 0.4 ms`
pub(super) fn line(transition: &Transition, zone: &TimeZone) -> Line {
    let mut line = Line::hanging(13);
    line.push(Role::Dim, block::clock(transition.time, zone))
        .plain(format!(" {:<10} ", kind(transition)));
    ends(&mut line, transition);
    match &transition.published {
        Some(published) if transition.kind != NatKind::Proxy => {
            line.plain("  ").plain(published.replace("->", "→"));
        }
        Some(_) => {}
        None => {
            line.plain(format!("  {}", transition.protocol));
        }
    }
    if let Some(answer) = answer(transition) {
        line.push(Role::Dim, format!("  {answer}"));
    } else {
        line.push(Role::Warning, "  no answer yet");
    }
    if transition.old {
        line.push(Role::Dim, format!("  {}", age(transition)));
    }
    line
}

fn ends(line: &mut Line, transition: &Transition) {
    let translated = &transition.translated;
    let Some(original) = &transition.original else {
        line.push(Role::Dim, "client unknown");
        carried(line, transition);
        return;
    };
    source(line, transition, source_of(original));
    match transition.kind {
        NatKind::Proxy => {
            carried(line, transition);
            return;
        }
        NatKind::Dnat => line.plain(format!(" → {} ⇒ ", destination_of(original))),
        NatKind::Snat => line.plain(format!(" ⇒ {} → ", source_of(translated))),
        NatKind::Both => line.plain(format!(
            " → {} ⇒ {} → ",
            destination_of(original),
            source_of(translated)
        )),
    };
    destination(line, transition);
}

/// ` → 0.0.0.0:10001 ⇒ docker-proxy ⇒ web (172.17.0.2:80)`.
fn carried(line: &mut Line, transition: &Transition) {
    let published = transition.published.as_deref().unwrap_or_default();
    let listens = published.split("->").next().unwrap_or(published);
    line.plain(format!(" → {listens} ⇒ docker-proxy ⇒ "));
    destination(line, transition);
}

fn kind(transition: &Transition) -> &'static str {
    match (transition.kind, transition.masquerade) {
        (NatKind::Proxy, _) => "proxied",
        _ if transition.hairpin => "hairpin",
        _ if transition.redirect => "redirect",
        (NatKind::Dnat, _) => "dnat",
        (NatKind::Snat, Some(true)) => "masquerade",
        (NatKind::Snat, _) => "snat",
        (NatKind::Both, Some(true)) => "dnat+masq",
        (NatKind::Both, _) => "dnat+snat",
    }
}

/// None while there is no answer.
fn answer(transition: &Transition) -> Option<String> {
    if !transition.replied {
        return None;
    }
    Some(
        match (transition.answer_ms, transition.answered_within_ms) {
            (Some(ms), _) => format!("answered in {}", span(ms)),
            (None, Some(ms)) => format!("answered within {}", span(ms)),
            (None, None) => "answered".to_owned(),
        },
    )
}

fn age(transition: &Transition) -> String {
    match transition.age_ms {
        Some(ms) => format!("open for {}", span(ms)),
        None => "older than this run".to_owned(),
    }
}

fn span(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{ms:.2} ms"),
        ..10.0 => format!("{ms:.1} ms"),
        ..10_000.0 => format!("{ms:.0} ms"),
        ..600_000.0 => format!("{:.0} s", ms / 1e3),
        ..36_000_000.0 => format!("{:.0} min", ms / 60e3),
        _ => format!("{:.0} h", ms / 3600e3),
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
