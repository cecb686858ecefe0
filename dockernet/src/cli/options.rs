//! The command line, validated.

use std::{
    env,
    ffi::OsString,
    num::NonZeroU64,
    os::unix::fs::FileTypeExt as _,
    path::{self, PathBuf},
    time::Duration,
};

use clap_complete::Shell;

pub use super::args::{
    CheckArgs, ColorWhen, JournalWhen, Listen, ManArgs, MonitorArgs, Output, ProbeKind, RecordArgs,
    Scope,
};
use super::{
    Filter, Ignore, Refusal, Target, Usage,
    args::{self, Cli, Flags, Format, JobArgs},
    flight::FlightArgs,
    ignore::reason_name,
    suggest,
};

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// Trace drops until told to stop.
    #[default]
    Trace,
    /// Say whether tracing would work here.
    Doctor,
    /// Show who is plugged in where: containers, interfaces, networks or addresses of these names; all, if none.
    Map(Vec<String>),
    /// Follow a flow.
    Path(Path),
    /// Explain a cause or a kernel reason (see [`explainable`]); none: list all causes.
    Explain(Option<String>),
    /// Say what is broken or will be; or walk one connection.
    Check(CheckArgs),
    /// Run as a service.
    Monitor(MonitorArgs),
    /// Keep everything in a file.
    Record(RecordArgs),
    /// Show recordings.
    Replay(Replay),
    /// Show drops on a screen.
    Top,
    /// Remove what an earlier run left on devices.
    Detach,
    /// Print a completion script ([`args::completions`]).
    Completions(Shell),
    /// Print a manual page ([`super::man`]).
    Man(ManArgs),
}

/// Which recordings to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Oldest first; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// No view was asked for: what was recorded is shown.
    pub every_view: bool,
}

/// Which flow to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who opens it.
    pub from: Option<Target>,
    /// Where it goes.
    pub to: Option<Target>,
    /// What is sent, if anything.
    pub probe: Option<ProbeKind>,
    /// How often.
    pub every: Option<Duration>,
}

/// Everything the user asked for, checked as far as the command line alone allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub job: Job,
    /// Whether dropped packets are shown.
    pub drops: bool,
    /// Whether NAT transitions are shown.
    pub nat: bool,
    /// Which drops.
    pub filter: Filter,
    /// Which packets, in tcpdump's syntax; not compiled yet.
    pub expression: Option<String>,
    /// Deliberate denials.
    pub ignore: Vec<Ignore>,
    /// Benign noise too.
    pub all: bool,
    /// Whose drops.
    pub scope: Scope,
    /// Where the engine is: `-H`, else a `DOCKER_HOST` that is not empty; none: the default.
    pub docker_host: Option<String>,
    /// Namespace taken as the host; none: the one it runs in. It exists and is a namespace file.
    pub netns: Option<PathBuf>,
    /// Whether nftables may be made to trace flows whose rule is not certain.
    pub trace_rules: bool,
    /// When to stop.
    pub duration: Option<Duration>,
    /// After how many lines to stop.
    pub count: Option<NonZeroU64>,
    /// Whether drops mean exit status 3.
    pub expect_no_drops: bool,
    /// What is kept of dropped packets; the service's file may say more.
    pub flight: FlightArgs,
    /// How results are written.
    pub output: Output,
    /// Dropped packets are written as pcapng instead; `output` is then what people are told beside.
    pub pcapng: bool,
    /// One line for each drop.
    pub oneline: bool,
    /// When to colour.
    pub color: ColorWhen,
    /// 0, 1: more about each drop, 2: what the tool itself does.
    pub verbose: u8,
}

/// Reads and checks a command line, its first element being the program's name. `causes`: the catalogue's ids
/// (`unexplained` is accepted beside them).
///
/// # Errors
/// Help, version or a mistake; [`Refusal::report`] prints it.
pub fn parse<I>(arguments: I, causes: &[&str]) -> Result<Options, Refusal>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = args::read(arguments)?;
    Ok(Options::new(cli, causes, env::var("DOCKER_HOST").ok())?)
}

