//! What `nft -a list ruleset` shows: rules by handle, and the devices of chains.

use std::collections::HashMap;

use super::model::Family;

/// A table's family and name.
type Place = (Family, String);

/// Texts of rules, without counters, and what nft's JSON leaves out.
#[derive(Debug, Default)]
pub(super) struct Texts {
    rules: HashMap<Place, HashMap<u64, String>>,
    /// Devices that chains are bound to, by table and chain.
    devices: HashMap<Place, HashMap<String, Vec<String>>>,
}

impl Texts {
    /// Reads a listing. Rules are the lines with a handle inside a chain.
    pub(super) fn parse(listing: &str) -> Self {
        let mut texts = Self::default();
        let mut table: Option<(Family, String)> = None;
        let mut chain: Option<String> = None;
        for line in listing.lines() {
            let line = line.trim();
            let (body, handle) = match line.rsplit_once(" # handle ") {
                Some((body, handle)) => (body, handle.trim().parse::<u64>().ok()),
                None => (line, None),
            };
            if let Some(rest) = body
                .strip_prefix("table ")
                .filter(|_| body.ends_with('{') && chain.is_none())
            {
                let mut words = rest.split_whitespace();
                table = words
                    .next()
                    .and_then(Family::from_name)
                    .zip(words.next().map(str::to_owned));
            } else if let Some(rest) = body.strip_prefix("chain ").filter(|_| body.ends_with('{')) {
                chain = rest.split_whitespace().next().map(str::to_owned);
            } else if line == "}" {
                chain = None;
            } else if let (Some(chain), None, Some(table), true) =
                (&chain, handle, &table, body.starts_with("type "))
            {
                let devices = texts.devices.entry(table.clone()).or_default();
                devices.insert(chain.clone(), bound_to(body));
            } else if let (Some(_), Some(handle), Some(table)) = (&chain, handle, &table) {
                texts
                    .rules
                    .entry(table.clone())
                    .or_default()
                    .insert(handle, without_counters(body));
            }
        }
        texts
    }

    pub(super) fn get(&self, family: Family, table: &str, handle: u64) -> Option<&str> {
        let rules = self.rules.get(&(family, table.to_owned()))?;
        rules.get(&handle).map(String::as_str)
    }

    /// Devices that a chain is bound to; none if the listing names none.
    pub(super) fn devices(&self, family: Family, table: &str, chain: &str) -> &[String] {
        self.devices
            .get(&(family, table.to_owned()))
            .and_then(|chains| chains.get(chain))
            .map_or(&[], Vec::as_slice)
    }
}

/// `type filter hook ingress device "eth0" priority …`, and `devices = { eth0, "eth1*" }`.
fn bound_to(line: &str) -> Vec<String> {
    let Some((_, rest)) = line.split_once(" device") else {
        return Vec::new();
    };
    let names = rest.split(" priority ").next().unwrap_or_default();
    names
        .trim_start_matches('s')
        .split(|c: char| c.is_whitespace() || matches!(c, '=' | '{' | '}' | ','))
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// `counter packets 1 bytes 60` becomes `counter`, so that a rule's text does not change while packets pass.
fn without_counters(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let number = |word: Option<&&str>| {
        word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut at = 0;
    while at < words.len() {
        if words[at] == "counter"
            && words.get(at + 1) == Some(&"packets")
            && number(words.get(at + 2))
            && words.get(at + 3) == Some(&"bytes")
            && number(words.get(at + 4))
        {
            words.drain(at + 1..at + 5);
        }
        at += 1;
    }
    words.join(" ")
}
