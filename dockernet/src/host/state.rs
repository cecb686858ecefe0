//! The live state that confirms a cause, behind a seam: the host as it is, or canned for a test.

#[cfg(test)]
mod canned;
#[cfg(test)]
mod live_tests;
mod noted;
mod recorded;

use std::path::Path;

use anyhow::Result;

#[cfg(test)]
pub use self::canned::{CannedNetns, CannedState};
pub use self::{
    noted::{Asked, Notebook, NotedState},
    recorded::{HOLDS, RecordedState},
};
use super::{
    attached::{self, Attached},
    bridge::{self, Bridges},
    conntrack,
    daemon::Daemon,
    device,
    fdb::{self, FdbEntry},
    firewall::Firewall,
    freezer,
    hosts::{self, HostsEntry},
    ipvs,
    listeners::{self, Listener},
    neighbour::{self, Neighbour},
    netns::NetnsHandle,
    queue::{self, Queue},
    resolver::{self, Resolv},
    route::{
        self, Family, Route,
        fib::{self, FibMatch},
        lookup::{self, RouteAnswer, RouteQuery},
        rule::{self, PolicyRule},
    },
    snmp,
    sysctl::{self, files::SysctlFiles},
    vxlan::{self, Vxlan},
};
use crate::model::Tuple;

