//! What real engines and firewalld write: the simulation can read all of it, and it is still what it was.
//!
//! `DOCKERNET_GOLDEN=write` makes `tests/golden/*.rules` anew.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use dockernet::host::{
    firewall::{Elements, Family, Firewall, Item, Match, Rule, Target, Verdict},
    netns::NetnsHandle,
};
use dockernet_tests::{
    Engine, Lab, LabOptions, Part, Place, Run, can_run, engines, group, progress,
};

#[test]
fn what_engines_write() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        let mut lab = Lab::start(&engine, &LabOptions::default())?;
        furnish(&lab)?;
        let parts: &[Part<'_, Lab>] = &[
            ("all of it is read", complete),
            ("it is what it was", golden),
        ];
        group(&mut lab, parts).with_context(|| engine.version.clone())?;
    }
    Ok(())
}

#[test]
fn what_firewalld_writes() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    furnish(&lab)?;
    if !installed(&lab, "firewalld dbus-daemon")? {
        return Ok(());
    }
    for backend in ["nftables", "iptables"] {
        let output = lab.shell(&Place::Host, &FIREWALLD.replace("BACKEND", backend))?;
        ensure!(
            output.success(),
            "{backend}: {}{}",
            output.stdout,
            output.stderr
        );
        // It has ended, and its rules are still there.
        let firewall = read(&lab)?;
        ensure!(
            firewall.has_chain_or_table("firewalld") || firewall.has_chain_or_table("IN_"),
            "{backend}: firewalld has left nothing: {}{}",
            output.stdout,
            output.stderr
        );
        all_known(&firewall).with_context(|| format!("firewalld's {backend} backend"))?;
    }
    Ok(())
}

#[test]
fn what_ufw_writes() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    furnish(&lab)?;
    if !installed(&lab, "ufw")? {
        return Ok(());
    }
    let output = lab.shell(&Place::Host, UFW)?;
    ensure!(output.success(), "{}{}", output.stdout, output.stderr);
    let firewall = read(&lab)?;
    ensure!(
        firewall.has_chain_or_table("ufw-user-input")
            && firewall.has_chain_or_table("ufw6-user-input"),
        "ufw has left nothing: {}{}",
        output.stdout,
        output.stderr
    );
    all_known(&firewall).context("ufw")
}

/// Whether the host has all `programs` (by spaces); in continuous integration it has to.
fn installed(lab: &Lab, programs: &str) -> Result<bool> {
    let script = format!("for program in {programs}; do command -v $program || exit 1; done");
    if lab.shell(&Place::Host, &script)?.success() {
        return Ok(true);
    }
    ensure!(
        std::env::var_os("CI").is_none(),
        "not all of these is installed: {programs}"
    );
    progress(&format!(
        "NOT RUN: not all of these is installed: {programs} (with CI set this is a failure)"
    ));
    Ok(false)
}

/// All that Docker writes rules for.
fn furnish(lab: &Lab) -> Result<()> {
    let name = |bridge: &str| format!("com.docker.network.bridge.name={bridge}");
    let own = |subnet: &str, bridge: &str, more: &[&str]| -> Result<()> {
        let bridge_name = name(bridge);
        let mut args = vec!["network", "create", "--subnet", subnet, "-o", &bridge_name];
        args.extend(more);
        args.push(bridge);
        lab.docker(args).map(drop)
    };
    own("172.29.1.0/24", "br-second", &[])?;
    own("172.29.2.0/24", "br-closed", &["--internal"])?;
    own(
        "172.29.3.0/24",
        "br-quiet",
        &["-o", "com.docker.network.bridge.enable_icc=false"],
    )?;
    own(
        "172.29.4.0/24",
        "br-plain",
        &["-o", "com.docker.network.bridge.enable_ip_masquerade=false"],
    )?;
    lab.run(
        &Run::new("web", "sleep 600")
            .publish("10001:80")
            .publish("10002:53/udp")
            .publish("127.0.0.1:10003:81"),
    )?;
    lab.run(
        &Run::new("api", "sleep 600")
            .network("br-second")
            .publish("10010-10012:90-92"),
    )?;
    lab.run(
        &Run::new("shy", "sleep 600")
            .network("br-quiet")
            .publish("10020:80"),
    )
}

