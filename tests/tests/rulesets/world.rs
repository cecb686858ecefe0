//! A router of its own between four wires, and what it knows.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use dockernet::host::{
    firewall::{Counter, Env, Firewall},
    netns::NetnsHandle,
};
use dockernet_tests::Netns;
use ipnet::IpNet;

/// The router's devices: two to clients, two to servers.
pub(crate) const DEVICES: [&str; 4] = ["c0", "c1", "s0", "s1"];
/// Addresses of each device, IPv4 and IPv6.
pub(crate) const ADDRESSES: [(&str, &str); 4] = [
    ("192.0.2.1/25", "2001:db8:c0::1/64"),
    ("192.0.2.129/25", "2001:db8:c1::1/64"),
    ("198.51.100.1/25", "2001:db8:50::1/64"),
    ("198.51.100.129/25", "2001:db8:51::1/64"),
];
/// Neighbours on each wire: the last numbers of their addresses.
pub(crate) const NEIGHBOURS: [u8; 4] = [2, 3, 4, 5];
/// An address behind no wire.
pub(crate) const NOWHERE: [&str; 2] = ["203.0.113.7", "2001:db8:ffff::7"];
/// Marks that packets come in with, by their TTL: set before all generated rules.
pub(crate) const MARKS: [(u8, u32); 4] = [(41, 0x1), (42, 0x2), (43, 0x13), (44, 0xff00)];

/// The table that counts what generated rules let pass. It ends what would be answered, and all that the kernel sends
/// of its own accord, so that nothing but the sent packets meets generated rules.
const OWN: &str = "lab_arrivals";

/// A device's MAC address, and that of the other end of its wire.
pub(crate) fn macs(device: usize) -> ([u8; 6], [u8; 6]) {
    let number = u8::try_from(device).unwrap_or(0);
    ([2, 0, 0, 0, 1, number], [2, 0, 0, 0, 2, number])
}

/// A neighbour's address on a device's wire.
pub(crate) fn neighbour(device: usize, number: u8, v6: bool) -> IpAddr {
    let (v4, six) = ADDRESSES[device];
    let net: IpNet = if v6 { six } else { v4 }.parse().expect("an address");
    match net.network() {
        IpAddr::V4(start) => IpAddr::V4((u32::from(start) + u32::from(number)).into()),
        IpAddr::V6(start) => IpAddr::V6((u128::from(start) + u128::from(number)).into()),
    }
}

