//! NAT transitions against conntrack's own account, entry for entry, over every kind of wiring.

mod burst;
mod kinds;
mod shapes;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    DaemonOptions, Engine, Finished, HOST_IP, HOST_IP6, INTERNET_IP, Lab, LabOptions, Netns,
    OUTSIDE_IP, Place, Run, Server, ServerKind, Tracer, can_run, engines, group, progress,
    traffic::{Probe, Proto},
};
use serde_json::{Value, json};

use self::table::{Entry, Events, line_entry, list};

const SLEEP: &str = "sleep 600";

#[test]
fn every_translated_flow_is_reported() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        with_docker_proxy(&engine).with_context(|| engine.version.clone())?;
        without_docker_proxy(&engine).with_context(|| engine.version.clone())?;
    }
    Ok(())
}

fn with_docker_proxy(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    let _servers = wire(&lab)?;
    group(
        &mut lab,
        &[
            ("tuples equal conntrack's", tuples),
            ("kinds are told apart", kinds::told_apart),
            ("docker-proxy is shown as such", kinds::proxied),
            ("flows older than the run", kinds::old),
            ("drops and transitions in one order", kinds::one_order),
            ("fragments, super-packets, lists, clones", shapes::told_once),
            ("many new flows at once", burst::told_or_counted),
        ],
    )
}

/// Hairpin by DNAT and MASQUERADE, where nothing in user space helps.
fn without_docker_proxy(engine: &Engine) -> Result<()> {
    let mut daemon = DaemonOptions::default();
    daemon.config.insert("userland-proxy".into(), json!(false));
    let mut lab = Lab::start(engine, &LabOptions { daemon })?;
    lab.run(&Run::new("web", SLEEP).publish("10001:80"))?;
    let _acceptor = Acceptor::start(&lab.netns(&Place::Container("web".into()))?)?;
    group(&mut lab, &[("hairpin without docker-proxy", hairpin)])
}

/// Answers each connection to port 80 of a container with one line, at once.
pub(crate) struct Acceptor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    fn start(container: &Netns) -> Result<Self> {
        let listener = container.within(|| Ok(TcpListener::bind("[::]:80")?))?;
        nix::sys::socket::setsockopt(
            &listener,
            nix::sys::socket::sockopt::ReceiveTimeout,
            &nix::sys::time::TimeVal::new(0, 100_000),
        )?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    stream.write_all(b"here\n").ok();
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Containers in every kind of network.
fn wire(lab: &Lab) -> Result<(Server, Vec<Acceptor>)> {
    let net = |args: &[&str]| -> Result<()> {
        lab.docker(["network", "create"].iter().chain(args))
            .map(drop)
    };
    net(&["--subnet", "172.30.1.0/24", "back"])?;
    net(&["--internal", "--subnet", "172.30.3.0/24", "closed"])?;
    net(&[
        "--ipv6",
        "--subnet",
        "172.30.4.0/24",
        "--subnet",
        "2001:db8:2:4::/64",
        "six",
    ])?;
    net(&[
        "-d",
        "macvlan",
        "-o",
        "parent=eth0",
        "--subnet",
        "198.51.100.0/24",
        "--ip-range",
        "198.51.100.128/28",
        "mac",
    ])?;
    let server = |name: &str| Run::new(name, SLEEP);
    lab.run(
        &server("web")
            .publish("10001:80")
            .publish("10053:53/udp")
            .publish("10054:54/udp")
            .publish("198.51.100.10:10002:80"),
    )?;
    lab.run(
        &server("multi")
            .network("back")
            .network("bridge")
            .publish("10003:80"),
    )?;
    lab.run(&server("inner").network("closed"))?;
    lab.run(&server("sixer").network("six").publish("10006:80"))?;
    lab.run(&Run::new("near", SLEEP))?;
    lab.run(&Run::new("macky", SLEEP).network("mac"))?;
    lab.run(&Run::new("alone", SLEEP).network("none"))?;
    let alone = lab.container_pid("alone")?;
    let script = format!(
        "ip link add hw0 type veth peer name hw1 && ip link set hw1 netns {alone} name eth0 &&
         ip link set hw0 up && ip addr add 192.0.2.1/24 dev hw0 &&
         iptables -I DOCKER-USER -s 192.0.2.0/24 -j ACCEPT && iptables -I DOCKER-USER -d 192.0.2.0/24 -j ACCEPT &&
         iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -o eth0 -j SNAT --to-source {HOST_IP} &&
         iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 4444 -j REDIRECT --to-port 10001"
    );
    succeed(lab, &Place::Host, &script)?;
    let inside = "ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up && ip route add default via 192.0.2.1";
    succeed(lab, &Place::Container("alone".into()), inside)?;
    if lab.engine().major() >= 28 {
        let mode = "com.docker.network.bridge.gateway_mode_ipv4=routed";
        net(&["--subnet", "172.30.9.0/24", "-o", mode, "routed"])?;
        lab.run(&server("routy").network("routed").publish("80"))?;
        let route = format!("ip route add 172.30.9.0/24 via {HOST_IP}");
        succeed(lab, &Place::Outside, &route)?;
    }
    let dns = lab.serve(
        &Place::Container("web".into()),
        ServerKind::Echo,
        "0.0.0.0:53",
    )?;
    let mut names = vec!["web", "multi", "inner", "sixer"];
    if lab.engine().major() >= 28 {
        names.push("routy");
    }
    let acceptors = names
        .iter()
        .map(|name| Acceptor::start(&lab.netns(&Place::Container((*name).to_owned()))?))
        .collect::<Result<_>>()?;
    Ok((dns, acceptors))
}

pub(crate) fn succeed(lab: &Lab, place: &Place, script: &str) -> Result<()> {
    let output = lab.shell(place, script)?;
    ensure!(output.success(), "{script}: {}", output.stderr);
    Ok(())
}

pub(crate) fn end(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port))
}

