//! What a scenario file holds.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{engine::Engine, exec::Cmd, server::Kind, traffic::Proto};

/// In which phase something exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Before the fault.
    Healthy,
    /// With the fault.
    Faulty,
}

/// One fault: topology, fault, traffic, what the tool shall say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What happens, in one sentence.
    pub description: String,
    /// Oldest engine that has this fault (first number of its version).
    pub min_engine: Option<u32>,
    /// Newest engine that has this fault.
    pub max_engine: Option<u32>,
    /// Whether it is a fault of hosts where `iptables` is iptables-legacy.
    #[serde(default)]
    pub legacy: bool,
    /// Programs that the lab itself does not need. Where one is missing the scenario is not run, and says so.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Kernel module without which the fault cannot be made: it runs on the kernels of the matrix that have it.
    pub module: Option<String>,
    /// Keys for `daemon.json`; labs are shared by scenarios with the same ones.
    #[serde(default)]
    pub daemon: Map<String, Value>,
    /// Whether packets from outside take the kernel's list path (see `Lab::list_path`).
    #[serde(default)]
    pub list_path: bool,
    /// Why `path` cannot show the packet's end (the drop is not of the failing traffic, say).
    pub unfollowed: Option<String>,
    /// Why the first command that is printed does not mend it in a lab: `heal` does. (Where none is printed it does, too.)
    pub unmended: Option<String>,
    /// Networks.
    #[serde(default)]
    pub network: Vec<NetworkSpec>,
    /// Containers.
    #[serde(default)]
    pub container: Vec<ContainerSpec>,
    /// Servers of the test's own.
    #[serde(default)]
    pub server: Vec<ServerSpec>,
    /// Steps before the healthy traffic.
    #[serde(default)]
    pub setup: Vec<Step>,
    /// Steps that break it.
    #[serde(default)]
    pub fault: Vec<Step>,
    /// Steps that mend it.
    #[serde(default)]
    pub heal: Vec<Step>,
    /// Steps at the very end, for what `setup` and `fault` left.
    #[serde(default)]
    pub teardown: Vec<Step>,
    /// What is sent in both phases.
    pub traffic: Vec<TrafficStep>,
    /// What the tool shall say.
    pub expect: Expect,
    /// What else it shall say, of faults that are there at the same time.
    #[serde(skip)]
    pub beside: Vec<Expect>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The text is none; the message names it and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self =
            toml::from_str(text).with_context(|| format!("{name} is no scenario"))?;
        scenario.name = name.to_owned();
        ensure!(!scenario.traffic.is_empty(), "{name} has no traffic");
        Ok(scenario)
    }

    /// The first program that it needs and that is not installed.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        let here = |program: &&String| {
            let found = Cmd::shell(format!("command -v {program}")).output();
            !found.is_ok_and(|output| output.success())
        };
        self.needs.iter().find(here).map(String::as_str)
    }

    /// The module that this kernel would have to have for it.
    #[must_use]
    pub fn foreign_module(&self) -> Option<&str> {
        let module = self.module.as_deref()?;
        let found = Cmd::shell(format!(
            "test -d /sys/module/{module} || modprobe -nq {module}"
        ))
        .output();
        (!found.is_ok_and(|output| output.success())).then_some(module)
    }

    /// Whether this engine has the fault, on its backend.
    #[must_use]
    pub fn runs_on(&self, engine: &Engine) -> bool {
        self.min_engine.is_none_or(|min| engine.major() >= min)
            && self.max_engine.is_none_or(|max| engine.major() <= max)
            && match self.legacy {
                true => engine.legacy,
                false => !engine.legacy || self.is_of_the_backend(),
            }
    }

    /// Whether the backend of `iptables` matters: rules are in play, written with `iptables` or by the engine itself, and
    /// none of a backend that the fault names.
    #[must_use]
    fn is_of_the_backend(&self) -> bool {
        const OF_ONE: &[&str] = &["nft ", "iptables-", "ip6tables-", "ebtables", "firewall"];
        let steps = [&self.setup, &self.fault, &self.heal].into_iter().flatten();
        let scripts: Vec<&str> = steps.filter_map(|step| step.shell.as_deref()).collect();
        let any = |words: &[&str]| {
            let has = |script: &&str| words.iter().any(|word| script.contains(word));
            scripts.iter().any(has)
        };
        let dropped = self
            .expect
            .reason
            .iter()
            .any(|reason| reason == "NETFILTER_DROP");
        !any(OF_ONE) && (dropped || any(&["tables "]))
    }
}

/// A network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Name.
    pub name: String,
    /// Arguments of `docker network create`.
    #[serde(default)]
    pub options: Vec<String>,
    /// In which phase; both if absent.
    pub only: Option<Only>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Name.
    pub name: String,
    /// Command line.
    #[serde(default = "sleep")]
    pub command: String,
    /// `--publish` values.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Networks, the first at start.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Further `docker run` arguments.
    #[serde(default)]
    pub options: Vec<String>,
    /// Wait for this listener, e.g. `80/tcp`.
    pub wait_port: Option<String>,
    /// In which phase; both if absent. Two containers of one name stand for each other.
    pub only: Option<Only>,
}

