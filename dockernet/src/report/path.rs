//! Journeys as text: a flow's head, one line per packet, a table of hops at the end.

use jiff::tz::TimeZone;

use super::{
    block, endpoint, protocol,
    style::{Line, Role, counted, thousands},
};
use crate::model::{
    EndpointKind, FlowSum, FlowVerdict, Hop, HopSum, Journey, JourneyEnd, NetnsOwner, Passage,
    ProbeEnd, Silence, Tuple, Way,
};

/// Columns of what a packet is.
const WHAT: usize = 9;
/// Lines of a second beyond which packets are only counted: more than a person reads.
const LINES: u32 = 40;

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct Journeys {
    flow: Option<String>,
    /// Explained drops, so that each cause is explained once.
    explained: Vec<u64>,
    second: i64,
    lines: u32,
    untold: u64,
}

impl Journeys {
    /// The lines of a finished journey.
    pub(super) fn journey(
        &mut self,
        journey: &Journey,
        zone: &TimeZone,
        verbose: bool,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        let second = journey.time.as_second();
        if second != self.second {
            self.second = second;
            self.lines = 0;
            lines.extend(self.untold());
        }
        self.lines += 1;
        // What dies is always told.
        if self.lines > LINES && journey.drop.is_none() && journey.end != JourneyEnd::Lost {
            self.untold += 1;
            return lines;
        }
        if self.flow.as_ref() != Some(&journey.flow) {
            self.flow = Some(journey.flow.clone());
            lines.push(head(journey));
        }
        lines.push(packet(journey, zone));
        if verbose {
            lines.extend(journey.hops.iter().map(hop));
        }
        if let Some(drop) = &journey.drop {
            let key = block::key(drop);
            if !self.explained.contains(&key) {
                self.explained.push(key);
                // Its first two lines say what the journey has said.
                lines.extend(block::full(drop, zone, verbose).into_iter().skip(2));
            }
        }
        lines
    }

    /// `… no answer in 3 s: …`.
    pub(super) fn silence(&mut self, silence: &Silence, zone: &TimeZone) -> Line {
        let mut line = Line::hanging(15);
        line.push(Role::Dim, block::clock(silence.time, zone))
            .push(Role::Warning, format!(" … {}", silence.sentence));
        line
    }

    /// Packets that went without a line.
    pub(super) fn untold(&mut self) -> Option<Line> {
        let untold = std::mem::take(&mut self.untold);
        (untold > 0).then(|| {
            let mut line = Line::default();
            line.push(
                Role::Dim,
                format!("   +{} more in that second", counted(untold, "packet")),
            );
            line
        })
    }
}

/// `198.51.100.20:48084 → 198.51.100.10:10001 ⇒ web (172.17.0.2:80)  tcp  0.0.0.0:10001→80/tcp`
fn head(journey: &Journey) -> Line {
    let packet = &journey.packet;
    let own = packet.src.zip(packet.dst).map(|(src, dst)| Tuple {
        src,
        src_port: packet.src_port,
        dst,
        dst_port: packet.dst_port,
    });
    let forward = match (&journey.nat, journey.way) {
        (Some(nat), _) => Some(nat.original.clone()),
        (None, Way::Forward) => own,
        (None, Way::Back) => own.map(|tuple| tuple.turned()),
    };
    let echo = packet.icmp.is_some();
    let end = |address, port: Option<u16>| endpoint::address((address, port.filter(|_| !echo)));
    let mut line = Line::hanging(3);
    let Some(forward) = forward else {
        return line;
    };
    let named = |line: &mut Line, at: &crate::model::Endpoint, address: String| {
        match &at.container {
            Some(container) => line
                .push(Role::Name, endpoint::named(container))
                .plain(format!(" ({address})")),
            None if at.kind == EndpointKind::Host => {
                line.push(Role::Name, "host").plain(format!(" ({address})"))
            }
            None => line.push(Role::Name, address),
        };
    };
    named(
        &mut line,
        &journey.source,
        end(forward.src, forward.src_port),
    );
    line.plain(" → ");
    let asked = end(forward.dst, forward.dst_port);
    let server = journey
        .nat
        .as_ref()
        .map(|nat| end(nat.reply.src, nat.reply.src_port))
        .filter(|server| *server != asked);
    match server {
        Some(server) => {
            line.plain(asked).plain(" ⇒ ");
            named(&mut line, &journey.destination, server);
        }
        None => named(&mut line, &journey.destination, asked),
    }
    line.plain(format!("  {}", packet_protocol(journey)));
    if let Some(published) = &journey.published {
        line.plain(format!("  {}", published.replace("->", "→")));
    }
    line
}