impl Options {
    /// Checks what clap read. `docker_host` is the environment's.
    ///
    /// # Errors
    /// An unknown cause, or a `--netns` that is no namespace.
    pub fn new(cli: Cli, causes: &[&str], docker_host: Option<String>) -> Result<Self, Usage> {
        let Cli { flags, job } = cli;
        let Flags {
            // The only view so far, and the default.
            drops,
            nat,
            container,
            network,
            project,
            interface,
            addr,
            port,
            proto,
            reason,
            cause,
            filter: expression,
            ignore,
            all,
            scope,
            docker_host: given_host,
            netns,
            trace_rules,
            duration,
            count,
            expect_no_drops,
            flight,
            output,
            oneline,
            color,
            verbose,
        } = flags;
        let known: Vec<&str> = causes.iter().copied().chain(["unexplained"]).collect();
        for id in &cause {
            suggest::one_of("cause", id, &known)?;
        }
        for expression in &ignore {
            expression.check_causes(&known)?;
        }
        if let Some(path) = &netns {
            check_netns(path)?;
        }
        let follows = matches!(job, Some(JobArgs::Path { .. }));
        let replays = matches!(job, Some(JobArgs::Replay { .. }));
        let every_view = replays && !drops && !nat;
        let pcapng = output == Format::Pcapng;
        let records = match &job {
            Some(JobArgs::Record(args)) => Some(args),
            _ => None,
        };
        check_packets(&job, pcapng, nat)?;
        if records.is_some() && expect_no_drops {
            return Err(Usage(
                "--expect-no-drops is for replay to say: a recording holds what no option excuses"
                    .to_owned(),
            ));
        }
        if records.is_some_and(|args| {
            args.keep.is_some() && args.rotate_size.is_none() && args.rotate_every.is_none()
        }) {
            return Err(Usage(
                "--keep says how many rotated files stay; add --rotate-size or --rotate-every"
                    .to_owned(),
            ));
        }
        if replays && trace_rules {
            return Err(Usage(
                "--trace-rules asks the running kernel; it is for record".to_owned(),
            ));
        }
        let nat = nat || every_view && !pcapng;
        let monitors = matches!(job, Some(JobArgs::Monitor(_)));
        let is_screen = matches!(job, Some(JobArgs::Top));
        if expression.is_some()
            && job.is_some()
            && !(monitors || is_screen || replays || records.is_some())
        {
            return Err(Usage(
                if follows {
                    "path follows one flow, which --from and --to name; --filter is for --drops, --nat, top, record, replay and monitor"
                } else {
                    "--filter looks at packets: it is for --drops, --nat, top, record, replay and monitor"
                }
                .to_owned(),
            ));
        }
        // The default view; asking whether anything was dropped needs it too.
        let drops =
            drops || !nat && !follows || expect_no_drops || monitors || every_view || is_screen;
        check_flight(&job, &flight, drops)?;
        if trace_rules && !drops && !follows {
            return Err(Usage(
                "--trace-rules names the rules behind drops; add --drops".to_owned(),
            ));
        }
        Ok(Self {
            job: match job {
                None => Job::Trace,
                Some(JobArgs::Doctor) => Job::Doctor,
                Some(JobArgs::Map { what }) => Job::Map(what),
                Some(JobArgs::Path {
                    from,
                    to,
                    probe,
                    every,
                }) => Job::Path(Path {
                    from,
                    to,
                    probe,
                    every,
                }),
                Some(JobArgs::Explain { id, list: _ }) => Job::Explain(id),
                Some(JobArgs::Check(what)) => Job::Check(what),
                Some(JobArgs::Monitor(what)) => Job::Monitor(what),
                Some(JobArgs::Record(what)) => Job::Record(what),
                Some(JobArgs::Replay { files }) => Job::Replay(Replay { files, every_view }),
                Some(JobArgs::Top) => Job::Top,
                Some(JobArgs::Detach) => Job::Detach,
                Some(JobArgs::Completions { shell }) => Job::Completions(shell),
                Some(JobArgs::Man(what)) => Job::Man(what),
            },
            filter: Filter {
                containers: container,
                networks: network,
                projects: project,
                interfaces: interface,
                addresses: addr,
                ports: port,
                protocols: proto,
                reasons: reason.iter().map(|name| reason_name(name)).collect(),
                causes: cause,
            },
            expression,
            ignore,
            all,
            // A flow may end at the host itself.
            scope: if follows && scope == Scope::Containers {
                Scope::Host
            } else {
                scope
            },
            docker_host: given_host.or_else(|| docker_host.filter(|url| !url.trim().is_empty())),
            netns,
            trace_rules,
            duration,
            count,
            expect_no_drops,
            flight,
            output: match output {
                Format::Json => Output::Json,
                Format::Text | Format::Pcapng => Output::Text,
            },
            pcapng,
            oneline,
            color,
            verbose,
            drops,
            nat,
        })
    }