/// Opens connections one after the other, each until the far end closes it.
pub(crate) fn connect(from: &Netns, to: SocketAddr, times: usize) -> Result<()> {
    from.within(|| {
        for _ in 0..times {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))
                .with_context(|| format!("connecting to {to}"))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok();
            let _reset_or_closed = stream.read(&mut [0; 64]);
        }
        Ok(())
    })
}

/// Sends a datagram from a new port each time, and waits for its echo.
pub(crate) fn echo(from: &Netns, to: SocketAddr, times: usize) -> Result<()> {
    from.within(|| {
        for _ in 0..times {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.send_to(b"u", to)?;
            socket
                .recv(&mut [0; 16])
                .with_context(|| format!("no echo from {to}"))?;
        }
        Ok(())
    })
}

fn tuples(lab: &mut Lab) -> Result<()> {
    let place = |name: &str| lab.netns(&Place::Container(name.to_owned()));
    let (outside, host) = (lab.outside().clone(), lab.host().clone());
    let web = place("web")?;
    let _cleared = lab.shell(&Place::Host, "conntrack -F 2>/dev/null")?;
    let tracer = Tracer::start(lab, &["--nat", "--scope", "host"])?;
    let events = Events::listen(lab)?;
    connect(&outside, end(HOST_IP, 10001)?, 1500)?;
    connect(&outside, end(HOST_IP, 10002)?, 100)?;
    connect(&outside, end(HOST_IP, 10003)?, 100)?;
    connect(&outside, end(HOST_IP, 4444)?, 20)?;
    connect(&outside, end(HOST_IP6, 10006)?, 200)?;
    connect(&host, end(HOST_IP, 10001)?, 50)?;
    echo(&outside, end(HOST_IP, 10053)?, 300)?;
    connect(&web, end(INTERNET_IP, 80)?, 20)?;
    echo(&web, end(INTERNET_IP, 7)?, 300)?;
    echo(&place("alone")?, end(INTERNET_IP, 7)?, 50)?;
    for _ in 0..5 {
        Probe::new(Proto::Ping, end(INTERNET_IP, 0)?).send(&web)?;
    }
    // On one bridge, across two by the published port, to the own published port, and where nothing is translated.
    connect(
        &place("near")?,
        SocketAddr::new(lab.container_ip("web", None)?, 80),
        20,
    )?;
    connect(&place("multi")?, end(HOST_IP, 10006)?, 20)?;
    connect(&web, end(HOST_IP, 10001)?, 20)?;
    echo(&place("macky")?, end(OUTSIDE_IP, 7)?, 20)?;
    let closed = SocketAddr::new(lab.container_ip("inner", None)?, 80);
    connect(&host, closed, 5)?;
    if lab.engine().major() >= 28 {
        connect(
            &outside,
            SocketAddr::new(lab.container_ip("routy", None)?, 80),
            20,
        )?;
    }
    let account = account(lab, tracer, events)?;
    let lines: Vec<&Value> = account.finished.of_type("nat").collect();
    let (finished, table) = (&account.finished, &account.table);
    ensure!(
        table.len() >= 2600,
        "only {} translated entries, {} events: {:?}",
        table.len(),
        account.events.len(),
        by_destination(table)
    );
    let of = |port: u64, what: &str| {
        lines
            .iter()
            .filter(|line| line["original"]["dst_port"] == port && line[what] == true)
            .count()
    };
    ensure!(
        of(10001, "replied") >= 1550,
        "answers of 10001: {}",
        of(10001, "replied")
    );
    for line in lines
        .iter()
        .filter(|line| line["original"]["dst_port"] == 10001 && line["kind"] == "dnat")
    {
        ensure!(
            line["destination"]["container"]["name"] == "web"
                && line["published"] == "0.0.0.0:10001->80/tcp",
            "a published connection without its container or port: {line}"
        );
    }
    let nat = &finished.ledger()?["nat"];
    let sum = ["shown", "hidden", "lost"].map(|key| nat[key].as_u64().unwrap_or(0));
    ensure!(
        nat["seen"].as_u64() == Some(sum.iter().sum()) && nat["lost"] == 0,
        "the NAT ledger does not balance: {nat}"
    );
    ensure!(
        nat["shown"].as_u64() == u64::try_from(lines.len()).ok(),
        "{nat}"
    );
    progress(&format!("{} entries, {} lines", table.len(), lines.len()));
    Ok(())
}

