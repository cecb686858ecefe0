//! `check` against a healthy host, and against one fault after the other.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use dockernet_tests::{
    Cmd, DaemonOptions, Lab, LabOptions, Output, Place, Run, ServerKind, can_run, engines_of_run,
    group, progress, schema, tool_path,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// What is broken, and what `check` shall say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// What it is called, if the cause is not enough.
    name: Option<String>,
    /// `cause.id` of the line that is looked for.
    cause: String,
    /// What is broken by it as well.
    #[serde(default)]
    also: Vec<String>,
    /// Its grade.
    #[serde(default = "broken")]
    grade: String,
    /// Name of its subject.
    subject: Option<String>,
    /// A container that it affects.
    affects: Option<String>,
    /// What its evidence or summary contains.
    evidence: Option<String>,
    /// What one of its commands contains.
    fix: Option<String>,
    /// Oldest engine that has it (first number of its version).
    min_engine: Option<u32>,
    /// Place of `break` and `mend`.
    #[serde(rename = "in")]
    place: Option<String>,
    /// A script on the host before everything else.
    before: Option<String>,
    /// Docker commands after that.
    #[serde(default)]
    after_before: Vec<Vec<String>>,
    /// Docker commands that break it.
    #[serde(default)]
    docker: Vec<Vec<String>>,
    /// A script that breaks it.
    #[serde(rename = "break")]
    breaks: Option<String>,
    /// A script that mends it.
    mend: Option<String>,
    /// Puts the host's firewall rules back afterwards.
    #[serde(default)]
    restore: bool,
    /// Docker commands that mend it.
    #[serde(default)]
    undo: Vec<Vec<String>>,
    /// A script on the host at the end.
    after_undo: Option<String>,
}

fn broken() -> String {
    "broken".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    fault: Vec<Fault>,
}

fn faults(file: &str) -> Result<Vec<Fault>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("check")
        .join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let faults: Faults = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(faults.fault)
}

#[test]
fn healthy_then_each_fault() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines_of_run()? {
        let mut lab = Lab::start(&engine, &LabOptions::default())?;
        lab.docker([
            "network",
            "create",
            "--subnet",
            "172.30.1.0/24",
            "-o",
            "com.docker.network.bridge.name=br-back",
            "back",
        ])?;
        lab.docker([
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "172.30.4.0/24",
            "--subnet",
            "2001:db8:2:4::/64",
            "six",
        ])?;
        lab.docker([
            "network",
            "create",
            "--internal",
            "--subnet",
            "172.30.3.0/24",
            "shut",
        ])?;
        let httpd = "httpd -f -p 80 -h /www";
        let run = |name: &str| Run::new(name, httpd).wait_port("80/tcp");
        lab.run(&run("web").publish("10001:80"))?;
        lab.run(&run("api").network("back").publish("10002:80"))?;
        lab.run(
            &run("two")
                .network("back")
                .network("six")
                .publish("10003:80"),
        )?;
        lab.run(&run("six").network("six"))?;
        lab.run(&run("inner").network("shut"))?;
        lab.run(&Run::new("udp", "sleep 1000").publish("5300:53/udp"))?;
        let _echo = lab.serve(
            &Place::Container("udp".into()),
            ServerKind::Echo,
            "0.0.0.0:53",
        )?;
        lab.run(&Run::new("hosty", "sleep 1000").network("host"))?;
        lab.run(&Run::new("side", "sleep 1000").network("container:web"))?;
        settle(&lab)?;
        group(
            &mut lab,
            &[
                ("a healthy host", healthy),
                ("other healthy hosts", otherwise_healthy),
                ("one fault after the other", |lab| each(lab, "plain.toml")),
                ("text, narrowing, bad usage, a closed stdout", views),
                ("one connection, step by step", walks),
                ("where names come from", resolution),
            ],
        )?;
    }
    Ok(())
}

#[test]
fn without_docker_proxy_and_without_docker() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines_of_run()? {
        let mut daemon = DaemonOptions::default();
        daemon.config.insert("userland-proxy".into(), false.into());
        daemon.config.insert("live-restore".into(), true.into());
        let pools = json!([{"base": "172.30.0.0/22", "size": 24}]);
        daemon.config.insert("default-address-pools".into(), pools);
        // The first of the pools' subnets is docker0's unless it has another one.
        daemon.config.insert("bip".into(), "172.17.0.1/16".into());
        let mut lab = Lab::start(&engine, &LabOptions { daemon })?;
        lab.docker(["network", "create", "own"])?;
        let run = |name: &str| Run::new(name, "httpd -f -p 80 -h /www").wait_port("80/tcp");
        lab.run(&run("web").publish("10001:80"))?;
        lab.run(&run("mate"))?;
        lab.run(&run("named").network("own"))?;
        settle(&lab)?;
        group(
            &mut lab,
            &[
                ("a healthy host", healthy),
                ("one fault after the other", |lab| {
                    each(lab, "without-proxy.toml")
                }),
                ("with Docker down", docker_down),
            ],
        )?;
    }
    Ok(())
}

