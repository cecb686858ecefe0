//! Address translation on the way.

use std::net::IpAddr;

use super::{Go, Halted, Space, Walk};
use crate::{
    cause::{Verdict, translated_again},
    check::probe::{Probe, translation},
    host::{
        firewall::{FlowPacket, FlowTuple, Hook, NatKind, Translation},
        sysctl::{display_key, interface_key},
    },
};

impl Walk<'_> {
    /// What the nat rules make of the destination.
    pub(super) fn translate(&mut self, packet: &FlowPacket, hook: Hook) -> Go<()> {
        let host = &self.sight.host;
        match translation(host, packet, hook) {
            Translation::Nothing => {}
            Translation::Untracked { rule, instead } => {
                self.probe = self.probe.untracked();
                self.pass(
                    "host",
                    "conntrack",
                    format!("is not tracked, so it is not translated  {}", rule.text()),
                );
                self.untracked = instead.then_some(rule);
            }
            Translation::CannotTell(at) => {
                self.unknown(
                    "host",
                    "dnat",
                    format!("it depends on a rule that cannot be told: {at}"),
                );
                return Err(Halted);
            }
            Translation::To(target, rule) => {
                let address = match target.kind {
                    NatKind::Dnat => target.address,
                    // To the host itself.
                    NatKind::Redirect => Some(self.dst()),
                    NatKind::Snat | NatKind::Masquerade => None,
                };
                if let Some(address) = address {
                    self.probe = self.probe.to(address, target.port);
                    let (address, port) = self.probe.destination();
                    self.pass(
                        "host",
                        "dnat",
                        format!(
                            "becomes {}  {rule}",
                            std::net::SocketAddr::new(address, port)
                        ),
                    );
                } else if target.kind == NatKind::Dnat {
                    self.unknown(
                        "host",
                        "dnat",
                        format!("the rule names several addresses: {rule}"),
                    );
                    return Err(Halted);
                }
            }
        }
        Ok(())
    }

    /// Packets from 127/8 leave only where `route_localnet` says so.
    pub(super) fn localnet(&mut self, oif: &str) -> Go<()> {
        let host = &self.sight.host;
        if !self.probe.original.src.is_loopback()
            || self.probe.original.src.is_ipv6()
            || oif == "lo"
        {
            return Ok(());
        }
        let key = interface_key(false, oif, "route_localnet");
        let own = self.sight.number(host, &key);
        let all = self.sight.number(host, "net/ipv4/conf/all/route_localnet");
        if own == Some(1) || all == Some(1) {
            return Ok(());
        }
        let verdict = Verdict::confirmed(
            "route-localnet",
            format!("packets from 127.0.0.1 are not routed to {oif}"),
        )
        .fact(format!("{} = 0", display_key(&key)))
        .set_host_sysctl(&self.sight.files, &key, "0", "1");
        self.stop("host", "route", verdict)
    }

    /// What the nat rules make of the source.
    pub(super) fn source_nat(
        &mut self,
        host: &Space,
        iif: Option<&str>,
        oif: &str,
        to: IpAddr,
    ) -> Go<()> {
        let plain = Probe {
            answer: FlowTuple {
                dst: self.probe.original.src,
                ..self.probe.answer
            },
            ..self.probe
        };
        let packet = plain.first(iif, Some(oif));
        let inventory = self.sight.inventory;
        let from_container = inventory.is_docker_address(self.probe.original.src);
        let leaves = !inventory.is_docker_address(to);
        match translation(host, &packet, Hook::Postrouting) {
            Translation::To(target, rule) => {
                let own = target.address.or_else(|| {
                    let link = host.link(oif)?;
                    let mut all = link.addresses.iter().map(ipnet::IpNet::addr);
                    all.find(|own| own.is_ipv4() == to.is_ipv4())
                });
                if let Some(own) = own {
                    self.probe = self.probe.via(own);
                    self.pass("host", "snat", format!("comes from {own}  {rule}"));
                }
                Ok(())
            }
            Translation::CannotTell(at) => {
                self.unknown(
                    "host",
                    "snat",
                    format!("it depends on a rule that cannot be told: {at}"),
                );
                Err(Halted)
            }
            Translation::Nothing | Translation::Untracked { .. } => {
                let network = inventory.network_of(self.probe.original.src);
                let wanted = network.is_some_and(|network| {
                    network.masquerade
                        && network
                            .gateway_mode
                            .as_deref()
                            .is_none_or(|mode| mode.starts_with("nat"))
                });
                if from_container && leaves && to.is_ipv4() && wanted {
                    let verdict = Verdict::confirmed(
                        "masquerade-missing",
                        format!(
                            "it leaves as {}, an address of Docker's, to which no answer comes back",
                            self.probe.original.src
                        ),
                    );
                    let verdict = match self.untracked {
                        Some(_) => verdict,
                        None => verdict.fact("no rule in table nat translates its source"),
                    };
                    let verdict = translated_again(verdict, self.untracked.as_deref());
                    return self.stop("host", "snat", verdict);
                }
                Ok(())
            }
        }
    }
}
