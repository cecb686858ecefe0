//! Command lines, from what is typed to what is meant.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    Exit, Filter, Ignore, Job, Options, Refusal, Usage, args,
    options::{Explainable, Output, Scope, explainable},
    parse,
};
use crate::{
    model::{Drop, EndpointKind},
    report::samples::{denied, incident, ip, mystery},
};

const CAUSES: &[&str] = &[
    "docker-user-drop",
    "interface-forwarding-disabled",
    "no-route",
];

fn read(line: &str) -> Result<Options, Refusal> {
    let words = std::iter::once("dockernet-trace").chain(line.split_whitespace());
    parse(words, CAUSES)
}

fn refused(line: &str) -> String {
    match read(line).unwrap_err() {
        Refusal::Clap(error) => {
            assert_eq!(error.exit_code(), 2, "{line}");
            error.to_string()
        }
        Refusal::Usage(Usage(text)) => text,
    }
}

fn filter(line: &str) -> Filter {
    read(line).unwrap().filter
}

fn ignore(text: &str) -> Ignore {
    text.parse().unwrap()
}

fn no_bridge(_: &str) -> Option<String> {
    None
}

macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

#[test]
fn help() {
    for job in [
        "",
        "doctor",
        "map",
        "path",
        "check",
        "explain",
        "completions",
        "man",
    ] {
        let name = format!("help{}{job}", if job.is_empty() { "" } else { "-" });
        // The width must not be that of whoever runs the tests.
        let words = ["dockernet-trace", job, "--help"];
        let error = args::command()
            .term_width(100)
            .try_get_matches_from(words.iter().filter(|word| !word.is_empty()))
            .unwrap_err();
        assert_eq!(error.exit_code(), 0);
        snapshot!(name, error.to_string());
    }
}

#[test]
fn the_command_is_consistent() {
    args::command().debug_assert();
}

#[test]
fn defaults() {
    let options = read("").unwrap();
    assert_eq!(options.job, Job::Trace);
    assert!(options.filter.is_empty());
    assert_eq!(options.scope, Scope::Containers);
    assert_eq!(options.output, Output::Text);
    assert_eq!(options, read("--drops").unwrap());
}

#[test]
fn flags_work_on_either_side_of_a_job() {
    let options = read("-v --output json doctor -v -H tcp://127.0.0.1:2375").unwrap();
    assert_eq!(options.job, Job::Doctor);
    assert_eq!(options.output, Output::Json);
    assert_eq!(options.docker_host.as_deref(), Some("tcp://127.0.0.1:2375"));
    assert_eq!(read("doctor --port 53 --all").unwrap().filter.ports, [53]);
    assert_eq!(
        read("explain no-route").unwrap().job,
        Job::Explain(Some("no-route".into()))
    );
    assert_eq!(read("-vv").unwrap().verbose, 2);
}

#[test]
fn mistakes_are_refused_with_a_hint() {
    for (line, wanted) in [
        ("--duration 10", "did you mean '10s'?"),
        ("--duration soon", "such as 500ms, 10s, 5m or 1h"),
        (
            "--cause no-rout",
            "unknown cause 'no-rout'; did you mean 'no-route'?",
        ),
        (
            "--ignore cause=no-rout",
            "--ignore cause=no-rout: unknown cause 'no-rout'; did you mean 'no-route'?",
        ),
        ("--ignore cuase=no-route", "did you mean 'cause'?"),
        ("--ignore no-route", "expected KEY=GLOB"),
        ("--ignore port=53,port=80", "port={a,b}"),
        ("--ignore port=http", "expected a number up to 65535"),
        ("--ignore proto=tpc", "did you mean 'tcp'?"),
        ("--proto tpc", "did you mean 'tcp'?"),
        ("--port 65536", "65536"),
        ("--count 0", "--count"),
        ("--addr 198.51.100", "expected an address or a prefix"),
        ("--container [", "malformed"),
        ("--netns /nonexistent", "--netns /nonexistent: No such file"),
        ("--netns /tmp", "a directory, no network namespace"),
        (
            "-H /var/run/docker.sock",
            "did you mean 'unix:///var/run/docker.sock'?",
        ),
        ("-H htpp://x", "did you mean 'http'?"),
        ("--output xml", "text"),
        ("--dorps", "--drops"),
        ("docter", "doctor"),
        ("explain", "<ID>"),
        ("check --filter tcp", "--filter looks at packets"),
    ] {
        let text = refused(line);
        assert!(text.contains(wanted), "{line}: {text}");
    }
}

