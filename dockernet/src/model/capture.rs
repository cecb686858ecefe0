//! What of a drop is no part of its line, and recordings and pcapng need.

use dockernet_common::record::DropRecord;
use serde::{Deserialize, Serialize};

/// The narrowest `--scope` that something is inside.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It has to do with a container.
    #[default]
    Containers,
    /// It is the host's own.
    Host,
    /// It is another namespace's.
    All,
}

/// What a packet's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header.
    Ip,
    /// Something else: what the EtherType says, or a transport header that got no IP header.
    Other,
}

/// The first bytes of a packet, as it was when it died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// What they begin with.
    pub link: LinkType,
    /// Bytes of the whole packet, counted from the first that is here.
    pub length: u32,
    /// The bytes.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

/// A drop as the kernel half sent it: what of it causes look at and its line does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Numbers, without stack and headers.
    record: DropRecord,
    /// Its headers.
    #[serde(with = "hex")]
    headers: Vec<u8>,
}

impl From<&DropRecord> for Sample {
    fn from(record: &DropRecord) -> Self {
        let length = usize::from(record.header_len);
        Self {
            record: *record,
            headers: record
                .headers
                .get(..length)
                .unwrap_or(&record.headers)
                .to_vec(),
        }
    }
}

impl From<&Sample> for DropRecord {
    fn from(sample: &Sample) -> Self {
        let mut record = sample.record;
        let known = record.headers.iter_mut().zip(&sample.headers);
        for (to, from) in known {
            *to = *from;
        }
        let length = sample.headers.len().min(record.headers.len());
        record.header_len = u16::try_from(length).unwrap_or(0);
        record
    }
}

/// Two digits a byte.
mod hex {
    use std::fmt::Write as _;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        };
        text.as_bytes()
            .chunks(2)
            .map(pair)
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("expected two hexadecimal digits a byte"))
    }
}
