//! The command line as clap reads it. [`super::options`] turns it into what the rest works with.

use std::{
    ffi::OsString, io, net::SocketAddr, num::NonZeroU64, path::PathBuf, str::FromStr,
    time::Duration,
};

use clap::{ArgAction, Args, CommandFactory, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;

use super::{Ignore, Pattern, Protocol, Target, duration, flight::FlightArgs, shown};

const EXAMPLES: &str = "\
Examples:
  sudo dockernet-trace                                  every drop that concerns a container
  sudo dockernet-trace --container 'web*' --port 443    one service
  sudo dockernet-trace --filter 'tcp and dst port 443'  tcpdump's syntax
  sudo dockernet-trace --ignore cause=docker-user-drop,source=external
  sudo dockernet-trace --duration 30s --expect-no-drops --output json > drops.jsonl
  sudo dockernet-trace path --to web:80                 one flow, device by device
  sudo dockernet-trace map web                          its interfaces, veths, bridges, addresses, ports
  sudo dockernet-trace check                            what is broken or will be, without traffic
  sudo dockernet-trace check --from outside --to :8080  one connection, step by step
  sudo dockernet-trace record host.rec                  into a file; replay host.rec shows it
  sudo dockernet-trace top                              the same on a screen, by container or cause
  sudo dockernet-trace monitor                          as a service: metrics and a journal of diagnoses
  dockernet-trace explain interface-forwarding-disabled

Values of one filter are alternatives; different filters must all match.

Exit status:
  0  done
  1  a failure; one sentence on stderr says what to do
  2  bad usage
  3  --expect-no-drops, and there were some; path unanswered; check, and something is broken
  4  path saw no packet";

const PATH_HELP: &str = "\
Examples:
  sudo dockernet-trace path --to web:80
  sudo dockernet-trace path --to :10001                      a published port
  sudo dockernet-trace path --from web --to 203.0.113.7:443
  sudo dockernet-trace path --from web --to db:5432 --probe  no traffic or tool needed
  sudo dockernet-trace path --from web --to db:5432 --probe --every 10s

Exit status:
  0  answered
  1  a failure; one sentence on stderr says what to do
  2  bad usage
  3  unanswered, or refused
  4  no packet was seen";

const TOP_HELP: &str = "\
Keys: arrows select, Enter shows why, 1-4 or Tab group, / filters, s sorts, space pauses, ? helps, q quits.
All filters of tracing hold: --container, --network, --cause, --port ...";

const CHECK_HELP: &str = "\
Examples:
  sudo dockernet-trace check
  sudo dockernet-trace check --container web                 where its names come from, too
  sudo dockernet-trace check --from outside --to :8080       one connection, step by step
  sudo dockernet-trace check --from web --to db:5432/tcp

Exit status:
  0  nothing is broken; with --from and --to: nothing is known that stops it (it arrives, or a step cannot be told)
  1  a failure; one sentence on stderr says what to do
  2  bad usage
  3  something is broken; with --from and --to: it does not arrive, or its answer does not";

const DOCTOR_HELP: &str = "\
Exit status:
  0  drops can be traced here
  1  they cannot; what must be mended first is marked BROKEN
  2  bad usage";

const MONITOR_HELP: &str = "\
Examples:
  sudo dockernet-trace monitor
  sudo dockernet-trace monitor --config /etc/dockernet-trace.toml --check-config
  sudo dockernet-trace monitor --listen off --textfile /var/lib/prometheus/node-exporter/dockernet.prom

SIGHUP reads the configuration again; no count is lost. SIGINT and SIGTERM end it.";

const RECORD_HELP: &str = "\
Examples:
  sudo dockernet-trace record host.rec
  sudo dockernet-trace record host.rec --drops --nat --container web --duration 10m
  sudo dockernet-trace record host.rec --rotate-size 100M --keep 20
  sudo dockernet-trace record drops.pcapng --pcapng

Drops of every namespace are kept, noise and deliberate ones too: what is shown of them is for replay to say
(--scope, --all, --ignore). Filters given here narrow what is kept.";

const REPLAY_HELP: &str = "\
Examples:
  dockernet-trace replay host.rec
  dockernet-trace replay host.rec --container web --output json
  dockernet-trace replay host.rec.2 host.rec.1 host.rec      files that were rotated, oldest first
  dockernet-trace replay host.rec --output pcapng | wireshark -k -i -

Exit status:
  0  done
  1  a failure, or something of the recording is missing; stderr says what
  2  bad usage
  3  --expect-no-drops, and there were some";

/// Shows which packet died on this Docker host, whose it was, why, and which command mends it.
#[derive(Debug, Parser)]
#[command(
    name = "dockernet-trace",
    bin_name = "dockernet-trace",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    subcommand_help_heading = "Jobs",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options that work on either side of a subcommand.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do instead of tracing.
    #[command(subcommand)]
    pub job: Option<JobArgs>,
}

