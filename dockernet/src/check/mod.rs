//! `check`: what on this host is broken or will be, with no traffic needed. Nothing is attached, nothing is changed.
//!
//! `sight` reads the machine once, one file per family of findings looks at it, `text` and `json` show what
//! they found. `walk` follows one connection step by step.

mod chain;
mod choose;
mod families;
mod finding;
mod gather;
mod json;
pub(crate) mod last_words;
pub(crate) mod live;
mod probe;
mod progress;
mod resolution;
mod sight;
mod space;
mod text;
mod walk;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    time::Instant,
};

use anyhow::{Context as _, Result};

use finding::{Finding, Grade, Subject};
use sight::Sight;

use self::{progress::Progress, space::Space};
use crate::{
    bpf::{features::Features, load::Kernel},
    cause::Verdict,
    cli::{
        Exit,
        options::{CheckArgs, Options, Output},
    },
    host::{
        daemon::Daemon,
        docker::{Client, DockerHost, Ending},
        engine_files,
        netns::NetnsHandle,
        privileges,
        state::{HostState, LiveState},
    },
    inventory::{EngineStatus, Inventory},
    map::{self, Map},
    model::{NetworkMode, Owner, State},
};

/// Looks at the machine once and says what does not work, or will not.
///
/// # Errors
/// Privileges are missing, the host's namespace cannot be read, or a filter names nothing here (bad usage).
pub fn run(options: &Options, what: &CheckArgs) -> Result<Exit> {
    let started = Instant::now();
    privileges::check()?;
    let host = match &options.netns {
        Some(path) => NetnsHandle::open(path)
            .with_context(|| format!("opening the network namespace {}", path.display()))?,
        None => NetnsHandle::current().context("opening this process's network namespace")?,
    };
    let progress = Progress::new();
    progress.say("asking the container engine");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let (inventory, url) = runtime.block_on(map::look(options, host.clone()))?;
    let endings = runtime.block_on(endings(options, &inventory));
    runtime.shutdown_background();
    choose::check_names(&options.filter, &inventory)?;
    let reading = map::read::Reading::take(&inventory, &host)?;
    let map = map::build::map(&inventory, &reading, &url);
    let state = LiveState;
    let mut sight = read(&inventory, &map, &state, &host, &progress)?;
    sight.endings = endings;
    if let (Some(from), Some(to)) = (&what.from, &what.to) {
        progress.done();
        let walked = walk::walk(&sight, from, to)?;
        let out = match options.output {
            Output::Json => walk::json(&walked)?,
            Output::Text => walk::text(&walked, &text::look(options)),
        };
        print(&out)?;
        let stopped = walked.reaches() == Some(false);
        return Ok(if stopped { Exit::Found } else { Exit::Done });
    }
    progress.say("comparing");
    let mut findings = families::all(&sight);
    findings.extend(sight.unread.take());
    findings.extend(of_the_kernel());
    progress.done();
    choose::keep(&options.filter, &inventory, &mut findings);
    findings.sort_by(|left, right| {
        (&left.subject, left.grade, &left.cause.id).cmp(&(
            &right.subject,
            right.grade,
            &right.cause.id,
        ))
    });
    let seen = Seen {
        docker: map.docker.clone(),
        containers: sight.running().len(),
        networks: inventory.networks().count(),
        seconds: started.elapsed().as_secs_f64(),
    };
    let out = match options.output {
        Output::Json => {
            let mut out = String::new();
            chain::json(&sight, &options.filter, &mut out)?;
            out + &json::lines(&findings, &seen)?
        }
        Output::Text => {
            let look = text::look(options);
            chain::text(&sight, &options.filter, &look) + &text::text(&findings, &seen, &look)
        }
    };
    print(&out)?;
    let broken = findings
        .iter()
        .any(|finding| finding.grade == Grade::Broken);
    Ok(if broken { Exit::Found } else { Exit::Done })
}

/// What tracing cannot tell on this kernel.
fn of_the_kernel() -> Option<Finding> {
    let features = Kernel::look().and_then(|kernel| Features::of(&kernel));
    let lacking = match features {
        Ok(features) => features.lacking(),
        Err(error) => {
            let why = format!("{error:#}");
            let what = "what tracing would tell here";
            return Some(Finding::unknown(Subject::host(), what, why));
        }
    };
    if lacking.is_empty() {
        return None;
    }
    let verdict = lacking.into_iter().fold(
        Verdict::confirmed("kernel-tells-less", "tracing tells less here than it could"),
        Verdict::fact,
    );
    Some(Finding::new(Grade::Note, Subject::host(), verdict))
}

