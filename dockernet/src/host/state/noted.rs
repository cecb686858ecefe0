//! The host as it is, and a note of everything that was asked: what a recording keeps, for causes to be judged again.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{HostState, recorded};
use crate::{
    host::{
        attached::Attached,
        bridge::Bridges,
        conntrack,
        fdb::FdbEntry,
        firewall::Firewall,
        hosts::HostsEntry,
        ipvs,
        listeners::Listener,
        neighbour::Neighbour,
        netns::NetnsHandle,
        queue::Queue,
        resolver::Resolv,
        route::{
            Family, Route,
            fib::FibMatch,
            lookup::{RouteAnswer, RouteQuery},
            rule::PolicyRule,
        },
        sysctl::files::SysctlFiles,
        vxlan::Vxlan,
    },
    model::Tuple,
};

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// When it was answered.
    pub time: Timestamp,
    /// What was asked, of what: `["sysctl",4026531840,"net/ipv4/ip_forward"]`. Namespaces are inode numbers.
    pub question: Value,
    /// `{"ok": …}`, or `{"error": "…"}`.
    pub answer: Value,
}

impl Asked {
    /// Whether it is about firewall rules.
    #[must_use]
    pub fn is_firewall(&self) -> bool {
        self.question.get(0).and_then(Value::as_str) == Some("firewall")
    }
}

/// What was asked since it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Notebook(Arc<Mutex<Vec<Asked>>>);

impl Notebook {
    /// Takes the notes out, in their order.
    #[must_use]
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts notes in, at the end.
    pub fn put(&self, new: Vec<Asked>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CROWD.saturating_sub(notes.len());
        notes.extend(new.into_iter().take(room));
    }

    fn note(&self, question: Value, answer: Value) {
        self.put(vec![Asked {
            time: Timestamp::now(),
            question,
            answer,
        }]);
    }
}

/// Notes that wait at most, should nobody take them.
const CROWD: usize = 16_384;
/// Bytes of an answer at most, as JSON: a table of a hundred thousand flows is no part of a recording.
pub(super) const MOST: usize = 1 << 20;

/// Takes so many bytes, and keeps none.
pub(super) struct Room(pub(super) usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("it is longer than 1 MiB"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A host whose answers are noted.
pub struct NotedState<S> {
    inner: S,
    notebook: Notebook,
}

impl<S: HostState> NotedState<S> {
    /// Notes what `inner` answers.
    pub fn new(inner: S, notebook: Notebook) -> Self {
        Self { inner, notebook }
    }

    fn noted<T: Serialize>(&self, question: Value, answer: Result<T>) -> Result<T> {
        let told = match &answer {
            Ok(answer) => match serde_json::to_writer(Room(MOST), answer)
                .and_then(|()| serde_json::to_value(answer))
            {
                Ok(value) => json!({ "ok": value }),
                Err(error) => json!({ "error": format!("the answer was not recorded: {error}") }),
            },
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        self.notebook.note(question, told);
        answer
    }
}

/// Every question that is answered by a result: asked of the host and noted here, looked up in [`recorded`].
macro_rules! questions {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl<S: HostState> HostState for NotedState<S> {
            fn open(&self, path: &Path) -> std::io::Result<NetnsHandle> {
                let opened = self.inner.open(path);
                let inum = opened.as_ref().map(NetnsHandle::inum).map_err(|error| anyhow::anyhow!("{error}"));
                let _ = self.noted(json!(["open", path]), inum);
                opened
            }

            fn sysctl_files(&self) -> SysctlFiles {
                let files = self.inner.sysctl_files();
                let _ = self.noted(json!(["sysctl_files"]), Ok(&files));
                files
            }

            fn firewall(&self, netns: &NetnsHandle) -> Firewall {
                let firewall = self.inner.firewall(netns);
                let _ = self.noted(json!(["firewall", netns.inum()]), Ok(&firewall));
                firewall
            }

            $(fn $name(&self $(, $arg: $kind)*) -> Result<$answer> {
                let question = Value::Array(vec![stringify!($name).into() $(, recorded::Argument::told(&$arg))*]);
                self.noted(question, self.inner.$name($($arg),*))
            })*
        }

        impl HostState for recorded::RecordedState {
            fn open(&self, path: &Path) -> std::io::Result<NetnsHandle> {
                let inum = self.answer(&json!(["open", path])).map_err(std::io::Error::other)?;
                NetnsHandle::recorded(inum)
            }

            fn sysctl_files(&self) -> SysctlFiles {
                self.answer(&json!(["sysctl_files"])).unwrap_or_default()
            }

            fn firewall(&self, netns: &NetnsHandle) -> Firewall {
                self.answer(&json!(["firewall", netns.inum()])).unwrap_or_else(|error| Firewall {
                    notes: vec![format!("{error:#}")],
                    ..Firewall::default()
                })
            }

            $(fn $name(&self $(, $arg: $kind)*) -> Result<$answer> {
                self.answer(&Value::Array(vec![stringify!($name).into() $(, recorded::Argument::told(&$arg))*]))
            })*
        }
    };
}

questions! {
    sysctl(netns: &NetnsHandle, key: &str) -> Option<String>;
    route_lookup(netns: &NetnsHandle, query: &RouteQuery) -> RouteAnswer;
    routes(netns: &NetnsHandle, family: Family) -> Vec<Route>;
    rules(netns: &NetnsHandle, family: Family) -> Vec<PolicyRule>;
    matching_route(netns: &NetnsHandle, query: &RouteQuery) -> FibMatch;
    neighbours(netns: &NetnsHandle) -> Vec<Neighbour>;
    bridges(netns: &NetnsHandle) -> Bridges;
    listeners(netns: &NetnsHandle) -> Vec<Listener>;
    resolver(pid: Option<u32>) -> Resolv;
    flow(netns: &NetnsHandle, protocol: u8, tuple: &Tuple) -> Option<conntrack::Flow>;
    flows(netns: &NetnsHandle) -> Vec<conntrack::Flow>;
    conntrack_counters(netns: &NetnsHandle) -> conntrack::Counters;
    attached_to_device(netns: &NetnsHandle, device: &str) -> Vec<Attached>;
    attached_to_process(pid: u32) -> Vec<Attached>;
    is_frozen(pid: u32) -> bool;
    hosts(pid: u32) -> Vec<HostsEntry>;
    transmit_checksum_offload(netns: &NetnsHandle, device: &str) -> bool;
    queues(netns: &NetnsHandle, device: &str) -> Vec<Queue>;
    backlog_drops() -> u64;
    backlog_limit() -> Option<u64>;
    ipvs(netns: &NetnsHandle) -> Vec<ipvs::Service>;
    engine_writes_rules(host: &NetnsHandle) -> bool;
    vxlans(netns: &NetnsHandle) -> Vec<Vxlan>;
    fdb(netns: &NetnsHandle) -> Vec<FdbEntry>;
    protocol_counter(netns: &NetnsHandle, table: &str, name: &str, ipv6: bool) -> Option<u64>;
}
