//! Where in an expression the mistake is. libpcap says what is wrong, but not where.

use std::time::{Duration, Instant};

/// Looking for the place may ask name servers, as compiling does.
const PATIENCE: Duration = Duration::from_secs(1);

/// What may follow the start of a right expression so that it becomes whole.
const ENDINGS: [&str; 14] = [
    "",
    " 1",
    " 192.0.2.1",
    " tcp",
    " host 192.0.2.1",
    " src host 192.0.2.1",
    " 192.0.2.0/24",
    " 1-2",
    " 00:00:5e:00:53:01",
    " 2001:db8::1",
    " 255.255.255.0",
    "[0]",
    " proto 1",
    " host 00:00:5e:00:53:01",
];

/// The expression with a mark under the first word that cannot be right; nothing if no word stands out.
pub(super) fn mark(text: &str, words: &str, compiles: &dyn Fn(&str) -> bool) -> Option<String> {
    let at = quoted(text, words).or_else(|| first_wrong(text, compiles))?;
    let shown: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    let before = text.get(..at).map_or(0, |before| before.chars().count());
    Some(format!("  {shown}\n  {}^", " ".repeat(before)))
}

/// The word that the message quotes.
fn quoted(text: &str, words: &str) -> Option<usize> {
    let quote = words.find(['\'', '"'])?;
    let rest = words.get(quote + 1..)?;
    let word = rest.get(..rest.find(['\'', '"'])?)?;
    let is_whole = |at: &usize| {
        let inside = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        let before = text.get(..*at).and_then(|text| text.chars().next_back());
        let after = text
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        !word.starts_with(char::is_alphanumeric) || !inside(before) && !inside(after)
    };
    let mut places = text
        .match_indices(word)
        .map(|(at, _)| at)
        .filter(is_whole)
        .filter(|_| !word.is_empty());
    let first = places.next()?;
    // One of several: which one is not told.
    places.next().is_none().then_some(first)
}

/// The first word after which no ending makes the expression whole.
fn first_wrong(text: &str, compiles: &dyn Fn(&str) -> bool) -> Option<usize> {
    let began = Instant::now();
    let pieces = pieces(text);
    for (index, (_, end)) in pieces.iter().enumerate() {
        let start = text.get(..*end)?;
        let is_right = tails(start).iter().any(|tail| {
            ENDINGS
                .iter()
                .any(|ending| compiles(&format!("{start}{ending}{tail}")))
        });
        if began.elapsed() > PATIENCE {
            return None;
        }
        if !is_right {
            return pieces.get(index).map(|(start, _)| *start);
        }
    }
    // Right as far as it goes: something is missing at its end.
    Some(text.trim_end().len())
}

/// What closes the brackets that `start` has opened, with a comparison where one may be missing.
fn tails(start: &str) -> Vec<String> {
    let mut open = Vec::new();
    for char in start.chars() {
        match char {
            '(' => open.push(')'),
            '[' => open.push(']'),
            ')' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    open.reverse();
    let closed: String = open.iter().collect();
    let mut tails = vec![closed.clone()];
    tails.extend((0..=closed.len()).filter_map(|at| {
        let (before, after) = closed.split_at_checked(at)?;
        Some(format!("{before} = 0{after}"))
    }));
    tails
}

/// Words and operators: where each begins and ends.
fn pieces(text: &str) -> Vec<(usize, usize)> {
    let is_word = |char: char| char.is_alphanumeric() || "._:-/\\%*".contains(char);
    let is_operator = |char: char| "&|=<>!".contains(char);
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut kind_before = ' ';
    for (at, char) in text.char_indices() {
        let kind = match char {
            char if char.is_whitespace() => ' ',
            char if is_word(char) => 'w',
            char if is_operator(char) => 'o',
            _ => '1',
        };
        let end = at + char.len_utf8();
        match pieces.last_mut() {
            Some(last) if kind == kind_before && matches!(kind, 'w' | 'o') => last.1 = end,
            _ if kind != ' ' => pieces.push((at, end)),
            _ => {}
        }
        kind_before = kind;
    }
    pieces
}