/// What `daemon.json` and the log of an engine that does not start say: in namespaces of its own, /etc as well.
#[test]
fn an_engine_that_does_not_start() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let script = r#"set -e
mount --make-rprivate /
mkdir -p "$1/layers"; mount -t tmpfs layers "$1/layers"; mkdir "$1/layers/up" "$1/layers/work"
mount -t overlay etc -o lowerdir=/etc,upperdir="$1/layers/up",workdir="$1/layers/work" /etc
mkdir -p /etc/docker "$1/data/network/files" /etc/systemd/system/docker.service.d
echo "{\"bip\": \"172.17.0.0/16\", \"hosts\": [\"unix:///x\"], \"data-root\": \"$1/data\"}" > /etc/docker/daemon.json
printf '[Service]\nEnvironment=OPTIONS=--debug\nExecStart=/usr/bin/dockerd -H fd://\n' > /etc/systemd/system/docker.service
printf '[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// \\\n -b lan0 $OPTIONS\n' > /etc/systemd/system/docker.service.d/own.conf
echo x > "$1/data/network/files/local-kv.db"
echo 'level=fatal msg="failed to start daemon: Error initializing network controller: networks have same bridge name"' > "$1/dockerd.log"
exec "$2" check -H "unix://$1/no.sock" --output json"#;
    let output = Cmd::new("unshare")
        .args(["-n", "-m", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(tool_path()?)
        .env_remove("DOCKER_HOST")
        .output()?;
    ensure!(output.status == Some(3), "{output:?}");
    for words in [
        "\"id\":\"engine-config\"",
        "bip = 172.17.0.0/16: it is the network's address",
        "no interface is called lan0",
        "\\\"hosts\\\" is in /etc/docker/daemon.json and on dockerd's command line as well",
        "ExecStart: /usr/bin/dockerd -H fd:// -b lan0 --debug (/etc/systemd/system/docker.service.d/own.conf)",
        "\"id\":\"engine-down\"",
        "failed to start daemon: Error initializing network controller: networks have same bridge name",
        "\"id\":\"network-db-stale\"",
    ] {
        ensure!(output.stdout.contains(words), "no {words}: {output:?}");
    }
    Ok(())
}

/// A started container's addresses and ports take a moment.
fn settle(lab: &Lab) -> Result<()> {
    for _ in 0..40 {
        if findings(lab, &[])?.1.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn tool(lab: &Lab, args: &[&str]) -> Result<Output> {
    Cmd::new(tool_path()?)
        .args(["check", "-H"])
        .arg(lab.docker_host())
        .args(args)
        .env_remove("DOCKER_HOST")
        .env("LC_ALL", "C.UTF-8")
        .in_netns(lab.host().path())
        .output()
}

/// All lines, and those that are broken or at risk; the summary agrees with them, and the exit status too.
fn findings(lab: &Lab, args: &[&str]) -> Result<(Vec<Value>, Vec<Value>)> {
    let args: Vec<&str> = args.iter().copied().chain(["--output", "json"]).collect();
    let output = tool(lab, &args)?;
    let mut lines = schema::lines(&output.stdout)
        .with_context(|| format!("{}{}", output.stdout, output.stderr))?;
    let summary = lines.pop().with_context(|| output.stderr.clone())?;
    ensure!(
        summary["type"] == "summary" && summary["schema"] == 1,
        "{summary}"
    );
    // Beside the findings about containers that were named stands where their names come from.
    lines.retain(|line| line["type"] != "resolution");
    for (key, grade) in [
        ("broken", "broken"),
        ("risk", "risk"),
        ("note", "note"),
        ("unknown", "unknown"),
    ] {
        let count = lines.iter().filter(|line| line["grade"] == grade).count();
        ensure!(summary[key] == count, "{key}: {count} lines, {summary}");
    }
    for line in &lines {
        ensure!(line["type"] == "check" && line["schema"] == 1, "{line}");
        for key in ["grade", "subject", "affects", "cause", "rule"] {
            ensure!(line.get(key).is_some(), "no key {key}: {line}");
        }
    }
    let status = if summary["broken"] == 0 { 0 } else { 3 };
    ensure!(
        output.status == Some(status),
        "status {:?}, {summary}",
        output.status
    );
    let bad = lines
        .iter()
        .filter(|line| line["grade"] == "broken" || line["grade"] == "risk")
        .cloned()
        .collect();
    Ok((lines, bad))
}

fn healthy(lab: &mut Lab) -> Result<()> {
    let (lines, bad) = findings(lab, &[])?;
    ensure!(bad.is_empty(), "a healthy host: {bad:#?}");
    let unknown: Vec<&Value> = lines
        .iter()
        .filter(|line| line["grade"] == "unknown")
        .collect();
    ensure!(unknown.is_empty(), "could not be told: {unknown:#?}");
    Ok(())
}

/// What hosts have that the lab's has not, and nothing is broken by it: where it is made, how, and how it is taken away.
const VARIATIONS: &[(&str, &str, &str)] = &[
    // A second uplink, for what comes from its own address.
    (
        "host",
        "ip link add up1 type veth peer name up1p; ip addr add 203.0.113.2/24 dev up1; ip link set up1p up; ip link set up1 up; \
         ip route add default via 203.0.113.1 dev up1 table 100; ip rule add from 203.0.113.2 lookup 100; sleep 0.3",
        "ip rule del from 203.0.113.2 lookup 100; ip link del up1",
    ),
    // A firewall that tells by marks what may pass.
    (
        "host",
        "nft 'add table inet own; add chain inet own pre { type filter hook prerouting priority mangle; }; \
         add chain inet own way { type filter hook forward priority -1; policy drop; }; \
         add rule inet own pre meta mark set 1; add rule inet own way meta mark 1 accept'",
        "nft delete table inet own",
    ),
    // Tailscale's marks, which packets of others do not get.
    (
        "host",
        "iptables -I FORWARD -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000; \
         iptables -t nat -I POSTROUTING -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
        "iptables -D FORWARD -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000; \
         iptables -t nat -D POSTROUTING -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
    ),
    // A tunnel that takes all that the host sends, by a rule, while the main table keeps its default.
    (
        "host",
        "ip link add up2 type veth peer name up2p; ip addr add 203.0.113.6/30 dev up2; ip link set up2p up; ip link set up2 up; \
         ip route add default via 203.0.113.5 dev up2 table 100; ip rule add iif lo fwmark 5 lookup 100; sleep 0.3",
        "ip rule del iif lo fwmark 5 lookup 100; ip link del up2",
    ),
    // A host name that is another container's name, too.
    (
        "container:api",
        "cp /etc/hosts /tmp/hosts; echo '${ip:api} two' >> /etc/hosts; echo '172.30.1.1 web' >> /etc/hosts",
        "cat /tmp/hosts > /etc/hosts",
    ),
    // A VPN's wide routes.
    (
        "host",
        "ip route add 172.16.0.0/12 via ${outside}; ip route add 192.168.0.0/16 via ${outside}; ip route add 0.0.0.0/1 via ${outside}",
        "ip route del 172.16.0.0/12; ip route del 192.168.0.0/16; ip route del 0.0.0.0/1",
    ),
    // What a firewall of a container's own accepts by marks of its own.
    (
        "container:web",
        "iptables -t mangle -A PREROUTING -j MARK --set-mark 7; iptables -A INPUT -m mark --mark 7 -j ACCEPT; iptables -P INPUT DROP",
        "iptables -P INPUT ACCEPT; iptables -D INPUT -m mark --mark 7 -j ACCEPT; iptables -t mangle -D PREROUTING -j MARK --set-mark 7",
    ),
];

fn otherwise_healthy(lab: &mut Lab) -> Result<()> {
    for (place, makes, unmakes) in VARIATIONS {
        let place: Place = place.parse()?;
        script(lab, &place, Some(makes))?;
        let found = findings(lab, &[]);
        script(lab, &place, Some(unmakes))?;
        let (_, bad) = found.with_context(|| (*makes).to_owned())?;
        ensure!(bad.is_empty(), "{makes}: {bad:#?}");
    }
    healthy(lab)
}

fn each(lab: &mut Lab, file: &str) -> Result<()> {
    let rules = lab.shell(&Place::Host, "iptables-save")?.stdout;
    let wanted = std::env::var("DOCKERNET_CHECK_ONLY").unwrap_or_default();
    healthy(lab)?;
    let mut failures = Vec::new();
    for fault in faults(file)? {
        let name = fault.name.as_deref().unwrap_or(&fault.cause).to_owned();
        if !name.contains(&wanted) {
            continue;
        }
        if fault
            .min_engine
            .is_some_and(|min| lab.engine().major() < min)
        {
            progress(&format!("{name}: not with engine {}", lab.engine().version));
            continue;
        }
        if let Err(error) = one(lab, &fault, &rules) {
            let text = format!("{error:#}");
            failures.push(format!(
                "{name}: {}",
                text.lines().next().unwrap_or_default()
            ));
        }
    }
    ensure!(
        failures.is_empty(),
        "{} faults failed: {failures:?}",
        failures.len()
    );
    Ok(())
}

fn one(lab: &Lab, fault: &Fault, rules: &str) -> Result<()> {
    let place: Place = fault.place.as_deref().unwrap_or("host").parse()?;
    script(lab, &Place::Host, fault.before.as_deref())?;
    docker(lab, &fault.after_before)?;
    // Names are resolved now: a broken container may have lost what they are found by.
    let mend = fault
        .mend
        .as_deref()
        .map(|text| lab.expand(text))
        .transpose();
    let broken = docker(lab, &fault.docker)
        .and_then(|()| script(lab, &place, fault.breaks.as_deref()))
        .and_then(|()| told(lab, fault));
    if let Err(error) = &broken {
        progress(&format!("{}: {error:#}", fault.cause));
    }
    let mend = mend?;
    script(lab, &place, mend.as_deref()).context("mending")?;
    if fault.restore {
        lab.host()
            .command("iptables-restore")
            .input(rules.to_owned())
            .run()?;
    }
    docker(lab, &fault.undo).context("undoing")?;
    script(lab, &Place::Host, fault.after_undo.as_deref())?;
    broken?;
    let mut bad = Vec::new();
    for _ in 0..12 {
        bad = findings(lab, &[])?.1;
        if bad.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(250));
    }
    bail!("mended, and still: {bad:#?}")
}

/// The line that the fault asks for is there.
fn told(lab: &Lab, fault: &Fault) -> Result<()> {
    let (lines, _) = findings(lab, &[])?;
    let text = |value: &Value| value.to_string();
    let fits = |line: &&Value| {
        let cause = &line["cause"];
        cause["id"] == fault.cause.as_str()
            && line["grade"] == fault.grade.as_str()
            && fault
                .subject
                .as_ref()
                .is_none_or(|name| line["subject"]["name"] == name.as_str())
            && fault.affects.as_ref().is_none_or(|name| {
                let mut all = line["affects"].as_array().into_iter().flatten();
                all.any(|affected| affected["container"] == name.as_str())
            })
            && fault.evidence.as_ref().is_none_or(|words| {
                text(&cause["evidence"]).contains(words.as_str())
                    || text(&cause["summary"]).contains(words.as_str())
            })
            && fault
                .fix
                .as_ref()
                .is_none_or(|words| text(&cause["fix"]).contains(words.as_str()))
    };
    ensure!(
        lines.iter().any(|line| fits(&line)),
        "not told: {fault:#?}\nbut {lines:#?}"
    );
    let is_other = |line: &&Value| {
        let id = line["cause"]["id"].as_str().unwrap_or_default();
        line["grade"] == "broken" && id != fault.cause && !fault.also.iter().any(|also| also == id)
    };
    let others: Vec<&Value> = lines.iter().filter(is_other).collect();
    ensure!(others.is_empty(), "broken as well? {others:#?}");
    Ok(())
}

fn docker(lab: &Lab, commands: &[Vec<String>]) -> Result<()> {
    commands
        .iter()
        .try_for_each(|command| lab.docker(command).map(drop))
}

fn script(lab: &Lab, place: &Place, text: Option<&str>) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    lab.script(place, &lab.expand(text)?).map(drop)
}

fn views(lab: &mut Lab) -> Result<()> {
    lab.sysctl(&Place::Host, "net/ipv4/conf/br-back/forwarding", "0")?;
    let result = narrowed(lab);
    lab.restore_sysctls();
    result
}

fn narrowed(lab: &Lab) -> Result<()> {
    let all = tool(lab, &[])?;
    ensure!(all.status == Some(3), "{all:?}");
    ensure!(
        all.stderr.is_empty(),
        "stderr is no terminal: {}",
        all.stderr
    );
    for words in [
        "✗ BROKEN interface-forwarding-disabled",
        "   fix   sysctl -w net/ipv4/conf/br-back/forwarding=1",
        "1 broken",
    ] {
        ensure!(all.stdout.contains(words), "no {words:?} in {}", all.stdout);
    }
    // What another network suffers from is no matter of this container.
    let other = findings(lab, &["--container", "web"])?.1;
    ensure!(other.is_empty(), "{other:#?}");
    for narrowing in [
        ["--container", "api"],
        ["--network", "back"],
        ["--network", "br-back"],
    ] {
        let own = findings(lab, &narrowing)?.1;
        ensure!(own.len() == 1, "{narrowing:?}: {own:#?}");
    }
    for bad in [
        ["--container", "nobody"],
        ["--network", "nowhere"],
        ["--project", "none"],
    ] {
        let output = tool(lab, &bad)?;
        ensure!(
            output.status == Some(2) && output.stderr.contains(bad[1]),
            "{output:?}"
        );
    }
    let line = format!(
        "{} check -H {} | head -c 1",
        tool_path()?.display(),
        lab.docker_host()
    );
    let closed = lab.shell(&Place::Host, &line)?;
    ensure!(closed.stderr.is_empty(), "{closed:?}");
    Ok(())
}

/// Containers of such a network may not talk to each other.
const ICC: &str = "com.docker.network.bridge.enable_icc=false";

/// Who, where to, what stops it (nothing: answers come back), and the steps that must be there.
type Connection = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
);