fn sleep() -> String {
    "sleep 1000".into()
}

/// A server of the test's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// Place: `host`, `outside`, `container:NAME`.
    #[serde(rename = "in")]
    pub place: String,
    /// What it does.
    pub kind: Kind,
    /// Address and port.
    pub address: String,
    /// In which phase; both if absent.
    pub only: Option<Only>,
}

/// One step of a fault or of its mending: exactly one of `sysctl`, `shell`, `docker`, `sleep_ms`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Place of `sysctl` and `shell`: `host` (default), `outside`, `container:NAME`.
    #[serde(rename = "in")]
    pub place: Option<String>,
    /// Keys (with slashes) and values to set; put back at the end.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// A shell script; must succeed.
    pub shell: Option<String>,
    /// A docker command.
    #[serde(default)]
    pub docker: Vec<String>,
    /// A pause.
    pub sleep_ms: Option<u64>,
}

/// One probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficStep {
    /// Place it starts from.
    pub from: String,
    /// Address it goes to; names in `${…}` are replaced.
    pub to: String,
    /// Port.
    #[serde(default)]
    pub port: u16,
    /// What is sent.
    #[serde(default)]
    pub proto: Proto,
    /// Source address.
    pub source: Option<String>,
    /// How many datagrams.
    pub count: Option<u32>,
    /// Payload bytes.
    pub size: Option<usize>,
    /// TTL.
    pub ttl: Option<u32>,
    /// How long to wait for an answer.
    pub timeout_ms: Option<u64>,
    /// Outcome before the fault (see `Outcome::fits`).
    #[serde(default = "ok")]
    pub healthy: String,
    /// Outcome with the fault.
    #[serde(default = "fail")]
    pub faulty: String,
    /// In which phase; both if absent.
    pub only: Option<Only>,
}

fn ok() -> String {
    "ok".into()
}

fn fail() -> String {
    "fail".into()
}

/// What the tool shall say about the fault: one `drop` line has to fit all of it, or one `finding` line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Nothing is dropped: it is a `finding` line that has to fit.
    #[serde(default)]
    pub finding: bool,
    /// Accepted `cause.id`s.
    pub cause: Vec<String>,
    /// Least confidence: `confirmed` (default) or `likely`.
    pub confidence: Option<String>,
    /// The same on kernels that tell no reason (before 5.17).
    pub confidence_without_reason: Option<String>,
    /// The same where iptables is iptables-legacy, whose drops are freed where conntrack's are.
    pub confidence_on_legacy: Option<String>,
    /// `cause.id`s that other lines may carry, beside `cause`.
    #[serde(default)]
    pub also: Vec<String>,
    /// Accepted kernel reasons; all if empty.
    #[serde(default)]
    pub reason: Vec<String>,
    /// What the kernel's own tracepoint shows on the build kernel: `REASON@function`, any of them.
    #[serde(default)]
    pub kernel: Vec<String>,
    /// Accepted hooks; all if empty.
    #[serde(default)]
    pub hook: Vec<String>,
    /// `container:NAME`, `host`, `external` …
    pub source: Option<String>,
    /// The same for the other end.
    pub destination: Option<String>,
    /// `published`, exactly.
    pub published: Option<String>,
    /// `host`, or `container:NAME`.
    pub netns: Option<String>,
    /// `device`; names in `${…}` are replaced.
    pub device: Option<String>,
    /// What a fix's command or advice contains.
    pub fix: Option<String>,
    /// What the evidence contains.
    pub evidence: Option<String>,
    /// After which change it says that this began.
    pub began: Option<String>,
    /// How many packets the fitting lines stand for, at least.
    pub min_count: Option<u64>,
}

impl Expect {
    /// The same for an engine on iptables-legacy.
    #[must_use]
    pub fn on_legacy(mut self) -> Self {
        // Its changes are told to nobody.
        self.began.take_if(|what| what.contains("firewall"));
        self.confidence = self.confidence_on_legacy.take().or(self.confidence);
        if let Some(fix) = &mut self.fix {
            *fix = fix.replace("tables -", "tables-legacy -");
        }
        self
    }

    /// What the kernel's tracepoint shows with this engine: iptables-legacy's drops are freed by the caller of its hooks.
    #[must_use]
    pub fn kernel_of(&self, engine: &Engine) -> Vec<String> {
        let mut keys = self.kernel.clone();
        if engine.legacy {
            for key in &mut keys {
                if key == "NETFILTER_DROP@nft_do_chain" {
                    *key = "NETFILTER_DROP@nf_hook_slow".into();
                }
            }
        }
        keys
    }
}
