//! Names that both halves must spell alike.

/// The drop program on `tp_btf/kfree_skb` (5.5+).
pub const KFREE_SKB_BTF: &str = "dockernet_kfree_skb";
/// The drop program on `tracepoint/skb/kfree_skb`, for kernels or privileges that refuse `tp_btf`.
pub const KFREE_SKB_TRACEPOINT: &str = "dockernet_kfree_skb_tp";

/// The NAT program, on tc egress.
pub const NAT_EGRESS: &str = "dockernet_nat";

/// Ring buffer of [`DropRecord`](crate::record::DropRecord)s.
pub const EVENTS: &str = "DOCKERNET_EVENTS";
/// Its size. A power of two of pages.
pub const EVENTS_BYTES: u32 = 4 << 20;
/// Counts of even generations, [`CountKey`](crate::count::CountKey) → [`CountRow`](crate::count::CountRow).
pub const COUNTS_EVEN: &str = "DOCKERNET_EVEN";
/// Counts of odd generations.
pub const COUNTS_ODD: &str = "DOCKERNET_ODD";
/// One [`Totals`](crate::count::Totals) per CPU.
pub const TOTALS: &str = "DOCKERNET_TOTAL";
/// One [`Control`](crate::control::Control), written by user space.
pub const CONTROL: &str = "DOCKERNET_CTRL";
/// Address (IPv4 as `::ffff:a.b.c.d`) → endpoint id.
pub const ENDPOINTS: &str = "DOCKERNET_ADDR";
/// [`PortKey`](crate::count::PortKey) → endpoint id of the container that publishes it.
pub const PUBLISHED: &str = "DOCKERNET_PORT";

/// Namespace (cookie) → 1 for those out of scope. Unclassified ones are not in it.
pub const FAR: &str = "DOCKERNET_FAR";

/// Ring buffer of [`NatRecord`](crate::nat::NatRecord)s.
pub const NAT_EVENTS: &str = "DOCKERNET_NAT";
/// Conntrack entry → [`Known`](crate::nat::Known), least recently used ones make room.
pub const NAT_FLOWS: &str = "DOCKERNET_FLOW";
/// Marks of directions that are reported: [`settled`](crate::nat::settled).
pub const NAT_SETTLED: &str = "DOCKERNET_SETTLED";
/// One [`NatTotals`](crate::nat::NatTotals) per CPU.
pub const NAT_TOTALS: &str = "DOCKERNET_NATS";

/// Follows packets of wanted flows, on `tp_btf/net_dev_queue` …
pub const HOP_SENT_BTF: &str = "dockernet_sent";
/// … and `tp_btf/netif_receive_skb`.
pub const HOP_RECEIVED_BTF: &str = "dockernet_received";
/// The same on the classic tracepoint `net/net_dev_queue` …
pub const HOP_SENT_TRACEPOINT: &str = "dockernet_sent_tp";
/// … and `net/netif_receive_skb`.
pub const HOP_RECEIVED_TRACEPOINT: &str = "dockernet_received_tp";
/// Ring buffer of [`HopRecord`](crate::hop::HopRecord)s.
pub const HOPS: &str = "DOCKERNET_HOPS";
/// [`EndKey`](crate::hop::EndKey) → bits of [`end`](crate::hop::end).
pub const FOLLOWED: &str = "DOCKERNET_WANT";
/// One [`HopTotals`](crate::hop::HopTotals) per CPU.
pub const HOP_TOTALS: &str = "DOCKERNET_HOPT";

/// Read-only global: [`Offsets`](crate::offsets::Offsets).
pub const OFFSETS_GLOBAL: &str = "OFFSETS";
/// Read-only global: [`Filter`](crate::filter::Filter).
pub const FILTER_GLOBAL: &str = "FILTER";
