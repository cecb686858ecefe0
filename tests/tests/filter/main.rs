//! `--filter`: of two faults' packets those are shown that the expression accepts, on the wire, as the host itself sends them, and
//! behind NAT; the rest is counted as filtered. The rules' own counters are the truth.

mod tcpdump;

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, Finished, HOST_IP6, Lab, LabOptions, Place, Run, Tracer, can_run, engines_of_run,
    group,
    monitor::{Monitor, sum},
    replay, tool_path,
    traffic::{Flood, FrameSender, Probe, Proto, flood},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Both drop UDP: `one` what is for port 7001 (published as 10001), `two` what is for 7002 (10002).
const RULES: &str = "nft -f - <<END
table inet guard {
    counter one { }
    counter two { }
    chain sent {
        type filter hook output priority -10;
        udp dport 7001 counter name one drop
        udp dport 7002 counter name two drop
    }
    chain forwarded {
        type filter hook forward priority -10;
        udp dport 7001 counter name one drop
        udp dport 7002 counter name two drop
    }
}
END";

/// Packets to each port from each place.
const EACH: u32 = 5;

#[test]
fn the_expression_decides_what_is_shown() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines_of_run()? {
        on(&engine).with_context(|| format!("engine {}", engine.name))?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10080:80")
            .publish("10001:7001/udp")
            .publish("10002:7002/udp")
            .wait_port("80/tcp"),
    )?;
    let output = lab.shell(&Place::Host, RULES)?;
    ensure!(output.success(), "{output:?}");
    group(
        &mut lab,
        &[
            ("packets that the host sends", sent),
            ("packets behind DNAT", translated),
            ("the Ethernet header, where there is one", ethernet),
            ("IPv6 behind NAT, and VLAN tags", six_and_tags),
            ("with the classic tracepoint", classic),
            ("beside other filters", beside),
            ("several ports and addresses, in a storm", several),
            ("a recording holds what it accepts", kept),
            ("the monitor counts the rest as filtered", monitored),
            ("the kernel half's verdicts are tcpdump's", tcpdump::agrees),
            ("expressions of every kind load", loads),
            ("NAT transitions", transitions),
            ("a wrong expression", wrong),
        ],
    )
}

fn counter(lab: &Lab, name: &str) -> Result<u64> {
    let text = lab
        .shell(&Place::Host, &format!("nft list counter inet guard {name}"))?
        .stdout;
    text.split_once("packets ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no counter {name}: {text}"))
}

/// Five datagrams to each of two ports.
fn send(lab: &Lab, from: &Place, to: &str, ports: [u16; 2]) -> Result<()> {
    let from = lab.netns(from)?;
    for port in ports {
        let mut probe = Probe::udp(SocketAddr::new(to.parse()?, port));
        probe.timeout = Duration::from_millis(10);
        // One by one: the rule on the way out makes sending fail.
        for _ in 0..EACH {
            probe.send(&from)?;
        }
    }
    Ok(())
}

/// As [`counted`], of what tells of drops.
fn traced(lab: &Lab, tracer: Tracer) -> Result<Finished> {
    let done = counted(lab, tracer)?;
    done.check_balance()?;
    Ok(done)
}

/// A run with an expression while both rules drop packets of the host's and of the outside's. The rules' counters are checked
/// against the ledger; what is shown is the caller's.
fn counted(lab: &Lab, tracer: Tracer) -> Result<Finished> {
    let before = counter(lab, "one")? + counter(lab, "two")?;
    let web = lab.container_ip("web", None)?.to_string();
    send(lab, &Place::Host, &web, [7001, 7002])?;
    send(lab, &Place::Outside, "198.51.100.10", [10001, 10002])?;
    thread::sleep(Duration::from_millis(300));
    tracer.signal(Signal::SIGINT)?;
    let done = tracer.wait(Duration::from_secs(10))?;
    ensure!(done.status == Some(0), "{done:?}");
    let dropped = counter(lab, "one")? + counter(lab, "two")? - before;
    ensure!(
        dropped == u64::from(4 * EACH),
        "the rules dropped {dropped} packets"
    );
    let (observed, missed) = (done.count("observed")?, done.missed()?);
    ensure!(
        observed + missed >= dropped,
        "the ledger has {observed} + {missed} of {dropped} packets"
    );
    Ok(done)
}