/// Jobs other than tracing.
#[derive(Debug, Subcommand)]
pub enum JobArgs {
    /// Say whether this tool can run here and how to mend what is missing; attaches nothing
    #[command(after_help = DOCTOR_HELP)]
    Doctor,
    /// Show who is plugged in where: containers, interfaces, bridges, networks, addresses, ports; attaches nothing
    Map {
        /// Container, interface, network, address or MAC; globs too [default: everything]
        what: Vec<String>,
    },
    /// Follow the packets of one flow, device by device, and say where they stop
    #[command(after_help = PATH_HELP)]
    Path {
        /// Who opens the flow: container, address, or host [default: anyone]
        #[arg(long, value_name = "END", required_unless_present = "to")]
        from: Option<Target>,
        /// Where it goes: NAME, NAME:PORT, ADDRESS, ADDRESS:PORT, or :PORT for a published port [default: anywhere]
        #[arg(long, value_name = "END", required_unless_present = "from")]
        to: Option<Target>,
        /// Send a real probe (tcp, udp, icmp or dns) from the container named by --from, else from the host [default: by port]
        #[arg(
            long,
            value_name = "KIND",
            value_enum,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "auto",
            hide_possible_values = true,
            requires = "to"
        )]
        probe: Option<ProbeKind>,
        /// Probe again and again, and tell only what changes: 10s, 1m
        #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "probe")]
        every: Option<Duration>,
    },
    /// Say what on this host is broken or will be, without traffic; attaches nothing
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Run as a service for months: counts for Prometheus, diagnoses for the journal
    #[command(after_help = MONITOR_HELP)]
    Monitor(MonitorArgs),
    /// Keep what is seen in a file, to be shown later or elsewhere
    #[command(after_help = RECORD_HELP)]
    Record(RecordArgs),
    /// Show a recording, with any view, filter and output; needs no privileges
    #[command(after_help = REPLAY_HELP)]
    Replay {
        /// Recordings, oldest first; - is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Watch what is dropped now on a screen, by container, cause, network or flow, as with top or htop
    #[command(after_help = TOP_HELP)]
    Top,
    /// Remove what a killed run left on network devices or in nftables; touches nothing else
    Detach,
    /// Explain a cause or a kernel drop reason in prose, or list all causes
    Explain {
        /// Cause such as no-route, or reason such as NETFILTER_DROP
        #[arg(required_unless_present = "list")]
        id: Option<String>,
        /// Every cause with its title
        #[arg(long, conflicts_with = "id")]
        list: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Print the manual page, or that of a job
    Man(ManArgs),
}

/// Arguments of `man`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ManArgs {
    /// Job such as path
    pub page: Option<String>,
    /// Write all pages into this folder instead
    #[arg(long, value_name = "PATH", conflicts_with = "page")]
    pub folder: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// Walk one connection from here: a container, an address, host or outside
    #[arg(long, value_name = "WHO", requires = "to")]
    pub from: Option<String>,
    /// Walk one connection to there: WHO:PORT[/PROTOCOL], or :PORT for a published port
    #[arg(long, value_name = "WHO:PORT", requires = "from")]
    pub to: Option<String>,
}

/// Arguments of `monitor`. What is given here goes before the configuration file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorArgs {
    /// Configuration file [default: /etc/dockernet-trace.toml, if it is there]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub check_config: bool,
    /// Where /metrics, /healthz and /readyz are served [default: 127.0.0.1:9758]
    #[arg(long, value_name = "ADDR:PORT|off")]
    pub listen: Option<Listen>,
    /// Write the metrics to this file too, for node_exporter's textfile collector
    #[arg(long, value_name = "PATH")]
    pub textfile: Option<PathBuf>,
    /// Keep counters here over a restart: written at the end, read and removed at the start
    #[arg(long, value_name = "PATH")]
    pub state: Option<PathBuf>,
    /// Whether diagnoses go to journald with their fields: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub journal: Option<JournalWhen>,
}

