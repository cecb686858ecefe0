//! A healthy host, busy with all that a healthy host does: nothing is shown of it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use dockernet_tests::{
    Cmd, Engine, HOST_IP, HOST_IP6, INTERNET_IP, Lab, LabOptions, Netns, OUTSIDE_IP, OUTSIDE_IP6,
    Place, Run, ServerKind, Tracer, can_run, engines,
    scenario::quiet,
    tool_path,
    traffic::{Probe, Proto},
};

#[test]
fn a_busy_healthy_host_is_silent() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        on(&engine)?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let lab = Lab::start(engine, &LabOptions::default())?;
    topology(&lab)?;
    let tracer = Tracer::start(&lab, &[])?;
    for list_path in [false, true] {
        lab.list_path(list_path)?;
        connections(&lab)?;
        names(&lab)?;
        groups(&lab)?;
        closings(&lab)?;
        churn(&lab)?;
    }
    // What comes late: neighbours that give up, fragments that stay alone.
    thread::sleep(Duration::from_secs(4));
    let finished = tracer.stop()?;
    quiet(&finished)?;
    let ledger = finished.ledger()?;
    // It did see something, or its silence says nothing.
    ensure!(
        ledger["benign"].as_u64().unwrap_or(0) > 0,
        "not even noise was seen: {ledger}"
    );
    nothing_is_broken(&lab)
}

