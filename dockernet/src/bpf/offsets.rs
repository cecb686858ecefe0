//! [`Offsets`] of the running kernel.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use dockernet_common::offsets::{ABSENT, Offsets};

use super::{btf::Btf, features, format::EventFormat};

/// Resolves every field that the programs read.
///
/// Fields without which nothing works are an error that names them; the rest is [`ABSENT`] and switches off the code
/// behind it.
pub fn resolve(btf: &Arc<Btf>) -> Result<Offsets> {
    let must = |structure: &str, path: &str| {
        btf.offset(structure, path).with_context(|| {
            format!("this kernel's type information (BTF) lacks {structure}.{path}, which the drop tracer reads")
        })
    };
    let may = |structure: &str, path: &str| btf.offset(structure, path).unwrap_or(ABSENT);
    let pkt_type = btf
        .field("sk_buff", "pkt_type")
        .context("this kernel's type information (BTF) lacks sk_buff.pkt_type")?;
    let vlan_present = btf
        .field("sk_buff", "vlan_present")
        .map(|field| field.bit_offset);
    // nf_conn and net_bridge_port may live in modules; vmlinux often holds nf_conn all the same.
    let of_module = |module: &str, structure: &str, path: &str| {
        btf.offset(structure, path)
            .or_else(|| Btf::module(module, btf).ok()?.offset(structure, path))
    };
    let conntrack = |path: &str| of_module("nf_conntrack", "nf_conn", path);
    let tuple = of_module("nf_conntrack", "nf_conntrack_tuple_hash", "tuple");
    let hashes = conntrack("tuplehash");
    let hash_size = TUPLE_HASH_SIZE;
    let extension = "NF_CT_EXT_NAT";
    let ext_nat = enumerator(btf, "nf_ct_ext_id", extension).or_else(|| {
        let module = Btf::module("nf_conntrack", btf).ok()?;
        enumerator(&module, "nf_ct_ext_id", extension)
    });
    let arguments = btf.tracepoint_arguments("kfree_skb").unwrap_or(0);
    let cast = Cast::of(btf);
    Ok(Offsets {
        skb_dev: must("sk_buff", "dev")?,
        skb_sk: must("sk_buff", "sk")?,
        skb_nfct: may("sk_buff", "_nfct"),
        skb_dst: must("sk_buff", "_skb_refdst")?,
        skb_iif: must("sk_buff", "skb_iif")?,
        skb_protocol: must("sk_buff", "protocol")?,
        skb_head: must("sk_buff", "head")?,
        skb_data: must("sk_buff", "data")?,
        skb_tail: must("sk_buff", "tail")?,
        skb_mac_header: must("sk_buff", "mac_header")?,
        skb_network_header: must("sk_buff", "network_header")?,
        skb_transport_header: must("sk_buff", "transport_header")?,
        skb_len: must("sk_buff", "len")?,
        skb_mark: may("sk_buff", "mark"),
        skb_pkt_type: pkt_type.bit_offset / 8,
        skb_pkt_type_shift: pkt_type.bit_offset % 8,
        skb_vlan_proto: may("sk_buff", "vlan_proto"),
        skb_vlan_tci: may("sk_buff", "vlan_tci"),
        skb_vlan_present: vlan_present.map_or(ABSENT, |bit| bit / 8),
        skb_vlan_present_bit: vlan_present.map_or(ABSENT, |bit| bit % 8),
        skb_active_extensions: may("sk_buff", "active_extensions"),
        ext_bridge_nf: enumerator(btf, "skb_ext_id", "SKB_EXT_BRIDGE_NF").unwrap_or(ABSENT),
        dev_ifindex: must("net_device", "ifindex")?,
        dev_name: must("net_device", "name")?,
        dev_net: must("net_device", "nd_net.net")?,
        dev_mtu: may("net_device", "mtu"),
        dev_priv_flags: btf
            .field("net_device", "priv_flags")
            .map_or(ABSENT, |field| field.bit_offset / 8),
        dev_rx_handler_data: may("net_device", "rx_handler_data"),
        dev_ip: may("net_device", "ip_ptr"),
        dev_ip6: may("net_device", "ip6_ptr"),
        // Until 5.12 the kernel made it when a program first asked for it; user space can ask since 5.14. Both sides must
        // key namespaces alike.
        net_cookie: if features::cookies() {
            may("net", "net_cookie")
        } else {
            ABSENT
        },
        net_inum: must("net", "ns.inum")?,
        net_loopback: must("net", "loopback_dev")?,
        net_v4_all: may("net", "ipv4.devconf_all"),
        net_v6_all: may("net", "ipv6.devconf_all"),
        sk_net: must("sock", "__sk_common.skc_net.net")?,
        sk_family: must("sock", "__sk_common.skc_family")?,
        ct_status: conntrack("status").unwrap_or(ABSENT),
        ct_original: plus(hashes, tuple),
        ct_reply: plus(hashes.map(|hashes| hashes + hash_size), tuple),
        ct_net: conntrack("ct_net.net").unwrap_or(ABSENT),
        ct_ext: conntrack("ext").unwrap_or(ABSENT),
        ext_nat: plus(of_module("nf_conntrack", "nf_ct_ext", "offset"), ext_nat),
        nat_masq_index: of_module("nf_nat", "nf_conn_nat", "masq_index").unwrap_or(ABSENT),
        task_tgid: may("task_struct", "tgid"),
        dst_dev: must("dst_entry", "dev")?,
        dst_input: may("dst_entry", "input"),
        in_dev_data: btf.offset("in_device", "cnf.data").unwrap_or(ABSENT),
        devconf_data: may("ipv4_devconf", "data"),
        inet6_cnf: may("inet6_dev", "cnf"),
        v6_forwarding: may("ipv6_devconf", "forwarding"),
        v6_disable: may("ipv6_devconf", "disable_ipv6"),
        port_state: of_module("bridge", "net_bridge_port", "state").unwrap_or(ABSENT),
        cast_window: cast.map_or(ABSENT, |cast| cast.window),
        cast_type: cast.map_or(ABSENT, |cast| cast.structure),
        cast_call: cast.map_or(ABSENT, |cast| cast.function),
        has_reason: u32::from(arguments >= 3),
        has_rx_sk: u32::from(arguments >= 4),
        netfilter_drop: enumerator(btf, "skb_drop_reason", "SKB_DROP_REASON_NETFILTER_DROP")
            .unwrap_or(ABSENT),
        ..Offsets::NONE
    })
}

