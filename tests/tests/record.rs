//! `record` and `replay` of a real fault, and what Wireshark's own programs make of its pcapng.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, HOST_IP, INTERNET_IP, Lab, LabOptions, Place, Run, Tracer, can_run,
    engines_of_run, patient, replay, tool_for_anybody, tool_path,
    traffic::{Outcome, Probe},
    wait_until,
};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;

#[test]
fn a_fault_is_recorded_and_shown_again() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines_of_run()? {
        on(&engine)?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    let file = lab.folder().join("fault.rec");
    let packets = lab.folder().join("fault.pcapng");
    let live = Tracer::start(&lab, &["--drops"])?;
    let nat = Tracer::start(&lab, &["--nat"])?;
    let recorder = Tracer::start(&lab, &["record", text(&file)?, "--drops", "--nat"])?;
    let wireshark = Tracer::start(
        &lab,
        &["record", text(&packets)?, "--pcapng", "--container", "web"],
    )?;
    // The port before NAT: the packets that die have another.
    let expression = ["--filter", "tcp and dst port 10001"];
    let narrow = Tracer::start(&lab, &[&["--drops"], &expression[..]].concat())?;
    let flights = ["flight", "service"].map(|name| lab.folder().join(name));
    let keeper = Tracer::start(
        &lab,
        &[
            "--drops",
            "--container",
            "web",
            "--scope",
            "all",
            "--all",
            "--flight-recorder",
            text(&flights[0])?,
        ],
    )?;
    let service = Tracer::start(
        &lab,
        &[
            "monitor",
            "--listen",
            "off",
            "--flight-recorder",
            text(&flights[1])?,
            "--flight-time",
            "1s",
        ],
    )?;
    let streamed = lab.folder().join("live.pcapng");
    let mut stream = streaming(&lab, &streamed)?;
    faults(&mut lab)?;
    thread::sleep(Duration::from_millis(250));
    let streaming = Pid::from_raw(i32::try_from(stream.id())?);
    nix::sys::signal::kill(streaming, Signal::SIGINT)?;
    ensure!(stream.wait()?.success(), "the stream of packets failed");
    let live = live.stop()?;
    let nat = nat.stop()?;
    ensure!(
        live.drops().count() >= 3,
        "the fault dropped too little: {live:?}"
    );
    let ended = [ended(recorder)?, ended(wireshark)?];
    ensure!(ended.iter().all(|last| last["final"] == true), "{ended:?}");

    // The same lines; each process has its own idea of the wall clock, some microseconds apart.
    let replayed = lines_of(&file, &["--drops", "--output", "json"])?;
    same(&live.lines, &replayed, "drop")?;
    same(&live.lines, &replayed, "finding")?;
    ensure!(
        of_type(&replayed, "finding")
            .any(|line| line["cause"]["id"] == "container-no-default-route"),
        "no finding was told: {live:?}"
    );
    without_rights(&file, &replayed)?;
    let filtered = lines_of(
        &file,
        &["--drops", "--output", "json", "--cause", "no-listener"],
    )?;
    ensure!(of_type(&filtered, "drop").all(|drop| drop["cause"]["id"] == "no-listener"));
    let narrow = narrow.stop()?;
    ensure!(
        narrow.drops().count() >= 2,
        "the filter left too little: {narrow:?}"
    );
    let again = lines_of(
        &file,
        &[&["--drops", "--output", "json"], &expression[..]].concat(),
    )?;
    same(&narrow.lines, &again, "drop")?;
    same(
        &nat.lines,
        &lines_of(&file, &["--nat", "--output", "json"])?,
        "nat",
    )?;

    zstdcat(&file, &replayed)?;
    cut_off(&file, &replayed)?;
    // A live run's writer, with the recording's packets.
    let again = lab.folder().join("again.pcapng");
    Cmd::shell(format!(
        "'{}' replay '{}' --output pcapng --container web --scope all --all > '{}'",
        tool_path()?.display(),
        file.display(),
        again.display()
    ))
    .run()?;
    let drops = lines_of(
        &file,
        &[
            "--drops",
            "--container",
            "web",
            "--scope",
            "all",
            "--all",
            "--output",
            "json",
        ],
    )?;
    let last = drops.last().context("nothing was replayed")?;
    opened(&again, &last["shown"])?;
    let said = fs::read_to_string(streamed.with_extension("said"))?;
    let counted = said
        .rsplit_once(" shown")
        .and_then(|(sum, _)| sum.rsplit_once("= ")?.1.parse::<u64>().ok())
        .with_context(|| format!("no ledger: {said}"))?;
    opened(&streamed, &counted.into())?;
    opened(&packets, &ended[1]["shown"])?;
    flown(&flights, keeper, service)
}