/// How many packets an expression shows.
fn shown(lab: &Lab, expression: &str) -> Result<u64> {
    let done = traced(
        lab,
        Tracer::start(lab, &["--drops", "--filter", expression])?,
    )?;
    let (shown, filtered) = (done.count("shown")?, done.count("filtered")?);
    ensure!(
        shown + filtered >= u64::from(4 * EACH),
        "{expression}: {}",
        done.ledger()?
    );
    Ok(shown)
}

fn expect(lab: &Lab, cases: &[(&str, u32)]) -> Result<()> {
    for (expression, expected) in cases {
        let shown = shown(lab, expression)?;
        ensure!(
            shown == u64::from(*expected),
            "{expression}: {shown} packets are shown, not {expected}"
        );
    }
    Ok(())
}

fn sent(lab: &mut Lab) -> Result<()> {
    let web = lab.container_ip("web", None)?;
    // The bridge's own address is the source.
    expect(
        lab,
        &[
            (
                &format!("udp dst port 7001 and not host 198.51.100.20 and dst host {web}"),
                EACH,
            ),
            (
                "ip src net 172.16.0.0/12 and udp[4:2] > 8 and dst portrange 7001-7002",
                2 * EACH,
            ),
            ("udp dst port 7001 and ip[0] & 0xf > 5", 0),
        ],
    )
}

fn translated(lab: &mut Lab) -> Result<()> {
    let web = lab.container_ip("web", None)?;
    expect(
        lab,
        &[
            ("udp dst port 10001", EACH),
            ("src host 198.51.100.20 and dst port 7001", EACH),
            ("dst host 198.51.100.10 and udp", 2 * EACH),
            (&format!("src 198.51.100.20 and dst {web}"), 2 * EACH),
            ("udp src port 10001 or tcp dst port 10001", 0),
        ],
    )
}

fn ethernet(lab: &mut Lab) -> Result<()> {
    let link = lab.shell(&Place::Host, "ip -o link show dev eth0")?.stdout;
    let mac = link
        .split_once("link/ether ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .with_context(|| format!("no address of eth0: {link}"))?;
    // What the host sends has no Ethernet header yet where it is dropped.
    expect(
        lab,
        &[
            (&format!("ether dst {mac} and udp"), 2 * EACH),
            ("ether src 00:00:5e:00:53:99", 0),
            ("ether proto 0x0800 and udp and greater 40", 4 * EACH),
            ("vlan and udp", 0),
        ],
    )
}

/// A datagram of IPv6 that goes to another port, and one whose tag the device has taken out. Neither has to do with a container.
fn six_and_tags(lab: &mut Lab) -> Result<()> {
    /// `seven` drops before conntrack has seen the packet, `six` behind it.
    const RULES: &str = "nft -f - <<END
table ip6 guard {
    chain before {
        type nat hook prerouting priority -100;
        udp dport 10061 redirect to :7061
    }
    chain in {
        type filter hook input priority 10;
        udp dport 7061 drop
    }
}
table netdev guard {
    chain in {
        type filter hook ingress device eth0 priority 0;
        vlan id 7 drop
    }
}
END";
    let output = lab.shell(&Place::Host, RULES)?;
    ensure!(output.success(), "{output:?}");
    for (expression, expected) in [
        ("ip6 and udp dst port 10061", EACH),
        ("ip6 dst host 2001:db8:1::10 and dst port 7061", EACH),
        ("ip and udp dst port 7061", 0),
        ("vlan 7 and udp dst port 7007", EACH),
        ("vlan 8 and udp", 0),
        // As in tcpdump: behind a tag lies no IP header where it is looked for.
        ("udp dst port 7007", 0),
    ] {
        let arguments = ["--drops", "--scope", "all", "--all", "--filter", expression];
        let tracer = Tracer::start(lab, &arguments)?;
        send(lab, &Place::Outside, HOST_IP6, [10061, 7062])?;
        lab.outside().within(|| {
            let sender = FrameSender::open("eth0")?;
            for port in [7007, 7008] {
                for _ in 0..EACH {
                    sender.send(&tagged(port))?;
                }
            }
            Ok(())
        })?;
        thread::sleep(Duration::from_millis(300));
        let done = tracer.stop()?;
        done.check_balance()?;
        let shown = done.count("shown")?;
        ensure!(
            shown == u64::from(expected),
            "{expression}: {shown} packets are shown, not {expected}"
        );
        // All of them died: those for 7062 by nobody listening there.
        ensure!(
            done.count("observed")? >= u64::from(4 * EACH),
            "{expression}: {}",
            done.ledger()?
        );
    }
    let mend = "nft delete table ip6 guard; nft delete table netdev guard";
    let output = lab.shell(&Place::Host, mend)?;
    ensure!(output.success(), "{output:?}");
    Ok(())
}

/// A datagram to a port of 203.0.113.10's, in VLAN 7. The receiver's kernel takes the tag out.
fn tagged(port: u16) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7, 0x81, 0, 0, 7, 8, 0]);
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([203, 0, 113, 20, 203, 0, 113, 10, 0x9c, 0x40]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 12, 0, 0, b't', b'a', b'g', b's']);
    frame
}

