//! containerd and dockerd of one lab.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Map, Value, json};

use crate::{
    engine::Engine,
    exec::{Cmd, wait_child, wait_until},
    netns::Netns,
};

/// Settings of dockerd that differ between labs; written to its `daemon.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonOptions {
    /// Keys of `daemon.json`, e.g. `userland-proxy`.
    pub config: Map<String, Value>,
}

/// A running engine.
#[derive(Debug)]
pub(crate) struct Daemon {
    containerd: Child,
    dockerd: Option<Child>,
    engine: Engine,
    folder: PathBuf,
    netns: Netns,
    options: DaemonOptions,
}

impl Daemon {
    pub(crate) fn start(
        engine: &Engine,
        folder: &Path,
        netns: &Netns,
        options: &DaemonOptions,
    ) -> Result<Self> {
        let containerd = start_containerd(engine, folder, netns)?;
        let mut daemon = Self {
            containerd,
            dockerd: None,
            engine: engine.clone(),
            folder: folder.to_owned(),
            netns: netns.clone(),
            options: options.clone(),
        };
        daemon.start_dockerd()?;
        Ok(daemon)
    }

    /// dockerd's pid, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.dockerd
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Starts dockerd and waits until it answers.
    pub(crate) fn start_dockerd(&mut self) -> Result<()> {
        let config = self.folder.join("daemon.json");
        std::fs::write(&config, serde_json::to_vec_pretty(&self.config())?)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("dockerd.log"))?;
        let mut command = self
            .netns
            .command(&self.engine.dockerd().to_string_lossy())
            .arg("--config-file")
            .arg(&config)
            .env("PATH", self.engine.search_path())
            // dockerd asks runc for no pivot_root on a root that is a RAM disk; harmless elsewhere.
            .env("DOCKER_RAMDISK", "true")
            .env("TMPDIR", self.folder.join("tmp"))
            .env_remove("DOCKER_HOST")
            .env_remove("NOTIFY_SOCKET")
            .to_command();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = command.spawn().context("starting dockerd by nsenter")?;
        let socket = socket(&self.folder);
        let answer = wait_until("dockerd answers", Duration::from_secs(45), || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(anyhow::anyhow!("dockerd ended with {status}")));
            }
            ping(&socket).then_some(Ok(()))
        });
        self.dockerd = Some(child);
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(error.context(format!(
                "engine {} {} did not come up; the end of its log:\n{}",
                self.engine.name,
                self.engine.version,
                log_tail(&self.folder.join("dockerd.log"))
            ))),
        }
    }

    fn config(&self) -> Value {
        let folder = |name: &str| json!(self.folder.join(name));
        let mut config = Map::new();
        config.insert("data-root".into(), folder("data"));
        config.insert("exec-root".into(), folder("exec"));
        config.insert("pidfile".into(), folder("dockerd.pid"));
        config.insert("containerd".into(), folder("containerd.sock"));
        config.insert(
            "hosts".into(),
            json!([format!("unix://{}", socket(&self.folder).display())]),
        );
        // The image is 2 MB: copying it is quick, and vfs works on any file system, overlayfs included.
        config.insert("storage-driver".into(), json!("vfs"));
        config.insert("shutdown-timeout".into(), json!(3));
        // Else containers get the machine's own resolvers, which no lab can reach.
        config.insert("dns".into(), json!([crate::wires::INTERNET_IP]));
        if let Some(proxy) = self.engine.proxy() {
            config.insert("userland-proxy-path".into(), json!(proxy));
        }
        if self.engine.major() < 27 {
            config.insert("experimental".into(), json!(true));
            config.insert("ip6tables".into(), json!(true));
        }
        if self.engine.major() < 24 {
            // Else it writes a key to /etc/docker.
            config.insert("deprecated-key-path".into(), folder("key.json"));
        }
        config.extend(self.options.config.clone());
        Value::Object(config)
    }

    /// Stops dockerd; containers keep running only with `live-restore`.
    pub(crate) fn stop_dockerd(&mut self, limit: Duration) {
        if let Some(mut child) = self.dockerd.take() {
            end(&mut child, limit);
        }
    }

    /// Sends dockerd a signal, e.g. SIGSTOP.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        match self.pid() {
            Some(pid) => kill(Pid::from_raw(pid), signal)
                .with_context(|| format!("sending {signal} to dockerd {pid}")),
            None => bail!("dockerd does not run, so {signal} cannot reach it"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT).ok();
        self.stop_dockerd(Duration::from_secs(10));
        end(&mut self.containerd, Duration::from_secs(5));
    }
}

/// SIGTERM, then SIGKILL.
pub(crate) fn end(child: &mut Child, limit: Duration) {
    if let Ok(pid) = i32::try_from(child.id())
        && matches!(child.try_wait(), Ok(None))
    {
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
    }
    if wait_child(child, limit).is_none() {
        child.kill().ok();
        child.wait().ok();
    }
}

/// An engine of the machine may run a containerd that dockerd would take for its own: the lab starts one itself.
fn start_containerd(engine: &Engine, folder: &Path, netns: &Netns) -> Result<Child> {
    let socket = folder.join("containerd.sock");
    let config = folder.join("containerd.toml");
    std::fs::write(
        &config,
        format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\", \
             \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
             \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\"]\n\
             [grpc]\naddress = {socket:?}\n[debug]\nlevel = \"warn\"\n",
            root = folder.join("containerd"),
            state = folder.join("cstate"),
        ),
    )?;
    let log_file = folder.join("containerd.log");
    let log = File::create(&log_file)?;
    let mut command = netns
        .command("containerd")
        .arg("--config")
        .arg(&config)
        .env("PATH", engine.search_path())
        .to_command();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command.spawn().context("starting containerd by nsenter")?;
    std::fs::write(folder.join("containerd.pid"), child.id().to_string())?;
    let up = wait_until("containerd listens", Duration::from_secs(20), || {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(Err(anyhow::anyhow!("containerd ended with {status}")));
        }
        socket.exists().then_some(Ok(()))
    });
    match up {
        Ok(Ok(())) => Ok(child),
        Ok(Err(error)) | Err(error) => {
            end(&mut child, Duration::from_secs(2));
            Err(error.context(format!("its log ends:\n{}", log_tail(&log_file))))
        }
    }
}

pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

/// `GET /_ping` by hand: the docker CLI takes 50 ms to start.
fn ping(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else {
        return false;
    };
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
    let request = b"GET /_ping HTTP/1.0\r\nHost: lab\r\n\r\n";
    let mut answer = [0; 16];
    stream.write_all(request).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.windows(3).any(|part| part == b"200")
}

/// The last lines of a log.
pub(crate) fn log_tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Makes sure that there is a cgroup hierarchy for containers.
pub(crate) fn ensure_cgroup() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    if mounts.lines().any(|line| {
        line.split(' ')
            .nth(1)
            .is_some_and(|at| at.starts_with("/sys/fs/cgroup"))
    }) {
        return Ok(());
    }
    Cmd::new("mount")
        .args(["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"])
        .run()
        .map(drop)
        .context("no cgroup hierarchy is mounted, and mounting one failed")
}