/// An ICMP error is about a flow of another protocol.
fn packet_protocol(journey: &Journey) -> &str {
    let inner = journey
        .packet
        .icmp
        .as_ref()
        .and_then(|icmp| icmp.inner.as_ref());
    inner.map_or(&*journey.packet.protocol, |inner| &*inner.protocol)
}

/// `12:01:03.123 → SYN       eth0 · dnat · docker0 +21 µs · veth1a2b3c +4 µs · web:eth0 +10 µs   delivered to web`
fn packet(journey: &Journey, zone: &TimeZone) -> Line {
    let mut line = Line::hanging(17);
    let arrow = match journey.way {
        Way::Forward => "→",
        Way::Back => "←",
    };
    line.push(Role::Dim, block::clock(journey.time, zone))
        .plain(format!(" {arrow} {:<WHAT$} ", what(journey)));
    let mut before = 0.0;
    for (place, hop) in journey.hops.iter().enumerate() {
        if place > 0 {
            line.push(Role::Dim, " · ");
        }
        if let Some(nat) = &hop.nat {
            line.push(Role::Likely, nat.kind).push(Role::Dim, " · ");
        }
        line.push(Role::Name, device(&hop.netns, &hop.device));
        if hop.packets > 1 {
            line.plain(format!("\u{a0}×{}", hop.packets));
        }
        if place > 0 {
            line.push(
                Role::Dim,
                format!("\u{a0}+{}", span(hop.offset_us - before)),
            );
        }
        before = hop.offset_us;
    }
    if !journey.hops.is_empty() {
        line.plain("  ");
    }
    end(&mut line, journey);
    if let Some(ms) = journey.answer_ms {
        line.push(Role::Dim, format!(", after {}", span(ms * 1000.0)));
    }
    line
}

fn end(line: &mut Line, journey: &Journey) {
    match (journey.end, &journey.drop) {
        (JourneyEnd::Dropped, Some(drop)) => {
            let (role, name) = block::cause_name(drop);
            line.push(role, format!("✗ {name}"));
            let confidence = match drop.cause.confidence {
                crate::model::Confidence::Confirmed => " (confirmed)",
                crate::model::Confidence::Likely => " (likely)",
                crate::model::Confidence::Unknown => "",
            };
            line.plain(confidence);
            let device = drop.device.as_deref().unwrap_or("no device");
            let at_last = journey.hops.last().is_some_and(|hop| hop.device == device);
            if !at_last {
                line.push(Role::Dim, format!(", {}", endpoint::way(drop)));
            }
        }
        (JourneyEnd::Lost, _) => {
            line.push(Role::Confirmed, format!("✗ {}", journey.sentence));
        }
        (JourneyEnd::Unknown, _) => {
            line.push(Role::Unknown, format!("? {}", journey.sentence));
        }
        _ => {
            line.plain(&journey.sentence);
        }
    }
}

/// One hop on a line of its own, for `-v`.
fn hop(hop: &Hop) -> Line {
    let mut line = Line::hanging(20);
    let direction = match hop.direction {
        Passage::In => "in ",
        Passage::Out => "out",
    };
    line.plain(format!(
        "   {:>10}  {direction}  ",
        format!("+{}", span(hop.offset_us))
    ));
    line.push(Role::Name, device(&hop.netns, &hop.device));
    if let Some(nat) = &hop.nat {
        line.plain(format!("  {}: now {} → {}", nat.kind, nat.src, nat.dst));
    }
    line
}

fn what(journey: &Journey) -> String {
    let packet = &journey.packet;
    match (&packet.tcp_flags, &packet.icmp) {
        (Some(letters), _) => protocol::flags(letters),
        (None, Some(_)) => protocol::remark(packet)
            .split(" about ")
            .next()
            .unwrap_or_default()
            .trim_start_matches("icmpv6 ")
            .trim_start_matches("icmp ")
            .trim_end_matches(" (ping)")
            .to_owned(),
        _ => format!("{}\u{a0}B", packet.length),
    }
}