fn classic(lab: &mut Lab) -> Result<()> {
    let cmd = Tracer::command(lab)?
        .args([
            "--drops",
            "--filter",
            "udp dst port 10001 or udp dst port 7002",
        ])
        .env("DOCKERNET_TIER", "tracepoint")
        .in_netns(lab.host().path());
    let done = traced(lab, Tracer::spawn(&cmd)?)?;
    let shown = done.count("shown")?;
    ensure!(shown == u64::from(3 * EACH), "{}", done.ledger()?);
    Ok(())
}

fn beside(lab: &mut Lab) -> Result<()> {
    let filters = [
        "--drops",
        "--filter",
        "udp",
        "--port",
        "10002",
        "--container",
        "web",
    ];
    let done = traced(lab, Tracer::start(lab, &filters)?)?;
    ensure!(
        done.count("shown")? == u64::from(EACH),
        "{}",
        done.ledger()?
    );
    Ok(())
}

/// A storm to one port and some packets to another differ in nothing else that is counted: the kernel half has to tell them apart.
fn several(lab: &mut Lab) -> Result<()> {
    const STORM: u64 = 50_000;
    for (filters, wanted) in [
        (["--port", "10002", "--port", "9999"], u64::from(EACH)),
        (["--addr", "192.0.2.99", "--addr", "2001:db8::/32"], 0),
        (["--addr", "203.0.113.0/24", "--port", "10001"], 0),
    ] {
        let tracer = Tracer::start(lab, &[&["--drops"], &filters[..]].concat())?;
        let before = counter(lab, "one")?;
        flood(
            lab.outside(),
            Flood {
                to: "198.51.100.10:10001".parse()?,
                count: STORM,
                threads: 1,
                size: 22,
                limit: Duration::from_secs(20),
            },
        )?;
        send(lab, &Place::Outside, "198.51.100.10", [10002, 10002])?;
        let dropped = counter(lab, "one")? - before;
        let done = tracer.stop()?;
        done.check_balance()?;
        let (shown, filtered) = (done.count("shown")?, done.count("filtered")?);
        ensure!(
            shown == 2 * wanted && filtered + done.missed()? >= dropped,
            "{filters:?}: {shown} shown, {filtered} filtered; {dropped} of the storm"
        );
        ensure!(
            done.drops()
                .all(|drop| drop["cause"]["id"] == "foreign-table-drop"),
            "{filters:?}: {:?}",
            done.lines
        );
    }
    Ok(())
}

