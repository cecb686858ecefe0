//! Which configuration file sets a kernel setting (sysctl.d(5), sysctl.conf(5)).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fast_glob::glob_match;
use serde::{Deserialize, Serialize};

/// Where a name is looked for, first come first served: a file hides those of the same name further down.
/// This is systemd-sysctl's order; procps' `sysctl --system` puts /run before /etc.
const DIRECTORIES: [&str; 5] = [
    "etc/sysctl.d",
    "run/sysctl.d",
    "usr/local/lib/sysctl.d",
    "usr/lib/sysctl.d",
    "lib/sysctl.d",
];
/// Read after all of them by `sysctl --system` and `sysctl -p`.
const LAST: &str = "etc/sysctl.conf";
/// Settings that come with a module that the engine's rules load.
const LATE: [(&str, &str); 2] = [
    ("net/netfilter/nf_conntrack", "nf_conntrack"),
    ("net/bridge/", "br_netfilter"),
];
/// A configuration file is a page or two; more is not read.
const LIMIT: u64 = 1 << 20;

/// One line that sets something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlSetting {
    /// The key as this crate writes it, with slashes; it may be a pattern.
    pub key: String,
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Value; `None` for a line `-key`, which takes the key out of patterns.
    pub value: Option<String>,
}

/// All lines of all files, in the order in which they are applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SysctlFiles {
    settings: Vec<SysctlSetting>,
    /// systemd sets what is kept, and no link in sysctl.d leads it to /etc/sysctl.conf (Debian 13, Arch).
    #[serde(default)]
    passes_over_conf: bool,
    /// Modules whose settings are there once they are loaded, which is after the files were read at boot (sysctl.d(5)).
    #[serde(default)]
    late_modules: Vec<String>,
}

impl SysctlFiles {
    /// Reads the files below `root` (`/` on a live host). What cannot be read is left out.
    #[must_use]
    pub fn load(root: &Path) -> Self {
        let mut names: BTreeMap<_, PathBuf> = BTreeMap::new();
        for directory in DIRECTORIES {
            let Ok(entries) = fs::read_dir(root.join(directory)) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                let path = entry.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "conf")
                {
                    names.entry(entry.file_name()).or_insert(path);
                }
            }
        }
        let mut files: Vec<PathBuf> = names.into_values().collect();
        let conf = root.join(LAST);
        let is_linked = files.iter().any(|path| resolve_link(root, path) == conf);
        let passes_over_conf = !is_linked && root.join("run/systemd/system").is_dir();
        // What nothing reads at boot is to blame only where nothing else is.
        let place = if passes_over_conf { 0 } else { files.len() };
        files.insert(place, conf);
        if ufw_enabled(root) {
            files.push(root.join("etc/ufw/sysctl.conf"));
        }

        let mut settings = Vec::new();
        for path in files {
            // Debian's 99-sysctl.conf is a link to /etc/sysctl.conf: the target is what a person edits.
            let shown = resolve_link(root, &path);
            if let Some(text) = read_small(&path).or_else(|| read_small(&shown)) {
                let file = below(root, &shown);
                settings.extend(parse(&text, &file));
            }
        }
        let loaded = fs::read_to_string(root.join("proc/modules")).unwrap_or_default();
        let is_loaded = |module: &&str| {
            loaded
                .lines()
                .any(|line| line.split(' ').next() == Some(*module))
        };
        let late = LATE.iter().map(|(_, module)| *module);
        Self {
            settings,
            passes_over_conf,
            late_modules: late.filter(is_loaded).map(str::to_owned).collect(),
        }
    }

    /// Lines that set this very key, by name or by pattern, in the order in which they are applied.
    pub fn lines<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a SysctlSetting> {
        self.settings.iter().filter(move |s| covers(&s.key, key))
    }

    /// The line that decides this very key. A line that names the key beats every pattern; among equals the last wins.
    #[must_use]
    pub fn who_sets(&self, key: &str) -> Option<&SysctlSetting> {
        let named = self.settings.iter().rfind(|setting| setting.key == key);
        match named {
            Some(setting) => Some(setting).filter(|setting| setting.value.is_some()),
            None => self
                .settings
                .iter()
                .rfind(|setting| setting.value.is_some() && covers(&setting.key, key)),
        }
    }

    /// The line to blame for a live value: the one that decides the key, or one that writes it through a wider
    /// key (`net/ipv4/ip_forward` writes every interface's `forwarding`), if it sets that value.
    #[must_use]
    pub fn who_sets_to(&self, key: &str, value: &str) -> Option<&SysctlSetting> {
        let agrees = |setting: &&SysctlSetting| setting.value.as_deref() == Some(value);
        self.who_sets(key).filter(agrees).or_else(|| {
            let wider = wider_keys(key);
            wider
                .iter()
                .find_map(|key| self.who_sets(key).filter(agrees))
        })
    }

    /// The file in which to keep a new value: the one in /etc that decides the key now, else a new one that is
    /// applied after it, such as `/etc/sysctl.d/90-eth0.conf`.
    #[must_use]
    pub fn persist(&self, key: &str) -> String {
        let file = self.file_for(key);
        let comes_late = |(prefix, module): &&(&str, &str)| {
            key.starts_with(prefix) && self.late_modules.iter().any(|late| late == module)
        };
        match LATE.iter().find(comes_late) {
            Some((_, module)) => {
                format!("{file}, with {module} in /etc/modules-load.d/{module}.conf")
            }
            None => file,
        }
    }

    fn file_for(&self, key: &str) -> String {
        let plain = persist_path(key);
        let own = self.who_sets(key).filter(|setting| setting.key == key);
        let is_read = |setting: &SysctlSetting| {
            !self.passes_over_conf || setting.file != Path::new("/").join(LAST)
        };
        let own = own.filter(|own| is_read(own));
        // A name beats a pattern wherever that stands; what writes it through another key has to come before.
        let wider = wider_keys(key);
        let wider = wider.iter().filter_map(|key| self.who_sets(key));
        let others: Vec<_> = wider.filter(|one| is_read(one)).collect();
        let is_last = |file: &Path| {
            let mut others = others.iter();
            others.all(|one| one.file == file || one.file.file_name() < file.file_name())
        };
        if let Some(own) = own.filter(|own| own.file.starts_with("/etc") && is_last(&own.file)) {
            return own.file.display().to_string();
        }
        let is_after_own =
            own.is_none_or(|own| own.file.file_name() < Path::new(&plain).file_name());
        if is_after_own && is_last(Path::new(&plain)) {
            plain
        } else {
            plain.replace("/90-", "/zz-")
        }
    }
}

