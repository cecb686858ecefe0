//! Expressions: what people write, and what can be put together from parts.

use super::packets::{PORTS, Random, V4};

pub(super) const WRITTEN: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "tcp and port 80",
    "tcp dst port 443 or udp port 53",
    "port 53",
    "portrange 80-443",
    "src portrange 1000-10001",
    "host 192.0.2.1",
    "src host 192.0.2.77 and dst host 198.51.100.20",
    "net 192.0.2.0/24",
    "src net 172.16.0.0/12",
    "dst net 192.0.2 and not tcp",
    "net 198.51.100.0 mask 255.255.255.0",
    "host 2001:db8::1",
    "net 2001:db8::/32",
    "src net fe80::/10",
    "ip host 172.17.0.2 and tcp",
    "arp host 192.0.2.1",
    "arp or icmp",
    "ether host 02:42:ac:11:00:02",
    "ether src 00:00:5e:00:53:01 and ip",
    "ether broadcast",
    "ether multicast",
    "ip multicast",
    "ip6 multicast",
    "ether proto 0x88cc",
    "ether proto \\arp",
    "ip proto 47",
    "ip6 proto 44",
    "ip proto \\sctp",
    "proto 17",
    "vlan",
    "vlan 100",
    "vlan and tcp",
    "vlan 7 and udp port 53",
    "vlan and vlan",
    "mpls",
    "less 64",
    "greater 100",
    "len > 90 and len <= 150",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "tcp[13] = 2",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "icmp[icmptype] = icmp-echo",
    "icmp[0] = 3 and icmp[1] = 4",
    "ip[6:2] & 0x1fff != 0",
    "ip[6] & 0x20 != 0",
    "ip[0] & 0xf > 5",
    "ip[8] < 5",
    "ip[2:2] > 60",
    "ip6[6] = 58",
    "ip6[40] = 135",
    "icmp6[icmp6type] = icmp6-echo",
    "ether[12:2] = 0x0806",
    "ether[0] & 1 = 1 and ether[0] != 0xff",
    "udp[4:2] > 30",
    "(tcp or udp) and (port 80 or port 8080) and not host 192.0.2.1",
    "not (tcp port 22) and not arp",
    "ip and (ip[1] & 0xfc) >> 2 = 46",
    "tcp[2:2] % 2 = 1",
    "tcp[0:2] - tcp[2:2] = 0",
    "udp[0:2] * 2 > 20000",
    "ip[9] ^ 6 = 0",
    "len / 3 = 20",
    "ip[16] >= 224",
    "tcp[4:4] > 0x80000000",
    "1 << ip[8] = 2",
    "len >> ip[8] > 10",
    "60 / ip[1] > 2",
    "100 % ip[1] = 4",
    "-ip[9] = 0xfffffffa",
    "gateway 192.0.2.1 or ip",
    "ip proto \\icmp and ip[20] = 8",
    "wlan host 02:42:ac:11:00:02",
    "ah or esp",
    "udp port domain",
    "tcp port http or https",
    "dst port 65535",
    "ip[ip[0] & 0xf] = 0",
    "ether[len - 1] = 0x31",
    "ip[len - 20] = 0x2f",
];

/// A primitive, or two put together.
pub(super) fn made(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return primitive(random);
    }
    let (left, right) = (made(random, depth - 1), made(random, depth - 1));
    match random.below(4) {
        0 => format!("({left}) or ({right})"),
        1 => format!("not ({left})"),
        2 => format!("({left}) and not ({right})"),
        _ => format!("({left}) and ({right})"),
    }
}

fn primitive(random: &mut Random) -> String {
    let direction = random.pick(&["", "src ", "dst ", "src or dst ", "src and dst "]);
    let protocol = random.pick(&["", "tcp ", "udp ", "sctp "]);
    let port = random.pick(&PORTS);
    let [a, b, c, d] = random.pick(&V4);
    match random.below(8) {
        0 => format!("{protocol}{direction}port {port}"),
        1 => format!("{direction}host {a}.{b}.{c}.{d}"),
        2 => format!("{direction}net {a}.{b}.0.0/{}", 16),
        3 => random
            .pick(&["tcp", "udp", "icmp", "ip", "ip6", "arp", "icmp6"])
            .to_owned(),
        4 => format!(
            "ip[{}] & {} != {}",
            random.below(30),
            1 + random.below(255),
            random.below(3)
        ),
        5 => format!(
            "tcp[{}:2] {} {}",
            random.below(12),
            random.pick(&["=", ">", "<="]),
            port
        ),
        6 => format!(
            "{} {}",
            random.pick(&["less", "greater"]),
            40 + random.below(120)
        ),
        _ => format!(
            "{protocol}{direction}portrange {}-{}",
            port.min(443),
            port.max(443)
        ),
    }
}
