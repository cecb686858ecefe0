//! The nearest name to one that does not exist.

use super::Usage;

/// The candidate most like `word`, if one is near enough that it may have been meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    candidates
        .into_iter()
        .map(|name| {
            let name_lower = name.to_lowercase();
            let mut score = strsim::jaro_winkler(&wanted, &name_lower);
            // One slip in a short name, which Jaro-Winkler judges harshly: `tpc`.
            if wanted.len() >= 3 && strsim::osa_distance(&wanted, &name_lower) == 1 {
                score = score.max(0.85);
            }
            // A part of the name that was remembered: `user-drop` for `docker-user-drop`.
            if wanted.len() >= 3 && name_lower.contains(&wanted) {
                score = score.max(0.9);
            }
            (score, name)
        })
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// `; did you mean 'web'?`, or nothing.
#[must_use]
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// `word` if it is one of `names`.
///
/// # Errors
/// Says that it is not, and which is nearest. `what` is the kind of thing: `cause`, `reason`.
pub fn one_of<'a, S: AsRef<str>>(what: &str, word: &str, names: &'a [S]) -> Result<&'a str, Usage> {
    names
        .iter()
        .map(AsRef::as_ref)
        .find(|name| *name == word)
        .ok_or_else(|| {
            Usage(format!(
                "unknown {what} '{word}'{}",
                hint(word, names.iter().map(AsRef::as_ref))
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSES: &[&str] = &[
        "docker-user-drop",
        "forward-drop",
        "host-input-drop",
        "interface-forwarding-disabled",
        "no-route",
        "unexplained",
    ];

    #[test]
    fn typos_and_parts_find_their_name() {
        assert_eq!(
            nearest("docker-user-dorp", CAUSES.iter().copied()),
            Some("docker-user-drop")
        );
        assert_eq!(
            nearest("user-drop", CAUSES.iter().copied()),
            Some("docker-user-drop")
        );
        assert_eq!(
            nearest("NO-ROUTE", CAUSES.iter().copied()),
            Some("no-route")
        );
        assert_eq!(
            nearest("forwarding-disabled", CAUSES.iter().copied()),
            Some("interface-forwarding-disabled")
        );
        assert_eq!(nearest("xyzzy", CAUSES.iter().copied()), None);
        assert_eq!(nearest("", CAUSES.iter().copied()), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn unknown_names_are_refused_with_a_hint() {
        assert_eq!(one_of("cause", "no-route", CAUSES), Ok("no-route"));
        assert_eq!(
            one_of("cause", "no-rout", CAUSES),
            Err(Usage(
                "unknown cause 'no-rout'; did you mean 'no-route'?".into()
            ))
        );
        assert_eq!(
            one_of("cause", "xyzzy", CAUSES),
            Err(Usage("unknown cause 'xyzzy'".into()))
        );
    }
}
