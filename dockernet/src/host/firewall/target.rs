//! What rules do with a packet.

use serde::{Deserialize, Serialize};

use super::matching::{Elements, Field, Key, Match};

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Nothing that decides (log, counter, TCPMSS, CT …): the next rule.
    Continue,
    /// Leaves this base chain; other base chains on the hook still see the packet.
    Accept,
    /// Dropped, whatever other chains say.
    Drop,
    /// Dropped with an answer (RST or ICMP).
    Reject,
    /// Back to the calling chain; from a base chain to its policy.
    Return,
    /// Into a chain, and back when that ends.
    Jump(String),
    /// Into a chain; when that ends, back to the caller of this one.
    Goto(String),
    /// Address translation, then as [`Target::Accept`].
    Nat(NatTarget),
    /// The packet's mark becomes `(mark & !mask) ^ value`; a `mask` of `u32::MAX` sets it.
    SetMark {
        /// Bits that are cleared first.
        mask: u32,
        /// Bits that are flipped then.
        value: u32,
    },
    /// The packet's mark becomes something that cannot be told.
    SetMarkUnknown,
    /// The flow's mark changes.
    SetCtMark,
    /// A field of the packet changes; none is "any of them".
    Change(Option<Field>),
    /// A packet without a flow so far gets a template: what its flow is to be like (`CT --zone`, `ct zone set`).
    Template,
    /// A packet without a flow so far stays without one (`notrack`).
    Untrack,
    /// The rule goes on only if this holds: a condition behind an action.
    When(Match),
    /// nft's verdict map.
    Vmap {
        /// What is looked up.
        keys: Vec<Key>,
        /// First entry that holds the value decides.
        entries: Vec<(Elements, Verdict)>,
        /// Whether the entries change while packets pass (timeouts, `add @map`).
        dynamic: bool,
    },
    /// Something that may decide, or not; as it is written.
    Unknown(String),
}

/// What a verdict map's entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// See [`Target::Accept`].
    Accept,
    /// See [`Target::Drop`].
    Drop,
    /// See [`Target::Continue`].
    Continue,
    /// See [`Target::Return`].
    Return,
    /// See [`Target::Jump`].
    Jump(String),
    /// See [`Target::Goto`].
    Goto(String),
    /// Anything else, such as `queue`.
    Unknown(String),
}

/// Kind of address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NatKind {
    /// Destination.
    Dnat,
    /// Source, to given addresses.
    Snat,
    /// Source, to the outgoing device's address.
    Masquerade,
    /// Destination, to this machine.
    Redirect,
}

/// An address translation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatTarget {
    /// Kind.
    pub kind: NatKind,
    /// New address, where it is one address.
    pub address: Option<std::net::IpAddr>,
    /// New port, where it is one port.
    pub port: Option<u16>,
}
