//! Causes on a made-up host: what decides, and above all what must not be enough.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bridges;
mod conntrack;
mod firewall;
mod misrouted;
mod programs;

use dockernet_common::{
    count::CountKey,
    packet::Parsed,
    record::{DropRecord, Settings},
};

use super::{Case, FirewallCache, Verdict, explain, noise};
use crate::{
    evidence::{Evidence, HookPoint},
    host::{
        firewall::{Backend, Firewall, Hook, canned},
        listeners::{Listener, Transport},
        netns::NetnsHandle,
        route::{
            Family, Route, RouteKind,
            lookup::{Refusal, RouteAnswer, RouteQuery},
            rule::{PolicyRule, RuleVerdict},
        },
        state::{CannedState, HostState, Notebook, NotedState, RecordedState},
    },
    inventory::{Inventory, Parts},
    model::{
        Attachment, Confidence, Container, Drop, Link, LinkKind, NetnsInfo, NetnsKey, NetnsOwner,
        Network, NetworkMode, Owner, Published, Sample, State,
    },
    report::samples,
};

mod below_ip;
mod yard;

const HOST: NetnsKey = NetnsKey(1);
const WEB: NetnsKey = NetnsKey(2);

/// A host with one container, `web` on 172.17.0.2, and a drop to be explained.
struct Scene {
    evidence: Evidence,
    state: CannedState,
    files: [tempfile::NamedTempFile; 2],
    /// Address that web's interface has, whatever the engine says.
    actual: &'static str,
    networks: Vec<Network>,
    /// What web publishes.
    published: Vec<Published>,
    /// The host's eth0 is the other end of web's.
    behind_web: bool,
    host_links: Vec<Link>,
    /// The host's rules; what cannot be read where there are none.
    firewall: Option<Firewall>,
}

impl Scene {
    /// A SYN to web's published port that died in the host.
    fn new(reason: &str, location: &str) -> Self {
        let files = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let drop = Drop {
            reason: Some(reason.into()),
            location: Some(location.into()),
            stack: Some(vec![location.into()]),
            ..samples::incident()
        };
        let mut state = CannedState::default();
        state.at(&NetnsHandle::pretend(files[0].path()).unwrap());
        let web = state.at(&NetnsHandle::pretend(files[1].path()).unwrap());
        web.routes = vec![Route {
            oif: Some("eth0".into()),
            ..Route::new("172.17.0.0/16".parse().unwrap(), RouteKind::Unicast)
        }];
        Self {
            evidence: Evidence {
                drop,
                record: record(),
                parsed: Parsed::default(),
                netns: HOST,
                hook: None,
                out_device: Some("docker0".into()),
            },
            state,
            files,
            actual: "172.17.0.2/16",
            networks: Vec::new(),
            published: Vec::new(),
            behind_web: false,
            host_links: vec![link("198.51.100.10/24")],
            firewall: None,
        }
    }

    fn in_container(mut self) -> Self {
        self.evidence.netns = WEB;
        self.evidence.drop.netns.owner = NetnsOwner::Container;
        self
    }

    fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.evidence.record.settings);
        self
    }

    fn canned(&mut self, place: usize) -> &mut crate::host::state::CannedNetns {
        let handle = NetnsHandle::pretend(self.files[place].path()).unwrap();
        self.state.at(&handle)
    }

    fn inventory(&self) -> Inventory {
        let info = |place: usize, key, owner, links: Vec<Link>| {
            let handle = NetnsHandle::pretend(self.files[place].path()).unwrap();
            NetnsInfo {
                key,
                inum: handle.inum(),
                owner,
                path: self.files[place].path().into(),
                near: true,
                links,
            }
        };
        Inventory::new(Parts {
            host: HOST,
            namespaces: vec![
                info(0, HOST, Owner::Host, self.host_links.clone()).into(),
                info(
                    1,
                    WEB,
                    Owner::Containers(vec!["web-id".into()]),
                    vec![link(self.actual)],
                )
                .into(),
            ],
            containers: vec![
                Container {
                    published: self.published.clone(),
                    ..web()
                }
                .into(),
            ],
            behind: self.behind_web.then(|| [(2, WEB)].into()),
            networks: self.networks.iter().cloned().map(Into::into).collect(),
            ..Parts::default()
        })
    }

    fn ask<T>(&self, question: impl FnOnce(&Case<'_>) -> T) -> T {
        self.ask_of(&self.evidence, &self.inventory(), &self.host(), question)
    }

    /// With its rules.
    fn host(&self) -> CannedState {
        CannedState {
            firewall: self.firewall.clone().unwrap_or_else(|| Firewall {
                notes: vec!["not read".into()],
                ..Firewall::default()
            }),
            ..self.state.clone()
        }
    }

    fn ask_of<T>(
        &self,
        evidence: &Evidence,
        inventory: &Inventory,
        state: &dyn HostState,
        question: impl FnOnce(&Case<'_>) -> T,
    ) -> T {
        question(&Case {
            evidence,
            inventory,
            state,
            firewalls: &FirewallCache::default(),
            host: &NetnsHandle::pretend(self.files[0].path()).unwrap(),
            traced: None,
        })
    }

    fn verdict(&self) -> Option<Verdict> {
        let verdict = self.ask(explain);
        assert_eq!(self.verdict_of_recording(), verdict);
        verdict
    }

    /// The same from what a recording keeps.
    fn verdict_of_recording(&self) -> Option<Verdict> {
        let notebook = Notebook::default();
        let noted = NotedState::new(self.host(), notebook.clone());
        let found = self.ask_of(&self.evidence, &self.inventory(), &noted, explain);
        let evidence = Evidence {
            record: (&kept(&Sample::from(&self.evidence.record))).into(),
            ..self.evidence.clone()
        };
        let inventory = Inventory::new(kept(&self.inventory().parts()));
        assert_eq!(
            self.ask_of(&evidence, &inventory, &recorded(&notebook), explain),
            found
        );
        found
    }

    fn id(&self) -> String {
        self.verdict().map_or_else(
            || "unexplained".into(),
            |verdict| verdict.cause.id.into_owned(),
        )
    }
}

/// As a recording gives it back.
fn kept<T: serde::Serialize + serde::de::DeserializeOwned>(told: &T) -> T {
    serde_json::from_str(&serde_json::to_string(told).unwrap()).unwrap()
}

/// What a host answered, as its recording gives it back.
fn recorded(notebook: &Notebook) -> RecordedState {
    let mut state = RecordedState::default();
    for asked in notebook.take() {
        state.put(kept(&asked));
    }
    state.at(jiff::Timestamp::now());
    state
}

pub(crate) fn record() -> DropRecord {
    DropRecord {
        key: CountKey {
            protocol: 6,
            ..CountKey::default()
        },
        iif: 2,
        len: 60,
        ethertype: 0x0800,
        mac: 0,
        network: 0,
        transport: 0,
        ..DropRecord::default()
    }
}

/// A hook of the IP chains where nf_tables did not drop.
fn hook(hook: Hook) -> HookPoint {
    HookPoint {
        hook,
        bridge: false,
        family: None,
        nft: false,
    }
}

pub(crate) fn link(address: &str) -> Link {
    Link {
        ifindex: 2,
        name: "eth0".into(),
        kind: LinkKind::Veth,
        master: None,
        peer_ifindex: None,
        peer_netnsid: None,
        mac: None,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: vec![address.parse().unwrap()],
    }
}

fn web() -> Container {
    Container {
        id: "web-id".into(),
        name: "web".into(),
        image: None,
        project: None,
        service: None,
        state: State::Running,
        pid: Some(42),
        mode: NetworkMode::Networks,
        netns: Some(WEB),
        attachments: vec![Attachment {
            network: "bridge".into(),
            network_id: "net-id".into(),
            ipv4: Some("172.17.0.2/16".parse().unwrap()),
            ipv6: None,
            gateway: None,
            mac: None,
        }],
        published: Vec::new(),
        exposed: Vec::new(),
        dns: Vec::new(),
        sysctls: Vec::new(),
        ended: None,
    }
}

fn listener(address: &str) -> Listener {
    Listener {
        transport: Transport::Tcp,
        local: address.parse().unwrap(),
        remote: None,
        inode: 1,
        uid: 0,
        receive_queue: 0,
        drops: 0,
    }
}

fn forwarding(own: i32, all: i32) -> Scene {
    Scene::new("IP_INADDRERRORS", "ip_error").settings(|settings| {
        settings.v4_forwarding = own;
        settings.v4_all_forwarding = all;
    })
}

#[test]
fn the_ingress_devices_forwarding_decides() {
    let verdict = forwarding(0, 1).verdict().unwrap();
    assert_eq!(verdict.cause.id, "interface-forwarding-disabled");
    assert_eq!(verdict.cause.confidence, Confidence::Confirmed);
    assert_eq!(
        verdict.cause.evidence[0],
        "net.ipv4.conf.eth0.forwarding = 0"
    );
    assert_eq!(forwarding(0, 0).id(), "ip-forward-disabled");
}

#[test]
fn forwarding_that_is_on_or_unknown_is_not_blamed() {
    assert_eq!(forwarding(1, 1).id(), "unexplained");
    assert_eq!(
        Scene::new("IP_INADDRERRORS", "ip_error").id(),
        "unexplained"
    );
}

#[test]
fn a_container_is_not_meant_to_forward() {
    assert_eq!(forwarding(0, 0).in_container().id(), "unexplained");
    let mut changed = forwarding(0, 0).in_container();
    changed.actual = "172.17.0.100/16";
    let verdict = changed.verdict().unwrap();
    assert_eq!(verdict.cause.id, "container-address-changed");
    assert_eq!(
        verdict.cause.evidence,
        ["Docker says 172.17.0.2, eth0 has 172.17.0.100"]
    );
}

#[test]
fn a_rejecting_route_is_named_and_a_missing_one_is_none() {
    let mut scene = Scene::new("NOT_SPECIFIED", "ip_error");
    scene.canned(0).rules = vec![PolicyRule::new(Family::V4, 32766, RuleVerdict::Table(254))];
    assert_eq!(scene.id(), "no-route");
    scene.canned(0).routes = vec![Route::new(
        "172.17.0.0/16".parse().unwrap(),
        RouteKind::Blackhole,
    )];
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "route-rejects");
    assert!(
        verdict.cause.evidence[0].contains("blackhole 172.17.0.0/16"),
        "{:?}",
        verdict.cause.evidence
    );
}

