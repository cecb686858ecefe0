//! Loading: offsets in, verified program out. Nothing is attached yet.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::MapType,
    programs::{BtfTracePoint, ProgramError, TracePoint},
    sys::is_map_supported,
};
use dockernet_common::{
    count::{CountKey, CountRow},
    filter::Filter,
    names,
    offsets::Offsets,
};

use crate::{host::privileges, pcap_filter::Expression};

use super::{
    btf::Btf, cast, features::Features, format::EventFormat, inject, late::Awaited, offsets,
    reasons::Reasons, tracer::Tracer,
};

/// The kernel half, as built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dockernet-ebpf"));

/// The kernel half's object file; an error in a binary that was built without it.
pub(super) fn object() -> Result<&'static [u8]> {
    if OBJECT.is_empty() {
        bail!(
            "this binary was built without its kernel half (AYA_BUILD_SKIP=1); build it with: cargo xtask build"
        );
    }
    Ok(OBJECT)
}

/// How the drop program hangs on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// `tp_btf/kfree_skb`, 5.5+.
    TpBtf,
    /// `tracepoint/skb/kfree_skb`.
    Tracepoint,
}

impl Tier {
    /// As `ready.programs` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "kfree_skb:tp_btf",
            Self::Tracepoint => "kfree_skb:tracepoint",
        }
    }
}

/// The running kernel's release, e.g. `6.18.44`.
#[must_use]
pub fn release() -> String {
    nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What the kernel can tell, found out before anything is loaded.
pub struct Kernel {
    /// Its types.
    pub btf: Arc<Btf>,
    /// Its drop reasons.
    pub reasons: Reasons,
}

impl Kernel {
    /// Reads the kernel's type information (about 20 ms).
    pub fn look() -> Result<Self> {
        let btf = Arc::new(Btf::vmlinux()?);
        let reasons = Reasons::read(&btf);
        Ok(Self { btf, reasons })
    }
}

/// What the drop program is fitted to.
#[derive(Clone, Copy)]
pub struct Fitting<'a> {
    /// What it tests.
    pub filter: &'a Filter,
    /// What [`test::EXPRESSION`] in it stands for.
    ///
    /// [`test::EXPRESSION`]: dockernet_common::filter::test::EXPRESSION
    pub expression: Option<&'a Expression>,
    /// Whether it says what it does.
    pub verbose: bool,
    /// Whether NAT's program and its maps are loaded too.
    pub beside_nat: bool,
}

impl Fitting<'_> {
    /// Every packet is counted.
    pub const PLAIN: Self = Self {
        filter: &Filter::ALL,
        expression: None,
        verbose: false,
        beside_nat: false,
    };

    fn rows(&self) -> u32 {
        count_rows(possible_cpus(), self.beside_nat)
    }
}

/// A loaded and verified program that is not attached.
pub struct Prepared {
    ebpf: Ebpf,
    tier: Tier,
    verbose: bool,
    /// Of each count map.
    rows: u32,
    /// What this kernel or these privileges did not give, one sentence each.
    pub degraded: Vec<String>,
    /// Modules that may mend some of it when they are loaded.
    pub awaited: Awaited,
}

impl Prepared {
    /// Loads the best tier that this kernel accepts.
    pub fn load(kernel: &Kernel, fitting: Fitting<'_>, only: Option<Tier>) -> Result<Self> {
        preconditions()?;
        let absent = Awaited::absent();
        let mut offsets = offsets::resolve(&kernel.btf)?;
        let features = Features::with(kernel, &offsets);
        let mut degraded = features.lacking();
        let awaited = absent.needed(&features);
        let made = |ebpf, tier, degraded| Self {
            awaited,
            ebpf,
            tier,
            verbose: fitting.verbose,
            rows: fitting.rows(),
            degraded,
        };
        let mut refusal = None;
        if only != Some(Tier::Tracepoint) {
            match cast::or_without(&offsets, |offsets| Self::load_tp_btf(offsets, fitting)) {
                Ok((ebpf, sentence)) => {
                    degraded.extend(sentence);
                    return Ok(made(ebpf, Tier::TpBtf, degraded));
                }
                Err(error) if only.is_some() => return Err(error),
                Err(error) => {
                    refusal = Some(format!(
                        "tp_btf refused, using the classic tracepoint (about 60 ns more for each drop): {error:#}"
                    ));
                }
            }
        }
        let format = match EventFormat::read("skb/kfree_skb") {
            Ok(format) => format,
            Err(error) => {
                // Why the better tier does not work comes first: mending that makes this one needless.
                return Err(match refusal {
                    Some(first) => error.context(first),
                    None => error,
                });
            }
        };
        offsets::add_tracepoint(&mut offsets, &format)?;
        match cast::or_without(&offsets, |offsets| Self::load_tracepoint(offsets, fitting)) {
            Ok((ebpf, sentence)) => {
                degraded.extend(refusal);
                degraded.extend(sentence);
                Ok(made(ebpf, Tier::Tracepoint, degraded))
            }
            Err(error) => Err(match refusal {
                Some(first) => error.context(first),
                None => error,
            }),
        }
    }

