//! Counters of the protocols: /proc/net/snmp and snmp6.

use anyhow::Result;

use super::{inside, netns::NetnsHandle};

/// A counter of a namespace, such as `InCsumErrors` of `Udp`; `None` where the kernel has none of that name.
///
/// # Errors
/// The file cannot be read.
pub fn counter(netns: &NetnsHandle, table: &str, name: &str, ipv6: bool) -> Result<Option<u64>> {
    let file = if ipv6 { "snmp6" } else { "snmp" };
    let text = netns.run(|| inside::read(&format!("/proc/thread-self/net/{file}")))??;
    Ok(if ipv6 {
        line_of(&text, &format!("{table}6{name}"))
    } else {
        column_of(&text, table, name)
    })
}

/// snmp6 has a line for each counter.
pub(crate) fn line_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

/// snmp has two lines for each table: names, and values under them.
pub(crate) fn column_of(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut rows = text
        .lines()
        .filter(|line| line.split(':').next() == Some(table))
        .map(str::split_whitespace);
    let column = rows.next()?.position(|each| each == name)?;
    rows.next()?.nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_by_name() {
        let text = "Ip: Forwarding ReasmFails\nIp: 1 7\nUdp: InErrors InCsumErrors\nUdp: 3 4\nUdpLite: InCsumErrors\nUdpLite: 9\n";
        assert_eq!(column_of(text, "Udp", "InCsumErrors"), Some(4));
        assert_eq!(column_of(text, "Ip", "ReasmFails"), Some(7));
        assert_eq!(column_of(text, "Tcp", "InCsumErrors"), None);
        assert_eq!(column_of("Ip: A B\n", "Ip", "A"), None);
        let text = "Ip6ReasmFails                    \t5\nUdp6InCsumErrors 6\n";
        assert_eq!(line_of(text, "Udp6InCsumErrors"), Some(6));
        assert_eq!(line_of(text, "Udp6In"), None);
    }
}
