//! `map` against what `ip`, `bridge` and `docker inspect` say.

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, DaemonOptions, Lab, LabOptions, Output, Place, Run, Tracer, can_run, engines, group,
    progress, schema, tool_path, wait_until,
};
use serde_json::Value;
use std::time::Duration;

const SLEEP: &str = "sleep 1000";

#[test]
fn map_of_every_mode() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        let mut daemon = DaemonOptions::default();
        daemon.config.insert("live-restore".into(), true.into());
        let mut lab = Lab::start(&engine, &LabOptions { daemon })?;
        let blue = format!("{}-blue", name_of_host(&lab)?);
        build(&lab, &blue)?;
        let mut context = (lab, blue);
        let result = group(
            &mut context,
            &[
                ("as ip, bridge and docker inspect say", truth),
                ("hand-wired ends", wired),
                ("every network mode", modes),
                ("by name, interface, address and MAC", selected),
                ("unknown names are bad usage", unknown),
                ("text in every width", widths),
                ("what does not fit is marked", marked),
                ("with Docker hung and down", without_engine),
            ],
        );
        Cmd::new("ip").args(["netns", "del", &context.1]).run()?;
        result?;
        lab = context.0;
        drop(lab);
    }
    Ok(())
}

/// The lab, and the name of a namespace that is wired to docker0.
type Wired = (Lab, String);

/// `dn…-host`: a prefix that is removed with the lab even after a crash.
fn name_of_host(lab: &Lab) -> Result<String> {
    let file = lab.host().path().file_name().context("no name")?;
    Ok(file.to_string_lossy().replace("-host", ""))
}

fn build(lab: &Lab, blue: &str) -> Result<()> {
    let net = |args: &[&str]| {
        lab.docker(["network", "create"].iter().chain(args))
            .map(drop)
    };
    let host = |script: &str| -> Result<()> {
        let output = lab.shell(&Place::Host, script)?;
        ensure!(output.success(), "{script}: {}", output.stderr);
        Ok(())
    };
    host(
        "ip link add dum0 type veth peer name dum1 && ip link set dum0 up && ip link set dum1 up",
    )?;
    net(&["--subnet", "172.30.1.0/24", "back"])?;
    net(&[
        "--subnet",
        "172.30.2.0/24",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "small",
    ])?;
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
    net(&[
        "-d",
        "ipvlan",
        "-o",
        "parent=dum0",
        "--subnet",
        "192.0.2.0/24",
        "ipv",
    ])?;
    let run = |name: &str| Run::new(name, SLEEP);
    lab.run(
        &run("web")
            .publish("10001:80")
            .publish("127.0.0.1:5353:53/udp"),
    )?;
    lab.run(&run("side").network("container:web"))?;
    lab.run(&run("hosty").network("host"))?;
    for name in ["alone", "c1", "c2"] {
        lab.run(&run(name).network("none"))?;
    }
    lab.run(&run("multi").network("back").network("small"))?;
    lab.run(&run("inner").network("closed"))?;
    lab.run(&run("sixer").network("six"))?;
    lab.run(&run("macky").network("mac"))?;
    // Kernels without CONFIG_IPVLAN are common in virtual machines.
    if lab.run(&run("ippy").network("ipv")).is_err() {
        progress("no ipvlan in this kernel");
        lab.docker(["rm", "-f", "ippy"])?;
        lab.docker(["network", "rm", "ipv"])?;
    }
    lab.docker([
        "create",
        "--name",
        "old",
        "--network",
        "back",
        &image(lab)?,
        "true",
    ])?;
    // A cable between two containers, one into a container and one into a named namespace on docker0.
    let pid = |name: &str| lab.container_pid(name);
    let (c1, c2, alone) = (pid("c1")?, pid("c2")?, pid("alone")?);
    host(&format!(
        "ip link add p1 type veth peer name p2 && ip link set p1 netns {c1} name eth1 && ip link set p2 netns {c2} name eth1"
    ))?;
    host(&format!(
        "ip link add hw0 type veth peer name hw1 && ip link set hw1 netns {alone} name eth0 && ip link set hw0 master docker0 up"
    ))?;
    Cmd::new("ip").args(["netns", "add", blue]).run()?;
    host(&format!(
        "ip link add bl0 type veth peer name bl1 && ip link set bl1 netns {blue} name eth0 && ip link set bl0 master docker0 up"
    ))?;
    for (name, script) in [
        (
            "c1",
            "ip addr add 192.0.2.129/30 dev eth1; ip link set eth1 up",
        ),
        (
            "c2",
            "ip addr add 192.0.2.130/30 dev eth1; ip link set eth1 up",
        ),
        (
            "alone",
            "ip addr add 172.17.0.99/16 dev eth0; ip link set eth0 up",
        ),
    ] {
        let output = lab.shell(&Place::Container(name.into()), script)?;
        ensure!(output.success(), "{name}: {}", output.stderr);
    }
    Cmd::new("ip")
        .args(["-n", blue, "addr", "add", "172.17.0.98/16", "dev", "eth0"])
        .run()?;
    Cmd::new("ip")
        .args(["-n", blue, "link", "set", "eth0", "up"])
        .run()?;
    Ok(())
}

