//! Conntrack's own account: `conntrack -E` and `conntrack -L`.

use std::{
    collections::BTreeSet,
    fs::File,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use dockernet_tests::{Lab, Place, wait_until};
use serde_json::Value;

/// Protocol, then source and destination before NAT, then the answer's destination and source. Ports are ids for ICMP echo.
pub(crate) type Entry = (String, [String; 4]);

/// `conntrack -E -e NEW`, from its start until it is read.
pub(crate) struct Events {
    child: Child,
    file: std::path::PathBuf,
}

impl Events {
    /// Listens in the lab's host.
    pub(crate) fn listen(lab: &Lab) -> Result<Self> {
        let file = lab.folder().join("conntrack-events");
        let mut child = lab
            .host()
            .command("conntrack")
            .args(["-E", "-e", "NEW", "-b", "33554432"])
            .to_command()
            .stdin(Stdio::null())
            .stdout(File::create(&file)?)
            .stderr(Stdio::null())
            .spawn()
            .context("starting conntrack -E")?;
        // It says nothing when it listens; its socket shows in /proc.
        std::thread::sleep(Duration::from_millis(300));
        anyhow::ensure!(child.try_wait()?.is_none(), "conntrack -E ended at once");
        Ok(Self { child, file })
    }

    /// What it has heard.
    pub(crate) fn read(mut self) -> Result<Vec<Entry>> {
        let mut size = 0;
        wait_until("conntrack -E falls silent", Duration::from_secs(5), || {
            let now = self.file.metadata().ok()?.len();
            std::thread::sleep(Duration::from_millis(200));
            let is_silent = now == size;
            size = now;
            is_silent.then_some(())
        })?;
        self.child.kill()?;
        self.child.wait()?;
        let text = std::fs::read_to_string(&self.file)?;
        Ok(text.lines().filter_map(table_entry).collect())
    }
}

/// Translated entries of the table.
pub(crate) fn list(lab: &Lab) -> Result<BTreeSet<Entry>> {
    let output = lab.shell(
        &Place::Host,
        "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null; true",
    )?;
    Ok(output.stdout.lines().filter_map(table_entry).collect())
}

/// A translated entry of a line of either.
fn table_entry(line: &str) -> Option<Entry> {
    let protocol = line
        .split_whitespace()
        .find(|word| ["tcp", "udp", "icmp", "icmpv6"].contains(word))?;
    let values = |key: &str| -> Vec<&str> {
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .collect()
    };
    let (src, dst) = (values("src"), values("dst"));
    let (mut sport, mut dport) = (values("sport"), values("dport"));
    if protocol.starts_with("icmp") {
        (sport, dport) = (values("id"), values("id"));
    }
    let end = |addresses: &[&str], ports: &[&str], at: usize| {
        let address: std::net::IpAddr = addresses.get(at)?.parse().ok()?;
        Some(format!("{address} {}", ports.get(at)?))
    };
    let ends = [
        end(&src, &sport, 0)?,
        end(&dst, &dport, 0)?,
        end(&dst, &dport, 1)?,
        end(&src, &sport, 1)?,
    ];
    let translated = ends[0] != ends[2] || ends[1] != ends[3];
    translated.then(|| (protocol.to_owned(), ends))
}

/// The same of a `nat` line.
pub(crate) fn line_entry(line: &Value) -> Option<Entry> {
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
            end("translated", "src")?,
            end("translated", "dst")?,
        ],
    ))
}
