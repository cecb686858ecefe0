//! Rules as `nft -a list ruleset` shows them, by handle.

use std::collections::HashMap;

use super::model::Family;

/// Texts of rules, without counters.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<(Family, String), HashMap<u64, String>>);

impl Texts {
    /// Reads a listing. Rules are the lines with a handle inside a chain.
    pub(super) fn parse(listing: &str) -> Self {
        let mut texts = Self::default();
        let mut table: Option<(Family, String)> = None;
        let mut in_chain = false;
        for line in listing.lines() {
            let line = line.trim();
            let (body, handle) = match line.rsplit_once(" # handle ") {
                Some((body, handle)) => (body, handle.trim().parse::<u64>().ok()),
                None => (line, None),
            };
            if let Some(rest) = body
                .strip_prefix("table ")
                .filter(|_| body.ends_with('{') && !in_chain)
            {
                let mut words = rest.split_whitespace();
                table = words
                    .next()
                    .and_then(Family::from_name)
                    .zip(words.next().map(str::to_owned));
            } else if body.starts_with("chain ") && body.ends_with('{') {
                in_chain = true;
            } else if line == "}" {
                in_chain = false;
            } else if let (true, Some(handle), Some(table)) = (in_chain, handle, &table) {
                texts
                    .0
                    .entry(table.clone())
                    .or_default()
                    .insert(handle, without_counters(body));
            }
        }
        texts
    }

    pub(super) fn get(&self, family: Family, table: &str, handle: u64) -> Option<&str> {
        let rules = self.0.get(&(family, table.to_owned()))?;
        rules.get(&handle).map(String::as_str)
    }
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