/// What was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The engine's version, while it answers.
    pub docker: Option<String>,
    /// Running containers.
    pub containers: usize,
    /// Networks of the engine.
    pub networks: usize,
    /// Time that it took.
    pub seconds: f64,
}

/// Reads everything that the families look at.
fn read<'a>(
    inventory: &'a Inventory,
    map: &'a Map,
    state: &'a dyn HostState,
    host: &NetnsHandle,
    progress: &Progress,
) -> Result<Sight<'a>> {
    let info = inventory
        .host_netns()
        .context("the host's network namespace was not found")?;
    let mut wanted = vec![space::Named {
        key: info.key,
        label: "host".into(),
        handle: host.clone(),
        enter: String::new(),
        links: info.links.clone(),
    }];
    let mut unread = Vec::new();
    let mut infos: Vec<_> = inventory
        .namespaces()
        .filter(|info| info.key != inventory.host_key())
        .filter(|info| matches!(info.owner, Owner::Containers(_)))
        .collect();
    infos.sort_by_key(|info| info.inum);
    for info in infos {
        let mut members = inventory.containers_in(info.key);
        let Some(first) = members.find(|container| container.ended.is_none()) else {
            continue;
        };
        match sight::open(state, info) {
            Ok(handle) => wanted.push(space::Named {
                key: info.key,
                label: first.name.clone(),
                handle,
                enter: format!("nsenter --net={} ", info.path.display()),
                links: info.links.clone(),
            }),
            Err(error) => unread.push(Finding::unknown(
                Subject::container(first),
                "its network namespace",
                format!("{error:#}"),
            )),
        }
    }
    for container in inventory.containers() {
        let lost = container.netns.is_none()
            && container.ended.is_none()
            && container.state != State::Stopped
            && container.mode == NetworkMode::Networks;
        if lost {
            unread.push(Finding::unknown(
                Subject::container(container),
                "its network namespace",
                "none of its processes was found in this machine's /proc",
            ));
        }
    }
    let total = wanted.len();
    let step = progress.counter("reading network namespaces", total);
    let mut spaces = Space::read_all(state, wanted, &step);
    let first = spaces
        .iter()
        .position(|space| space.key == info.key)
        .context("the thread that reads the host's namespace panicked")?;
    let host_space = spaces.remove(first);
    for space in std::iter::once(&host_space).chain(&spaces) {
        for (what, why) in &space.unread {
            // A program that is missing is missing everywhere: once is enough.
            let again = space.key != host_space.key
                && host_space.unread.iter().any(|(_, known)| known == why);
            if !again {
                unread.push(Finding::unknown(Subject::host(), what, why));
            }
        }
    }
    let mut daemon = Daemon::look(host);
    if daemon.pid.is_none() {
        // Without its command line, what is mounted in its containers tells where its files are.
        daemon.found_root = inventory.containers().find_map(|container| {
            let folder = engine_files::folder_of(container.pid?, &container.id)?;
            Some(folder.parent()?.parent()?.to_owned())
        });
    }
    Ok(Sight {
        inventory,
        map,
        state,
        host: host_space,
        spaces,
        files: state.sysctl_files(),
        daemon,
        endings: HashMap::new(),
        unread: unread.into(),
    })
}

/// How stopped containers ended. At most some: a host may hold thousands of old ones.
async fn endings(options: &Options, inventory: &Inventory) -> HashMap<String, Ending> {
    const MOST: usize = 100;
    let mut found = HashMap::new();
    if !matches!(inventory.engine_status(), EngineStatus::Up { .. }) {
        return found;
    }
    let client = Client::new(DockerHost::resolve(options.docker_host.as_deref()));
    let stopped = inventory
        .containers()
        .filter(|container| container.ended.is_none() && container.state == State::Stopped);
    for container in stopped.take(MOST) {
        match client.ending(&container.id).await {
            Ok(Some(ending)) => {
                found.insert(container.id.clone(), ending);
            }
            Ok(None) => {}
            Err(error) => {
                log::info!("how {} ended: {error}", container.name);
                break;
            }
        }
    }
    found
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    [
        json::schemas(generator),
        walk::schemas(generator),
        chain::schemas(generator),
    ]
    .concat()
}
