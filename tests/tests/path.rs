//! Flows followed device by device, against what tcpdump sees at each of them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, Finished, HOST_IP, HOST_IP6, INTERNET_IP, Lab, LabOptions, OUTSIDE_IP, Place, Run,
    ServerKind, Tracer, can_run, engines, group,
    traffic::{Outcome, Probe, Proto},
    wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn journeys() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        on(&engine).with_context(|| engine.version.clone())?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .publish("10053:53/udp")
            .wait_port("80/tcp"),
    )?;
    lab.run(&Run::new("other", "sleep 1000"))?;
    group(
        &mut lab,
        &[
            ("a published connection, both ways", published),
            ("tcpdump counts the same at every hop", tcpdump_agrees),
            ("fragments", fragments),
            ("large segments", large_segments),
            ("a drop ends it at its hop", dropped),
            ("a refusal", refused),
            ("no answer from outside", silent_outside),
            ("a loss without a drop", lost),
            ("nothing to see", nothing),
            ("docker-proxy is named", proxied),
            ("probes of every kind", probes),
            ("a watch tells changes", watch),
            ("the classic tracepoints", classic),
            ("a veth between two containers", point_to_point),
        ],
    )
}

/// Follows until what `traffic` does is over; gives the run's end.
fn follow(
    lab: &mut Lab,
    args: &[&str],
    wait: Duration,
    traffic: impl FnOnce(&mut Lab) -> Result<()>,
) -> Result<Finished> {
    let arguments: Vec<&str> = ["path"].iter().chain(args).copied().collect();
    let tracer = Tracer::start(lab, &arguments)?;
    traffic(lab)?;
    std::thread::sleep(wait);
    tracer.signal(Signal::SIGINT)?;
    let finished = tracer.wait(Duration::from_secs(10))?;
    finished.check_balance()?;
    Ok(finished)
}

const SETTLED: Duration = Duration::from_millis(500);

/// `eth0 in`, `docker0 out`, `web:eth0 in`.
fn hops(journey: &Value) -> Vec<String> {
    let none = Vec::new();
    let hops = journey["hops"].as_array().unwrap_or(&none);
    hops.iter()
        .map(|hop| {
            let device = hop["device"].as_str().unwrap_or("?");
            let device = if device.starts_with("veth") {
                "veth"
            } else {
                device
            };
            let direction = hop["direction"].as_str().unwrap_or("?");
            match hop["netns"]["container"]["name"].as_str() {
                Some(name) => format!("{name}:{device} {direction}"),
                None => format!("{device} {direction}"),
            }
        })
        .collect()
}

fn journeys_of<'a>(finished: &'a Finished, way: &'a str) -> impl Iterator<Item = &'a Value> {
    finished
        .of_type("journey")
        .filter(move |journey| journey["way"] == way)
}

fn expect_exit(finished: &Finished, status: i32) -> Result<()> {
    ensure!(
        finished.status == Some(status),
        "ended with {:?} instead of {status}: {:#?}",
        finished.status,
        finished.lines
    );
    Ok(())
}

fn published_port() -> Result<SocketAddr> {
    Ok(SocketAddr::new(HOST_IP.parse()?, 10001))
}

fn connect(lab: &Lab, times: usize) -> Result<()> {
    let outside = lab.netns(&Place::Outside)?;
    for _ in 0..times {
        let outcome = Probe::tcp(published_port()?).send(&outside)?;
        ensure!(
            outcome == Outcome::Ok,
            "the published port answers {outcome:?}"
        );
    }
    Ok(())
}

