//! Datagrams that did not arrive whole.

use super::{Case, Verdict, checksum::counter};

/// Row 72. The first fragment waits for the others (`net.ipv4.ipfrag_time`, 30 s) and is dropped with the rest.
pub(super) fn fragment_lost(case: &Case<'_>) -> Option<Verdict> {
    const EXPIRED: &[&str] = &[
        "ip_expire",
        "ip6_frag_expire",
        "ip6frag_expire_frag_queue",
        "nf_ct_frag6_expire",
    ];
    let evidence = case.evidence;
    let says = evidence.reason() == "FRAG_REASM_TIMEOUT";
    let silent = matches!(evidence.reason(), "" | "NOT_SPECIFIED");
    if !says && (!silent || !evidence.below(EXPIRED)) {
        return None;
    }
    let packet = case.packet()?;
    let (src, dst) = (packet.src?, packet.dst?);
    let failed = counter(case, "Ip", "ReasmFails");
    let verdict = Verdict::when(
        failed.is_some_and(|count| count > 0),
        "fragment-lost",
        format!("a {} datagram from {src} to {dst} did not arrive whole: at least one of its fragments was lost on the way", packet.protocol),
    )
    .maybe_fact(failed.map(|count| format!("ReasmFails = {count} in {}", case.place())))
    .fact(format!("{} bytes of it have come, by {}", packet.length, case.ingress()));
    Some(verdict.advise(
        "let the sender use datagrams that fit (for DNS: EDNS buffer size 1232 or TCP; for tunnels: a smaller MTU on the inner network), and look on the way for a firewall that drops fragments, or for loss: tcpdump -ni INTERFACE 'ip[6:2] & 0x3fff != 0'",
    ))
}
