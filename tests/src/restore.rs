//! Putting a used lab back to how it was.

use std::ffi::{OsStr, OsString};

use anyhow::{Result, bail};

use crate::{
    exec::Cmd,
    lab::Lab,
    netns::{Netns, Place},
};

/// What has to be put back.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    sysctls: Vec<(Place, String, String)>,
    rules: Vec<(&'static str, String)>,
    tables: String,
    state: String,
    /// Where `iptables` and its like are found.
    path: OsString,
}

const SAVE: [(&str, &str); 2] = [
    ("iptables-save", "iptables-restore"),
    ("ip6tables-save", "ip6tables-restore"),
];

impl Undo {
    /// Takes the state of a fresh lab as the one to come back to.
    pub(crate) fn remember(&mut self, host: &Netns, outside: &Netns, path: OsString) -> Result<()> {
        let saved = |save| host.command(save).env("PATH", &path).run();
        self.rules = SAVE
            .iter()
            .map(|(save, restore)| Ok((*restore, saved(save)?)))
            .collect::<Result<_>>()?;
        self.tables = tables(host)?;
        self.state = state(host, outside, &path)?;
        self.path = path;
        Ok(())
    }

    pub(crate) fn sysctl(&mut self, place: &Place, key: &str, old: String) {
        self.sysctls.push((place.clone(), key.to_owned(), old));
    }

    /// Restores and verifies. Call it when containers and networks are gone.
    pub(crate) fn restore(&mut self, lab: &Lab) -> Result<()> {
        self.restore_sysctls(lab);
        let host = lab.host();
        for table in tables(host)?.lines() {
            if !self.tables.lines().any(|known| known == table) {
                host.command("nft")
                    .arg("delete")
                    .args(table.split(' '))
                    .run()?;
            }
        }
        for (restore, rules) in &self.rules {
            let command = host.command(restore).env("PATH", &self.path);
            command.input(rules.clone()).run()?;
        }
        Cmd::shell("ip neigh flush all; ip -6 neigh flush all; conntrack -F 2>/dev/null; true")
            .in_netns(host.path())
            .run()?;
        let now = state(host, lab.outside(), &self.path)?;
        if now != self.state {
            bail!(
                "the lab is not as it was: {}",
                difference(&self.state, &now)
            );
        }
        Ok(())
    }

    /// The sysctls set so far, newest first.
    pub(crate) fn restore_sysctls(&mut self, lab: &Lab) {
        for (place, key, old) in std::mem::take(&mut self.sysctls).into_iter().rev() {
            // A container's namespace is gone with it.
            if let Ok(netns) = lab.netns(&place) {
                netns.set_sysctl(&key, &old).ok();
            }
        }
    }
}

fn tables(host: &Netns) -> Result<String> {
    host.command("nft").args(["list", "tables"]).run()
}

/// Everything a fault may change, without what changes by itself (counters, MACs, carrier, link-local addresses).
fn state(host: &Netns, outside: &Netns, path: &OsStr) -> Result<String> {
    let mut text = String::new();
    for netns in [host, outside] {
        let script = "ip -br -4 addr | sed 's/@[^ ]*//; s/ \\(UP\\|DOWN\\|UNKNOWN\\|LOWERLAYERDOWN\\) / /; s/  */ /g'
            ip route show table all | grep -v -e fe80 -e multicast -e anycast -e ff00 | sed 's/ linkdown//' | sort
            ip rule; ip -6 rule
            ip -o link | sed 's/^[0-9]*: \\([^:@]*\\).* mtu \\([0-9]*\\).*/\\1 \\2/'
            cat /proc/sys/net/ipv4/ip_forward
            for d in $(ls /proc/sys/net/ipv4/conf); do cd /proc/sys/net/ipv4/conf/$d && grep -H . forwarding rp_filter route_localnet; done
            for d in $(ls /proc/sys/net/ipv6/conf); do cd /proc/sys/net/ipv6/conf/$d && grep -H . forwarding disable_ipv6; done
            cat /proc/sys/net/bridge/bridge-nf-call-iptables";
        text += &Cmd::shell(script).in_netns(netns.path()).run()?;
    }
    for program in ["iptables-save", "ip6tables-save"] {
        let rules = Cmd::new(program)
            .env("PATH", path)
            .in_netns(host.path())
            .run()?;
        let mut table = "";
        for line in rules.lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
                continue;
            }
            // A table of iptables-legacy that was asked for once stays, with its own chains and without rules.
            let is_bare = line.starts_with(':') && line.contains(" ACCEPT ");
            let words = line.split(" [").next().unwrap_or(line);
            if line != "COMMIT" && !is_bare {
                text += &format!("{program} {table} {words}\n");
            }
        }
    }
    text += &tables(host)?;
    // The order of chains changes with each save and restore.
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.join("\n"))
}

fn difference(before: &str, after: &str) -> String {
    let gone = before
        .lines()
        .filter(|line| !after.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"));
    let new = after
        .lines()
        .filter(|line| !before.lines().any(|other| other == *line))
        .map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("; ")
}
