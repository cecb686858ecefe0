//! NAT transitions against conntrack's own table: entry for entry.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Engine, HOST_IP, Lab, LabOptions, Place, Run, Tracer, can_run, engines, group,
    traffic::{Outcome, Probe},
};
use serde_json::Value;

/// Connections to the published port.
const CONNECTIONS: usize = 300;

/// Protocol, then source and destination before NAT, then the answer's.
type Entry = (String, [String; 4]);

#[test]
fn every_translated_flow_is_reported() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        on(&engine).with_context(|| engine.version.clone())?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    group(
        &mut lab,
        &[
            ("tuples equal conntrack's", tuples),
            ("nothing stays attached", nothing_stays),
        ],
    )
}

fn tuples(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat"])?;
    let outside = lab.netns(&Place::Outside)?;
    let web = lab.netns(&Place::Container("web".into()))?;
    let published = SocketAddr::new(HOST_IP.parse()?, 10001);
    for _ in 0..CONNECTIONS {
        let outcome = Probe::tcp(published).send(&outside)?;
        ensure!(
            outcome == Outcome::Ok,
            "the published port answers {outcome:?}"
        );
    }
    // Masqueraded egress; nobody listens there, which is an answer too.
    for port in 9001..9020_u16 {
        let _refused = Probe::udp(SocketAddr::new("203.0.113.7".parse()?, port)).send(&web)?;
    }
    let table = conntrack(lab)?;
    ensure!(
        table.len() >= CONNECTIONS,
        "conntrack holds {} translated entries",
        table.len()
    );
    let finished = tracer.stop()?;
    let lines: Vec<&Value> = finished.of_type("nat").collect();
    let told: BTreeSet<Entry> = lines.iter().filter_map(|line| entry(line)).collect();
    let missing: Vec<_> = table.difference(&told).collect();
    ensure!(
        missing.is_empty(),
        "{} of {} not reported: {missing:?}",
        missing.len(),
        table.len()
    );
    let invented: Vec<_> = told.difference(&table).collect();
    ensure!(
        invented.is_empty(),
        "reported and not in conntrack: {invented:?}"
    );
    let answered = lines
        .iter()
        .filter(|line| line["replied"] == true && line["kind"] == "dnat")
        .count();
    ensure!(
        answered == CONNECTIONS,
        "{answered} of {CONNECTIONS} connections were answered"
    );
    ensure!(
        lines
            .iter()
            .filter(|line| line["kind"] == "dnat")
            .all(|line| line["destination"]["container"]["name"] == "web"
                && line["published"] == "0.0.0.0:10001->80/tcp"),
        "a published connection without its container or port"
    );
    ensure!(
        lines
            .iter()
            .filter(|line| line["kind"] == "snat")
            .all(|line| line["source"]["container"]["name"] == "web" && line["masquerade"] == true),
        "a masqueraded flow without its container"
    );
    Ok(())
}

/// Links go with the process, also when it is killed. Where there is no tcx (before 6.6) there are none, and only a process
/// that ends by itself can clean up.
fn nothing_stays(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat"])?;
    let attached = attached(lab)?;
    ensure!(attached > 0, "nothing is attached while it runs");
    let clsact = tracer.lines().iter().any(|line| {
        let programs = line["programs"].as_array();
        programs.is_some_and(|list| list.iter().any(|name| name == "nat:clsact"))
    });
    tracer.signal(if clsact {
        nix::sys::signal::Signal::SIGTERM
    } else {
        nix::sys::signal::Signal::SIGKILL
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let left = self::attached(lab)?;
    ensure!(left == 0, "{left} programs stay attached");
    Ok(())
}

fn attached(lab: &Lab) -> Result<usize> {
    let output = lab.shell(&Place::Host, "bpftool prog show")?;
    Ok(output.stdout.matches("dockernet_nat").count())
}

/// Translated entries of the table.
fn conntrack(lab: &Lab) -> Result<BTreeSet<Entry>> {
    let output = lab.shell(
        &Place::Host,
        "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null; true",
    )?;
    Ok(output.stdout.lines().filter_map(table_entry).collect())
}

fn table_entry(line: &str) -> Option<Entry> {
    let protocol = line.split_whitespace().next()?.to_owned();
    let values = |key: &str| -> Vec<String> {
        let start = format!("{key}=");
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix(start.as_str()).map(str::to_owned))
            .collect()
    };
    let (src, dst) = (values("src"), values("dst"));
    let (sport, dport) = (values("sport"), values("dport"));
    let end = |addresses: &[String], ports: &[String], at: usize| {
        Some(format!("{} {}", addresses.get(at)?, ports.get(at)?))
    };
    let ends = [
        end(&src, &sport, 0)?,
        end(&dst, &dport, 0)?,
        end(&src, &sport, 1)?,
        end(&dst, &dport, 1)?,
    ];
    let translated = ends[0] != ends[3] || ends[1] != ends[2];
    translated.then_some((protocol, ends))
}

/// The same of a `nat` line.
fn entry(line: &Value) -> Option<Entry> {
    let end = |tuple: &str, which: &str| {
        let tuple = &line[tuple];
        Some(format!(
            "{} {}",
            tuple[which].as_str()?,
            tuple[format!("{which}_port")].as_u64()?
        ))
    };
    Some((
        line["protocol"].as_str()?.to_owned(),
        [
            end("original", "src")?,
            end("original", "dst")?,
            end("translated", "dst")?,
            end("translated", "src")?,
        ],
    ))
}
