//! What people and scripts see, whole.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::{
    Timestamp, ToSpan as _,
    tz::{Offset, TimeZone},
};

use super::{Json, Look, Report, Stream, Text, TextOptions, Width, samples::*};
use crate::model::{Confidence, Drop, Endpoint, EndpointKind, Fix, Impact, Nat, NatKind, Tuple};

/// Snapshots lie in one folder and are named by hand.
macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

const PLAIN: Look = Look {
    color: false,
    ascii: false,
    width: Width::Fixed(120),
};

fn options(look: Look) -> TextOptions {
    TextOptions {
        out: look,
        err: look,
        oneline: false,
        verbose: false,
        outside: "host-only",
        zone: TimeZone::fixed(Offset::constant(8)),
        since: None,
        clock: || Timestamp::from_second(1_795_147_263).unwrap(),
    }
}

/// Runs a session and gives what came out of stdout and stderr, in the order of time as a terminal shows it.
fn session(options: TextOptions, script: impl FnOnce(&mut dyn Report)) -> String {
    let terminal = Shared::default();
    let mut text = Text::new(terminal.clone(), terminal.clone(), options);
    script(&mut text);
    terminal.text()
}

#[derive(Clone, Default)]
struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn at(drop: Drop, milliseconds: i64) -> Drop {
    Drop {
        time: drop.time + milliseconds.milliseconds(),
        ..drop
    }
}

fn show(report: &mut dyn Report, drop: &Drop) {
    assert_eq!(report.dropped(drop).unwrap(), Stream::Open);
}

/// Every form of a line once.
fn variety(report: &mut dyn Report) {
    let _ = report.ready(&ready(), Duration::from_millis(140)).unwrap();
    show(report, &incident());
    show(report, &at(incident(), 1008));
    show(report, &at(denied("198.51.100.20", 4000), 2100));
    show(report, &at(incident(), 2200));
    show(report, &at(mystery(), 3300));
    show(report, &at(outbound(), 4100));
    show(report, &at(arp(), 5100));
    show(report, &at(shared_and_pinged(), 6100));
    show(report, &at(too_big(), 7100));
    show(report, &at(noise(), 8100));
    report.warning("no container is called 'wbe' (the nearest is 'web'); waiting for it");
    let _ = report.finding(&at(finding(), 9100)).unwrap();
    let _ = report.finish(&ledger(), true).unwrap();
}

/// From a container, masqueraded, to the host's DNS on a bridge address.
fn outbound() -> Drop {
    let mut drop = denied("172.17.0.2", 4000);
    drop.source = inside("web", "bridge");
    drop.destination = Endpoint {
        kind: EndpointKind::Host,
        container: None,
        network: Some("bridge".into()),
    };
    drop.packet = Some(packet("udp", ("172.17.0.2", 4000), ("172.17.0.1", 53)));
    drop.cause.id = "host-input-drop".into();
    drop.rule = None;
    drop.device = Some("docker0".into());
    drop.nat = Some(Nat {
        kind: NatKind::Snat,
        original: Tuple {
            src: ip("172.17.0.2"),
            src_port: Some(4000),
            dst: ip("172.17.0.1"),
            dst_port: Some(53),
        },
        reply: Tuple {
            src: ip("172.17.0.1"),
            src_port: Some(53),
            dst: ip("198.51.100.10"),
            dst_port: Some(61000),
        },
    });
    drop.count = 1;
    drop
}

fn arp() -> Drop {
    let mut drop = incident();
    let mut packet = packet("arp", ("172.17.0.2", 0), ("172.17.0.9", 0));
    packet.family = "arp".into();
    packet.dst_mac = Some("ff:ff:ff:ff:ff:ff".into());
    drop.packet = Some(packet);
    drop.nat = None;
    drop.published = None;
    drop.source = inside("web", "bridge");
    drop.destination = Endpoint {
        kind: EndpointKind::Unknown,
        container: None,
        network: Some("bridge".into()),
    };
    drop.cause.id = "stp-forward-delay".into();
    drop.cause.evidence = vec!["port veth12 is listening".into()];
    drop.cause.fix = vec![Fix::Command {
        run: "nmcli c modify br0 bridge.stp no".into(),
        netns: "host".into(),
        persist: None,
        set_by: None,
        impact: Impact::Interrupts,
    }];
    drop
}

