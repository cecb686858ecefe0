//! Every fault in `scenarios/`, against every Docker engine that this machine has.
//!
//! Arguments as the standard harness takes them: names to look for, `--exact`, `--list`, `--skip NAME`.
//! `DOCKERNET_TEST_FULL=1` runs every fault on every engine, those of the firewall on iptables-nft and on iptables-legacy; else each
//! runs on one, and `DOCKERNET_TEST_SEED` says which. `DOCKERNET_LAB_ONLY=1` leaves the tool out and judges traffic and the kernel's own evidence.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail};
use dockernet_tests::{
    Cmd, Engine, Lab, can_run, engines, is_full,
    scenario::{self, Confusion, Report, Scenario},
    seed, tool_path,
};

/// One pair of so many runs where not all do.
const PAIRS: usize = 4;

/// Runs of a scenario at most whose drops nobody could see (`scenario::OutOfSight`).
const ATTEMPTS: usize = 3;

struct Options {
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    evidence: bool,
}

fn options() -> Options {
    let mut options = Options {
        names: Vec::new(),
        skip: Vec::new(),
        exact: false,
        list: false,
        evidence: std::env::var_os("DOCKERNET_LAB_ONLY").is_some_and(|v| v == "1"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--exact" => options.exact = true,
            "--list" => options.list = true,
            "--skip" => options.skip.extend(arguments.next()),
            // What cargo and editors add and means nothing here.
            "--test-threads" | "--format" | "--color" | "-Z" => drop(arguments.next()),
            other if other.starts_with('-') => {}
            name => options.names.push(name.to_owned()),
        }
    }
    options
}

impl Options {
    /// Where the confusion matrix of a whole run goes (`DOCKERNET_CONFUSION`).
    fn page(&self) -> Option<PathBuf> {
        let is_whole = self.names.is_empty() && self.skip.is_empty() && !self.evidence;
        std::env::var_os("DOCKERNET_CONFUSION")
            .filter(|_| is_whole)
            .map(PathBuf::from)
    }

