//! What the user asked to see, in the form that the kernel half tests.

/// How many reasons a filter can name.
pub const MAX_REASONS: usize = 8;
/// How many interfaces a filter can name.
pub const MAX_DEVICES: usize = 4;
/// How many ports a filter can name.
pub const MAX_PORTS: usize = 8;

/// Which of the tests are on.
pub mod test {
    /// `protocol`
    pub const PROTOCOL: u32 = 1;
    /// One of `ports`, source or destination, before or after NAT
    pub const PORT: u32 = 2;
    /// `address`/`mask`, source or destination, before or after NAT
    pub const ADDRESS: u32 = 4;
    /// `reasons`
    pub const REASON: u32 = 8;
    /// `devices` by name, or `ingress` by index
    pub const DEVICE: u32 = 16;
    /// The expression that takes the stub's place in the kernel half
    pub const EXPRESSION: u32 = 32;
}

/// A packet must pass every test that is on, as far as the kernel half can tell: what it cannot (an ICMP error's
/// inner packet, IPv6 extension headers, ARP) passes, and user space looks again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Bits of [`mod@test`].
    pub tests: u32,
    /// IP protocol number.
    pub protocol: u16,
    /// How many of `ports` are used.
    pub port_count: u16,
    /// Ports, host byte order.
    pub ports: [u16; MAX_PORTS],
    /// Address, IPv4 as `::ffff:a.b.c.d`: with more of them, beside an expression, the verifier of 5.10 has too much to do.
    pub address: [u8; 16],
    /// Which of its bits count.
    pub mask: [u8; 16],
    /// Reason numbers, the unused ones repeat the first.
    pub reasons: [u32; MAX_REASONS],
    /// `skb->skb_iif` of the same interfaces, in whatever namespace: user space looks again. Unused ones repeat the first.
    pub ingress: [u32; MAX_DEVICES],
    /// Interface names, zero-padded, the unused ones repeat the first.
    pub devices: [[u8; 16]; MAX_DEVICES],
}

const _: () = assert!(size_of::<Filter>() == 168);
crate::pod!(Filter);

impl Filter {
    /// Lets everything through.
    pub const ALL: Self = Self {
        tests: 0,
        protocol: 0,
        port_count: 0,
        ports: [0; MAX_PORTS],
        address: [0; 16],
        mask: [0; 16],
        reasons: [0; MAX_REASONS],
        ingress: [0; MAX_DEVICES],
        devices: [[0; 16]; MAX_DEVICES],
    };
}
