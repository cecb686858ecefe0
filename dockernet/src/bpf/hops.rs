//! The programs that see packets of followed flows at every device of the machine.

use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, TracePoint},
};
use dockernet_common::{
    filter::Filter,
    hop::{EndKey, HopRecord, HopTotals, end},
    names,
    offsets::{ABSENT, Offsets},
};

use super::{
    cast,
    format::EventFormat,
    load::{self, Kernel, Tier},
    offsets,
};

/// Learned ends beyond which they are forgotten: half of what the map holds.
const LEARNED: usize = 8192;

/// Loaded, not attached.
pub struct PreparedHops {
    ebpf: Ebpf,
    tier: Tier,
}

/// Attached; detaches when dropped.
pub struct HopTracer {
    ebpf: Option<Ebpf>,
    tier: Tier,
    ring: RingBuf<MapData>,
    followed: HashMap<MapData, EndKey, u8>,
    totals: PerCpuArray<MapData, HopTotals>,
    present: std::collections::HashMap<EndKey, u8>,
}

impl PreparedHops {
    /// Loads the best tier that this kernel accepts, or the one that is asked for.
    ///
    /// # Errors
    /// The kernel refuses both; its last words are in the message.
    pub fn load(kernel: &Kernel, only: Option<Tier>) -> Result<Self> {
        load::preconditions()?;
        let mut offsets = offsets::resolve(&kernel.btf)?;
        if only != Some(Tier::Tracepoint) {
            match cast::or_without_logged("following flows", &offsets, Self::tp_btf) {
                Ok(ebpf) => {
                    return Ok(Self {
                        ebpf,
                        tier: Tier::TpBtf,
                    });
                }
                Err(error) if only.is_some() => return Err(error),
                Err(error) => {
                    log::info!("using the classic tracepoints to follow flows: {error:#}");
                }
            }
        }
        // One template for both (include/trace/events/net.h, `net_dev_template`).
        offsets.tp_net_skb = EventFormat::read("net/net_dev_queue")?
            .offset("skbaddr")
            .unwrap_or(ABSENT);
        Ok(Self {
            ebpf: cast::or_without_logged("following flows", &offsets, Self::tracepoints)?,
            tier: Tier::Tracepoint,
        })
    }

    fn tracepoints(offsets: &Offsets) -> Result<Ebpf> {
        let mut ebpf = open(offsets, None)?;
        for name in [names::HOP_SENT_TRACEPOINT, names::HOP_RECEIVED_TRACEPOINT] {
            let program: &mut TracePoint = load::program(&mut ebpf, name)?;
            program.load().map_err(|error| load::refused(name, error))?;
        }
        Ok(ebpf)
    }

    fn tp_btf(offsets: &Offsets) -> Result<Ebpf> {
        let btf = aya::Btf::from_sys_fs().context("reading the kernel's type information")?;
        let mut ebpf = open(offsets, Some(&btf))?;
        for (name, tracepoint) in [
            (names::HOP_SENT_BTF, "net_dev_queue"),
            (names::HOP_RECEIVED_BTF, "netif_receive_skb"),
        ] {
            let program: &mut BtfTracePoint = load::program(&mut ebpf, name)?;
            program
                .load(tracepoint, &btf)
                .map_err(|error| load::refused(tracepoint, error))?;
        }
        Ok(ebpf)
    }

    /// Attaches: from here on packets of the ends that are followed are seen.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(self) -> Result<HopTracer> {
        let Self { mut ebpf, tier } = self;
        match tier {
            Tier::TpBtf => {
                for name in [names::HOP_SENT_BTF, names::HOP_RECEIVED_BTF] {
                    let program: &mut BtfTracePoint = load::program(&mut ebpf, name)?;
                    program
                        .attach()
                        .with_context(|| format!("attaching {name}"))?;
                }
            }
            Tier::Tracepoint => {
                for (name, tracepoint) in [
                    (names::HOP_SENT_TRACEPOINT, "net_dev_queue"),
                    (names::HOP_RECEIVED_TRACEPOINT, "netif_receive_skb"),
                ] {
                    let program: &mut TracePoint = load::program(&mut ebpf, name)?;
                    program
                        .attach("net", tracepoint)
                        .with_context(|| format!("attaching to net/{tracepoint}"))?;
                }
            }
        }
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the kernel half has no map {name}"))
        };
        let ring = RingBuf::try_from(take(names::HOPS)?)?;
        let followed = HashMap::try_from(take(names::FOLLOWED)?)?;
        let totals = PerCpuArray::try_from(take(names::HOP_TOTALS)?)?;
        Ok(HopTracer {
            ebpf: Some(ebpf),
            tier,
            ring,
            followed,
            totals,
            present: std::collections::HashMap::new(),
        })
    }
}

impl HopTracer {
    /// `hops:tp_btf` or `hops:tracepoint`, as `ready.programs` names it.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        match self.tier {
            Tier::TpBtf => "hops:tp_btf",
            Tier::Tracepoint => "hops:tracepoint",
        }
    }

    /// Becomes readable when a packet is seen after everything was drained.
    #[must_use]
    pub fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Follows these ends and no others.
    ///
    /// # Errors
    /// The map refuses.
    pub fn follow(&mut self, wanted: std::collections::HashMap<EndKey, u8>) -> Result<()> {
        let told = "telling the kernel half which ends to follow";
        for key in self.present.keys().filter(|key| !wanted.contains_key(*key)) {
            match self.followed.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context(told),
            }
        }
        for (key, bits) in &wanted {
            if self.present.get(key) != Some(bits) {
                self.followed.insert(*key, *bits, 0).context(told)?;
            }
        }
        self.present = wanted;
        Ok(())
    }

    /// Forgets what the kernel half has learned once that is much; what still matters is learned again.
    pub fn tidy(&mut self) {
        let learned: Vec<EndKey> = self
            .followed
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, bits)| matches!(*bits, end::LEARNED | end::LEARNED_PORTLESS))
            .map(|(key, _)| key)
            .collect();
        if learned.len() >= LEARNED {
            for key in learned {
                if let Err(error) = self.followed.remove(&key) {
                    log::debug!("forgetting a learned end: {error}");
                }
            }
        }
    }

    /// Hands over every waiting packet.
    pub fn drain(&mut self, mut sink: impl FnMut(&HopRecord)) {
        while let Some(item) = self.ring.next() {
            if item.len() >= size_of::<HopRecord>() {
                // SAFETY: long enough, and any bytes are a record.
                let record = unsafe { item.as_ptr().cast::<HopRecord>().read_unaligned() };
                sink(&record);
            }
        }
    }

    /// Totals of all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn totals(&self) -> Result<HopTotals> {
        let mut sum = HopTotals::default();
        for value in self
            .totals
            .get(&0, 0)
            .context("reading the totals of followed packets")?
            .iter()
        {
            sum.seen += value.seen;
            sum.ring_full += value.ring_full;
            sum.unlearned += value.unlearned;
        }
        Ok(sum)
    }

    /// Takes the programs off the kernel. What they have seen stays readable.
    pub fn detach(&mut self) {
        self.ebpf = None;
    }
}

fn open(offsets: &Offsets, btf: Option<&aya::Btf>) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader
        .btf(btf)
        .override_global(names::OFFSETS_GLOBAL, offsets, true)
        .override_global(names::FILTER_GLOBAL, &Filter::ALL, true);
    load::only_maps(
        &mut loader,
        &[names::HOPS, names::FOLLOWED, names::HOP_TOTALS],
    );
    loader
        .load(&load::object_with(offsets, None)?)
        .context("creating the kernel half's maps for following flows")
}
