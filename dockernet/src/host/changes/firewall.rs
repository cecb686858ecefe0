//! `NFT_MSG_NEWGEN`: a transaction has changed the nftables rules (include/uapi/linux/netfilter/nf_tables.h; with the
//! process since 4.10). iptables-nft writes by such transactions too; iptables-legacy tells nobody.

use super::{Subject, netconf::attribute};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
pub(super) const NEW_GENERATION: u16 = 10 << 8 | 15;
/// `NFTA_GEN_PROC_PID` and `NFTA_GEN_PROC_NAME`.
const PID: u16 = 2;
const NAME: u16 = 3;

/// Reads a message's body (after the netlink header); none of a transaction of our own.
pub(super) fn change(body: &[u8]) -> Option<(Subject, String)> {
    let mut pid = None;
    let mut name = None;
    // struct nfgenmsg.
    let mut rest = body.get(4..)?;
    while let Some((kind, value, after)) = attribute(rest) {
        rest = after;
        match kind {
            PID => pid = Some(u32::from_be_bytes(*value.first_chunk()?)),
            NAME => {
                let end = value.iter().position(|&byte| byte == 0);
                let text = value.get(..end.unwrap_or(value.len()))?;
                name = Some(String::from_utf8_lossy(text).into_owned());
            }
            _ => {}
        }
    }
    if pid.is_some_and(is_ours) {
        return None;
    }
    let who = match (name, pid) {
        (Some(name), Some(pid)) => format!(" by {name} (pid {pid})"),
        (Some(name), None) => format!(" by {name}"),
        _ => String::new(),
    };
    Some((Subject::Firewall, format!("the firewall was changed{who}")))
}

/// Whether a message, given with its header, tells of a transaction of somebody else.
pub(crate) fn is_foreign_generation(kind: u16, message: &[u8]) -> bool {
    kind == NEW_GENERATION && message.get(16..).and_then(change).is_some()
}

/// The kernel names the thread.
fn is_ours(pid: u32) -> bool {
    pid == std::process::id() || std::path::Path::new(&format!("/proc/self/task/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pid: u32, name: &str) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0];
        body.extend(8_u16.to_ne_bytes());
        body.extend(PID.to_ne_bytes());
        body.extend(pid.to_be_bytes());
        let length = u16::try_from(5 + name.len()).unwrap_or(0);
        body.extend(length.to_ne_bytes());
        body.extend(NAME.to_ne_bytes());
        body.extend(name.bytes());
        body.resize(body.len() + 1, 0);
        body
    }

    #[test]
    fn names_the_process_unless_it_is_ours() {
        let text = |body: &[u8]| change(body).map(|(_, what)| what);
        assert_eq!(
            text(&message(812, "iptables")).as_deref(),
            Some("the firewall was changed by iptables (pid 812)")
        );
        assert_eq!(text(&message(std::process::id(), "nft")), None);
        assert_eq!(
            text(&[0, 0, 0, 0]).as_deref(),
            Some("the firewall was changed")
        );
        assert_eq!(text(&[0, 0]), None);
    }
}
