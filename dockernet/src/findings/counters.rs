//! A namespace's own counters, as far as they tell of failures that drop nothing.
//!
//! /proc/net/snmp and /proc/net/netstat (net/ipv4/proc.c): a line of names and a line of numbers for each protocol. Both
//! files are of the namespace of the process whose directory they are read in, and cost some 20 µs each. /proc/net/snmp6
//! (net/ipv6/proc.c) has a name and a number a line, and costs twice that: it is read where somebody asks for it.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Events since the namespace was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// `IpOutNoRoutes`: what was to be sent, answers included, and had no route.
    pub out_no_routes: u64,
    /// `IpInDelivers`: packets that came to a protocol.
    pub in_delivers: u64,
    /// `IcmpInMsgs`: those of them that the kernel answers itself.
    pub icmp_in: u64,
    /// `IcmpOutEchos`: echo requests sent.
    pub echo_requests: u64,
    /// `IcmpInEchoReps`: answers to them.
    pub echo_answers: u64,
    /// `UdpInDatagrams`: datagrams that a program has read.
    pub udp_in: u64,
    /// `UdpOutDatagrams`: datagrams sent.
    pub udp_out: u64,
    /// `TcpPassiveOpens`: connections that came in to a listener.
    pub passive_opens: u64,
    /// `TcpExtListenOverflows`: connections that a full accept queue had no room for.
    pub listen_overflows: u64,
    /// `TcpExtTCPReqQFullDrop`: SYNs that found the queue of half-open connections full, and got no cookie.
    pub syn_queue_full: u64,
    /// `TcpExtTCPSynRetrans`: SYNs and SYN-ACKs sent again, as no answer came.
    pub syn_retransmits: u64,
    /// The same of IPv6, where it was read.
    pub six: Option<Six>,
}

/// Events of IPv6; those of TCP are counted for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Six {
    /// `Ip6InDelivers`: packets that came to a protocol.
    pub in_delivers: u64,
    /// `Icmp6InMsgs`: those of them that the kernel answers itself, neighbour discovery among them.
    pub icmp_in: u64,
    /// `Udp6InDatagrams`: datagrams that a program has read.
    pub udp_in: u64,
}

/// Reads counters; its buffers are used again and again.
#[derive(Debug, Default)]
pub(super) struct Reader {
    text: Vec<u8>,
}

impl Reader {
    /// The counters of the namespace of the process behind `folder` (`/proc/PID`), with those of IPv6 or without.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn read(&mut self, folder: &Path, with_six: bool) -> io::Result<Counters> {
        let mut counters = Counters::default();
        for name in ["net/snmp", "net/netstat"] {
            counters.take(&self.text(&folder.join(name))?);
        }
        if with_six {
            counters.six = match self.text(&folder.join("net/snmp6")) {
                Ok(text) => Some(Six::of(&text)),
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(counters)
    }

    fn text(&mut self, path: &Path) -> io::Result<Cow<'_, str>> {
        self.text.clear();
        File::open(path)?.read_to_end(&mut self.text)?;
        Ok(String::from_utf8_lossy(&self.text))
    }
}

impl Six {
    fn of(text: &str) -> Self {
        let mut six = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let counter = match words.next() {
                Some("Ip6InDelivers") => &mut six.in_delivers,
                Some("Icmp6InMsgs") => &mut six.icmp_in,
                Some("Udp6InDatagrams") => &mut six.udp_in,
                _ => continue,
            };
            *counter = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        }
        six
    }
}

impl Counters {
    fn take(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let Some((protocol, names)) = names.split_once(": ") else {
                continue;
            };
            // Most of what these files hold is of no interest.
            if !matches!(protocol, "Ip" | "Icmp" | "Udp" | "Tcp" | "TcpExt") {
                continue;
            }
            let Some(values) = values
                .strip_prefix(protocol)
                .and_then(|values| values.strip_prefix(": "))
            else {
                continue;
            };
            for (name, value) in names.split(' ').zip(values.split(' ')) {
                if let Some(counter) = self.named(protocol, name) {
                    *counter = value.parse().unwrap_or(0);
                }
            }
        }
    }

    fn named(&mut self, protocol: &str, name: &str) -> Option<&mut u64> {
        Some(match (protocol, name) {
            ("Ip", "OutNoRoutes") => &mut self.out_no_routes,
            ("Ip", "InDelivers") => &mut self.in_delivers,
            ("Icmp", "InMsgs") => &mut self.icmp_in,
            ("Icmp", "OutEchos") => &mut self.echo_requests,
            ("Icmp", "InEchoReps") => &mut self.echo_answers,
            ("Udp", "InDatagrams") => &mut self.udp_in,
            ("Udp", "OutDatagrams") => &mut self.udp_out,
            ("Tcp", "PassiveOpens") => &mut self.passive_opens,
            ("TcpExt", "ListenOverflows") => &mut self.listen_overflows,
            ("TcpExt", "TCPReqQFullDrop") => &mut self.syn_queue_full,
            ("TcpExt", "TCPSynRetrans") => &mut self.syn_retransmits,
            _ => return None,
        })
    }

    /// What happened since `before`; nothing where a counter went back (another namespace behind the same number).
    pub(super) fn since(self, before: Self) -> Self {
        let of = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            out_no_routes: of(self.out_no_routes, before.out_no_routes),
            in_delivers: of(self.in_delivers, before.in_delivers),
            icmp_in: of(self.icmp_in, before.icmp_in),
            echo_requests: of(self.echo_requests, before.echo_requests),
            echo_answers: of(self.echo_answers, before.echo_answers),
            udp_in: of(self.udp_in, before.udp_in),
            udp_out: of(self.udp_out, before.udp_out),
            passive_opens: of(self.passive_opens, before.passive_opens),
            listen_overflows: of(self.listen_overflows, before.listen_overflows),
            syn_queue_full: of(self.syn_queue_full, before.syn_queue_full),
            syn_retransmits: of(self.syn_retransmits, before.syn_retransmits),
            // One that was not read before counts from here.
            six: self.six.zip(before.six).map(|(now, then)| Six {
                in_delivers: of(now.in_delivers, then.in_delivers),
                icmp_in: of(now.icmp_in, then.icmp_in),
                udp_in: of(now.udp_in, then.udp_in),
            }),
        }
    }

    /// Packets that came for programs, of IPv4 and, where it was read, IPv6.
    pub(super) fn delivered(self) -> u64 {
        let six = self.six.unwrap_or_default();
        let four = self.in_delivers.saturating_sub(self.icmp_in);
        four.saturating_add(six.in_delivers.saturating_sub(six.icmp_in))
    }

    /// The same for datagrams that a program has read.
    pub(super) fn datagrams(self) -> u64 {
        self.udp_in
            .saturating_add(self.six.unwrap_or_default().udp_in)
    }

    /// Requests of the namespace's own programs that nobody seems to have answered.
    pub(super) fn unanswered(self) -> u64 {
        self.syn_retransmits
            + self.echo_requests.saturating_sub(self.echo_answers)
            + self.udp_out.saturating_sub(self.udp_in)
    }
}

