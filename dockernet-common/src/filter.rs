//! What the user asked to see, in the form that the kernel half tests.

/// How many reasons a filter can name.
pub const MAX_REASONS: usize = 8;
/// How many interfaces a filter can name.
pub const MAX_DEVICES: usize = 4;
/// How many ports a filter can name.
pub const MAX_PORTS: usize = 8;
/// How many addresses and networks a filter can name: with more of them, beside an expression, the verifier of 5.10 has too much to do.
pub const MAX_ADDRESSES: usize = 1;

/// Which of the tests are on.
pub mod test {
    /// `protocol`
    pub const PROTOCOL: u32 = 1;
    /// One of `ports`, source or destination, before or after NAT
    pub const PORT: u32 = 2;
    /// One of `addresses`/`masks`, source or destination, before or after NAT
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
    pub port_count: u8,
    /// How many of `addresses` are used.
    pub address_count: u8,
    /// Ports, host byte order.
    pub ports: [u16; MAX_PORTS],
    /// Addresses, IPv4 as `::ffff:a.b.c.d`.
    pub addresses: [[u8; 16]; MAX_ADDRESSES],
    /// Which of their bits count.
    pub masks: [[u8; 16]; MAX_ADDRESSES],
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
        address_count: 0,
        ports: [0; MAX_PORTS],
        addresses: [[0; 16]; MAX_ADDRESSES],
        masks: [[0; 16]; MAX_ADDRESSES],
        reasons: [0; MAX_REASONS],
        ingress: [0; MAX_DEVICES],
        devices: [[0; 16]; MAX_DEVICES],
    };
}
