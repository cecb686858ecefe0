//! The NAT program: loaded once, attached to the egress of every device of the host's namespace.

mod attach;
mod debt;
mod follow;
mod stale;

use std::{
    collections::HashMap,
    os::fd::{AsRawFd as _, RawFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::{TestRun as _, TestRunOptions},
};
use dockernet_common::{
    count::PortKey,
    filter::{Filter, test},
    names,
    nat::{NatRecord, NatTotals},
    offsets::Offsets,
};

use self::follow::Follower;
use super::{cast, features::Features, load, mirror::Mirror, offsets};
use crate::{host::netns::NetnsHandle, pcap_filter::Expression};

pub use attach::Hook;
pub use stale::Leftover;

/// Watches NAT on devices of one namespace; detaches when dropped.
pub struct NatTracer {
    /// Until it is attached.
    ebpf: Option<Ebpf>,
    netns: NetnsHandle,
    /// Without it clsact is not a second try.
    has_tcx: bool,
    follower: Option<Follower>,
    ring: RingBuf<MapData>,
    totals: PerCpuArray<MapData, NatTotals>,
    containers: Mirror<[u8; 16], u32>,
    published: Mirror<PortKey, u32>,
}

impl NatTracer {
    /// Loads the program; nothing is attached yet. `netns` is where the devices are. Flows that `expression` refuses are not told of.
    pub fn load(
        kernel: &load::Kernel,
        netns: NetnsHandle,
        expression: Option<&Expression>,
    ) -> Result<Self> {
        load::preconditions()?;
        let offsets = offsets::resolve(&kernel.btf)?;
        let mut ebpf = cast::or_without_logged("the NAT program", &offsets, |offsets| {
            open(offsets, expression)
        })?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the kernel half has no map {name}"))
        };
        let ring = RingBuf::try_from(take(names::NAT_EVENTS)?)?;
        let totals = PerCpuArray::try_from(take(names::NAT_TOTALS)?)?;
        let containers = Mirror::new(take(names::ENDPOINTS)?.try_into()?);
        let published = Mirror::new(take(names::PUBLISHED)?.try_into()?);
        Ok(Self {
            ebpf: Some(ebpf),
            netns,
            has_tcx: Features::with(kernel, &offsets).tcx,
            follower: None,
            ring,
            totals,
            containers,
            published,
        })
    }

    /// Attaches to every device, now and as they come, after removing what an earlier run left. Returns a sentence for
    /// each that could not be watched, and for each that something was removed from. `only`: one hook alone.
    pub fn attach(&mut self, only: Option<Hook>) -> Result<Vec<String>> {
        let Some(ebpf) = self.ebpf.take() else {
            return Ok(Vec::new());
        };
        let only = only.or((!self.has_tcx).then_some(Hook::Clsact));
        let (follower, start) =
            Follower::start(ebpf, self.netns.clone(), only).context("watching devices for NAT")?;
        self.follower = Some(follower);
        let removed = start
            .leftovers
            .iter()
            .filter(|leftover| leftover.owner.is_none())
            .map(|leftover| {
                format!(
                    "an earlier run had left {} on {}: removed",
                    leftover.program, leftover.device
                )
            });
        let problems = start
            .problems
            .iter()
            .map(|problem| format!("not watched for NAT: {problem}"));
        Ok(removed.chain(problems).collect())
    }

    /// Runs the program once on a frame, without a device (`BPF_PROG_TEST_RUN`), and gives its verdict; for tests, before it is attached.
    #[doc(hidden)]
    pub fn verdict(&mut self, frame: &[u8]) -> Result<i32> {
        let ebpf = self.ebpf.as_mut().context("attached already")?;
        let options = TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::new()
        };
        let result = attach::program(ebpf)?
            .test_run(options)
            .context("BPF_PROG_TEST_RUN")?;
        Ok(result.return_value.cast_signed())
    }

    /// `nat:tcx` or `nat:clsact`, as `ready.programs` names it.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        match self.follower.as_ref().map(Follower::hook) {
            Some(Hook::Clsact) => "nat:clsact",
            _ => "nat:tcx",
        }
    }

    /// Lets go of every device. What the ring holds can still be drained.
    pub fn detach(&mut self) {
        self.follower = None;
    }

    /// Tells the kernel half the addresses of containers that publish ports, and the published ports.
    pub fn set_published(
        &mut self,
        containers: HashMap<[u8; 16], u32>,
        ports: HashMap<PortKey, u32>,
    ) -> Result<()> {
        self.containers
            .set(containers)
            .and_then(|_| self.published.set(ports))
            .map(drop)
            .context("telling the NAT program the published ports")
    }

    /// Becomes readable when a transition arrives after everything was drained.
    #[must_use]
    pub fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Hands over every waiting transition.
    pub fn drain(&mut self, mut sink: impl FnMut(&NatRecord)) {
        while let Some(item) = self.ring.next() {
            if item.len() >= size_of::<NatRecord>() {
                // SAFETY: long enough, and any bytes are a record.
                let record = unsafe { item.as_ptr().cast::<NatRecord>().read_unaligned() };
                sink(&record);
            }
        }
    }

    /// Totals of all CPUs.
    pub fn totals(&self) -> Result<NatTotals> {
        let mut sum = NatTotals::default();
        for value in self
            .totals
            .get(&0, 0)
            .context("reading the NAT totals")?
            .iter()
        {
            sum.found += value.found;
            sum.ring_full += value.ring_full;
            sum.refused += value.refused;
        }
        Ok(sum)
    }
}

/// Removes what earlier runs left on devices of a namespace. Tells of every filter of ours; those of a run that goes on stay.
pub fn clean(netns: &NetnsHandle) -> Result<Vec<Leftover>> {
    netns.run(stale::clean_here)?
}

/// Processes of ours in this namespace that go on.
#[must_use]
pub fn running(netns: &NetnsHandle) -> Vec<u32> {
    stale::running(netns)
}

/// The program, verified.
fn open(offsets: &Offsets, expression: Option<&Expression>) -> Result<Ebpf> {
    let filter = Filter {
        tests: expression.map_or(0, |_| test::EXPRESSION),
        ..Filter::ALL
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::OFFSETS_GLOBAL, offsets, true)
        .override_global(names::FILTER_GLOBAL, &filter, true);
    load::only_maps(
        &mut loader,
        &[
            names::NAT_EVENTS,
            names::NAT_FLOWS,
            names::NAT_SETTLED,
            names::ENDPOINTS,
            names::PUBLISHED,
        ],
    );
    let mut ebpf = loader
        .load(&load::object_with(offsets, expression)?)
        .context("creating the kernel half's maps for NAT")?;
    attach::program(&mut ebpf)?
        .load()
        .map_err(|error| load::refused("the NAT program (tc)", error))?;
    Ok(ebpf)
}
