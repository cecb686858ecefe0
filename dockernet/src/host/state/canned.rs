//! A host made up for a test.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::HostState;
use crate::host::{
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
        lookup::{RouteAnswer, RouteQuery},
        rule::PolicyRule,
    },
    sysctl::files::SysctlFiles,
    vxlan::Vxlan,
};
use crate::model::Tuple;

/// What one made-up namespace holds. What is not filled in is empty.
#[derive(Clone, Debug, Default)]
pub struct CannedNetns {
    /// Settings by key.
    pub sysctls: HashMap<String, String>,
    /// Answers by question.
    pub lookups: HashMap<RouteQuery, RouteAnswer>,
    /// Routes of both families.
    pub routes: Vec<Route>,
    /// Rules of both families.
    pub rules: Vec<PolicyRule>,
    /// Neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Bridges and ports.
    pub bridges: Bridges,
    /// Sockets.
    pub listeners: Vec<Listener>,
    /// What hangs at devices, by device.
    pub attached: HashMap<String, Vec<Attached>>,
    /// Tracked flows.
    pub flows: Vec<conntrack::Flow>,
    /// The connection table's counters.
    pub conntrack_counters: conntrack::Counters,
    /// Checksum offload by device.
    pub checksum_offload: HashMap<String, bool>,
    /// Queueing disciplines by device.
    pub queues: HashMap<String, Vec<Queue>>,
    /// IPVS' virtual services.
    pub ipvs: Vec<ipvs::Service>,
    /// VXLAN devices.
    pub vxlans: Vec<Vxlan>,
    /// Forwarding database.
    pub fdb: Vec<FdbEntry>,
}

/// A made-up host. Its namespaces are keyed by inode number, which a handle on any open file has:
/// a test that needs two opens two temporary files.
#[derive(Clone, Debug, Default)]
pub struct CannedState {
    /// Namespaces by [`NetnsHandle::inum`].
    pub netns: HashMap<u32, CannedNetns>,
    /// Programs of cgroups, by process.
    pub cgroups: HashMap<u32, Vec<Attached>>,
    /// Name servers by process; `None` is the host.
    pub resolvers: HashMap<Option<u32>, Resolv>,
    /// dockerd was told to write no firewall rules.
    pub writes_no_rules: bool,
    /// Processes that are frozen.
    pub frozen: Vec<u32>,
    /// Hosts files by process.
    pub hosts: HashMap<u32, Vec<HostsEntry>>,
    /// A directory with an `etc/sysctl.d` in it.
    pub root: Option<PathBuf>,
    /// Packets that the CPUs' backlogs have dropped.
    pub backlog_drops: u64,
    /// Every namespace's rules.
    pub firewall: Firewall,
}

impl CannedState {
    /// The namespace of this handle, made if it is not there yet.
    pub fn at(&mut self, netns: &NetnsHandle) -> &mut CannedNetns {
        self.netns.entry(netns.inum()).or_default()
    }

    fn get(&self, netns: &NetnsHandle) -> Result<&CannedNetns> {
        let inum = netns.inum();
        self.netns
            .get(&inum)
            .with_context(|| format!("no namespace {inum} was made up"))
    }
}

impl HostState for CannedState {
    fn open(&self, path: &std::path::Path) -> std::io::Result<NetnsHandle> {
        NetnsHandle::pretend(path)
    }

    fn sysctl(&self, netns: &NetnsHandle, key: &str) -> Result<Option<String>> {
        Ok(self.get(netns)?.sysctls.get(key).cloned())
    }

    fn sysctl_files(&self) -> SysctlFiles {
        let root = self.root.as_deref();
        root.map(SysctlFiles::load).unwrap_or_default()
    }

    fn route_lookup(&self, netns: &NetnsHandle, query: &RouteQuery) -> Result<RouteAnswer> {
        let answer = self.get(netns)?.lookups.get(query);
        answer
            .cloned()
            .ok_or_else(|| anyhow!("no answer to `{}` was made up", query.command()))
    }

