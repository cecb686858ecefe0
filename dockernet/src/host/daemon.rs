//! What dockerd was told, or would be: its command line, the unit's where it does not run, and `daemon.json`.

mod unit;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::{Map, Value};

pub(crate) use self::unit::Unit;
use super::{
    engine_files,
    netns::{NetnsHandle, scan},
    regular,
};

/// The file that dockerd reads unless told otherwise.
const CONFIG: &str = "/etc/docker/daemon.json";

/// Options that have a letter (cmd/dockerd/daemon.go of moby).
const LETTERS: [(char, &str); 7] = [
    ('b', "bridge"),
    ('D', "debug"),
    ('G', "group"),
    ('g', "graph"),
    ('H', "host"),
    ('l', "log-level"),
    ('p', "pidfile"),
];
/// Lists have another name in the file than on the command line (`opts.NewNamedListOptsRef`).
const LISTS: [(&str, &str); 15] = [
    ("authorization-plugins", "authorization-plugin"),
    ("cdi-spec-dirs", "cdi-spec-dir"),
    ("default-address-pools", "default-address-pool"),
    ("dns-opts", "dns-opt"),
    ("exec-opts", "exec-opt"),
    ("host-gateway-ips", "host-gateway-ip"),
    ("hosts", "host"),
    ("insecure-registries", "insecure-registry"),
    ("labels", "label"),
    ("log-opts", "log-opt"),
    ("node-generic-resources", "node-generic-resource"),
    ("registry-mirrors", "registry-mirror"),
    ("storage-opts", "storage-opt"),
    ("default-network-opts", "default-network-opt"),
    ("default-ulimits", "default-ulimit"),
];
/// Objects that are options themselves; of others the keys are (`flatOptions`).
const WHOLE: [&str; 7] = [
    "builder",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "node-generic-resources",
    "runtimes",
];
/// May be in both (`skipDuplicates`, daemon/config/config.go of moby).
const NOT_COMPARED: [&str; 1] = ["runtimes"];