/// What the router has to answer rules with.
pub(crate) struct Own(Vec<(&'static str, IpNet)>);

impl Own {
    pub(crate) fn new() -> Self {
        let nets = DEVICES
            .iter()
            .zip(ADDRESSES)
            .flat_map(|(device, (v4, v6))| {
                [v4, v6].map(|text| (*device, text.parse().expect("an address")))
            });
        Self(nets.collect())
    }

    /// The device that leads to an address; `None` where none does.
    pub(crate) fn route(&self, to: IpAddr) -> Option<usize> {
        let (name, _) = self.0.iter().find(|(_, net)| net.contains(&to))?;
        DEVICES.iter().position(|device| device == name)
    }

    pub(crate) fn address(&self, device: usize, v6: bool) -> Option<IpAddr> {
        self.0
            .iter()
            .find(|(name, net)| *name == DEVICES[device] && net.addr().is_ipv6() == v6)
            .map(|(_, net)| net.addr())
    }
}

impl Env for Own {
    fn is_local(&self, address: IpAddr) -> Option<bool> {
        Some(self.0.iter().any(|(_, net)| net.addr() == address))
    }

    fn is_broadcast(&self, address: IpAddr) -> Option<bool> {
        let broadcast = |net: &IpNet| address.is_ipv4() && net.broadcast() == address;
        Some(self.0.iter().any(|(_, net)| broadcast(net)))
    }

    fn is_local_on(&self, address: IpAddr, interface: &str) -> Option<bool> {
        let on = |(name, net): &(&str, IpNet)| *name == interface && net.addr() == address;
        Some(self.0.iter().any(on))
    }
}

/// The namespaces.
pub(crate) struct World {
    pub(crate) router: Netns,
    pub(crate) ends: Netns,
    handle: NetnsHandle,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let (router, ends) = (Netns::unnamed()?, Netns::unnamed()?);
        for key in ["all", "default"] {
            ends.set_sysctl(&format!("net/ipv6/conf/{key}/disable_ipv6"), "1")?;
            for (what, value) in [
                ("disable_ipv6", "0"),
                ("accept_dad", "0"),
                ("addr_gen_mode", "1"),
            ] {
                router.set_sysctl(&format!("net/ipv6/conf/{key}/{what}"), value)?;
            }
            router.set_sysctl(&format!("net/ipv4/conf/{key}/rp_filter"), "0")?;
            router.set_sysctl(&format!("net/ipv4/conf/{key}/log_martians"), "0")?;
        }
        router.set_sysctl("net/ipv4/ip_forward", "1")?;
        router.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let handle = NetnsHandle::open(router.path())?;
        let world = Self {
            router,
            ends,
            handle,
        };
        world.wire()?;
        world.load("nft", &["-f", "-"], &own_table())?;
        // A TCP packet that begins no connection is INVALID, whatever came before it.
        world
            .router
            .set_sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
        world
            .router
            .set_sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
        Ok(world)
    }

    fn wire(&self) -> Result<()> {
        let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
        let mut batch = String::new();
        for (index, name) in DEVICES.iter().enumerate() {
            let (own, far) = macs(index);
            let (own, far) = (mac(own), mac(far));
            let (v4, v6) = ADDRESSES[index];
            let ends = self.ends.path().display();
            batch += &format!(
                "link add {name} address {own} type veth peer name p{index} address {far} netns {ends}\n\
                 addr add {v4} dev {name}\naddr add {v6} dev {name} nodad\nlink set {name} up\n"
            );
            for number in NEIGHBOURS {
                for v6 in [false, true] {
                    let address = neighbour(index, number, v6);
                    batch +=
                        &format!("neigh add {address} lladdr {far} dev {name} nud permanent\n");
                }
            }
        }
        self.load("ip", &["-b", "-"], &batch)?;
        let up: String = (0..DEVICES.len())
            .map(|index| format!("link set p{index} arp off up\n"))
            .collect();
        self.ends.command("ip").args(["-b", "-"]).input(up).run()?;
        Ok(())
    }

    /// Gives a program in the router's namespace its input.
    pub(crate) fn load(&self, program: &str, args: &[&str], input: &str) -> Result<()> {
        let command = self.router.command(program).args(args).input(input);
        let Err(error) = command.run() else {
            return Ok(());
        };
        // `iptables-restore` names a line; `nft` shows it.
        let text = format!("{error:#}");
        let number = text.split("line: ").nth(1).and_then(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok()
        });
        let line = number.and_then(|number| input.lines().nth(number.checked_sub(1)?));
        Err(error.context(line.unwrap_or_default().to_owned()))
    }

    /// The kernel's own account of how nft's rules treat what `send` sends.
    pub(crate) fn trace(&self, send: impl FnOnce() -> Result<()>) -> Result<String> {
        let rule = format!("insert rule netdev {MARKER} stamp meta nftrace set 1");
        self.load("nft", &["-f", "-"], &rule)?;
        let monitor = self
            .router
            .command("timeout")
            .args(["1", "nft", "monitor", "trace"]);
        let account = std::thread::spawn(move || monitor.output());
        std::thread::sleep(std::time::Duration::from_millis(300));
        send()?;
        let account = account
            .join()
            .map_err(|_| anyhow::anyhow!("nft monitor panicked"))??;
        Ok(account.stdout)
    }

    /// All rules as the programs list them, for who looks into a failure.
    pub(crate) fn listing(&self) -> String {
        let programs = [
            ("nft", &["list", "ruleset"][..]),
            ("iptables-legacy-save", &["-c"]),
            ("ip6tables-legacy-save", &["-c"]),
        ];
        let outputs = programs.map(|(program, args)| {
            let output = self.router.command(program).args(args).run();
            output.unwrap_or_else(|error| format!("{error:#}\n"))
        });
        outputs.concat()
    }

    /// The generated rules, and how many packets they let pass: to the router itself, and through or out of it.
    pub(crate) fn read(&self) -> Result<(Firewall, [u64; 2])> {
        let mut firewall = Firewall::read(&self.handle);
        if !firewall.notes.is_empty() {
            bail!("{}", firewall.notes.join("; "));
        }
        let mut passed = [0, 0];
        for ruleset in &mut firewall.rulesets {
            for table in ruleset.tables.iter().filter(|table| table.name == OWN) {
                for (place, name) in passed.iter_mut().zip(["in", "post"]) {
                    let rule = table.chain(name).and_then(|chain| chain.rules.first());
                    let counter = rule.and_then(|rule| rule.counter);
                    *place = counter
                        .map(|Counter { packets, .. }| packets)
                        .context("no counter")?;
                }
            }
            ruleset
                .tables
                .retain(|table| table.name != OWN && table.name != MARKER);
        }
        Ok((firewall, passed))
    }
}

/// The table that marks.
const MARKER: &str = "lab_marks";

fn own_table() -> String {
    let pairs = MARKS
        .map(|(ttl, mark)| format!("{ttl} : {mark:#x}"))
        .join(", ");
    let devices = DEVICES.join(", ");
    format!(
        "table netdev {MARKER} {{
           chain stamp {{ type filter hook ingress devices = {{ {devices} }} priority -500;
             meta mark set ip ttl map {{ {pairs} }}
             meta mark set ip6 hoplimit map {{ {pairs} }}
           }}
         }}
         table inet {OWN} {{
           chain in {{ type filter hook input priority 2000; counter drop; }}
           chain post {{ type filter hook postrouting priority 2000; counter; }}
           chain out {{ type filter hook output priority -2000; meta skuid 0 accept; drop; }}
         }}"
    )
}
