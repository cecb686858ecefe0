//! Which netfilter hook a stack went through.

use crate::host::firewall::Hook;

/// A hook, and who called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookPoint {
    /// The hook.
    pub hook: Hook,
    /// From the bridge: its own chains, or the IP ones by `br_netfilter`.
    pub bridge: bool,
    /// The chain's family where nf_tables tells: `ipv4`, `ipv6`, `inet`, `bridge`, `netdev`.
    pub family: Option<&'static str>,
    /// Whether nf_tables ran it.
    pub nft: bool,
}

impl HookPoint {
    /// As JSON shows it.
    #[must_use]
    pub fn name(self) -> String {
        let hook = self.hook.name();
        if self.bridge {
            format!("bridge-{hook}")
        } else {
            hook.to_owned()
        }
    }

    /// From the functions on the stack, innermost first: the caller of `nf_hook_slow` names the hook.
    ///
    /// `nf_hook_slow_list` (real network cards with GRO) is skipped: its callers are `ip_list_rcv` and the like.
    #[must_use]
    pub fn of_stack<S: AsRef<str>>(stack: &[S]) -> Option<Self> {
        let slow = stack.iter().position(|frame| {
            matches!(
                frame.as_ref(),
                "nf_hook_slow" | "nf_hook_slow_list" | "nf_hook_ingress" | "nf_hook_egress"
            )
        });
        // A bridge runs its prerouting hook in a loop of its own (`nf_hook_bridge_pre`, net/bridge/br_input.c, 5.3+).
        let slow = match slow {
            Some(slow) => slow,
            None => {
                let is_bridge = |frame: &S| frame.as_ref() == "nft_do_chain_bridge";
                stack.iter().position(is_bridge)? + 1
            }
        };
        // These hand the packet on from inside a hook's loop: what happens to it then is none of the hook's doing.
        let passed = stack.iter().take(slow).any(|frame| {
            matches!(
                frame.as_ref(),
                "ip_sabotage_in"
                    | "br_nf_pre_routing_finish"
                    | "br_nf_pre_routing_finish_bridge"
                    | "br_nf_pre_routing_finish_ipv6"
                    | "br_nf_forward_finish"
                    | "br_nf_local_in_finish"
                    | "br_nf_dev_queue_xmit"
            )
        });
        if passed {
            return None;
        }
        let chain = stack.iter().take(slow).find_map(|frame| {
            Some(match frame.as_ref() {
                "nft_do_chain_ipv4" => "ipv4",
                "nft_do_chain_ipv6" => "ipv6",
                "nft_do_chain_inet" | "nft_do_chain_inet_ingress" => "inet",
                "nft_do_chain_bridge" => "bridge",
                "nft_do_chain_netdev" => "netdev",
                "nft_do_chain_arp" => "arp",
                _ => return None,
            })
        });
        let nft = chain.is_some()
            || stack
                .iter()
                .take(slow)
                .any(|frame| frame.as_ref() == "nft_do_chain");
        let (at, (hook, bridge)) = stack
            .iter()
            .enumerate()
            .skip(slow)
            .take(6)
            .find_map(|(at, frame)| Some((at, caller(frame.as_ref())?)))?;
        // What the host itself sends by a bridge goes through `__br_forward` too, on the output hook.
        let own = matches!(
            stack.get(at).map(AsRef::as_ref),
            Some("__br_forward" | "br_forward")
        ) && stack
            .iter()
            .skip(at)
            .map(AsRef::as_ref)
            .find(|frame| matches!(*frame, "br_dev_xmit" | "br_handle_frame_finish"))
            == Some("br_dev_xmit");
        let hook = if own { Hook::Output } else { hook };
        // br_netfilter's functions stand between the bridge's hooks and those of IP: without one the bridge's chains ran, or
        // ebtables.
        let native = |frame: &S| !frame.as_ref().starts_with("br_nf_");
        let family = chain.or_else(|| {
            let bridges = bridge && stack.get(at).is_some_and(native);
            bridges.then_some("bridge")
        });
        Some(Self {
            hook,
            bridge,
            family,
            nft,
        })
    }

