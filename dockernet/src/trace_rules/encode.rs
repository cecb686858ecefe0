//! The table as nf_tables' messages (include/uapi/linux/netfilter/nf_tables.h).

use std::net::IpAddr;

use super::flow::Flow;

/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFT_MSG_*`.
const NEW_TABLE: u16 = NFTABLES << 8;
const DEL_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_CREATE`, `NLM_F_APPEND`.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NFT_TABLE_F_OWNER`.
pub(super) const OWNER: u32 = 2;
/// Before every other chain, raw (-300) and defragmentation (-400) included.
const PRIORITY: i32 = -1000;
/// `NFT_REG_1`.
const REGISTER: u32 = 1;
/// `NFT_META_*`.
const PROTOCOL: u32 = 1;
const NFTRACE: u32 = 12;
const L4PROTO: u32 = 16;
/// `NFT_PAYLOAD_*_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// A transaction under construction.
pub(super) struct Batch {
    bytes: Vec<u8>,
    family: u8,
    table: &'static str,
}

impl Batch {
    pub(super) fn new(family: u8, table: &'static str) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            family,
            table,
        };
        batch.message(BEGIN, 0, |_| {});
        batch
    }

    /// Ends it; the kernel answers this one message of a batch that it took, and each that it refused.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.message(END, 0, |_| {});
        self.bytes
    }

    pub(super) fn delete_table(&mut self, answer: bool) {
        let table = self.table;
        let flags = if answer { ACK } else { 0 };
        self.message(DEL_TABLE, flags, |body| text(body, 1, table));
    }

    pub(super) fn new_table(&mut self, flags: u32, answer: bool) {
        let table = self.table;
        let answer = if answer { ACK } else { 0 };
        self.message(NEW_TABLE, CREATE | answer, |body| {
            text(body, 1, table);
            number(body, 2, flags);
        });
    }

    /// A base chain. Hooks: `NF_INET_PRE_ROUTING` and `NF_BR_PRE_ROUTING` 0, `NF_INET_LOCAL_OUT` 3.
    pub(super) fn new_chain(&mut self, name: &str, hook: u32) {
        let table = self.table;
        self.message(NEW_CHAIN, CREATE, |body| {
            text(body, 1, table);
            text(body, 3, name);
            nested(body, 4, |body| {
                number(body, 1, hook);
                attribute(body, 2, &PRIORITY.to_be_bytes());
            });
            text(body, 7, "filter");
        });
    }

    /// `meta nftrace set 1` for one flow.
    pub(super) fn new_rule(&mut self, chain: &str, flow: &Flow) {
        let table = self.table;
        self.message(NEW_RULE, CREATE | APPEND, |body| {
            text(body, 1, table);
            text(body, 2, chain);
            nested(body, 4, |body| expressions(body, flow));
        });
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let (family, resource) = match kind {
            BEGIN | END => (0, NFTABLES),
            _ => (self.family, 0),
        };
        // struct nfgenmsg.
        let mut body = vec![family, 0];
        body.extend(resource.to_be_bytes());
        fill(&mut body);
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(1_u32.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(body);
    }
}

fn expressions(body: &mut Vec<u8>, flow: &Flow) {
    let (ethertype, offsets, src, dst): (u16, _, Vec<u8>, Vec<u8>) = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (
            0x0800,
            [12, 16],
            src.octets().to_vec(),
            dst.octets().to_vec(),
        ),
        (src, dst) => (0x86dd, [8, 24], octets(src), octets(dst)),
    };
    meta_is(body, PROTOCOL, &ethertype.to_be_bytes());
    meta_is(body, L4PROTO, &[flow.protocol]);
    payload_is(body, NETWORK, offsets[0], &src);
    payload_is(body, NETWORK, offsets[1], &dst);
    if let Some(ports) = flow.ports {
        let bytes = ports.map(u16::to_be_bytes).concat();
        payload_is(body, TRANSPORT, 0, &bytes);
    }
    expression(body, "immediate", |body| {
        number(body, 1, REGISTER);
        nested(body, 2, |body| attribute(body, 1, &[1]));
    });
    expression(body, "meta", |body| {
        number(body, 2, NFTRACE);
        number(body, 3, REGISTER);
    });
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn meta_is(body: &mut Vec<u8>, key: u32, value: &[u8]) {
    expression(body, "meta", |body| {
        number(body, 1, REGISTER);
        number(body, 2, key);
    });
    is_equal(body, value);
}

fn payload_is(body: &mut Vec<u8>, header: u32, offset: u32, value: &[u8]) {
    expression(body, "payload", |body| {
        number(body, 1, REGISTER);
        number(body, 2, header);
        number(body, 3, offset);
        number(body, 4, u32::try_from(value.len()).unwrap_or(0));
    });
    is_equal(body, value);
}

fn is_equal(body: &mut Vec<u8>, value: &[u8]) {
    expression(body, "cmp", |body| {
        number(body, 1, REGISTER);
        // NFT_CMP_EQ
        number(body, 2, 0);
        nested(body, 3, |body| attribute(body, 1, value));
    });
}

fn expression(body: &mut Vec<u8>, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    nested(body, 1, |body| {
        text(body, 1, name);
        nested(body, 2, fill);
    });
}

fn nested(body: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    /// `NLA_F_NESTED`.
    const NESTED: u16 = 0x8000;
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(body, kind | NESTED, &inner);
}

fn text(body: &mut Vec<u8>, kind: u16, text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    attribute(body, kind, &bytes);
}

fn number(body: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(body, kind, &value.to_be_bytes());
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
