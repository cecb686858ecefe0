//! EtherTypes in host order. `network-types` holds them in network order.

use network_types::eth::EtherType;

const fn host(ethertype: EtherType) -> u16 {
    u16::from_be(ethertype as u16)
}

/// IPv4, 0x0800.
pub const IPV4: u16 = host(EtherType::Ipv4);
/// ARP, 0x0806.
pub const ARP: u16 = host(EtherType::Arp);
/// IPv6, 0x86dd.
pub const IPV6: u16 = host(EtherType::Ipv6);
/// 802.1Q customer VLAN tag, 0x8100.
pub const VLAN_8021Q: u16 = host(EtherType::Ieee8021q);
/// 802.1ad service VLAN tag, 0x88a8.
pub const VLAN_8021AD: u16 = host(EtherType::Ieee8021ad);

/// Whether a VLAN tag follows. The same two as the kernel's `eth_type_vlan()` (`include/linux/if_vlan.h`, 4.0).
pub const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN_8021Q | VLAN_8021AD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_order() {
        assert_eq!(
            [IPV4, ARP, IPV6, VLAN_8021Q, VLAN_8021AD],
            [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8]
        );
        assert!(is_vlan(0x8100) && is_vlan(0x88a8) && !is_vlan(0x0800));
    }
}
