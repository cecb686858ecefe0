//! A flow's opening packet, made up from its ends: for what tells of flows and not of packets.

use std::net::IpAddr;

use dockernet_common::packet::has_ports;

use crate::{cli::Protocol, model::Tuple};

const ETHERNET: usize = 14;
/// Enough for every transport header's fixed part.
const TRANSPORT: usize = 20;
const SYN: u8 = 2;
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// The frame: no link-layer addresses, a SYN of TCP's, an echo request of ICMP's, no payload.
pub(super) fn frame(protocol: &str, ends: &Tuple) -> Vec<u8> {
    let number = match protocol.parse() {
        Ok(Protocol::Ip(number)) => number,
        _ => u8::MAX,
    };
    let mut bytes = vec![0; ETHERNET];
    let transport = u16::try_from(TRANSPORT).unwrap_or_default();
    match (ends.src, ends.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes[12..].copy_from_slice(&[0x08, 0x00]);
            let [high, low] = (20 + transport).to_be_bytes();
            bytes.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, number, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        (src, dst) => {
            let v6 = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            bytes[12..].copy_from_slice(&[0x86, 0xdd]);
            let [high, low] = transport.to_be_bytes();
            bytes.extend([0x60, 0, 0, 0, high, low, number, 64]);
            bytes.extend(v6(src).octets());
            bytes.extend(v6(dst).octets());
        }
    }
    let mut header = [0; TRANSPORT];
    match number {
        1 => header[0] = ECHO,
        58 => header[0] = ECHO_V6,
        number if has_ports(number) => {
            header[..2].copy_from_slice(&ends.src_port.unwrap_or(0).to_be_bytes());
            header[2..4].copy_from_slice(&ends.dst_port.unwrap_or(0).to_be_bytes());
        }
        _ => {}
    }
    match number {
        6 => (header[12], header[13]) = (5 << 4, SYN),
        17 => header[4..6].copy_from_slice(&transport.to_be_bytes()),
        _ => {}
    }
    bytes.extend(header);
    bytes
}