#[test]
fn only_a_strict_or_loose_filter_is_confirmed() {
    let strict = |own, all| {
        Scene::new("IP_RPFILTER", "ip_rcv_finish_core").settings(|settings| {
            settings.rp_filter = own;
            settings.all_rp_filter = all;
        })
    };
    let confidence = |scene: Scene| scene.verdict().map(|verdict| verdict.cause.confidence);
    assert_eq!(confidence(strict(0, 1)), Some(Confidence::Confirmed));
    assert_eq!(confidence(strict(0, 0)), Some(Confidence::Likely));
    assert_eq!(
        confidence(Scene::new("IP_RPFILTER", "ip_rcv_finish_core")),
        None
    );
}

#[test]
fn listeners_tell_three_refusals_apart() {
    let mut scene = Scene::new("NO_SOCKET", "tcp_v4_rcv").in_container();
    assert_eq!(scene.id(), "no-listener");
    scene.canned(1).listeners = vec![listener("127.0.0.1:80")];
    assert_eq!(scene.id(), "listener-on-loopback");
    // It has come up meanwhile.
    scene.canned(1).listeners = vec![listener("0.0.0.0:80")];
    assert_eq!(scene.id(), "unexplained");
}

/// Without docker-proxy the host refuses what no rule takes to the container.
#[test]
fn a_published_port_without_its_rule_is_told_by_the_rules() {
    let mut scene = Scene::new("NO_SOCKET", "tcp_v4_rcv");
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    (packet.dst, packet.dst_port) = (Some("198.51.100.10".parse().unwrap()), Some(10001));
    scene.networks = vec![misrouted::bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.published = vec![conntrack::published("tcp", 10001, 80)];
    let nat = |rules: &str, raw: &str| {
        let rules = format!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n{raw}COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n\
             {rules}COMMIT\n"
        );
        Some(Firewall {
            rulesets: vec![canned::save(&rules, Backend::IptablesNft)],
            notes: Vec::new(),
            ..Firewall::default()
        })
    };
    let leads = "-A DOCKER -p tcp -m tcp --dport 10001 -j DNAT --to-destination 172.17.0.2:80\n";
    scene.firewall = nat("", "");
    let told = |scene: &Scene| {
        let cause = scene.verdict().unwrap().cause;
        (cause.id.into_owned(), format!("{:?}", cause.fix))
    };
    let (id, fix) = told(&scene);
    assert_eq!(id, "nat-rules-missing");
    assert!(fix.contains("systemctl restart docker"), "{fix}");
    // It is there, and something else is wrong.
    scene.firewall = nat(leads, "");
    assert_eq!(scene.id(), "no-listener");
    // It is there, and kept from the packet.
    scene.firewall = nat(leads, "-A PREROUTING -i eth0 -j CT --notrack\n");
    let (id, fix) = told(&scene);
    assert_eq!(id, "nat-rules-missing");
    assert!(fix.contains("iptables -t raw -D PREROUTING"), "{fix}");
    assert!(!fix.contains("restart docker"), "{fix}");
    // Rules and interface went together, and what the engine says of it is still to come.
    scene.firewall = nat("", "");
    let routes = std::mem::take(&mut scene.canned(1).routes);
    assert_eq!(scene.id(), "container-stopped");
    scene.canned(1).routes = routes;
    // Not all rules could be read.
    let mut unread = nat("", "").unwrap();
    unread.notes = vec!["nft is missing".into()];
    scene.firewall = Some(unread);
    assert_eq!(scene.id(), "no-listener");
}

