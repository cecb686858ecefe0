//! The attached drop tracer: samples from its ring, counts from its maps.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap, RingBuf},
};
use aya_log::EbpfLogger;
use dockernet_common::{
    control::Control,
    count::{CountKey, CountRow, PortKey, Totals},
    names,
    record::DropRecord,
};

use super::{load::Tier, mirror::Mirror};

/// Samples per key, CPU and drain. At 20 drains a second far more than a person reads; a storm sends no more.
const KEY_BURST: u32 = 16;
/// Samples per CPU and drain over all keys: 256 records of 584 bytes on each of 128 CPUs fill the ring ten times
/// over, but one CPU's worth is drained in a millisecond.
const CPU_BURST: u32 = 256;
/// Where packets are only counted, each CPU looks at one in so long. That costs nothing, and a fault that follows another one under
/// the same key is found within the minute for which a sample speaks.
const SELDOM: Duration = Duration::from_secs(30);

/// Before each record (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: usize = 8;

/// Drops of one key, all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Dropped packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many went up the ring.
    pub sampled: u64,
}

/// One row of the count maps.
#[derive(Clone, Copy, Debug)]
pub struct CountedKey {
    /// Which map it is from: rows of one key in two generations add up.
    pub generation: u32,
    /// The key.
    pub key: CountKey,
    /// Since the generation began.
    pub count: Count,
}

/// Attached; detaches when dropped.
pub struct Tracer {
    /// `None` once detached: dropping it closes links and programs. The maps below live on.
    ebpf: Option<Ebpf>,
    tier: Tier,
    program_fd: Option<RawFd>,
    ring: RingBuf<MapData>,
    counts: [PerCpuHashMap<MapData, CountKey, CountRow>; 2],
    /// What each of them holds.
    rows: u32,
    totals: PerCpuArray<MapData, Totals>,
    control_map: Array<MapData, Control>,
    control: Control,
    endpoints: Mirror<[u8; 16], u32>,
    published: Mirror<PortKey, u32>,
    far: Mirror<u64, u8>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    last_missed: Option<u64>,
    /// Where packets are only counted: since when the epoch is this one.
    seldom: Option<Instant>,
}

/// Whether the token buckets may be refilled: at each drain, but `seldom` where packets are only counted.
fn is_refill_due(seldom: Option<Instant>, now: Instant) -> bool {
    seldom.is_none_or(|since| now.saturating_duration_since(since) >= SELDOM)
}