fn published(lab: &mut Lab) -> Result<()> {
    let finished = follow(lab, &["--to", "web:80"], SETTLED, |lab| connect(lab, 3))?;
    expect_exit(&finished, 0)?;
    let syns: Vec<&Value> = journeys_of(&finished, "forward")
        .filter(|journey| journey["packet"]["tcp_flags"] == "S")
        .collect();
    ensure!(syns.len() == 3, "{} of 3 SYNs", syns.len());
    for syn in syns {
        ensure!(
            hops(syn) == ["eth0 in", "docker0 out", "veth out", "web:eth0 in"],
            "the SYN went {:?}",
            hops(syn)
        );
        ensure!(
            syn["hops"][1]["nat"]["kind"] == "dnat" && syn["end"] == "delivered",
            "{syn}"
        );
        ensure!(
            syn["published"] == "0.0.0.0:10001->80/tcp"
                && syn["destination"]["container"]["name"] == "web"
                && syn["source"]["kind"] == "external",
            "{syn}"
        );
    }
    let back = ["web:eth0 out", "veth in", "docker0 in", "eth0 out"];
    for answer in journeys_of(&finished, "back") {
        ensure!(hops(answer) == back, "an answer went {:?}", hops(answer));
        ensure!(
            answer["hops"][3]["nat"]["kind"] == "un-dnat"
                && answer["end"] == "left"
                && answer["answer_ms"].is_f64(),
            "{answer}"
        );
    }
    let sums: Vec<&Value> = finished.of_type("path").collect();
    ensure!(sums.len() == 3, "{} flows instead of 3", sums.len());
    ensure!(
        sums.iter().all(|sum| sum["verdict"] == "answered"),
        "{sums:?}"
    );
    // The same by the published port, by its address, and by the client.
    for to in [":10001", "198.51.100.10:10001", "web", "172.17.0.2:80"] {
        let finished = follow(lab, &["--from", OUTSIDE_IP, "--to", to], SETTLED, |lab| {
            connect(lab, 1)
        })?;
        expect_exit(&finished, 0).with_context(|| format!("--to {to}"))?;
        let flows = finished.of_type("path").count();
        ensure!(flows == 1, "--to {to}: {flows} flows");
    }
    // Another client's connections are none of it.
    let finished = follow(
        lab,
        &["--from", "other", "--to", "web:80"],
        SETTLED,
        |lab| connect(lab, 1),
    )?;
    expect_exit(&finished, 4)
}

/// Packets at one hop as tcpdump counts them.
fn tcpdump_agrees(lab: &mut Lab) -> Result<()> {
    let veth = host_veth(lab, "web")?;
    let places = [
        (Place::Host, "eth0".to_owned(), "port 10001"),
        (Place::Host, "docker0".to_owned(), "port 80"),
        (Place::Host, veth, "port 80"),
        (Place::Container("web".into()), "eth0".to_owned(), "port 80"),
    ];
    let folder = lab.folder().to_owned();
    let mut captures = Vec::new();
    for (number, (place, device, filter)) in places.iter().enumerate() {
        let file = folder.join(format!("hop{number}"));
        let netns = lab.netns(place)?;
        let script = format!(
            // A guest's few users have none of tcpdump's own among them.
            "exec timeout 300 tcpdump -Z root -n -t -l --immediate-mode -i {device} tcp and {filter} > {0} 2> {0}.err",
            file.display()
        );
        let child = Cmd::shell(script)
            .in_netns(netns.path())
            .to_command()
            .spawn()?;
        captures.push((child, file));
    }
    std::thread::sleep(Duration::from_millis(1500));
    let finished = follow(lab, &["--to", "web:80"], SETTLED, |lab| connect(lab, 40))?;
    expect_exit(&finished, 0)?;
    for ((_, device, _), (child, file)) in places.iter().zip(&mut captures) {
        let count = || -> Option<u64> {
            let text = std::fs::read_to_string(&*file).ok()?;
            let packets = text.lines().filter(|line| line.contains("Flags ["));
            Some(packets.count() as u64)
        };
        let place = if file.ends_with("hop3") {
            "web"
        } else {
            "host"
        };
        let told: u64 = finished
            .of_type("path")
            .flat_map(|sum| [&sum["forward"], &sum["back"]])
            .filter_map(Value::as_array)
            .flatten()
            .filter(|hop| hop["device"] == **device && hop["netns"] == place)
            .filter_map(|hop| hop["packets"].as_u64())
            .sum();
        // On a busy machine tcpdump writes what it saw a moment later; that it is the same is said below.
        let _ = wait_until("tcpdump has caught up", Duration::from_secs(10), || {
            count().filter(|captured| *captured >= told)
        });
        let captured = count().context("tcpdump wrote nothing")?;
        child.kill().ok();
        child.wait().ok();
        ensure!(
            captured >= 200,
            "tcpdump saw {captured} packets on {device}: {}",
            std::fs::read_to_string(file.with_extension("err"))?
        );
        ensure!(
            told == captured,
            "{device} of {place}: {told} packets, tcpdump saw {captured}"
        );
    }
    Ok(())
}