fn shared_and_pinged() -> Drop {
    let mut drop = mystery();
    drop.cause.id = "container-firewall-drop".into();
    drop.cause.confidence = Confidence::Likely;
    drop.cause.evidence = vec!["chain input of table inet own has policy drop".into()];
    drop.cause.fix = vec![Fix::Command {
        run: "nft add rule inet own input ip protocol icmp accept".into(),
        netns: "gluetun".into(),
        persist: Some("the image's start script".into()),
        set_by: None,
        impact: Impact::OpensFirewall,
    }];
    let mut gluetun = container("gluetun");
    gluetun.shared_with = vec!["torrent".into(), "indexer".into()];
    drop.netns.container = Some(gluetun.clone());
    drop.destination.container = Some(gluetun);
    let mut packet = packet("icmp", ("198.51.100.20", 0), ("172.17.0.4", 0));
    packet.icmp = Some(ping());
    drop.packet = Some(packet);
    drop.source = outside();
    drop
}

fn too_big() -> Drop {
    let mut drop = mystery();
    let mut error = packet("icmpv6", ("2001:db8::1", 0), ("2001:db8::2", 0));
    let mut icmp = ping();
    icmp.icmp_type = 2;
    icmp.inner = Some(Box::new(packet(
        "tcp",
        ("2001:db8::2", 443),
        ("2001:db8:1::9", 5555),
    )));
    error.icmp = Some(icmp);
    drop.packet = Some(error);
    drop.source = Endpoint {
        kind: EndpointKind::Host,
        ..Endpoint::default()
    };
    drop.netns.container = None;
    drop.netns.owner = crate::model::NetnsOwner::Other;
    drop
}

fn noise() -> Drop {
    let mut drop = mystery();
    drop.noise = Some("multicast".into());
    drop.packet = Some(packet("igmp", ("172.17.0.2", 0), ("224.0.0.22", 0)));
    drop.source = inside("web", "bridge");
    drop.destination = Endpoint {
        kind: EndpointKind::Multicast,
        ..Endpoint::default()
    };
    drop
}

fn finding() -> Drop {
    let mut drop = incident();
    drop.packet = None;
    drop.nat = None;
    drop.published = None;
    drop.reason = None;
    drop.location = None;
    drop.stack = None;
    drop.device = None;
    drop.ingress_device = None;
    drop.cause.id = "listener-on-loopback".into();
    drop.cause.evidence = vec!["web listens on 127.0.0.1:80 only".into()];
    drop.cause.fix = vec![Fix::Advice {
        advice: "let the server in web listen on 0.0.0.0 or [::]".into(),
    }];
    drop
}

/// Two seconds of a storm and the calm after it.
fn weather(report: &mut dyn Report) {
    let start = incident().time;
    for millisecond in 0..1900_u16 {
        let source = format!("198.51.100.{}", millisecond % 200);
        show(
            report,
            &at(denied(&source, millisecond), i64::from(millisecond)),
        );
        if millisecond % 100 == 0 {
            let _ = report
                .tick(start + i64::from(millisecond).milliseconds())
                .unwrap();
        }
    }
    for index in 0..8 {
        let mut drop = at(outbound(), 1950);
        let name = format!("worker-{index}");
        if let Some(container) = &mut drop.source.container {
            container.id.clone_from(&name);
            container.name = name;
        }
        drop.count = 10 + index;
        show(report, &drop);
    }
    let _ = report.tick(start + 2.seconds()).unwrap();
    let _ = report.tick(start + 3.seconds()).unwrap();
    show(report, &at(denied("198.51.100.1", 1), 9000));
    let _ = report.finish(&ledger(), false).unwrap();
}