/// What looks broken to who does not know better, and what is: nothing.
fn nothing_is_broken(lab: &Lab) -> Result<()> {
    let checked = Cmd::new(tool_path()?)
        .args(["check", "--output", "json", "-H"])
        .arg(lab.docker_host())
        .env_remove("DOCKER_HOST")
        .in_netns(lab.host().path())
        .output()?;
    let broken: Vec<&str> = checked
        .stdout
        .lines()
        .filter(|line| line.contains(r#""grade":"broken""#))
        .collect();
    ensure!(
        broken.is_empty() && checked.success(),
        "check says of a healthy host ({:?}): {}{}",
        checked.status,
        broken.join("\n"),
        checked.stderr
    );
    Ok(())
}

fn topology(lab: &Lab) -> Result<()> {
    let six = ["--ipv6", "--subnet", "2001:db8:2::/64"];
    lab.docker(["network", "create"].into_iter().chain(six).chain(["lan"]))?;
    lab.docker(["network", "create", "two"])?;
    let macvlan = [
        "-d",
        "macvlan",
        "-o",
        "parent=eth0",
        "--subnet",
        "198.51.100.0/24",
    ];
    let range = ["--ip-range", "198.51.100.128/25", "mv"];
    lab.docker(
        ["network", "create"]
            .into_iter()
            .chain(macvlan)
            .chain(range),
    )?;
    let server = |name: &str| Run::new(name, "httpd -f -p 80 -h /www").wait_port("80/tcp");
    lab.run(&server("web").publish("10001:80"))?;
    lab.run(&server("api").publish("10002:80").network("lan"))?;
    lab.run(&server("vlan").network("mv"))?;
    lab.run(&Run::new("client", "sleep 1000").network("lan"))?;
    lab.run(&Run::new("both", "sleep 1000").network("lan").network("two"))?;
    lab.run(&Run::new("shared", "sleep 1000").option("--network=host"))?;
    lab.run(&Run::new("alone", "sleep 1000").option("--network=none"))?;
    // In the namespace of another, which may have a resolver of its own.
    lab.run(&Run::new("side", "sleep 1000").option("--network=container:api"))?;
    lab.docker(["network", "create", "--internal", "inside"])?;
    lab.run(&server("store").network("inside"))?;
    lab.run(
        &Run::new("teller", "sleep 1000")
            .network("inside")
            .network("two"),
    )?;
    let resolver = format!("--dns={INTERNET_IP}");
    lab.run(
        &Run::new("named", "sleep 1000")
            .network("lan")
            .option(&resolver),
    )?;
    odd(lab)?;
    ipvlan(lab)
}

/// What is meant as it is, though it looks otherwise: a range of ports that is served on demand, a port that the container's
/// own rules lead to another one, and an uplink in reserve that nothing is plugged into.
fn odd(lab: &Lab) -> Result<()> {
    lab.run(&Run::new("phone", "sleep 1000").publish("21100-21107:21100-21107/udp"))?;
    let led = Run::new("led", "httpd -f -p 8080 -h /www");
    lab.run(&led.publish("10003:80").wait_port("8080/tcp"))?;
    lab.script(
        &Place::Container("led".to_owned()),
        "iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080",
    )?;
    lab.script(
        &Place::Host,
        "ip link add spare0 type veth peer name spare1 && ip link set spare0 up && ip addr add 192.0.2.2/30 dev spare0 && \
         ip route add default via 192.0.2.1 dev spare0 metric 5000",
    )?;
    Ok(())
}

/// Two containers on an ipvlan, where the kernel has it.
fn ipvlan(lab: &Lab) -> Result<()> {
    if !has_ipvlan() {
        println!("  this kernel has no ipvlan: that mode is left out");
    } else {
        lab.shell(&Place::Host, "ip link add par0 type veth peer name par1 && ip link set par0 up && ip link set par1 up")?;
        let network = ["-d", "ipvlan", "-o", "parent=par0", "--subnet"];
        lab.docker(
            ["network", "create"]
                .into_iter()
                .chain(network)
                .chain(["192.0.2.128/25", "ip"]),
        )?;
        lab.run(
            &Run::new("ipa", "httpd -f -p 80 -h /www")
                .network("ip")
                .wait_port("80/tcp"),
        )?;
        lab.run(&Run::new("ipb", "sleep 1000").network("ip"))?;
    }
    Ok(())
}

fn has_ipvlan() -> bool {
    let known = Cmd::shell("test -d /sys/module/ipvlan || modprobe -nq ipvlan").output();
    known.is_ok_and(|output| output.success())
}

/// By name, as programs do it: through the resolver at 127.0.0.11.
fn names(lab: &Lab) -> Result<()> {
    let by_name = [
        ("client", "api"),
        ("both", "client"),
        ("teller", "store"),
        ("store", "teller"),
        ("named", "api"),
        ("named", "registry.example"),
    ];
    for (from, name) in by_name {
        lab.docker(["exec", from, "nslookup", name])?;
    }
    for (from, url) in [
        ("client", "http://api/"),
        ("teller", "http://store/"),
        ("side", "http://127.0.0.1/"),
        ("both", "http://api/"),
    ] {
        lab.docker(["exec", from, "wget", "-q", "-O", "-", url])?;
    }
    lab.docker(["exec", "alone", "ping", "-c", "1", "127.0.0.1"])?;
    if has_ipvlan() {
        lab.docker(["exec", "ipb", "wget", "-q", "-O", "-", "http://ipa/"])?;
    }
    Ok(())
}

fn place(lab: &Lab, container: &str) -> Result<Netns> {
    lab.netns(&Place::Container(container.into()))
}

/// Every way in and out, answered.
fn connections(lab: &Lab) -> Result<()> {
    let client = place(lab, "client")?;
    let both = place(lab, "both")?;
    let (host, outside) = (lab.host().clone(), lab.outside().clone());
    let api = lab.container_ip("api", None)?;
    let api6 = lab.container_ip6("api", None)?;
    let vlan = lab.container_ip("vlan", None)?;
    let address = |text: &str| -> Result<IpAddr> { Ok(text.parse()?) };
    let tcp = [
        (&outside, address(HOST_IP)?, 10001),
        (&outside, address(HOST_IP)?, 10002),
        (&outside, vlan, 80),
        (&host, address(HOST_IP)?, 10001),
        (&host, address("127.0.0.1")?, 10002),
        (&host, api, 80),
        (&client, api, 80),
        (&client, api6, 80),
        (&client, address(HOST_IP)?, 10001),
        (&client, address(INTERNET_IP)?, 80),
        (&both, api, 80),
        (&both, address(INTERNET_IP)?, 80),
    ];
    for (from, to, port) in tcp {
        answered(Probe::tcp(SocketAddr::new(to, port)), from)?;
    }
    let internet = address(INTERNET_IP)?;
    answered(Probe::udp(SocketAddr::new(internet, 7)), &client)?;
    answered(
        Probe::new(Proto::Dns, SocketAddr::new(internet, 53)),
        &client,
    )?;
    for to in [
        api,
        internet,
        address(OUTSIDE_IP)?,
        api6,
        address(OUTSIDE_IP6)?,
    ] {
        let mut ping = Probe::new(Proto::Ping, SocketAddr::new(to, 0));
        ping.count = 2;
        answered(ping.clone(), &client)?;
        // In fragments.
        ping.size = 4000;
        answered(ping, &client)?;
    }
    let to_host = Probe::new(Proto::Ping, SocketAddr::new(address(HOST_IP6)?, 0));
    answered(to_host, &outside)
}

fn answered(probe: Probe, from: &Netns) -> Result<()> {
    let outcome = probe.send(from)?;
    ensure!(outcome.fits("ok"), "{probe:?} was not answered: {outcome}");
    Ok(())
}

/// Multicast and broadcast from inside and outside, wanted by nobody.
fn groups(lab: &Lab) -> Result<()> {
    for from in [
        place(lab, "client")?,
        place(lab, "vlan")?,
        lab.outside().clone(),
        lab.host().clone(),
    ] {
        from.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_broadcast(true)?;
            for to in [
                "224.0.0.251:5353",
                "239.255.255.250:1900",
                "255.255.255.255:67",
            ] {
                // A namespace without a default route has no way for some of them.
                socket.send_to(b"anybody?", to).ok();
            }
            let member = UdpSocket::bind("0.0.0.0:0")?;
            member
                .join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::UNSPECIFIED)
                .ok();
            Ok(())
        })?;
    }
    Ok(())
}