/// A run that has ended, and conntrack's own account of it.
pub(crate) struct Account {
    pub finished: Finished,
    pub table: BTreeSet<Entry>,
    pub events: Vec<Entry>,
}

/// Entries by who was asked.
fn by_destination(table: &BTreeSet<Entry>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (protocol, [_, destination, ..]) in table {
        *counts
            .entry(format!("{protocol} {destination}"))
            .or_default() += 1;
    }
    counts
}

/// Ends a run, and demands that what it told is what conntrack has.
pub(crate) fn account(lab: &Lab, tracer: Tracer, events: Events) -> Result<Account> {
    let events = events.read()?;
    let mut table = list(lab)?;
    table.extend(events.iter().cloned());
    let finished = tracer.stop()?;
    let lines: Vec<&Value> = finished.of_type("nat").collect();
    agree(&lines, &table, &events)?;
    Ok(Account {
        finished,
        table,
        events,
    })
}

/// What was told is what conntrack holds, and each direction of it was told once: as often as conntrack made the entry, as ports
/// are used again.
fn agree(lines: &[&Value], table: &BTreeSet<Entry>, events: &[Entry]) -> Result<()> {
    let translated: Vec<&&Value> = lines
        .iter()
        .filter(|line| line["kind"] != "proxy")
        .collect();
    let told: BTreeSet<Entry> = translated
        .iter()
        .filter_map(|line| line_entry(line))
        .collect();
    let missing: Vec<_> = table.difference(&told).take(5).collect();
    ensure!(
        missing.is_empty(),
        "not reported (of {}): {missing:#?}",
        table.len()
    );
    let invented: Vec<_> = told.difference(table).take(5).collect();
    ensure!(
        invented.is_empty(),
        "reported and not in conntrack: {invented:#?}"
    );
    let mut made: BTreeMap<&Entry, usize> = BTreeMap::new();
    for entry in events {
        *made.entry(entry).or_default() += 1;
    }
    let mut times: BTreeMap<(Entry, bool), usize> = BTreeMap::new();
    for line in translated {
        let Some(entry) = line_entry(line) else {
            continue;
        };
        let most = made.get(&entry).copied().unwrap_or(1);
        let told = times.entry((entry, line["replied"] == true)).or_default();
        *told += 1;
        ensure!(
            *told <= most,
            "told {told} times, made {most} times: {line}"
        );
    }
    Ok(())
}

fn hairpin(lab: &mut Lab) -> Result<()> {
    let web = lab.netns(&Place::Container("web".into()))?;
    let _cleared = lab.shell(&Place::Host, "conntrack -F 2>/dev/null")?;
    let tracer = Tracer::start(lab, &["--nat"])?;
    let events = Events::listen(lab)?;
    connect(&web, end(HOST_IP, 10001)?, 100)?;
    connect(lab.host(), end("127.0.0.1", 10001)?, 100)?;
    let account = account(lab, tracer, events)?;
    let lines: Vec<&Value> = account.finished.of_type("nat").collect();
    let from = |name: &Value| {
        let lines = lines
            .iter()
            .filter(|line| line["source"]["container"]["name"] == *name);
        lines.cloned().collect::<Vec<_>>()
    };
    let own = from(&json!("web"));
    ensure!(own.len() == 200, "{} lines of 100 connections", own.len());
    ensure!(
        own.iter().all(|line| line["hairpin"] == true
            && line["kind"] == "dnat+snat"
            && line["masquerade"] == true),
        "{:?}",
        own.first()
    );
    let local = from(&Value::Null);
    ensure!(
        local.iter().filter(|line| line["replied"] == true).count() == 100,
        "answers to the host itself: {} lines",
        local.len()
    );
    Ok(())
}
