//! A network's bridge, and the address on it that containers take for their gateway.

use std::net::IpAddr;

use super::{Case, Verdict};
use crate::{
    host::route::Family,
    inventory::Inventory,
    model::{Impact, Link, Network, Subnet},
};

/// The bridge network and the subnet of it that an address is in.
pub(super) fn bridged<'a>(case: &Case<'a>, address: IpAddr) -> Option<(&'a Network, &'a Subnet)> {
    let network = case.inventory.network_of(address)?;
    let mut subnets = network.subnets.iter();
    let subnet = subnets.find(|subnet| subnet.prefix.contains(&address))?;
    (network.driver == "bridge").then_some((network, subnet))
}

/// A network's bridge, where it is there.
pub(super) fn bridge_of<'a>(case: &Case<'a>, network: &Network) -> Option<&'a Link> {
    let name = network.bridge.as_deref()?;
    case.inventory.link_named(case.inventory.host_key(), name)
}

/// Row 11: the bridge no longer has the address that containers take for their gateway.
pub(crate) fn lost_address(
    inventory: &Inventory,
    network: &Network,
    subnet: &Subnet,
    bridge: &Link,
) -> Option<Verdict> {
    if network.is_without_address(subnet.prefix.addr().is_ipv6()) {
        return None;
    }
    let gateway = inventory.gateway(network, subnet)?;
    if bridge.addresses.iter().any(|net| net.addr() == gateway) {
        return None;
    }
    let (name, length) = (&bridge.name, subnet.prefix.prefix_len());
    let family = Family::of(gateway);
    let others: Vec<String> = bridge
        .addresses
        .iter()
        .filter(|net| Family::of(net.addr()) == family)
        .map(ToString::to_string)
        .collect();
    let has = if others.is_empty() {
        "none".to_owned()
    } else {
        others.join(", ")
    };
    Some(
        Verdict::confirmed(
            "bridge-lost-address",
            format!(
                "{name} has lost its address {gateway}, which is the gateway of {}: its containers are cut off",
                network.name
            ),
        )
        .fact(format!("Docker says {gateway}/{length}, {name} has {has}"))
        .run(
            format!("{} addr add {gateway}/{length} dev {name}", family.ip_command()),
            "host",
            Some(format!(
                "/etc/systemd/network/10-docker.network: [Match] Name={name}, [Link] Unmanaged=yes"
            )),
            Impact::None,
        )
        .advise(
            "if that does not mend it: systemctl restart docker; then find who took it: systemd-networkd (a [Match] that \
             takes in the bridge), NetworkManager (unmanaged-devices=interface-name:docker0;interface-name:br-*), dhcp clients",
        ),
    )
}
