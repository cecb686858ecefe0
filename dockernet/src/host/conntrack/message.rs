//! ctnetlink's messages (include/uapi/linux/netfilter/nfnetlink_conntrack.h, stable ABI).

use dockernet_common::conntrack::RawTuple;

use super::Entry;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`
const GET: u16 = 1 << 8 | 1;
const CTNETLINK: u8 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NESTED: u16 = 1 << 15;
/// Type and flags share the field.
const TYPE: u16 = !(3 << 14);
/// `nlmsghdr`, then `nfgenmsg`.
const HEADER: usize = 16;
const FAMILY: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_TIMEOUT: u16 = 7;
const CTA_PROTOINFO: u16 = 4;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_TIMESTAMP: u16 = 20;
const CTA_TIMESTAMP_START: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// One message of the kernel's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An entry.
    Entry(Box<Entry>),
    /// An errno; 0 for an acknowledgement.
    Refused(i32),
    /// The end of a dump.
    Done,
}

/// A question for the whole table, both families.
pub(super) fn dump(sequence: u32) -> Vec<u8> {
    request(NLM_F_REQUEST | NLM_F_DUMP, sequence, 0, &[])
}

/// A question for one entry; none for a family that conntrack does not know.
pub(super) fn get(sequence: u32, original: &RawTuple) -> Option<Vec<u8>> {
    let mut addresses = Vec::new();
    let [a, b, c, d, ..] = original.src;
    let [w, x, y, z, ..] = original.dst;
    match original.family {
        AF_INET => {
            attribute(&mut addresses, CTA_IP_V4_SRC, &[a, b, c, d]);
            attribute(&mut addresses, CTA_IP_V4_DST, &[w, x, y, z]);
        }
        AF_INET6 => {
            attribute(&mut addresses, CTA_IP_V6_SRC, &original.src);
            attribute(&mut addresses, CTA_IP_V6_DST, &original.dst);
        }
        _ => return None,
    }
    let mut ports = Vec::new();
    attribute(&mut ports, CTA_PROTO_NUM, &[original.protocol]);
    let [kind, code] = original.dst_port;
    match original.protocol {
        ICMP => {
            attribute(&mut ports, CTA_PROTO_ICMP_ID, &original.src_port);
            attribute(&mut ports, CTA_PROTO_ICMP_TYPE, &[kind]);
            attribute(&mut ports, CTA_PROTO_ICMP_CODE, &[code]);
        }
        ICMPV6 => {
            attribute(&mut ports, CTA_PROTO_ICMPV6_ID, &original.src_port);
            attribute(&mut ports, CTA_PROTO_ICMPV6_TYPE, &[kind]);
            attribute(&mut ports, CTA_PROTO_ICMPV6_CODE, &[code]);
        }
        _ => {
            attribute(&mut ports, CTA_PROTO_SRC_PORT, &original.src_port);
            attribute(&mut ports, CTA_PROTO_DST_PORT, &original.dst_port);
        }
    }
    let mut tuple = Vec::new();
    attribute(&mut tuple, CTA_TUPLE_IP | NESTED, &addresses);
    attribute(&mut tuple, CTA_TUPLE_PROTO | NESTED, &ports);
    let mut attributes = Vec::new();
    attribute(&mut attributes, CTA_TUPLE_ORIG | NESTED, &tuple);
    let family = u8::try_from(original.family).ok()?;
    Some(request(NLM_F_REQUEST, sequence, family, &attributes))
}

fn request(flags: u16, sequence: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(GET.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    into.extend(length.to_ne_bytes());
    into.extend(kind.to_ne_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(4), 0);
}

/// The answers that a datagram holds to the question of this number.
pub(crate) fn answers(mut datagram: &[u8], sequence: u32) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((kind, number, payload, rest)) = message(datagram) {
        datagram = rest;
        if number != sequence {
            continue;
        }
        answers.extend(match kind {
            NLMSG_DONE => Some(Answer::Done),
            NLMSG_ERROR => {
                let errno = payload
                    .first_chunk()
                    .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                Some(Answer::Refused(errno.saturating_neg()))
            }
            // New entries: IPCTNL_MSG_CT_NEW is 0.
            other if other >> 8 == u16::from(CTNETLINK) => {
                entry(payload).map(|entry| Answer::Entry(Box::new(entry)))
            }
            _ => None,
        });
    }
    answers
}

/// Type, number, payload of the first message, and what follows it.
fn message(datagram: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    let number = u32::from_ne_bytes(datagram.get(8..12)?.try_into().ok()?);
    let payload = datagram.get(HEADER..length)?;
    let rest = datagram
        .get(length.next_multiple_of(4)..)
        .unwrap_or_default();
    Some((kind, number, payload, rest))
}

fn entry(payload: &[u8]) -> Option<Entry> {
    let family = u16::from(*payload.first()?);
    let mut entry = Entry::default();
    for (kind, value) in Attributes(payload.get(FAMILY..)?) {
        match kind {
            CTA_TUPLE_ORIG => entry.original = tuple(value, family, 0)?,
            CTA_TUPLE_REPLY => entry.reply = tuple(value, family, 1)?,
            CTA_STATUS => entry.status = u32::from_be_bytes(*value.first_chunk()?),
            CTA_TIMEOUT => entry.timeout = Some(u32::from_be_bytes(*value.first_chunk()?)),
            CTA_PROTOINFO => entry.tcp_state = tcp_state(value),
            CTA_TIMESTAMP => {
                entry.started_ns = Attributes(value)
                    .find(|(kind, _)| *kind == CTA_TIMESTAMP_START)
                    .and_then(|(_, value)| Some(u64::from_be_bytes(*value.first_chunk()?)));
            }
            _ => {}
        }
    }
    let is_whole = |tuple: &RawTuple| tuple.protocol != 0;
    (is_whole(&entry.original) && is_whole(&entry.reply)).then_some(entry)
}

fn tcp_state(value: &[u8]) -> Option<u8> {
    let (_, of_tcp) = Attributes(value).find(|(kind, _)| *kind == CTA_PROTOINFO_TCP)?;
    let (_, state) = Attributes(of_tcp).find(|(kind, _)| *kind == CTA_PROTOINFO_TCP_STATE)?;
    state.first().copied()
}

/// A tuple as the kernel holds it.
fn tuple(value: &[u8], family: u16, direction: u8) -> Option<RawTuple> {
    let mut tuple = RawTuple {
        family,
        direction,
        ..RawTuple::default()
    };
    for (kind, part) in Attributes(value) {
        match kind {
            CTA_TUPLE_IP => {
                for (kind, value) in Attributes(part) {
                    match kind {
                        CTA_IP_V4_SRC | CTA_IP_V6_SRC => {
                            tuple.src.get_mut(..value.len())?.copy_from_slice(value);
                        }
                        CTA_IP_V4_DST | CTA_IP_V6_DST => {
                            tuple.dst.get_mut(..value.len())?.copy_from_slice(value);
                        }
                        _ => {}
                    }
                }
            }
            CTA_TUPLE_PROTO => {
                for (kind, value) in Attributes(part) {
                    match kind {
                        CTA_PROTO_NUM => tuple.protocol = *value.first()?,
                        CTA_PROTO_SRC_PORT | CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID => {
                            tuple.src_port = *value.first_chunk()?;
                        }
                        CTA_PROTO_DST_PORT => tuple.dst_port = *value.first_chunk()?,
                        CTA_PROTO_ICMP_TYPE | CTA_PROTO_ICMPV6_TYPE => {
                            tuple.dst_port[0] = *value.first()?;
                        }
                        CTA_PROTO_ICMP_CODE | CTA_PROTO_ICMPV6_CODE => {
                            tuple.dst_port[1] = *value.first()?;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(tuple)
}

/// Type and value of each attribute of a message or of another attribute.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, value))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn sample(protocol: u8) -> RawTuple {
        let mut tuple = RawTuple {
            family: AF_INET,
            protocol,
            src_port: [0xbb, 0xd4],
            dst_port: [0x08, 0x00],
            ..RawTuple::default()
        };
        tuple.src[..4].copy_from_slice(&[198, 51, 100, 20]);
        tuple.dst[..4].copy_from_slice(&[198, 51, 100, 10]);
        tuple
    }

    /// A question for a flow is built like an entry, but for the answer's tuple.
    fn answer(sequence: u32, tuple: &RawTuple) -> Vec<u8> {
        let mut bytes = get(sequence, tuple).unwrap();
        let mut reply = bytes[HEADER + FAMILY..].to_vec();
        reply[2..4].copy_from_slice(&(CTA_TUPLE_REPLY | NESTED).to_ne_bytes());
        bytes.extend(reply);
        attribute(&mut bytes, CTA_STATUS, &0x28_u32.to_be_bytes());
        attribute(&mut bytes, CTA_TIMEOUT, &30_u32.to_be_bytes());
        let mut state = Vec::new();
        attribute(&mut state, CTA_PROTOINFO_TCP_STATE, &[3]);
        let mut of_tcp = Vec::new();
        attribute(&mut of_tcp, CTA_PROTOINFO_TCP | NESTED, &state);
        attribute(&mut bytes, CTA_PROTOINFO | NESTED, &of_tcp);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut six = sample(ICMPV6);
        six.family = AF_INET6;
        six.src[15] = 1;
        for tuple in [sample(6), sample(17), sample(ICMP), six] {
            let answers = answers(&answer(7, &tuple), 7);
            assert!(matches!(&answers[..], [Answer::Entry(_)]), "{answers:?}");
            let [Answer::Entry(entry)] = &answers[..] else {
                continue;
            };
            assert_eq!(entry.original, tuple);
            assert_eq!(
                entry.reply,
                RawTuple {
                    direction: 1,
                    ..tuple
                }
            );
            assert_eq!((entry.status, entry.timeout), (0x28, Some(30)));
            assert_eq!(entry.tcp_state, Some(3));
        }
    }

    #[test]
    fn half_an_entry_is_none() {
        assert_eq!(answers(&get(7, &sample(6)).unwrap(), 7), []);
    }

    #[test]
    fn answers_to_other_questions_are_skipped() {
        assert_eq!(answers(&answer(7, &sample(6)), 8), []);
    }

    #[test]
    fn hostile_datagrams_do_no_harm() {
        let whole = answer(1, &sample(6));
        for end in 0..whole.len() {
            let _ = answers(&whole[..end], 1);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = answers(&broken, 1);
            }
        }
    }
}