fn exists(lab: &Lab, name: &str) -> bool {
    lab.docker(["inspect", name]).is_ok()
}

fn image(lab: &Lab) -> Result<String> {
    lab.docker(["inspect", "--format", "{{.Config.Image}}", "web"])
}

fn json(lab: &Lab, what: &[&str]) -> Result<Value> {
    let text = Tracer::command(lab)?
        .arg("map")
        .args(what)
        .in_netns(lab.host().path())
        .run()?;
    let map = schema::line(&text)?;
    ensure!(map["type"] == "map" && map["schema"] == 1, "{map}");
    Ok(map)
}

fn plain(lab: &Lab, args: &[&str]) -> Result<Output> {
    Cmd::new(tool_path()?)
        .args(["map", "-H"])
        .arg(lab.docker_host())
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .in_netns(lab.host().path())
        .output()
}

/// The namespace of a container.
fn space<'a>(map: &'a Value, name: &str) -> Result<&'a Value> {
    let mut all = map["namespaces"].as_array().into_iter().flatten();
    all.find(|space| {
        let mut members = space["containers"].as_array().into_iter().flatten();
        members.any(|member| member["name"] == name) || space["name"] == name
    })
    .with_context(|| format!("no {name} in {map:#}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn interfaces(map: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    list(&map["namespaces"])
        .flat_map(|space| list(&space["interfaces"]).map(move |interface| (space, interface)))
}

fn links(lab: &Lab, place: &Place) -> Result<Vec<Value>> {
    let output = lab.shell(place, "ip -d -j address")?;
    Ok(serde_json::from_str(&output.stdout)?)
}

/// Every interface of the host and of every container, field by field; ports by `bridge`.
fn truth((lab, _): &mut Wired) -> Result<()> {
    let map = json(lab, &[])?;
    let host = links(lab, &Place::Host)?;
    let ports = lab.shell(&Place::Host, "bridge -d -j link")?;
    let ports: Vec<Value> = serde_json::from_str(&ports.stdout)?;
    let mut compared = 0;
    for name in [
        "host", "web", "multi", "inner", "sixer", "macky", "ippy", "alone", "c1", "c2",
    ] {
        let place = if name == "host" {
            Place::Host
        } else {
            Place::Container(name.into())
        };
        if !exists(lab, name) && name != "host" {
            continue;
        }
        let told = space(&map, name)?;
        let own = links(lab, &place)?;
        let own: Vec<&Value> = own
            .iter()
            .filter(|link| link["link_type"] != "loopback")
            .collect();
        for interface in list(&told["interfaces"]) {
            let link = own
                .iter()
                .find(|link| link["ifindex"] == interface["ifindex"])
                .with_context(|| format!("{name} has no {interface}"))?;
            compared += 1;
            for (ours, theirs) in [("name", "ifname"), ("mac", "address"), ("mtu", "mtu")] {
                ensure!(
                    interface[ours] == link[theirs],
                    "{name} {ours}: {interface} and {link}"
                );
            }
            let flag = |flag: &str| list(&link["flags"]).any(|has| has == flag);
            ensure!(
                interface["up"] == flag("UP") && interface["carrier"] == flag("LOWER_UP"),
                "{interface} {link}"
            );
            let addresses: Vec<String> = list(&link["addr_info"])
                .map(|info| {
                    format!(
                        "{}/{}",
                        info["local"].as_str().unwrap_or("?"),
                        info["prefixlen"]
                    )
                })
                .collect();
            ensure!(
                interface["addresses"] == serde_json::json!(addresses),
                "{interface} {addresses:?}"
            );
            let peer = &interface["peer"];
            // Within one namespace `ip` gives the other end's name.
            let same = own.iter().find(|other| other["ifname"] == link["link"]);
            let index = same.map_or(&link["link_index"], |other| &other["ifindex"]);
            let index = index.as_u64();
            if link["linkinfo"]["info_kind"] == "veth" {
                ensure!(
                    peer["ifindex"].as_u64() == index,
                    "{name}: {interface} {link}"
                );
            }
            if peer["owner"] == "host" && name != "host" {
                let there = host.iter().find(|link| link["ifindex"] == peer["ifindex"]);
                let there = there.with_context(|| format!("host has no {peer}"))?;
                ensure!(
                    there["ifname"] == peer["name"] && there["link_index"] == interface["ifindex"],
                    "{peer} {there}"
                );
                let port = &peer["port"];
                ensure!(there["master"] == port["bridge"]["name"], "{port} {there}");
                let state = ports.iter().find(|port| port["ifname"] == peer["name"]);
                ensure!(
                    state.map(|port| &port["state"]) == Some(&port["state"]),
                    "{port} {state:?}"
                );
            }
            let parent = &interface["parent"];
            if !parent.is_null() {
                ensure!(
                    parent["ifindex"].as_u64() == index && parent["owner"] == "host",
                    "{interface} {link}"
                );
            }
        }
        let (ours, theirs) = (list(&told["interfaces"]).count(), own.len());
        ensure!(
            ours <= theirs && (ours > 0),
            "{name}: {ours} of {theirs}: {told:#}"
        );
    }
    ensure!(compared >= 20, "{compared} interfaces were compared");
    // What Docker says.
    for name in ["web", "multi", "inner", "sixer", "macky", "ippy"] {
        if !exists(lab, name) {
            continue;
        }
        let text = lab.docker([
            "inspect",
            "--format",
            "{{json .NetworkSettings.Networks}}",
            name,
        ])?;
        let networks: Value = serde_json::from_str(&text)?;
        for (network, told) in networks.as_object().context("no object")? {
            let address = format!(
                "{}/{}",
                told["IPAddress"].as_str().unwrap_or("?"),
                told["IPPrefixLen"]
            );
            let found = list(&space(&map, name)?["interfaces"]).any(|interface| {
                interface["network"] == *network
                    && interface["gateway"].as_str().unwrap_or("")
                        == told["Gateway"].as_str().unwrap_or("")
                    && list(&interface["addresses"]).any(|has| *has == address)
            });
            ensure!(
                found,
                "{name} on {network}: {told} {:#}",
                space(&map, name)?
            );
        }
    }
    let problems: Vec<&Value> = interfaces(&map)
        .flat_map(|(_, interface)| list(&interface["problems"]))
        .chain(list(&map["namespaces"]).flat_map(|space| list(&space["problems"])))
        .chain(list(&map["networks"]).flat_map(|net| list(&net["problems"])))
        .collect();
    ensure!(problems.is_empty(), "on a healthy host: {problems:#?}");
    Ok(())
}

fn wired((lab, blue): &mut Wired) -> Result<()> {
    let map = json(lab, &[])?;
    let c1 = &space(&map, "c1")?["interfaces"][0];
    ensure!(
        c1["peer"]["owner"] == "c2" && c1["peer"]["name"] == "eth1",
        "{c1:#}"
    );
    let alone = &space(&map, "alone")?["interfaces"][0];
    ensure!(
        alone["peer"]["name"] == "hw0" && alone["peer"]["port"]["bridge"]["name"] == "docker0",
        "{alone:#}"
    );
    let named = &space(&map, blue)?["interfaces"][0];
    ensure!(named["peer"]["name"] == "bl0", "{named:#}");
    let text = plain(lab, &["c1"])?.stdout;
    ensure!(
        text.contains("@c1 ↔ eth1(") && text.contains("@c2"),
        "{text}"
    );
    let text = plain(lab, &[blue])?.stdout;
    ensure!(
        text.contains("↔ bl0(") && text.contains("172.17.0.98/16"),
        "{text}"
    );
    Ok(())
}

fn modes((lab, _): &mut Wired) -> Result<()> {
    let map = json(lab, &[])?;
    let web = space(&map, "web")?;
    ensure!(
        web["containers"][1]["name"] == "side" && web["containers"][1]["mode"] == "container",
        "{web:#}"
    );
    let published = web["containers"][0]["published"].to_string();
    ensure!(
        published.contains("0.0.0.0:10001->80/tcp") && published.contains("127.0.0.1:5353->53/udp"),
        "{published}"
    );
    let host = &map["namespaces"][0];
    ensure!(
        host["owner"] == "host" && host["containers"][0]["name"] == "hosty",
        "{host:#}"
    );
    ensure!(
        map["not_running"][0]["name"] == "old",
        "{:#}",
        map["not_running"]
    );
    let closed = list(&map["networks"])
        .find(|net| net["name"] == "closed")
        .context("closed")?;
    ensure!(
        closed["internal"] == true && closed["containers"][0] == "inner",
        "{closed:#}"
    );
    Ok(())
}

fn selected((lab, _): &mut Wired) -> Result<()> {
    let map = json(lab, &[])?;
    let web = space(&map, "web")?.clone();
    let interface = &web["interfaces"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let address = text(&interface["addresses"][0]).replace("/16", "");
    let id = text(&web["containers"][0]["id"]);
    let mac = text(&interface["mac"]).to_uppercase();
    for what in [
        "web",
        "w?b",
        "side",
        &id[..12],
        &text(&interface["peer"]["name"]),
        &address,
        &mac,
        &text(&interface["peer"]["mac"]),
    ] {
        let map = json(lab, &[what])?;
        let found: Vec<(&Value, &Value)> = interfaces(&map).collect();
        let others = found
            .iter()
            .filter(|(space, _)| space["owner"] != "host")
            .count();
        ensure!(
            others == 1 && space(&map, "web")?["interfaces"][0] == *interface,
            "{what}: {map:#}"
        );
        let text = plain(lab, &[what])?.stdout;
        ensure!(
            text.contains("web") && !text.contains("multi"),
            "{what}: {text}"
        );
    }
    for (what, names) in [
        ("back", &["multi"][..]),
        ("docker0", &["web", "alone"]),
        ("172.30.3.0/24", &["inner"]),
        ("172.30.4.1", &["sixer"]),
        ("dum0", &["dum1"]),
        ("old", &["old"]),
        ("hosty", &["hosty"]),
    ] {
        let text = plain(lab, &[what])?.stdout;
        ensure!(
            names.iter().all(|name| text.contains(name)),
            "{what}: {text}"
        );
        ensure!(!text.contains("macky"), "{what}: {text}");
    }
    let text = plain(lab, &["--container", "multi", "--network", "small"])?.stdout;
    ensure!(
        text.contains("172.30.2.") && !text.contains("172.30.1."),
        "{text}"
    );
    Ok(())
}

fn unknown((lab, _): &mut Wired) -> Result<()> {
    for (args, wanted) in [
        (&["wbe"][..], "'web'"),
        (&["web", "hsoty"], "'hosty'"),
        (&["203.0.113.99"], "203.0.113.99"),
        (&["02:00:00:00:00:99"], "MAC"),
        (&["--network", "bakc"], "'back'"),
    ] {
        let output = plain(lab, args)?;
        ensure!(
            output.status == Some(2) && output.stderr.contains(wanted) && output.stdout.is_empty(),
            "{args:?}: {output:?}"
        );
    }
    Ok(())
}

/// In a terminal of so many columns.
fn in_terminal(lab: &Lab, columns: u32, locale: &str) -> Result<String> {
    let tool = tool_path()?;
    let script = format!(
        "stty cols {columns} rows 50; exec {} map -H {}",
        tool.display(),
        lab.docker_host()
    );
    let output = Cmd::new("script")
        .args(["-qec", &script, "/dev/null"])
        .env("LC_ALL", locale)
        .env("NO_COLOR", "1")
        .in_netns(lab.host().path())
        .output()?;
    Ok(output.stdout.replace('\r', ""))
}

fn widths((lab, _): &mut Wired) -> Result<()> {
    for columns in [80, 140] {
        let text = in_terminal(lab, columns, "C.UTF-8")?;
        for line in text.lines() {
            ensure!(
                line.chars().count() <= columns as usize,
                "{columns}: {line}"
            );
        }
        if std::env::var_os("DOCKERNET_SHOW").is_some() {
            progress(&format!("{columns} columns:\n{text}"));
        }
    }
    let text = in_terminal(lab, 100, "C")?;
    ensure!(
        text.is_ascii() && text.contains("<->") && text.contains("`- "),
        "{text}"
    );
    Ok(())
}

fn marked((lab, _): &mut Wired) -> Result<()> {
    let map = json(lab, &["multi"])?;
    let end = |network: &str| -> Result<String> {
        let (_, interface) = interfaces(&map)
            .find(|(_, interface)| interface["network"] == network && interface["peer"].is_object())
            .context("no interface")?;
        Ok(interface["peer"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let (back, small) = (end("back")?, end("small")?);
    let web = json(lab, &["web"])?;
    let veth = space(&web, "web")?["interfaces"][0]["peer"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let address = lab.container_ip("inner", None)?;
    let breaking = format!(
        "ip link set {back} mtu 1300; ip link set {small} nomaster; bridge link set dev {veth} state 1; ip addr del 172.30.4.1/24 dev $(ip -o -4 addr | awk '/172.30.4.1/{{print $2}}')"
    );
    lab.shell(&Place::Host, &breaking)?;
    lab.shell(
        &Place::Container("inner".into()),
        &format!("ip addr del {address}/24 dev eth0; ip addr add 172.30.3.77/24 dev eth0"),
    )?;
    lab.shell(&Place::Container("c2".into()), "ip link set eth1 down")?;
    let map = json(lab, &[])?;
    let marks = |name: &str| -> Result<String> { Ok(space(&map, name)?.to_string()) };
    for (name, id) in [
        ("multi", "mtu-differs"),
        ("multi", "wrong-bridge"),
        ("web", "port-not-forwarding"),
        ("inner", "address-differs"),
        ("c1", "interface-down"),
    ] {
        ensure!(
            marks(name)?.contains(id),
            "no {id} at {name}: {}",
            marks(name)?
        );
    }
    ensure!(
        map["networks"].to_string().contains("gateway-missing"),
        "{:#}",
        map["networks"]
    );
    let text = in_terminal(lab, 80, "C.UTF-8")?;
    ensure!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    ensure!(text.matches('✗').count() >= 6, "{text}");
    if std::env::var_os("DOCKERNET_SHOW").is_some() {
        progress(&format!("broken:\n{text}"));
    }
    Ok(())
}

fn without_engine((lab, _): &mut Wired) -> Result<()> {
    use nix::sys::signal::Signal;
    let check = |lab: &Lab, how: &str| -> Result<()> {
        let map = json(lab, &["web"])?;
        let interface = &space(&map, "web")?["interfaces"][0];
        ensure!(
            interface["peer"]["port"]["bridge"]["name"] == "docker0",
            "{how}: {map:#}"
        );
        ensure!(
            list(&map["degraded"]).count() > 0,
            "{how}: nothing says that Docker is away: {map:#}"
        );
        Ok(())
    };
    lab.signal_dockerd(Signal::SIGSTOP)?;
    let hung = check(lab, "hung");
    lab.signal_dockerd(Signal::SIGCONT)?;
    hung?;
    lab.stop_dockerd();
    let down = check(lab, "down");
    if std::env::var_os("DOCKERNET_SHOW").is_some() {
        progress(&format!("down:\n{}", in_terminal(lab, 140, "C.UTF-8")?));
    }
    lab.start_dockerd()?;
    down?;
    wait_until("Docker answers again", Duration::from_secs(10), || {
        let map = json(lab, &["web"]).ok()?;
        map["docker"].is_string().then_some(())
    })
}
