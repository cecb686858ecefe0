//! How long entries live after a packet: what tells when the last one came.

use std::time::Duration;

use anyhow::Result;
use dockernet_common::packet::TCP;

use super::Flow;
use crate::host::{netns::NetnsHandle, sysctl};

/// By the state that a TCP flow is in (include/uapi/linux/netfilter/nf_conntrack_tcp.h, `enum tcp_conntrack`), with the kernel's own value
/// (net/netfilter/nf_conntrack_proto_tcp.c, `tcp_timeouts`).
const OF_TCP: [(&str, u64); 9] = [
    ("close", 10),
    ("syn_sent", 120),
    ("syn_recv", 60),
    ("established", 432_000),
    ("fin_wait", 120),
    ("close_wait", 60),
    ("last_ack", 30),
    ("time_wait", 120),
    ("close", 10),
];

/// A namespace's `net.netfilter.nf_conntrack_*_timeout*`, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    udp: u64,
    udp_stream: u64,
    tcp: [u64; OF_TCP.len()],
}

impl Timeouts {
    /// Those of a namespace; of what it does not say, the kernel's own.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub(crate) fn read(netns: &NetnsHandle) -> Result<Self> {
        let number = |key: &str, usual: u64| -> Result<u64> {
            let text = sysctl::read(netns, &format!("net/netfilter/nf_conntrack_{key}"))?;
            Ok(text
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(usual))
        };
        let mut tcp = [0; OF_TCP.len()];
        for (seconds, (state, usual)) in tcp.iter_mut().zip(OF_TCP) {
            *seconds = number(&format!("tcp_timeout_{state}"), usual)?;
        }
        Ok(Self {
            udp: number("udp_timeout", 30)?,
            udp_stream: number("udp_timeout_stream", 120)?,
            tcp,
        })
    }

    /// Whether a packet has come through a flow within this time, or a second or two before: each sets its timeout anew
    /// (`nf_conntrack_udp_packet`, `nf_conntrack_tcp_packet`; UDP that is assured lives the longer time). True where that cannot be told.
    #[must_use]
    pub(crate) fn had_packet_within(&self, flow: &Flow, span: Duration) -> bool {
        let whole = match (flow.protocol, flow.tcp_state) {
            (TCP, Some(state)) => self.tcp.get(usize::from(state)).copied(),
            (TCP, None) => None,
            _ if flow.status & dockernet_common::conntrack::status::ASSURED == 0 => Some(self.udp),
            _ => Some(self.udp_stream),
        };
        let (Some(whole), Some(left)) = (whole, flow.timeout) else {
            return true;
        };
        u64::from(left) + span.as_secs() + 2 >= whole
    }
}

#[cfg(test)]
mod tests {
    use dockernet_common::conntrack::status;

    use super::*;
    use crate::model::Tuple;

    fn flow(protocol: u8, tcp_state: Option<u8>, status: u32, timeout: u32) -> Flow {
        let tuple = Tuple {
            src: [192, 0, 2, 1].into(),
            dst: [192, 0, 2, 2].into(),
            src_port: Some(1),
            dst_port: Some(2),
        };
        Flow {
            protocol,
            original: tuple.clone(),
            reply: tuple,
            status,
            timeout: Some(timeout),
            tcp_state,
        }
    }

    #[test]
    fn the_last_packet_by_what_is_left() {
        let timeouts = Timeouts {
            udp: 30,
            udp_stream: 120,
            tcp: OF_TCP.map(|(_, usual)| usual),
        };
        let within =
            |flow: &Flow, seconds| timeouts.had_packet_within(flow, Duration::from_secs(seconds));
        let (established, time_wait) = (Some(3), Some(7));
        assert!(within(&flow(TCP, established, 0, 431_990), 10));
        assert!(!within(&flow(TCP, established, 0, 431_900), 30));
        assert!(within(&flow(TCP, time_wait, 0, 100), 30));
        assert!(!within(&flow(TCP, time_wait, 0, 60), 30));
        assert!(within(&flow(TCP, None, 0, 1), 0));
        assert!(within(&flow(TCP, Some(99), 0, 1), 0));
        assert!(within(&flow(17, None, 0, 29), 1));
        assert!(!within(&flow(17, None, status::ASSURED, 29), 1));
    }
}
