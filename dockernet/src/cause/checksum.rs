//! Checksums that do not add up.

use super::{Case, Verdict};

/// Row 70.
pub(super) fn bad_checksum(case: &Case<'_>) -> Option<Verdict> {
    let (what, table) = match case.evidence.reason() {
        "TCP_CSUM" => ("TCP", Some("Tcp")),
        "UDP_CSUM" => ("UDP", Some("Udp")),
        "IP_CSUM" => ("IP header", None),
        "ICMP_CSUM" => ("ICMP", Some("Icmp")),
        "SKB_CSUM" => ("transport", None),
        // `br_validate_ipv4` (net/bridge/br_netfilter_hooks.c) has one reason for all that is wrong with a header, older
        // kernels have none.
        "IP_INHDR" | "NOT_SPECIFIED" | ""
            if case.evidence.freed_in(&[
                "br_nf_pre_routing",
                "br_validate_ipv4",
                "ip_rcv_core",
            ]) && header_sum(case) == Some(true) =>
        {
            ("IP header", None)
        }
        _ => return None,
    };
    let counted = table.and_then(|table| counter(case, table, "InCsumErrors"));
    let header_wrong = (what == "IP header").then(|| header_sum(case)).flatten();
    let verdict = Verdict::when(
        counted.is_some_and(|count| count > 0) || header_wrong == Some(true),
        "bad-checksum",
        format!("the {what} checksum is wrong: the packet was damaged, or a device promised to fill it in and did not"),
    )
    .maybe_fact(counted.map(|count| format!("InCsumErrors of {what} = {count} in {}", case.place())))
    .maybe_fact((header_wrong == Some(true)).then(|| "the header's own sum does not fit its bytes".to_owned()));
    Some(
        verdict
            .maybe_run(sender(case))
            .advise("where the sender is a virtual device (veth, vxlan, a VM's NIC), switch its offload off there: ethtool -K DEVICE tx-checksum-ip-generic off; on a physical path look for a bad cable, card or switch"),
    )
}

/// The sending container's own interface: whoever sends fills the checksum in, so the receiver's settings change nothing.
fn sender(case: &Case<'_>) -> Option<(String, String)> {
    let end = case.evidence.drop.source.container.as_ref()?;
    let container = case
        .inventory
        .containers()
        .find(|container| container.id.starts_with(&end.id) && container.ended.is_none())?;
    let netns = case.inventory.netns(container.netns?)?;
    let wire = super::neighbour::wire_of(netns, container, case.src()?)?;
    let command = format!("ethtool -K {} tx-checksum-ip-generic off", wire.name);
    Some((case.command_in(netns.key, &command), container.name.clone()))
}

/// A counter of the namespace that the packet died in.
pub(super) fn counter(case: &Case<'_>, table: &str, name: &str) -> Option<u64> {
    let counted = case
        .state
        .protocol_counter(&case.netns()?, table, name, case.is_ipv6());
    counted.ok().flatten()
}

/// Whether the IPv4 header's one's-complement sum is wrong; `None` if it is not all there.
fn header_sum(case: &Case<'_>) -> Option<bool> {
    let record = &case.evidence.record;
    let bytes = record
        .headers
        .get(usize::from(record.network)..usize::from(record.header_len))?;
    let length = usize::from(*bytes.first()? & 0xf) * 4;
    let header = bytes.get(..length)?;
    let sum = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    Some((folded & 0xffff) + (folded >> 16) != 0xffff)
}
