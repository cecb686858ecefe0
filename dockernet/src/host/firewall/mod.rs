//! Firewall rules as the kernel holds them, and what they would do to a packet.
//!
//! Readers bring `iptables-save` and `nft -j list ruleset` into one [`Ruleset`] model; [`simulate()`] walks a packet
//! through it with three answers (yes, no, cannot be told); [`attribute()`] names the rule behind a known drop.

mod attribute;
mod ebtables;
mod ebtables_match;
mod ebtables_target;
mod eval;
mod from_model;
pub(crate) mod hostile;
mod iptables;
mod iptables_match;
mod iptables_target;
mod matching;
mod merge;
mod model;
mod nft;
mod nft_expr;
mod nft_set;
mod nft_text;
mod owner;
mod packet;
mod query;
mod read;
pub(super) mod run;
mod simulate;
mod target;
#[cfg(test)]
mod tests;

pub use attribute::{
    Attribution, DropKind, Jump, Moved, Remaining, Site, Traced, attribute, drop_candidates, moved,
    traced,
};
pub use matching::{Elements, Field, Item, Key, Match};
pub use model::{
    Backend, Base, Chain, ChainKind, Counter, Engine, Family, Firewall, Hook, Policy, Rule,
    Ruleset, Table,
};
pub use owner::Owner;
pub use packet::{CtState, Env, FlowPacket, FlowTuple};
pub use query::DnatTarget;
pub use simulate::{
    Dropped, Near, Outcome, Step, Translation, Unaccepted, marks_behind, simulate, simulate_at,
    translate, unaccepted,
};
pub use target::{NatKind, NatTarget, Target, Verdict};

/// The table that `--trace-rules` makes. It decides nothing, and is no part of what is read.
pub(crate) const OWN_TABLE: &str = "dockernet_trace";

/// Rules from a listing, for tests of what asks about them.
#[cfg(test)]
pub(crate) mod canned {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{Backend, Family, Ruleset, iptables, nft, nft_text::Texts};

    /// From `iptables-save`.
    pub(crate) fn save(text: &str, backend: Backend) -> Ruleset {
        iptables::parse(text, backend, Family::Ip)
    }

    /// From `nft -j list ruleset` and `nft -a list ruleset`.
    pub(crate) fn native(json: &str, listing: &str) -> Ruleset {
        nft::parse(json, &Texts::parse(listing)).unwrap()
    }
}