fn read(lab: &Lab) -> Result<Firewall> {
    let firewall = Firewall::read(&NetnsHandle::open(lab.host().path())?);
    ensure!(firewall.notes.is_empty(), "{}", firewall.notes.join("; "));
    Ok(firewall)
}

fn complete(lab: &mut Lab) -> Result<()> {
    let firewall = read(lab)?;
    ensure!(
        firewall.has_docker_chains(Family::Ip),
        "no rules of Docker's"
    );
    all_known(&firewall)
}

/// Every rule is known to the last word.
fn all_known(firewall: &Firewall) -> Result<()> {
    let rules = firewall
        .tables()
        .flat_map(|(_, table)| &table.chains)
        .flat_map(|chain| &chain.rules);
    let unread: Vec<&str> = rules
        .filter(|rule| !known(rule))
        .map(|rule| rule.text.as_str())
        .collect();
    ensure!(
        unread.is_empty(),
        "not all of these is read:\n{}",
        unread.join("\n")
    );
    Ok(())
}

fn known(rule: &Rule) -> bool {
    // firewalld's reverse path filter for IPv6 asks for a route: see KNOWN_ISSUES.
    if rule.text == "meta nfproto ipv6 fib saddr . mark . iif oif missing drop"
        || rule.text.contains("-m rpfilter ")
        // How often something came is not known: what ufw limits and logs.
        || rule.text.contains("-m recent ")
        || rule.text.contains("-m limit ")
    {
        return true;
    }
    rule.matches.iter().all(known_match) && rule.targets.iter().all(known_target)
}

fn known_match(condition: &Match) -> bool {
    match condition {
        Match::Unknown(_) => false,
        Match::AnyOf { of, .. } => of.iter().all(known_match),
        Match::Test { elements, .. } => elements.iter().all(known_elements),
    }
}

fn known_elements(elements: &Elements) -> bool {
    !elements.iter().any(|item| matches!(item, Item::Unknown(_)))
}

fn known_target(target: &Target) -> bool {
    match target {
        Target::Unknown(_) => false,
        Target::When(condition) => known_match(condition),
        Target::Vmap { entries, .. } => entries.iter().all(|(elements, verdict)| {
            known_elements(elements) && !matches!(verdict, Verdict::Unknown(_))
        }),
        _ => true,
    }
}