#[test]
fn wide() {
    snapshot!("text-wide", session(options(PLAIN), variety));
}

#[test]
fn narrow() {
    let look = Look {
        width: Width::Fixed(60),
        ..PLAIN
    };
    snapshot!("text-narrow", session(options(look), variety));
}

#[test]
fn ascii() {
    let look = Look {
        ascii: true,
        ..PLAIN
    };
    let text = session(options(look), |report| {
        variety(report);
        weather(report);
    });
    assert!(text.is_ascii());
    snapshot!("text-ascii", text);
}

#[test]
fn color() {
    let look = Look {
        color: true,
        ..PLAIN
    };
    let text = session(options(look), variety).replace('\u{1b}', "␛");
    snapshot!("text-color", text);
}

#[test]
fn oneline() {
    let options = TextOptions {
        oneline: true,
        ..options(PLAIN)
    };
    let text = session(options, variety);
    snapshot!("text-oneline", text);
}

#[test]
fn verbose() {
    let options = TextOptions {
        verbose: true,
        ..options(PLAIN)
    };
    snapshot!("text-verbose", session(options, variety));
}

#[test]
fn storm() {
    snapshot!("text-storm", session(options(PLAIN), weather));
}

#[test]
fn no_docker_degraded_and_secrets() {
    let mut ready = ready();
    ready.docker = None;
    ready.docker_host = Some("tcp://admin:s3cret@192.0.2.7:2376".into());
    ready.containers = 1;
    ready.degraded =
        vec!["no kernel symbols (kernel.kptr_restrict = 2): functions are not named".into()];
    let text = session(options(PLAIN), |report| {
        let _ = report.ready(&ready, Duration::from_millis(55)).unwrap();
    });
    snapshot!("text-degraded", text);
}

#[test]
fn a_new_day_is_said() {
    let text = session(options(PLAIN), |report| {
        let _ = report.ready(&ready(), Duration::from_millis(55)).unwrap();
        show(report, &at(incident(), 0));
        show(report, &at(incident(), 12 * 3_600_000));
    });
    assert!(text.contains("\n2026-11-21 +08:00\n"), "{text}");
}

#[test]
fn explained_again_after_a_while() {
    let text = session(options(PLAIN), |report| {
        show(report, &incident());
        show(report, &at(incident(), 299_000));
        show(report, &at(incident(), 301_000));
        let _ = report.tick(incident().time).unwrap();
    });
    assert_eq!(text.matches("   fix   ").count(), 2, "{text}");
    assert_eq!(text.matches("   same  ").count(), 1, "{text}");
}

/// Before the clock comes to where it was again, a day may pass.
#[test]
fn explained_again_when_the_clock_was_set_back() {
    let text = session(options(PLAIN), |report| {
        show(report, &incident());
        show(report, &at(incident(), -1_000));
        show(report, &at(incident(), -24 * 3_600_000));
        show(report, &at(incident(), -24 * 3_600_000 + 2_000));
        let _ = report.tick(incident().time).unwrap();
    });
    assert_eq!(text.matches("   fix   ").count(), 2, "{text}");
    assert_eq!(text.matches("   same  ").count(), 2, "{text}");
}

#[test]
fn json_lines() {
    let shared = Shared::default();
    let mut json = Json::new(shared.clone());
    let mut ready = ready();
    ready.docker_host = Some("tcp://admin:s3cret@192.0.2.7:2376".into());
    let _ = json.ready(&ready, Duration::ZERO).unwrap();
    let _ = json.dropped(&incident()).unwrap();
    let _ = json.dropped(&denied("198.51.100.20", 4000)).unwrap();
    let _ = json.dropped(&too_big()).unwrap();
    let _ = json.finding(&finding()).unwrap();
    assert_eq!(shared.text().lines().count(), 1, "flushed by the batch");
    let _ = json.tick(incident().time).unwrap();
    assert_eq!(shared.text().lines().count(), 5);
    let _ = json
        .ledger(&crate::model::Ledger {
            is_final: false,
            missed: None,
            nat: None,
            ..ledger()
        })
        .unwrap();
    let _ = json.finish(&ledger(), true).unwrap();
    let text = shared.text();
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    snapshot!("json-lines", text);
}

