//! The parts of a scenario: topology up, steps taken, traffic sent.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::model::{Only, Scenario, Step, TrafficStep};
use crate::{
    container::Run,
    exec::patient,
    lab::Lab,
    netns::{Netns, Place},
    server::Server,
    traffic::{Outcome, Probe, Proto},
};

/// Brings up what this phase needs and the one before did not have; removes what it shall not have.
pub(super) fn topology(lab: &Lab, scenario: &Scenario, phase: Only) -> Result<()> {
    let here = |only: Option<Only>| only.is_none_or(|only| only == phase);
    let first = phase == Only::Healthy;
    if !first {
        for container in scenario.container.iter().filter(|c| !here(c.only)) {
            lab.docker(["rm", "-f", &container.name])?;
        }
        for network in scenario.network.iter().filter(|n| !here(n.only)) {
            lab.docker(["network", "rm", &network.name])?;
        }
    }
    let wanted = |only: Option<Only>| here(only) && (first || only.is_some());
    for network in scenario.network.iter().filter(|n| wanted(n.only)) {
        let mut args = vec!["network", "create"];
        args.extend(network.options.iter().map(String::as_str));
        args.push(&network.name);
        lab.docker(args)?;
    }
    for spec in scenario.container.iter().filter(|c| wanted(c.only)) {
        lab.run(&Run {
            name: spec.name.clone(),
            command: spec.command.clone(),
            publish: spec.publish.clone(),
            networks: spec.networks.clone(),
            options: spec.options.clone(),
            wait_port: spec.wait_port.clone(),
        })?;
    }
    Ok(())
}

/// Starts the scenario's own servers: those of both phases, or those of one.
pub(super) fn servers(lab: &Lab, scenario: &Scenario, only: Option<Only>) -> Result<Vec<Server>> {
    let specs = scenario.server.iter().filter(|spec| spec.only == only);
    specs
        .map(|spec| lab.serve(&spec.place.parse()?, spec.kind, &lab.expand(&spec.address)?))
        .collect()
}

/// Takes steps in order.
pub(super) fn steps(lab: &mut Lab, steps: &[Step]) -> Result<()> {
    for step in steps {
        take(lab, step).with_context(|| format!("in step {step:?}"))?;
    }
    Ok(())
}

/// Waits until no packet of before is queued for a neighbour that does not answer: the kernel drops it 3 s after it was
/// sent, into a phase that it is not of. Where something keeps sending to nobody, what the tool says of it is judged.
pub(super) fn settled(lab: &Lab, scenario: &Scenario) -> Result<()> {
    let containers = scenario.container.iter().filter_map(|container| {
        // Some are gone by what breaks or mends, or have no namespace of their own.
        lab.netns(&Place::Container(container.name.clone())).ok()
    });
    let all: Vec<Netns> = [lab.host().clone(), lab.outside().clone()]
        .into_iter()
        .chain(containers)
        .collect();
    let end = Instant::now() + patient(NEIGHBOUR_LIMIT);
    while Instant::now() < end && is_any_resolving(&all)? {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Longer than three solicitations, a second apart, of a neighbour that was asked for just now.
const NEIGHBOUR_LIMIT: Duration = Duration::from_secs(4);

fn is_any_resolving(all: &[Netns]) -> Result<bool> {
    for netns in all {
        let show = ["neigh", "show", "nud", "incomplete"];
        let listed = netns.command("ip").args(show).run()?;
        if !listed.trim().is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn take(lab: &mut Lab, step: &Step) -> Result<()> {
    let place: Place = match &step.place {
        Some(place) => place.parse()?,
        None => Place::Host,
    };
    for (key, value) in &step.sysctl {
        let key = lab.expand(key)?;
        lab.sysctl(&place, &key, value)?;
    }
    if let Some(script) = &step.shell {
        let script = lab.expand(script)?;
        let output = lab.shell(&place, &format!("set -e\n{script}"))?;
        ensure!(
            output.success(),
            "`{script}` failed: {}{}",
            output.stderr,
            output.stdout
        );
    }
    if !step.docker.is_empty() {
        lab.docker(&step.docker)?;
    }
    if let Some(pause) = step.sleep_ms {
        thread::sleep(Duration::from_millis(pause));
    }
    Ok(())
}

/// Sends a phase's traffic and compares each outcome with the wanted one.
pub(super) fn traffic(lab: &Lab, scenario: &Scenario, phase: Only) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let steps = scenario.traffic.iter();
    for step in steps.filter(|step| step.only.is_none_or(|only| only == phase)) {
        let outcome = send(lab, step).with_context(|| format!("sending {step:?}"))?;
        let wanted = match phase {
            Only::Healthy => &step.healthy,
            Only::Faulty => &step.faulty,
        };
        if !outcome.fits(wanted) {
            bail!(
                "{phase:?} traffic {} → {}:{} ({:?}) should be `{wanted}`, was `{outcome}`",
                step.from,
                step.to,
                step.port,
                step.proto
            );
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The first traffic that the fault makes fail.
pub(super) fn failing(scenario: &Scenario) -> Option<&TrafficStep> {
    scenario
        .traffic
        .iter()
        .find(|step| step.only != Some(Only::Healthy) && step.faulty != "ok")
}

/// Where that goes, as `path --to` takes it.
pub(super) fn target(lab: &Lab, step: &TrafficStep) -> Result<String> {
    let address: IpAddr = lab.expand(&step.to)?.parse()?;
    Ok(match step.proto {
        Proto::Ping => address.to_string(),
        _ => SocketAddr::new(address, step.port).to_string(),
    })
}

fn send(lab: &Lab, step: &TrafficStep) -> Result<Outcome> {
    let address = |text: &str| -> Result<IpAddr> {
        let text = lab.expand(text)?;
        text.parse()
            .with_context(|| format!("{text} is no address"))
    };
    let mut probe = Probe::new(step.proto, SocketAddr::new(address(&step.to)?, step.port));
    if let Some(source) = &step.source {
        probe.source = Some(address(source)?);
    }
    probe.count = step.count.unwrap_or(probe.count);
    probe.size = step.size.unwrap_or(probe.size);
    probe.ttl = step.ttl;
    if let Some(limit) = step.timeout_ms {
        probe.timeout = Duration::from_millis(limit);
    }
    probe.send(&lab.netns(&step.from.parse()?)?)
}