fn host_veth(lab: &Lab, container: &str) -> Result<String> {
    let link = lab
        .shell(&Place::Container(container.into()), "ip -o link show eth0")?
        .stdout;
    let index = link
        .split_once("eth0@if")
        .and_then(|(_, rest)| rest.split(':').next())
        .with_context(|| format!("eth0 of {container} has no peer: {link}"))?
        .to_owned();
    let links = lab.shell(&Place::Host, "ip -o link show")?.stdout;
    links
        .lines()
        .find(|line| line.starts_with(&format!("{index}: ")))
        .and_then(|line| line.split(": ").nth(1)?.split('@').next())
        .map(str::to_owned)
        .with_context(|| format!("no link {index}: {links}"))
}

fn fragments(lab: &mut Lab) -> Result<()> {
    let _server = lab.serve(
        &Place::Container("web".into()),
        ServerKind::Echo,
        "0.0.0.0:53",
    )?;
    let finished = follow(lab, &["--to", ":10053"], SETTLED, |lab| {
        let outside = lab.netns(&Place::Outside)?;
        let mut probe = Probe::udp(SocketAddr::new(HOST_IP.parse()?, 10053));
        probe.size = 4000;
        let outcome = probe.send(&outside)?;
        ensure!(outcome == Outcome::Ok, "4000 bytes: {outcome:?}");
        Ok(())
    })?;
    expect_exit(&finished, 0)?;
    let forward: Vec<&Value> = journeys_of(&finished, "forward").collect();
    ensure!(
        forward.len() == 3,
        "{} fragments instead of 3: {forward:#?}",
        forward.len()
    );
    for fragment in forward {
        ensure!(
            hops(fragment).first().map(String::as_str) == Some("eth0 in")
                && hops(fragment).last().map(String::as_str) == Some("web:eth0 in")
                && fragment["end"] == "delivered",
            "a fragment went {:?}: {fragment}",
            hops(fragment)
        );
    }
    Ok(())
}

/// A megabyte in super-packets (GSO): one skb of many segments, from device to device.
fn large_segments(lab: &mut Lab) -> Result<()> {
    let finished = follow(lab, &["--to", "web:80"], SETTLED, |lab| {
        lab.docker([
            "exec",
            "web",
            "sh",
            "-c",
            "head -c 1000000 /dev/zero > /www/big",
        ])?;
        let script =
            format!("curl -s -m 5 -o /dev/null -w '%{{size_download}}' http://{HOST_IP}:10001/big");
        let output = lab.shell(&Place::Outside, &script)?;
        ensure!(output.stdout == "1000000", "fetched {}", output.stdout);
        Ok(())
    })?;
    expect_exit(&finished, 0)?;
    let large = journeys_of(&finished, "back")
        .filter(|journey| journey["packet"]["length"].as_u64() > Some(1500))
        .count();
    ensure!(large > 0, "no packet was larger than the MTU");
    let unsure: Vec<&Value> = finished
        .of_type("journey")
        .filter(|journey| {
            matches!(
                journey["end"].as_str(),
                Some("lost" | "unknown" | "dropped")
            )
        })
        .collect();
    ensure!(unsure.is_empty(), "of a transfer without loss: {unsure:#?}");
    Ok(())
}

fn dropped(lab: &mut Lab) -> Result<()> {
    for (name, make, unmake, cause, way) in [
        (
            "forwarding",
            "sysctl -qw net/ipv4/conf/eth0/forwarding=0",
            "sysctl -qw net/ipv4/conf/eth0/forwarding=1",
            "interface-forwarding-disabled",
            ["eth0 in"].as_slice(),
        ),
        (
            "DOCKER-USER",
            "iptables -I DOCKER-USER -p tcp --dport 80 -j DROP",
            "iptables -D DOCKER-USER -p tcp --dport 80 -j DROP",
            "docker-user-drop",
            &["eth0 in"],
        ),
        (
            "the container's own firewall",
            "nsenter --net=/proc/$PID/ns/net -- iptables -I INPUT -p tcp --dport 80 -j DROP",
            "nsenter --net=/proc/$PID/ns/net -- iptables -D INPUT -p tcp --dport 80 -j DROP",
            "container-firewall-drop",
            &["eth0 in", "docker0 out", "veth out", "web:eth0 in"],
        ),
    ] {
        let pid = lab.container_pid("web")?;
        let here = |lab: &Lab, script: &str| -> Result<()> {
            let output = lab.shell(&Place::Host, &script.replace("$PID", &pid.to_string()))?;
            ensure!(output.success(), "{script}: {}", output.stderr);
            Ok(())
        };
        here(lab, make)?;
        let finished = follow(lab, &["--to", "web:80"], SETTLED, |lab| {
            let outcome = Probe::tcp(published_port()?).send(&lab.netns(&Place::Outside)?)?;
            ensure!(outcome == Outcome::Timeout, "{outcome:?}");
            Ok(())
        });
        here(lab, unmake)?;
        let finished = finished?;
        expect_exit(&finished, 3).with_context(|| name)?;
        let first = journeys_of(&finished, "forward")
            .next()
            .with_context(|| format!("{name}: no journey"))?;
        ensure!(
            first["end"] == "dropped" && first["drop"]["cause"]["id"] == cause,
            "{name}: {first}"
        );
        ensure!(hops(first) == way, "{name}: it went {:?}", hops(first));
        let sum = finished
            .of_type("path")
            .next()
            .with_context(|| format!("{name}: no sum"))?;
        ensure!(sum["verdict"] == "unanswered", "{name}: {sum}");
    }
    Ok(())
}

