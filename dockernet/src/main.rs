//! `dockernet-trace`: arguments in, exit status out. What happens between is in [`dockernet::plan`] and
//! [`dockernet::pipeline`].

use std::{
    ffi::OsStr,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dockernet::{
    bpf::{
        hops::PreparedHops,
        late::Awaited,
        load::{self, Kernel},
        nat::{Hook, NatTracer},
        tracer::Tracer,
    },
    cause::catalogue,
    check,
    cli::{
        self, Exit, args,
        flight::Flight,
        man,
        options::{self, Explainable, Job, MonitorArgs, Options, Output, explainable},
    },
    detach, doctor, explain,
    host::{
        helper,
        netns::NetnsHandle,
        privileges::{self, Process},
    },
    inventory::{EngineStatus, Inventory, InventoryService, Options as InventoryOptions},
    loading::Loaded,
    logging, map, memory,
    model::Ready,
    monitor::{self, Monitor},
    path::{Follower, prober::Prober},
    pipeline::{Paths, Pipeline, Signals, block_signals},
    plan::Plan,
    record::{self, FlightRecorder, PcapngRecorder, Recorder},
    report::{self, Report},
    top::{self, Top},
};

/// Outside the service a cause that was quiet for so long begins anew, as it does there by default.
const CLEAR_AFTER: Duration = Duration::from_secs(60);

/// From the start, how long the engine has for its first answer: a listing, and a question for each container. Others' drops are
/// not kept waiting for one that hangs.
const ENGINE: Duration = Duration::from_millis(300);

const NO_ANSWER_YET: &str =
    "the engine has not answered yet: names come from cgroups and its own files until it does";

fn main() -> ExitCode {
    let started = Instant::now();
    // Not an option: nobody but the service starts it.
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(helper::ARGUMENT)) {
        let filter = std::env::args().nth(2);
        logging::start(filter.as_deref().unwrap_or("off"), true);
        memory::prefer_small();
        return match helper::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => cli::error::report(&error).into(),
        };
    }
    let options = match cli::parse(std::env::args_os(), catalogue::IDS) {
        Ok(options) => options,
        Err(refusal) => return refusal.report().into(),
    };
    // Its lines would be written into the screen.
    let is_in_the_way = options.job == Job::Top && io::stderr().is_terminal();
    let filter = if is_in_the_way {
        "off"
    } else {
        logging::filter(&options)
    };
    logging::start(filter, matches!(options.job, Job::Monitor(_)));
    run(options, started)
        .unwrap_or_else(|error| cli::error::report(&error))
        .into()
}

fn run(options: Options, started: Instant) -> Result<Exit> {
    match &options.job {
        Job::Trace | Job::Path(_) | Job::Top => trace(options, started, None),
        Job::Record(_) => trace(record::everything(options), started, None),
        Job::Replay(replay) => record::run(&options, &replay.files),
        Job::Monitor(args) => {
            let args = args.clone();
            let config = monitor::configure(&args, &options)?;
            if args.check_config {
                return monitor::checked(&config);
            }
            let given = options.clone();
            let service = Service {
                config,
                args,
                given,
            };
            trace(service.config.apply(options), started, Some(service))
        }
        Job::Doctor => doctor::run(&options),
        Job::Map(what) => map::run(&options, what),
        Job::Explain(id) => print(&explained(id.as_deref(), options.output)?),
        Job::Check(what) => check::run(&options, what),
        Job::Detach => detach::run(&options),
        Job::Completions(shell) => {
            args::completions(*shell, &mut io::stdout()).context("writing to standard output")?;
            Ok(Exit::Done)
        }
        Job::Man(what) => man::run(what),
    }
}

/// What `monitor` adds to tracing.
struct Service {
    config: monitor::Config,
    args: MonitorArgs,
    /// The command line alone.
    given: Options,
}

