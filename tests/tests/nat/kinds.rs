//! What a line says of its flow: kind, answer, age, docker-proxy.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    HOST_IP, HOST_IP6, INTERNET_IP, Lab, OUTSIDE_IP, Place, Tracer, kernel_since,
};
use serde_json::Value;

use crate::{connect, echo, end, succeed};

/// The lines whose first packet went to this port.
fn to<'a>(lines: &[&'a Value], port: u16) -> Vec<&'a Value> {
    let fits = |line: &&&Value| line["original"]["dst_port"] == u64::from(port);
    lines.iter().filter(fits).copied().collect()
}

fn all(lines: &[&Value], what: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
    ensure!(!lines.is_empty(), "{what}: no line");
    match lines.iter().find(|line| !fits(line)) {
        Some(line) => anyhow::bail!("{what}: {line}"),
        None => Ok(()),
    }
}

/// MASQUERADE and SNAT to the very same address, REDIRECT, DNAT, DNAT of the host's own.
pub(crate) fn told_apart(lab: &mut Lab) -> Result<()> {
    let place = |name: &str| lab.netns(&Place::Container(name.to_owned()));
    // Another flow with the same client port would have its source port changed too, by the kernel's own choice.
    lab.shell(&Place::Host, "conntrack -F")?;
    let tracer = Tracer::start(lab, &["--nat", "--scope", "host"])?;
    connect(lab.outside(), end(HOST_IP, 10002)?, 1)?;
    connect(lab.outside(), end(HOST_IP, 4444)?, 1)?;
    connect(lab.host(), end(HOST_IP, 10001)?, 1)?;
    echo(&place("web")?, end(INTERNET_IP, 7)?, 1)?;
    echo(&place("alone")?, end(OUTSIDE_IP, 7)?, 1)?;
    std::thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;
    let lines: Vec<&Value> = finished
        .of_type("nat")
        .filter(|line| line["kind"] != "proxy")
        .collect();
    all(&to(&lines, 10002), "dnat", |line| {
        line["kind"] == "dnat" && line["redirect"] == false && line["masquerade"].is_null()
    })?;
    all(&to(&lines, 4444), "redirect", |line| {
        line["kind"] == "dnat" && line["redirect"] == true && line["hairpin"] == false
    })?;
    let own = to(&lines, 10001);
    all(&own, "the host's own", |line| {
        line["source"]["kind"] == "host"
    })?;
    let answered: Vec<&Value> = own
        .iter()
        .filter(|line| line["replied"] == true)
        .copied()
        .collect();
    ensure!(
        answered.len() == 1,
        "one answer to the host itself: {own:?}"
    );
    ensure!(
        answered[0]["answer_ms"].is_null() && answered[0]["answered_within_ms"].is_f64(),
        "its time is a bound: {}",
        answered[0]
    );
    let echoes = to(&lines, 7);
    let by = |address: &str| -> Vec<&Value> {
        let fits = |line: &&&Value| line["original"]["dst"] == address;
        echoes.iter().filter(fits).copied().collect()
    };
    all(&by(INTERNET_IP), "masquerade", |line| {
        line["kind"] == "snat" && line["masquerade"] == true
    })?;
    // Without type information of modules (before 5.11) MASQUERADE is told by the interface's own address, which this is too.
    let is_guessed = !kernel_since(5, 11)?;
    all(&by(OUTSIDE_IP), "snat", |line| {
        line["kind"] == "snat" && line["masquerade"] == is_guessed
    })?;
    all(&by(INTERNET_IP)[1..], "answer", |line| {
        line["replied"] == true && line["answer_ms"].is_f64() && line["age_ms"].is_f64()
    })
}

/// The one client that was opening is named; of several, none.
pub(crate) fn proxied(lab: &mut Lab) -> Result<()> {
    let web = lab.netns(&Place::Container("web".into()))?;
    let tracer = Tracer::start(lab, &["--nat"])?;
    // What is published comes from the engine, which may take a moment.
    std::thread::sleep(Duration::from_secs(1));
    connect(lab.host(), end("127.0.0.1", 10001)?, 1)?;
    std::thread::sleep(Duration::from_millis(200));
    connect(lab.outside(), end(HOST_IP6, 10001)?, 1)?;
    std::thread::sleep(Duration::from_millis(200));
    connect(&web, end(HOST_IP, 10001)?, 1)?;
    std::thread::sleep(Duration::from_millis(800));
    // A connection of the host's own to the container is nobody's proxy.
    let direct = std::net::SocketAddr::new(lab.container_ip("web", None)?, 80);
    connect(lab.host(), direct, 1)?;
    std::thread::sleep(Duration::from_millis(200));
    let finished = tracer.stop()?;
    let lines: Vec<&Value> = finished
        .of_type("nat")
        .filter(|line| line["kind"] == "proxy")
        .collect();
    all(&lines, "proxied", |line| {
        line["destination"]["container"]["name"] == "web"
            && line["proxy_pid"].is_u64()
            && line["published"]
                .as_str()
                .is_some_and(|text| text.ends_with(":10001->80/tcp"))
    })?;
    for client in ["127.0.0.1", "2001:db8:1::20"] {
        ensure!(
            lines
                .iter()
                .any(|line| line["original"]["src"] == client && line["replied"] == true),
            "{client} is not among {lines:#?}"
        );
    }
    ensure!(
        lines
            .iter()
            .any(|line| line["source"]["container"]["name"] == "web"),
        "the container's own port: {lines:#?}"
    );
    ensure!(
        lines.len() <= 6,
        "a connection that is nobody's proxy: {lines:#?}"
    );
    many_clients(lab)
}