/// What `record` does not keep is told of in its ledger, and what it keeps is all that `replay` has.
fn kept(lab: &mut Lab) -> Result<()> {
    let file = lab.folder().join("narrow.rec");
    let name = file.to_string_lossy();
    let arguments = ["record", &name, "--drops", "--filter", "udp dst port 10001"];
    let done = counted(lab, Tracer::start(lab, &arguments)?)?;
    let ledger = done.ledger()?;
    ensure!(
        done.count("shown")? == u64::from(EACH) && done.count("filtered")? >= u64::from(3 * EACH),
        "{ledger}"
    );
    let text = replay(&file, &["--output", "json"])?.run()?;
    let mut ports = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["type"] == "drop" {
            let count = line["count"].as_u64().unwrap_or(0);
            ports.extend((0..count).map(|_| line["packet"]["dst_port"].clone()));
        }
    }
    ensure!(
        ports.len() == EACH as usize && ports.iter().all(|port| *port == 7001),
        "replayed: {ports:?}"
    );
    Ok(())
}

fn monitored(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &["--filter", "dst port 10002 or udp dst port 7001"])?;
    let web = lab.container_ip("web", None)?.to_string();
    send(lab, &Place::Host, &web, [7001, 7002])?;
    send(lab, &Place::Outside, "198.51.100.10", [10001, 10002])?;
    // The host's 7001; what comes for 10001 is that too behind DNAT, and 10002.
    let (shown, filtered) = (f64::from(3 * EACH), f64::from(EACH));
    monitor.wait("the counts", Duration::from_secs(5), |samples| {
        let sum = |metric| sum(samples, metric, "");
        sum("dockernet_drops_total") >= shown && sum("dockernet_filtered_drops_total") >= filtered
    })?;
    let (told, page) = (monitor.sum("dockernet_drops_total", "")?, monitor.page()?);
    ensure!(told == shown, "{told} of {shown} are counted:\n{page}");
    monitor.stop().map(drop)
}

/// The verifier takes them, long ones too.
fn loads(lab: &mut Lab) -> Result<()> {
    let hosts: Vec<String> = (1..200)
        .map(|host| format!("host 192.0.2.{host}"))
        .collect();
    for expression in [
        "",
        "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
        "ip6 and (tcp port 80 or icmp6[icmp6type] = icmp6-echo)",
        "vlan 7 and vlan and (port 53 or portrange 1-100)",
        "tcp[0:2] % 3 = 1 and len / 3 > 20 and ether[len - 1] = 3",
        "(ip[8] << ip[1] > 3) or (100 / ip[9] = 2)",
        &hosts.join(" or "),
    ] {
        let done = Tracer::start(lab, &["--drops", "--nat", "--filter", expression])
            .with_context(|| format!("{expression:.60}"))?
            .stop()?;
        done.check_balance()?;
    }
    Ok(())
}