/// Consumers may rely on the keys and tests on their order: DESIGN §1.
#[test]
fn json_keys_are_those_of_the_contract() {
    let shared = Shared::default();
    let mut json = Json::new(shared.clone());
    let mut drop = denied("198.51.100.20", 4000);
    drop.nat = incident().nat;
    let _ = json.dropped(&drop).unwrap();
    let _ = json.tick(drop.time).unwrap();
    let text = shared.text();
    let order = [
        "{\"type\":\"drop\"",
        "time",
        "flow",
        "reason",
        "location",
        "hook",
        "stack",
        "netns",
        "inum",
        "owner",
        "container",
        "device",
        "ingress_device",
        "packet",
        "family",
        "protocol",
        "src",
        "src_port",
        "dst",
        "dst_port",
        "tcp_flags",
        "icmp",
        "ttl",
        "length",
        "mark",
        "pkt_type",
        "src_mac",
        "dst_mac",
        "ethertype",
        "vlan",
        "nat",
        "kind",
        "original",
        "src",
        "src_port",
        "dst",
        "dst_port",
        "reply",
        "src",
        "src_port",
        "dst",
        "dst_port",
        "source",
        "kind",
        "container",
        "network",
        "destination",
        "kind",
        "container",
        "id",
        "name",
        "image",
        "project",
        "service",
        "shared_with",
        "network",
        "published",
        "rule",
        "backend",
        "table",
        "chain",
        "rule",
        "how",
        "owner",
        "cause",
        "id",
        "confidence",
        "summary",
        "evidence",
        "fix",
        "advice",
        "run",
        "netns",
        "persist",
        "set_by",
        "impact",
        "noise",
        "expected",
        "count",
    ];
    let mut rest = text.as_str();
    for key in order {
        let wanted = if key.starts_with('{') {
            key.to_owned()
        } else {
            format!("\"{key}\":")
        };
        let found = rest.find(&wanted);
        assert!(
            found.is_some(),
            "{key} is not where the contract has it: {rest}"
        );
        // Nothing may be between two keys but their values: no key is skipped here.
        rest = &rest[found.unwrap() + wanted.len()..];
    }
    assert!(!rest.contains("\":"), "keys beyond the contract: {rest}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut json = Json::new(Gone);
    assert_eq!(
        json.ready(&ready(), Duration::ZERO).unwrap(),
        Stream::Closed
    );
    let mut text = Text::new(Gone, Gone, options(PLAIN));
    assert_eq!(text.dropped(&incident()).unwrap(), Stream::Open);
    assert_eq!(text.tick(incident().time).unwrap(), Stream::Closed);
    assert_eq!(text.dropped(&incident()).unwrap(), Stream::Closed);
    assert_eq!(text.finish(&ledger(), false).unwrap(), Stream::Closed);
}

/// The rule is told once, and how it was found makes no new explanation.
#[test]
fn a_rule_is_not_told_twice() {
    const WORDS: &str = "-A DOCKER-USER -i eth0 -j DROP";
    let told = |how: &str| {
        let mut drop = denied("198.51.100.20", 40_000);
        let rule = drop.rule.as_mut().unwrap();
        rule.rule = format!("#3 {WORDS}");
        rule.how = how.to_owned().into();
        drop.cause.evidence = vec![format!("DOCKER-USER #3 in table ip filter: {WORDS}")];
        drop
    };
    let text = session(options(PLAIN), |report| {
        show(report, &told("simulated"));
        show(report, &told("counter"));
        let _ = report.finish(&ledger(), true).unwrap();
    });
    assert_eq!(text.matches(WORDS).count(), 1, "{text}");
    assert!(text.contains("same"), "{text}");
}
