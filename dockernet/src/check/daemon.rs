//! What dockerd was told: its command line and `daemon.json`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::host::{netns::NetnsHandle, netns::scan};

/// The file that dockerd reads unless told otherwise.
const CONFIG: &str = "/etc/docker/daemon.json";

/// dockerd's configuration, running or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Daemon {
    /// Its process, if one runs in the host's namespace.
    pub pid: Option<i32>,
    /// Its command line.
    pub arguments: Vec<String>,
    /// The file it reads.
    pub file: PathBuf,
    /// What the file says; empty if there is none.
    pub config: Map<String, Value>,
    /// Why the file cannot be used, if it is there.
    pub error: Option<String>,
    /// Ports of the host that a docker-proxy serves: IP protocol's name and port.
    pub proxies: Vec<(String, u16)>,
    /// Where containers' files were found, whatever the configuration says.
    pub found_root: Option<PathBuf>,
}

impl Daemon {
    /// Looks for a dockerd in the host's namespace, and at its files.
    #[must_use]
    pub(super) fn look(host: &NetnsHandle) -> Self {
        let mut pid = None;
        let mut proxies = Vec::new();
        let here = scan::processes()
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, inum)| *inum == host.inum());
        for (process, _) in here {
            match scan::comm(process).as_deref() {
                Some("dockerd") => pid = pid.or(Some(process)),
                Some("docker-proxy") => proxies.extend(proxied(&arguments_of(process))),
                _ => {}
            }
        }
        let arguments = pid.map(arguments_of).unwrap_or_default();
        let mut daemon = Self::of(pid, arguments);
        daemon.proxies = proxies;
        daemon
    }

    /// With this command line.
    pub(super) fn of(pid: Option<i32>, arguments: Vec<String>) -> Self {
        let mut daemon = Self {
            pid,
            arguments,
            file: PathBuf::from(CONFIG),
            ..Self::default()
        };
        if let Some(file) = daemon.argument("config-file") {
            daemon.file = PathBuf::from(file);
        }
        match fs::read_to_string(&daemon.file) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(config)) => daemon.config = config,
                Ok(_) => daemon.error = Some("it holds no JSON object".into()),
                Err(error) => daemon.error = Some(error.to_string()),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => daemon.error = Some(error.to_string()),
        }
        daemon
    }

    /// The value of an option on the command line: `--NAME=VALUE` or `--NAME VALUE`.
    #[must_use]
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        let mut all = self.arguments.iter();
        while let Some(argument) = all.next() {
            let Some(rest) = argument
                .strip_prefix("--")
                .and_then(|argument| argument.strip_prefix(name))
            else {
                continue;
            };
            match rest.strip_prefix('=') {
                Some(value) => return Some(value),
                None if rest.is_empty() => {
                    let value = all.next().map(String::as_str);
                    return value
                        .filter(|value| !value.starts_with('-'))
                        .or(Some("true"));
                }
                None => {}
            }
        }
        None
    }

    /// An option, from the command line or the file, as text.
    #[must_use]
    pub(super) fn option(&self, name: &str) -> Option<String> {
        self.argument(name)
            .map(str::to_owned)
            .or_else(|| match self.config.get(name)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            })
    }

    /// A switch: what it was set to, else what the engine takes.
    #[must_use]
    pub(super) fn switch(&self, name: &str, default: bool) -> bool {
        self.option(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }

    /// Texts of a list in the file (`dns`), or of one option on the command line.
    #[must_use]
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.config.get(name) {
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(|each| each.as_str().map(str::to_owned))
                .collect(),
            _ => self.argument(name).map(str::to_owned).into_iter().collect(),
        }
    }

    /// Whether a docker-proxy serves a port. (dockerd itself may hold the port of one that none serves.)
    pub(super) fn has_proxy(&self, protocol: &str, port: u16) -> bool {
        self.proxies
            .iter()
            .any(|(known, number)| known == protocol && *number == port)
    }

    /// Where it keeps its files.
    #[must_use]
    pub(super) fn data_root(&self) -> PathBuf {
        if let Some(root) = &self.found_root {
            return root.clone();
        }
        self.option("data-root")
            .or_else(|| self.option("graph"))
            .map_or_else(|| PathBuf::from("/var/lib/docker"), PathBuf::from)
    }
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 …`.
fn proxied(arguments: &[String]) -> Option<(String, u16)> {
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    Some((value("-proto")?.clone(), value("-host-port")?.parse().ok()?))
}

fn arguments_of(pid: i32) -> Vec<String> {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
    bytes
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_both_forms() {
        let line = [
            "dockerd",
            "--bip=192.0.2.1/24",
            "--dns",
            "192.0.2.53",
            "--debug",
            "--ip6tables",
        ];
        let daemon = Daemon::of(None, line.map(str::to_owned).to_vec());
        assert_eq!(daemon.option("bip").as_deref(), Some("192.0.2.1/24"));
        assert_eq!(daemon.list("dns"), ["192.0.2.53"]);
        assert!(daemon.switch("debug", false) && daemon.switch("ip6tables", false));
        assert!(daemon.switch("userland-proxy", true));
        assert_eq!(daemon.argument("b"), None);
    }
}
