//! What a terminal sends when keys are pressed. Of the library that draws only that half is used: its reader installs signal
//! handlers of its own, and spins once the terminal has gone.

/// Longest sequence that means something.
const LONGEST: usize = 16;
const ESCAPE: u8 = 0x1b;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// F1 to F12.
    F(u8),
    /// With Ctrl held: the letter.
    Ctrl(char),
}

/// Bytes to keys. A sequence may come in pieces, over a slow line.
#[derive(Debug, Default)]
pub(super) struct Parser {
    pending: Vec<u8>,
}

/// What the first bytes are.
enum Found {
    /// A key or nothing known, of so many bytes.
    Whole(Option<Key>, usize),
    /// More has to come.
    Part,
}

impl Parser {
    /// The keys that are complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while !self.pending.is_empty() {
            match first(&self.pending) {
                Found::Whole(key, length) => {
                    keys.extend(key);
                    self.pending.drain(..length.clamp(1, self.pending.len()));
                }
                Found::Part if self.pending.len() < LONGEST => break,
                Found::Part => self.pending.clear(),
            }
        }
        keys
    }

    /// Whether the beginning of something waits for its end.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more came: what waits was the Escape key, with whatever was typed after it.
    pub(super) fn flush(&mut self) -> Vec<Key> {
        let pending = std::mem::take(&mut self.pending);
        match pending.split_first() {
            Some((&ESCAPE, [])) => vec![Key::Escape],
            _ => Vec::new(),
        }
    }
}

fn first(bytes: &[u8]) -> Found {
    match bytes {
        [ESCAPE] => Found::Part,
        [ESCAPE, b'[', rest @ ..] => sequence(rest),
        [ESCAPE, b'O', rest @ ..] => match rest {
            [] => Found::Part,
            [last, ..] => Found::Whole(letter(*last), 3),
        },
        // Over a slow line Escape and the next key come at once. Alt, which looks the same, is not used.
        [ESCAPE, _, ..] => Found::Whole(Some(Key::Escape), 1),
        [b'\r' | b'\n', ..] => Found::Whole(Some(Key::Enter), 1),
        [b'\t', ..] => Found::Whole(Some(Key::Tab), 1),
        [0x7f | 0x08, ..] => Found::Whole(Some(Key::Backspace), 1),
        [control @ 0x01..=0x1a, ..] => {
            let letter = char::from(control - 1 + b'a');
            Found::Whole(Some(Key::Ctrl(letter)), 1)
        }
        [0x00..=0x1f, ..] => Found::Whole(None, 1),
        _ => character(bytes),
    }
}

/// After `ESC [`.
fn sequence(rest: &[u8]) -> Found {
    // The console of Linux: ESC [ [ A to E are F1 to F5.
    if let [b'[', tail @ ..] = rest {
        return match tail {
            [] => Found::Part,
            [key @ b'A'..=b'E', ..] => Found::Whole(Some(Key::F(key - b'A' + 1)), 4),
            _ => Found::Whole(None, 4),
        };
    }
    let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
        return Found::Part;
    };
    let length = end + 3;
    // Modifiers after a semicolon are left out: Shift with an arrow is that arrow.
    let number: Option<u8> = rest[..end]
        .split(|byte| *byte == b';')
        .next()
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let key = match (rest[end], number) {
        (b'Z', _) => Some(Key::BackTab),
        (b'~', Some(number)) => numbered(number),
        (last, _) => letter(last),
    };
    Found::Whole(key, length)
}

fn letter(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'P'..=b'S' => Key::F(last - b'P' + 1),
        b'M' => Key::Enter,
        _ => return None,
    })
}

/// `ESC [ number ~`, as xterm, rxvt and the VT220 number them.
fn numbered(number: u8) -> Option<Key> {
    Some(match number {
        1 | 7 => Key::Home,
        4 | 8 => Key::End,
        5 => Key::PageUp,
        6 => Key::PageDown,
        11..=15 => Key::F(number - 10),
        17..=21 => Key::F(number - 11),
        23 | 24 => Key::F(number - 12),
        _ => return None,
    })
}

/// A character in UTF-8; what is none is left out byte by byte.
fn character(bytes: &[u8]) -> Found {
    let length = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    let Some(whole) = bytes.get(..length) else {
        return Found::Part;
    };
    match std::str::from_utf8(whole) {
        Ok(text) => Found::Whole(text.chars().next().map(Key::Char), length),
        Err(_) => Found::Whole(None, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut parser = Parser::default();
        let mut keys = parser.feed(bytes);
        keys.extend(parser.flush());
        keys
    }

    #[test]
    fn terminals_differ() {
        assert_eq!(keys(b"\x1b[A\x1bOA"), [Key::Up, Key::Up]);
        assert_eq!(keys(b"\x1b[H\x1b[1~\x1b[7~\x1bOH"), [Key::Home; 4]);
        assert_eq!(keys(b"\x1bOP\x1b[11~\x1b[[A"), [Key::F(1); 3]);
        assert_eq!(
            keys(b"\x1b[17~\x1b[21~\x1b[24~"),
            [Key::F(6), Key::F(10), Key::F(12)]
        );
        assert_eq!(keys(b"\x1b[1;2B\x1b[Z"), [Key::Down, Key::BackTab]);
        assert_eq!(
            keys("q\u{e9}\r\x7f\x03".as_bytes()),
            [
                Key::Char('q'),
                Key::Char('\u{e9}'),
                Key::Enter,
                Key::Backspace,
                Key::Ctrl('c')
            ]
        );
    }

    #[test]
    fn escape_is_a_key_and_a_beginning() {
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b\x1b"), [Key::Escape, Key::Escape]);
        assert_eq!(keys(b"\x1b?"), [Key::Escape, Key::Char('?')]);
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"\x1b"), []);
        assert!(parser.is_waiting());
        assert_eq!(parser.feed(b"[5"), []);
        assert_eq!(parser.feed(b"~j"), [Key::PageUp, Key::Char('j')]);
        assert!(!parser.is_waiting());
    }

    proptest::proptest! {
        #[test]
        fn anything_may_come(pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20), 0..20)) {
            let mut parser = Parser::default();
            for piece in pieces {
                let _ = parser.feed(&piece);
                proptest::prop_assert!(parser.pending.len() < LONGEST);
            }
            let _ = parser.flush();
        }
    }
}