/// Adds what the classic tracepoint's format file says.
pub fn add_tracepoint(offsets: &mut Offsets, format: &EventFormat) -> Result<()> {
    let must = |field: &str| {
        format
            .offset(field)
            .with_context(|| format!("tracepoint skb:kfree_skb has no field {field}"))
    };
    offsets.tp_skb = must("skbaddr")?;
    offsets.tp_location = must("location")?;
    offsets.tp_reason = format.offset("reason").unwrap_or(ABSENT);
    offsets.tp_rx_sk = format.offset("rx_sk").unwrap_or(ABSENT);
    Ok(())
}

/// `sizeof(struct nf_conntrack_tuple_hash)`: an `hlist_nulls_node` (two pointers) and a tuple of 40 bytes
/// (include/net/netfilter/nf_conntrack_tuple.h).
const TUPLE_HASH_SIZE: u32 = 56;

/// What reads by cast take (6.2+): see [`dockernet_common::cast`].
#[derive(Clone, Copy)]
struct Cast {
    function: u32,
    structure: u32,
    window: u32,
}

impl Cast {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            function: btf.function_id("bpf_rdonly_cast")?,
            structure: btf.structure_id("sk_buff")?,
            window: btf.offset("sk_buff", "cb")?,
        })
    }
}

fn plus(a: Option<u32>, b: Option<u32>) -> u32 {
    a.zip(b)
        .and_then(|(a, b)| a.checked_add(b))
        .unwrap_or(ABSENT)
}

fn enumerator(btf: &Btf, name: &str, enumerator: &str) -> Option<u32> {
    btf.enumerators(name)
        .into_iter()
        .find_map(|(name, value)| (name == enumerator).then(|| u32::try_from(value).ok())?)
}