#[test]
fn version_is_no_mistake() {
    let refusal = read("--version").unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Clap(error) if error.to_string().starts_with("dockernet-trace 0."))
    );
}

#[test]
fn own_namespace_is_one() {
    assert!(read("--netns /proc/self/ns/net").unwrap().netns.is_some());
}

#[test]
fn docker_host_of_the_environment_counts_unless_empty() {
    let with = |line: &str, variable: &str| {
        let words = std::iter::once("dockernet-trace").chain(line.split_whitespace());
        Options::new(args::read(words).unwrap(), CAUSES, Some(variable.into()))
            .unwrap()
            .docker_host
    };
    assert_eq!(
        with("", "tcp://192.0.2.1:2375").as_deref(),
        Some("tcp://192.0.2.1:2375")
    );
    assert_eq!(
        with("-H unix:///x", "tcp://192.0.2.1:2375").as_deref(),
        Some("unix:///x")
    );
    assert_eq!(with("", ""), None);
}

#[test]
fn reasons_come_from_the_kernel() {
    let known = ["NETFILTER_DROP", "NO_SOCKET"];
    let options = read("--reason skb_drop_reason_no_socket --ignore reason=NETFILTER_*").unwrap();
    assert_eq!(options.filter.reasons, ["NO_SOCKET"]);
    assert_eq!(options.check_reasons(&known), Ok(()));
    assert!(options.check_reasons::<&str>(&[]).is_err());
    let options = read("--reason netfilter_dorp").unwrap();
    assert_eq!(
        options.check_reasons(&known).unwrap_err().0,
        "unknown reason 'NETFILTER_DORP'; did you mean 'NETFILTER_DROP'?"
    );
}

#[test]
fn explain_finds_causes_and_reasons() {
    let reasons = ["NETFILTER_DROP"];
    assert_eq!(
        explainable("no-route", CAUSES, &reasons),
        Ok(Explainable::Cause("no-route"))
    );
    assert_eq!(
        explainable("skb_drop_reason_netfilter_drop", CAUSES, &reasons),
        Ok(Explainable::Reason("NETFILTER_DROP"))
    );
    assert!(
        explainable("no-rout", CAUSES, &reasons)
            .unwrap_err()
            .0
            .ends_with("did you mean 'no-route'?")
    );
}

#[test]
fn missing_containers_and_networks() {
    let filter =
        filter("--container wbe --container w?? --container x* --container api --network brigde");
    let known = [("2df2a7aa8382", "web"), ("3df2a7aa8382", "api")];
    assert_eq!(
        filter.missing_containers(&known),
        [
            "no container is called 'wbe' (the nearest is 'web'); waiting for it",
            "no container matches 'x*' yet; waiting for one",
        ]
    );
    assert_eq!(
        filter.check_networks(&["bridge", "docker0"]).unwrap_err().0,
        "unknown network 'brigde'; did you mean 'bridge'?"
    );
}

#[test]
fn filters_admit_both_ends_before_and_after_nat() {
    let drop = incident();
    for (line, admitted) in [
        ("", true),
        ("--container web", true),
        ("--container 2df2a7", true),
        ("--container w?b --port 80", true),
        ("--container api", false),
        ("--container api --container web", true),
        ("--network bridge", true),
        ("--network docker0", true),
        ("--network back", false),
        ("--project shop", false),
        ("-i eth0", true),
        ("-i eth1", false),
        ("--addr 198.51.100.10", true),
        ("--addr 172.17.0.0/16", true),
        ("--addr 192.0.2.0/24", false),
        ("--port 10001", true),
        ("--port 80", true),
        ("--port 81", false),
        ("--port 81 --port 80", true),
        ("--proto tcp", true),
        ("--proto 6", true),
        ("--proto udp", false),
        ("--reason ip_inaddrerrors", true),
        ("--reason NETFILTER_DROP", false),
        ("--cause interface-forwarding-disabled", true),
        ("--cause no-route", false),
        ("--container web --port 81", false),
    ] {
        let bridge = |name: &str| (name == "bridge").then(|| "docker0".to_owned());
        assert_eq!(filter(line).admits(&drop, &bridge), admitted, "{line}");
    }
    let mut finding: Drop = incident();
    finding.packet = None;
    finding.nat = None;
    // A finding has its published port, if any.
    for (line, admitted) in [
        ("--port 80", true),
        ("--port 10001", true),
        ("--port 81", false),
        ("--proto tcp", true),
        ("--proto udp", false),
        ("--addr 198.51.100.10", false),
    ] {
        assert_eq!(
            filter(line).admits(&finding, &no_bridge),
            admitted,
            "{line}"
        );
    }
    finding.published = None;
    assert!(!filter("--port 80").admits(&finding, &no_bridge));
    assert!(!filter("--proto tcp").admits(&finding, &no_bridge));
}

