//! Starting containers.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{exec::wait_until, image::IMAGE, lab::Lab};

/// A container to start.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Its command, split by a shell.
    pub command: String,
    /// `--publish` values.
    pub publish: Vec<String>,
    /// Networks: the first by `--network`, the others by `docker network connect`. Empty: the default bridge.
    pub networks: Vec<String>,
    /// Further arguments of `docker run`.
    pub options: Vec<String>,
    /// Wait until something listens on this port in the container (`80/tcp`, `53/udp`).
    pub wait_port: Option<String>,
}

impl Run {
    /// A container on the default bridge.
    #[must_use]
    pub fn new(name: &str, command: &str) -> Self {
        Self {
            name: name.to_owned(),
            command: command.to_owned(),
            ..Self::default()
        }
    }

    /// `--publish VALUE`.
    #[must_use]
    pub fn publish(mut self, value: &str) -> Self {
        self.publish.push(value.to_owned());
        self
    }

    /// One more argument of `docker run`.
    #[must_use]
    pub fn option(mut self, value: &str) -> Self {
        self.options.push(value.to_owned());
        self
    }

    /// One more network.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.networks.push(name.to_owned());
        self
    }

    /// Waits until something listens on this port, e.g. `80/tcp`.
    #[must_use]
    pub fn wait_port(mut self, port: &str) -> Self {
        self.wait_port = Some(port.to_owned());
        self
    }

    pub(crate) fn start(&self, lab: &Lab) -> Result<()> {
        let mut args: Vec<String> = vec!["create".into(), "--name".into(), self.name.clone()];
        for value in &self.publish {
            args.extend(["--publish".into(), value.clone()]);
        }
        if let Some(first) = self.networks.first() {
            args.extend(["--network".into(), first.clone()]);
        }
        // busybox ends on SIGTERM only as a child of an init.
        args.extend(["--stop-signal".into(), "KILL".into()]);
        args.extend(self.options.iter().cloned());
        args.push(IMAGE.into());
        args.extend(["sh".into(), "-c".into(), format!("exec {}", self.command)]);
        lab.docker(&args)
            .with_context(|| format!("creating container {}", self.name))?;
        for network in self.networks.iter().skip(1) {
            lab.docker(["network", "connect", network, &self.name])?;
        }
        lab.docker(["start", &self.name])
            .with_context(|| format!("starting container {}", self.name))?;
        self.wait(lab)
    }

    fn wait(&self, lab: &Lab) -> Result<()> {
        let pid = lab.container_pid(&self.name).with_context(|| {
            format!(
                "its log: {}",
                lab.docker(["logs", &self.name]).unwrap_or_default()
            )
        })?;
        let Some(port) = &self.wait_port else {
            return Ok(());
        };
        let Some((number, protocol)) = port.split_once('/') else {
            bail!(
                "wait_port {port:?} of container {}: write 80/tcp",
                self.name
            );
        };
        let needle = format!(":{:04X} ", number.parse::<u16>()?);
        let files = [
            format!("/proc/{pid}/net/{protocol}"),
            format!("/proc/{pid}/net/{protocol}6"),
        ];
        wait_until(
            &format!("container {} listens on {port}", self.name),
            Duration::from_secs(10),
            || {
                files
                    .iter()
                    .filter_map(|file| std::fs::read_to_string(file).ok())
                    .any(|text| listens(&text, &needle))
                    .then_some(())
            },
        )
    }
}

/// Whether /proc/net/{tcp,udp} holds a socket whose local port is `needle` and which has no peer.
fn listens(text: &str, needle: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words
            .next()
            .is_some_and(|word| format!("{word} ").ends_with(needle));
        local && words.next().is_some_and(|word| word.ends_with(":0000"))
    })
}