/// Rules as `iptables-save` lists them, without counters, sorted: the order of networks is chance.
fn listing(lab: &Lab) -> Result<String> {
    let mut lines = BTreeSet::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let mut table = String::new();
        for line in lab.host().command(program).run()?.lines() {
            match line.chars().next() {
                Some('*') => table = format!("{program} {}", &line[1..]),
                Some(':') => {
                    let chain = line.split(" [").next().unwrap_or(line);
                    lines.insert(format!("{table} {chain}"));
                }
                Some('-') => {
                    lines.insert(format!("{table} {line}"));
                }
                _ => {}
            }
        }
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

fn golden(lab: &mut Lab) -> Result<()> {
    let found = listing(lab)?;
    let name = format!("docker-{}.rules", lab.engine().version);
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(&name);
    if std::env::var("DOCKERNET_GOLDEN").is_ok_and(|what| what == "write") {
        return std::fs::write(&file, found).with_context(|| format!("writing {}", file.display()));
    }
    let Ok(kept) = std::fs::read_to_string(&file) else {
        progress(&format!(
            "no golden rules for this engine: DOCKERNET_GOLDEN=write makes {name}"
        ));
        return Ok(());
    };
    let (kept, found): (BTreeSet<&str>, BTreeSet<&str>) =
        (kept.lines().collect(), found.lines().collect());
    let gone: Vec<&&str> = kept.difference(&found).collect();
    let new: Vec<&&str> = found.difference(&kept).collect();
    ensure!(
        gone.is_empty() && new.is_empty(),
        "{name}: gone {gone:#?}, new {new:#?}"
    );
    Ok(())
}

/// A firewalld of the lab's own on a bus of its own, with much of what it can; ended again.
const FIREWALLD: &str = r#"
d=$(mktemp -d /tmp/dockernet-firewalld-XXXXXX)
trap 'kill $(cat $d/pids) 2>/dev/null; rm -rf $d' EXIT
cat > $d/bus.conf <<END
<busconfig><type>system</type><listen>unix:path=$d/bus</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/><allow send_type="method_return"/>
<allow send_type="error"/><allow receive_type="method_call"/><allow receive_type="signal"/><allow receive_type="method_return"/>
<allow receive_type="error"/></policy></busconfig>
END
cp -r /etc/firewalld $d/conf
sed -i 's/^FirewallBackend=.*/FirewallBackend=BACKEND/; s/^CleanupOnExit=.*/CleanupOnExit=no/' $d/conf/firewalld.conf
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$d/bus
dbus-daemon --config-file=$d/bus.conf --nofork >/dev/null 2>&1 </dev/null & echo $! > $d/pids
for i in $(seq 50); do test -S $d/bus && break; sleep 0.1; done
firewalld --nofork --nopid --system-config $d/conf --log-file $d/log >/dev/null 2>&1 </dev/null & echo $! >> $d/pids
for i in $(seq 150); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done
set -e
firewall-cmd --permanent --new-zone=docker
firewall-cmd --permanent --zone=docker --set-target=ACCEPT
firewall-cmd --permanent --zone=docker --add-interface=docker0
firewall-cmd --permanent --zone=public --add-interface=eth0
firewall-cmd --permanent --zone=public --add-port=8080-8081/tcp --add-port=53/udp
firewall-cmd --permanent --zone=public --add-service=https
firewall-cmd --permanent --zone=public --add-masquerade
firewall-cmd --permanent --zone=public --add-forward-port=port=81:proto=tcp:toport=80:toaddr=172.17.0.2
firewall-cmd --permanent --zone=public --add-icmp-block=timestamp-request
firewall-cmd --permanent --zone=internal --add-source=192.0.2.0/24
firewall-cmd --permanent --zone=drop --add-source=203.0.113.66
firewall-cmd --permanent --zone=public --add-rich-rule='rule family=ipv4 source address=198.51.100.66 port port=22 protocol=tcp reject'
firewall-cmd --permanent --zone=public --add-rich-rule='rule family=ipv6 source address=2001:db8:66::/48 drop'
firewall-cmd --reload
"#;

/// ufw with folders of its own, and with much of what it can.
const UFW: &str = r#"
d=$(mktemp -d /tmp/dockernet-ufw-XXXXXX)
trap 'rm -rf $d' EXIT
cp -r /etc/ufw $d/etc
# The lab's settings stay as they are, and no helper is loaded.
sed 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/; s/^IPT_MODULES=.*/IPT_MODULES=/; s/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=no/' /etc/default/ufw > $d/default
export D=$d
unshare --mount --propagation private sh -ec '
mount --bind $D/etc /etc/ufw
mount --bind $D/default /etc/default/ufw
ufw default deny incoming
ufw default deny routed
ufw allow 8080:8081/tcp
ufw allow proto udp to any port 53
ufw limit 2222/tcp
ufw deny from 203.0.113.66
ufw reject in on eth0 to any port 22 proto tcp
ufw deny from 2001:db8:66::/48
ufw route allow in on eth0 out on docker0 to 172.17.0.2 port 80 proto tcp
ufw logging medium
ufw --force enable
'
"#;
