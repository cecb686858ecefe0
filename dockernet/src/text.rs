//! Texts that others wrote, as far as there is room for them.

/// The first bytes of a text, at most so many, and no half of a character.
pub(crate) fn start_of(text: &str, most: usize) -> &str {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole() {
        for (most, start) in [
            (0, ""),
            (1, "a"),
            (2, "a"),
            (3, "aä"),
            (4, "aäb"),
            (9, "aäb"),
        ] {
            assert_eq!(start_of("aäb", most), start, "{most}");
        }
    }
}
