//! `--ignore`: which drops the user declares deliberate.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{
    Pattern, Protocol, Usage,
    filter::{containers, devices, network, ports, protocol},
    suggest,
};
use crate::model::{Drop, Endpoint, EndpointKind};

/// What an expression can speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Cause,
    Reason,
    Container,
    Source,
    Destination,
    Network,
    Proto,
    Port,
    Device,
}

const KEYS: &[(&str, Key)] = &[
    ("cause", Key::Cause),
    ("reason", Key::Reason),
    ("container", Key::Container),
    ("source", Key::Source),
    ("destination", Key::Destination),
    ("network", Key::Network),
    ("proto", Key::Proto),
    ("port", Key::Port),
    ("device", Key::Device),
];

/// One `--ignore`: every key must match.
///
/// `source` and `destination` take a kind (`external`, `host`, `container`, `multicast`, `unknown`), a container's
/// name or id, an address or a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignore {
    text: String,
    terms: Vec<(Key, Pattern)>,
}

impl Ignore {
    /// Whether a drop is deliberate by this expression. `bridge_of` gives the bridge device of a Docker network.
    #[must_use]
    pub fn matches(&self, drop: &Drop, bridge_of: &dyn Fn(&str) -> Option<String>) -> bool {
        self.terms
            .iter()
            .all(|(key, value)| term(*key, value, drop, bridge_of))
    }

    /// Checks the causes that are not globs.
    ///
    /// # Errors
    /// Names the cause that does not exist, and the nearest.
    pub fn check_causes<S: AsRef<str>>(&self, known: &[S]) -> Result<(), Usage> {
        self.check(Key::Cause, "cause", known)
    }

    /// Checks the kernel reasons that are not globs; with no known ones, nothing is checked.
    ///
    /// # Errors
    /// Names the reason that the kernel does not have, and the nearest.
    pub fn check_reasons<S: AsRef<str>>(&self, known: &[S]) -> Result<(), Usage> {
        if known.is_empty() {
            return Ok(());
        }
        self.check(Key::Reason, "reason", known)
    }

    fn check<S: AsRef<str>>(&self, key: Key, what: &str, known: &[S]) -> Result<(), Usage> {
        self.terms
            .iter()
            .filter(|(found, _)| *found == key)
            .filter_map(|(_, value)| value.literal())
            .try_for_each(|value| {
                suggest::one_of(what, value, known)
                    .map(|_| ())
                    .map_err(|Usage(text)| Usage(format!("--ignore {}: {text}", self.text)))
            })
    }
}

fn term(
    key: Key,
    value: &Pattern,
    drop: &Drop,
    bridge_of: &dyn Fn(&str) -> Option<String>,
) -> bool {
    match key {
        Key::Cause => value.matches(&drop.cause.id),
        Key::Reason => drop
            .reason
            .as_deref()
            .is_some_and(|reason| value.matches(reason)),
        Key::Container => containers(drop).any(|container| value.matches_ref(container)),
        Key::Source => end(value, &drop.source, drop.ends().source.map(|end| end.0)),
        Key::Destination => end(
            value,
            &drop.destination,
            drop.ends().destination.map(|end| end.0),
        ),
        Key::Network => network(drop, value, bridge_of),
        Key::Proto => protocol(drop).is_some_and(|protocol| {
            value.matches(protocol)
                || value
                    .literal()
                    .and_then(|text| text.parse::<Protocol>().ok())
                    .is_some_and(|wanted| wanted.matches(protocol))
        }),
        Key::Port => ports(drop).any(|port| value.matches(&port.to_string())),
        Key::Device => devices(drop).any(|device| value.matches(device)),
    }
}

fn end(value: &Pattern, endpoint: &Endpoint, address: Option<IpAddr>) -> bool {
    value.matches(kind(endpoint.kind))
        || endpoint
            .container
            .as_ref()
            .is_some_and(|container| value.matches_ref(container))
        || address.is_some_and(|address| {
            value.matches(&address.to_string())
                || prefix(value).is_some_and(|prefix| prefix.contains(&address))
        })
}

fn prefix(value: &Pattern) -> Option<IpNet> {
    let text = value.literal()?;
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn kind(kind: EndpointKind) -> &'static str {
    match kind {
        EndpointKind::Container => "container",
        EndpointKind::Host => "host",
        EndpointKind::External => "external",
        EndpointKind::Multicast => "multicast",
        EndpointKind::Unknown => "unknown",
    }
}

impl FromStr for Ignore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut terms: Vec<(Key, Pattern)> = Vec::new();
        for part in split(text) {
            let part = part.trim();
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("expected KEY=GLOB, found '{part}'"))?;
            let name = name.trim();
            let key = KEYS
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, key)| *key)
                .ok_or_else(|| unknown_key(name))?;
            if terms.iter().any(|(known, _)| *known == key) {
                return Err(format!(
                    "{name} is given twice and all keys must match; alternatives are written {name}={{a,b}}"
                ));
            }
            terms.push((key, self::value(key, name, value)?));
        }
        Ok(Self {
            text: text.to_owned(),
            terms,
        })
    }
}

impl fmt::Display for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn value(key: Key, name: &str, text: &str) -> Result<Pattern, String> {
    let text = text.trim();
    let text = match key {
        Key::Reason => reason_name(text),
        _ => text.to_owned(),
    };
    let pattern: Pattern = text.parse().map_err(|error| format!("{name}: {error}"))?;
    match (key, pattern.literal()) {
        (Key::Port, Some(port)) if port.parse::<u16>().is_err() => Err(format!(
            "port: expected a number up to 65535, found '{port}'"
        )),
        (Key::Proto, Some(proto)) => {
            proto
                .parse::<Protocol>()
                .map_err(|error| format!("proto: {error}"))?;
            Ok(pattern)
        }
        _ => Ok(pattern),
    }
}

/// A kernel reason as the model holds it: upper case, without its prefix.
pub(super) fn reason_name(text: &str) -> String {
    let text = text.trim().to_ascii_uppercase();
    text.strip_prefix("SKB_DROP_REASON_")
        .unwrap_or(&text)
        .to_owned()
}

fn unknown_key(name: &str) -> String {
    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    format!(
        "unknown key '{name}'{}; the keys are {}",
        suggest::nearest(name, names.iter().copied())
            .map_or_else(String::new, |near| format!(" (did you mean '{near}'?)")),
        names.join(", ")
    )
}

/// Splits at the commas outside braces and brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}