/// `/etc/sysctl.d/90-eth0.conf` for a setting of eth0, `/etc/sysctl.d/90-ip_forward.conf` for `net/ipv4/ip_forward`.
#[must_use]
pub fn persist_path(key: &str) -> String {
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        ["net", "ipv4" | "ipv6", "conf" | "neigh", interface, _] => interface,
        [.., last] => last,
        [] => "dockernet",
    };
    format!("/etc/sysctl.d/90-{name}.conf")
}

/// Keys whose being written changes this one too.
///
/// `inet_forward_change` (net/ipv4/devinet.c) and `addrconf_forward_change` and `addrconf_disable_change`
/// (net/ipv6/addrconf.c) copy `all` to every interface and to `default`; `default` is what a new interface gets.
#[must_use]
pub fn wider_keys(key: &str) -> Vec<String> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["net", "ipv4", "ip_forward"] => vec!["net/ipv4/conf/all/forwarding".into()],
        ["net", "ipv4", "conf", "all", "forwarding"] => vec!["net/ipv4/ip_forward".into()],
        ["net", "ipv4", "conf", _, "forwarding"] => vec![
            "net/ipv4/conf/all/forwarding".into(),
            "net/ipv4/ip_forward".into(),
            "net/ipv4/conf/default/forwarding".into(),
        ],
        [
            "net",
            "ipv6",
            "conf",
            interface,
            name @ ("forwarding" | "disable_ipv6"),
        ] if *interface != "all" => ["all", "default"]
            .map(|wide| format!("net/ipv6/conf/{wide}/{name}"))
            .into(),
        ["net", family, "conf", interface, name] if !matches!(*interface, "all" | "default") => {
            vec![format!("net/{family}/conf/default/{name}")]
        }
        _ => Vec::new(),
    }
}

/// Parses one file. Lines that are no settings are skipped, as the tools that apply them do.
pub(crate) fn parse(text: &str, file: &Path) -> Vec<SysctlSetting> {
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (ignores, rest) = match line.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key, Some(value.trim().to_owned())),
            None if ignores => (rest, None),
            None => continue,
        };
        settings.push(SysctlSetting {
            key: normalize(key.trim()),
            file: file.to_owned(),
            line: number + 1,
            value,
        });
    }
    settings
}

