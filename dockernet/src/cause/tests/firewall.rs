//! Rules that are there, are gone, or are in another backend.

use dockernet_common::conntrack::info;

use super::{
    Scene, hook,
    misrouted::{bridge_network, docker0},
};
use crate::{
    evidence::HookPoint,
    host::{
        firewall::{Backend, Family, Firewall, Hook, Ruleset, canned},
        ipvs::{Frontend, Service},
    },
    model::{Confidence, Fix, Icmp, Packet},
};

const DROPPING: &str =
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

fn rules(text: &str, backend: Backend) -> Ruleset {
    canned::save(
        &format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{text}COMMIT\n"
        ),
        backend,
    )
}

fn docker(text: &str, backend: Backend) -> Ruleset {
    let chains = ":DOCKER - [0:0]\n-A FORWARD -o docker0 -j DOCKER\n-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\n";
    rules(&format!("{chains}{text}"), backend)
}

/// A SYN for web that a rule on the forward hook dropped.
fn dropped(rulesets: Vec<Ruleset>) -> Scene {
    let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
    scene.evidence.hook = Some(hook(Hook::Forward));
    scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.firewall = Some(Firewall {
        rulesets,
        notes: Vec::new(),
        ..Firewall::default()
    });
    scene
}

#[test]
fn a_rules_program_is_named_where_iptables_alone_is_the_other() {
    let rule = "-A FORWARD -p tcp -m tcp --dport 80 -j DROP\n";
    let fix = |is_legacy_plain: bool| {
        let mut scene = dropped(vec![rules(rule, Backend::IptablesNft)]);
        scene.evidence.drop.location = Some("nft_do_chain".into());
        if let Some(hook) = &mut scene.evidence.hook {
            hook.nft = true;
        }
        if let Some(firewall) = &mut scene.firewall {
            firewall.is_legacy_plain = is_legacy_plain;
        }
        format!("{:?}", scene.verdict().unwrap().cause.fix)
    };
    assert!(fix(false).contains("\"iptables -"), "{}", fix(false));
    assert!(fix(true).contains("\"iptables-nft -"), "{}", fix(true));
}

fn native() -> Ruleset {
    canned::native(
        include_str!("../../host/firewall/testdata/docker-29-nft.json"),
        include_str!("../../host/firewall/testdata/docker-29-nft.txt"),
    )
}

#[test]
fn a_policy_that_iptables_left_is_in_the_way_of_the_nftables_backend() {
    let legacy = canned::save(DROPPING, Backend::IptablesLegacy);
    assert_eq!(
        dropped(vec![native(), legacy.clone()]).id(),
        "nftables-backend-forwarding"
    );
    // A rule that somebody wrote is that.
    let rule = rules(
        "-A FORWARD -s 198.51.100.20/32 -j DROP\n",
        Backend::IptablesLegacy,
    );
    assert_eq!(dropped(vec![native(), rule]).id(), "forward-drop");
    // No Docker anywhere.
    assert_eq!(dropped(vec![legacy]).id(), "forward-drop");
}

#[test]
fn an_engine_that_writes_no_rules_is_not_restarted_for_them() {
    let mut scene = dropped(vec![canned::save(DROPPING, Backend::IptablesLegacy)]);
    let told = |scene: &Scene| format!("{:?}", scene.verdict().unwrap().cause);
    assert!(told(&scene).contains("systemctl restart docker"));
    scene.state.writes_no_rules = true;
    let cause = told(&scene);
    assert!(!cause.contains("restart docker"), "{cause}");
    assert!(
        cause.contains("iptables: false") && cause.contains("-I FORWARD -i eth0"),
        "{cause}"
    );
}

#[test]
fn the_other_backend_is_blamed_only_where_docker_is_in_this_one() {
    let drop = "-A FORWARD -i eth0 -j DROP\n";
    let legacy = |text: &str| rules(text, Backend::IptablesLegacy);
    let mixed = dropped(vec![docker("", Backend::IptablesNft), legacy(drop)]);
    assert_eq!(mixed.id(), "iptables-backend-mix");
    let same = dropped(vec![docker(drop, Backend::IptablesLegacy)]);
    assert_ne!(same.id(), "iptables-backend-mix");
    let alone = dropped(vec![rules("", Backend::IptablesNft), legacy(drop)]);
    assert_eq!(alone.id(), "forward-drop");
}

