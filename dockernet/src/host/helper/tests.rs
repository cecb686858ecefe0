//! Questions to a helper on a thread of this process: what it answers, and what it does not.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs::File, io::Read as _, path::PathBuf, thread};

use super::{
    client::ask_of,
    request::{Answer, MOST, Request},
    serve::answer_all,
    *,
};
use crate::host::{
    inside::{self, Kind},
    netns::NetnsHandle,
};

/// One that answers until it is dropped.
fn helper() -> Helper {
    let (ours, theirs) = pair().unwrap();
    thread::spawn(move || answer_all(&theirs));
    Helper {
        questions: ours,
        pid: 0,
    }
}

fn refusal(helper: &Helper, request: &Request, netns: Option<&NetnsHandle>) -> io::Error {
    match ask_of(helper, request, netns.map(NetnsHandle::as_fd)) {
        Ok(_) => io::Error::other("it was answered"),
        Err(error) => error,
    }
}

fn text(answer: Answer) -> String {
    match answer {
        Answer::Data(json) => String::from_utf8(json).unwrap(),
        Answer::Descriptor(descriptor) => {
            let mut text = String::new();
            File::from(descriptor).read_to_string(&mut text).unwrap();
            text
        }
    }
}

#[test]
fn what_is_asked_is_answered() {
    let helper = helper();
    let ask = |request| text(ask_of(&helper, &request, None).unwrap());
    assert_eq!(ask(Request::Alive), "true");
    let own = i32::try_from(std::process::id()).unwrap();
    let inum = NetnsHandle::current().unwrap().inum();
    assert_eq!(ask(Request::NetnsOf { pid: own }), inum.to_string());
    let all: Vec<(i32, u32)> = serde_json::from_str(&ask(Request::Processes)).unwrap();
    assert!(all.contains(&(own, inum)));
    let own = std::process::id();
    let file = "etc/hosts".to_owned();
    let hosts: String = serde_json::from_str(&ask(Request::InRoot { pid: own, file })).unwrap();
    assert_eq!(hosts, std::fs::read_to_string("/etc/hosts").unwrap());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
    assert_eq!(ask(Request::OwnsSocket { pid: own, inode }), "true");
    let inode = u64::MAX;
    assert_eq!(ask(Request::OwnsSocket { pid: own, inode }), "false");
}

#[test]
fn a_namespace_comes_with_the_question() {
    let helper = helper();
    let netns = NetnsHandle::current().unwrap();
    let ask = |request| ask_of(&helper, &request, Some(netns.as_fd()));
    let path = "/proc/sys/net/ipv4/ip_forward".to_owned();
    let setting = text(ask(Request::File { path }).unwrap());
    assert_eq!(
        setting,
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
    );
    for kind in [
        Kind::Route,
        Kind::Netfilter,
        Kind::Diagnosis,
        Kind::Device,
        Kind::Any,
    ] {
        let answer = ask(Request::Socket { kind }).unwrap();
        assert!(matches!(answer, Answer::Descriptor(_)), "{kind:?}");
    }
    let path = PathBuf::from("/proc/thread-self/ns/net");
    let answer = ask_of(&helper, &Request::Netns { path }, None).unwrap();
    let Answer::Descriptor(found) = answer else {
        unreachable!("data for a namespace");
    };
    let found = NetnsHandle::of(File::from(found)).unwrap();
    assert_eq!(found.inum(), netns.inum());
}

