//! `test --kernels`: the lab's quick set on each of several kernels, and the table of what came out.

use std::{ffi::OsString, io::Write as _, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Scratch, TRACER, boot, environment,
    guest::{self, Job},
    kernel,
    outcome::{Outcome, Reader},
    programs, table, tracer,
};
use crate::{
    process, project,
    setup::{self, engines::Engine},
};

/// Scenarios of the quick set: one of each way in which a kernel can tell a drop.
const QUICK: [&str; 9] = [
    "interface-forwarding-disabled-uplink",
    "ip-forward-disabled",
    "rp-filter-host",
    "forward-drop",
    "docker-user-drop",
    "no-listener-tcp",
    "published-on-loopback",
    // This machine's own kernel may lack their modules.
    "ipvs-no-backend",
    "bridge-filter-drop-ebtables-legacy",
];

/// Names them all on the command line.
const SCENARIOS: &str = "scenarios";

/// Of those, the ones that run on the classic tracepoint too.
const TRACEPOINT: [&str; 1] = ["docker-user-drop"];

/// Of all, the ones that ask for what a cgroup says: they run with its old hierarchy too, where engines still use it.
const CGROUP_V1: [&str; 2] = ["container-paused", "interface-forwarding-disabled-uplink"];

/// The lab's test programs that run in a guest.
const PROGRAMS: [&str; 9] = [
    "clock",
    "faults",
    "filter",
    "healthy",
    "hooks",
    "nat",
    "path",
    "refusals",
    "trace_rules",
];

/// From this kernel on guests have the current engine.
const NEW_ENGINE: [u64; 2] = [6, 12];

/// A whole guest's time: emulated on a busy machine of two cores, the quick set takes half an hour.
const LIMIT: Duration = Duration::from_secs(3600);

/// Of those, the ones of a brief run.
const BRIEF: [&str; 4] = [
    "interface-forwarding-disabled-uplink",
    "docker-user-drop",
    "ipvs-no-backend",
    "bridge-filter-drop-ebtables-legacy",
];

/// Runs the quick set, a `brief` part of it, or with a `filter` the tests and faults that it names, on every kernel of `list`.
pub(crate) fn verb(list: &[String], brief: bool, filter: &[OsString]) -> Result<()> {
    super::ensure_tracer()?;
    let engines = setup::lab(false)?;
    super::qemu::ensure()?;
    let scratch = Scratch::new("tests")?;
    let mut files = programs::build(&PROGRAMS, &scratch.0)?;
    files.push(tracer());
    let mut outcomes = Vec::new();
    for series in list {
        let engines = of_its_time(&engines, series);
        let mut outcome: Option<Outcome> = None;
        for (script, command_line) in guests(series, engines, brief, filter) {
            let job = Job {
                script,
                environment: in_a_guest(environment(engines)),
                files: files.clone(),
                // Scenarios are read where they were when the tests were built.
                folders: ["tests/scenarios", "tests/pairs"]
                    .map(|folder| project::root().join(folder))
                    .to_vec(),
            };
            let said = one(series, engines, &job, command_line)
                .with_context(|| format!("kernel {series}"))
                .unwrap_or_else(|error| {
                    eprintln!("xtask: {error:#}");
                    Outcome::failed(series)
                });
            match &mut outcome {
                Some(all) => all.and(said),
                None => outcome = Some(said),
            }
        }
        let outcome = outcome.unwrap_or_else(|| Outcome::failed(series));
        // A brief run knows less than the table.
        match (brief, filter.is_empty()) {
            (true, _) => {}
            (false, true) => table::update(&outcome)?,
            (false, false) => table::amend(&outcome)?,
        }
        outcomes.push(outcome);
    }
    let mut failed = Vec::new();
    for outcome in &outcomes {
        println!("Linux {}: {}", outcome.name(), outcome.sentence());
        if !outcome.passed() {
            failed.push(outcome.series.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("tests failed on Linux {}", failed.join(", "));
    }
    Ok(())
}

/// Emulated processors are some ten times slower, and others may use the machine: limits that are there to end what hangs
/// are not to be met.
fn in_a_guest(mut environment: Vec<(String, String)>) -> Vec<(String, String)> {
    environment.push(("DOCKERNET_TEST_PATIENCE".to_owned(), "8".to_owned()));
    // The guest's clock is nobody else's.
    environment.push(("DOCKERNET_TEST_CLOCK".to_owned(), "1".to_owned()));
    environment
}

/// One engine for a guest: the distribution's on kernels that are as old, the current one on those after them.
fn of_its_time<'a>(engines: &'a [Engine], series: &str) -> &'a [Engine] {
    let at = if has_old_engine(series) {
        0
    } else {
        engines.len().saturating_sub(1)
    };
    engines.get(at..=at).unwrap_or(engines)
}

