//! Mending a fault with what the tool itself printed.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::model::{Expect, Scenario};
use crate::{lab::Lab, netns::Place, tracer::Finished};

/// The engine is started anew: the lab has no systemd.
const RESTART: &str = "systemctl restart docker";

/// First words of commands that are for what a lab has not.
const ELSEWHERE: [&str; 3] = ["systemctl", "ufw", "firewall-cmd"];

/// The first command of each expected cause; none if one of them prints no command, or one that a lab cannot run, or
/// the scenario says why it is not enough.
pub(super) fn printed(scenario: &Scenario, finished: &Finished) -> Option<Vec<String>> {
    if scenario.unmended.is_some() {
        return None;
    }
    let expects = std::iter::once(&scenario.expect).chain(&scenario.beside);
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for expect in expects {
        let command = command(expect, finished).filter(|command| can_run(scenario, command))?;
        if seen.insert(command) {
            all.push(command.to_owned());
        }
    }
    Some(all)
}

fn command<'a>(expect: &Expect, finished: &'a Finished) -> Option<&'a str> {
    let mut lines = finished.drops().chain(finished.of_type("finding"));
    let line = lines.find(|line| {
        let id = &line["cause"]["id"];
        expect.cause.iter().any(|cause| id == cause.as_str())
    })?;
    let fixes = line["cause"]["fix"].as_array()?;
    fixes.iter().find_map(|fix: &Value| fix["run"].as_str())
}

fn can_run(scenario: &Scenario, command: &str) -> bool {
    if command == RESTART {
        // A server of the test's own would stay in the namespace that its container had before.
        let mut servers = scenario.server.iter();
        return !servers.any(|server| server.place.starts_with("container:"));
    }
    !ELSEWHERE.contains(&command.split(' ').next().unwrap_or_default())
}

/// Runs what was printed, as a user would: on the host, as root; and waits as long as the scenario does after healing.
///
/// # Errors
/// A command fails.
pub(super) fn run(lab: &mut Lab, scenario: &Scenario, commands: &[String]) -> Result<()> {
    for command in commands {
        if command == RESTART {
            restart(lab)?;
            continue;
        }
        let output = lab.shell(&Place::Host, command)?;
        ensure!(
            output.success(),
            "`{command}`, which was printed, fails: {}{}",
            output.stderr,
            output.stdout
        );
    }
    // The kernel looks after carriers once a second; addresses are announced, bridges learn.
    let links = commands.iter().any(|command| command.contains("ip link "));
    let settle = if links { 1500 } else { 300 };
    let waited = scenario.heal.iter().filter_map(|step| step.sleep_ms).sum();
    std::thread::sleep(Duration::from_millis(settle.max(waited)));
    Ok(())
}

/// With what ran before: `systemctl` restarts containers that have a restart policy, and those of the lab have none.
fn restart(lab: &mut Lab) -> Result<()> {
    let running = lab.docker(["ps", "-q"])?;
    lab.stop_dockerd();
    lab.start_dockerd().context(RESTART)?;
    for id in running.split_whitespace() {
        lab.docker(["start", id])?;
    }
    Ok(())
}
