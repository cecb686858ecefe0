//! A scenario's text with other names and ports: nothing shall be tuned to those in the files.

use std::collections::BTreeSet;

/// Names that are no other word of a scenario's language.
const FREE: [&str; 8] = ["web", "client", "lan", "blue", "red", "app", "db", "thief"];
/// Published ports are `10` and three more digits in the files.
const PREFIX: u32 = 10;
/// So many choices of ports, all below the kernel's own range of source ports.
const PREFIXES: usize = 20;

/// What is put behind names, and before ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rename {
    names: BTreeSet<String>,
    suffix: String,
    prefix: u32,
}

impl Rename {
    /// What a seed makes of every scenario; 0 leaves it as it is.
    pub(super) fn by_seed(seed: usize) -> Self {
        Self {
            names: FREE.iter().map(|name| (*name).to_owned()).collect(),
            suffix: match seed {
                0 => String::new(),
                _ => (seed % 90 + 10).to_string(),
            },
            prefix: PREFIX + u32::try_from(seed % PREFIXES).unwrap_or(0),
        }
    }

    /// Other ports, and other names for these.
    pub(super) fn beside(names: BTreeSet<String>) -> Self {
        Self {
            names,
            suffix: "b".to_owned(),
            // None that a seed gives.
            prefix: PREFIX + u32::try_from(PREFIXES).unwrap_or(0),
        }
    }

    /// The text with those. Causes keep their ids, whatever words those are made of.
    pub(super) fn apply(&self, text: &str) -> String {
        text.split_inclusive('\n')
            .map(|line| {
                let is_ids = ["cause", "also"].iter().any(|key| line.starts_with(key));
                if is_ids {
                    line.to_owned()
                } else {
                    self.line(line)
                }
            })
            .collect()
    }

    fn line(&self, text: &str) -> String {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let mut out = String::new();
        for piece in text.split_inclusive(|letter| !is_word(letter)) {
            let end = piece.trim_end_matches(|letter| !is_word(letter)).len();
            let (word, rest) = piece.split_at(end);
            match digits(word) {
                Some(digits) => out.push_str(&format!("{}{digits}", self.prefix)),
                None if self.names.contains(word) => {
                    out.push_str(word);
                    out.push_str(&self.suffix);
                }
                None => out.push_str(word),
            }
            out.push_str(rest);
        }
        out
    }
}

/// The last three digits of a published port.
fn digits(word: &str) -> Option<&str> {
    word.strip_prefix("10")
        .filter(|rest| rest.len() == 3 && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"web\" # br-lan, ${ip:web@lan}, 10001:80, 10001000, website, /www";

    #[test]
    fn words_and_ports_change_and_nothing_else() {
        assert_eq!(
            Rename::by_seed(3).apply(TEXT),
            "name = \"web13\" # br-lan13, ${ip:web13@lan13}, 13001:80, 10001000, website, /www"
        );
        let shared = ["lan".to_owned()].into();
        assert_eq!(
            Rename::beside(shared).apply(TEXT),
            "name = \"web\" # br-lanb, ${ip:web@lanb}, 30001:80, 10001000, website, /www"
        );
    }

    #[test]
    fn causes_keep_their_ids() {
        let text = "to = \"lan\"\ncause = [\"subnet-overlaps-lan\"]\nalso = [\"web\"]\n";
        assert_eq!(
            Rename::by_seed(3).apply(text),
            text.replacen("lan", "lan13", 1)
        );
    }

    #[test]
    fn without_a_seed_it_stays() {
        assert_eq!(Rename::by_seed(0).apply(TEXT), TEXT);
    }
}