/// Packets as they are dropped, as one would pipe them into Wireshark; it is ready when the section has begun.
fn streaming(lab: &Lab, to: &Path) -> Result<Child> {
    let arguments = "--drops --container web --scope all --all --output pcapng";
    let child = Cmd::new(tool_path()?)
        .args(arguments.split(' '))
        .args(["-H", &lab.docker_host()])
        .env_remove("DOCKER_HOST")
        .in_netns(lab.host().path())
        .to_command()
        .stdout(File::create(to)?)
        .stderr(File::create(to.with_extension("said"))?)
        .spawn()?;
    wait_until("the section", patient(Duration::from_secs(10)), || {
        fs::metadata(to)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    })?;
    Ok(child)
}

/// The flight recorder's files: of a run that is shorter than its time one, with everything; of a service those of what began.
fn flown(flights: &[PathBuf; 2], keeper: Tracer, service: Tracer) -> Result<()> {
    let kept = keeper.stop()?;
    let [file] = written(&flights[0])?
        .try_into()
        .map_err(|files| anyhow::anyhow!("{files:?}"))?;
    opened(&file, &kept.ledger()?["shown"])?;
    service.signal(Signal::SIGINT)?;
    let told = service.wait(Duration::from_secs(10))?;
    let files = written(&flights[1])?;
    // The name is that of the cause that began it.
    let about = |cause: &str| {
        let name = format!("-{cause}-web.pcapng");
        let mut names = files.iter().map(|file| file.to_string_lossy());
        names.any(|file| file.ends_with(&name))
    };
    ensure!(
        about("no-listener") || about("interface-forwarding-disabled"),
        "{files:?}"
    );
    for file in files {
        let read = Cmd::new("tshark").arg("-r").arg(&file).output()?;
        ensure!(
            read.success() && !read.stdout.trim().is_empty(),
            "{}: {read:?}",
            file.display()
        );
        let start = format!("wrote {}: ", file.display());
        let is_told = |line: &Value| {
            let text = line["text"].as_str();
            text.is_some_and(|text| text.starts_with(&start))
        };
        ensure!(told.lines.iter().any(is_told), "no {start}: {told:?}");
    }
    Ok(())
}

/// Files in a folder by name, which for the recorder's is by time.
fn written(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// A published port whose uplink does not forward, and a port that nobody listens on.
fn faults(lab: &mut Lab) -> Result<()> {
    let outside = lab.outside().clone();
    let published = format!("{HOST_IP}:10001").parse()?;
    Probe::tcp(published).send(&outside)?;
    let web = lab.container_ip("web", None)?;
    let host = lab.host().clone();
    Probe::udp((web, 7777).into()).send(&host)?;
    lab.sysctl(&Place::Host, "net/ipv4/conf/eth0/forwarding", "0")?;
    for _ in 0..2 {
        Probe::tcp(published).send(&outside)?;
    }
    // What drops nothing, and is a finding.
    let inside = Place::Container("web".into());
    ensure!(lab.shell(&inside, "ip route del default")?.success());
    let lost = Probe::tcp(format!("{INTERNET_IP}:80").parse()?);
    let answer = lost.send(&lab.netns(&inside)?)?;
    ensure!(answer == Outcome::Unreachable, "{answer:?}");
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

/// Ends a recorder, and gives its last line.
fn ended(recorder: Tracer) -> Result<Value> {
    thread::sleep(Duration::from_millis(250));
    recorder.signal(Signal::SIGINT)?;
    let ended = recorder.wait(Duration::from_secs(10))?;
    ensure!(ended.status == Some(0), "{ended:?}");
    ended.ledger().cloned()
}

fn lines_of(file: &Path, arguments: &[&str]) -> Result<Vec<Value>> {
    let lines = replay(file, arguments)?.run()?;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).context("a line that is no JSON"))
        .collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["type"] == kind)
}

fn same(live: &[Value], replayed: &[Value], kind: &str) -> Result<()> {
    let timeless = |line: &Value| {
        let mut line = line.clone();
        for key in ["time", "answer_ms", "answered_within_ms", "age_ms"] {
            if let Some(value) = line.get_mut(key) {
                *value = Value::Null;
            }
        }
        // Each hears of changes for itself, and rounds to a tenth of a second.
        if let Some(evidence) = line["cause"]["evidence"].as_array_mut() {
            evidence.retain(|fact| !fact.as_str().is_some_and(|fact| fact.starts_with("began ")));
        }
        line
    };
    let live: Vec<Value> = of_type(live, kind).map(timeless).collect();
    let replayed: Vec<Value> = of_type(replayed, kind).map(timeless).collect();
    ensure!(
        live == replayed,
        "{kind} lines differ:\nlive     {}\nreplayed {}",
        Value::from(live),
        Value::from(replayed)
    );
    Ok(())
}