    /// From the hook that the kernel half inferred (see `dockernet_common::count::hook`).
    #[must_use]
    pub fn of_key(hook: u8) -> Option<Self> {
        use dockernet_common::count::hook as key;
        let plain = match hook & !key::BRIDGE {
            key::PREROUTING => Hook::Prerouting,
            key::INPUT => Hook::Input,
            key::FORWARD => Hook::Forward,
            key::OUTPUT => Hook::Output,
            key::POSTROUTING => Hook::Postrouting,
            _ => return None,
        };
        Some(Self {
            hook: plain,
            bridge: hook & key::BRIDGE != 0,
            family: None,
            nft: false,
        })
    }
}

/// Functions that run a hook, in net/ipv4, net/ipv6, net/bridge and net/core, 5.10 to 6.18. Where a compiler inlines one
/// of them its caller stands for it, so callers are listed too.
fn caller(function: &str) -> Option<(Hook, bool)> {
    Some(match function {
        "ip_rcv" | "ip_sublist_rcv" | "ip_list_rcv" | "ipv6_rcv" | "ip6_sublist_rcv"
        | "ipv6_list_rcv" | "ip6_rcv_finish" => (Hook::Prerouting, false),
        "ip_local_deliver" | "ip6_input" => (Hook::Input, false),
        "ip_forward" | "ip6_forward" => (Hook::Forward, false),
        "__ip_local_out"
        | "__ip6_local_out"
        | "ip_local_out"
        | "ip6_local_out"
        | "ip6_xmit"
        | "raw_sendmsg"
        | "rawv6_sendmsg"
        | "ip_build_and_send_pkt"
        | "ip_push_pending_frames"
        | "__ip_queue_xmit"
        | "ip_send_skb"
        | "ip6_send_skb" => (Hook::Output, false),
        "ip_output" | "ip_mc_output" | "ip6_output" | "ip6_mr_output" => (Hook::Postrouting, false),
        "br_nf_pre_routing"
        | "br_nf_pre_routing_ipv6"
        | "br_handle_frame"
        | "nf_hook_bridge_pre" => (Hook::Prerouting, true),
        "br_nf_local_in" | "br_pass_frame_up" => (Hook::Input, true),
        "br_nf_forward_ip" | "br_nf_forward" | "br_nf_forward_arp" | "__br_forward"
        | "br_forward" => (Hook::Forward, true),
        "br_nf_post_routing" | "br_forward_finish" => (Hook::Postrouting, true),
        "br_nf_local_out" => (Hook::Output, true),
        "__netif_receive_skb_core"
        | "__netif_receive_skb_one_core"
        | "__netif_receive_skb_list_core" => (Hook::Ingress, false),
        "__dev_queue_xmit" => (Hook::Egress, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_name_the_hook() {
        let point = HookPoint::of_stack(&[
            "nft_do_chain",
            "nft_do_chain_ipv4",
            "nf_hook_slow",
            "ip_forward",
        ]);
        assert_eq!(
            point,
            Some(HookPoint {
                hook: Hook::Forward,
                bridge: false,
                family: Some("ipv4"),
                nft: true
            })
        );
        let list = HookPoint::of_stack(&["nf_hook_slow", "nf_hook_slow_list", "ip_sublist_rcv"]);
        assert_eq!(list.map(|point| point.hook), Some(Hook::Prerouting));
        let bridge = HookPoint::of_stack(&[
            "nf_hook_slow",
            "br_nf_forward_ip",
            "nf_hook_slow",
            "__br_forward",
        ]);
        assert_eq!(
            bridge.map(HookPoint::name).as_deref(),
            Some("bridge-forward")
        );
        let own = HookPoint::of_stack(&[
            "nft_do_chain",
            "nf_hook_slow",
            "__br_forward",
            "br_dev_xmit",
        ]);
        assert_eq!(own.map(HookPoint::name).as_deref(), Some("bridge-output"));
        let first =
            HookPoint::of_stack(&["nft_do_chain", "nft_do_chain_bridge", "br_handle_frame"]);
        let first = first.map(|point| (point.name(), point.family));
        assert_eq!(
            first,
            Some(("bridge-prerouting".to_owned(), Some("bridge")))
        );
        let ebtables = HookPoint::of_stack(&["nf_hook_slow", "__br_forward"]);
        let ebtables = ebtables.map(|point| (point.family, point.nft));
        assert_eq!(ebtables, Some((Some("bridge"), false)));
        assert_eq!(HookPoint::of_stack(&["ip_error", "ip_rcv_finish"]), None);
        let after = ["ip_error", "ip_sabotage_in", "nf_hook_slow", "ip_rcv"];
        assert_eq!(HookPoint::of_stack(&after), None);
    }
}
