//! Programs that hang somewhere, and ports of a bridge.

use super::{Scene, hook};
use crate::host::attached::{At, Attached};

fn attached(at: At) -> Attached {
    Attached {
        at,
        id: Some(7),
        name: "filter".into(),
        link: Some(3),
        priority: None,
    }
}

#[test]
fn a_program_is_blamed_for_what_happens_where_it_hangs() {
    let mut scene = Scene::new("TC_INGRESS", "__netif_receive_skb_core");
    // Nothing of others hangs there.
    assert_eq!(scene.id(), "unexplained");
    scene
        .canned(0)
        .attached
        .insert("eth0".into(), vec![attached(At::TcxEgress)]);
    assert_eq!(scene.id(), "unexplained");
    scene
        .canned(0)
        .attached
        .insert("eth0".into(), vec![attached(At::TcxIngress)]);
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "bpf-drop");
    assert_eq!(
        verdict.cause.evidence[0],
        "tcx ingress: BPF program 7 (filter)"
    );
    scene
        .canned(0)
        .attached
        .insert("eth1".into(), vec![attached(At::TcxIngress)]);
    scene.canned(0).attached.remove("eth0");
    assert_eq!(scene.id(), "unexplained");
}

#[test]
fn each_of_two_commands_is_run_in_the_container() {
    let mut scene = Scene::new("XDP", "do_xdp_generic").in_container();
    let mut program = attached(At::Xdp);
    program.link = None;
    scene
        .canned(1)
        .attached
        .insert("eth0".into(), vec![program]);
    let text = format!("{:?}", scene.verdict().unwrap().cause.fix);
    let (first, second) = text.split_once(" && ").unwrap();
    for command in [first, second] {
        assert!(command.contains("nsenter --net="), "{text}");
    }
}

#[test]
fn a_cgroups_programs_are_asked_for_the_containers_process() {
    let mut scene = Scene::new("BPF_CGROUP_EGRESS", "ip_finish_output").in_container();
    assert_eq!(scene.id(), "unexplained");
    scene
        .state
        .cgroups
        .insert(42, vec![attached(At::CgroupIngress)]);
    assert_eq!(scene.id(), "unexplained");
    scene
        .state
        .cgroups
        .insert(42, vec![attached(At::CgroupEgress)]);
    assert_eq!(scene.id(), "bpf-drop");
}

#[test]
fn localhost_is_refused_only_where_neither_switch_is_on() {
    use crate::host::firewall::Hook;
    let scene = |own: &str, all: &str| {
        let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
        scene.evidence.hook = Some(hook(Hook::Output));
        let loopback = "127.0.0.1".parse().unwrap();
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.src = Some(loopback);
        scene.evidence.drop.nat.as_mut().unwrap().original.dst = loopback;
        scene.networks = vec![super::misrouted::bridge_network(
            "172.17.0.0/16",
            "172.17.0.1",
        )];
        for (name, value) in [("docker0", own), ("all", all)] {
            let key = format!("net/ipv4/conf/{name}/route_localnet");
            scene.canned(0).sysctls.insert(key, value.into());
        }
        scene
    };
    assert_eq!(scene("0", "0").id(), "route-localnet");
    assert_eq!(scene("1", "0").id(), "unexplained");
    assert_eq!(scene("0", "1").id(), "unexplained");
    let mut other = scene("0", "0");
    other.evidence.drop.packet.as_mut().unwrap().src = Some("198.51.100.10".parse().unwrap());
    assert_eq!(other.id(), "unexplained");
}
