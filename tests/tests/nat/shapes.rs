//! Packets that are not one skb each: fragments, super-packets, lists, clones.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{HOST_IP, INTERNET_IP, Lab, Netns, Place, ServerKind, Tracer, progress};
use serde_json::Value;

use crate::{account, connect, echo, end, succeed, table::Events};

/// More than two device MTUs.
const LARGE: usize = 4_000;

/// A reader of a device's packets: each of them is cloned for it.
struct Tap(Child);

impl Tap {
    fn on(lab: &Lab, device: &str) -> Result<Self> {
        let child = lab
            .host()
            .command("tcpdump")
            .args(["-n", "-i", device, "-w", "/dev/null"])
            .to_command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting tcpdump")?;
        Ok(Self(child))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Every shape at once, by the same rule: what is told is what conntrack holds, each direction once.
pub(crate) fn told_once(lab: &mut Lab) -> Result<()> {
    lab.shell(&Place::Host, "conntrack -F")?;
    let _bulk = lab.serve(
        &Place::Container("web".into()),
        ServerKind::Bulk,
        "0.0.0.0:8080",
    )?;
    let web = lab.netns(&Place::Container("web".into()))?;
    let outside = lab.outside().clone();
    let bulk = SocketAddr::new(lab.container_ip("web", None)?, 8080);
    succeed(
        lab,
        &Place::Host,
        &format!(
            "iptables -t nat -I PREROUTING -i eth0 -p tcp --dport 4445 -j DNAT --to-destination {bulk} &&
             iptables -I FORWARD -p tcp --dport 8080 -j ACCEPT && iptables -I FORWARD -p tcp --sport 8080 -j ACCEPT"
        ),
    )?;
    let tracer = Tracer::start(lab, &["--nat", "--scope", "host"])?;
    let events = Events::listen(lab)?;
    let taps = [Tap::on(lab, "eth0")?, Tap::on(lab, "docker0")?];

    large_echo(&outside, end(HOST_IP, 10053)?, 20)?;
    large_echo(&web, end(INTERNET_IP, 7)?, 20)?;
    large_download(&outside, end(HOST_IP, 4445)?, 5)?;
    lab.list_path(true)?;
    let lists = connect(&outside, end(HOST_IP, 10001)?, 50)
        .and_then(|()| large_download(&outside, end(HOST_IP, 4445)?, 5));
    lab.list_path(false)?;
    lists?;
    // A bridge that does not know where the container is clones the packet for every port.
    for _ in 0..20 {
        flood_next(lab)?;
        echo(&outside, end(HOST_IP, 10053)?, 1)?;
    }

    drop(taps);
    let account = account(lab, tracer, events)?;
    let lines: Vec<&Value> = account.finished.of_type("nat").collect();
    let (events, table) = (&account.events, &account.table);
    for (port, most) in [(10053, 40), (7, 20), (4445, 10), (10001, 50)] {
        let end = format!(" {port}");
        // Two sockets of so many may have been given the same port, one after the other.
        let made = events.iter().filter(|(_, ends)| ends[1].ends_with(&end));
        let made = made.count();
        let of = |replied: bool| {
            lines
                .iter()
                .filter(|line| line["original"]["dst_port"] == port && line["replied"] == replied)
                .count()
        };
        ensure!(
            made >= most - 2 && of(false) == made && of(true) == made,
            "{made} of {most} flows to port {port}: {} first packets and {} answers told",
            of(false),
            of(true)
        );
    }
    progress(&format!("{} entries, {} lines", table.len(), lines.len()));
    succeed(
        lab,
        &Place::Host,
        &format!(
            "iptables -t nat -D PREROUTING -i eth0 -p tcp --dport 4445 -j DNAT --to-destination {bulk} &&
             iptables -D FORWARD -p tcp --dport 8080 -j ACCEPT && iptables -D FORWARD -p tcp --sport 8080 -j ACCEPT"
        ),
    )
}

/// Datagrams that travel in fragments, from a new port each.
fn large_echo(from: &Netns, to: SocketAddr, times: usize) -> Result<()> {
    from.within(|| {
        for _ in 0..times {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.send_to(&[b'u'; LARGE], to)?;
            let mut answer = [0; LARGE];
            let length = socket
                .recv(&mut answer)
                .with_context(|| format!("no echo from {to}"))?;
            ensure!(length == LARGE, "{length} of {LARGE} bytes came back");
        }
        Ok(())
    })
}

/// A mebibyte each, in segments as large as the devices take them.
fn large_download(from: &Netns, to: SocketAddr, times: usize) -> Result<()> {
    from.within(|| {
        for _ in 0..times {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"all of it\n")?;
            let mut data = Vec::new();
            stream.read_to_end(&mut data).context("the download")?;
            ensure!(data.len() >= 1 << 20, "only {} bytes came", data.len());
        }
        Ok(())
    })
}

/// Forgets behind which port the containers are.
fn flood_next(lab: &Lab) -> Result<()> {
    succeed(
        lab,
        &Place::Host,
        "for port in $(ls /sys/class/net/docker0/brif); do echo 1 > /sys/class/net/docker0/brif/$port/flush; done",
    )
}
