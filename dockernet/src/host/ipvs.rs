//! IPVS: virtual services that the kernel spreads over real servers, as Swarm's ingress and kube-proxy use it.
//!
//! From /proc/thread-self/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c, `ip_vs_info_seq_show`), which only root may read
//! and which is there once the module ip_vs is loaded.

use std::{io, net::IpAddr};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{inside, netns::NetnsHandle};

/// How a virtual service is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frontend {
    /// By `skb->mark`.
    Mark(u32),
    /// By its address; port 0 stands for all.
    Address {
        /// IP protocol number.
        protocol: u8,
        /// The virtual address.
        address: IpAddr,
        /// The virtual port.
        port: u16,
    },
}

/// A virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What it is for.
    pub frontend: Frontend,
    /// Its real servers.
    pub servers: usize,
    /// Of those, the ones that take new connections (weight above 0).
    pub ready: usize,
}

/// The virtual services of a namespace; none where the kernel has no IPVS.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn services(netns: &NetnsHandle) -> Result<Vec<Service>> {
    match netns.run(|| inside::read("/proc/thread-self/net/ip_vs"))? {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context("reading the kernel's IPVS services (/proc/net/ip_vs)"),
    }
}

pub(crate) fn parse(text: &str) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    // Servers of a service that is not understood are nobody's.
    let mut known = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("->") => {
                // Address, way of forwarding, weight.
                let weight = words.nth(2).and_then(|word| word.parse::<u32>().ok());
                if let (Some(weight), true, Some(service)) = (weight, known, services.last_mut()) {
                    service.servers += 1;
                    service.ready += usize::from(weight > 0);
                }
            }
            Some(kind) => {
                let frontend = words.next().and_then(|word| frontend(kind, word));
                known = frontend.is_some();
                services.extend(frontend.map(|frontend| Service {
                    frontend,
                    servers: 0,
                    ready: 0,
                }));
            }
            None => {}
        }
    }
    services
}

/// `FWM 0000012C`, `TCP C6336414:0050` or `UDP [2001:0db8:…:0001]:0035`.
fn frontend(kind: &str, word: &str) -> Option<Frontend> {
    let protocol = match kind {
        "FWM" => return u32::from_str_radix(word, 16).ok().map(Frontend::Mark),
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        _ => return None,
    };
    let (address, port) = word.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse().ok()?,
        None => IpAddr::from(u32::from_str_radix(address, 16).ok()?.to_be_bytes()),
    };
    Some(Frontend::Address {
        protocol,
        address,
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn services_and_their_servers() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
             Prot LocalAddress:Port Scheduler Flags\n\
             \x20 -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
             FWM  0000012C rr  \n\
             TCP  C633640A:20FB wrr  persistent 300 FFFFFFFF\n\
             \x20 -> AC110002:0050      Masq    1      0          0         \n\
             \x20 -> AC110003:0050      Masq    0      0          0         \n\
             UDP  [2001:0db8:0000:0000:0000:0000:0000:0010]:0035 rr \n\
             \x20 -> [2001:0db8:0001:0000:0000:0000:0000:0002]:0035      Route   0      0          0\n\
             ODD  nonsense rr\n\
             \x20 -> AC110004:0050      Masq    1      0          0         \n";
        let service = |frontend, servers, ready| Service {
            frontend,
            servers,
            ready,
        };
        let at = |protocol, address: IpAddr, port| Frontend::Address {
            protocol,
            address,
            port,
        };
        let (v4, v6) = (
            Ipv4Addr::new(198, 51, 100, 10).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
        );
        assert_eq!(
            parse(text),
            [
                service(Frontend::Mark(300), 0, 0),
                service(at(6, v4, 8443), 2, 1),
                service(at(17, v6, 53), 1, 0),
            ]
        );
    }
}
