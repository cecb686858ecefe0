//! A scenario's text with other names, ports and subnets: nothing shall be tuned to those in the files.

use std::collections::BTreeSet;

/// Names that are no other word of a scenario's language.
const FREE: [&str; 8] = ["web", "client", "lan", "blue", "red", "app", "db", "thief"];
/// Published ports are `10` and three more digits in the files.
const PREFIX: u32 = 10;
/// So many choices of ports, all below the kernel's own range of source ports.
const PREFIXES: usize = 20;
/// Where subnets begin in the files, with the last of the numbers that a seed moves: docker0's, a network's, a LAN's.
const SUBNETS: [(&str, u8); 3] = [("172", 17), ("10", 77), ("10", 88)];
/// By so much at most, less one.
const MOVES: usize = 8;

/// What is put behind names, and before ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rename {
    names: BTreeSet<String>,
    suffix: String,
    prefix: u32,
    moved: u8,
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
            moved: u8::try_from(seed % MOVES).unwrap_or(0),
        }
    }

    /// Other ports, and other names for these.
    pub(super) fn beside(names: BTreeSet<String>) -> Self {
        Self {
            names,
            suffix: "b".to_owned(),
            // None that a seed gives.
            prefix: PREFIX + u32::try_from(PREFIXES).unwrap_or(0),
            moved: 0,
        }
    }

    /// docker0's address and prefix, as `bip` in daemon.json has it.
    pub(super) fn bip(&self) -> String {
        self.subnets("172.17.0.1/16")
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
        self.words(&self.subnets(text))
    }

    /// Other subnets: the first two numbers of an address, where nothing of a number is before them.
    fn subnets(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (first, second) in SUBNETS {
            let (from, to) = (
                format!("{first}.{second}."),
                format!("{first}.{}.", second + self.moved),
            );
            let mut fresh = String::new();
            for (index, piece) in out.split(&from).enumerate() {
                if index > 0 {
                    let is_part =
                        fresh.ends_with(|letter: char| letter.is_ascii_digit() || letter == '.');
                    fresh.push_str(if is_part { &from } else { &to });
                }
                fresh.push_str(piece);
            }
            out = fresh;
        }
        out
    }

    fn words(&self, text: &str) -> String {
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
    fn subnets_move() {
        let text = "172.17.0.0/16,10.77.0.0/24,10.88.1.1 1172.17.0.1 1.10.77.3 172.170.0.1";
        let rename = Rename::by_seed(11);
        assert_eq!(
            rename.apply(text),
            "172.20.0.0/16,10.80.0.0/24,10.91.1.1 1172.17.0.1 1.10.77.3 172.170.0.1"
        );
        assert_eq!(rename.bip(), "172.20.0.1/16");
        assert_eq!(Rename::by_seed(8).apply(text), text);
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
