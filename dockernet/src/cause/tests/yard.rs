//! A made-up host with two containers, `web` and `db`, on one bridge: what the causes below IP look at.

#![expect(clippy::unwrap_used, reason = "tests")]

use dockernet_common::packet::Parsed;

use super::{HOST, WEB, kept, record, recorded};
use crate::{
    cause::{Case, FirewallCache, explain},
    evidence::Evidence,
    host::{
        bridge::{Bridge, BridgePort, Bridges, PortState},
        netns::NetnsHandle,
        state::{CannedNetns, CannedState, HostState, Notebook, NotedState},
    },
    inventory::{Inventory, Parts},
    model::{
        Attachment, Cause, Confidence, Container, Drop, Endpoint, Link, LinkKind, Netns, NetnsInfo,
        NetnsKey, NetnsOwner, Network, NetworkMode, Owner, State, Subnet,
    },
    report::samples,
};

pub(super) const DB: NetnsKey = NetnsKey(3);
/// Indices of links.
pub(super) const UPLINK: u32 = 2;
pub(super) const BRIDGE: u32 = 3;
pub(super) const VETH_WEB: u32 = 10;
pub(super) const VETH_DB: u32 = 11;
pub(super) const ETH_WEB: u32 = 5;
pub(super) const ETH_DB: u32 = 6;
pub(super) const MAC_WEB: &str = "02:42:ac:12:00:02";
pub(super) const MAC_DB: &str = "02:42:ac:12:00:03";

pub(super) struct Yard {
    pub evidence: Evidence,
    pub state: CannedState,
    files: [tempfile::NamedTempFile; 3],
    /// Of the host, of web, of db.
    pub links: [Vec<Link>; 3],
    pub containers: Vec<Container>,
    pub network: Network,
}

impl Yard {
    /// A packet from web to db that died on a device of the host.
    pub(super) fn in_host(reason: &str, location: &str, device: u32) -> Self {
        let files = [(); 3].map(|()| tempfile::NamedTempFile::new().unwrap());
        let mut state = CannedState::default();
        for file in &files {
            state.at(&NetnsHandle::pretend(file.path()).unwrap());
        }
        let mut packet = samples::packet("tcp", ("172.18.0.2", 40000), ("172.18.0.3", 80));
        packet.src_mac = Some(MAC_WEB.into());
        packet.dst_mac = Some(MAC_DB.into());
        let drop = Drop {
            reason: Some(reason.into()),
            location: Some(location.into()),
            stack: Some(vec![location.into()]),
            packet: Some(packet),
            nat: None,
            published: None,
            hook: None,
            source: end("web"),
            destination: end("db"),
            ..samples::incident()
        };
        let mut yard = Self {
            evidence: Evidence {
                drop,
                record: record(),
                parsed: Parsed::default(),
                netns: HOST,
                hook: None,
                out_device: None,
            },
            state,
            files,
            links: [
                host_links(),
                vec![wire(ETH_WEB, VETH_WEB)],
                vec![wire(ETH_DB, VETH_DB)],
            ],
            containers: vec![container("web", WEB), container("db", DB)],
            network: network(),
        };
        yard.at_device(device, device);
        yard.canned(0).bridges = bridges();
        yard
    }

    /// The same packet, dead in web.
    pub(super) fn in_web(reason: &str, location: &str) -> Self {
        let mut yard = Self::in_host(reason, location, ETH_WEB);
        yard.evidence.netns = WEB;
        yard.evidence.record.iif = 0;
        yard.evidence.drop.ingress_device = None;
        yard.evidence.drop.device = Some("eth0".into());
        yard.evidence.drop.netns = Netns {
            owner: NetnsOwner::Container,
            container: yard.evidence.drop.source.container.clone(),
            ..samples::host()
        };
        yard
    }

    /// The same packet, dead in db.
    pub(super) fn in_db(reason: &str, location: &str) -> Self {
        let mut yard = Self::in_web(reason, location);
        yard.evidence.netns = DB;
        yard.at_device(ETH_DB, ETH_DB);
        yard.evidence.drop.device = Some("eth0".into());
        yard.evidence.drop.netns.container = yard.evidence.drop.destination.container.clone();
        yard
    }

    /// Where the packet is and where it came in.
    pub(super) fn at_device(&mut self, device: u32, ingress: u32) {
        self.evidence.record.key.ifindex = device;
        self.evidence.record.iif = ingress;
        let name = |index| {
            self.links[0]
                .iter()
                .find(|link| link.ifindex == index)
                .map(|link| link.name.clone())
        };
        self.evidence.drop.device = name(device);
        self.evidence.drop.ingress_device = name(ingress);
    }

    pub(super) fn stack(mut self, frames: &[&str]) -> Self {
        self.evidence.drop.stack = Some(frames.iter().map(|&frame| frame.into()).collect());
        self
    }

    pub(super) fn canned(&mut self, place: usize) -> &mut CannedNetns {
        let handle = NetnsHandle::pretend(self.files[place].path()).unwrap();
        self.state.at(&handle)
    }

    pub(super) fn link(&mut self, place: usize, index: u32) -> &mut Link {
        self.links[place]
            .iter_mut()
            .find(|link| link.ifindex == index)
            .unwrap()
    }