    /// Checks `--reason` and `--ignore reason=` against the reasons of the running kernel (without their prefix).
    ///
    /// # Errors
    /// Names the reason that the kernel does not have, and the nearest.
    pub fn check_reasons<S: AsRef<str>>(&self, known: &[S]) -> Result<(), Usage> {
        self.filter.check_reasons(known)?;
        self.ignore
            .iter()
            .try_for_each(|expression| expression.check_reasons(known))
    }
}

/// What `explain` was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explainable<'a> {
    /// A cause of the catalogue.
    Cause(&'a str),
    /// A kernel reason.
    Reason(&'a str),
}

/// Finds what an id of `explain` names: a cause, else a reason of the running kernel.
///
/// # Errors
/// It is neither; the nearest is named.
pub fn explainable<'a, C: AsRef<str>, R: AsRef<str>>(
    id: &str,
    causes: &'a [C],
    reasons: &'a [R],
) -> Result<Explainable<'a>, Usage> {
    let mut causes_known = causes.iter().map(AsRef::as_ref);
    let mut reasons_known = reasons.iter().map(AsRef::as_ref);
    let reason = reason_name(id);
    if let Some(cause) = causes_known.find(|cause| cause.eq_ignore_ascii_case(id.trim())) {
        return Ok(Explainable::Cause(cause));
    }
    if let Some(found) = reasons_known.find(|known| *known == reason) {
        return Ok(Explainable::Reason(found));
    }
    let names = causes
        .iter()
        .map(AsRef::as_ref)
        .chain(reasons.iter().map(AsRef::as_ref));
    Err(Usage(format!(
        "neither a cause nor a drop reason of this kernel is called '{id}'{}",
        suggest::hint(id, names)
    )))
}

/// Whether there are drops that are told as they come.
fn check_flight(job: &Option<JobArgs>, flight: &FlightArgs, drops: bool) -> Result<(), Usage> {
    match job {
        None if !drops && *flight != FlightArgs::default() => Err(Usage(
            "the flight recorder keeps dropped packets; add --drops".to_owned(),
        )),
        // Its file may name the directory.
        Some(JobArgs::Monitor(_)) => Ok(()),
        None | Some(JobArgs::Top) => flight.over(None).map(|_| ()),
        Some(_) if *flight == FlightArgs::default() => Ok(()),
        Some(JobArgs::Record(_)) => Err(Usage(
            "record keeps every packet; the flight recorder is for --drops, top and monitor".to_owned(),
        )),
        Some(_) => Err(Usage(
            "the flight recorder keeps packets around what begins to drop them: it is for --drops, top and monitor"
                .to_owned(),
        )),
    }
}

/// Packets are what drops have: other jobs and views write text or JSON.
fn check_packets(job: &Option<JobArgs>, pcapng: bool, nat: bool) -> Result<(), Usage> {
    let is_for_wireshark = match job {
        None | Some(JobArgs::Replay { .. }) => pcapng,
        Some(JobArgs::Record(args)) if pcapng && !args.pcapng => {
            return Err(Usage(
                "--output pcapng is written to standard output; for a file: record FILE --pcapng"
                    .to_owned(),
            ));
        }
        Some(JobArgs::Record(args)) => args.pcapng,
        Some(_) if pcapng => {
            return Err(Usage(
                "--output pcapng is for dropped packets (--drops, replay); this job writes text or json"
                    .to_owned(),
            ));
        }
        Some(_) => false,
    };
    if is_for_wireshark && nat {
        return Err(Usage(
            "NAT transitions have no packets for pcapng; the comments of dropped packets tell their NAT: leave --nat out"
                .to_owned(),
        ));
    }
    Ok(())
}

fn check_netns(path: &path::Path) -> Result<(), Usage> {
    let shown = path.display();
    let bad = |what: String| Usage(format!("--netns {shown}: {what}"));
    match nix::sys::statfs::statfs(path) {
        Ok(found) if found.filesystem_type() == nix::sys::statfs::NSFS_MAGIC => Ok(()),
        Ok(_) => {
            let kind = path.metadata().map_or("no", |file| match file.file_type() {
                kind if kind.is_dir() => "a directory, no",
                kind if kind.is_socket() => "a socket, no",
                _ => "no",
            });
            Err(bad(format!(
                "this is {kind} network namespace; expected a file such as /run/netns/NAME or /proc/PID/ns/net"
            )))
        }
        Err(error) => {
            let named = path::Path::new("/run/netns").join(path);
            if !path.is_absolute() && path.components().count() == 1 && named.exists() {
                return Err(bad(format!(
                    "no such file; did you mean {}?",
                    named.display()
                )));
            }
            Err(bad(format!("{}", std::io::Error::from(error))))
        }
    }
}
