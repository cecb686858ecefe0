//! TCP header.

use core::{fmt, mem::offset_of};

use network_types::tcp::TcpHdr;

use super::{
    ByteSource,
    source::be32,
    transport::{Ports, ports},
};

/// TCP header. Only the ports are always there: an ICMP error may quote no more than eight bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// Ports.
    pub ports: Ports,
    /// Sequence number.
    pub seq: Option<u32>,
    /// Acknowledgement number, whether or not the flag says it counts.
    pub ack: Option<u32>,
    /// Flags.
    pub flags: Option<TcpFlags>,
    /// Window as sent, not scaled.
    pub window: Option<u16>,
}

/// Reads the header that `bytes` begin with.
pub(super) fn parse(bytes: &[u8]) -> Option<Tcp> {
    // network-types has offset, reserved bits and flags as one two-byte field.
    const FLAGS: usize = offset_of!(TcpHdr, _bitfield_1) + 1;
    Some(Tcp {
        ports: ports(bytes)?,
        seq: be32(bytes, offset_of!(TcpHdr, seq)),
        ack: be32(bytes, offset_of!(TcpHdr, ack_seq)),
        flags: bytes.read(FLAGS).map(|[flags]| TcpFlags(flags)),
        window: bytes
            .read(offset_of!(TcpHdr, window))
            .map(u16::from_be_bytes),
    })
}

/// TCP flags, bits as on the wire. Displayed as letters: `S`, `SA`, `PA`, `FA`, `R`; `none` without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender is done.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Refuses or aborts.
    pub const RST: Self = Self(0x04);
    /// Hand the data up at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was seen (ECN).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (ECN).
    pub const CWR: Self = Self(0x80);

    /// Display order and letters; E and W as in tcpdump.
    const LETTERS: [(Self, &'static str); 8] = [
        (Self::SYN, "S"),
        (Self::FIN, "F"),
        (Self::RST, "R"),
        (Self::PSH, "P"),
        (Self::ACK, "A"),
        (Self::URG, "U"),
        (Self::ECE, "E"),
        (Self::CWR, "W"),
    ];

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        Self::LETTERS
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SYN_ACK: [u8; 20] = [
        0, 80, 0xbb, 0xd4, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x12, 0xfa, 0xf0, 0, 0, 0, 0,
    ];

    #[test]
    fn header() {
        let tcp = parse(&SYN_ACK).unwrap();
        assert_eq!((tcp.ports.src, tcp.ports.dst), (80, 48084));
        assert_eq!((tcp.seq, tcp.ack), (Some(0x0102_0304), Some(0x0506_0708)));
        assert_eq!(tcp.flags, Some(TcpFlags(0x12)));
        assert_eq!(tcp.window, Some(64240));
    }

    #[test]
    fn quoted_by_an_icmp_error() {
        let tcp = parse(&SYN_ACK[..8]).unwrap();
        assert_eq!(tcp.seq, Some(0x0102_0304));
        assert_eq!((tcp.ack, tcp.flags, tcp.window), (None, None, None));
        assert_eq!(parse(&SYN_ACK[..3]), None);
    }

    #[test]
    fn letters() {
        let shown = |bits| TcpFlags(bits).to_string();
        assert_eq!(shown(0x02), "S");
        assert_eq!(shown(0x12), "SA");
        assert_eq!(shown(0x10), "A");
        assert_eq!(shown(0x18), "PA");
        assert_eq!(shown(0x04), "R");
        assert_eq!(shown(0x14), "RA");
        assert_eq!(shown(0x11), "FA");
        assert_eq!(shown(0xc2), "SEW");
        assert_eq!(shown(0xff), "SFRPAUEW");
        assert_eq!(shown(0), "none");
        assert!(TcpFlags(0x12).contains(TcpFlags::SYN));
        assert!(!TcpFlags(0x02).contains(TcpFlags(0x12)));
    }
}
