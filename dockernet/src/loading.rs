//! The kernel half is loaded on a thread of its own: what costs time there is the kernel's verifier, and the host can be read meanwhile.

use std::thread;

use anyhow::{Context as _, Result, bail};
use dockernet_common::filter::Filter as KernelFilter;

use crate::{
    bpf::{
        hops::PreparedHops,
        load::{Fitting, Kernel, Prepared, Tier},
        nat::NatTracer,
    },
    cli::{
        Usage,
        options::{Job, Options},
    },
    host::netns::NetnsHandle,
    pcap_filter::Expression,
};

/// What was loaded; nothing of it is attached.
pub struct Loaded {
    /// What it was fitted to.
    pub kernel: Kernel,
    /// Follows the packets of a flow, for `path`.
    pub hops: Option<PreparedHops>,
    /// Sees drops.
    pub drops: Option<Prepared>,
    /// Sees NAT.
    pub nat: Option<NatTracer>,
}

/// Which programs a job wants, and what of its filter they test.
pub(crate) struct Wanted {
    is_path: bool,
    drops: bool,
    nat: bool,
    verbose: bool,
    only: Option<Tier>,
    filter: KernelFilter,
    expression: Option<Expression>,
}

impl Wanted {
    /// # Errors
    /// `DOCKERNET_TIER` is set and names no tier.
    pub(crate) fn new(
        options: &Options,
        filter: KernelFilter,
        expression: Option<Expression>,
    ) -> Result<Self> {
        let is_path = matches!(options.job, Job::Path(_));
        Ok(Self {
            is_path,
            drops: options.drops || is_path,
            nat: options.nat,
            verbose: options.verbose > 1,
            only: tier()?,
            filter,
            expression,
        })
    }
}

/// Programs that are being loaded.
pub(crate) struct Loading(thread::JoinHandle<Result<Loaded>>);

impl Loading {
    /// Begins. NAT is to be seen on the devices of `netns`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(kernel: Kernel, netns: NetnsHandle, wanted: Wanted) -> Result<Self> {
        thread::Builder::new()
            .name("loading".into())
            .spawn(move || load(kernel, netns, &wanted))
            .map(Self)
            .context("starting a thread")
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub(crate) fn finish(self) -> Result<Loaded> {
        let Ok(loaded) = self.0.join() else {
            bail!("the thread that loads the kernel half panicked");
        };
        loaded
    }
}

fn load(kernel: Kernel, netns: NetnsHandle, wanted: &Wanted) -> Result<Loaded> {
    let hops = wanted
        .is_path
        .then(|| PreparedHops::load(&kernel, wanted.only))
        .transpose()?;
    let drops = wanted
        .drops
        .then(|| {
            let fitting = Fitting {
                filter: &wanted.filter,
                expression: wanted.expression.as_ref(),
                verbose: wanted.verbose,
                beside_nat: wanted.nat,
            };
            Prepared::load(&kernel, fitting, wanted.only)
        })
        .transpose()?;
    let nat = wanted
        .nat
        .then(|| NatTracer::load(&kernel, netns, wanted.expression.as_ref()))
        .transpose()?;
    Ok(Loaded {
        kernel,
        hops,
        drops,
        nat,
    })
}

/// `DOCKERNET_TIER=tp_btf|tracepoint` takes one tier alone: for tests of the fallback, and for measuring.
fn tier() -> Result<Option<Tier>> {
    match std::env::var("DOCKERNET_TIER").as_deref() {
        Err(_) => Ok(None),
        Ok("tp_btf") => Ok(Some(Tier::TpBtf)),
        Ok("tracepoint") => Ok(Some(Tier::Tracepoint)),
        Ok(other) => Err(Usage(format!(
            "DOCKERNET_TIER={other}: expected tp_btf or tracepoint"
        ))
        .into()),
    }
}