#[test]
fn invalid_is_what_would_pass_as_established() {
    let scene = |text: &str, flags: &str| {
        let mut scene = dropped(vec![docker(text, Backend::IptablesLegacy)]);
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.tcp_flags = Some(flags.into());
        packet.dst_port = Some(8080);
        scene
    };
    let stateful = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i eth0 -j DROP\n";
    assert_eq!(scene(stateful, "PA").id(), "conntrack-invalid");
    // The first packet of a connection.
    assert_eq!(scene(stateful, "S").id(), "forward-drop");
    // The last ones come late, and nobody waits for them; where a rule drops in whatever state they are as good as others.
    for flags in ["R", "RA", "FA"] {
        let mut late = scene(stateful, flags);
        assert!(late.verdict().is_none(), "{flags}");
        assert_eq!(
            scene("-A FORWARD -i eth0 -j DROP\n", flags).id(),
            "forward-drop",
            "{flags}"
        );
        // One that carries data is waited for.
        let packet = late.evidence.drop.packet.as_mut().unwrap();
        let length = std::mem::replace(&mut packet.length, 400);
        assert_eq!(late.id(), "forward-drop", "{flags}");
        late.evidence.drop.packet.as_mut().unwrap().length = length;
        // Kept out of conntrack by a rule.
        late.evidence.record.conntrack.info = info::UNTRACKED;
        assert_eq!(late.id(), "forward-drop", "{flags}");
    }
    // A rule that drops in whatever state.
    assert_eq!(
        scene("-A FORWARD -i eth0 -j DROP\n", "PA").id(),
        "forward-drop"
    );
}

#[test]
fn only_the_message_about_the_size_makes_a_black_hole() {
    let scene = |code: u8| {
        let text = "-A OUTPUT -p icmp -j DROP\n";
        let mut scene = dropped(vec![rules(text, Backend::IptablesLegacy)]);
        scene.evidence.hook = scene.evidence.hook.map(|point| HookPoint {
            hook: Hook::Output,
            ..point
        });
        scene.evidence.record.key.protocol = 1;
        scene.evidence.drop.nat = None;
        let about = scene.evidence.drop.packet.clone().unwrap();
        scene.evidence.drop.packet = Some(Packet {
            protocol: "icmp".into(),
            src_port: None,
            dst_port: None,
            tcp_flags: None,
            icmp: Some(Icmp {
                icmp_type: 3,
                code,
                id: None,
                inner: Some(Box::new(about.clone())),
            }),
            ..about
        });
        scene
    };
    assert_eq!(scene(4).id(), "pmtu-blackhole");
    assert_ne!(scene(1).id(), "pmtu-blackhole");
}

#[test]
fn a_firewalld_that_has_left_dockers_rules_alone_is_not_blamed() {
    let firewalld = || {
        canned::native(
            include_str!("../../host/firewall/testdata/firewalld.json"),
            include_str!("../../host/firewall/testdata/firewalld.txt"),
        )
    };
    let scene = |rulesets| {
        let mut scene = dropped(rulesets);
        scene.evidence.drop.location = Some("nft_do_chain".into());
        scene.evidence.hook = Some(HookPoint {
            hook: Hook::Forward,
            bridge: false,
            family: Some("inet"),
            nft: true,
        });
        scene.evidence.drop.nat = None;
        scene
    };
    assert_eq!(scene(vec![firewalld()]).id(), "firewalld-reload");
    let both = scene(vec![firewalld(), docker("", Backend::IptablesNft)]);
    assert_ne!(both.id(), "firewalld-reload");
    // Nobody needs Docker's rules.
    let mut alone = scene(vec![firewalld()]);
    alone.networks.clear();
    assert_ne!(alone.id(), "firewalld-reload");
}

