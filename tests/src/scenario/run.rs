//! Running one scenario in a lab.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    check, ends_there, mend,
    model::{Only, Scenario, TrafficStep},
    phase, quiet,
};
use crate::{
    evidence::Evidence,
    lab::Lab,
    server::Server,
    tracer::{Finished, Tracer},
};

/// What a run saw, beside the judgement.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `REASON@function` → count by the kernel's tracepoint in the faulty phase (the whole machine).
    pub kernel: BTreeMap<String, u64>,
    /// Cause and confidence → packets in the faulty phase, as the tool's lines have them.
    pub told: BTreeMap<(String, String), u64>,
}

/// Runs a scenario: healthy traffic and silence, then the fault and the tool's explanation, then mended and silence.
/// Without the tool (`with_tool` false) only the traffic and the kernel's own evidence are judged. The lab has to be
/// reset afterwards.
///
/// # Errors
/// What went otherwise than the scenario says.
pub fn run(lab: &mut Lab, scenario: &Scenario, with_tool: bool) -> Result<Report> {
    around(lab, scenario, |lab| phases(lab, scenario, with_tool))
}

/// What every run of a scenario needs before and after it.
pub(super) fn around<T>(
    lab: &mut Lab,
    scenario: &Scenario,
    what: impl FnOnce(&mut Lab) -> Result<T>,
) -> Result<T> {
    if scenario.list_path {
        lab.list_path(true)?;
    }
    let result = what(lab);
    if scenario.list_path {
        lab.list_path(false)?;
    }
    phase::steps(lab, &scenario.teardown).ok();
    result
}

/// The servers that stay, and those of the phase.
pub(super) type Servers = (Vec<Server>, Vec<Server>);

/// From nothing to the moment before the fault, with healthy traffic on the way.
pub(super) fn to_the_fault(
    lab: &mut Lab,
    scenario: &Scenario,
    healthy: impl FnOnce(&Lab) -> Result<()>,
) -> Result<Servers> {
    phase::topology(lab, scenario, Only::Healthy).context("bringing up the topology")?;
    phase::steps(lab, &scenario.setup).context("setting up")?;
    let servers = phase::servers(lab, scenario, None)?;
    let of_healthy = phase::servers(lab, scenario, Some(Only::Healthy))?;
    // A first exchange may race with what a container's start leaves in flight (addresses, neighbours).
    std::thread::sleep(Duration::from_millis(300));
    healthy(lab).context("healthy")?;
    drop(of_healthy);
    phase::topology(lab, scenario, Only::Faulty).context("changing the topology")?;
    Ok((servers, phase::servers(lab, scenario, Some(Only::Faulty))?))
}

/// The same fault, with `path` following the scenario's failing traffic: its packet's journey has to end where the packet died.
/// Returns false if the scenario has no traffic that fails. The lab has to be reset afterwards.
///
/// # Errors
/// What went otherwise.
pub fn follow(lab: &mut Lab, scenario: &Scenario) -> Result<bool> {
    let Some(step) = phase::failing(scenario) else {
        return Ok(false);
    };
    around(lab, scenario, |lab| followed(lab, scenario, step))?;
    Ok(true)
}

/// When in a turn something else is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All is up and answered; it breaks next.
    Healthy,
    /// The fault has done its work; it is mended next.
    Broken,
}

/// One turn of a fault for a tool that runs all the time: healthy traffic, broken, mended, healthy traffic. The lab has to be
/// reset afterwards.
///
/// # Errors
/// What went otherwise than the scenario says, or `at` failed.
pub fn turn(
    lab: &mut Lab,
    scenario: &Scenario,
    mut at: impl FnMut(Moment) -> Result<()>,
) -> Result<()> {
    around(lab, scenario, |lab| {
        let (_servers, faulty) = to_the_fault(lab, scenario, |lab| {
            phase::traffic(lab, scenario, Only::Healthy)?;
            at(Moment::Healthy)
        })?;
        phase::steps(lab, &scenario.fault).context("breaking it")?;
        phase::traffic(lab, scenario, Only::Faulty).context("faulty")?;
        at(Moment::Broken)?;
        drop(faulty);
        heal(lab, scenario)?;
        let _healthy = phase::servers(lab, scenario, Some(Only::Healthy))?;
        phase::traffic(lab, scenario, Only::Healthy)
            .context("healed")
            .map(drop)
    })
}

fn heal(lab: &mut Lab, scenario: &Scenario) -> Result<()> {
    phase::steps(lab, &scenario.heal).context("healing")?;
    lab.restore_sysctls();
    Ok(())
}