/// What a cause asks the host. Every call blocks, for some milliseconds as a rule: not for the runtime's threads.
pub trait HostState: Send + Sync {
    /// A namespace by its file.
    fn open(&self, path: &Path) -> std::io::Result<NetnsHandle>;
    /// A kernel setting such as `net/ipv4/conf/eth0/forwarding`; `None` where the kernel has none of that name.
    fn sysctl(&self, netns: &NetnsHandle, key: &str) -> Result<Option<String>>;
    /// The files of the host that set kernel settings.
    fn sysctl_files(&self) -> SysctlFiles;
    /// The kernel's choice of a way.
    fn route_lookup(&self, netns: &NetnsHandle, query: &RouteQuery) -> Result<RouteAnswer>;
    /// Every route of every table.
    fn routes(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<Route>>;
    /// Every policy rule, lowest priority first.
    fn rules(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<PolicyRule>>;
    /// Every neighbour entry.
    fn neighbours(&self, netns: &NetnsHandle) -> Result<Vec<Neighbour>>;
    /// Bridges and ports.
    fn bridges(&self, netns: &NetnsHandle) -> Result<Bridges>;
    /// TCP listeners and bound UDP sockets.
    fn listeners(&self, netns: &NetnsHandle) -> Result<Vec<Listener>>;
    /// The name servers that a process sees; with `None` the host's.
    fn resolver(&self, pid: Option<u32>) -> Result<Resolv>;
    /// The tracked flow that has this tuple, in whichever direction.
    fn flow(
        &self,
        netns: &NetnsHandle,
        protocol: u8,
        tuple: &Tuple,
    ) -> Result<Option<conntrack::Flow>>;
    /// Every tracked flow: some 100 ms for each hundred thousand.
    fn flows(&self, netns: &NetnsHandle) -> Result<Vec<conntrack::Flow>>;
    /// Counters of the connection table.
    fn conntrack_counters(&self, netns: &NetnsHandle) -> Result<conntrack::Counters>;
    /// Programs and filters of others at a device.
    fn attached_to_device(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Attached>>;
    /// Programs that see the packets of a process' cgroup.
    fn attached_to_process(&self, pid: u32) -> Result<Vec<Attached>>;
    /// Whether a process is frozen.
    fn is_frozen(&self, pid: u32) -> Result<bool>;
    /// The hosts file that a process sees.
    fn hosts(&self, pid: u32) -> Result<Vec<HostsEntry>>;
    /// Whether a device leaves transport checksums to the hardware.
    fn transmit_checksum_offload(&self, netns: &NetnsHandle, device: &str) -> Result<bool>;
    /// A device's queueing disciplines.
    fn queues(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Queue>>;
    /// Packets that the CPUs' backlogs have dropped since the machine's start.
    fn backlog_drops(&self) -> Result<u64>;
    /// How many packets may wait for a CPU.
    fn backlog_limit(&self) -> Result<Option<u64>>;
    /// IPVS' virtual services.
    fn ipvs(&self, netns: &NetnsHandle) -> Result<Vec<ipvs::Service>>;
    /// Whether the host's dockerd writes firewall rules: not with `"iptables": false`.
    fn engine_writes_rules(&self, host: &NetnsHandle) -> Result<bool>;
    /// VXLAN devices.
    fn vxlans(&self, netns: &NetnsHandle) -> Result<Vec<Vxlan>>;
    /// Which port or tunnel end a MAC address is behind.
    fn fdb(&self, netns: &NetnsHandle) -> Result<Vec<FdbEntry>>;
    /// All rules. What could not be read is among its notes.
    fn firewall(&self, netns: &NetnsHandle) -> Firewall;
    /// A counter of the protocols, such as `InCsumErrors` of `Udp`; `None` where the kernel has none of that name.
    fn protocol_counter(
        &self,
        netns: &NetnsHandle,
        table: &str,
        name: &str,
        ipv6: bool,
    ) -> Result<Option<u64>>;

    /// The rule or route that a packet ends at, rejecting ones included.
    fn matching_route(&self, netns: &NetnsHandle, query: &RouteQuery) -> Result<FibMatch> {
        let family = Family::of(query.destination);
        let rules = self.rules(netns, family)?;
        let routes = self.routes(netns, family)?;
        Ok(fib::find(&rules, &routes, query))
    }
}

/// The host as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveState;

impl HostState for LiveState {
    fn open(&self, path: &Path) -> std::io::Result<NetnsHandle> {
        NetnsHandle::open(path)
    }

    fn sysctl(&self, netns: &NetnsHandle, key: &str) -> Result<Option<String>> {
        sysctl::read(netns, key)
    }

    fn sysctl_files(&self) -> SysctlFiles {
        SysctlFiles::load(Path::new("/"))
    }

    fn route_lookup(&self, netns: &NetnsHandle, query: &RouteQuery) -> Result<RouteAnswer> {
        lookup::lookup(netns, query)
    }

    fn routes(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<Route>> {
        route::routes(netns, family)
    }

    fn rules(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<PolicyRule>> {
        rule::rules(netns, family)
    }

    fn matching_route(&self, netns: &NetnsHandle, query: &RouteQuery) -> Result<FibMatch> {
        let rules = rule::rules(netns, Family::of(query.destination))?;
        let routes = route::routes_to(netns, query.destination)?;
        Ok(fib::find(&rules, &routes, query))
    }

    fn neighbours(&self, netns: &NetnsHandle) -> Result<Vec<Neighbour>> {
        neighbour::neighbours(netns)
    }

    fn bridges(&self, netns: &NetnsHandle) -> Result<Bridges> {
        bridge::bridges(netns)
    }

    fn listeners(&self, netns: &NetnsHandle) -> Result<Vec<Listener>> {
        listeners::listeners(netns)
    }

    fn resolver(&self, pid: Option<u32>) -> Result<Resolv> {
        pid.map_or_else(resolver::of_host, resolver::of_process)
    }

    fn flow(
        &self,
        netns: &NetnsHandle,
        protocol: u8,
        tuple: &Tuple,
    ) -> Result<Option<conntrack::Flow>> {
        conntrack::find(netns, protocol, tuple)
    }

    fn flows(&self, netns: &NetnsHandle) -> Result<Vec<conntrack::Flow>> {
        conntrack::flows(netns)
    }

    fn conntrack_counters(&self, netns: &NetnsHandle) -> Result<conntrack::Counters> {
        conntrack::counters(netns)
    }

    fn attached_to_device(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Attached>> {
        attached::on_device(netns, device)
    }

    fn attached_to_process(&self, pid: u32) -> Result<Vec<Attached>> {
        attached::on_process(pid)
    }

    fn is_frozen(&self, pid: u32) -> Result<bool> {
        freezer::is_frozen(pid)
    }

    fn hosts(&self, pid: u32) -> Result<Vec<HostsEntry>> {
        hosts::of_process(pid)
    }

    fn transmit_checksum_offload(&self, netns: &NetnsHandle, device: &str) -> Result<bool> {
        device::transmit_checksum_offload(netns, device)
    }

    fn queues(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Queue>> {
        queue::queues(netns, device)
    }

    fn backlog_drops(&self) -> Result<u64> {
        queue::backlog_drops()
    }

    fn engine_writes_rules(&self, host: &NetnsHandle) -> Result<bool> {
        let daemon = Daemon::look(host);
        match &daemon.error {
            Some(error) => anyhow::bail!("{}: {error}", daemon.file.display()),
            None => Ok(daemon.switch("iptables", true)),
        }
    }

    fn backlog_limit(&self) -> Result<Option<u64>> {
        queue::backlog_limit()
    }

    fn ipvs(&self, netns: &NetnsHandle) -> Result<Vec<ipvs::Service>> {
        ipvs::services(netns)
    }

    fn vxlans(&self, netns: &NetnsHandle) -> Result<Vec<Vxlan>> {
        vxlan::vxlans(netns)
    }

    fn fdb(&self, netns: &NetnsHandle) -> Result<Vec<FdbEntry>> {
        fdb::fdb(netns)
    }

    fn firewall(&self, netns: &NetnsHandle) -> Firewall {
        Firewall::read(netns)
    }

    fn protocol_counter(
        &self,
        netns: &NetnsHandle,
        table: &str,
        name: &str,
        ipv6: bool,
    ) -> Result<Option<u64>> {
        snmp::counter(netns, table, name, ipv6)
    }
}