    fn load_tp_btf(offsets: &Offsets, fitting: Fitting<'_>) -> Result<Ebpf> {
        let btf = aya::Btf::from_sys_fs().context("reading the kernel's type information")?;
        let mut ebpf = open(offsets, fitting, Some(&btf))?;
        let program: &mut BtfTracePoint = program(&mut ebpf, names::KFREE_SKB_BTF)?;
        program
            .load("kfree_skb", &btf)
            .map_err(|error| refused("tp_btf/kfree_skb", error))?;
        Ok(ebpf)
    }

    fn load_tracepoint(offsets: &Offsets, fitting: Fitting<'_>) -> Result<Ebpf> {
        let mut ebpf = open(offsets, fitting, None)?;
        let program: &mut TracePoint = program(&mut ebpf, names::KFREE_SKB_TRACEPOINT)?;
        program
            .load()
            .map_err(|error| refused("tracepoint/skb/kfree_skb", error))?;
        Ok(ebpf)
    }

    /// Which tier was loaded.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Attaches: from here on drops are counted.
    pub fn attach(self) -> Result<Tracer> {
        let Self {
            mut ebpf,
            tier,
            verbose,
            rows,
            ..
        } = self;
        match tier {
            Tier::TpBtf => {
                let program: &mut BtfTracePoint = program(&mut ebpf, names::KFREE_SKB_BTF)?;
                // Once: a second attach would count every drop twice.
                program.attach().map(drop)
            }
            Tier::Tracepoint => {
                let program: &mut TracePoint = program(&mut ebpf, names::KFREE_SKB_TRACEPOINT)?;
                program.attach("skb", "kfree_skb").map(drop)
            }
        }
        .with_context(|| format!("attaching {}", tier.name()))?;
        Tracer::new(ebpf, tier, verbose, rows)
    }
}

fn open(offsets: &Offsets, fitting: Fitting<'_>, btf: Option<&aya::Btf>) -> Result<Ebpf> {
    let log_level = if fitting.verbose {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let mut loader = EbpfLoader::new();
    loader
        .btf(btf)
        .override_global(names::OFFSETS_GLOBAL, offsets, true)
        .override_global(names::FILTER_GLOBAL, fitting.filter, true)
        // A level that is filtered out is a constant to the verifier: its code disappears.
        .override_global(aya_log::LEVEL, &log_level, true);
    only_maps(
        &mut loader,
        &[
            names::EVENTS,
            names::COUNTS_EVEN,
            names::COUNTS_ODD,
            names::ENDPOINTS,
            names::PUBLISHED,
            names::FAR,
        ],
    );
    let rows = fitting.rows();
    loader
        .map_max_entries(names::COUNTS_EVEN, rows)
        .map_max_entries(names::COUNTS_ODD, rows);
    loader
        .load(&object_with(offsets, fitting.expression)?)
        .context("creating the kernel half's maps")
}

/// The object, with its reads by cast and the user's filter expression in it.
pub(super) fn object_with(offsets: &Offsets, expression: Option<&Expression>) -> Result<Vec<u8>> {
    let mut object = object()?.to_vec();
    cast::complete(&mut object, offsets);
    if let Some(expression) = expression {
        inject::expression(&mut object, expression)?;
    }
    Ok(object)
}

/// CPUs that the kernel makes room for in a per-CPU map, whether they are there or not.
pub(super) fn possible_cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

/// Rows of each count map. They are made beforehand, for every possible CPU: on large machines there are fewer, so that the service
/// stays below its memory budget, which it has to fall 20 % below to recover. `beside_nat`: NAT's own maps take 20 MiB.
pub(super) fn count_rows(cpus: usize, beside_nat: bool) -> u32 {
    /// Bytes of both maps.
    const ALONE: usize = 24 << 20;
    const BESIDE_NAT: usize = 6 << 20;
    /// A row's key, its bucket and its place in the free list (kernel/bpf/hashtab.c, `struct htab_elem`).
    const OVERHEAD: usize = 128;
    let row = size_of::<CountRow>() * cpus + size_of::<CountKey>() + OVERHEAD;
    let most = if beside_nat { BESIDE_NAT } else { ALONE };
    u32::try_from(most / 2 / row).map_or(8192, |rows| rows.clamp(256, 8192))
}

/// The kernel half is one object, and every load makes all its maps: those of the other views are made as small as they can be.
pub(super) fn only_maps(loader: &mut EbpfLoader<'_>, used: &[&str]) {
    /// Bytes of a page: the least that a ring can have.
    const PAGE: u32 = 4096;
    for (name, least) in [
        (names::EVENTS, PAGE),
        (names::COUNTS_EVEN, 1),
        (names::COUNTS_ODD, 1),
        (names::ENDPOINTS, 1),
        (names::PUBLISHED, 1),
        (names::FAR, 1),
        (names::NAT_EVENTS, PAGE),
        (names::NAT_FLOWS, 1),
        (names::NAT_SETTLED, 1),
        (names::HOPS, PAGE),
        (names::FOLLOWED, 1),
    ] {
        if !used.contains(&name) {
            loader.map_max_entries(name, least);
        }
    }
}

pub(super) fn program<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the kernel half has no program {name}"))?;
    Ok(program.try_into()?)
}