fn has_old_engine(series: &str) -> bool {
    kernel::numbers(series) < NEW_ENGINE.to_vec()
}

/// What each guest of a kernel runs, and what is added to its kernel's command line.
fn guests(
    series: &str,
    engines: &[Engine],
    brief: bool,
    filter: &[OsString],
) -> Vec<(String, &'static str)> {
    let old = (
        steps(&[step(table::CGROUP_V1, &faults(&CGROUP_V1, engines))]),
        "dockernet.cgroup=v1",
    );
    if brief {
        return vec![(brief_set(engines), "")];
    }
    if filter.is_empty() {
        let mut all = vec![(quick(engines), "")];
        all.extend(has_old_engine(series).then_some(old));
        return all;
    }
    let mut words: Vec<String> = filter
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_old_wanted = words.iter().any(|word| word == table::CGROUP_V1);
    words.retain(|word| word != table::CGROUP_V1);
    let mut all = Vec::new();
    if !words.is_empty() {
        all.push((named(&words, engines), ""));
    }
    all.extend(is_old_wanted.then_some(old));
    all
}

fn brief_set(engines: &[Engine]) -> String {
    steps(&[
        step("doctor", &format!("{TRACER} doctor")),
        step("features", &features()),
        step("starts", &starts()),
        step("faults", &faults(&BRIEF, engines)),
    ])
}

/// The tests and faults that somebody names; [`SCENARIOS`] are those of the quick set.
fn named(words: &[String], engines: &[Engine]) -> String {
    let (tests, names): (Vec<_>, Vec<_>) = words
        .iter()
        .partition(|word| PROGRAMS.contains(&word.as_str()));
    let mut all: Vec<String> = tests
        .iter()
        .map(|test| step(test, &format!("{}/{test}", programs::FOLDER)))
        .collect();
    let (quick, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|word| *word == SCENARIOS);
    if !quick.is_empty() {
        all.push(step("faults", &faults(&QUICK, engines)));
    }
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| guest::quoted(name)).collect();
        let command = format!("{}/faults {}", programs::FOLDER, names.join(" "));
        all.push(step("some faults", &command));
    }
    steps(&all)
}

fn one(series: &str, engines: &[Engine], job: &Job, command_line: &str) -> Result<Outcome> {
    let kernel = kernel::get(series)?;
    let mut reader = Reader::default();
    let mut stdout = std::io::stdout();
    let sink = |bytes: &[u8]| {
        let _gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
        reader.feed(bytes);
    };
    boot(&kernel, engines, job, command_line, false, LIMIT, sink)?;
    let outcome = reader.finish(&kernel.series, &kernel.release);
    if outcome.steps.is_empty() {
        bail!("the guest ran no step");
    }
    process::note(&format!("Linux {}: {}", outcome.name(), outcome.sentence()));
    Ok(outcome)
}

/// The command whose lines tell what a kernel has.
fn features() -> String {
    format!("{TRACER} doctor --output json && {TRACER} --drops --nat --duration 1s --output json")
}

