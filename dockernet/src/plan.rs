//! What the options mean on this machine, before anything is attached.

use std::{net::IpAddr, thread};

use anyhow::{Context as _, Result, bail};
use dockernet_common::filter::{Filter as KernelFilter, MAX_DEVICES, MAX_PORTS, MAX_REASONS, test};
use ipnet::IpNet;

use crate::{
    bpf::{load::Kernel, symbols::Symbols},
    cli::{Filter, Protocol, options::Options},
    host::{link, netns::NetnsHandle, privileges},
    loading::{Loaded, Loading, Wanted},
    pcap_filter::Expression,
};

/// Everything that is known before anything is attached.
pub struct Plan {
    /// What the user asked for.
    pub options: Options,
    /// The namespace taken as the host.
    pub host: NetnsHandle,
    /// The programs, being loaded on a thread of their own.
    loading: Loading,
    /// Function names, being read on a thread of their own.
    symbols: thread::JoinHandle<Result<Symbols>>,
    /// `--filter`, compiled.
    pub expression: Option<Expression>,
}

impl Plan {
    /// Checks privileges and options against this machine, and begins to load the programs that they want.
    pub fn new(options: Options) -> Result<Self> {
        let expression = options
            .expression
            .as_deref()
            .map(Expression::compile)
            .transpose()?;
        privileges::check()?;
        let symbols = thread::Builder::new()
            .name("symbols".into())
            .spawn(Symbols::read)
            .context("starting a thread")?;
        let host = match &options.netns {
            Some(path) => NetnsHandle::open(path)
                .with_context(|| format!("opening the network namespace {}", path.display()))?,
            None => NetnsHandle::current().context("opening this process's network namespace")?,
        };
        let kernel = Kernel::look()?;
        let reasons: Vec<&str> = kernel.reasons.names().collect();
        options.check_reasons(&reasons)?;
        let mut filter = kernel_filter(&options.filter, &kernel, &host);
        if expression.is_some() {
            filter.tests |= test::EXPRESSION;
        }
        let wanted = Wanted::new(&options, filter, expression.clone())?;
        let loading = Loading::start(kernel, host.clone(), wanted)?;
        Ok(Self {
            options,
            host,
            loading,
            symbols,
            expression,
        })
    }

    /// Waits for the programs and the function names, and hands everything over.
    pub fn into_parts(self) -> Result<(Options, NetnsHandle, Loaded, Symbols)> {
        let loaded = self.loading.finish()?;
        let Ok(symbols) = self.symbols.join() else {
            bail!("the thread that reads /proc/kallsyms panicked");
        };
        Ok((self.options, self.host, loaded, symbols?))
    }
}

/// The part of the filter that the kernel half can test. It must let through everything that user space would.
fn kernel_filter(filter: &Filter, kernel: &Kernel, host: &NetnsHandle) -> KernelFilter {
    let mut wanted = KernelFilter::ALL;
    if let [Protocol::Ip(number)] = filter.protocols.as_slice() {
        wanted.tests |= test::PROTOCOL;
        wanted.protocol = (*number).into();
    }
    let ports = filter.ports.as_slice();
    if let 1..=MAX_PORTS = ports.len()
        && let Ok(count) = ports.len().try_into()
    {
        wanted.tests |= test::PORT;
        wanted.ports[..ports.len()].copy_from_slice(ports);
        wanted.port_count = count;
    }
    // Beside several ports an address is more than the verifier of 5.10 takes: user space looks for it then.
    if let ([net], [] | [_]) = (filter.addresses.as_slice(), ports) {
        wanted.tests |= test::ADDRESS;
        (wanted.address, wanted.mask) = prefix(net);
    }
    let reasons: Option<Vec<u32>> = filter
        .reasons
        .iter()
        .map(|name| kernel.reasons.number(name))
        .collect();
    if let Some(reasons) = reasons
        && let Some(&first) = reasons.first()
        && reasons.len() <= MAX_REASONS
    {
        wanted.tests |= test::REASON;
        wanted.reasons = [first; MAX_REASONS];
        wanted.reasons[..reasons.len()].copy_from_slice(&reasons);
    }
    if let Some(devices) = devices(filter, host)
        && let Some(&first) = devices.first()
        && devices.len() <= MAX_DEVICES
    {
        wanted.tests |= test::DEVICE;
        wanted.devices = [first.0; MAX_DEVICES];
        wanted.ingress = [first.1; MAX_DEVICES];
        for (place, (name, index)) in devices.iter().enumerate() {
            wanted.devices[place] = *name;
            wanted.ingress[place] = *index;
        }
    }
    wanted
}

/// Names and indexes, if all are plain names of interfaces that are there now: the index of one that comes later
/// is not known.
fn devices(filter: &Filter, host: &NetnsHandle) -> Option<Vec<([u8; 16], u32)>> {
    if filter.interfaces.is_empty() {
        return None;
    }
    let links = link::dump(host).ok()?;
    filter
        .interfaces
        .iter()
        .map(|wanted| {
            let name = wanted.literal()?;
            let index = links.iter().find(|link| link.name == name)?.ifindex;
            let mut padded = [0; 16];
            padded
                .get_mut(..name.len())?
                .copy_from_slice(name.as_bytes());
            Some((padded, index))
        })
        .collect()
}

fn prefix(net: &IpNet) -> ([u8; 16], [u8; 16]) {
    let (address, bits) = match net.network() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), u32::from(net.prefix_len()) + 96),
        IpAddr::V6(v6) => (v6, net.prefix_len().into()),
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    (address.octets(), mask.to_be_bytes())
}
