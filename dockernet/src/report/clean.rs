//! What containers, rules and URLs call themselves is not trusted on a terminal.

use std::borrow::Cow;

/// One line without control characters and without what reorders text (bidirectional overrides).
#[must_use]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.chars().any(harmful) {
        Cow::Owned(text.chars().filter(|c| !harmful(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// A URL without user name and password.
#[must_use]
pub(crate) fn without_secrets(url: &str) -> String {
    let url = line(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        // ssh://user@host: the user is part of the address, a password is not.
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            if scheme == "ssh" {
                format!("{user}@{host}")
            } else {
                host.to_owned()
            }
        }
        None => authority.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

/// Plain ASCII for locales that are not UTF-8.
#[must_use]
pub(crate) fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '✗' | '×' => plain.push('x'),
            '→' => plain.push_str("->"),
            '←' => plain.push_str("<-"),
            '↔' => plain.push_str("<->"),
            '≤' => plain.push_str("<="),
            '≥' => plain.push_str(">="),
            '…' => plain.push_str("..."),
            '–' | '—' | '·' => plain.push('-'),
            '‘' | '’' => plain.push('\''),
            '“' | '”' => plain.push('"'),
            '\u{a0}' => plain.push(' '),
            c if c.is_ascii() => plain.push(c),
            _ => plain.push('?'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_go() {
        assert_eq!(line("web"), "web");
        assert_eq!(line("we\u{1b}[2Jb\r\n\u{9b}31m\u{202e}"), "we[2Jb31m");
    }

    #[test]
    fn urls_lose_their_secrets() {
        assert_eq!(
            without_secrets("tcp://admin:s3cret@192.0.2.1:2376/x@y"),
            "tcp://192.0.2.1:2376/x@y"
        );
        assert_eq!(
            without_secrets("ssh://me:pw@docker.example"),
            "ssh://me@docker.example"
        );
        assert_eq!(
            without_secrets("unix:///var/run/docker.sock"),
            "unix:///var/run/docker.sock"
        );
    }

    #[test]
    fn ascii_has_a_form_for_every_sign_of_ours() {
        assert_eq!(ascii("✗ a → b ×3 … ≥ é"), "x a -> b x3 ... >= ?");
    }

    proptest::proptest! {
        #[test]
        fn nothing_harmful_is_left(text in proptest::prelude::any::<String>()) {
            proptest::prop_assert!(!line(&text).chars().any(harmful));
            proptest::prop_assert!(ascii(&text).is_ascii());
            let _ = without_secrets(&text);
        }
    }
}