/// dockerd's configuration, running or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Daemon {
    /// Its process, if one runs in the host's namespace.
    pub pid: Option<i32>,
    /// Its command line; where it does not run, the one that its unit would start it with.
    pub arguments: Vec<String>,
    /// Its unit, once somebody asks for it.
    unit: OnceLock<Unit>,
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
    pub(crate) fn look(host: &NetnsHandle) -> Self {
        let mut pid = None;
        let mut proxies = Vec::new();
        let here = scan::processes()
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, inum)| *inum == host.inum());
        for (process, _) in here {
            match scan::comm(process).as_deref() {
                Some("dockerd") if is_the_engines(process) => pid = pid.or(Some(process)),
                Some("docker-proxy") if is_the_engines(process) => {
                    proxies.extend(proxied(&arguments_of(process)));
                }
                _ => {}
            }
        }
        let unit = OnceLock::new();
        let arguments = pid.map_or_else(
            || unit.get_or_init(this_hosts_unit).command.clone(),
            arguments_of,
        );
        let mut daemon = Self::of(pid, arguments);
        daemon.unit = unit;
        daemon.proxies = proxies;
        daemon
    }

    /// Its unit.
    pub(crate) fn unit(&self) -> &Unit {
        self.unit.get_or_init(this_hosts_unit)
    }

    /// With this command line.
    pub(crate) fn of(pid: Option<i32>, arguments: Vec<String>) -> Self {
        let mut daemon = Self {
            pid,
            arguments,
            file: PathBuf::from(CONFIG),
            ..Self::default()
        };
        if let Some(file) = daemon.argument("config-file") {
            daemon.file = PathBuf::from(file);
        }
        match regular::text(&daemon.file) {
            // An empty one is none.
            Ok(text) if text.trim_start_matches('\u{feff}').trim().is_empty() => {}
            Ok(text) => match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
                Ok(Value::Object(config)) => daemon.config = config,
                Ok(_) => daemon.error = Some("it holds no JSON object".into()),
                Err(error) => daemon.error = Some(error.to_string()),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => daemon.error = Some(error.to_string()),
        }
        daemon
    }

    /// The value of an option on the command line.
    #[must_use]
    pub(crate) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments(name).next()
    }

    /// The values of an option on the command line, in their order: `--NAME=VALUE`, `--NAME VALUE`, `-N VALUE`; a switch alone is
    /// `true`.
    pub(crate) fn arguments<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let letter = LETTERS.iter().find(|(_, long)| *long == name);
        self.arguments
            .iter()
            .enumerate()
            .filter_map(move |(place, argument)| {
                let rest = match argument.strip_prefix("--") {
                    Some(long) => long.strip_prefix(name)?,
                    None => {
                        let (short, _) = letter?;
                        argument.strip_prefix('-')?.strip_prefix(*short)?
                    }
                };
                if let Some(value) = rest.strip_prefix('=') {
                    return Some(value);
                }
                if !rest.is_empty() {
                    // `-Hfd://`
                    return (!argument.starts_with("--")).then_some(rest);
                }
                let next = self.arguments.get(place + 1).map(String::as_str);
                let value = next.filter(|value| !value.starts_with('-'));
                Some(value.unwrap_or("true"))
            })
    }

    /// Options that are both on the command line and in the file, by their names in the file: dockerd does not start with one.
    #[must_use]
    pub(crate) fn twice(&self) -> Vec<&str> {
        let given = |name: &str| self.argument(name).is_some();
        let names = self.config.iter().flat_map(|(name, value)| match value {
            Value::Object(inner) if !WHOLE.contains(&name.as_str()) => {
                inner.keys().map(String::as_str).collect()
            }
            _ => vec![name.as_str()],
        });
        names
            .filter(|name| !NOT_COMPARED.contains(name))
            .filter(|name| {
                let long = LISTS.iter().find(|(list, _)| list == name);
                given(long.map_or(*name, |(_, long)| *long))
            })
            .collect()
    }

    /// An option, from the command line or the file, as text.
    #[must_use]
    pub(crate) fn option(&self, name: &str) -> Option<String> {
        self.argument(name)
            .map(str::to_owned)
            .or_else(|| match self.config.get(name)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            })
    }

    /// A switch: what it was set to, else what the engine takes.
    #[must_use]
    pub(crate) fn switch(&self, name: &str, default: bool) -> bool {
        self.option(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }

    /// Texts of a list in the file (`dns`), or of an option on the command line.
    #[must_use]
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.config.get(name) {
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(|each| each.as_str().map(str::to_owned))
                .collect(),
            _ => self.arguments(name).map(str::to_owned).collect(),
        }
    }

    /// Whether a docker-proxy serves a port. (dockerd itself may hold the port of one that none serves.)
    pub(crate) fn has_proxy(&self, protocol: &str, port: u16) -> bool {
        self.proxies
            .iter()
            .any(|(known, number)| known == protocol && *number == port)
    }

    /// Where it keeps its files.
    #[must_use]
    pub(crate) fn data_root(&self) -> PathBuf {
        if let Some(root) = &self.found_root {
            return root.clone();
        }
        self.option("data-root")
            .or_else(|| self.option("graph"))
            .map_or_else(|| PathBuf::from("/var/lib/docker"), PathBuf::from)
    }
}

fn this_hosts_unit() -> Unit {
    Unit::read(Path::new("/"))
}

/// Anybody may call a program so. In the host's namespace the engine's are root's, and in no container.
fn is_the_engines(process: i32) -> bool {
    scan::uid_of(process) == Some(0) && !engine_files::is_contained(process)
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
    #![expect(clippy::unwrap_used, reason = "tests")]

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

    #[test]
    fn letters_lists_and_what_is_given_twice() {
        let line = [
            "dockerd",
            "-H",
            "fd://",
            "-H=tcp://127.0.0.1:2375",
            "-b",
            "lan0",
            "-D",
            "--default-address-pool=base=10.0.0.0/16,size=24",
            "--add-runtime=a=b",
            "--http-proxy=http://192.0.2.1",
            "-l=info",
        ];
        let mut daemon = Daemon::of(None, line.map(str::to_owned).to_vec());
        assert_eq!(daemon.list("host"), ["fd://", "tcp://127.0.0.1:2375"]);
        assert_eq!(daemon.option("bridge").as_deref(), Some("lan0"));
        assert!(daemon.switch("debug", false));
        let file = r#"{"hosts": ["unix:///run/docker.sock"], "debug": true, "dns": ["192.0.2.53"], "proxies": {"http-proxy": "x"},
            "log-level": "info", "data-root": "/x",
            "default-address-pools": [], "runtimes": {}}"#;
        daemon.config = serde_json::from_str(file).unwrap();
        let mut twice = daemon.twice();
        twice.sort_unstable();
        assert_eq!(
            twice,
            [
                "debug",
                "default-address-pools",
                "hosts",
                "http-proxy",
                "log-level"
            ]
        );
    }
}