    fn inventory(&self) -> Inventory {
        let info = |place: usize, key, owner| {
            let handle = NetnsHandle::pretend(self.files[place].path()).unwrap();
            NetnsInfo {
                key,
                inum: handle.inum(),
                owner,
                path: self.files[place].path().into(),
                near: true,
                links: self.links[place].clone(),
            }
        };
        let own = |key| {
            let there = self.containers.iter().filter(|one| one.netns == Some(key));
            Owner::Containers(there.map(|one| one.id.clone()).collect())
        };
        Inventory::new(Parts {
            host: HOST,
            namespaces: vec![
                info(0, HOST, Owner::Host).into(),
                info(1, WEB, own(WEB)).into(),
                info(2, DB, own(DB)).into(),
            ],
            containers: self.containers.iter().cloned().map(Into::into).collect(),
            networks: vec![self.network.clone().into()],
            behind: Some([(VETH_WEB, WEB), (VETH_DB, DB)].into()),
            ..Parts::default()
        })
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let notebook = Notebook::default();
        let noted = NotedState::new(self.state.clone(), notebook.clone());
        let found = self.cause_by(&self.inventory(), &noted);
        // The same from what a recording keeps.
        let inventory = Inventory::new(kept(&self.inventory().parts()));
        assert_eq!(self.cause_by(&inventory, &recorded(&notebook)), found);
        found
    }

    fn cause_by(&self, inventory: &Inventory, state: &dyn HostState) -> Option<Cause> {
        let case = Case {
            evidence: &self.evidence,
            inventory,
            state,
            firewalls: &FirewallCache::default(),
            host: &NetnsHandle::pretend(self.files[0].path()).unwrap(),
            traced: None,
        };
        explain(&case).map(|verdict| verdict.cause)
    }

    pub(super) fn id(&self) -> String {
        self.cause().map_or_else(
            || "unexplained".into(),
            |cause| {
                // A verdict that names no cause.
                if cause.id == "unexplained" {
                    return cause.id.into_owned();
                }
                assert_eq!(cause.confidence, Confidence::Confirmed, "{}", cause.id);
                cause.id.into_owned()
            },
        )
    }
}

fn end(name: &str) -> Endpoint {
    let mut end = samples::inside(name, "lan");
    if let Some(container) = &mut end.container {
        container.id = format!("{name}-id");
    }
    end
}

fn plain(ifindex: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        ifindex,
        name: name.into(),
        kind,
        master: None,
        peer_ifindex: None,
        peer_netnsid: None,
        mac: None,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: Vec::new(),
    }
}

fn host_links() -> Vec<Link> {
    let mut uplink = plain(UPLINK, "eth0", LinkKind::Other(String::new()));
    uplink.addresses = vec!["198.51.100.10/24".parse().unwrap()];
    let mut bridge = plain(BRIDGE, "br-lan", LinkKind::Bridge);
    bridge.addresses = vec!["172.18.0.1/16".parse().unwrap()];
    bridge.mac = Some("02:42:00:00:00:01".into());
    let veth = |index, name, peer| Link {
        master: Some(BRIDGE),
        peer_ifindex: Some(peer),
        ..plain(index, name, LinkKind::Veth)
    };
    vec![
        uplink,
        bridge,
        veth(VETH_WEB, "vethweb", ETH_WEB),
        veth(VETH_DB, "vethdb", ETH_DB),
    ]
}

fn wire(index: u32, peer: u32) -> Link {
    let (address, mac) = if index == ETH_WEB {
        ("172.18.0.2/16", MAC_WEB)
    } else {
        ("172.18.0.3/16", MAC_DB)
    };
    Link {
        peer_ifindex: Some(peer),
        addresses: vec![address.parse().unwrap()],
        mac: Some(mac.into()),
        ..plain(index, "eth0", LinkKind::Veth)
    }
}

fn container(name: &str, netns: NetnsKey) -> Container {
    let (address, mac) = if netns == WEB {
        ("172.18.0.2/16", MAC_WEB)
    } else {
        ("172.18.0.3/16", MAC_DB)
    };
    Container {
        id: format!("{name}-id"),
        name: name.into(),
        image: None,
        project: None,
        service: None,
        state: State::Running,
        pid: None,
        mode: NetworkMode::Networks,
        netns: Some(netns),
        attachments: vec![Attachment {
            network: "lan".into(),
            network_id: "net-id".into(),
            ipv4: Some(address.parse().unwrap()),
            ipv6: None,
            gateway: Some("172.18.0.1".parse().unwrap()),
            mac: Some(mac.into()),
        }],
        published: Vec::new(),
        exposed: Vec::new(),
        dns: Vec::new(),
        sysctls: Vec::new(),
        ended: None,
    }
}

fn network() -> Network {
    Network {
        id: "net-id".into(),
        name: "lan".into(),
        driver: "bridge".into(),
        bridge: Some("br-lan".into()),
        parent: None,
        subnets: vec![Subnet {
            prefix: "172.18.0.0/16".parse().unwrap(),
            gateway: None,
        }],
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode: None,
        options: Vec::new(),
    }
}

fn bridges() -> Bridges {
    let port = |ifindex, name: &str| BridgePort {
        ifindex,
        name: name.into(),
        bridge_ifindex: BRIDGE,
        bridge: "br-lan".into(),
        state: PortState::Forwarding,
        hairpin: false,
        isolated: false,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        learning: true,
    };
    Bridges {
        bridges: vec![Bridge {
            ifindex: BRIDGE,
            name: "br-lan".into(),
            up: true,
            stp: false,
            forward_delay: std::time::Duration::ZERO,
            nf_call_iptables: false,
            nf_call_ip6tables: false,
            vlan_filtering: false,
        }],
        ports: vec![port(VETH_WEB, "vethweb"), port(VETH_DB, "vethdb")],
    }
}