fn followed(lab: &mut Lab, scenario: &Scenario, step: &TrafficStep) -> Result<()> {
    let _servers = to_the_fault(lab, scenario, |lab| {
        phase::traffic(lab, scenario, Only::Healthy).map(drop)
    })?;
    let target = phase::target(lab, step)?;
    let tracer = Tracer::start(lab, &["path", "--to", &target, "--scope", "host"])?;
    phase::steps(lab, &scenario.fault).context("breaking it")?;
    phase::traffic(lab, scenario, Only::Faulty)?;
    std::thread::sleep(Duration::from_millis(400));
    tracer.signal(Signal::SIGINT)?;
    let finished = tracer.wait(Duration::from_secs(10))?;
    finished.check_balance()?;
    ends_there(scenario, &finished)
}

fn phases(lab: &mut Lab, scenario: &Scenario, with_tool: bool) -> Result<Report> {
    let (_servers, faulty) =
        to_the_fault(lab, scenario, |lab| silent_phase(lab, scenario, with_tool))?;
    let (report, printed) = faulty_phase(lab, scenario, with_tool).context("faulty")?;
    let how = match &printed {
        Some(commands) => {
            // While what is faulty is still there, as it is for a user.
            mend::run(lab, scenario, commands)?;
            drop(faulty);
            format!("mended by what was printed: {}", commands.join("; "))
        }
        None if scenario.heal.is_empty() => return Ok(report),
        None => {
            drop(faulty);
            heal(lab, scenario)?;
            "healed".to_owned()
        }
    };
    if with_tool {
        phase::settled(lab, scenario)?;
    }
    let _healthy = phase::servers(lab, scenario, Some(Only::Healthy))?;
    silent_phase(lab, scenario, with_tool).context(how)?;
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

fn faulty_phase(
    lab: &mut Lab,
    scenario: &Scenario,
    with_tool: bool,
) -> Result<(Report, Option<Vec<String>>)> {
    let tracer = tracer(lab, with_tool)?;
    let evidence = Evidence::start(&lab.id)?;
    phase::steps(lab, &scenario.fault).context("breaking it")?;
    phase::traffic(lab, scenario, Only::Faulty)?;
    // NEIGH_FAILED and reassembly come late; 100 ms is the tool's longest drain interval.
    std::thread::sleep(Duration::from_millis(200));
    let (kernel, in_sight) = evidence.read()?;
    let expects = || std::iter::once(&scenario.expect).chain(&scenario.beside);
    for expect in expects() {
        let wanted = expect.kernel_of(lab.engine());
        ensure!(
            evidence.shows(&kernel, &wanted),
            "the kernel's tracepoint shows none of {wanted:?}, but {kernel:?}"
        );
    }
    let mut told = BTreeMap::new();
    let mut printed = None;
    if let Some(tracer) = tracer {
        let finished = tracer.stop()?;
        for expect in expects() {
            let is_hidden = evidence.hides(&kernel, &in_sight, &expect.kernel_of(lab.engine()));
            let mut expect = expect.clone();
            if !evidence.has_reasons() {
                // Nothing to compare with; the cause must be found all the same.
                expect.reason.clear();
                expect.confidence = expect
                    .confidence_without_reason
                    .take()
                    .or(expect.confidence);
            }
            let checked = check(lab, &expect, &finished).with_context(|| {
                format!("the kernel's tracepoint shows {kernel:?}, outside process 1 {in_sight:?}")
            });
            checked.map_err(|error| match is_hidden {
                true => error.context(OutOfSight),
                false => error,
            })?;
        }
        told = causes(&finished);
        printed = mend::printed(scenario, &finished);
    }
    Ok((Report { kernel, told }, printed))
}

/// Of what was expected the kernel dropped something where it runs no BPF program
/// ([`Evidence::read`]): nothing can be said, and the scenario is to be run again.
#[derive(Clone, Copy, Debug)]
pub struct OutOfSight;

impl std::fmt::Display for OutOfSight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the kernel dropped some of it in the context of process 1")
    }
}

/// Packets, or events, by what was said of them.
fn causes(finished: &Finished) -> BTreeMap<(String, String), u64> {
    let mut told = BTreeMap::new();
    for line in finished.drops().chain(finished.of_type("finding")) {
        let word = |key: &str| line["cause"][key].as_str().unwrap_or_default().to_owned();
        *told.entry((word("id"), word("confidence"))).or_default() +=
            line["count"].as_u64().unwrap_or(0);
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::OutOfSight;

    #[test]
    fn what_nobody_could_see_is_known_below_what_was_being_done() {
        let missing = anyhow!("0 packets are explained as expected");
        assert!(!missing.is::<OutOfSight>());
        assert!(
            missing
                .context(OutOfSight)
                .context("faulty")
                .is::<OutOfSight>()
        );
    }
}