#[test]
fn remains_of_a_connection_ask_for_no_listener() {
    for flags in ["A", "FA", "SA", "R", "RA"] {
        let mut scene = Scene::new("NO_SOCKET", "tcp_v4_rcv").in_container();
        scene.evidence.drop.packet.as_mut().unwrap().tcp_flags = Some(flags.into());
        assert_eq!(scene.id(), "unexplained", "{flags}");
    }
}

#[test]
fn noise_is_told_by_its_own_evidence() {
    let certain = |scene: &Scene| scene.ask(noise::certain);
    assert_eq!(
        certain(&Scene::new("QUEUE_PURGE", "__skb_queue_purge")),
        Some("teardown")
    );
    assert_eq!(
        certain(&Scene::new("NO_SOCKET", "ping_rcv")),
        Some("ping-reply")
    );
    // Linux 6.1.
    for (reason, location, noise) in [
        ("NO_SOCKET", "icmp_rcv", "ping-reply"),
        ("NO_SOCKET", "icmpv6_rcv", "ping-reply"),
        ("NOT_SPECIFIED", "icmpv6_rcv", "handled"),
        ("NOT_SPECIFIED", "inet_sock_destruct", "teardown"),
    ] {
        let scene = Scene::new(reason, location);
        assert_eq!(certain(&scene), Some(noise), "{reason}@{location}");
    }
    assert_eq!(certain(&Scene::new("ICMP_CSUM", "icmpv6_rcv")), None);
    assert_eq!(certain(&Scene::new("NO_SOCKET", "tcp_v4_rcv")), None);
    let mut reset = Scene::new("NO_SOCKET", "tcp_v4_rcv");
    reset.evidence.drop.packet.as_mut().unwrap().tcp_flags = Some("R".into());
    assert_eq!(certain(&reset), Some("teardown"));
    assert_eq!(
        certain(&Scene::new("NOT_SPECIFIED", "sk_stream_kill_queues")),
        Some("teardown")
    );
    // An old timestamp is harmless on a bare acknowledgement only: a SYN that it kills is a failure.
    let mut paws = Scene::new("TCP_RFC7323_PAWS", "tcp_validate_incoming");
    assert_eq!(certain(&paws), None);
    let packet = paws.evidence.drop.packet.as_mut().unwrap();
    packet.tcp_flags = Some("A".into());
    packet.length = 52;
    assert_eq!(certain(&paws), Some("overtaken"));
    paws.evidence.drop.packet.as_mut().unwrap().length = 600;
    assert_eq!(certain(&paws), None);
}

/// Before 5.18: the location, the settings and the way back say what a reason says later.
#[test]
fn old_kernels_tell_no_reasons() {
    let mut scene = Scene::new("", "tcp_v4_rcv").in_container();
    scene.evidence.drop.reason = None;
    assert_eq!(scene.ask(noise::certain), None);
    assert_eq!(scene.id(), "no-listener");
    let filtered = |location| {
        let mut scene = Scene::new("", location).settings(|settings| {
            settings.rp_filter = 1;
            settings.all_rp_filter = 0;
        });
        scene.evidence.drop.reason = None;
        let back = RouteQuery::to(scene.evidence.drop.packet.as_ref().unwrap().src.unwrap());
        let nowhere = RouteAnswer::Refused(Refusal {
            errno: libc::ENETUNREACH,
        });
        scene.canned(0).lookups.insert(back, nowhere);
        scene
    };
    assert_eq!(filtered("ip_rcv_finish_core").id(), "rp-filter");
    assert_eq!(filtered("ip_rcv_core").id(), "unexplained");
    let off = filtered("ip_rcv_finish_core").settings(|settings| settings.rp_filter = 0);
    assert_eq!(off.id(), "unexplained");
}

#[test]
fn without_reasons_only_what_fits_a_cause_is_worth_a_line() {
    let mut scene = Scene::new("NOT_SPECIFIED", "some_function");
    assert_eq!(scene.ask(noise::leftover), None);
    scene.evidence.drop.reason = None;
    assert_eq!(scene.ask(noise::leftover), Some("no-reason"));
}
