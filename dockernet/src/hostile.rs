//! Every parser of what others wrote, fed with any bytes: for the fuzz targets in `tests/fuzz` and the test of hostile
//! input. Nothing of the tool uses this, and no other program should.

use std::{io, path::Path, sync::OnceLock};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    bpf::{btf::Btf, format::EventFormat, symbols::Symbols},
    check::last_words,
    cli::options::{Job, Options, Replay, Scope},
    host::{
        conntrack, docker::convert, engine_files, firewall, freezer, hosts, ipvs, listeners,
        proxies, queue, resolver::Resolv, snmp, sysctl,
    },
    monitor,
    pcap_filter::Expression,
    record,
    report::{Json, Look, Pcapng, Report, Text, TextOptions, Width},
};

/// Takes anything and returns; panicking is what it must not.
pub type Parser = fn(&[u8]);

/// Parsers by name.
pub const PARSERS: &[(&str, Parser)] = &[
    ("btf", btf),
    ("config", config),
    ("conntrack", conntrack),
    ("docker", docker),
    ("ebtables", ebtables),
    ("iptables", iptables),
    ("nft", nft),
    ("packet", packet),
    ("proc", proc),
    ("recording", recording),
];

/// Packet headers: five bytes say where they begin and of which protocol, two the Ethernet type.
pub fn packet(bytes: &[u8]) {
    use dockernet_common::packet::{Start, parse};
    let [
        mac,
        network,
        transport,
        protocol,
        given,
        high,
        low,
        headers @ ..,
    ] = bytes
    else {
        return;
    };
    let start = |bit: u8, at: &u8| (given & 1 << bit != 0).then_some(usize::from(*at));
    let at = Start {
        mac: start(0, mac),
        network: start(1, network),
        transport: start(2, transport),
        protocol: (given & 8 != 0).then_some(*protocol),
    };
    let parsed = parse(headers, at, u16::from_be_bytes([*high, *low]));
    let _ = (parsed.ports(), format!("{parsed:?}"));
}

/// The kernel's type information.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec(), None) else {
        return;
    };
    for (structure, path) in [
        ("sk_buff", "dev"),
        ("net_device", "ip_ptr.cnf"),
        ("nf_conn", "tuplehash"),
    ] {
        let _ = (btf.field(structure, path), btf.offset(structure, path));
    }
    let _ = btf.enumerators("skb_drop_reason");
    let _ = btf.has_function("kfree_skb");
    let _ = btf.tracepoint_arguments("kfree_skb");
    // The same bytes as a module's that builds upon itself.
    let base = std::sync::Arc::new(btf);
    if let Ok(split) = Btf::parse(bytes.to_vec(), Some(base)) {
        let _ = split.field("nf_conn", "tuplehash");
    }
}

/// The settings of `monitor`, a zero byte, the counters that it was handed.
pub fn config(bytes: &[u8]) {
    let (settings, counters) = halves(bytes);
    monitor::hostile(&settings, &counters);
}

/// `nft -j list ruleset`, a zero byte, `nft -a list ruleset`.
pub fn nft(bytes: &[u8]) {
    let (json, listing) = halves(bytes);
    firewall::hostile::nft(&json, &listing);
}

/// `ebtables-legacy -L --Lc`.
pub fn ebtables(bytes: &[u8]) {
    firewall::hostile::ebtables(&String::from_utf8_lossy(bytes));
}

/// `iptables-save`; the first byte says of which family and backend.
pub fn iptables(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else {
        return;
    };
    firewall::hostile::iptables(*kind, &String::from_utf8_lossy(text));
}

/// ctnetlink's answers.
pub fn conntrack(bytes: &[u8]) {
    for sequence in [0, 1] {
        let _ = conntrack::message::answers(bytes, sequence);
    }
}

/// The engine's answers and files: one of each kind.
pub fn docker(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice(bytes) {
        let _ = convert::inspected(answer);
    }
    if let Ok(answer) = serde_json::from_slice(bytes) {
        let _ = convert::listed(answer);
    }
    if let Ok(answer) = serde_json::from_slice(bytes) {
        let _ = convert::network(answer);
    }
    if let Ok(answer) = serde_json::from_slice(bytes) {
        let _ = convert::event(answer);
    }
    let (config, host) = halves(bytes);
    let _ = engine_files::container_files(config.as_bytes(), host.as_bytes());
    let _ = last_words::last_error(&config);
}

/// A recording as it is in its file, and lines of one.
pub fn recording(bytes: &[u8]) {
    let framed = zstd::bulk::compress(bytes, 1).unwrap_or_default();
    let options = Options {
        drops: true,
        nat: true,
        all: true,
        scope: Scope::All,
        job: Job::Replay(Replay {
            files: Vec::new(),
            every_view: true,
        }),
        ..Options::default()
    };
    let text = |_: &Options, since| -> Result<Box<dyn Report + Send>> { Ok(Box::new(text(since))) };
    let json = |_: &Options, _| -> Result<Box<dyn Report + Send>> {
        Ok(Box::new(Pcapng::new(
            io::sink(),
            Box::new(Json::new(io::sink())),
        )))
    };
    let openers: [record::Opener<'_>; 2] = [&text, &json];
    // Where there is a libpcap, packets and flows are held against an expression, too.
    static EXPRESSION: OnceLock<Option<Expression>> = OnceLock::new();
    let expression = EXPRESSION
        .get_or_init(|| Expression::compile("udp[4:2] > 20 or not host 192.0.2.1 or vlan").ok())
        .as_ref();
    for input in [bytes, &framed] {
        for (opener, expression) in openers.into_iter().zip([None, expression]) {
            let source = record::Source {
                name: "x".into(),
                input: Box::new(input),
            };
            let _ = record::replay(&options, expression, vec![source], &mut || Ok(None), opener);
        }
    }
}

fn text(since: Option<Timestamp>) -> Text<io::Sink, io::Sink> {
    let look = Look {
        color: true,
        ascii: true,
        width: Width::Fixed(80),
    };
    let options = TextOptions {
        out: look,
        err: look,
        oneline: false,
        verbose: true,
        outside: "elsewhere",
        zone: TimeZone::UTC,
        clock: Timestamp::now,
        since,
    };
    Text::new(io::sink(), io::sink(), options)
}

/// Text files of the kernel's and of the machine's.
pub fn proc(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    let _ = sysctl::files::parse(text, Path::new("/etc/sysctl.conf"));
    let _ = engine_files::container_of(text);
    let _ = queue::parse_softnet(text);
    let _ = freezer::state_files(text);
    let _ = freezer::says_frozen(text);
    let _ = conntrack::counters::parse_counters(text);
    let _ = proxies::parse(bytes);
    let _ = Resolv::parse(text);
    let _ = hosts::parse(text);
    let _ = ipvs::parse(text);
    let _ = (
        snmp::line_of(text, "Udp6InErrors"),
        snmp::column_of(text, "Udp", "InErrors"),
    );
    for line in text.lines() {
        for transport in [listeners::Transport::Tcp, listeners::Transport::Udp] {
            let _ = listeners::parse(line, transport);
        }
    }
    let format = EventFormat::parse(text);
    let _ = (format.offset("reason"), format.symbols().len());
    let symbols = Symbols::parse(bytes);
    let _ = (
        symbols.name(u64::MAX),
        symbols.address("kfree_skb"),
        symbols.range("nf_hook_slow"),
    );
}

/// Both parts of input that is two texts.
fn halves(bytes: &[u8]) -> (String, String) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    (next(), next())
}
