//! The lab itself.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    cleanup,
    container::Run,
    daemon::{self, Daemon, DaemonOptions},
    engine::Engine,
    exec::{Cmd, Output},
    image::{self, IMAGE},
    netns::{Netns, Place},
    policy::progress,
    restore::Undo,
    server::{self, Server},
    wires,
};

/// How a lab is set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabOptions {
    /// dockerd's settings.
    pub daemon: DaemonOptions,
}

/// A Docker host in a namespace, with a neighbour. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    pub(crate) id: String,
    engine: Engine,
    options: LabOptions,
    host: Netns,
    outside: Netns,
    daemon: Option<Daemon>,
    servers: Vec<Server>,
    pub(crate) undo: Undo,
    /// Containers that a reset leaves alone.
    kept: Vec<String>,
    folder: TempDir,
}

impl Lab {
    /// Brings up a lab: 3–8 s. Removes what a crashed earlier run left behind first.
    ///
    /// # Errors
    /// A requirement is missing (see [`crate::missing_requirement`]), or the engine does not come up; the message
    /// holds the end of its log.
    pub fn start(engine: &Engine, options: &LabOptions) -> Result<Self> {
        if let Some(missing) = crate::missing_requirement() {
            return Err(anyhow!("{missing}"));
        }
        cleanup::leftovers();
        progress(&format!(
            "lab: starting engine {} {}",
            engine.name, engine.version
        ));
        daemon::ensure_cgroup()?;
        let folder = cleanup::new_folder()?;
        let id = cleanup::id_of(folder.path())?;
        std::fs::create_dir_all(folder.path().join("tmp"))?;
        let (host, outside) = wires::connect(&id).inspect_err(|_| {
            cleanup::namespaces(&id);
        })?;
        let engine = &engine.clone().with_shims(folder.path())?;
        let mut lab = Self {
            id,
            engine: engine.clone(),
            options: options.clone(),
            host,
            outside,
            daemon: None,
            servers: Vec::new(),
            undo: Undo::default(),
            kept: Vec::new(),
            folder,
        };
        lab.servers = server::internet(&lab.outside)?;
        lab.daemon = Some(Daemon::start(
            engine,
            lab.folder.path(),
            &lab.host,
            &options.daemon,
        )?);
        lab.import_image()?;
        let path = engine.search_path();
        lab.undo.remember(&lab.host, &lab.outside, path)?;
        Ok(lab)
    }

    fn import_image(&self) -> Result<()> {
        let tar = self.folder.path().join("image.tar");
        image::write_tar(&self.folder.path().join("image"), &tar)?;
        self.docker_cmd(["import"])
            .arg(&tar)
            .arg(IMAGE)
            .limit(Duration::from_secs(30))
            .run()
            .context("importing the lab's image")
            .map(drop)
    }