/// Arguments of `record`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordArgs {
    /// File to write
    pub file: PathBuf,
    /// Go on in a new file at this size: 100M, 1G; FILE becomes FILE.1, FILE.1 becomes FILE.2
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub rotate_size: Option<u64>,
    /// Go on in a new file after this time: 10m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub rotate_every: Option<Duration>,
    /// How many older files are kept [default: 10]
    #[arg(long, value_name = "N")]
    pub keep: Option<u32>,
    /// Write pcapng for Wireshark instead of a recording
    #[arg(long)]
    pub pcapng: bool,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this address; port 0: one that is free.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| {
                "expected an address with a port, such as 127.0.0.1:9758 or [::1]:9758, or off"
                    .to_owned()
            }),
        }
    }
}

/// When diagnoses are written to journald itself instead of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum JournalWhen {
    /// Where standard output is the journal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON Lines.
    Json,
}

/// What `--output` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON Lines.
    Json,
    /// Dropped packets for Wireshark.
    Pcapng,
}

/// What `--probe` sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProbeKind {
    /// What suits the port: an echo request without one, a datagram to a published UDP port, a query to port 53, else TCP.
    #[default]
    Auto,
    /// Opens a TCP connection and closes it.
    Tcp,
    /// One UDP datagram.
    Udp,
    /// One echo request.
    Icmp,
    /// One DNS query by UDP.
    Dns,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whose drops are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Those with a container, an address of a Docker network or a published port at an end.
    #[default]
    Containers,
    /// The host's own too.
    Host,
    /// Those of every network namespace of the machine.
    All,
}

/// Options of every job.
#[derive(Args, Debug)]
pub struct Flags {
    /// Dropped packets: whose, why, and what mends it (the default view)
    #[arg(long, global = true, help_heading = "Views")]
    pub drops: bool,
    /// NAT transitions: which published port became which container, who left as which address
    #[arg(long, global = true, help_heading = "Views")]
    pub nat: bool,

