//! Programs of others that drop: TCX and tc, XDP, cgroup-BPF.

use super::{Case, Verdict};
use crate::{
    host::attached::{At, Attached},
    model::Impact,
};

/// Row 39. Who asked for the drop is not in the packet: what hangs there is named.
pub(super) fn bpf_drop(case: &Case<'_>) -> Option<Verdict> {
    let (at, cgroup) = place(case)?;
    let netns = case.netns()?;
    let device = case.device();
    let found = if cgroup {
        let pid = u32::try_from(case.container_here()?.pid?).ok()?;
        case.state.attached_to_process(pid).ok()?
    } else {
        case.state.attached_to_device(&netns, device).ok()?
    };
    let here: Vec<&Attached> = found.iter().filter(|one| at.contains(&one.at)).collect();
    let first = here.first()?;
    let where_ = if cgroup {
        format!("the cgroup of {}", case.place())
    } else {
        format!("{device} in {}", case.place())
    };
    let kind = if first.id.is_some() {
        "BPF program"
    } else {
        "tc filter"
    };
    // A filter that the program itself put on its socket drops with the same reason.
    let certain = first.at != At::CgroupIngress;
    let mut verdict = Verdict::when(
        certain,
        "bpf-drop",
        match here.as_slice() {
            [_] => format!("a {kind} at {where_} drops it ({})", first.at),
            _ => format!(
                "one of {} programs and filters at {where_} drops it ({})",
                here.len(),
                first.at
            ),
        },
    );
    for one in &here {
        verdict = verdict.fact(one.to_string());
    }
    let mut verdict = verdict.advise(
        "if this should pass: find who loaded it (bpftool prog show id ID, bpftool link list: a network plugin, a DDoS filter, a security agent) \
         and let that allow it",
    );
    // One is taken away for certain only where there is but one.
    if let [only] = here.as_slice() {
        if let Some(id) = only.id {
            verdict = verdict.fact(format!(
                "to see it: bpftool prog show id {id}; bpftool prog dump xlated id {id}"
            ));
        }
        if let Some(commands) = detach(only, device) {
            let commands: Vec<_> = commands.iter().map(|one| case.command(one)).collect();
            verdict = verdict.run(
                commands.join(" && "),
                case.place(),
                None,
                Impact::OpensFirewall,
            );
        }
    }
    Some(verdict)
}

/// Which kinds of programs can have dropped it, and whether they belong to a cgroup.
fn place(case: &Case<'_>) -> Option<(&'static [At], bool)> {
    let evidence = case.evidence;
    let reason = evidence.reason();
    let silent = matches!(reason, "" | "NOT_SPECIFIED");
    // A hook of netfilter's at the same place says NETFILTER_DROP.
    if reason == "TC_INGRESS" || silent && evidence.freed_in(&["sch_handle_ingress"]) {
        return Some((&[At::TcxIngress, At::TcIngress], false));
    }
    if reason == "TC_EGRESS" || silent && evidence.freed_in(&["sch_handle_egress"]) {
        return Some((&[At::TcxEgress, At::TcEgress], false));
    }
    if reason == "XDP"
        || silent
            && evidence.freed_in(&[
                "do_xdp_generic",
                "netif_receive_generic_xdp",
                "veth_xdp_rcv_skb",
            ])
    {
        return Some((&[At::Xdp], false));
    }
    if reason == "BPF_CGROUP_EGRESS" {
        return Some((&[At::CgroupEgress], true));
    }
    let filtered = reason == "SOCKET_FILTER" || silent;
    (filtered && evidence.below(&["__cgroup_bpf_run_filter_skb"])
        || reason == "SOCKET_FILTER" && evidence.below(&["sk_filter_trim_cap"]))
    .then_some((&[At::CgroupIngress][..], true))
}

/// The commands that take away what hangs at a device, one after the other.
pub(crate) fn detach(one: &Attached, device: &str) -> Option<Vec<String>> {
    // Without a mode the first means the driver's, where that has XDP, and does nothing to a generic one.
    if one.at == At::Xdp && one.link.is_none() {
        let off = |mode: &str| format!("ip link set dev {device} {mode} off");
        return Some(vec![off("xdp"), off("xdpgeneric")]);
    }
    Some(vec![match (one.at, one.id) {
        (At::TcIngress, _) => format!(
            "tc filter del dev {device} ingress priority {}",
            one.priority?
        ),
        (At::TcEgress, _) => format!(
            "tc filter del dev {device} egress priority {}",
            one.priority?
        ),
        // Whose link it is may attach it again, and keeps it if it is pinned elsewhere.
        (At::Xdp | At::TcxIngress | At::TcxEgress, _) => match (one.link, one.at) {
            (Some(link), _) => format!("bpftool link detach id {link}"),
            (None, At::TcxIngress) => format!("bpftool net detach tcx_ingress dev {device}"),
            (None, _) => format!("bpftool net detach tcx_egress dev {device}"),
        },
        _ => return None,
    }])
}