/// The `/proc/PID` that a namespace's file (`/proc/PID/ns/net`) is in.
pub(super) fn folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?.parent()?;
    let is_process = path.ends_with("ns/net") && folder.starts_with("/proc");
    is_process.then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives InDelivers OutNoRoutes
Ip: 1 64 100 90 7
Icmp: InMsgs InEchoReps OutEchos
Icmp: 5 2 3
IcmpMsg: InType0 OutType8
IcmpMsg: 2 3
Tcp: RtoAlgorithm MaxConn PassiveOpens
Tcp: 1 -1 11
Udp: InDatagrams NoPorts OutDatagrams
Udp: 4 0 9
";
    const NETSTAT: &str = "\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPReqQFullDrop TCPSynRetrans
TcpExt: 0 12 13 14 15
IpExt: InNoRoutes
IpExt: 99
";

    #[test]
    fn names_decide_not_places() {
        let mut counters = Counters::default();
        counters.take(SNMP);
        counters.take(NETSTAT);
        let expected = Counters {
            out_no_routes: 7,
            in_delivers: 90,
            icmp_in: 5,
            echo_requests: 3,
            echo_answers: 2,
            udp_in: 4,
            udp_out: 9,
            passive_opens: 11,
            listen_overflows: 12,
            syn_queue_full: 14,
            syn_retransmits: 15,
            six: None,
        };
        assert_eq!(counters, expected);
        assert_eq!(counters.unanswered(), 15 + 1 + 5);
        assert_eq!(counters.since(counters), Counters::default());
        assert_eq!(Counters::default().since(counters), Counters::default());
    }

    #[test]
    fn six_counts_from_when_it_was_read_first() {
        let read = |delivers| {
            let text = format!(
                "Ip6InReceives                   \t9\nIp6InDelivers                   \t{delivers}\nIcmp6InMsgs \t1\nUdp6InDatagrams \t4\n"
            );
            Counters {
                in_delivers: delivers,
                six: Some(Six::of(&text)),
                ..Counters::default()
            }
        };
        assert_eq!(read(7).six.unwrap().in_delivers, 7);
        assert_eq!((read(7).delivered(), read(7).datagrams()), (13, 4));
        let without = Counters {
            in_delivers: 2,
            ..Counters::default()
        };
        assert_eq!(read(7).since(without).delivered(), 5);
        assert_eq!(without.since(read(7)).delivered(), 0);
        assert_eq!(read(9).since(read(7)).delivered(), 4);
        for text in [
            "",
            "Ip6InDelivers",
            "Ip6InDelivers -1",
            "Ip6InDelivers\t\n\n 7",
        ] {
            assert_eq!(Six::of(text), Six::default(), "{text:?}");
        }
    }

    #[test]
    fn cut_and_hostile_files_are_no_panic() {
        for text in [SNMP, NETSTAT] {
            for end in 0..text.len() {
                Counters::default().take(&text[..end]);
            }
        }
        let mut counters = Counters::default();
        counters.take("Ip: OutNoRoutes\nTcp: 5\nIp: OutNoRoutes\nIp: -1\n: \n: \n");
        assert_eq!(counters, Counters::default());
    }

    #[test]
    fn the_running_kernel_has_them() {
        let reader = Reader::default().read(Path::new("/proc/thread-self"), true);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let now = Reader::default()
            .read(Path::new("/proc/thread-self"), false)
            .unwrap();
        assert!(now.since(reader.unwrap()).udp_out >= 1);
        assert!(Reader::default().read(Path::new("/proc/0"), true).is_err());
    }

    #[test]
    fn only_a_process_has_a_folder() {
        assert_eq!(
            folder(Path::new("/proc/7/ns/net")),
            Some(PathBuf::from("/proc/7"))
        );
        assert_eq!(folder(Path::new("/run/netns/blue")), None);
    }
}
