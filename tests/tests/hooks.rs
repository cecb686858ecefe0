//! The kernel half infers the netfilter hook from what an skb has and lacks; the stack proves it, for every hook.

use std::{net::SocketAddr, os::unix::net::UnixDatagram, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet::{
    bpf::{
        load::{Fitting, Kernel, Prepared},
        symbols::Symbols,
        tracer::Tracer,
    },
    evidence::HookPoint,
    host::firewall::Hook,
};
use dockernet_common::record::DropRecord;
use dockernet_tests::{
    Engine, Lab, LabOptions, Netns, Place, Run, can_run, group, progress, traffic::Probe,
};

/// A rule, and the packet that it is to catch.
struct Case {
    name: &'static str,
    /// nft family and hook.
    family: &'static str,
    hook: &'static str,
    from: Place,
    /// `${…}` is expanded by the lab.
    to: &'static str,
    expected: Hook,
    bridge: bool,
}

fn cases() -> Vec<Case> {
    let container = || Place::Container("one".into());
    let case = |name, family, hook, from, to, expected, bridge| Case {
        name,
        family,
        hook,
        from,
        to,
        expected,
        bridge,
    };
    vec![
        case(
            "prerouting",
            "ip",
            "prerouting",
            Place::Outside,
            "198.51.100.10",
            Hook::Prerouting,
            false,
        ),
        case(
            "input",
            "ip",
            "input",
            Place::Outside,
            "198.51.100.10",
            Hook::Input,
            false,
        ),
        case(
            "forward",
            "ip",
            "forward",
            container(),
            "198.51.100.20",
            Hook::Forward,
            false,
        ),
        case(
            "output",
            "ip",
            "output",
            Place::Host,
            "198.51.100.20",
            Hook::Output,
            false,
        ),
        case(
            "postrouting, forwarded",
            "ip",
            "postrouting",
            container(),
            "198.51.100.20",
            Hook::Postrouting,
            false,
        ),
        case(
            "postrouting, own",
            "ip",
            "postrouting",
            Place::Host,
            "198.51.100.20",
            Hook::Postrouting,
            false,
        ),
        case(
            "bridged prerouting",
            "ip",
            "prerouting",
            container(),
            "${ip:two}",
            Hook::Prerouting,
            true,
        ),
        case(
            "bridged forward",
            "ip",
            "forward",
            container(),
            "${ip:two}",
            Hook::Forward,
            true,
        ),
        case(
            "IPv6 prerouting",
            "ip6",
            "prerouting",
            Place::Outside,
            "2001:db8:1::10",
            Hook::Prerouting,
            false,
        ),
        case(
            "IPv6 input",
            "ip6",
            "input",
            Place::Outside,
            "2001:db8:1::10",
            Hook::Input,
            false,
        ),
        case(
            "IPv6 output",
            "ip6",
            "output",
            Place::Host,
            "2001:db8:1::20",
            Hook::Output,
            false,
        ),
    ]
}

#[test]
fn the_inferred_hook_is_the_stacks() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    lab.run(&Run::new("one", "sleep 1000"))?;
    lab.run(&Run::new("two", "sleep 1000"))?;
    lab.sysctl(&Place::Host, "net/bridge/bridge-nf-call-iptables", "1")?;
    group(
        &mut lab,
        &[
            ("one by one", one_by_one),
            ("in lists", in_lists),
            ("messages of local sockets are no packets", local_sockets),
        ],
    )
}

fn one_by_one(lab: &mut Lab) -> Result<()> {
    all(lab)
}

/// As network cards with GRO deliver them.
fn in_lists(lab: &mut Lab) -> Result<()> {
    lab.list_path(true)?;
    let result = all(lab);
    lab.list_path(false)?;
    result
}