    fn selects(&self, name: &str) -> bool {
        let fits = |pattern: &String| {
            if self.exact {
                name == pattern
            } else {
                name.contains(pattern.as_str())
            }
        };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

fn main() -> ExitCode {
    match harness(&options()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::from(101)
        }
    }
}

fn harness(options: &Options) -> Result<bool> {
    let mut scenarios = scenario::all()?;
    scenarios.extend(scenario::pairs()?);
    if options.list {
        for scenario in &scenarios {
            println!("{}: test", scenario.name);
        }
        return Ok(true);
    }
    if !can_run()? {
        return Ok(true);
    }
    if !options.evidence {
        tool_path()?;
    }
    let mut engines = engines()?;
    if Engine::has_legacy() {
        let legacy: Vec<Engine> = engines.iter().map(Engine::on_legacy).collect();
        engines.extend(legacy);
    } else {
        println!(
            "iptables-legacy does not work here (`iptables-legacy -nL`): no engine runs on it"
        );
    }
    let selects = |engine: &Engine, scenario: &Scenario| {
        options.selects(&format!("{}::{}", scenario.name, engine.name))
    };
    let mut plan = plan(&scenarios, &engines, !options.names.is_empty(), &selects)?;
    leave_out_what_cannot_run(&mut plan)?;
    // Labs are expensive: scenarios that can share one run one after the other.
    plan.sort_by_key(|(engine, scenario)| {
        (
            engine.name.clone(),
            format!("{:?}", scenario.daemon),
            scenario.name.clone(),
        )
    });
    println!("\nrunning {} tests", plan.len());
    let mut lab = None;
    let mut failures = Vec::new();
    let mut confusion = Confusion::default();
    for (engine, scenario) in &plan {
        let name = format!("{}::{}", scenario.name, engine.name);
        let started = Instant::now();
        let mut outcome = one(&mut lab, engine, scenario, !options.evidence);
        for _ in 1..ATTEMPTS {
            let Some(error) = out_of_sight(&outcome) else {
                break;
            };
            println!("{name}: once more: {error:#}");
            outcome = one(&mut lab, engine, scenario, !options.evidence);
        }
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(report) => {
                println!("test {name} ... ok ({seconds:.1} s)");
                confusion.add(scenario, &report);
                if options.evidence {
                    println!("     kernel: {:?}", report.kernel);
                }
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n{error:#}");
                confusion.add_failed(&name);
                failures.push(name);
            }
        }
    }
    drop(lab);
    if let Some(page) = options.page() {
        let when = Cmd::new("date").arg("+%Y-%m-%d").run()?;
        std::fs::write(&page, confusion.page(when.trim()))
            .with_context(|| format!("writing {}", page.display()))?;
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored",
        if failures.is_empty() { "ok" } else { "FAILED" },
        plan.len() - failures.len(),
        failures.len()
    );
    for name in &failures {
        println!("    {name}");
    }
    Ok(failures.is_empty())
}

/// Why nothing can be said of a run.
fn out_of_sight(outcome: &Result<Report>) -> Option<&anyhow::Error> {
    let error = outcome.as_ref().err()?;
    error.is::<scenario::OutOfSight>().then_some(error)
}

/// Scenarios whose programs are not installed. Told, and with `CI` set a failure.
fn leave_out_what_cannot_run(plan: &mut Vec<(&Engine, &Scenario)>) -> Result<()> {
    let in_ci = std::env::var_os("CI").is_some();
    // Not this kernel's: `cargo xtask test --kernels` has it among its faults.
    plan.retain(|(_, scenario)| {
        let module = scenario.foreign_module();
        if let Some(module) = module {
            println!(
                "{}: left to the matrix of kernels, as this one has no module {module}",
                scenario.name
            );
        }
        module.is_none()
    });
    for (_, scenario) in plan.iter() {
        if let Some(program) = scenario.missing() {
            if in_ci {
                bail!("{} needs {program}, which is not installed", scenario.name);
            }
            println!(
                "{}: NOT RUN: {program} is not installed (with CI set this is a failure)",
                scenario.name
            );
        }
    }
    plan.retain(|(_, scenario)| scenario.missing().is_none());
    Ok(())
}

/// Which scenario runs on which engine, of those that are asked for.
fn plan<'a>(
    scenarios: &'a [Scenario],
    engines: &'a [Engine],
    is_named: bool,
    selects: &dyn Fn(&Engine, &Scenario) -> bool,
) -> Result<Vec<(&'a Engine, &'a Scenario)>> {
    let seed = seed()?;
    let mut plan = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let is_all = is_named || is_full();
        if !scenario.beside.is_empty() && !is_all && index % PAIRS != seed % PAIRS {
            continue;
        }
        if !engines.iter().any(|engine| scenario.runs_on(engine)) {
            // Not silent, and not a failure: a second engine is a matter of the machine.
            println!("{}: no engine here has this fault", scenario.name);
        }
        let able: Vec<&Engine> = engines
            .iter()
            .filter(|engine| scenario.runs_on(engine) && selects(engine, scenario))
            .collect();
        if is_full() {
            plan.extend(able.into_iter().map(|engine| (engine, scenario)));
        } else if let Some(place) = (index + seed).checked_rem(able.len()) {
            plan.push((able[place], scenario));
        }
    }
    Ok(plan)
}

fn one(
    shared: &mut Option<Lab>,
    engine: &Engine,
    scenario: &Scenario,
    with_tool: bool,
) -> Result<Report> {
    let mut lab = scenario::lab_for(shared, engine, scenario)?;
    let result = catch_unwind(AssertUnwindSafe(|| {
        scenario::run(&mut lab, scenario, with_tool)
    }))
    .unwrap_or_else(|_| Err(anyhow!("panicked")));
    let result = result
        .map_err(|error| error.context(format!("{} ({})", scenario.description, engine.version)));
    match lab.reset() {
        Ok(()) => *shared = Some(lab),
        Err(error) => println!("     a new lab is needed: {error:#}"),
    }
    result
}