/// Every program of the kernel half is taken by this kernel's verifier: those of `path`, which `features` does not load, and as large a filter
/// as there can be, all at both attach points. `path` says by its status 4 that nothing came by.
fn starts() -> String {
    // None on 5.10.
    const REASONS: &str = "reasons=''; case $(uname -r) in 5.10.*) ;; *) for reason in NO_SOCKET NETFILTER_DROP UDP_CSUM TCP_CSUM \
        SOCKET_FILTER PKT_TOO_SMALL OTHERHOST IP_CSUM; do reasons=\"$reasons --reason $reason\"; done ;; esac";
    let ports: String = (1..=8).map(|port| format!(" --port {port}")).collect();
    let commands = ["tp_btf", "tracepoint"].map(|tier| {
        let tracer = format!("env DOCKERNET_TIER={tier} {TRACER}");
        format!(
            "{{ {tracer} path --to :10001 --duration 1s; [ $? -eq 4 ]; }} && \
             {tracer} --drops --nat{ports} --filter 'tcp or udp' --duration 1s && \
             {tracer} --drops --port 1 --addr 192.0.2.1 --filter 'tcp or udp' --duration 1s && \
             {tracer} --drops --proto tcp $reasons -i a -i b -i c -i d{ports} --filter 'tcp or udp' --duration 1s && \
             {tracer} --drops --proto tcp $reasons -i a -i b -i c -i d --port 1 --addr 192.0.2.1 --filter 'tcp or udp' --duration 1s"
        )
    });
    // Names of devices that are not there are user space's alone.
    const DEVICES: &str =
        "ip link add name a type veth peer name b && ip link add name c type veth peer name d";
    format!("{REASONS}; {DEVICES} && {}", commands.join(" && "))
}

/// The command that runs these faults.
fn faults(names: &[&str], engines: &[Engine]) -> String {
    let exact: Vec<String> = names
        .iter()
        .flat_map(|name| {
            engines
                .iter()
                .map(move |engine| format!("{name}::{}", engine.name))
        })
        .collect();
    format!("{}/faults --exact {}", programs::FOLDER, exact.join(" "))
}

/// The script of the quick set.
fn quick(engines: &[Engine]) -> String {
    steps(&[
        step("doctor", &format!("{TRACER} doctor")),
        step("features", &features()),
        step("starts", &starts()),
        step("faults", &faults(&QUICK, engines)),
        step(
            "tracepoint",
            &format!(
                "env DOCKERNET_TIER=tracepoint {}",
                faults(&TRACEPOINT, engines)
            ),
        ),
        step("hooks", &format!("{}/hooks", programs::FOLDER)),
        step("nat", &format!("{}/nat", programs::FOLDER)),
        step("refusals", &format!("{}/refusals", programs::FOLDER)),
        step("trace_rules", &format!("{}/trace_rules", programs::FOLDER)),
        step("filter", &format!("{}/filter", programs::FOLDER)),
        step("healthy", &format!("{}/healthy", programs::FOLDER)),
        step("clock", &format!("{}/clock", programs::FOLDER)),
        step("path", &format!("{}/path", programs::FOLDER)),
    ])
}

/// A script that fails when a step does, and goes on.
fn steps(steps: &[String]) -> String {
    format!("failed=0\n{}exit $failed\n", steps.concat())
}

/// One step, between two lines that [`Reader`] knows.
fn step(name: &str, command: &str) -> String {
    format!(
        "echo '{begin} {name}'; start=$(cut -d. -f1 /proc/uptime)\n{command}\nstatus=$?; [ $status = 0 ] || failed=1\n\
         echo '{end} {name}' $status $(($(cut -d. -f1 /proc/uptime) - start))\n",
        begin = super::outcome::BEGIN,
        end = super::outcome::END,
    )
}

#[cfg(test)]
mod checks {
    use super::*;

    /// A name that no scenario has would be left out without a word.
    #[test]
    fn the_quick_set_exists() {
        for name in QUICK
            .iter()
            .chain(&TRACEPOINT)
            .chain(&CGROUP_V1)
            .chain(&BRIEF)
        {
            let file = project::root().join(format!("tests/scenarios/{name}.toml"));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