/// By somebody who may do nothing.
fn without_rights(file: &Path, replayed: &[Value]) -> Result<()> {
    let (place, tool) = tool_for_anybody()?;
    let copy = place.path().join("fault.rec");
    fs::copy(file, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
    let lines = Cmd::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ])
        .arg(tool)
        .arg("replay")
        .arg(copy)
        .args(["--drops", "--output", "json"])
        .run()?;
    let lines = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    ensure!(lines == replayed, "another user is told other lines");
    Ok(())
}

/// Without the tool: zstd's own program and jq.
fn zstdcat(file: &Path, replayed: &[Value]) -> Result<()> {
    let (shown, told) = (by_jq(file)?, packets(replayed));
    ensure!(
        shown == told && shown > 0,
        "jq counts {shown}, replay shows {told}"
    );
    Ok(())
}

/// Packets that a replay of a file shows, as zstd's own program and jq have it.
fn by_jq(file: &Path) -> Result<u64> {
    let filter = r#"select(.type == "drop" and .recorded.scope == "containers" and .noise == null) | .count"#;
    let counts = Cmd::shell(format!("zstdcat < '{}' | jq '{filter}'", file.display())).run()?;
    let counts = counts.lines().filter_map(|count| count.parse::<u64>().ok());
    Ok(counts.sum())
}

fn packets(replayed: &[Value]) -> u64 {
    of_type(replayed, "drop")
        .filter_map(|drop| drop["count"].as_u64())
        .sum()
}

/// What is left of a file that lost its end is shown, and what is lost is said.
fn cut_off(file: &Path, replayed: &[Value]) -> Result<()> {
    let bytes = fs::read(file)?;
    let cut: PathBuf = file.with_extension("cut");
    fs::write(&cut, &bytes[..bytes.len() - 7])?;
    let output = replay(&cut, &["--drops", "--output", "json"])?.output()?;
    ensure!(output.status == Some(1), "{output:?}");
    ensure!(
        output.stderr.contains("cut off") && output.stderr.contains("from position"),
        "{output:?}"
    );
    let lines: Vec<Value> = output
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    // The frames before the last one, as others read them.
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    let last = bytes.windows(4).rposition(|window| window == MAGIC);
    fs::write(&cut, &bytes[..last.unwrap_or_default()])?;
    let (left, in_frames) = (packets(&lines), by_jq(&cut)?);
    ensure!(
        left == in_frames && left > 0 && lines[0]["type"] == "ready",
        "{left} packets, {in_frames} in whole frames, {} in all",
        packets(replayed)
    );
    Ok(())
}

/// Wireshark's programs read all of it without a word, and show why each packet died.
fn opened(packets: &Path, shown: &Value) -> Result<()> {
    let said = Cmd::new("capinfos").arg("-M").arg(packets).output()?;
    ensure!(
        said.success() && said.stderr.lines().all(is_harmless),
        "{said:?}"
    );
    let count = format!("Number of packets:   {shown}");
    ensure!(
        said.stdout.lines().any(|line| line.trim_end() == count),
        "expected {count}: {}",
        said.stdout
    );
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "_ws.malformed",
        "-e",
        "frame.interface_description",
        "-e",
        "frame.comment",
    ];
    let read = Cmd::new("tshark")
        .arg("-r")
        .arg(packets)
        .args(fields)
        .output()?;
    ensure!(
        read.success() && read.stderr.lines().all(is_harmless),
        "{read:?}"
    );
    for part in [
        "interface-forwarding-disabled (confirmed)",
        "kernel IP_INADDRERRORS@ip_error",
        "sysctl -w net/ipv4/conf/eth0/forwarding=1",
        "web:80/tcp",
        "via 0.0.0.0:10001→80",
        "host",
        "container web",
    ] {
        ensure!(read.stdout.contains(part), "no {part}: {}", read.stdout);
    }
    let named = Cmd::new("tshark")
        .arg("-r")
        .arg(packets)
        .args(["-N", "n"])
        .run()?;
    ensure!(
        named.contains("web") && !named.contains("Malformed"),
        "{named}"
    );
    Ok(())
}

/// Wireshark warns of root, and of nothing else.
fn is_harmless(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with("Running as user")
}