#[test]
fn nothing_else_is() {
    let helper = helper();
    let netns = NetnsHandle::current().unwrap();
    for path in [
        "/etc/shadow",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/../kernel/core_pattern",
        "/proc/thread-self/net/../mem",
        "/proc/sys/net//ipv4/ip_forward",
        "proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/",
    ] {
        let request = Request::File { path: path.into() };
        let error = refusal(&helper, &request, Some(&netns)).to_string();
        assert!(error.contains("no file of a network namespace"), "{error}");
    }
    for (program, arguments) in [
        ("sh", &["-c", "true"][..]),
        ("nft", &["flush", "ruleset"]),
        ("iptables-save", &["-c", "-M", "/bin/sh"]),
        ("/tmp/iptables-save", &["-c"]),
    ] {
        let request = Request::Listing {
            program: program.into(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        let error = refusal(&helper, &request, Some(&netns)).to_string();
        assert!(error.contains("is not to be run"), "{error}");
    }
    let id = "0123456789abcdef".repeat(4);
    for path in [
        "/etc/shadow".to_owned(),
        format!("/var/lib/docker/containers/{id}/../../../../../etc/shadow"),
        format!("/var/lib/docker/containers/{id}/checkpoint"),
        "/var/lib/docker/containers/x/config.v2.json".to_owned(),
        format!("/var/lib/docker/{id}/config.v2.json"),
        format!("containers/{id}/config.v2.json"),
        "config.v2.json".to_owned(),
    ] {
        let request = Request::EngineFile { path: path.into() };
        let error = refusal(&helper, &request, None).to_string();
        assert!(error.contains("is no engine's file"), "{error}");
    }
    let request = Request::InRoot {
        pid: std::process::id(),
        file: "etc/shadow".into(),
    };
    assert!(
        refusal(&helper, &request, None)
            .to_string()
            .contains("is none of")
    );
    // To open this one would wait for ever.
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = refusal(&helper, &Request::Netns { path: fifo }, None);
    assert!(
        error.to_string().contains("not a network namespace"),
        "{error}"
    );
    let path = PathBuf::from("/etc/passwd");
    let error = refusal(&helper, &Request::Netns { path }, None);
    assert!(
        error.to_string().contains("not a network namespace"),
        "{error}"
    );
}

#[test]
fn what_comes_without_a_namespace_or_with_something_else_is_refused() {
    let helper = helper();
    let request = Request::Socket { kind: Kind::Route };
    let error = refusal(&helper, &request, None).to_string();
    assert!(error.contains("no namespace came"), "{error}");
    let file = File::open("/etc/passwd").unwrap();
    let error = match ask_of(&helper, &request, Some(std::os::fd::AsFd::as_fd(&file))) {
        Ok(_) => io::Error::other("it was answered"),
        Err(error) => error,
    };
    assert!(
        error.to_string().contains("not a network namespace"),
        "{error}"
    );
}

/// It is really there: a new namespace has a loopback that is down, and no other device.
#[test]
fn the_namespace_is_entered() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let helper = helper();
    let netns = thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        NetnsHandle::current().unwrap()
    });
    let netns = netns.join().unwrap();
    let path = "/proc/thread-self/net/dev".to_owned();
    let answer = ask_of(&helper, &Request::File { path }, Some(netns.as_fd())).unwrap();
    let devices: Vec<String> = text(answer)
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect();
    assert_eq!(devices, ["lo"]);
}

/// The system's numbers come through: callers tell "there is none" from other errors by them.
#[test]
fn errors_keep_their_kind() {
    let helper = helper();
    let netns = NetnsHandle::current().unwrap();
    let request = Request::File {
        path: "/proc/thread-self/net/no-such-file".into(),
    };
    let error = refusal(&helper, &request, Some(&netns));
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = refusal(&helper, &Request::NetnsOf { pid: i32::MAX }, None);
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn rubbish_and_an_end_are_errors() {
    let (ours, theirs) = pair().unwrap();
    let serving = thread::spawn(move || answer_all(&theirs));
    // Without anybody to answer to, and too long.
    nix::unistd::write(&ours, &vec![b'x'; MOST * 2]).unwrap();
    let helper = Helper {
        questions: ours,
        pid: 0,
    };
    let path = PathBuf::from("x".repeat(MOST));
    let error = refusal(&helper, &Request::Netns { path }, None);
    assert!(error.to_string().contains("no question"), "{error}");
    assert!(ask_of(&helper, &Request::Alive, None).is_ok());
    drop(helper);
    assert!(serving.join().unwrap().is_ok());
}

/// Inside a namespace that has to be asked for, nothing is opened directly.
#[test]
fn without_a_helper_there_is_nothing_to_ask() {
    let netns = NetnsHandle::current().unwrap();
    inside::scope(Some(&netns), || {
        assert!(inside::socket(Kind::Route).is_err());
        assert!(inside::read("/proc/thread-self/net/dev").is_err());
        assert!(inside::device_name(1).is_err());
    });
    assert!(inside::read("/proc/thread-self/net/dev").is_ok());
}
