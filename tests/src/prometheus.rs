//! A real Prometheus, run by hand on a loopback.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    engine::target_folders,
    exec::{Cmd, wait_child, wait_until},
    http,
    netns::Netns,
};

/// A running Prometheus; it ends with the value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    netns: Option<Netns>,
    _folder: tempfile::TempDir,
}

/// `prometheus` or `promtool`: of `PATH`, else the ones that `cargo xtask setup --tests` unpacked.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            target_folders()
                .iter()
                .map(|target| target.join("prometheus/usr/bin")),
        )
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

impl Prometheus {
    /// Starts one that scrapes `targets` every second as job `dockernet`, with the rules of a file. It listens on a loopback: of
    /// `netns`, else of the test's own namespace.
    ///
    /// # Errors
    /// It is not there (`cargo xtask setup --tests`), or not ready within 20 s.
    pub fn start(netns: Option<&Netns>, targets: &[SocketAddr], rules: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("rules.yml"), rules)?;
        let config = format!(
            "rule_files: [rules.yml]\n\
             scrape_configs:\n\
             - job_name: dockernet\n  static_configs:\n  - targets: [{}]\n",
            list(targets)
        );
        Self::start_in(folder, netns, &config)
    }

    /// Starts one with a whole configuration, on the loopback of the test's own namespace. In haste: it scrapes every second.
    ///
    /// # Errors
    /// It is not there (`cargo xtask setup --tests`), does not understand it, or is not ready within 20 s.
    pub fn configured(config: &str) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, None, config)
    }

    fn start_in(folder: tempfile::TempDir, netns: Option<&Netns>, text: &str) -> Result<Self> {
        let program =
            program("prometheus").context("prometheus is missing: `cargo xtask setup --tests`")?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(
            &config,
            format!("global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{text}"),
        )?;
        let address = free_port(netns)?;
        let mut cmd = Cmd::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(["--log.level=warn", "--enable-feature=exemplar-storage"]);
        if let Some(netns) = netns {
            cmd = cmd.in_netns(netns.path());
        }
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = cmd
            .to_command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting `{}`", cmd.line()))?;
        let prometheus = Self {
            child,
            address,
            netns: netns.map(|netns| Netns::at(netns.path())),
            _folder: folder,
        };
        wait_until("prometheus is ready", Duration::from_secs(20), || {
            prometheus
                .get("/-/ready")
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        })
        .with_context(|| {
            std::fs::read_to_string(prometheus._folder.path().join("log")).unwrap_or_default()
        })?;
        Ok(prometheus)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(self.netns.as_ref(), self.address, path, "")
    }

    fn api(&self, path: &str) -> Result<Value> {
        let answer = self.get(&format!("/api/v1/{path}"))?;
        ensure!(answer.status == 200, "prometheus says {answer:?}");
        let value: Value = serde_json::from_str(&answer.body)?;
        Ok(value["data"].clone())
    }

    /// The labels of alerts that fire.
    ///
    /// # Errors
    /// It does not answer.
    pub fn firing(&self) -> Result<Vec<Value>> {
        let alerts = self.api("alerts")?;
        Ok(alerts["alerts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"].clone())
            .collect())
    }

    /// Labels and values that an expression of PromQL gives now.
    ///
    /// # Errors
    /// It does not answer, or the expression is none.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = expression
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02x}")
                }
            })
            .collect();
        let data = self.api(&format!("query?query={encoded}"))?;
        data["result"]
            .as_array()
            .context("no vector")?
            .iter()
            .map(|row| {
                let value = row["value"][1].as_str().unwrap_or_default().parse()?;
                Ok((row["metric"].clone(), value))
            })
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or(0);
        if pid > 0 {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        }
        if wait_child(&mut self.child, Duration::from_secs(5)).is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A configuration with other targets than its own.
#[must_use]
pub fn retargeted(config: &str, targets: &[SocketAddr]) -> String {
    let targets = format!("- targets: [{}]", list(targets));
    replaced(config, "- targets:", &targets)
}

/// A configuration with the lines that begin with `key` replaced.
#[must_use]
pub fn replaced(config: &str, key: &str, by: &str) -> String {
    let lines = config.lines().map(|line| match line.find(key) {
        Some(at) if line.trim_start().starts_with(key) => format!("{}{by}\n", " ".repeat(at)),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn list(targets: &[SocketAddr]) -> String {
    let quoted: Vec<String> = targets.iter().map(|to| format!("'{to}'")).collect();
    quoted.join(", ")
}

/// A port of the loopback that nobody listens on now.
fn free_port(netns: Option<&Netns>) -> Result<SocketAddr> {
    let bind =
        || -> Result<SocketAddr> { Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?) };
    match netns {
        Some(netns) => netns.within(bind),
        None => bind(),
    }
}

/// Runs `promtool ARGS…` on `input` and demands that it has nothing to say against it.
///
/// # Errors
/// It is not there, or it complains; the message holds its words.
pub fn promtool(args: &[&str], input: &str) -> Result<()> {
    let program =
        program("promtool").context("promtool is missing: `cargo xtask setup --tests`")?;
    let output = Cmd::new(program).args(args).input(input).output()?;
    ensure!(
        output.success() && output.stderr.trim().is_empty(),
        "promtool {} says: {}{}",
        args.join(" "),
        output.stdout,
        output.stderr
    );
    Ok(())
}

/// A file of the repository.
///
/// # Errors
/// It cannot be read.
pub fn shipped(path: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no repository")?;
    std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))
}