fn walks(lab: &mut Lab) -> Result<()> {
    let healthy: &[Connection] = &[
        (
            "outside",
            ":10001",
            None,
            &["dnat", "forwarding", "route", "forward", "bridge", "socket"],
        ),
        ("198.51.100.20", ":10002", None, &["dnat"]),
        ("web", "outside:443", None, &["snat", "leaves"]),
        ("web", "outside:53/udp", None, &["snat"]),
        ("host", "web:80", None, &["output", "socket"]),
        ("host", ":10001", None, &["dnat"]),
        ("api", "two:80", None, &["bridge", "socket"]),
        ("api", ":10001", None, &["socket"]),
        ("web", "web:81", Some("no-listener"), &[]),
        ("web", "api:80", Some("network-isolation"), &[]),
        ("inner", "outside:443", Some("internal-network"), &[]),
        (
            "outside",
            "198.51.100.10:9",
            Some("no-listener"),
            &["input"],
        ),
        ("six", "[${outside6}]:443", None, &["forwarding", "leaves"]),
        ("host", "[${ip6:six}]:80", None, &["output", "socket"]),
        ("two", "[${ip6:six}]:80", None, &["bridge", "socket"]),
        ("six", "[${ip6:two}]:81", Some("no-listener"), &["bridge"]),
        ("six", "[${host6}]:9", Some("no-listener"), &["input"]),
    ];
    for connection in healthy {
        walked(lab, connection)?;
    }
    // Docker's own rules, of which older engines have fewer.
    if lab.engine().major() >= 28 {
        let kept_out = Some("direct-access-drop");
        walked(lab, &("outside", "${ip:api}:80", kept_out, &[]))?;
    }
    lab.docker(["network", "create", "-o", ICC, "apart"])?;
    let run = |name| Run::new(name, "httpd -f -p 80 -h /www").wait_port("80/tcp");
    lab.run(&run("lone").network("apart"))?;
    lab.run(&run("other").network("apart"))?;
    walked(
        lab,
        &("lone", "other:80", Some("icc-disabled"), &["bridge"]),
    )?;
    lab.docker(["rm", "-f", "lone", "other"])?;
    lab.docker(["network", "rm", "apart"])?;
    let faults: &[(&str, &str, &str, Connection)] = &[
        (
            "host",
            "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
            "sysctl -qw net.ipv4.conf.eth0.forwarding=1",
            (
                "outside",
                ":10001",
                Some("interface-forwarding-disabled"),
                &["dnat"],
            ),
        ),
        // It dies on the way back alone.
        (
            "host",
            "sysctl -qw net.ipv4.conf.docker0.forwarding=0",
            "sysctl -qw net.ipv4.conf.docker0.forwarding=1",
            (
                "outside",
                ":10001",
                Some("interface-forwarding-disabled"),
                &["socket"],
            ),
        ),
        (
            "host",
            "iptables -I DOCKER-USER -o eth0 -j DROP",
            "iptables -D DOCKER-USER -o eth0 -j DROP",
            ("outside", ":10001", Some("docker-user-drop"), &["socket"]),
        ),
        (
            "host",
            "iptables -I INPUT -i docker0 -j DROP",
            "iptables -D INPUT -i docker0 -j DROP",
            ("web", "host:10001", Some("host-input-drop"), &["bridge"]),
        ),
        (
            "host",
            "iptables -t raw -I PREROUTING -i docker0 -p tcp --dport 443 -j CT --notrack",
            "iptables -t raw -D PREROUTING -i docker0 -p tcp --dport 443 -j CT --notrack",
            (
                "web",
                "outside:443",
                Some("masquerade-missing"),
                &["conntrack"],
            ),
        ),
        (
            "host",
            "ip link set ${veth:web} nomaster",
            "ip link set ${veth:web} master docker0",
            ("outside", ":10001", Some("veth-off-bridge"), &["dnat"]),
        ),
        // No route leads to the container then, but the host's default one: that is not what is wrong.
        (
            "host",
            "ip link set docker0 down",
            "ip link set docker0 up",
            ("outside", ":10001", Some("bridge-down"), &["dnat"]),
        ),
        (
            "host",
            "ip -4 addr flush dev docker0",
            "ip addr add 172.17.0.1/16 brd 172.17.255.255 dev docker0",
            ("outside", ":10001", Some("bridge-lost-address"), &["dnat"]),
        ),
        (
            "container:web",
            "ip route del default",
            "ip route add default via 172.17.0.1",
            (
                "outside",
                ":10001",
                Some("container-no-default-route"),
                &["socket"],
            ),
        ),
        (
            "container:web",
            "iptables -A INPUT -p tcp --dport 80 -j DROP",
            "iptables -D INPUT -p tcp --dport 80 -j DROP",
            (
                "host",
                "web:80",
                Some("container-firewall-drop"),
                &["bridge"],
            ),
        ),
        (
            "host",
            "nft 'add table bridge chk; add chain bridge chk c { type filter hook forward priority 0; }; add rule bridge chk c tcp dport 80 drop'",
            "nft delete table bridge chk",
            ("api", "two:80", Some("bridge-filter-drop"), &[]),
        ),
        // `two` is on two networks: which of its interfaces is eth0 is the engine's affair.
        (
            "host",
            "for port in $(ip -br link show master br-back | cut -d@ -f1); do bridge link set dev $port isolated on; done",
            "for port in $(ip -br link show master br-back | cut -d@ -f1); do bridge link set dev $port isolated off; done",
            ("api", "two:80", Some("bridge-port-isolated"), &[]),
        ),
        // Ports that are isolated exchange with those that are not, and with the bridge itself.
        (
            "host",
            "bridge link set dev ${veth:api} isolated on",
            "bridge link set dev ${veth:api} isolated off",
            ("two", "api:80", None, &["bridge", "socket"]),
        ),
        (
            "host",
            "bridge link set dev ${veth:api} bcast_flood off; nsenter -t ${pid:two} -n ip neigh flush all",
            "bridge link set dev ${veth:api} bcast_flood on",
            ("two", "api:80", Some("bridge-port-isolated"), &[]),
        ),
        (
            "host",
            "bridge link set dev ${veth:api} bcast_flood off; ip neigh flush dev br-back",
            "bridge link set dev ${veth:api} bcast_flood on",
            ("outside", ":10002", None, &["dnat", "socket"]),
        ),
        // The bridge does not know the port. It learns it from the answer to the host's question, if it learns.
        (
            "host",
            "mac=$(nsenter -t ${pid:web} -n ip -br link show eth0 | awk '{ print $3 }'); bridge link set dev ${veth:web} flood off learning off; bridge fdb del $mac dev ${veth:web} master; ip neigh flush dev docker0",
            "bridge link set dev ${veth:web} flood on learning on",
            ("outside", ":10001", Some("bridge-port-isolated"), &["dnat"]),
        ),
        (
            "host",
            "mac=$(nsenter -t ${pid:web} -n ip -br link show eth0 | awk '{ print $3 }'); bridge link set dev ${veth:web} flood off; bridge fdb del $mac dev ${veth:web} master; ip neigh flush dev docker0",
            "bridge link set dev ${veth:web} flood on",
            ("outside", ":10001", None, &["dnat", "socket"]),
        ),
        // From the bridge itself to a port, and from a port to the bridge itself, on the way back.
        (
            "host",
            "nft 'add table bridge chk; add chain bridge chk c { type filter hook output priority 0; }; add rule bridge chk c tcp dport 80 drop'",
            "nft delete table bridge chk",
            (
                "outside",
                ":10001",
                Some("bridge-filter-drop"),
                &["dnat", "forward"],
            ),
        ),
        (
            "host",
            "nft 'add table bridge chk; add chain bridge chk c { type filter hook input priority 0; }; add rule bridge chk c tcp sport 80 drop'",
            "nft delete table bridge chk",
            (
                "outside",
                ":10001",
                Some("bridge-filter-drop"),
                &["dnat", "socket"],
            ),
        ),
        // Accepts what the wire has there, and drops the rest: neither stops it.
        (
            "container:web",
            "nft 'add table netdev chk; add chain netdev chk c { type filter hook ingress device \"eth0\" priority 0; policy drop; }; add rule netdev chk c ip daddr 172.17.0.0/16 tcp dport 80 accept'",
            "nft delete table netdev chk",
            ("outside", ":10001", None, &["socket"]),
        ),
        (
            "host",
            "nft 'add table bridge chk; add chain bridge chk c { type filter hook output priority filter; policy drop; }; add rule bridge chk c ip daddr 172.17.0.0/16 tcp dport 80 accept; add rule bridge chk c ip6 daddr ::/0 accept; add rule bridge chk c arp operation 1-2 accept'",
            "nft delete table bridge chk",
            ("outside", ":10001", None, &["socket"]),
        ),
        (
            "host",
            "nft add table bridge chk; nft 'add chain bridge chk c { type filter hook prerouting priority 0; }'; nft add rule bridge chk c iifname ${veth:api} tcp dport 80 drop",
            "nft delete table bridge chk",
            ("two", "api:80", None, &["bridge", "socket"]),
        ),
        // Before and after translation, in and out, there and back.
        (
            "host",
            "nft 'add table netdev chk; add chain netdev chk c { type filter hook ingress device \"eth0\" priority 0; }; add rule netdev chk c tcp dport 10001 drop'",
            "nft delete table netdev chk",
            ("outside", ":10001", Some("foreign-table-drop"), &["uplink"]),
        ),
        (
            "host",
            "nft 'add table netdev chk; add chain netdev chk c { type filter hook egress device \"docker0\" priority 0; }; add rule netdev chk c tcp dport 80 drop'",
            "nft delete table netdev chk",
            (
                "outside",
                ":10001",
                Some("foreign-table-drop"),
                &["forward"],
            ),
        ),
        (
            "host",
            "nft 'add table netdev chk; add chain netdev chk c { type filter hook egress device \"eth0\" priority 0; }; add rule netdev chk c tcp sport 10001 drop'",
            "nft delete table netdev chk",
            ("outside", ":10001", Some("foreign-table-drop"), &["socket"]),
        ),
        (
            "container:web",
            "nft 'add table netdev chk; add chain netdev chk c { type filter hook ingress device \"eth0\" priority 0; }; add rule netdev chk c tcp sport 443 drop'",
            "nft delete table netdev chk",
            (
                "web",
                "outside:443",
                Some("container-firewall-drop"),
                &["snat", "leaves"],
            ),
        ),
        // Answers leave by one of several ways, which is the one that it came in by.
        (
            "host",
            "ip route replace default nexthop via 198.51.100.20 dev eth0 nexthop via 198.51.100.21 dev eth0; sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
            "ip route replace default via 198.51.100.20 dev eth0; sysctl -qw net.ipv4.conf.eth0.rp_filter=0",
            ("outside", ":10001", None, &["dnat", "socket"]),
        ),
        (
            "host",
            "sysctl -qw net.ipv6.conf.all.forwarding=0",
            "sysctl -qw net.ipv6.conf.all.forwarding=1",
            (
                "six",
                "[${outside6}]:443",
                Some("ipv6-forwarding-disabled"),
                &["bridge"],
            ),
        ),
        (
            "host",
            "ip6tables -I FORWARD -o eth0 -j DROP",
            "ip6tables -D FORWARD -o eth0 -j DROP",
            (
                "six",
                "[${outside6}]:443",
                Some("ipv6-filter-drop"),
                &["forwarding"],
            ),
        ),
        (
            "host",
            "ip route add prohibit 203.0.113.0/24",
            "ip route del prohibit 203.0.113.0/24",
            (
                "web",
                "203.0.113.7:80",
                Some("route-rejects"),
                &["forwarding"],
            ),
        ),
    ];
    for (place, breaks, mend, connection) in faults {
        let place: Place = place.parse()?;
        let mend = lab.expand(mend)?;
        script(lab, &place, Some(breaks))?;
        let result = walked(lab, connection);
        script(lab, &place, Some(&mend))?;
        result.with_context(|| (*breaks).to_owned())?;
    }
    undecided(lab)?;
    for (from, to) in [
        ("nobody", "web:80"),
        ("web", "web"),
        ("web", ":9"),
        ("2001:db8::1", "web:80"),
    ] {
        let output = tool(lab, &["--from", from, "--to", to])?;
        ensure!(
            output.status == Some(2) && !output.stderr.is_empty(),
            "{from} {to}: {output:?}"
        );
    }
    let output = tool(lab, &["--from", "outside", "--to", ":10001"])?;
    ensure!(output.status == Some(0), "{output:?}");
    for words in [
        "✓ → host",
        "✓ ← web",
        "it arrives, and its answer comes back",
    ] {
        ensure!(
            output.stdout.contains(words),
            "no {words:?} in {}",
            output.stdout
        );
    }
    Ok(())
}