#[test]
fn a_virtual_service_is_blamed_where_it_has_no_server_and_no_rule_did_it() {
    let mut scene = dropped(vec![rules("", Backend::IptablesNft)]);
    scene.evidence.hook = Some(hook(Hook::Input));
    let (address, port) = scene
        .evidence
        .drop
        .packet
        .as_ref()
        .and_then(|packet| packet.dst.zip(packet.dst_port))
        .unwrap();
    let service = |port, servers, ready| Service {
        frontend: Frontend::Address {
            protocol: 6,
            address,
            port,
        },
        servers,
        ready,
    };
    assert_eq!(scene.id(), "unexplained");
    // Another port's, and one with a server.
    scene.canned(0).ipvs = vec![service(port + 1, 0, 0), service(port, 2, 1)];
    assert_eq!(scene.id(), "unexplained");
    scene.canned(0).ipvs = vec![service(port, 2, 0)];
    assert_eq!(scene.id(), "ipvs-no-backend");
    // Swarm's ingress marks packets.
    scene.canned(0).ipvs = vec![Service {
        frontend: Frontend::Mark(300),
        servers: 0,
        ready: 0,
    }];
    assert_eq!(scene.id(), "unexplained");
    if let Some(packet) = scene.evidence.drop.packet.as_mut() {
        packet.mark = 300;
    }
    assert_eq!(scene.id(), "ipvs-no-backend");
    // A rule that drops it comes first.
    let mut beside = |condition: &str| {
        let text = format!("-A INPUT -p tcp --dport {port} {condition}-j DROP\n");
        scene.firewall = Some(Firewall {
            rulesets: vec![rules(&text, Backend::IptablesLegacy)],
            notes: Vec::new(),
            ..Firewall::default()
        });
        scene.verdict().unwrap().cause
    };
    assert_eq!(beside("").id, "host-input-drop");
    // Of one that only may drop it, both are said.
    let both = beside("-m limit --limit 5/sec ");
    assert_eq!(both.id, "ipvs-no-backend");
    assert_eq!(both.confidence, Confidence::Likely);
    let other = |fact: &String| fact.starts_with("or the host's own firewall drops");
    assert!(both.evidence.iter().any(other), "{both:?}");
}

/// An engine that writes rules for IPv6 alone has lost none of IPv4, and a restart of it mends nothing.
#[test]
fn a_policy_beside_chains_of_the_other_family_was_not_flushed() {
    let mut six = docker("", Backend::IptablesLegacy);
    for table in &mut six.tables {
        table.family = Family::Ip6;
    }
    let scene = dropped(vec![canned::save(DROPPING, Backend::IptablesLegacy), six]);
    let cause = scene.verdict().unwrap().cause;
    assert_eq!(cause.id, "forward-drop");
    let text = format!("{cause:?}");
    assert!(text.contains("iptables-legacy -P FORWARD ACCEPT"), "{text}");
    assert!(!text.contains("restart docker"), "{text}");
}

#[test]
fn a_bridge_is_blamed_where_dockers_own_accepts_are_there() {
    let bridged = |rules: Ruleset| {
        let mut scene = dropped(vec![rules]);
        scene.evidence.hook = scene.evidence.hook.map(|point| HookPoint {
            bridge: true,
            ..point
        });
        let bridge = docker0(&["172.17.0.1/16"]);
        scene.host_links[0].master = Some(bridge.ifindex);
        scene.host_links.push(bridge);
        scene
    };
    let rule = ":DOCKER - [0:0]\n-A FORWARD -p tcp -j DROP\n-A FORWARD -o docker0 -j DOCKER\n";
    let foreign = bridged(rules(rule, Backend::IptablesLegacy));
    assert_eq!(foreign.id(), "bridge-nf-foreign-drop");
    // Docker's chains were flushed from FORWARD, and its policy stayed: what is routed dies of it too.
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\nCOMMIT\n";
    let flushed = |nat: &str| {
        bridged(canned::save(
            &format!("{nat}{DROPPING}"),
            Backend::IptablesLegacy,
        ))
    };
    assert_eq!(flushed(nat).id(), "forward-drop");
    // A bridge that is not Docker's has no accepts of its to lose.
    let mut other = flushed(nat);
    other.networks.clear();
    assert_eq!(other.id(), "bridge-nf-foreign-drop");
    // Nothing is Docker's: the policy is somebody else's, and so is the bridge's lack of an accept.
    assert_eq!(flushed("").id(), "bridge-nf-foreign-drop");
}

