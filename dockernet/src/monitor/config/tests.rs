#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::cli::flight::Flight;

const SHIPPED: &str = include_str!("../../../../dist/dockernet-trace.toml");

fn read(text: &str) -> Result<(Config, Vec<String>), String> {
    read::config(text.parse().unwrap(), &["docker-user-drop", "no-route"])
}

fn warned(text: &str) -> Vec<String> {
    read(text).unwrap().1
}

/// The shipped file with its examples in force.
fn uncommented() -> String {
    SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', '#']) && rest.contains(" = ") => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn what_does_not_go_with_the_alerts_is_doubted() {
    let doubts = |text: &str| read(text).unwrap().0.doubts();
    for good in [
        SHIPPED,
        &uncommented(),
        "textfile_every = \"1h\"",
        "textfile = \"/a/b.prom\"\ntextfile_every = \"2m\"\n[diagnosis]\nclear_after = \"89s\"",
    ] {
        assert_eq!(doubts(good), [""; 0], "{good}");
    }
    for (bad, start) in [
        ("textfile = \"/a/b.txt\"", "textfile /a/b.txt: "),
        ("textfile = \"/a/prom\"", "textfile /a/prom: "),
        (
            "textfile = \"/a/b.prom\"\ntextfile_every = \"5m\"",
            "textfile_every: ",
        ),
        (
            "[diagnosis]\nclear_after = \"90s\"",
            "diagnosis.clear_after: ",
        ),
    ] {
        let told = doubts(bad);
        assert!(
            told.len() == 1 && told.iter().all(|doubt| doubt.starts_with(start)),
            "{bad}: {told:?}"
        );
    }
}

#[test]
fn the_shipped_file_changes_nothing() {
    let (config, warnings) = read(SHIPPED).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let text = uncommented();
    let (config, warnings) = read(&text).unwrap();
    assert_eq!(warnings, [""; 0]);
    // These have no default to show.
    let expected = Config {
        textfile: config.textfile.clone(),
        state: config.state.clone(),
        docker_host: config.docker_host.clone(),
        netns: config.netns.clone(),
        ignore: config.ignore.clone(),
        flight: Some(Flight::to("/var/lib/dockernet-trace/flight".into())),
        ..Config::default()
    };
    assert_eq!(config, expected);
    assert!(config.textfile.is_some() && config.state.is_some() && config.docker_host.is_some());
    assert!(config.netns.is_some() && config.ignore.len() == 1);
    // A key that the reader knows and the file does not show would stay unseen: they are counted.
    let keys = text
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(" = "));
    assert_eq!(keys.count(), 10 + 3 + 2 + 2 + 4);
}

#[test]
fn the_flight_recorder_needs_a_directory() {
    assert_eq!(read("[flight]").unwrap().0.flight, None);
    let problem = read("[flight]\ntime = \"5s\"").unwrap_err();
    assert!(problem.starts_with("flight.directory: "), "{problem}");
    let problem = read("[flight]\ndirectory = \"/x\"\ntime = \"1h\"").unwrap_err();
    assert!(problem.starts_with("flight: expected a time"), "{problem}");
    let flight = read("[flight]\ndirectory = \"/x\"\nkeep = 3\npayload = true")
        .unwrap()
        .0
        .flight
        .unwrap();
    assert_eq!((flight.keep, flight.payload), (3, true));
}

#[test]
fn unknown_keys_warn_and_name_the_nearest() {
    assert_eq!(
        warned("lisen = 1\n[limits]\nserie = 5\n[new]\nx = 1"),
        [
            "unknown key lisen; did you mean 'listen'?",
            "unknown key new",
            "unknown key limits.serie; did you mean 'series'?",
        ]
    );
}

#[test]
fn wrong_values_are_named() {
    for (text, problem) in [
        (
            "listen = 9758",
            "listen: expected a text in quotes, found integer (9758)",
        ),
        (
            "listen = \"9758\"",
            "listen: '9758': expected an address with a port, such as 127.0.0.1:9758 or [::1]:9758, or off",
        ),
        (
            "textfile = \"x.prom\"",
            "textfile: 'x.prom': expected a path that begins with /",
        ),
        (
            "textfile_every = \"10\"",
            "textfile_every: '10': the unit is missing; did you mean '10s'?",
        ),
        (
            "nat = \"yes\"",
            "nat: expected true or false, found string (\"yes\")",
        ),
        ("limits = 3", "limits: expected a table, found integer (3)"),
        (
            "[limits]\ncontainers = 0",
            "limits.containers: expected a number from 1 to 10000, found 0",
        ),
        (
            "[budget]\ncpu = \"1\"",
            "budget.cpu: '1': expected percents of one core, such as 1%",
        ),
        (
            "[budget]\nmemory = \"64\"",
            "budget.memory: '64': expected a size such as 64MiB",
        ),
        (
            "ignore = [\"cause=no-rout\"]",
            "ignore: 'cause=no-rout': unknown cause 'no-rout'; did you mean 'no-route'?",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), problem, "{text}");
    }
}

#[test]
fn what_needs_a_restart_is_named() {
    let old = Config::default();
    let (new, _) = read("nat = true\nlisten = \"off\"\n[limits]\nseries = 100").unwrap();
    assert_eq!(old.fixed(&new), ["listen", "nat"]);
}