    fn routes(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<Route>> {
        let mut routes = self.get(netns)?.routes.clone();
        routes.retain(|route| Family::of(route.prefix.addr()) == family);
        Ok(routes)
    }

    fn rules(&self, netns: &NetnsHandle, family: Family) -> Result<Vec<PolicyRule>> {
        let mut rules = self.get(netns)?.rules.clone();
        rules.retain(|rule| rule.family == family);
        Ok(rules)
    }

    fn neighbours(&self, netns: &NetnsHandle) -> Result<Vec<Neighbour>> {
        Ok(self.get(netns)?.neighbours.clone())
    }

    fn bridges(&self, netns: &NetnsHandle) -> Result<Bridges> {
        Ok(self.get(netns)?.bridges.clone())
    }

    fn listeners(&self, netns: &NetnsHandle) -> Result<Vec<Listener>> {
        Ok(self.get(netns)?.listeners.clone())
    }

    fn resolver(&self, pid: Option<u32>) -> Result<Resolv> {
        let resolver = self.resolvers.get(&pid);
        resolver.cloned().context("no such resolv.conf was made up")
    }

    fn flow(
        &self,
        netns: &NetnsHandle,
        protocol: u8,
        tuple: &Tuple,
    ) -> Result<Option<conntrack::Flow>> {
        let mut flows = self.get(netns)?.flows.iter();
        let has = |entry: &&conntrack::Flow| {
            entry.protocol == protocol && [&entry.original, &entry.reply].contains(&tuple)
        };
        Ok(flows.find(has).cloned())
    }

    fn flows(&self, netns: &NetnsHandle) -> Result<Vec<conntrack::Flow>> {
        Ok(self.get(netns)?.flows.clone())
    }

    fn conntrack_counters(&self, netns: &NetnsHandle) -> Result<conntrack::Counters> {
        Ok(self.get(netns)?.conntrack_counters)
    }

    fn attached_to_device(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Attached>> {
        let attached = self.get(netns)?.attached.get(device);
        Ok(attached.cloned().unwrap_or_default())
    }

    fn attached_to_process(&self, pid: u32) -> Result<Vec<Attached>> {
        Ok(self.cgroups.get(&pid).cloned().unwrap_or_default())
    }

    fn is_frozen(&self, pid: u32) -> Result<bool> {
        Ok(self.frozen.contains(&pid))
    }

    fn hosts(&self, pid: u32) -> Result<Vec<HostsEntry>> {
        let hosts = self.hosts.get(&pid);
        hosts.cloned().context("no such hosts file was made up")
    }

    fn transmit_checksum_offload(&self, netns: &NetnsHandle, device: &str) -> Result<bool> {
        let offload = self.get(netns)?.checksum_offload.get(device);
        offload.copied().context("no such device was made up")
    }

    fn queues(&self, netns: &NetnsHandle, device: &str) -> Result<Vec<Queue>> {
        let queues = self.get(netns)?.queues.get(device);
        Ok(queues.cloned().unwrap_or_default())
    }

    fn backlog_drops(&self) -> Result<u64> {
        Ok(self.backlog_drops)
    }

    fn backlog_limit(&self) -> Result<Option<u64>> {
        Ok(Some(1000))
    }

    fn ipvs(&self, netns: &NetnsHandle) -> Result<Vec<ipvs::Service>> {
        Ok(self.get(netns)?.ipvs.clone())
    }

    fn engine_writes_rules(&self, _: &NetnsHandle) -> Result<bool> {
        Ok(!self.writes_no_rules)
    }

    fn vxlans(&self, netns: &NetnsHandle) -> Result<Vec<Vxlan>> {
        Ok(self.get(netns)?.vxlans.clone())
    }

    fn fdb(&self, netns: &NetnsHandle) -> Result<Vec<FdbEntry>> {
        Ok(self.get(netns)?.fdb.clone())
    }

    fn firewall(&self, _: &NetnsHandle) -> Firewall {
        self.firewall.clone()
    }

    fn protocol_counter(&self, _: &NetnsHandle, _: &str, _: &str, _: bool) -> Result<Option<u64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn two_files_are_two_namespaces() {
        let files = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let [host, container] = files
            .each_ref()
            .map(|f| NetnsHandle::pretend(f.path()).unwrap());
        let mut state = CannedState::default();
        let key = "net/ipv4/ip_forward";
        state.at(&host).sysctls.insert(key.into(), "0".into());
        state.at(&container);
        assert_eq!(state.sysctl(&host, key).unwrap().as_deref(), Some("0"));
        assert_eq!(state.sysctl(&container, key).unwrap(), None);
        assert!(state.resolver(None).is_err());
    }
}