fn refused(lab: &mut Lab) -> Result<()> {
    let finished = follow(
        lab,
        &["--from", "other", "--to", "web:81"],
        SETTLED,
        |lab| {
            let web = lab.container_ip("web", None)?;
            let outcome = Probe::tcp(SocketAddr::new(web, 81))
                .send(&lab.netns(&Place::Container("other".into()))?)?;
            ensure!(outcome == Outcome::Refused, "{outcome:?}");
            Ok(())
        },
    )?;
    expect_exit(&finished, 3)?;
    let sum = finished.of_type("path").next().context("no sum")?;
    ensure!(
        sum["verdict"] == "refused" && sum["sentence"] == "refused: web answered RST",
        "{sum}"
    );
    Ok(())
}

/// The outside swallows it: not local, and said so.
fn silent_outside(lab: &mut Lab) -> Result<()> {
    let rule = "INPUT -p udp --dport 4444 -j DROP";
    lab.shell(&Place::Outside, &format!("iptables -I {rule}"))?;
    let finished = follow(
        lab,
        &["--from", "web", "--to", &format!("{INTERNET_IP}:4444")],
        Duration::from_secs(4),
        |lab| {
            let web = lab.netns(&Place::Container("web".into()))?;
            let outcome = Probe::udp(SocketAddr::new(INTERNET_IP.parse()?, 4444)).send(&web)?;
            ensure!(outcome == Outcome::Timeout, "{outcome:?}");
            Ok(())
        },
    );
    lab.shell(&Place::Outside, &format!("iptables -D {rule}"))?;
    let finished = finished?;
    expect_exit(&finished, 3)?;
    let left = journeys_of(&finished, "forward")
        .next()
        .context("no journey")?;
    ensure!(
        left["end"] == "left"
            && hops(left) == ["web:eth0 out", "veth in", "docker0 in", "eth0 out"]
            && left["hops"][3]["nat"]["kind"] == "snat",
        "{left}"
    );
    let silences: Vec<&Value> = finished.of_type("silence").collect();
    ensure!(silences.len() == 1, "{} silences", silences.len());
    ensure!(
        silences[0]["sentence"]
            .as_str()
            .is_some_and(|text| text.contains("not local")),
        "{silences:?}"
    );
    Ok(())
}

/// A tc action that takes packets and frees them as if they had arrived.
fn lost(lab: &mut Lab) -> Result<()> {
    let veth = host_veth(lab, "web")?;
    // Classic BPF that returns TC_ACT_STOLEN.
    let output = lab.shell(
        &Place::Host,
        &format!(
            "tc qdisc add dev {veth} clsact && \
             tc filter add dev {veth} egress protocol ip bpf da bytecode '1,6 0 0 4'"
        ),
    )?;
    ensure!(output.success(), "{}", output.stderr);
    // A probe waits until the loss can be told from a neighbour's silence.
    let args = ["path", "--from", "other", "--to", "web:53", "--probe=udp"];
    let probed = Tracer::start(lab, &args)?.wait(Duration::from_secs(15));
    let finished = follow(
        lab,
        &["--to", "web:53"],
        Duration::from_millis(4600),
        |lab| {
            let outside = lab.netns(&Place::Outside)?;
            let outcome = Probe::udp(SocketAddr::new(HOST_IP.parse()?, 10053)).send(&outside)?;
            ensure!(outcome == Outcome::Timeout, "{outcome:?}");
            Ok(())
        },
    );
    lab.shell(&Place::Host, &format!("tc qdisc del dev {veth} clsact"))?;
    let probed = probed?;
    expect_exit(&probed, 3)?;
    let asked = journeys_of(&probed, "forward")
        .next()
        .context("no journey of the probe")?;
    ensure!(asked["end"] == "lost", "the probe's: {asked}");
    let finished = finished?;
    expect_exit(&finished, 3)?;
    let journey = journeys_of(&finished, "forward")
        .next()
        .context("no journey")?;
    ensure!(
        journey["end"] == "lost"
            && hops(journey) == ["eth0 in", "docker0 out"]
            && journey["sentence"]
                .as_str()
                .is_some_and(|text| text.contains("between docker0 and a port of that bridge")),
        "{journey}"
    );
    Ok(())
}