/// `eth0` of the host, `web:eth0` of a container.
fn device(netns: &crate::model::Netns, device: &str) -> String {
    match (netns.owner, &netns.name) {
        (NetnsOwner::Host, _) | (_, None) => device.to_owned(),
        (_, Some(name)) => format!("{name}:{device}"),
    }
}

/// A span of microseconds.
fn span(us: f64) -> String {
    match us {
        us if us < 100.0 => format!("{us:.0}\u{a0}µs"),
        us if us < 10_000.0 => format!("{:.2}\u{a0}ms", us / 1000.0),
        us if us < 1_000_000.0 => format!("{:.0}\u{a0}ms", us / 1000.0),
        us => format!("{:.1}\u{a0}s", us / 1_000_000.0),
    }
}

/// `12:01:03.123 probe  web → db:5432 (172.18.0.3:5432)  tcp  connected in 0.3 ms`
pub(super) fn probe(probe: &ProbeEnd, zone: &TimeZone) -> Line {
    let mut line = Line::hanging(20);
    line.push(Role::Dim, block::clock(probe.time, zone))
        .plain(" probe  ")
        .push(Role::Name, &probe.from)
        .plain(" → ")
        .push(Role::Name, &probe.to);
    if probe.address != probe.to {
        line.plain(format!(" ({})", probe.address));
    }
    let role = if probe.answered {
        Role::Fix
    } else {
        Role::Confirmed
    };
    line.plain(format!("  {}  ", probe.kind))
        .push(role, &probe.sentence);
    line
}

/// The end of a run: what each flow came to, with its hops.
pub(super) fn sums(sums: &[FlowSum]) -> Vec<Line> {
    /// Flows whose hops are listed; of the others the verdict alone.
    const LISTED: usize = 8;
    let mut lines = Vec::new();
    if sums.is_empty() {
        let mut line = Line::default();
        line.push(Role::Warning, "no packet of it was seen");
        lines.push(line);
    }
    for (place, sum) in sums.iter().enumerate().take(3 * LISTED) {
        let mut line = Line::hanging(3);
        let role = match sum.verdict {
            FlowVerdict::Answered => Role::Fix,
            FlowVerdict::Refused | FlowVerdict::Unanswered => Role::Confirmed,
        };
        let to = match (&sum.destination.container, &sum.published) {
            (Some(container), Some(_)) => format!("{} ({})", sum.to, endpoint::named(container)),
            _ => sum.to.clone(),
        };
        line.push(Role::Name, format!("{} → {to}", sum.from))
            .plain(format!(" {}  ", sum.protocol))
            .push(role, &sum.sentence);
        lines.push(line);
        if place < LISTED {
            lines.extend(table("→", &sum.forward));
            lines.extend(table("←", &sum.back));
        }
    }
    if sums.len() > 3 * LISTED {
        let count = |verdict| sums.iter().filter(|sum| sum.verdict == verdict).count();
        let mut line = Line::default();
        line.plain(format!(
            "{} flows in all: {} answered, {} refused, {} unanswered",
            thousands(sums.len() as u64),
            count(FlowVerdict::Answered),
            count(FlowVerdict::Refused),
            count(FlowVerdict::Unanswered)
        ));
        lines.push(line);
    }
    lines
}

/// `   → eth0               3 packets`
/// `     docker0            3   +0.02 ms, at most 0.1 ms`
fn table(arrow: &str, hops: &[HopSum]) -> Vec<Line> {
    let name = |hop: &HopSum| match hop.netns.as_deref() {
        None | Some("host") => hop.device.clone(),
        Some(name) => format!("{name}:{}", hop.device),
    };
    let width = hops.iter().map(|hop| name(hop).len()).max().unwrap_or(0);
    hops.iter()
        .enumerate()
        .map(|(place, hop)| {
            let mut line = Line::default();
            let sign = if place == 0 { arrow } else { " " };
            let direction = match hop.direction {
                Passage::In => "in ",
                Passage::Out => "out",
            };
            line.plain(format!(
                "   {sign} {:<width$}  {direction} {:>7}",
                name(hop),
                thousands(hop.packets)
            ));
            if let (Some(median), Some(longest)) = (hop.median_us, hop.max_us) {
                line.push(
                    Role::Dim,
                    format!("  +{}, at most {}", span(median), span(longest)),
                );
            }
            if hop.ended > 0 {
                line.push(
                    Role::Confirmed,
                    format!("  {} ended here", thousands(hop.ended)),
                );
            }
            line
        })
        .collect()
}
