//! Maps and globals. Their names are in `dockernet_common::names`; user space resizes what is worth resizing.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use dockernet_common::{
    control::Control,
    count::{CountKey, CountRow, LastFlow, PortKey, Totals},
    filter::Filter,
    frame::Frame,
    hop::{EndKey, HopTotals},
    names::EVENTS_BYTES,
    nat::{Known, NatTotals, SETTLED},
    offsets::Offsets,
};

#[map]
pub(crate) static DOCKERNET_EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
pub(crate) static DOCKERNET_EVEN: PerCpuHashMap<CountKey, CountRow> =
    PerCpuHashMap::with_max_entries(8192, 0);
#[map]
pub(crate) static DOCKERNET_ODD: PerCpuHashMap<CountKey, CountRow> =
    PerCpuHashMap::with_max_entries(8192, 0);
#[map]
pub(crate) static DOCKERNET_TOTAL: PerCpuArray<Totals> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static DOCKERNET_CTRL: Array<Control> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static DOCKERNET_ADDR: HashMap<[u8; 16], u32> = HashMap::with_max_entries(16384, 1);
#[map]
pub(crate) static DOCKERNET_PORT: HashMap<PortKey, u32> = HashMap::with_max_entries(4096, 1);
#[map]
pub(crate) static DOCKERNET_LAST: PerCpuArray<LastFlow> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static DOCKERNET_FAR: HashMap<u64, u8> = HashMap::with_max_entries(16384, 1);

#[map]
pub(crate) static DOCKERNET_FRAME: PerCpuArray<Frame> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static DOCKERNET_NAT: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
#[map]
pub(crate) static DOCKERNET_FLOW: LruHashMap<u64, Known> = LruHashMap::with_max_entries(1 << 17, 0);
#[map]
pub(crate) static DOCKERNET_SETTLED: Array<u64> = Array::with_max_entries(SETTLED, 0);
#[map]
pub(crate) static DOCKERNET_NATS: PerCpuArray<NatTotals> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static DOCKERNET_HOPS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
#[map]
pub(crate) static DOCKERNET_WANT: HashMap<EndKey, u8> = HashMap::with_max_entries(16384, 1);
#[map]
pub(crate) static DOCKERNET_HOPT: PerCpuArray<HopTotals> = PerCpuArray::with_max_entries(1, 0);

/// Set at load time, then frozen: the verifier sees constants.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::NONE;
/// Set at load time: a test that is off costs nothing.
#[unsafe(no_mangle)]
pub(crate) static FILTER: Filter = Filter::ALL;

/// Reads a field of [`OFFSETS`] in a way that the compiler cannot fold into its value at build time.
macro_rules! offsets {
    ($field:ident) => {
        $crate::maps::constant(&raw const $crate::maps::OFFSETS.$field)
    };
}
pub(crate) use offsets;

/// Reads part of a static that user space has set.
#[inline(always)]
pub(crate) fn constant<T: Copy>(of_static: *const T) -> T {
    // SAFETY: only called with the address of a static's field.
    unsafe { of_static.read_volatile() }
}