/// Sockets that close with unread data, on either side and in both protocols.
fn closings(lab: &Lab) -> Result<()> {
    let (client, api) = (place(lab, "client")?, place(lab, "api")?);
    let address = lab.container_ip("api", None)?;
    let place_api = Place::Container("api".into());
    let unread = lab.serve(&place_api, ServerKind::Deaf, "0.0.0.0:6000")?;
    client.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.send_to(&[b'u'; 200], (address, 6000))?;
        Ok(())
    })?;
    thread::sleep(Duration::from_millis(100));
    drop(unread);
    let listener = api.within(|| Ok(TcpListener::bind("0.0.0.0:6001")?))?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 10])?;
        // The rest is never read: the connection is reset.
        drop(stream);
        let (mut stream, _) = listener.accept()?;
        std::io::copy(&mut stream, &mut std::io::sink())?;
        Ok(())
    });
    client.within(|| {
        let mut stream = TcpStream::connect((address, 6001))?;
        stream.write_all(&[b't'; 5000])?;
        thread::sleep(Duration::from_millis(100));
        // Refused or reset, as it happens.
        stream.write_all(&[b't'; 5000]).ok();
        drop(stream);
        let mut stream = TcpStream::connect((address, 6001))?;
        stream.write_all(&vec![b't'; 4 << 20])?;
        Ok(())
    })?;
    server
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the server panicked")))
}

/// Containers that come and go, and move between networks.
fn churn(lab: &Lab) -> Result<()> {
    for number in 0..3 {
        let name = format!("short{number}");
        lab.docker([
            "run",
            "--name",
            &name,
            "--network",
            "lan",
            "-p",
            "10009:80",
            "busybox:lab",
            "true",
        ])?;
        lab.docker(["rm", "-f", &name])?;
    }
    lab.docker(["network", "connect", "two", "client"])?;
    lab.docker(["network", "disconnect", "two", "client"])?;
    lab.docker(["pause", "web"])?;
    lab.docker(["unpause", "web"])?;
    lab.docker(["restart", "-t", "0", "web"])?;
    // A SYN before it listens would rightly be told of.
    thread::sleep(Duration::from_secs(1));
    Ok(())
}