fn nothing(lab: &mut Lab) -> Result<()> {
    let finished = follow(lab, &["--to", "web:4000"], SETTLED, |lab| connect(lab, 1))?;
    expect_exit(&finished, 4)?;
    ensure!(
        finished.of_type("journey").count() == 0 && finished.of_type("path").count() == 0,
        "{:?}",
        finished.lines
    );
    Ok(())
}

/// The host's own connections to 127.0.0.1 are not translated: docker-proxy carries them.
fn proxied(lab: &mut Lab) -> Result<()> {
    let finished = follow(lab, &["--to", ":10001"], SETTLED, |lab| {
        let outcome = Probe::tcp("127.0.0.1:10001".parse()?).send(lab.host())?;
        ensure!(
            outcome == Outcome::Ok,
            "the port on loopback answers {outcome}"
        );
        Ok(())
    })?;
    expect_exit(&finished, 0)?;
    let syn = journeys_of(&finished, "forward")
        .find(|journey| {
            journey["packet"]["dst"] == "127.0.0.1" && journey["packet"]["tcp_flags"] == "S"
        })
        .with_context(|| format!("no SYN to loopback: {:#?}", finished.lines))?;
    let sentence = syn["sentence"].as_str().unwrap_or_default();
    ensure!(
        sentence.starts_with("delivered to docker-proxy (pid ") && sentence.contains(" web:80 "),
        "{syn}"
    );
    let sums: Vec<&Value> = finished.of_type("path").collect();
    ensure!(
        sums.iter().any(|sum| sum["to"] == "127.0.0.1:10001"
            && sum["sentence"]
                .as_str()
                .is_some_and(|text| text.starts_with("answered by docker-proxy")))
            && sums
                .iter()
                .any(|sum| sum["destination"]["container"]["name"] == "web"
                    && sum["sentence"] == "answered"),
        "{sums:#?}"
    );
    Ok(())
}

fn probes(lab: &mut Lab) -> Result<()> {
    let internet = |port: u16| format!("{INTERNET_IP}:{port}");
    let cases: Vec<(&str, Vec<String>, i32)> = vec![
        (
            "a container's port",
            vec![
                "--from=other".into(),
                "--to=web:80".into(),
                "--probe".into(),
            ],
            0,
        ),
        (
            "from the host",
            vec!["--to=:10001".into(), "--probe".into()],
            0,
        ),
        (
            "an echo request",
            vec!["--from=other".into(), "--to=web".into(), "--probe".into()],
            0,
        ),
        (
            "out to the world",
            vec![
                "--from=web".into(),
                format!("--to={}", internet(53)),
                "--probe=dns".into(),
            ],
            0,
        ),
        (
            "nobody listens",
            vec![
                "--from=other".into(),
                "--to=web:81".into(),
                "--probe=tcp".into(),
            ],
            3,
        ),
        (
            "a datagram nobody takes",
            vec![
                "--from=other".into(),
                "--to=web:82".into(),
                "--probe=udp".into(),
            ],
            3,
        ),
        (
            "IPv6",
            vec![format!("--to=[{HOST_IP6}]:10001"), "--probe".into()],
            0,
        ),
    ];
    for (name, args, status) in cases {
        let arguments: Vec<&str> = ["path"]
            .into_iter()
            .chain(args.iter().map(String::as_str))
            .collect();
        let finished = Tracer::start(lab, &arguments)?.wait(Duration::from_secs(10))?;
        expect_exit(&finished, status).with_context(|| name)?;
        let ends: Vec<&Value> = finished.of_type("probe").collect();
        ensure!(ends.len() == 1, "{name}: {} probe lines", ends.len());
        ensure!(ends[0]["answered"] == (status == 0), "{name}: {}", ends[0]);
    }
    Ok(())
}

