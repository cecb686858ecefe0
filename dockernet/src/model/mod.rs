//! What the rooms hand to each other. The serialised form of these types is the JSON contract.

mod capture;
mod cause;
mod drop;
mod endpoint;
mod ends;
mod inventory;
mod journey;
mod ledger;
mod packet;
mod transition;
mod tuple;

pub use capture::{Capture, LinkType, Reach, Sample};
pub use cause::{Cause, Confidence, Fix, Impact, Rule};
pub use drop::{Drop, Nat, NatKind, Netns, NetnsOwner};
pub use endpoint::{ContainerRef, Endpoint, EndpointKind};
pub use ends::{End, Ends};
pub use inventory::{
    Attachment, Container, Link, LinkKind, NetnsInfo, NetnsKey, Network, NetworkMode, Owner,
    Published, State, Subnet,
};
pub use journey::{
    FlowSum, FlowVerdict, Hop, HopSum, Journey, JourneyEnd, Passage, PathEvent, ProbeEnd, Rewrite,
    Silence, Way,
};
pub use ledger::{Fate, Ledger, NatLedger, Ready};
pub use packet::{Icmp, Packet};
pub use transition::Transition;
pub use tuple::Tuple;
pub(crate) use tuple::address;