/// Before 6.18 the kernel tells of messages of AF_UNIX sockets that nobody has read as of dropped packets: they are counted apart.
fn local_sockets(_lab: &mut Lab) -> Result<()> {
    const MESSAGES: u64 = 20;
    const CONTENT: &[u8] = b"a message between two programs of this host";
    let mut tracer = attached()?;
    let before = tracer.totals()?;
    let (from, to) = UnixDatagram::pair()?;
    for _ in 0..MESSAGES {
        from.send(CONTENT)?;
    }
    drop((from, to));
    thread::sleep(Duration::from_millis(100));
    let mut told = 0;
    let _emptied = tracer.drain(usize::MAX, |record| {
        let headers = record.headers.windows(CONTENT.len());
        told += usize::from(headers.into_iter().any(|bytes| bytes == CONTENT));
    })?;
    ensure!(told == 0, "{told} messages were taken for packets");
    let others = tracer.totals()?.non_packets - before.non_packets;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map_while(|number| number.parse().ok());
    let version: (u32, u32) = numbers.next().zip(numbers.next()).context("no version")?;
    progress(&format!("{others} counted apart on {}", release.trim()));
    ensure!(
        version >= (6, 18) || others >= MESSAGES,
        "{others} of {MESSAGES} messages were counted"
    );
    Ok(())
}

fn attached() -> Result<Tracer> {
    let kernel = Kernel::look()?;
    Prepared::load(&kernel, Fitting::PLAIN, None)?.attach()
}

fn all(lab: &Lab) -> Result<()> {
    let symbols = Symbols::read()?;
    let mut tracer = attached()?;
    tracer.set_hook_functions(|name| symbols.address(name))?;
    tracer.set_hook_loop(symbols.range("nf_hook_slow"))?;
    for (case, port) in cases().iter().zip(7001_u16..) {
        one(lab, &mut tracer, &symbols, case, port).with_context(|| case.name.to_owned())?;
    }
    Ok(())
}

fn one(lab: &Lab, tracer: &mut Tracer, symbols: &Symbols, case: &Case, port: u16) -> Result<()> {
    let Case { family, hook, .. } = case;
    let script = format!(
        "nft 'add table {family} hooks; \
              add chain {family} hooks c {{ type filter hook {hook} priority 10; }}; \
              add rule {family} hooks c udp dport {port} drop'"
    );
    let output = lab.shell(&Place::Host, &script)?;
    ensure!(output.success(), "{}", output.stderr);
    let to = SocketAddr::new(lab.expand(case.to)?.parse()?, port);
    let from: Netns = lab.netns(&case.from)?;
    let _no_answer = Probe::udp(to).send(&from)?;
    thread::sleep(Duration::from_millis(100));
    let mut records: Vec<DropRecord> = Vec::new();
    let _emptied = tracer.drain(usize::MAX, |record| records.push(*record))?;
    let clean = lab.shell(&Place::Host, &format!("nft delete table {family} hooks"))?;
    ensure!(clean.success(), "{}", clean.stderr);

    let wanted = port.to_be_bytes();
    let record = records
        .iter()
        .find(|record| record.key.hook != 0 && record.headers.windows(2).any(|pair| pair == wanted))
        .with_context(|| format!("no netfilter drop among {} records", records.len()))?;
    let stack: Vec<&str> = record
        .stack
        .iter()
        .take(record.stack_depth.into())
        .filter_map(|&address| symbols.name(address))
        .collect();
    let of_stack =
        HookPoint::of_stack(&stack).with_context(|| format!("no hook on the stack {stack:?}"))?;
    let of_key = HookPoint::of_key(record.key.hook).context("no hook in the key")?;
    ensure!(
        (of_stack.hook, of_stack.bridge) == (case.expected, case.bridge),
        "stack says {}, the rule is at {hook}: {stack:?}",
        of_stack.name()
    );
    ensure!(
        (of_key.hook, of_key.bridge) == (of_stack.hook, of_stack.bridge),
        "key says {}, stack says {}",
        of_key.name(),
        of_stack.name()
    );
    Ok(())
}