/// The verifier's last words rather than all of them; the whole log is for `-vv`.
pub(super) fn refused(what: &str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            log::debug!("verifier log of {what}:\n{log}");
            match last_words(&log) {
                // Where securityfs is not mounted nothing else tells it. (aya tries `bpf_probe_read` where `_kernel` is refused.)
                Some(line) if line.contains(" bpf_probe_read") => anyhow!(
                    "{what}: {io_error}: {line}; kernel lockdown is in confidentiality mode, it seems: boot with lockdown=integrity"
                ),
                Some(line) => anyhow!("{what}: {io_error}: {line}"),
                None => anyhow!("{what}: {io_error}"),
            }
        }
        other => anyhow::Error::new(other).context(what.to_owned()),
    }
}

/// The last line of a verifier's log that is no statistics.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    log.lines().rev().find(|line| {
        !line.trim().is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start))
    })
}

/// What no tier can do without, each told in one sentence; and the limit on maps is lifted.
pub(super) fn preconditions() -> Result<()> {
    if privileges::lockdown().as_deref() == Some("confidentiality") {
        bail!(
            "kernel lockdown is in confidentiality mode, in which no BPF program may read kernel memory; \
             boot with lockdown=integrity"
        );
    }
    raise_memlock();
    raise_descriptors();
    // An error is not an answer; what is wrong then shows when the maps are made.
    if let Ok(false) = is_map_supported(MapType::RingBuf) {
        bail!(
            "this kernel ({}) has no BPF ring buffer, through which drops are reported; Linux 5.8 or later has it",
            release()
        );
    }
    Ok(())
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK, 64 KiB by default. A refusal shows when the maps are made.
fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        log::debug!("raising RLIMIT_MEMLOCK: {error}");
    }
}

/// NAT needs a descriptor for each device, and systemd and shells give 1,024 unless asked for more.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WANTED: u64 = 65536;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = soft.max(WANTED.min(hard));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        log::debug!("raising RLIMIT_NOFILE: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifiers_last_words() {
        let log = "0: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\nverification time 9 usec\n\
                   stack depth 440+0\nprocessed 1 insns (limit 1000000)\n\n";
        assert_eq!(
            last_words(log),
            Some("unknown func bpf_probe_read_kernel#113")
        );
        assert_eq!(last_words("processed 1 insns\n"), None);
    }

    #[test]
    fn count_maps_are_bounded_on_large_machines() {
        for (beside_nat, most, whole) in [(false, 24 << 20, 42), (true, 6 << 20, 6)] {
            for cpus in 1..=whole {
                assert_eq!(count_rows(cpus, beside_nat), 8192, "{cpus}");
            }
            for cpus in [64, 128, 1024, 8192] {
                let rows = count_rows(cpus, beside_nat) as usize;
                assert!(rows >= 256, "{cpus}");
                assert!(
                    rows == 256 || 2 * rows * (32 * cpus + 168) <= most,
                    "{cpus}"
                );
            }
        }
        assert_eq!([false, true].map(|nat| count_rows(128, nat)), [2950, 737]);
    }
}
