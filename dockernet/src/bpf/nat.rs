//! The NAT program: loaded once, attached to the egress of every device that it is told to watch.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd as _, RawFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact},
    },
};
use dockernet_common::{
    filter::Filter,
    names,
    nat::{NatRecord, NatTotals},
};

use super::{features::Features, load, offsets};
use crate::host::netns::NetnsHandle;

/// Watches NAT on devices of one namespace; detaches when dropped.
pub struct NatTracer {
    ebpf: Ebpf,
    netns: NetnsHandle,
    ring: RingBuf<MapData>,
    totals: PerCpuArray<MapData, NatTotals>,
    /// By interface index.
    watched: HashMap<u32, Watched>,
    /// There is no tcx here, or it was refused once: clsact from then on.
    clsact: bool,
}

struct Watched {
    name: String,
    link: SchedClassifierLinkId,
}

impl NatTracer {
    /// Loads the program; nothing is attached yet. `netns` is where the devices are.
    pub fn load(kernel: &load::Kernel, netns: NetnsHandle) -> Result<Self> {
        load::preconditions()?;
        let offsets = offsets::resolve(&kernel.btf)?;
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::OFFSETS_GLOBAL, &offsets, true)
            .override_global(names::FILTER_GLOBAL, &Filter::ALL, true);
        // The drop program's maps are not used here.
        for map in [
            names::COUNTS_EVEN,
            names::COUNTS_ODD,
            names::ENDPOINTS,
            names::PUBLISHED,
            names::FAR,
        ] {
            loader.map_max_entries(map, 1);
        }
        loader.map_max_entries(names::EVENTS, 4096);
        let mut ebpf = loader
            .load(load::object()?)
            .context("creating the kernel half's maps for NAT")?;
        program(&mut ebpf)?
            .load()
            .map_err(|error| load::refused("the NAT program (tc)", error))?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the kernel half has no map {name}"))
        };
        let ring = RingBuf::try_from(take(names::NAT_EVENTS)?)?;
        let totals = PerCpuArray::try_from(take(names::NAT_TOTALS)?)?;
        Ok(Self {
            ebpf,
            netns,
            ring,
            totals,
            watched: HashMap::new(),
            clsact: !Features::with(kernel, &offsets).tcx,
        })
    }

    /// Watches these devices (index, name) and lets go of all others. Returns what could not be watched.
    pub fn watch(&mut self, wanted: &HashMap<u32, String>) -> Vec<String> {
        let gone: Vec<u32> = self
            .watched
            .iter()
            .filter(|(index, watched)| wanted.get(index) != Some(&watched.name))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            self.let_go(index);
        }
        let new: Vec<(u32, String)> = wanted
            .iter()
            .filter(|(index, _)| !self.watched.contains_key(index))
            .map(|(index, name)| (*index, name.clone()))
            .collect();
        new.into_iter()
            .filter_map(|(index, name)| {
                let error = self.attach(index, &name).err()?;
                Some(format!("{name}: {error:#}"))
            })
            .collect()
    }

    /// A device that is gone took its link with it.
    fn let_go(&mut self, index: u32) {
        if let Some(watched) = self.watched.remove(&index)
            && let Ok(program) = program(&mut self.ebpf)
            && let Err(error) = program.detach(watched.link)
        {
            log::debug!("detaching from {}: {error}", watched.name);
        }
    }

    fn attach(&mut self, index: u32, name: &str) -> Result<()> {
        let netns = self.netns.clone();
        let clsact = self.clsact;
        let program = program(&mut self.ebpf)?;
        // Interface names mean something in their namespace only.
        let attached = netns.run(|| -> Result<(SchedClassifierLinkId, bool)> {
            if !clsact {
                let options = TcAttachOptions::TcxOrder(LinkOrder::last());
                match program.attach_with_options(name, TcAttachType::Egress, options) {
                    Ok(link) => return Ok((link, false)),
                    Err(error) => log::info!("tcx on {name}: {error}; trying clsact"),
                }
            }
            // There already is one as a rule; then this fails and nothing is lost.
            if let Err(error) = qdisc_add_clsact(name) {
                log::debug!("clsact on {name}: {error}");
            }
            let options = TcAttachOptions::Netlink(NlOptions::default());
            let link = program
                .attach_with_options(name, TcAttachType::Egress, options)
                .context("attaching to its egress")?;
            Ok((link, true))
        })??;
        self.clsact |= attached.1;
        self.watched.insert(
            index,
            Watched {
                name: name.to_owned(),
                link: attached.0,
            },
        );
        Ok(())
    }

    /// `nat:tcx` or `nat:clsact`, as `ready.programs` names it.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        if self.clsact { "nat:clsact" } else { "nat:tcx" }
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
        }
        Ok(sum)
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = ebpf
        .program_mut(names::NAT_EGRESS)
        .with_context(|| format!("the kernel half has no program {}", names::NAT_EGRESS))?;
    Ok(program.try_into()?)
}
