//! Listings of any content, and every question about what was read. See [`crate::hostile`].

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Backend, Engine, Env, Family, Firewall, FlowPacket, Hook, Ruleset, Site, attribute, ebtables,
    iptables, moved, nft, nft_text::Texts, simulate, translate,
};

pub(crate) fn nft(json: &str, listing: &str) {
    let texts = Texts::parse(listing);
    if let Ok(ruleset) = nft::parse(json, &texts) {
        ask(ruleset);
    }
}

pub(crate) fn iptables(kind: u8, text: &str) {
    let family = if kind & 1 == 0 {
        Family::Ip
    } else {
        Family::Ip6
    };
    let backend = if kind & 2 == 0 {
        Backend::IptablesNft
    } else {
        Backend::IptablesLegacy
    };
    ask(iptables::parse(text, backend, family));
}

pub(crate) fn ebtables(text: &str) {
    ask(ebtables::parse(text));
}

fn ask(ruleset: Ruleset) {
    let firewall = Firewall {
        rulesets: vec![ruleset],
        notes: Vec::new(),
        ..Firewall::default()
    };
    every_question(&firewall, &Vec::<ipnet::IpNet>::new());
}

/// All that is ever asked of a firewall; whatever it is, there is an answer. `host`: what only the host knows.
pub(crate) fn every_question(firewall: &Firewall, host: &dyn Env) {
    let known = FlowPacket {
        proto: Some(6),
        src: Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20))),
        dst: Some(IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2))),
        sport: Some(40_000),
        dport: Some(80),
        iif: Some("eth0".to_owned()),
        oif: Some("docker0".to_owned()),
        mark: Some(0),
        ..FlowPacket::default()
    };
    for packet in [known, FlowPacket::default()] {
        for hook in [
            Hook::Ingress,
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
            Hook::Egress,
        ] {
            let _ = simulate(firewall, &packet, hook, host);
            let _ = translate(firewall, &packet, hook, host);
            for bridge in [false, true] {
                let mut site = Site::new(hook);
                site.bridge = bridge;
                for engine in [Engine::Nft, Engine::Legacy] {
                    site.engine = Some(engine);
                    let found = attribute(None, firewall, &packet, &site, host);
                    let _ = found.map(|found| (found.place(), crate::model::Rule::from(&found)));
                }
            }
        }
    }
    let _ = moved(&Firewall::default(), firewall);
    let _ = (
        firewall.docker_user_rules(),
        firewall.dnat_targets(),
        firewall.active_backends(),
    );
    let _ = (
        firewall.has_docker_chains(Family::Ip),
        firewall.docker_iptables(),
    );
    let _ = firewall.forward_policies(Family::Ip);
    let _ = firewall.masquerades_own("eth0");
    let subnet = Ipv4Addr::new(172, 17, 0, 0).into();
    let subnet = ipnet::IpNet::new(subnet, 16);
    let _ = subnet.map(|subnet| firewall.has_masquerade_for(subnet));
}
