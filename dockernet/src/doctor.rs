//! `doctor`: can this tool run here, and what would it attach? It attaches nothing.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::{
    bpf::{
        features::Features,
        load::{Fitting, Kernel, Prepared, release},
        symbols::Symbols,
    },
    cli::{
        Exit,
        options::{Options, Output},
    },
    host::{firewall::Firewall, netns::NetnsHandle, privileges},
    inventory::{EngineStatus, InventoryService, Options as InventoryOptions},
    report::json_line,
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Health {
    /// As it should be.
    Ok,
    /// Something is missing that tracing can do without.
    Degraded,
    /// Tracing does not work.
    Broken,
}

/// Whether the tool can run here (`doctor`).
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "doctor")]
struct Line<'a> {
    /// Version of this layout.
    schema: u32,
    /// Whether drops can be traced here.
    usable: bool,
    /// Everything that was looked at.
    checks: &'a [Check],
    /// What this kernel has; null where its type information cannot be read.
    features: Option<Features>,
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![crate::schema::tagged::<Line<'_>>("doctor", generator)]
}

/// One line of the answer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Check {
    /// What was looked at: `kernel`, `capabilities` …
    subject: &'static str,
    /// How it came out.
    health: Health,
    /// What was found.
    says: String,
    /// What to do about it.
    mend: Option<String>,
}

