#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use super::*;
use crate::{
    host::{
        docker::{Action, Event, Inspect, Place},
        link::{Change, Notice},
    },
    inventory::{
        engine::Update,
        observe::{Observation, Probe, Seen},
    },
    model::EndpointKind,
};

const HOST: NetnsKey = NetnsKey(10);
const INUM: u32 = 4_026_531_840;

fn state() -> State {
    let mut state = State::new(HOST, INUM);
    let mut docker0 = link(3, LinkKind::Bridge);
    docker0.addresses = vec!["172.17.0.1/16".parse().unwrap()];
    state.observed(look(vec![seen(INUM, HOST.0, None, vec![docker0], &[])]));
    state
}

fn link(ifindex: u32, kind: LinkKind) -> Link {
    Link {
        ifindex,
        name: format!("link{ifindex}"),
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

fn veth(ifindex: u32, nsid: i32, master: Option<u32>) -> Link {
    Link {
        master,
        peer_netnsid: Some(nsid),
        ..link(ifindex, LinkKind::Veth)
    }
}

fn seen(inum: u32, key: u64, nsid: Option<i32>, links: Vec<Link>, members: &[(&str, i32)]) -> Seen {
    Seen {
        inum,
        path: "/proc/1/ns/net".into(),
        name: None,
        sandbox: None,
        process: members.is_empty().then(|| (7, "sleep".to_owned())),
        members: members
            .iter()
            .map(|(id, pid)| ((*id).to_owned(), *pid))
            .collect(),
        probe: Some(Probe {
            key: NetnsKey(key),
            nsid,
            links,
        }),
    }
}

/// A look at everything that did not enter the host again.
fn look(mut spaces: Vec<Seen>) -> Observation {
    if !spaces.iter().any(|space| space.inum == INUM) {
        let mut host = seen(INUM, HOST.0, None, Vec::new(), &[]);
        host.probe = None;
        spaces.push(host);
    }
    Observation {
        complete: true,
        spaces,
        ..Observation::default()
    }
}

fn container(id: &str, address: Option<&str>, pid: Option<i64>) -> Container {
    let place = Place {
        network_id: Some("n1".to_owned()),
        ip_address: address.map(str::to_owned),
        ip_prefix_len: Some(16),
        ..Place::default()
    };
    Inspect {
        id: id.to_owned(),
        name: Some(format!("/{id}")),
        running: pid.is_some(),
        pid,
        networks: [("bridge".to_owned(), place)].into(),
        ..Inspect::default()
    }
    .into_container()
}

fn event(action: Action, id: &str) -> Update {
    Update::Event(Event {
        action,
        container: Some(id.to_owned()),
        name: Some(id.to_owned()),
        image: None,
        project: None,
        service: None,
        time: "1.0".to_owned(),
    })
}

fn notice(nsid: Option<i32>, change: Change) -> Notice {
    Notice { nsid, change }
}

fn up() -> Update {
    Update::Status(EngineStatus::Up {
        version: "28".to_owned(),
        podman: false,
        rootless: false,
    })
}

fn name(inventory: &Inventory, addr: &str) -> Option<String> {
    let addr: IpAddr = addr.parse().unwrap();
    let endpoint = inventory.endpoint(addr, None);
    endpoint.container.map(|container| container.name)
}

#[test]
fn a_container_lives_and_dies() {
    let mut state = state();
    state.update(up());
    state.update(event(Action::Create, "web"));
    let unseen = state.update(Update::One(container("web", Some("172.17.0.2"), Some(42))));
    assert_eq!(unseen, [42]);
    // Its address is known before its namespace.
    assert_eq!(
        name(&state.snapshot(), "172.17.0.2").as_deref(),
        Some("web")
    );

    let need = state.noticed(&notice(None, Change::Link(veth(5, 0, Some(3)))));
    assert_eq!(need, Need::New);
    let mut inside = link(4, LinkKind::Veth);
    inside.addresses = vec!["172.17.0.2/16".parse().unwrap()];
    state.observed(look(vec![seen(
        2,
        20,
        Some(0),
        vec![inside],
        &[("web", 42)],
    )]));
    let address = "172.17.0.60/16".parse().unwrap();
    let need = state.noticed(&notice(Some(0), Change::Address(4, address)));
    assert_eq!(need, Need::Nothing);
    let inventory = state.snapshot();
    assert_eq!(inventory.container_behind(5).unwrap().name, "web");
    assert_eq!(
        inventory.container("web").unwrap().netns,
        Some(NetnsKey(20))
    );
    assert_eq!(name(&inventory, "172.17.0.60").as_deref(), Some("web"));
    let id = inventory.endpoint_id("web");

    // Die, the namespace goes, then the veth, then the container.
    state.update(event(Action::Die, "web"));
    state.noticed(&notice(None, Change::Unwired(0)));
    state.noticed(&notice(Some(0), Change::LinkGone(4)));
    state.noticed(&notice(None, Change::LinkGone(5)));
    state.update(event(Action::Destroy, "web"));
    state.observed(look(vec![]));
    let inventory = state.snapshot();
    assert_eq!(name(&inventory, "172.17.0.2").as_deref(), Some("web"));
    assert_eq!(inventory.container_behind(5).unwrap().name, "web");
    assert_eq!(inventory.link(HOST, 5).unwrap().name, "link5");
    assert_eq!(inventory.near(NetnsKey(20)), Some(true));
    assert_eq!(inventory.endpoint_id("web"), id);
    assert!(inventory.container("web").unwrap().ended.is_some());

    // Its address goes to another, which gets another number.
    state.update(Update::One(container("api", Some("172.17.0.2"), Some(43))));
    let inventory = state.snapshot();
    assert_eq!(name(&inventory, "172.17.0.2").as_deref(), Some("api"));
    assert_ne!(inventory.endpoint_id("api"), id);
}

/// The engine says that it has started, and does not answer when asked about it.
#[test]
fn a_container_that_starts_again_is_alive_before_the_engine_tells_more() {
    let mut state = state();
    state.update(up());
    state.update(Update::One(container("web", Some("172.17.0.2"), Some(42))));
    state.update(event(Action::Die, "web"));
    let ended = state.snapshot().container("web").unwrap().clone();
    assert!(ended.ended.is_some() && !ended.runs());
    state.update(event(Action::Start, "web"));
    let again = state.snapshot().container("web").unwrap().clone();
    assert!(again.ended.is_none() && again.runs());
    // Its processes are found in a namespace.
    state.noticed(&notice(None, Change::Link(veth(5, 0, Some(3)))));
    let inside = vec![link(4, LinkKind::Veth)];
    state.observed(look(vec![seen(2, 21, Some(0), inside, &[("web", 43)])]));
    let inventory = state.snapshot();
    assert_eq!(
        inventory.container("web").unwrap().netns,
        Some(NetnsKey(21))
    );
    // What runs is left as it is.
    state.update(event(Action::Start, "web"));
    assert_eq!(state.snapshot().container("web").unwrap().pid, Some(43));
}

#[test]
fn an_answer_after_the_end_keeps_what_was_known() {
    let mut state = state();
    state.update(Update::One(container("web", Some("172.17.0.2"), Some(42))));
    state.update(event(Action::Die, "web"));
    state.update(Update::One(container("web", None, None)));
    assert_eq!(
        name(&state.snapshot(), "172.17.0.2").as_deref(),
        Some("web")
    );
}

#[test]
fn a_reused_inode_number_is_another_namespace() {
    let mut state = state();
    state.observed(look(vec![seen(2, 20, None, vec![], &[("a", 42)])]));
    state.update(Update::One(container("a", None, Some(42))));
    state.observed(look(vec![seen(2, 21, None, vec![], &[("b", 43)])]));
    state.update(Update::One(container("b", None, Some(43))));
    let inventory = state.snapshot();
    assert_eq!(inventory.netns_by_inum(2).unwrap().key, NetnsKey(21));
    let owners = |key| match &inventory.netns(NetnsKey(key)).unwrap().owner {
        Owner::Containers(ids) => ids.clone(),
        _ => Vec::new(),
    };
    assert_eq!(owners(20), ["a"]);
    assert_eq!(owners(21), ["b"]);
}

#[test]
fn only_what_a_bridge_leads_to_is_near() {
    let mut state = state();
    state.noticed(&notice(None, Change::Link(veth(5, 0, Some(3)))));
    state.noticed(&notice(None, Change::Link(veth(6, 1, None))));
    state.observed(look(vec![
        seen(2, 20, Some(0), vec![], &[]),
        seen(3, 30, Some(1), vec![], &[]),
        seen(4, 40, None, vec![], &[("foreign", 99)]),
        seen(5, 50, Some(2), vec![], &[("strange", 98)]),
    ]));
    let inventory = state.snapshot();
    assert_eq!(inventory.near(NetnsKey(20)), Some(true));
    assert_eq!(inventory.near(NetnsKey(30)), Some(false));
    assert_eq!(inventory.near(NetnsKey(40)), Some(false));
    assert_eq!(inventory.containers().count(), 0);
    // An unknown engine's container is named by its number once it is wired to this host.
    state.noticed(&notice(None, Change::Link(veth(7, 2, Some(3)))));
    let inventory = state.snapshot();
    assert_eq!(inventory.near(NetnsKey(50)), Some(true));
    assert_eq!(inventory.container("strange").unwrap().name, "strange");
}

#[test]
fn several_in_one_namespace() {
    let mut state = state();
    let mut side = container("a-side", None, Some(43));
    side.mode = NetworkMode::Container("vpn".to_owned());
    state.update(Update::One(side));
    state.update(Update::One(container("vpn", Some("172.17.0.2"), Some(42))));
    state.observed(look(vec![seen(2, 20, None, vec![], &[("vpn", 42)])]));
    // Only the second's process is looked at; the first stays where it is.
    let mut second = look(vec![seen(2, 20, None, vec![], &[("a-side", 43)])]);
    second.complete = false;
    state.observed(second);
    let inventory = state.snapshot();
    let endpoint = inventory.endpoint("172.17.0.2".parse().unwrap(), None);
    assert_eq!(endpoint.kind, EndpointKind::Container);
    let reference = endpoint.container.unwrap();
    assert_eq!(
        (reference.name.as_str(), reference.shared_with.as_slice()),
        ("vpn", &["a-side".to_owned()][..])
    );
}

#[test]
fn without_an_engine() {
    let mut state = state();
    state.update(Update::Status(EngineStatus::Down {
        reason: "it hangs".to_owned(),
    }));
    let mut first = look(vec![seen(2, 20, None, vec![], &[("web", 42)])]);
    first.described = vec![
        container("web", Some("172.17.0.2"), Some(42)),
        // Its file says that it runs; nothing else does.
        container("stale", Some("172.17.0.3"), Some(41)),
    ];
    state.observed(first);
    let inventory = state.snapshot();
    assert_eq!(inventory.container("web").unwrap().state, Run::Running);
    assert_eq!(inventory.container("stale").unwrap().state, Run::Stopped);
    assert_eq!(name(&inventory, "172.17.0.3"), None);
    assert_eq!(inventory.networks().count(), 1);
    state.observed(look(vec![]));
    let inventory = state.snapshot();
    assert!(inventory.container("web").unwrap().ended.is_some());
    assert_eq!(name(&inventory, "172.17.0.2").as_deref(), Some("web"));
}

#[test]
fn an_engine_back_with_fewer_containers() {
    let mut state = state();
    state.update(Update::All(vec![
        container("a", Some("172.17.0.2"), Some(i64::from(i32::MAX))),
        container("b", Some("172.17.0.3"), Some(1)),
    ]));
    state.update(Update::All(vec![container(
        "b",
        Some("172.17.0.3"),
        Some(1),
    )]));
    let inventory = state.snapshot();
    assert!(inventory.container("a").unwrap().ended.is_some());
    assert!(inventory.container("b").unwrap().ended.is_none());
}

#[test]
fn whom_a_later_list_lacks_has_ended() {
    let mut state = state();
    let gone = container("a", Some("172.17.0.2"), Some(i64::from(i32::MAX)));
    let stays = container("b", Some("172.17.0.3"), Some(1));
    state.update(Update::All(vec![gone, stays.clone()]));
    state.update(up());
    // Of one it was told that it came, and no more; another is another engine's.
    state.update(event(Action::Create, "c"));
    state.noticed(&notice(None, Change::Link(veth(5, 0, Some(3)))));
    state.observed(look(vec![seen(2, 20, Some(0), vec![], &[("d", 42)])]));
    state.update(Update::Listed(["b".to_owned()].into()));
    let inventory = state.snapshot();
    for (id, has_ended) in [("a", true), ("c", true), ("d", false)] {
        let container = inventory.container(id).unwrap();
        assert_eq!(container.ended.is_some(), has_ended, "{id}");
    }
    // Nothing else is changed by it.
    assert_eq!(*inventory.container("b").unwrap(), stays);
    state.update(Update::Listed(["b".to_owned()].into()));
    assert!(!state.changed());
}
