//! Where the running kernel keeps the fields that the programs read.
//!
//! Rust has no CO-RE: user space resolves the offsets from BTF at load time and sets this struct as a read-only
//! global. The verifier treats its fields as constants, so code behind an absent field disappears.

/// The field (or argument) does not exist on this kernel.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Byte offsets, each [`ABSENT`] where the kernel lacks the field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $($(#[$doc])* pub $name: u32,)+ }

        impl Offsets {
            /// Nothing known.
            pub const NONE: Self = Self { $($name: ABSENT,)+ };
        }
    };
}

offsets! {
    /// `sk_buff.dev`
    skb_dev,
    /// `sk_buff.sk`
    skb_sk,
    /// `sk_buff._nfct`
    skb_nfct,
    /// `sk_buff._skb_refdst`
    skb_dst,
    /// `sk_buff.skb_iif`
    skb_iif,
    /// `sk_buff.protocol`
    skb_protocol,
    /// `sk_buff.head`
    skb_head,
    /// `sk_buff.data`
    skb_data,
    /// `sk_buff.tail`, an offset from head on 64-bit kernels
    skb_tail,
    /// `sk_buff.mac_header`
    skb_mac_header,
    /// `sk_buff.network_header`
    skb_network_header,
    /// `sk_buff.transport_header`
    skb_transport_header,
    /// `sk_buff.len`
    skb_len,
    /// `sk_buff.mark`
    skb_mark,
    /// Byte that holds the bit field `sk_buff.pkt_type`
    skb_pkt_type,
    /// Shift of `pkt_type` within that byte
    skb_pkt_type_shift,
    /// `sk_buff.vlan_proto`
    skb_vlan_proto,
    /// `sk_buff.vlan_tci`
    skb_vlan_tci,
    /// Byte that holds `sk_buff.vlan_present` (until 6.0; a tag is there from then on if `vlan_proto` is not 0)
    skb_vlan_present,
    /// Its bit in that byte
    skb_vlan_present_bit,
    /// `sk_buff.active_extensions` (5.0+)
    skb_active_extensions,
    /// Bit of `SKB_EXT_BRIDGE_NF` in it; absent without `CONFIG_BRIDGE_NETFILTER`
    ext_bridge_nf,
    /// `net_device.ifindex`
    dev_ifindex,
    /// `net_device.name`
    dev_name,
    /// `net_device.nd_net.net`
    dev_net,
    /// `net_device.mtu`
    dev_mtu,
    /// `net_device.priv_flags`
    dev_priv_flags,
    /// `net_device.rx_handler_data`
    dev_rx_handler_data,
    /// `net_device.ip_ptr`
    dev_ip,
    /// `net_device.ip6_ptr`
    dev_ip6,
    /// `net.net_cookie` (5.12+ as a plain u64)
    net_cookie,
    /// `net.ns.inum`
    net_inum,
    /// `net.loopback_dev`
    net_loopback,
    /// `net.ipv4.devconf_all`
    net_v4_all,
    /// `net.ipv6.devconf_all`
    net_v6_all,
    /// `sock.__sk_common.skc_net.net`
    sk_net,
    /// `sock.__sk_common.skc_family`
    sk_family,
    /// `nf_conn.status`
    ct_status,
    /// `nf_conn.tuplehash[0].tuple`
    ct_original,
    /// `nf_conn.tuplehash[1].tuple`
    ct_reply,
    /// `nf_conn.ct_net.net`
    ct_net,
    /// `nf_conn.ext`
    ct_ext,
    /// `nf_ct_ext.offset[NF_CT_EXT_NAT]`
    ext_nat,
    /// `nf_conn_nat.masq_index`; absent without MASQUERADE
    nat_masq_index,
    /// `task_struct.tgid`
    task_tgid,
    /// `dst_entry.dev`
    dst_dev,
    /// `dst_entry.input`
    dst_input,
    /// `in_device.cnf.data`
    in_dev_data,
    /// `ipv4_devconf.data`
    devconf_data,
    /// `inet6_dev.cnf`
    inet6_cnf,
    /// `ipv6_devconf.forwarding`
    v6_forwarding,
    /// `ipv6_devconf.disable_ipv6`
    v6_disable,
    /// `net_bridge_port.state` (the bridge's types may live in a module)
    port_state,
    /// Classic tracepoint: `skbaddr`
    tp_skb,
    /// Classic tracepoints `net_dev_queue` and `netif_receive_skb` (one template): `skbaddr`
    tp_net_skb,
    /// Classic tracepoint: `location`
    tp_location,
    /// Classic tracepoint: `reason` (5.17+)
    tp_reason,
    /// Classic tracepoint: `rx_sk` (6.11+)
    tp_rx_sk,
    /// `sk_buff.cb`, through which untyped addresses are read (see [`crate::cast`])
    cast_window,
    /// Not an offset: the number of `sk_buff`'s type; absent where untyped addresses cannot be cast (before 6.2)
    cast_type,
    /// Not an offset: the number of `bpf_rdonly_cast`, for the loader
    cast_call,
    /// Not an offset: 1 if `kfree_skb` has the `reason` argument
    has_reason,
    /// Not an offset: 1 if `kfree_skb` has the `rx_sk` argument
    has_rx_sk,
    /// Not an offset: the number of `SKB_DROP_REASON_NETFILTER_DROP` on this kernel
    netfilter_drop,
}

crate::pod!(Offsets);