impl Check {
    fn new(subject: &'static str, health: Health, says: impl Into<String>) -> Self {
        Self {
            subject,
            health,
            says: says.into(),
            mend: None,
        }
    }

    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// Looks at everything and prints what it found.
pub fn run(options: &Options) -> Result<Exit> {
    let mut checks = kernel();
    checks.extend([capabilities(), lockdown()]);
    checks.extend(programs());
    checks.push(symbols());
    checks.extend(host(options));
    let broken = checks.iter().any(|check| check.health == Health::Broken);
    match options.output {
        Output::Json => {
            let features = Kernel::look().and_then(|kernel| Features::of(&kernel)).ok();
            let line = json_line(&Line {
                schema: 1,
                usable: !broken,
                checks: &checks,
                features,
            })?;
            print!("{line}");
        }
        Output::Text => print(&checks),
    }
    Ok(if broken { Exit::Failure } else { Exit::Done })
}

fn print(checks: &[Check]) {
    for check in checks {
        let mark = match check.health {
            Health::Ok => "ok",
            Health::Degraded => "less",
            Health::Broken => "BROKEN",
        };
        println!("{mark:<7} {:<13} {}", check.subject, check.says);
        if let Some(mend) = &check.mend {
            println!("{:21} to mend it: {mend}", "");
        }
    }
    let broken = checks
        .iter()
        .filter(|check| check.health == Health::Broken)
        .count();
    let less = checks
        .iter()
        .filter(|check| check.health == Health::Degraded)
        .count();
    let verdict = match (broken, less) {
        (0, 0) => "drops can be traced here, with everything".to_owned(),
        (0, less) => format!("drops can be traced here; {less} of the above with less detail"),
        (broken, _) => {
            format!("drops cannot be traced here: {broken} of the above must be mended first")
        }
    };
    println!("\n{verdict}");
}

/// The kernel, and what this one lacks.
fn kernel() -> Vec<Check> {
    let release = release();
    let kernel = match Kernel::look() {
        Ok(kernel) => kernel,
        Err(error) => {
            return vec![Check::new(
                "kernel",
                Health::Broken,
                format!("{release}: {error:#}"),
            )];
        }
    };
    let reasons = match kernel.reasons.names().count() {
        0 => "without drop reasons".to_owned(),
        count => format!("and {count} drop reasons"),
    };
    let mut checks = vec![Check::new(
        "kernel",
        Health::Ok,
        format!("{release}, with type information (BTF) {reasons}"),
    )];
    match Features::of(&kernel) {
        Ok(features) => checks.extend(
            features
                .lacking()
                .into_iter()
                .map(|sentence| Check::new("kernel", Health::Degraded, sentence)),
        ),
        Err(error) => checks.push(Check::new("kernel", Health::Broken, format!("{error:#}"))),
    }
    checks
}

fn capabilities() -> Check {
    let missing = privileges::missing();
    if missing.is_empty() {
        return Check::new("privileges", Health::Ok, "everything that is needed");
    }
    Check::new(
        "privileges",
        Health::Broken,
        format!("lacks {}", missing.join(", ")),
    )
    .mend("run it as root: sudo dockernet-trace doctor")
}

fn lockdown() -> Check {
    match privileges::lockdown().as_deref() {
        Some("confidentiality") => Check::new(
            "lockdown",
            Health::Broken,
            "confidentiality: the kernel lets no program read its memory",
        )
        .mend("boot with lockdown=integrity, or without Secure Boot's confidentiality mode"),
        Some(mode) => Check::new("lockdown", Health::Ok, mode.to_owned()),
        None => Check::new(
            "lockdown",
            Health::Ok,
            "not visible here (securityfs is not mounted, or the kernel has no lockdown)",
        ),
    }
}

/// Loads and verifies, attaches nothing.
fn programs() -> Vec<Check> {
    let Ok(kernel) = Kernel::look() else {
        return Vec::new();
    };
    let prepared = match Prepared::load(&kernel, Fitting::PLAIN, None) {
        Ok(prepared) => prepared,
        Err(error) => return vec![Check::new("programs", Health::Broken, format!("{error:#}"))],
    };
    let mut checks = vec![Check::new(
        "programs",
        Health::Ok,
        format!(
            "the kernel accepts {}; it would be attached",
            prepared.tier().name()
        ),
    )];
    // What the kernel lacks is told already.
    let lacking = Features::of(&kernel).map_or_else(|_| Vec::new(), |all| all.lacking());
    checks.extend(
        prepared
            .degraded
            .iter()
            .filter(|text| !lacking.contains(text))
            .map(|text| Check::new("programs", Health::Degraded, text.clone())),
    );
    checks
}

fn symbols() -> Check {
    match Symbols::read() {
        Ok(symbols) if symbols.is_empty() => {
            let restrict = privileges::kptr_restrict();
            let mend = match restrict {
                Some(2) => "sysctl -w kernel.kptr_restrict=1 (2 hides addresses from root too)",
                _ => "run it as root: CAP_SYSLOG shows kernel addresses",
            };
            Check::new(
                "symbols",
                Health::Degraded,
                "kernel addresses are hidden: no function names, no stacks, and causes that depend on them are unexplained",
            )
            .mend(mend)
        }
        Ok(_) => Check::new("symbols", Health::Ok, "kernel functions have names"),
        Err(error) => Check::new("symbols", Health::Degraded, format!("{error:#}")),
    }
}

/// Namespaces, engine, firewall.
fn host(options: &Options) -> Vec<Check> {
    let netns = match &options.netns {
        Some(path) => NetnsHandle::open(path),
        None => NetnsHandle::current(),
    };
    let netns = match netns {
        Ok(netns) => netns,
        Err(error) => return vec![Check::new("namespace", Health::Broken, error.to_string())],
    };
    let rules = Firewall::read(&netns);
    let firewall = if rules.notes.is_empty() {
        let backends: Vec<&str> = rules
            .active_backends()
            .iter()
            .map(|backend| backend.name())
            .collect();
        let text = if backends.is_empty() {
            "no rules".to_owned()
        } else {
            format!("rules in {}", backends.join(" and "))
        };
        Check::new("firewall", Health::Ok, text)
    } else {
        Check::new("firewall", Health::Degraded, rules.notes.join("; "))
            .mend("install nftables and iptables, so that rules can be named")
    };
    vec![engine(options, netns), firewall]
}

fn engine(options: &Options, host_netns: NetnsHandle) -> Check {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Check::new("engine", Health::Degraded, error.to_string()),
    };
    runtime.block_on(async {
        let options = InventoryOptions {
            host_netns,
            docker_host: options.docker_host.clone(),
        };
        let service = match InventoryService::start(options).await {
            Ok(service) => service,
            Err(error) => return Check::new("engine", Health::Broken, format!("{error:#}")),
        };
        let status = service.engine_within(Duration::from_secs(3)).await;
        let containers = service.current().containers().count();
        let url = service.docker_host().url.clone();
        match status {
            EngineStatus::Up {
                version,
                podman,
                rootless,
            } => {
                let kind = if podman { "podman" } else { "docker" };
                let rootless = if rootless { ", rootless" } else { "" };
                Check::new(
                    "engine",
                    Health::Ok,
                    format!("{kind} {version}{rootless} at {url}, {containers} containers"),
                )
            }
            EngineStatus::Down { reason } => Check::new("engine", Health::Degraded, reason)
                .mend("containers are named from cgroups and the engine's files meanwhile"),
            EngineStatus::Remote { why } => Check::new("engine", Health::Degraded, why),
            EngineStatus::Unknown => Check::new(
                "engine",
                Health::Degraded,
                format!("no answer from {url} yet"),
            ),
        }
    })
}