/// What a filter or program of others does is not known: then neither is whether it arrives.
fn undecided(lab: &Lab) -> Result<()> {
    let filter = "u32 match ip dport 9 0xffff flowid 1:1";
    for (place, device, way) in [
        ("host", "eth0", "ingress"),
        ("host", "docker0", "egress"),
        ("container:web", "eth0", "ingress"),
        ("container:web", "eth0", "egress"),
    ] {
        let place: Place = place.parse()?;
        let breaks = format!(
            "tc qdisc add dev {device} clsact; tc filter add dev {device} {way} protocol ip {filter}"
        );
        script(lab, &place, Some(&breaks))?;
        let output = tool(
            lab,
            &["--from", "outside", "--to", ":10001", "--output", "json"],
        );
        script(
            lab,
            &place,
            Some(&format!("tc qdisc del dev {device} clsact")),
        )?;
        let output = output?;
        let lines = schema::lines(&output.stdout).with_context(|| format!("{output:?}"))?;
        let is_told = |line: &&Value| {
            line["what"] == "programs"
                && line["outcome"] == "unknown"
                && line["says"]
                    .as_str()
                    .is_some_and(|says| says.contains(device) && says.contains(way))
        };
        let summary = lines.last().with_context(|| format!("{output:?}"))?;
        ensure!(
            lines.iter().filter(is_told).count() == 1
                && summary["reaches"].is_null()
                && output.status == Some(0),
            "{device} {way}: {lines:#?}"
        );
    }
    Ok(())
}