    /// Packets from, to or inside this container (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "NAME|ID|GLOB",
        help_heading = "Filters"
    )]
    pub container: Vec<Pattern>,
    /// Docker network, or the name of its bridge device (repeatable)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Filters")]
    pub network: Vec<Pattern>,
    /// Compose project (repeatable)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Filters")]
    pub project: Vec<Pattern>,
    /// Network interface the packet was on or came in by (repeatable)
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Filters"
    )]
    pub interface: Vec<Pattern>,
    /// Address at either end, before or after NAT (repeatable)
    #[arg(long, global = true, value_name = "IP|CIDR", value_parser = address, help_heading = "Filters")]
    pub addr: Vec<IpNet>,
    /// Port at either end, before or after NAT (repeatable)
    #[arg(long, global = true, value_name = "PORT", help_heading = "Filters")]
    pub port: Vec<u16>,
    /// Protocol: tcp, udp, icmp, icmpv6, arp, ... or its number (repeatable)
    #[arg(long, global = true, value_name = "PROTOCOL", help_heading = "Filters")]
    pub proto: Vec<Protocol>,
    /// Kernel drop reason, e.g. NETFILTER_DROP (repeatable)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Filters")]
    pub reason: Vec<String>,
    /// Cause, e.g. no-route (repeatable)
    #[arg(long, global = true, value_name = "ID", help_heading = "Filters")]
    pub cause: Vec<String>,
    /// Packets that this expression in tcpdump's syntax accepts, before or after NAT: 'tcp and port 80'
    #[arg(
        long,
        global = true,
        value_name = "EXPRESSION",
        help_heading = "Filters"
    )]
    pub filter: Option<String>,
    /// Deliberate drops, counted but not shown: KEY=GLOB,... with the keys cause, reason, container,
    /// source, destination, network, proto, port, device; all must match (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "KEY=GLOB,...",
        help_heading = "Filters"
    )]
    pub ignore: Vec<Ignore>,
    /// Benign noise too
    #[arg(long, global = true, help_heading = "Filters")]
    pub all: bool,

    /// Whose drops: an end is a container's; the host's own too; every namespace
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "containers|host|all",
        help_heading = "Host"
    )]
    pub scope: Scope,
    /// Container engine, instead of DOCKER_HOST (which sudo strips) or the default socket
    #[arg(
        short = 'H',
        long,
        global = true,
        value_name = "URL",
        value_parser = docker_host,
        help_heading = "Host"
    )]
    pub docker_host: Option<String>,
    /// Network namespace taken as the host [default: the one it runs in]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Host")]
    pub netns: Option<PathBuf>,

    /// Name the firewall rule behind a drop with certainty: has nftables trace the flow's next packet, by a table
    /// dockernet_trace in the host's ruleset for some seconds (changes no verdict)
    #[arg(long, global = true, help_heading = "Host")]
    pub trace_rules: bool,

    /// Stop after this time, e.g. 500ms, 10s, 5m
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse, help_heading = "End")]
    pub duration: Option<Duration>,
    /// Stop after this many lines
    #[arg(long, global = true, value_name = "N", help_heading = "End")]
    pub count: Option<NonZeroU64>,
    /// End with status 3 if anything was dropped that no option excuses
    #[arg(long, global = true, help_heading = "End")]
    pub expect_no_drops: bool,

    /// What is kept of the packets dropped before something is told.
    #[command(flatten)]
    pub flight: FlightArgs,

    /// Text for people, JSON Lines, or dropped packets for Wireshark
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json|pcapng",
        help_heading = "Output"
    )]
    pub output: Format,
    /// One line of text for each drop
    #[arg(long, global = true, help_heading = "Output")]
    pub oneline: bool,
    /// Colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|always|never",
        help_heading = "Output"
    )]
    pub color: ColorWhen,
    /// More about each drop; twice: what the tool itself does
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// The command with everything that derive cannot say.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command();
    // Tracing's options are accepted beside every job; the job's help shows those that matter to it.
    let globals: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .cloned()
        .collect();
    let jobs: Vec<String> = command
        .get_subcommands()
        .map(|job| job.get_name().to_owned())
        .collect();
    jobs.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |job| {
            let shown = shown::beside(job.get_name());
            job.args(globals.iter().map(|argument| {
                let hide = !shown.contains(&argument.get_id().as_str());
                argument.clone().hide(hide)
            }))
        })
    })
}

/// Reads a command line, its first element being the program's name.
///
/// # Errors
/// Help, version or a mistake, as clap words it.
pub fn read<I>(arguments: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Writes the completion script for a shell.
///
/// # Errors
/// When `out` refuses it.
pub fn completions(shell: Shell, out: &mut dyn io::Write) -> io::Result<()> {
    // The generator panics on write errors, memory gives none.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "dockernet-trace", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Bytes: a number with k, M or G (powers of 1,000), or without.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1_000),
        Some((at, 'm' | 'M')) => (text.get(..at), 1_000_000),
        Some((at, 'g' | 'G')) => (text.get(..at), 1_000_000_000),
        _ => (Some(text), 1_u64),
    };
    let size = number
        .and_then(|number| number.trim().parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "expected a size such as 500k, 100M or 1G".to_owned())?;
    if size < 10_000 {
        return Err(
            "expected at least 10k: a file begins with what is known of the host".to_owned(),
        );
    }
    Ok(size)
}

fn address(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| {
            "expected an address or a prefix, such as 192.0.2.1 or 2001:db8::/32".to_owned()
        })
}

fn docker_host(text: &str) -> Result<String, String> {
    const SCHEMES: [&str; 5] = ["unix", "tcp", "http", "https", "ssh"];
    match text.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) && !rest.is_empty() => {
            Ok(text.to_owned())
        }
        Some((scheme, _)) if SCHEMES.contains(&scheme) => Err(
            "nothing follows the scheme; write for example unix:///var/run/docker.sock".to_owned(),
        ),
        Some((scheme, _)) => Err(format!(
            "unknown scheme '{scheme}'{}",
            super::suggest::hint(scheme, SCHEMES.iter().copied())
        )),
        None if text.starts_with('/') => Err(format!("did you mean 'unix://{text}'?")),
        None => Err(
            "expected a URL such as unix:///var/run/docker.sock or tcp://127.0.0.1:2375".to_owned(),
        ),
    }
}