/// The kernel half refuses what user space would: a recording of the same flows, replayed with an expression, has the very lines of
/// a run with it.
fn transitions(lab: &mut Lab) -> Result<()> {
    const RULES: &str = "nft 'add table ip6 turned; add chain ip6 turned in { type nat hook prerouting priority -100; };
        add rule ip6 turned in tcp dport 10061 redirect to :7061'";
    let output = lab.shell(&Place::Host, RULES)?;
    ensure!(output.success(), "{output:?}");
    let web = lab.container_ip("web", None)?;
    let of_web = format!("tcp dst port 80 and dst host {web}");
    let from_web = format!("src host {web} and (icmp[icmptype] = icmp-echo or udp[4:2] = 20)");
    // With how many transitions each is about, one line or more of each.
    let expressions = [
        ("tcp dst port 10080", 1),
        (&of_web, 1),
        ("tcp[tcpflags] & tcp-syn != 0 and src host 198.51.100.20", 1),
        ("ip[8] = 64 and ip[2:2] = len - 14 and len = 54", 3),
        (&from_web, 2),
        ("icmp and not port 7", 1),
        ("udp dst port 7 and src host 198.51.100.10", 1),
        ("tcp src port 10080", 0),
        ("ip6", 1),
        ("ip6[6] = 6 and ip6[40:4] & 0xffff = 7061 and len = 74", 1),
        ("src host 2001:db8:1::20 and ip6[53] = 2", 1),
        ("arp", 0),
    ];
    /// That there are.
    const FLOWS: u64 = 4;
    let file = lab.folder().join("flows.rec");
    let name = file.to_string_lossy();
    let recorder = Tracer::start(lab, &["record", &name, "--nat"])?;
    let mut live = Vec::new();
    for (expression, _) in &expressions {
        let tracer = Tracer::start(lab, &["--nat", "--scope", "all", "--filter", expression])
            .with_context(|| (*expression).to_owned())?;
        live.push(tracer);
    }
    let client = lab.netns(&Place::Container("web".into()))?;
    Probe::tcp("198.51.100.10:10080".parse()?).send(&lab.netns(&Place::Outside)?)?;
    Probe::tcp("[2001:db8:1::10]:10061".parse()?).send(&lab.netns(&Place::Outside)?)?;
    Probe::udp("203.0.113.7:7".parse()?).send(&client)?;
    Probe::new(Proto::Ping, "203.0.113.7:0".parse()?).send(&client)?;
    thread::sleep(Duration::from_millis(500));
    recorder.stop()?;
    for (tracer, (expression, flows)) in live.into_iter().zip(expressions) {
        let done = tracer.stop()?;
        let told: Vec<Value> = done.of_type("nat").map(ends).collect();
        let view = ["--nat", "--scope", "all", "--output", "json", "--filter"];
        let replayed = replay(&file, &view)?.arg(expression).run()?;
        let mut lines = Vec::new();
        for line in replayed.lines() {
            lines.push(serde_json::from_str::<Value>(line)?);
        }
        let later: Vec<Value> = lines
            .iter()
            .filter(|line| line["type"] == "nat")
            .map(ends)
            .collect();
        ensure!(
            told == later,
            "{expression}: live {told:#?}, replayed {later:#?}"
        );
        let mut kinds: Vec<String> = told.iter().map(|line| line["flow"].to_string()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        ensure!(
            kinds.len() == flows,
            "{expression}: {flows} flows wanted: {:?}",
            done.lines
        );
        // What the kernel half refuses counts once, however many reports there would be.
        let hidden = done.ledger()?["nat"]["hidden"].as_u64();
        ensure!(
            hidden == Some(FLOWS - flows as u64),
            "{expression}: {}",
            done.ledger()?
        );
    }
    let output = lab.shell(&Place::Host, "nft delete table ip6 turned")?;
    ensure!(output.success(), "{output:?}");
    Ok(())
}

/// What does not depend on who saw it, and when.
fn ends(line: &Value) -> Value {
    let keys = [
        "flow",
        "kind",
        "protocol",
        "original",
        "translated",
        "replied",
    ];
    keys.iter()
        .map(|key| ((*key).to_owned(), line[*key].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn wrong(lab: &mut Lab) -> Result<()> {
    for (arguments, words) in [
        (
            &["--filter", "tcp and prot 80"][..],
            "syntax error in filter expression\n  tcp and prot 80\n          ^",
        ),
        (
            &["--filter", "port 99999"],
            "99999 > 65535\n  port 99999\n       ^",
        ),
        (&["--filter", "ip6 protochain 58"], "protochain"),
        (&["check", "--filter", "tcp"], "--filter looks at packets"),
        (
            &["path", "--to", ":80", "--filter", "tcp"],
            "--from and --to",
        ),
    ] {
        let output = Cmd::new(tool_path()?)
            .args(arguments)
            .in_netns(lab.host().path())
            .output()?;
        ensure!(
            output.status == Some(2) && output.stderr.contains(words) && output.stdout.is_empty(),
            "{arguments:?}: {output:?}"
        );
    }
    Ok(())
}