#[test]
fn ignore_needs_every_key() {
    let drop = denied("198.51.100.20", 4000);
    for (text, matches) in [
        ("cause=docker-user-drop,source=external", true),
        ("cause=docker-user-drop, source=host", false),
        ("cause=docker-*", true),
        ("reason=skb_drop_reason_netfilter_drop", true),
        ("container=api", true),
        ("container={web,api},port={53,80}", true),
        ("source=198.51.100.0/24", true),
        ("source=198.51.100.20", true),
        ("source=198.51.100.*", true),
        ("source=192.0.2.0/24", false),
        ("destination=api", true),
        ("destination=container", true),
        ("destination=external", false),
        ("network=bridge", true),
        ("proto=udp", true),
        ("proto=17", true),
        ("proto=tcp", false),
        ("port=5?", true),
        ("device=eth*", true),
        ("device=docker0", false),
    ] {
        assert_eq!(ignore(text).matches(&drop, &no_bridge), matches, "{text}");
    }
    assert!("".parse::<Ignore>().is_err());
    assert!(",".parse::<Ignore>().is_err());
    assert!("cause=".parse::<Ignore>().is_err());
}

#[test]
fn ends_follow_nat_in_both_directions() {
    let there = incident();
    let ends = there.ends();
    assert_eq!(ends.source, Some((ip("198.51.100.20"), Some(48084))));
    assert_eq!(ends.destination, Some((ip("172.17.0.2"), Some(80))));
    // Before DNAT the packet still has the published address.
    let mut before = incident();
    if let Some(packet) = &mut before.packet {
        packet.dst = Some(ip("198.51.100.10"));
        packet.dst_port = Some(10001);
    }
    assert_eq!(before.ends(), ends);
    // The answer, before and after its source is translated back.
    for (src, port) in [("172.17.0.2", 80), ("198.51.100.10", 10001)] {
        let mut back = incident();
        if let Some(packet) = &mut back.packet {
            (packet.src, packet.src_port) = (Some(ip(src)), Some(port));
            (packet.dst, packet.dst_port) = (Some(ip("198.51.100.20")), Some(48084));
        }
        assert_eq!(back.ends().source, ends.destination);
        assert_eq!(back.ends().destination, ends.source);
    }
    let plain = mystery();
    assert_eq!(plain.ends().source, Some((ip("2001:db8::9"), Some(40000))));
    assert_eq!(plain.source.kind, EndpointKind::Container);
}

#[test]
fn completions_are_written() {
    for shell in [
        clap_complete::Shell::Bash,
        clap_complete::Shell::Zsh,
        clap_complete::Shell::Fish,
    ] {
        let mut script = Vec::new();
        args::completions(shell, &mut script).unwrap();
        assert!(
            String::from_utf8(script)
                .unwrap()
                .contains("expect-no-drops")
        );
    }
}

#[test]
fn exit_statuses_are_those_of_the_contract() {
    assert_eq!(
        [
            Exit::Done,
            Exit::Failure,
            Exit::Usage,
            Exit::Found,
            Exit::NoPacket
        ]
        .map(|exit| exit as u8),
        [0, 1, 2, 3, 4]
    );
}

proptest::proptest! {
    #[test]
    fn hostile_values_never_panic(text in ".{0,60}") {
        let _ = text.parse::<Ignore>();
        let _ = text.parse::<super::Pattern>();
        let _ = text.parse::<super::Protocol>();
        for option in ["--addr", "--docker-host", "--netns", "--ignore", "--duration"] {
            let _ = parse(["dockernet-trace", option, &text], CAUSES);
        }
    }
}

#[test]
fn rules_are_traced_for_drops_only() {
    assert!(!read("").unwrap().trace_rules);
    assert!(read("--trace-rules").unwrap().trace_rules);
    assert!(read("--nat --drops --trace-rules").unwrap().trace_rules);
    assert!(refused("--nat --trace-rules").contains("add --drops"));
}