fn watch(lab: &mut Lab) -> Result<()> {
    let args = [
        "path", "--from", "other", "--to", "web:80", "--probe", "--every", "500ms",
    ];
    let mut tracer = Tracer::start(lab, &args)?;
    let limit = Duration::from_secs(8);
    let answered =
        |yes: bool| move |line: &Value| line["type"] == "probe" && line["answered"] == yes;
    tracer
        .wait_for(limit, answered(true))
        .context("no first probe")?;
    std::thread::sleep(Duration::from_millis(1500));
    let told = tracer
        .lines()
        .iter()
        .filter(|line| line["type"] == "probe")
        .count();
    ensure!(told == 1, "{told} lines though nothing changed");
    let rule = "INPUT -p tcp --dport 80 -j DROP";
    let web = Place::Container("web".into());
    lab.shell(&web, &format!("iptables -I {rule}"))?;
    let failed = tracer.wait_for(limit, answered(false));
    lab.shell(&web, &format!("iptables -D {rule}"))?;
    failed.context("the change was not told")?;
    let again = |tracer: &Tracer| {
        tracer
            .lines()
            .iter()
            .filter(|line| line["type"] == "probe")
            .count()
            == 3
    };
    let deadline = std::time::Instant::now() + limit;
    while !again(&tracer) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(
        again(&tracer),
        "the mending was not told: {:?}",
        tracer.lines()
    );
    tracer.signal(Signal::SIGINT)?;
    let finished = tracer.wait(Duration::from_secs(5))?;
    let causes: BTreeMap<String, usize> = finished
        .of_type("journey")
        .filter_map(|journey| journey["drop"]["cause"]["id"].as_str())
        .fold(BTreeMap::new(), |mut causes, id| {
            *causes.entry(id.to_owned()).or_default() += 1;
            causes
        });
    ensure!(
        causes.contains_key("container-firewall-drop"),
        "causes: {causes:?}"
    );
    expect_exit(&finished, 0)
}

fn classic(lab: &mut Lab) -> Result<()> {
    let cmd = Tracer::command(lab)?
        .args(["path", "--to", "web:80"])
        .env("DOCKERNET_TIER", "tracepoint")
        .in_netns(lab.host().path());
    let tracer = Tracer::spawn(&cmd)?;
    connect(lab, 1)?;
    std::thread::sleep(SETTLED);
    tracer.signal(Signal::SIGINT)?;
    let finished = tracer.wait(Duration::from_secs(10))?;
    expect_exit(&finished, 0)?;
    ensure!(
        finished.lines[0]["programs"]
            .as_array()
            .is_some_and(|programs| programs.contains(&"hops:tracepoint".into())),
        "{}",
        finished.lines[0]
    );
    let syn = journeys_of(&finished, "forward")
        .next()
        .context("no journey")?;
    ensure!(
        hops(syn) == ["eth0 in", "docker0 out", "veth out", "web:eth0 in"],
        "{:?}",
        hops(syn)
    );
    Ok(())
}

/// Neither end of the link is on the host.
fn point_to_point(lab: &mut Lab) -> Result<()> {
    let (web, other) = (lab.container_pid("web")?, lab.container_pid("other")?);
    let script = format!(
        "ip link add p2pa netns {web} type veth peer name p2pb netns {other}
         nsenter --net=/proc/{web}/ns/net sh -c 'ip addr add 192.0.2.1/30 dev p2pa; ip link set p2pa up'
         nsenter --net=/proc/{other}/ns/net sh -c 'ip addr add 192.0.2.2/30 dev p2pb; ip link set p2pb up'"
    );
    let output = lab.shell(&Place::Host, &script)?;
    ensure!(output.success(), "{}", output.stderr);
    std::thread::sleep(Duration::from_millis(300));
    let finished = follow(
        lab,
        &["--from", "other", "--to", "192.0.2.1"],
        SETTLED,
        |lab| {
            let mut probe = Probe::new(Proto::Ping, "192.0.2.1:0".parse()?);
            probe.timeout = Duration::from_secs(3);
            let outcome = probe.send(&lab.netns(&Place::Container("other".into()))?)?;
            ensure!(outcome == Outcome::Ok, "{outcome:?}");
            Ok(())
        },
    );
    lab.shell(&Place::Container("web".into()), "ip link del p2pa")?;
    let finished = finished?;
    expect_exit(&finished, 0)?;
    let echo = journeys_of(&finished, "forward")
        .next()
        .context("no journey")?;
    ensure!(
        hops(echo) == ["other:p2pb out", "web:p2pa in"] && echo["end"] == "delivered",
        "{echo}"
    );
    Ok(())
}
