//! New flows faster than a person could read: nothing is lost in silence.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dockernet_tests::{HOST_IP, Lab, Tracer, progress};

use crate::{end, table::line_entry};

/// Each sends one datagram and ends.
const FLOWS: u16 = 8_000;

pub(crate) fn told_or_counted(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat"])?;
    let target = end(HOST_IP, 10053)?;
    let started = Instant::now();
    lab.outside().within(|| {
        for port in 0..FLOWS {
            let socket = UdpSocket::bind(("0.0.0.0", 2000 + port))?;
            socket.send_to(b"x", target)?;
        }
        Ok(())
    })?;
    let rate = f64::from(FLOWS) / started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;
    let told: BTreeSet<_> = finished
        .of_type("nat")
        .filter(|line| line["original"]["dst_port"] == 10053)
        .filter_map(line_entry)
        .collect();
    let nat = &finished.ledger()?["nat"];
    let lost = nat["lost"].as_u64().unwrap_or(0);
    progress(&format!(
        "{rate:.0} new flows/s: {} of {FLOWS} told, {lost} reports without room",
        told.len()
    ));
    ensure!(
        told.len() as u64 + lost >= u64::from(FLOWS),
        "{} told and {lost} counted as lost of {FLOWS}: {nat}",
        told.len()
    );
    ensure!(
        told.len() <= usize::from(FLOWS),
        "more told than there were"
    );
    Ok(())
}