    /// The engine that runs here.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &LabOptions {
        &self.options
    }

    /// The host's namespace.
    #[must_use]
    pub fn host(&self) -> &Netns {
        &self.host
    }

    /// The outside's namespace.
    #[must_use]
    pub fn outside(&self) -> &Netns {
        &self.outside
    }

    /// The lab's folder; gone with the lab.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The engine's socket file.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        daemon::socket(self.folder.path())
    }

    /// The engine's socket as `-H` takes it.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A place's namespace.
    ///
    /// # Errors
    /// The container does not run.
    pub fn netns(&self, place: &Place) -> Result<Netns> {
        match place {
            Place::Host => Ok(self.host.clone()),
            Place::Outside => Ok(self.outside.clone()),
            Place::Container(name) => {
                let pid = self.container_pid(name)?;
                Ok(Netns::at(format!("/proc/{pid}/ns/net")))
            }
        }
    }

    /// A `docker` command against this lab's engine.
    pub fn docker_cmd<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        Cmd::new("docker")
            .arg("-H")
            .arg(self.docker_host())
            .args(args)
            .env("DOCKER_CONFIG", self.folder.path().join("client"))
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .limit(Duration::from_secs(40))
    }

    /// Runs `docker ARGS…` and demands success; returns its trimmed output.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn docker<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let text = self.docker_cmd(args).run()?;
        Ok(text.trim().to_owned())
    }

    /// Starts a container and waits until its command can be reached (see [`Run::wait_port`]).
    ///
    /// # Errors
    /// The engine refuses, or the container ends at once; the message holds its log.
    pub fn run(&self, run: &Run) -> Result<()> {
        run.start(self)
    }

    /// A container's init process.
    ///
    /// # Errors
    /// It does not run.
    pub fn container_pid(&self, name: &str) -> Result<i32> {
        let text = self.docker(["inspect", "--format", "{{.State.Pid}}", name])?;
        match text.parse() {
            Ok(pid) if pid > 0 => Ok(pid),
            _ => Err(anyhow!("container {name} does not run (pid {text:?})")),
        }
    }

    /// A container's IPv4 address on a network (`None`: on its only or first one).
    ///
    /// # Errors
    /// It has none.
    pub fn container_ip(&self, name: &str, network: Option<&str>) -> Result<IpAddr> {
        self.address(name, network, "IPAddress")
    }

    /// A container's IPv6 address on a network.
    ///
    /// # Errors
    /// It has none.
    pub fn container_ip6(&self, name: &str, network: Option<&str>) -> Result<IpAddr> {
        self.address(name, network, "GlobalIPv6Address")
    }

    fn address(&self, name: &str, network: Option<&str>, key: &str) -> Result<IpAddr> {
        let text = self.docker([
            "inspect",
            "--format",
            "{{json .NetworkSettings.Networks}}",
            name,
        ])?;
        let networks: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
        networks
            .iter()
            .filter(|(found, _)| network.is_none_or(|wanted| wanted == found.as_str()))
            .find_map(|(_, endpoint)| endpoint.get(key)?.as_str()?.parse().ok())
            .ok_or_else(|| anyhow!("container {name} has no {key} on {network:?}: {text}"))
    }

    /// A shell script in a place (the machine's own tools, the place's network).
    ///
    /// # Errors
    /// As [`Cmd::output`].
    pub fn shell(&self, place: &Place, script: &str) -> Result<Output> {
        let netns = self.netns(place)?;
        Cmd::shell(script)
            .env("PATH", self.engine.search_path())
            .env("DOCKER_HOST", self.docker_host())
            .in_netns(netns.path())
            .output()
    }

    /// A shell script that has to succeed, in a place: what it printed.
    ///
    /// # Errors
    /// As [`Lab::shell`], or it failed.
    pub fn script(&self, place: &Place, script: &str) -> Result<String> {
        let output = self.shell(place, script)?;
        ensure!(
            output.success(),
            "`{script}` failed: {}{}",
            output.stderr,
            output.stdout
        );
        Ok(output.stdout)
    }

    /// Sets a sysctl for as long as the scenario runs; the key is written with slashes.
    ///
    /// # Errors
    /// As [`Netns::set_sysctl`].
    pub fn sysctl(&mut self, place: &Place, key: &str, value: &str) -> Result<()> {
        let old = self.netns(place)?.set_sysctl(key, value)?;
        self.undo.sysctl(place, key, old);
        Ok(())
    }

    /// Takes what there is now, containers included, as what [`Lab::reset`] comes back to.
    ///
    /// # Errors
    /// The engine does not answer.
    pub fn keep(&mut self) -> Result<()> {
        let containers = self.docker(["ps", "-aq"])?;
        self.kept = containers.split_whitespace().map(str::to_owned).collect();
        let (host, outside) = (self.host.clone(), self.outside.clone());
        let path = self.engine.search_path();
        self.undo.remember(&host, &outside, path)
    }

    /// Puts everything back to how it was after the start: containers, networks, sysctls, firewall rules.
    ///
    /// # Errors
    /// Something is left that it cannot put back: drop the lab and start another.
    pub fn reset(&mut self) -> Result<()> {
        let containers = self.docker(["ps", "-aq"])?;
        let containers: Vec<&str> = containers
            .split_whitespace()
            .filter(|id| !self.kept.iter().any(|kept| kept == id))
            .collect();
        if !containers.is_empty() {
            self.docker(["rm", "-f", "-v"].into_iter().chain(containers))?;
        }
        self.docker(["network", "prune", "-f"])?;
        let mut undo = std::mem::take(&mut self.undo);
        let result = undo.restore(self);
        self.undo = undo;
        result
    }

    /// Puts the sysctls back that [`Lab::sysctl`] set.
    pub fn restore_sysctls(&mut self) {
        let mut undo = std::mem::take(&mut self.undo);
        undo.restore_sysctls(self);
        self.undo = undo;
    }

    /// Starts a server somewhere; it lives until the value is dropped.
    ///
    /// # Errors
    /// The address is taken.
    pub fn serve(&self, place: &Place, kind: server::Kind, address: &str) -> Result<Server> {
        Server::start(&self.netns(place)?, kind, address)
    }

    /// Sends dockerd a signal, e.g. SIGSTOP to make it hang.
    ///
    /// # Errors
    /// dockerd does not run.
    pub fn signal_dockerd(&self, signal: Signal) -> Result<()> {
        match &self.daemon {
            Some(daemon) => daemon.signal(signal),
            None => Err(anyhow!("this lab has no dockerd")),
        }
    }

    /// Stops dockerd. With `live-restore` in its options containers keep running.
    pub fn stop_dockerd(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.stop_dockerd(Duration::from_secs(15));
        }
    }

    /// Starts dockerd again.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_dockerd(&mut self) -> Result<()> {
        match &mut self.daemon {
            Some(daemon) => daemon.start_dockerd(),
            None => Err(anyhow!("this lab has no dockerd")),
        }
    }

    /// The end of dockerd's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        daemon::log_tail(&self.folder.path().join("dockerd.log"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.signal_dockerd(Signal::SIGCONT).ok();
            if let Ok(list) = self.docker(["ps", "-aq"])
                && !list.is_empty()
            {
                self.docker(["rm", "-f"].into_iter().chain(list.split_whitespace()))
                    .ok();
            }
        }
        self.servers.clear();
        self.daemon = None;
        cleanup::destroy(self.folder.path());
    }
}