impl Tracer {
    pub(super) fn new(mut ebpf: Ebpf, tier: Tier, verbose: bool, rows: u32) -> Result<Self> {
        // The kernel half's debug messages, for `-vv`.
        let logger = match verbose.then(|| EbpfLogger::init(&mut ebpf)) {
            Some(Ok(logger)) => Some(logger),
            Some(Err(error)) => {
                log::warn!("no messages from the kernel half: {error}");
                None
            }
            None => None,
        };
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the kernel half has no map {name}"))
        };
        let ring = RingBuf::try_from(take(names::EVENTS)?)?;
        let counts = [
            PerCpuHashMap::try_from(take(names::COUNTS_EVEN)?)?,
            PerCpuHashMap::try_from(take(names::COUNTS_ODD)?)?,
        ];
        let totals = PerCpuArray::try_from(take(names::TOTALS)?)?;
        let control_map = Array::try_from(take(names::CONTROL)?)?;
        let endpoints = Mirror::new(HashMap::try_from(take(names::ENDPOINTS)?)?);
        let published = Mirror::new(HashMap::try_from(take(names::PUBLISHED)?)?);
        let far = Mirror::new(HashMap::try_from(take(names::FAR)?)?);
        let program = match tier {
            Tier::TpBtf => names::KFREE_SKB_BTF,
            Tier::Tracepoint => names::KFREE_SKB_TRACEPOINT,
        };
        let program_fd = ebpf
            .program(program)
            .and_then(|program| program.fd().ok())
            .map(|fd| fd.as_fd().as_raw_fd());
        let mut tracer = Self {
            ebpf: Some(ebpf),
            tier,
            program_fd,
            ring,
            counts,
            rows,
            totals,
            control_map,
            control: Control {
                epoch: 1,
                names: 1,
                key_burst: KEY_BURST,
                cpu_burst: CPU_BURST,
                ..Control::default()
            },
            endpoints,
            published,
            far,
            logger,
            last_missed: None,
            seldom: None,
        };
        tracer.write_control()?;
        Ok(tracer)
    }

    /// How it hangs on the kernel.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    fn write_control(&mut self) -> Result<()> {
        self.control_map
            .set(0, self.control, 0)
            .context("writing the kernel half's control map")
    }

    /// Tells the programs which addresses mean which hook.
    pub fn set_hook_functions(&mut self, address: impl Fn(&str) -> Option<u64>) -> Result<()> {
        self.control.ip_forward = address("ip_forward").unwrap_or(0);
        self.control.ip6_forward = address("ip6_forward").unwrap_or(0);
        self.control.ip_local_deliver = address("ip_local_deliver").unwrap_or(0);
        self.control.ip6_input = address("ip6_input").unwrap_or(0);
        self.write_control()
    }

    /// Tells the programs where the function that runs netfilter's hooks is.
    pub fn set_hook_loop(&mut self, range: Option<std::ops::Range<u64>>) -> Result<()> {
        let range = range.unwrap_or_default();
        self.control.nf_hook_slow = range.start;
        self.control.nf_hook_slow_end = range.end;
        self.write_control()
    }

    /// File descriptor that becomes readable when a sample arrives after everything was drained.
    #[must_use]
    pub fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Hands waiting samples to `sink`, so many at most; once there is none left, refills the token buckets. Whether there is none.
    pub fn drain(&mut self, most: usize, mut sink: impl FnMut(&DropRecord)) -> Result<bool> {
        for _ in 0..most {
            let Some(item) = self.ring.next() else {
                self.refill()?;
                return Ok(true);
            };
            if item.len() >= size_of::<DropRecord>() {
                // SAFETY: long enough, and any bytes are a record; the ring aligns to 8 but need not be trusted to.
                let record = unsafe { item.as_ptr().cast::<DropRecord>().read_unaligned() };
                sink(&record);
            }
        }
        Ok(false)
    }

    fn refill(&mut self) -> Result<()> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let now = Instant::now();
        if self.ebpf.is_some() && is_refill_due(self.seldom, now) {
            self.seldom = self.seldom.map(|_| now);
            self.next_epoch()?;
        }
        Ok(())
    }

    fn next_epoch(&mut self) -> Result<()> {
        self.control.epoch = self.control.epoch.wrapping_add(1);
        self.write_control()
    }

    /// How much of the ring so many samples fill, of 1.
    #[must_use]
    pub fn ring_share(samples: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share to be looked at")]
        let bytes = (samples * (size_of::<DropRecord>() + RING_HEADER)) as f64;
        bytes / f64::from(names::EVENTS_BYTES)
    }

    /// Whether samples are taken beyond the first of each key and CPU, and one on each CPU now and then.
    pub fn set_detail(&mut self, is_wanted: bool) -> Result<()> {
        (self.control.key_burst, self.control.cpu_burst) = if is_wanted {
            (KEY_BURST, CPU_BURST)
        } else {
            (1, 1)
        };
        self.seldom = (!is_wanted).then(Instant::now);
        // The buckets may still be full of the burst before.
        self.next_epoch()
    }

    /// Rows after which a generation is to be retired: half of what its map holds.
    #[must_use]
    pub fn many_rows(&self) -> usize {
        self.rows as usize / 2
    }

    /// Every row of both generations.
    pub fn rows(&self) -> Result<Vec<CountedKey>> {
        let mut rows = Vec::new();
        for (parity, map) in (0_u32..).zip(&self.counts) {
            let generation = if self.control.generation & 1 == parity {
                self.control.generation
            } else {
                self.control.generation.wrapping_sub(1)
            };
            for row in map.iter() {
                let (key, values) = row.context("reading the kernel half's counts")?;
                let mut count = Count::default();
                for value in values.iter() {
                    count.packets += value.packets;
                    count.bytes += value.bytes;
                    count.sampled += value.sampled;
                }
                rows.push(CountedKey {
                    generation,
                    key,
                    count,
                });
            }
        }
        Ok(rows)
    }

    /// Starts a new generation: from now on the other map counts. It must have been cleared.
    pub fn next_generation(&mut self) -> Result<u32> {
        self.control.generation = self.control.generation.wrapping_add(1);
        self.write_control()?;
        Ok(self.control.generation)
    }

    /// Clears the map that is not counting. Only once no program can still be at work on it.
    pub fn clear_retired(&mut self) -> Result<()> {
        let [even, odd] = &mut self.counts;
        let retired = if self.control.generation & 1 == 1 {
            even
        } else {
            odd
        };
        let keys: Vec<CountKey> = retired.keys().collect::<Result<_, _>>()?;
        for key in keys {
            retired.remove(&key).context("clearing retired counts")?;
        }
        Ok(())
    }

    /// The totals, all CPUs together.
    pub fn totals(&self) -> Result<Totals> {
        let mut sum = Totals::default();
        for value in self
            .totals
            .get(&0, 0)
            .context("reading the kernel half's totals")?
            .iter()
        {
            sum.observed += value.observed;
            sum.filtered += value.filtered;
            sum.out_of_scope += value.out_of_scope;
            sum.other += value.other;
            sum.ring_full += value.ring_full;
            sum.non_packets += value.non_packets;
        }
        Ok(sum)
    }

    /// Drops that our program did not see because it was already running on that CPU; `None` before 5.12.
    pub fn missed(&mut self) -> Option<u64> {
        // Where it cannot be read now (no descriptor is left, say) what was read last holds.
        if self.ebpf.is_some()
            && let Ok(fdinfo) =
                fs::read_to_string(format!("/proc/self/fdinfo/{}", self.program_fd?))
        {
            self.last_missed = fdinfo
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok());
        }
        self.last_missed
    }

    /// Takes the program off the kernel. Counts and samples stay readable, and change no more.
    pub fn detach(&mut self) {
        let _last = self.missed();
        self.ebpf = None;
    }

    /// Tells the kernel half which addresses are whose.
    pub fn set_endpoints(
        &mut self,
        wanted: std::collections::HashMap<[u8; 16], u32>,
    ) -> Result<()> {
        let set = self.endpoints.set(wanted);
        self.names_changed(&set)?;
        set.map(drop)
            .context("telling the kernel half the containers' addresses")
    }

    /// Tells the kernel half which published ports are whose.
    pub fn set_published(&mut self, wanted: std::collections::HashMap<PortKey, u32>) -> Result<()> {
        let set = self.published.set(wanted);
        self.names_changed(&set)?;
        set.map(drop)
            .context("telling the kernel half the published ports")
    }

    /// What the kernel half remembers of its last flow holds no longer, unless nothing changed.
    fn names_changed(&mut self, set: &Result<bool>) -> Result<()> {
        if !matches!(set, Ok(false)) {
            self.control.names = self.control.names.wrapping_add(1).max(1);
            self.write_control()?;
        }
        Ok(())
    }

    /// Tells the kernel half which namespaces are out of scope.
    pub fn set_far(&mut self, wanted: std::collections::HashMap<u64, u8>) -> Result<()> {
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let set = self.far.set(wanted);
        // With the first one it begins to look.
        self.control.far = count;
        self.names_changed(&set)?;
        set.map(drop)
            .context("telling the kernel half the namespaces out of scope")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_packets_are_only_counted_buckets_are_refilled_seldom() {
        let now = Instant::now();
        assert!(is_refill_due(None, now));
        assert!(!is_refill_due(Some(now), now));
        assert!(!is_refill_due(Some(now), now + SELDOM / 2));
        assert!(is_refill_due(Some(now), now + SELDOM));
        // A drain may have begun before the last word of it.
        assert!(!is_refill_due(Some(now + SELDOM), now));
    }
}
