//! `RTM_NEWNETCONF`: a setting of `net/ipv4/conf` or `net/ipv6/conf` was written (include/uapi/linux/netconf.h, 3.8+).

use super::Subject;
use crate::host::sysctl::{display_key, interface_key};

/// The message's type.
pub(super) const NEW: u16 = 80;
/// `NETCONFA_*`.
const IFINDEX: u16 = 1;
/// `NETCONFA_IFINDEX_ALL` and `NETCONFA_IFINDEX_DEFAULT`.
const ALL: i32 = -1;
const DEFAULT: i32 = -2;

/// Reads a message's body (after the netlink header). One that tells several settings describes a new interface and
/// is no change.
pub(super) fn change(
    body: &[u8],
    name_of: impl Fn(u32) -> Option<String>,
) -> Option<(Subject, String)> {
    let ipv6 = match i32::from(*body.first()?) {
        libc::AF_INET => false,
        libc::AF_INET6 => true,
        _ => return None,
    };
    let mut ifindex = None;
    let mut settings = Vec::new();
    // struct netconfmsg is one byte, padded to four.
    let mut rest = body.get(4..)?;
    while let Some((kind, value, after)) = attribute(rest) {
        rest = after;
        let value = i32::from_ne_bytes(*value.first_chunk()?);
        match kind {
            IFINDEX => ifindex = Some(value),
            _ => settings.push((kind, value)),
        }
    }
    let [(kind, value)] = *settings.as_slice() else {
        return None;
    };
    let setting = match kind {
        2 => "forwarding",
        3 => "rp_filter",
        6 => "ignore_routes_with_linkdown",
        _ => return None,
    };
    let interface = match ifindex? {
        ALL => "all".to_owned(),
        DEFAULT => return None,
        index => name_of(u32::try_from(index).ok()?)?,
    };
    // One setting by two names, of which this one is written and searched for.
    let key = if !ipv6 && setting == "forwarding" && interface == "all" {
        "net/ipv4/ip_forward".to_owned()
    } else {
        interface_key(ipv6, &interface, setting)
    };
    let what = format!("{} became {value}", display_key(&key));
    Some((Subject::Setting(key), what))
}

/// The first netlink attribute: its type, its value, and what comes after it.
pub(crate) fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    const HEADER: usize = 4;
    /// `NLA_TYPE_MASK`.
    const TYPE: u16 = 0x3fff;
    let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & TYPE;
    let value = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: i32, attributes: &[(u16, i32)]) -> Vec<u8> {
        let mut body = vec![u8::try_from(family).unwrap_or(0), 0, 0, 0];
        for (kind, value) in attributes {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value.to_ne_bytes());
        }
        body
    }

    fn read(family: i32, attributes: &[(u16, i32)]) -> Option<String> {
        let name = |index| (index == 2).then(|| "eth0".to_owned());
        change(&message(family, attributes), name).map(|(_, what)| what)
    }

    #[test]
    fn a_setting_that_was_written() {
        assert_eq!(
            read(libc::AF_INET, &[(1, 2), (2, 0)]).as_deref(),
            Some("net.ipv4.conf.eth0.forwarding became 0")
        );
        assert_eq!(
            read(libc::AF_INET, &[(1, -1), (2, 0)]).as_deref(),
            Some("net.ipv4.ip_forward became 0")
        );
        assert_eq!(
            read(libc::AF_INET6, &[(1, -1), (2, 0)]).as_deref(),
            Some("net.ipv6.conf.all.forwarding became 0")
        );
        assert_eq!(
            read(libc::AF_INET, &[(1, 2), (3, 1)]).as_deref(),
            Some("net.ipv4.conf.eth0.rp_filter became 1")
        );
    }

    #[test]
    fn new_interfaces_defaults_and_rubbish_are_no_changes() {
        assert_eq!(read(libc::AF_INET, &[(1, 2), (2, 1), (3, 0), (4, 0)]), None);
        assert_eq!(read(libc::AF_INET, &[(1, -2), (2, 0)]), None);
        assert_eq!(read(libc::AF_INET, &[(1, 7), (2, 0)]), None);
        assert_eq!(read(99, &[(1, 2), (2, 0)]), None);
        let body = message(libc::AF_INET, &[(1, 2), (2, 0)]);
        for end in 0..body.len() {
            assert_eq!(change(&body[..end], |_| Some(String::new())), None, "{end}");
        }
        assert_eq!(change(&[2, 0, 0, 0, 0, 0, 2, 0], |_| None), None);
    }
}