fn trace(options: Options, started: Instant, service: Option<Service>) -> Result<Exit> {
    // Before any thread: all of them inherit it.
    block_signals()?;
    if service.is_some() {
        memory::prefer_small();
    } else {
        memory::one_heap();
    }
    if options.job == Job::Top {
        top::prepare(&options)?;
    }
    let plan = Plan::new(options)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Looks at the machine come one at a time; a thread that has nothing to do stays for 10 s, so that many would gather.
    builder
        .worker_threads(1)
        .max_blocking_threads(2)
        .enable_all();
    let is_service = service.is_some();
    // A probe is sent from a container's namespace, by this process itself.
    let is_path = matches!(plan.options.job, Job::Path(_));
    let is_modest = is_service || is_modest() && !is_path;
    let _helper = if is_modest {
        // A service works with more privileges than it needs rather than not at all.
        let helper = helper::start(logging::filter(&plan.options))
            .inspect_err(|error| log::warn!("privileges that are not needed stay: {error:#}"))
            .ok();
        privileges::plan(match helper {
            Some(_) => Process::Service,
            None => Process::Alone,
        });
        helper
    } else {
        None
    };
    // Its threads load nothing.
    builder.on_thread_start(privileges::give_up);
    let runtime = builder.build().context("starting the runtime")?;
    let flight = match &service {
        Some(service) => service
            .config
            .flight
            .clone()
            .map(|flight| (flight, service.config.diagnosis.clear_after)),
        None => plan
            .options
            .flight
            .over(None)?
            .map(|flight| (flight, CLEAR_AFTER)),
    };
    let around = service
        .map(|service| {
            Monitor::start(
                service.config,
                &service.args,
                &service.given,
                runtime.handle(),
            )
        })
        .transpose()?;
    if is_modest {
        // With `netns` in its file the host is elsewhere, and none of the threads to come may go there by itself. What serves metrics and
        // talks to the engine and to systemd is open already, or on the runtime's own thread: it stays where the service was started.
        plan.host.enter_for_good()?;
    }
    let service = runtime.block_on(InventoryService::start(InventoryOptions {
        host_netns: plan.host.clone(),
        docker_host: plan.options.docker_host.clone(),
    }))?;
    let path = match &plan.options.job {
        Job::Path(path) => Some(path.clone()),
        _ => None,
    };
    let expression = plan.expression.clone();
    let (options, host, loaded, symbols) = plan.into_parts()?;
    let Loaded {
        kernel,
        hops,
        drops: prepared,
        mut nat,
    } = loaded;
    let mut degraded = prepared
        .as_ref()
        .map_or_else(Vec::new, |prepared| prepared.degraded.clone());
    let awaited = prepared
        .as_ref()
        .map_or_else(Awaited::default, |prepared| prepared.awaited.clone());
    if symbols.is_empty() {
        degraded.push(
            "kernel addresses are hidden (kernel.kptr_restrict): no function names, no stacks, and few causes; \
             try: sysctl -w kernel.kptr_restrict=1"
                .into(),
        );
    }
    // Names of networks are checked against the engine's, so that one question waits for its answer.
    let patience = if options.filter.networks.is_empty() {
        ENGINE
            .saturating_sub(started.elapsed())
            .max(Duration::from_millis(50))
    } else {
        Duration::from_secs(2)
    };
    let status = runtime.block_on(service.engine_within(patience));
    degraded.extend(
        match status {
            EngineStatus::Unknown => Some(NO_ANSWER_YET),
            _ => status.problem(),
        }
        .map(str::to_owned),
    );
    let inventory = service.current();
    degraded.extend(inventory.caveats());
    let networks: Vec<&str> = inventory
        .networks()
        .flat_map(|network| [Some(network.name.as_str()), network.bridge.as_deref()])
        .flatten()
        .collect();
    options.filter.check_networks(&networks)?;
    let containers: Vec<(&str, &str)> = inventory
        .containers()
        .map(|container| (container.id.as_str(), container.name.as_str()))
        .collect();
    let (mut report, commands) = match around {
        Some(around) => {
            let (report, commands) = around.into_parts();
            (kept(report, flight)?, Some(commands))
        }
        None => match &options.job {
            Job::Record(to) => (recorder(to, &options, &kernel)?, None),
            Job::Top => (kept(Box::new(Top::new(&options)), flight)?, None),
            _ => (kept(report::open(&options)?, flight)?, None),
        },
    };
    let paths = match (path, hops) {
        (Some(path), Some(hops)) => Some(follow(&path, hops, &options, &host, &inventory)?),
        _ => None,
    };
    let drops = prepared
        .map(|prepared| -> Result<Tracer> {
            let mut tracer = prepared.attach()?;
            tracer.set_hook_functions(|name| symbols.address(name))?;
            tracer.set_hook_loop(symbols.range("nf_hook_slow"))?;
            Ok(tracer)
        })
        .transpose()?;
    if let Some(nat) = &mut nat {
        for sentence in nat.attach(hook()?)? {
            report.warning(&sentence);
        }
    }
    let programs = [
        drops.as_ref().map(|tracer| tracer.tier().name()),
        nat.as_ref().map(NatTracer::tier),
        paths.as_ref().map(|paths| paths.tracer.tier()),
    ];
    let ready = Ready {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: load::release(),
        docker: status.version().map(str::to_owned),
        docker_host: Some(service.docker_host().url.clone()),
        containers: containers.len(),
        programs: programs.into_iter().flatten().map(str::to_owned).collect(),
        degraded,
    };
    if report.ready(&ready, started.elapsed())? == report::Stream::Closed {
        return Ok(Exit::Done);
    }
    for warning in options
        .filter
        .missing_containers(&containers)
        .into_iter()
        .chain(
            paths
                .iter()
                .flat_map(|paths| paths.follower.problems(&inventory)),
        )
    {
        report.warning(&warning);
    }
    // `..` would keep the type information, several megabytes, until the end.
    let Kernel { reasons, btf } = kernel;
    drop(btf);
    memory::free_unused();
    if is_service {
        memory::unmap_code();
    }
    privileges::give_up();
    let exit = Pipeline {
        drops,
        nat,
        paths,
        options,
        expression,
        host,
        reasons,
        symbols,
        inventory: service.receiver(),
        rescan: service.rescan_handle(),
        report,
        signals: Signals::new()?,
        commands,
        awaited,
        // systemd is there, and the unit has Restart=on-failure.
        is_restarted: is_service && std::env::var_os("NOTIFY_SOCKET").is_some(),
    }
    .run();
    drop(service);
    // A call to a hung engine may still be waiting for its limit.
    runtime.shutdown_background();
    exit
}