/// Its rule of table nat is gone, and the packet comes to the host itself.
#[test]
fn what_is_not_translated_and_then_dropped_lacks_its_translation() {
    let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
    scene.evidence.hook = Some(hook(Hook::Input));
    scene.evidence.drop.nat = None;
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    (packet.dst, packet.dst_port) = (Some("198.51.100.10".parse().unwrap()), Some(10001));
    scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.published = vec![super::conntrack::published("tcp", 10001, 80)];
    let mut told = |leads: &str| {
        let text = format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n{leads}COMMIT\n\
             *filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
        );
        scene.firewall = Some(Firewall {
            rulesets: vec![canned::save(&text, Backend::IptablesLegacy)],
            notes: Vec::new(),
            ..Firewall::default()
        });
        scene.verdict().unwrap().cause
    };
    let missing = told("");
    assert_eq!(missing.id, "nat-rules-missing");
    let where_ = |fact: &String| fact.contains("INPUT policy drops it");
    assert!(missing.evidence.iter().any(where_), "{missing:?}");
    let leads = "-A DOCKER -p tcp -m tcp --dport 10001 -j DNAT --to-destination 172.17.0.2:80\n";
    assert_eq!(told(leads).id, "host-input-drop");
    // Docker may have been told to write none.
    scene.firewall = Some(Firewall {
        rulesets: vec![rules("-A INPUT -j DROP\n", Backend::IptablesLegacy)],
        notes: Vec::new(),
        ..Firewall::default()
    });
    let none = scene.verdict().unwrap().cause;
    assert_eq!(none.id, "host-input-drop");
    let swept = |fact: &String| fact.contains("no chain of Docker's is in the firewall");
    assert!(none.evidence.iter().any(swept), "{none:?}");
}

/// Whether the string is in the packet and whether the limit was reached is not known here.
#[test]
fn rules_of_two_purposes_are_both_said() {
    let text = ":DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -m string --algo bm --string \"secret\" -j DROP\n\
                -A FORWARD -i eth0 -m limit --limit 5/sec -j DROP\n";
    let verdict = dropped(vec![rules(text, Backend::IptablesLegacy)])
        .verdict()
        .unwrap();
    let cause = &verdict.cause;
    assert_eq!(cause.id, "docker-user-drop");
    assert_eq!(cause.confidence, Confidence::Likely);
    assert_eq!(verdict.rule, None);
    assert!(cause.summary.contains(", or "), "{}", cause.summary);
    for rule in ["DOCKER-USER #1", "FORWARD #2"] {
        let told = |fact: &String| fact.starts_with(rule);
        assert!(cause.evidence.iter().any(told), "{rule}: {cause:?}");
    }
    let deletes = |place: &str| {
        let command = |fix: &Fix| matches!(fix, Fix::Command { run, .. } if run.contains(place));
        cause.fix.iter().any(command)
    };
    assert!(deletes("-D DOCKER-USER"), "{:?}", cause.fix);
    assert!(deletes("-D FORWARD"), "{:?}", cause.fix);
    assert!(
        matches!(&cause.fix[0], Fix::Advice { advice } if advice.contains("iptables-legacy -vnL"))
    );

    // One of them alone is that.
    let alone = "-A FORWARD -i eth0 -m limit --limit 5/sec -j DROP\n";
    let verdict = dropped(vec![rules(alone, Backend::IptablesLegacy)])
        .verdict()
        .unwrap();
    assert_eq!(verdict.cause.id, "forward-drop");
    assert!(!verdict.cause.summary.contains(", or "));
    assert!(verdict.rule.is_some());
}
