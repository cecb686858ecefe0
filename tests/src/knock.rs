//! A client that asks a published port once.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use crate::{lab::Lab, traffic::Probe, wires::HOST_IP};

/// One connection from outside to the lab's host, port 10001, that is given up soon: it may die on the way.
///
/// # Errors
/// As [`Probe::send`].
pub fn knock(lab: &Lab) -> Result<()> {
    let to: SocketAddr = format!("{HOST_IP}:10001").parse()?;
    let mut probe = Probe::tcp(to);
    probe.timeout = Duration::from_millis(300);
    probe.send(lab.outside()).map(drop)
}
