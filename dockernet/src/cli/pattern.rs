//! Names, ids and globs.

use std::{fmt, str::FromStr};

use fast_glob::{glob_match, validate};

use crate::model::ContainerRef;

/// Shortest id prefix that is taken for one: with fewer digits, names such as `db` would match ids.
const SHORTEST_ID: usize = 4;

/// A name, or a glob (`web-*`, `{web,api}`, `[ab]?`). It must match the whole name.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    is_glob: bool,
}

impl Pattern {
    /// What the user wrote.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name, if it is one and not a glob.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        (!self.is_glob).then_some(&*self.text)
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_glob {
            glob_match(&self.text, name)
        } else {
            self.text == name
        }
    }

    /// Whether this names a container: by name, or by the start of its id (4 hexadecimal digits or more).
    /// A full id matches a shortened one.
    #[must_use]
    pub fn matches_container(&self, id: &str, name: &str) -> bool {
        self.matches(name)
            || self.literal().is_some_and(|text| {
                text.len() >= SHORTEST_ID
                    && !id.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && (id.starts_with(text) || (id.len() >= 12 && text.starts_with(id)))
            })
    }

    /// Whether this names a container or one that shares its network namespace.
    #[must_use]
    pub fn matches_ref(&self, container: &ContainerRef) -> bool {
        self.matches_container(&container.id, &container.name)
            || container.shared_with.iter().any(|name| self.matches(name))
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `docker inspect` shows names with a slash in front.
        let text = text.trim().trim_start_matches('/');
        if text.is_empty() {
            return Err("expected a name or a glob, found nothing".to_owned());
        }
        // To globs it means "all but".
        if text.starts_with('!') {
            return Err("no name begins with `!`".to_owned());
        }
        let is_glob = text.contains(['*', '?', '[', '{']);
        if is_glob {
            validate(text).map_err(|error| format!("this glob is malformed: {error}"))?;
        }
        Ok(Self {
            text: text.to_owned(),
            is_glob,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn names_ids_and_globs() {
        assert!(pattern("web").matches("web"));
        assert!(!pattern("web").matches("web-1"));
        assert!(pattern("web*").matches("web-1"));
        assert!(pattern("{web,api}").matches("api"));
        assert!(pattern("/web").matches("web"));
        assert!(pattern("2df2").matches_container("2df2a7aa8382", "web"));
        assert!(pattern("2df2a7aa8382ffff").matches_container("2df2a7aa8382", "web"));
        assert!(!pattern("2d").matches_container("2df2a7aa8382", "web"));
        assert!(!pattern("2dff").matches_container("2df2a7aa8382", "web"));
        assert!(!pattern("face").matches_container("", "web"));
    }

    #[test]
    fn malformed_globs_are_refused() {
        assert!("".parse::<Pattern>().is_err());
        assert!("[a".parse::<Pattern>().unwrap_err().contains("malformed"));
        for text in ["{a", "[{a}", "[]a", "[!]a", "!web", "!web*", "a*\\"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        for text in ["[{]a", "{a,[b}]}", "a\\[*", "{a,{b,c}}*"] {
            assert!(text.parse::<Pattern>().is_ok(), "{text}");
        }
    }
}
