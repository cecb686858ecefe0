//! New flows faster than a person could read: none is lost in silence, and none is invented.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dockernet_tests::{HOST_IP, Lab, OUTSIDE_IP, Place, ServerKind, Tracer, is_full, progress};

use crate::{
    end, succeed,
    table::{line_entry, list},
};

/// Client addresses beside the first one.
const MORE: [&str; 3] = ["198.51.100.21", "198.51.100.22", "198.51.100.23"];
/// The first port of each.
const FIRST: u16 = 2_000;
/// How long the tool may take to write what its ring holds.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn told_or_counted(lab: &mut Lab) -> Result<()> {
    for address in MORE {
        let add = format!("ip addr add {address}/24 dev eth0");
        succeed(lab, &Place::Outside, &add)?;
    }
    lab.shell(&Place::Host, "conntrack -F")?;
    // It takes an emulated machine longer than the 30 s after which a datagram's flow is forgotten.
    let timeout = "net/netfilter/nf_conntrack_udp_timeout";
    lab.sysctl(&Place::Host, timeout, "300")?;
    let per_client = if is_full() { 40_000 } else { 8_000 };
    let outcome = storm(lab, per_client);
    lab.restore_sysctls();
    for address in MORE {
        let remove = format!("ip addr del {address}/24 dev eth0");
        succeed(lab, &Place::Outside, &remove)?;
    }
    lab.shell(&Place::Host, "conntrack -F")?;
    outcome
}

fn storm(lab: &mut Lab, per_client: u16) -> Result<()> {
    // Who answers takes the time in which others could send.
    let _deaf = lab.serve(
        &Place::Container("web".into()),
        ServerKind::Deaf,
        "0.0.0.0:54",
    )?;
    let tracer = Tracer::start(lab, &["--nat"])?;
    let clients: Vec<&str> = std::iter::once(OUTSIDE_IP).chain(MORE).collect();
    let (first, second) = clients.split_at(clients.len() / 2);
    let outside = lab.outside().clone();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| outside.within(|| send(first, per_client)));
        let sent = outside.within(|| send(second, per_client));
        sender
            .join()
            .map_err(|_| anyhow::anyhow!("a sender panicked"))?
            .and(sent)
    })?;
    let flows = clients.len() * usize::from(per_client);
    #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
    let rate = flows as f64 / started.elapsed().as_secs_f64();
    let table = list(lab)?;
    let finished = tracer.stop_within(LIMIT)?;

    let told: BTreeSet<_> = finished
        .of_type("nat")
        .filter(|line| line["original"]["dst_port"] == 10054)
        .filter_map(line_entry)
        .collect();
    let nat = &finished.ledger()?["nat"];
    let lost = nat["lost"].as_u64().unwrap_or(u64::MAX);
    progress(&format!(
        "{rate:.0} new flows/s: {} of {flows} told, {lost} reports without room",
        told.len()
    ));
    ensure!(
        told.len() as u64 + lost >= flows as u64,
        "{} told and {lost} counted as lost of {flows}: {nat}",
        told.len()
    );
    // The table still holds every one.
    let invented: Vec<_> = told.difference(&table).take(5).collect();
    ensure!(
        invented.is_empty(),
        "told and not in conntrack's table of {}: {invented:#?}",
        table.len()
    );
    Ok(())
}

/// One datagram from each of so many ports of each address.
fn send(clients: &[&str], ports: u16) -> Result<()> {
    let target = end(HOST_IP, 10054)?;
    for client in clients {
        for port in 0..ports {
            let socket = UdpSocket::bind((*client, FIRST + port))?;
            socket.send_to(b"x", target)?;
        }
    }
    Ok(())
}