fn walked(lab: &Lab, (from, to, cause, steps): &Connection) -> Result<()> {
    let to = &lab.expand(to)?;
    let output = tool(lab, &["--from", from, "--to", to, "--output", "json"])?;
    let lines = schema::lines(&output.stdout).with_context(|| format!("{output:?}"))?;
    let summary = lines.last().with_context(|| format!("{output:?}"))?;
    let about = || format!("{from} → {to}: {lines:#?}");
    ensure!(
        summary["type"] == "summary" && summary["reaches"] == cause.is_none(),
        "{}",
        about()
    );
    ensure!(
        output.status == Some(if cause.is_some() { 3 } else { 0 }),
        "{}",
        about()
    );
    if let Some(cause) = cause {
        ensure!(summary["cause"]["id"] == *cause, "not {cause}: {}", about());
    }
    for step in *steps {
        let there = lines
            .iter()
            .any(|line| line["what"] == *step && line["outcome"] == "pass");
        ensure!(there, "no step {step}: {}", about());
    }
    Ok(())
}

/// 127.0.0.11, what it forwards to, and who set that.
fn resolution(lab: &mut Lab) -> Result<()> {
    let output = tool(lab, &["--container", "api", "--output", "json"])?;
    let first = schema::line(output.stdout.lines().next().unwrap_or_default())?;
    ensure!(
        first["type"] == "resolution" && first["container"] == "api",
        "{first}"
    );
    ensure!(first["embedded"]["works"] == true, "{first}");
    ensure!(first["servers"][0]["address"] == "203.0.113.7", "{first}");
    ensure!(
        first["servers"][0]["set_by"] == "daemon" && first["servers"][0]["trouble"].is_null(),
        "{first}"
    );
    let text = tool(lab, &["--container", "web"])?.stdout;
    ensure!(
        text.contains("203.0.113.7 asked from the container; set by dns of daemon.json"),
        "{text}"
    );
    Ok(())
}

fn docker_down(lab: &mut Lab) -> Result<()> {
    lab.stop_dockerd();
    let (lines, _) = findings(lab, &[])?;
    let has = |id: &str, grade: &str| {
        lines
            .iter()
            .any(|line| line["cause"]["id"] == id && line["grade"] == grade)
    };
    ensure!(has("engine-down", "broken"), "{lines:#?}");
    // Docker's resolver is a part of dockerd.
    ensure!(has("embedded-dns-broken", "broken"), "{lines:#?}");
    // Containers go on (live-restore), and are still told apart.
    ensure!(!has("no-listener", "broken"), "{lines:#?}");
    let text = tool(lab, &[])?.stdout;
    ensure!(text.contains("docker does not answer"), "{text}");
    lab.start_dockerd()?;
    settle(lab)?;
    healthy(lab)
}