/// Into the slashed form. The first separator says which form a key has; in the dotted one a slash stands for a dot.
fn normalize(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.trim_start_matches('/').to_owned(),
    }
}

fn covers(pattern: &str, key: &str) -> bool {
    if !pattern.contains(['*', '?', '[']) {
        return pattern == key;
    }
    glob_match(pattern, key)
}

fn ufw_enabled(root: &Path) -> bool {
    let text = read_small(&root.join("etc/ufw/ufw.conf")).unwrap_or_default();
    text.lines().any(|line| line.trim() == "ENABLED=yes")
}

/// The target of a link, taken as seen from `root`; the path itself if it is none.
fn resolve_link(root: &Path, path: &Path) -> PathBuf {
    match fs::read_link(path) {
        Ok(target) if target.is_absolute() => match target.strip_prefix("/") {
            Ok(inside) => root.join(inside),
            Err(_) => target,
        },
        Ok(target) => {
            let joined = path.with_file_name(target);
            joined.canonicalize().unwrap_or(joined)
        }
        Err(_) => path.to_owned(),
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    match path.strip_prefix(&root) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => path.to_owned(),
    }
}

fn read_small(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const FORWARDING: &str = "net/ipv4/conf/eth0/forwarding";

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, SysctlFiles) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let loaded = SysctlFiles::load(root.path());
        (root, loaded)
    }

    fn at(setting: Option<&SysctlSetting>) -> String {
        let setting = setting.unwrap();
        format!("{}:{}", setting.file.display(), setting.line)
    }

    #[test]
    fn the_last_basename_wins_and_etc_hides_usr() {
        let (_root, files) = tree(&[
            ("usr/lib/sysctl.d/50-a.conf", "net.ipv4.ip_forward = 0\n"),
            ("etc/sysctl.d/50-a.conf", "# mine\nnet.ipv4.ip_forward=1\n"),
            ("run/sysctl.d/40-b.conf", "net/ipv4/ip_forward = 2"),
            ("etc/sysctl.d/60-c.conf.bak", "net.ipv4.ip_forward=9"),
        ]);
        let key = "net/ipv4/ip_forward";
        assert_eq!(files.lines(key).count(), 2);
        assert_eq!(at(files.who_sets(key)), "/etc/sysctl.d/50-a.conf:2");
        assert_eq!(files.persist(key), "/etc/sysctl.d/50-a.conf");
        assert_eq!(files.who_sets_to(key, "0"), None);
    }

    #[test]
    fn sysctl_conf_comes_last_and_its_link_is_followed() {
        let (root, _) = tree(&[
            ("etc/sysctl.conf", "\n\nnet.ipv4.conf.eth0.forwarding = 0"),
            (
                "etc/sysctl.d/90-eth0.conf",
                "net.ipv4.conf.eth0.forwarding=1",
            ),
        ]);
        let link = root.path().join("etc/sysctl.d/99-sysctl.conf");
        std::os::unix::fs::symlink("../sysctl.conf", link).unwrap();
        let files = SysctlFiles::load(root.path());
        assert_eq!(at(files.who_sets_to(FORWARDING, "0")), "/etc/sysctl.conf:3");
        assert_eq!(files.persist(FORWARDING), "/etc/sysctl.conf");
    }

    #[test]
    fn systemd_does_not_read_sysctl_conf_without_a_link() {
        let (_root, files) = tree(&[
            ("etc/sysctl.conf", "net.ipv4.conf.eth0.forwarding = 0"),
            ("run/systemd/system/README", ""),
        ]);
        assert_eq!(at(files.who_sets_to(FORWARDING, "0")), "/etc/sysctl.conf:1");
        assert_eq!(files.persist(FORWARDING), "/etc/sysctl.d/90-eth0.conf");
    }

    #[test]
    fn what_is_read_beats_what_is_not() {
        let (_root, files) = tree(&[
            ("etc/sysctl.conf", "net.ipv4.ip_forward = 1"),
            ("etc/sysctl.d/99-x.conf", "net.ipv4.ip_forward = 0"),
            ("run/systemd/system/README", ""),
        ]);
        let key = "net/ipv4/ip_forward";
        assert_eq!(at(files.who_sets_to(key, "0")), "/etc/sysctl.d/99-x.conf:1");
        assert_eq!(files.persist(key), "/etc/sysctl.d/99-x.conf");
    }

    #[test]
    fn an_early_file_is_not_enough_where_a_later_one_writes_it_too() {
        let (_root, files) = tree(&[
            (
                "etc/sysctl.d/10-own.conf",
                "net.ipv4.conf.eth0.forwarding = 0",
            ),
            (
                "etc/sysctl.d/99-cis.conf",
                "net.ipv4.conf.all.forwarding = 0",
            ),
        ]);
        assert_eq!(files.persist(FORWARDING), "/etc/sysctl.d/zz-eth0.conf");
    }

    #[test]
    fn what_a_module_brings_needs_the_module_first() {
        let (_root, files) = tree(&[("proc/modules", "nf_conntrack 204800 5 nf_nat, Live 0x0\n")]);
        assert_eq!(
            files.persist("net/netfilter/nf_conntrack_max"),
            "/etc/sysctl.d/90-nf_conntrack_max.conf, with nf_conntrack in /etc/modules-load.d/nf_conntrack.conf"
        );
        assert_eq!(
            files.persist("net/bridge/bridge-nf-call-iptables"),
            "/etc/sysctl.d/90-bridge-nf-call-iptables.conf"
        );
    }

    #[test]
    fn a_link_to_dev_null_masks() {
        let (root, _) = tree(&[
            ("usr/lib/sysctl.d/50-a.conf", "net.ipv4.ip_forward=0"),
            ("etc/sysctl.d/README", ""),
        ]);
        let link = root.path().join("etc/sysctl.d/50-a.conf");
        std::os::unix::fs::symlink("/dev/null", link).unwrap();
        let files = SysctlFiles::load(root.path());
        assert_eq!(files.who_sets("net/ipv4/ip_forward"), None);
    }

    #[test]
    fn a_name_beats_patterns_and_a_dash_takes_it_out() {
        let (_root, files) = tree(&[(
            "etc/sysctl.d/20-rp.conf",
            "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.hub0.rp_filter = 1\n\
             -net.ipv4.conf.wan0.rp_filter = 0\nnet.ipv4.conf.*.rp_filter = 3\n",
        )]);
        let value = |interface: &str| {
            let key = format!("net/ipv4/conf/{interface}/rp_filter");
            files
                .who_sets(&key)
                .and_then(|setting| setting.value.clone())
        };
        assert_eq!(value("eth0").as_deref(), Some("3"));
        assert_eq!(value("hub0").as_deref(), Some("1"));
        assert_eq!(value("wan0").as_deref(), Some("0"));
        assert_eq!(value("all"), None);
        assert_eq!(value("eth0.1").as_deref(), Some("3"));
    }

    #[test]
    fn both_spellings_of_a_name_with_a_dot() {
        assert_eq!(
            normalize("net.ipv4.conf.eth0/7.forwarding"),
            "net/ipv4/conf/eth0.7/forwarding"
        );
        assert_eq!(
            normalize("net/ipv4/conf/eth0.7/forwarding"),
            "net/ipv4/conf/eth0.7/forwarding"
        );
        assert_eq!(normalize(""), "");
    }

    #[test]
    fn ip_forward_is_to_blame_for_an_interface() {
        let (_root, files) = tree(&[
            ("usr/lib/sysctl.d/95-cis.conf", "net.ipv4.ip_forward = 0"),
            (
                "usr/lib/sysctl.d/95-own.conf",
                "net.ipv4.conf.eth0.rp_filter=1",
            ),
            ("etc/ufw/ufw.conf", "ENABLED=yes\n"),
            ("etc/ufw/sysctl.conf", "net/ipv6/conf/all/disable_ipv6=1\n"),
        ]);
        let blamed = files.who_sets_to(FORWARDING, "0");
        assert_eq!(at(blamed), "/usr/lib/sysctl.d/95-cis.conf:1");
        assert_eq!(files.persist(FORWARDING), "/etc/sysctl.d/zz-eth0.conf");
        assert_eq!(
            files.persist("net/ipv4/conf/eth0/rp_filter"),
            "/etc/sysctl.d/zz-eth0.conf"
        );
        let key = "net/ipv6/conf/eth0/disable_ipv6";
        assert_eq!(at(files.who_sets_to(key, "1")), "/etc/ufw/sysctl.conf:1");
    }

    #[test]
    fn a_new_file_is_named_after_the_interface() {
        assert_eq!(persist_path(FORWARDING), "/etc/sysctl.d/90-eth0.conf");
        assert_eq!(
            persist_path("net/ipv4/ip_forward"),
            "/etc/sysctl.d/90-ip_forward.conf"
        );
    }
}
