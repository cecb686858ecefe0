//! Running one scenario in a lab.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    check,
    model::{Only, Scenario},
    phase, quiet,
};
use crate::{evidence::Evidence, lab::Lab, tracer::Tracer};

/// What a run saw, beside the judgement.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `REASON@function` → count by the kernel's tracepoint in the faulty phase (the whole machine).
    pub kernel: BTreeMap<String, u64>,
}

/// Runs a scenario: healthy traffic and silence, then the fault and the tool's explanation, then mended and silence.
/// Without the tool (`with_tool` false) only the traffic and the kernel's own evidence are judged. The lab has to be
/// reset afterwards.
///
/// # Errors
/// What went otherwise than the scenario says.
pub fn run(lab: &mut Lab, scenario: &Scenario, with_tool: bool) -> Result<Report> {
    if scenario.list_path {
        lab.list_path(true)?;
    }
    let result = phases(lab, scenario, with_tool);
    if scenario.list_path {
        lab.list_path(false)?;
    }
    phase::steps(lab, &scenario.teardown).ok();
    result
}

fn phases(lab: &mut Lab, scenario: &Scenario, with_tool: bool) -> Result<Report> {
    phase::topology(lab, scenario, Only::Healthy).context("bringing up the topology")?;
    phase::steps(lab, &scenario.setup).context("setting up")?;
    let _servers = phase::servers(lab, scenario, None)?;
    let healthy = phase::servers(lab, scenario, Some(Only::Healthy))?;
    // A first exchange may race with what a container's start leaves in flight (addresses, neighbours).
    std::thread::sleep(Duration::from_millis(300));
    silent_phase(lab, scenario, with_tool).context("healthy")?;
    drop(healthy);
    phase::topology(lab, scenario, Only::Faulty).context("changing the topology")?;
    let faulty = phase::servers(lab, scenario, Some(Only::Faulty))?;
    let report = faulty_phase(lab, scenario, with_tool).context("faulty")?;
    drop(faulty);
    if !scenario.heal.is_empty() {
        phase::steps(lab, &scenario.heal).context("healing")?;
        lab.restore_sysctls();
        let _healthy = phase::servers(lab, scenario, Some(Only::Healthy))?;
        silent_phase(lab, scenario, with_tool).context("healed")?;
    }
    Ok(report)
}

fn silent_phase(lab: &Lab, scenario: &Scenario, with_tool: bool) -> Result<()> {
    let tracer = tracer(lab, with_tool)?;
    phase::traffic(lab, scenario, Only::Healthy)?;
    match tracer {
        Some(tracer) => quiet(&tracer.stop()?),
        None => Ok(()),
    }
}

fn tracer(lab: &Lab, with_tool: bool) -> Result<Option<Tracer>> {
    with_tool.then(|| Tracer::start(lab, &[])).transpose()
}

fn faulty_phase(lab: &mut Lab, scenario: &Scenario, with_tool: bool) -> Result<Report> {
    let tracer = tracer(lab, with_tool)?;
    let evidence = Evidence::start(&lab.id)?;
    phase::steps(lab, &scenario.fault).context("breaking it")?;
    phase::traffic(lab, scenario, Only::Faulty)?;
    // NEIGH_FAILED and reassembly come late; 100 ms is the tool's longest drain interval.
    std::thread::sleep(Duration::from_millis(200));
    let kernel = evidence.read()?;
    ensure!(
        evidence.shows(&kernel, &scenario.expect.kernel),
        "the kernel's tracepoint shows none of {:?}, but {kernel:?}",
        scenario.expect.kernel
    );
    if let Some(tracer) = tracer {
        let mut expect = scenario.expect.clone();
        if !evidence.has_reasons() {
            // Nothing to compare with; the cause must be found all the same.
            expect.reason.clear();
        }
        check(lab, &expect, &tracer.stop()?)?;
    }
    Ok(Report { kernel })
}
