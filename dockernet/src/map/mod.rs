//! `map`: which container is behind which interface, bridge, network and address, with what does not fit marked.
//!
//! [`read`] asks the kernel what the inventory does not hold, [`build`] joins both into a [`Map`], [`select`] keeps
//! what was asked for, [`text`] and JSON show it. Nothing is attached, nothing is changed.

pub mod build;
mod heads;
mod layout;
pub(crate) mod marks;
pub mod model;
pub mod read;
pub mod select;
pub mod text;

#[cfg(test)]
mod tests;

use std::{
    env,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};

pub use model::Map;

use crate::{
    cli::{
        Exit,
        options::{ColorWhen, Options, Output},
    },
    host::{netns::NetnsHandle, privileges},
    inventory::{InventoryService, Options as InventoryOptions, Snapshot},
    model::State,
    report::{Look, Width},
};

/// How long the engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the namespaces of containers that started just now may take to be found.
const SETTLE: Duration = Duration::from_secs(1);

/// Looks at the machine once and prints the map of `what`; of everything, if it is empty.
///
/// # Errors
/// Privileges are missing, the host's namespace cannot be read, or nothing is called as `what` says (bad usage).
pub fn run(options: &Options, what: &[String]) -> Result<Exit> {
    privileges::check()?;
    let terms = select::terms(what, &options.filter)?;
    let host = match &options.netns {
        Some(path) => NetnsHandle::open(path)
            .with_context(|| format!("opening the network namespace {}", path.display()))?,
        None => NetnsHandle::current().context("opening this process's network namespace")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let (inventory, url) = runtime.block_on(look(options, host.clone()))?;
    // A call to a hung engine may still be waiting for its limit.
    runtime.shutdown_background();
    let reading = read::Reading::take(&inventory, &host)?;
    let mut map = build::map(&inventory, &reading, &url);
    select::keep(&mut map, &terms)?;
    let mut out = match options.output {
        Output::Json => serde_json::to_string(&map).context("writing JSON")?,
        Output::Text => {
            for problem in &map.degraded {
                eprintln(problem);
            }
            let color = match options.color {
                ColorWhen::Auto => None,
                ColorWhen::Always => Some(true),
                ColorWhen::Never => Some(false),
            };
            let variable = |name: &str| env::var(name).ok();
            let look = Look::detect(&io::stdout(), Width::Stdout, color, &variable);
            text::text(&map, &look)
        }
    };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    match io::stdout().write_all(out.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => other
            .map(|()| Exit::Done)
            .context("writing to standard output"),
    }
}

/// The inventory once the engine has answered and the namespaces of all that runs are known, or time is up.
pub(crate) async fn look(options: &Options, host_netns: NetnsHandle) -> Result<(Snapshot, String)> {
    let service = InventoryService::start(InventoryOptions {
        host_netns,
        docker_host: options.docker_host.clone(),
    })
    .await?;
    service.engine_within(PATIENCE).await;
    let mut receiver = service.receiver();
    let settled = receiver.wait_for(|inventory| {
        inventory
            .containers()
            .all(|container| container.state == State::Stopped || container.netns.is_some())
    });
    let _ = tokio::time::timeout(SETTLE, settled).await;
    Ok((service.current(), service.docker_host().url.clone()))
}

/// Nobody is left to tell when stderr is closed.
pub(crate) fn eprintln(text: &str) {
    let _ = writeln!(io::stderr(), "dockernet-trace: warning: {text}");
}