/// With many clients at once a client that is named is one that there was, and no client is named twice.
fn many_clients(lab: &Lab) -> Result<()> {
    const CLIENTS: usize = 60;
    let tracer = Tracer::start(lab, &["--nat"])?;
    let target = end("127.0.0.1", 10001)?;
    let ports: Vec<u64> = lab.host().within(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(move || -> Result<u64> {
                        let stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
                        Ok(stream.local_addr()?.port().into())
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| {
                    client
                        .join()
                        .map_err(|_| anyhow::anyhow!("a client panicked"))?
                })
                .collect()
        })
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;
    let named: Vec<u64> = finished
        .of_type("nat")
        .filter(|line| line["kind"] == "proxy" && line["replied"] == false)
        .filter_map(|line| line["original"]["src_port"].as_u64())
        .collect();
    let mut once = named.clone();
    once.sort_unstable();
    once.dedup();
    ensure!(once.len() == named.len(), "a client named twice: {named:?}");
    ensure!(
        named.iter().all(|port| ports.contains(port)),
        "{named:?} of {ports:?}"
    );
    Ok(())
}

/// A flow from before the run: no line until its next packet, then one that says so.
pub(crate) fn old(lab: &mut Lab) -> Result<()> {
    let web = lab.netns(&Place::Container("web".into()))?;
    let listener = web.within(|| Ok(TcpListener::bind("0.0.0.0:8080")?))?;
    let target = end(HOST_IP, 10008)?;
    let forward = format!(
        "iptables -t nat -I PREROUTING -i eth0 -p tcp --dport 10008 -j DNAT --to {}:8080 && iptables -I DOCKER-USER -p tcp --dport 8080 -j ACCEPT",
        lab.container_ip("web", None)?
    );
    succeed(lab, &Place::Host, &forward)?;
    let mut stream = lab.outside().within(|| Ok(TcpStream::connect(target)?))?;
    let port = u64::from(stream.local_addr()?.port());
    let (_far, _) = listener.accept()?;
    let mut tracer = Tracer::start(lab, &["--nat"])?;
    std::thread::sleep(Duration::from_millis(700));
    let is_it = |line: &Value| line["type"] == "nat" && line["original"]["src_port"] == port;
    ensure!(
        !tracer.lines().iter().any(is_it),
        "told before it had a packet"
    );
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let line = tracer
        .wait_for(Duration::from_secs(3), is_it)
        .context("the old flow's next packet is not reported")?;
    ensure!(
        line["old"] == true && line["replied"] == true && line["answer_ms"].is_null(),
        "{line}"
    );
    let finished = tracer.stop()?;
    let lines = finished.of_type("nat").filter(|line| is_it(line)).count();
    ensure!(lines == 1, "told {lines} times");
    // With --all the table is listed at the start, with the age where the kernel keeps it.
    succeed(
        lab,
        &Place::Host,
        "sysctl -qw net.netfilter.nf_conntrack_timestamp=1",
    )?;
    let stream = lab.outside().within(|| Ok(TcpStream::connect(target)?))?;
    let port = u64::from(stream.local_addr()?.port());
    std::thread::sleep(Duration::from_millis(300));
    let mut tracer = Tracer::start(lab, &["--nat", "--all"])?;
    let line = tracer
        .wait_for(Duration::from_secs(3), |line| {
            line["type"] == "nat" && line["original"]["src_port"] == port
        })
        .context("--all does not list it")?;
    ensure!(
        line["old"] == true && line["age_ms"].as_f64().is_some_and(|age| age > 250.0),
        "{line}"
    );
    tracer.stop().map(drop)
}

/// Drops and transitions come by one clock.
pub(crate) fn one_order(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat", "--drops"])?;
    let web = lab.container_ip("web", None)?;
    for _ in 0..40 {
        // More than the samples of one drain would come as a sum, with the time of the sum.
        std::thread::sleep(Duration::from_millis(10));
        connect(lab.outside(), end(HOST_IP, 10001)?, 1)?;
        // Nobody listens: the container's kernel drops it.
        lab.host().within(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(b"u", std::net::SocketAddr::new(web, 9))?;
            Ok(())
        })?;
    }
    let finished = tracer.stop()?;
    let times: Vec<(&str, &str)> = finished
        .lines
        .iter()
        .filter(|line| line["type"] == "nat" || line["packet"]["dst_port"] == 9)
        .filter_map(|line| Some((line["type"].as_str()?, line["time"].as_str()?)))
        .collect();
    let drops = times.iter().filter(|(kind, _)| *kind == "drop").count();
    ensure!(
        drops > 5 && times.len() > drops + 20,
        "{drops} drops of {}",
        times.len()
    );
    let wrong = times.windows(2).find(|pair| pair[0].1 > pair[1].1);
    ensure!(wrong.is_none(), "out of order: {wrong:?}");
    Ok(())
}