/// The report, and around it the flight recorder if there is to be one, with when a cause begins anew.
fn kept(
    report: Box<dyn Report + Send>,
    flight: Option<(Flight, Duration)>,
) -> Result<Box<dyn Report + Send>> {
    Ok(match flight {
        Some((flight, clear_after)) => {
            Box::new(FlightRecorder::around(report, flight, clear_after)?)
        }
        None => report,
    })
}

/// What keeps everything in a file.
fn recorder(
    to: &options::RecordArgs,
    options: &Options,
    kernel: &Kernel,
) -> Result<Box<dyn Report + Send>> {
    let notes = report::notes(options);
    if to.pcapng {
        return Ok(Box::new(PcapngRecorder::create(to, notes)?));
    }
    let reasons = kernel.reasons.names().map(str::to_owned).collect();
    Ok(Box::new(Recorder::create(to, options, reasons, notes)?))
}

/// Attaches what follows the flow that was asked for.
fn follow(
    path: &options::Path,
    hops: PreparedHops,
    options: &Options,
    host: &NetnsHandle,
    inventory: &Inventory,
) -> Result<Paths> {
    let mut follower = Follower::new(
        path.from.clone(),
        path.to.clone(),
        options.scope == options::Scope::All,
    );
    let mut tracer = hops.attach()?;
    tracer.follow(follower.look_up(inventory))?;
    Ok(Paths {
        tracer,
        follower,
        prober: path
            .probe
            .map(|kind| Prober::new(path, kind, host.clone()))
            .transpose()?,
    })
}

/// `DOCKERNET_HELPER=1` has tracing views give up its privileges as the service does: for tests of what is left.
fn is_modest() -> bool {
    std::env::var_os("DOCKERNET_HELPER").is_some_and(|value| value == "1")
}

fn explained(id: Option<&str>, output: Output) -> Result<String> {
    let Some(id) = id else {
        return Ok(match output {
            Output::Text => explain::list(),
            Output::Json => explain::list_json()?,
        });
    };
    let reasons = Kernel::look()
        .map(|kernel| kernel.reasons)
        .unwrap_or_default();
    let names: Vec<&str> = reasons.names().collect();
    let causes: Vec<&str> = catalogue::IDS
        .iter()
        .copied()
        .chain(["unexplained"])
        .collect();
    let what: Explainable<'_> = explainable(id, &causes, &names)?;
    Ok(match output {
        Output::Text => explain::text(what),
        Output::Json => explain::json(what)?,
    })
}

fn print(text: &str) -> Result<Exit> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => other
            .map(|()| Exit::Done)
            .context("writing to standard output"),
    }
}

/// `DOCKERNET_TC=tcx|clsact` hangs the NAT program on devices in one way alone: for tests of the fallback.
fn hook() -> Result<Option<Hook>> {
    match std::env::var("DOCKERNET_TC").as_deref() {
        Err(_) => Ok(None),
        Ok("tcx") => Ok(Some(Hook::Tcx)),
        Ok("clsact") => Ok(Some(Hook::Clsact)),
        Ok(other) => {
            Err(cli::Usage(format!("DOCKERNET_TC={other}: expected tcx or clsact")).into())
        }
    }
}
