//! Reads apt's own sources, to find the archive this machine is told to use.
//!
//! Both forms of sources.list(5): one line per source, and deb822 (`*.sources`).

use std::{fs, path::Path};

/// One archive and suite list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// As written; may be `mirror+file:…`.
    pub(super) uri: String,
    /// Such as `bookworm`.
    pub(super) suites: Vec<String>,
    /// Such as `main`.
    pub(super) components: Vec<String>,
    /// The keyring's path, where the source names one.
    pub(super) signed_by: Option<String>,
}

/// Every enabled binary source of this machine.
pub(super) fn of_machine() -> Vec<Source> {
    let mut found = Vec::new();
    if let Ok(text) = fs::read_to_string("/etc/apt/sources.list") {
        found.extend(parse_lines(&text));
    }
    let folder = fs::read_dir("/etc/apt/sources.list.d");
    let mut files: Vec<_> = folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|name| name.to_str()) {
            Some("list") => found.extend(parse_lines(&text)),
            Some("sources") => found.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    found
}

/// Debian's main archive among `sources`: it also holds sid. `codename` is the release's, such as `bookworm`.
pub(super) fn archive<'a>(sources: &'a [Source], codename: &str) -> Option<&'a Source> {
    let is_main = |source: &&Source| source.components.iter().any(|name| name == "main");
    let has = |source: &&Source, wanted: &str| source.suites.iter().any(|suite| suite == wanted);
    let mut known = [codename, "stable", "testing", "unstable", "sid"].into_iter();
    known.find_map(|suite| {
        sources
            .iter()
            .filter(is_main)
            .find(|source| has(source, suite))
    })
}

/// Debian's archive of security updates among `sources`.
pub(super) fn security(sources: &[Source]) -> Option<&Source> {
    sources.iter().find(|source| {
        source
            .suites
            .iter()
            .any(|suite| suite.ends_with("-security"))
            && source.components.iter().any(|name| name == "main")
    })
}

/// The keyring to check the archive with: the source's own, else Debian's.
pub(super) fn keyring(source: &Source) -> &str {
    source
        .signed_by
        .as_deref()
        .filter(|path| Path::new(path).is_file())
        .unwrap_or("/usr/share/keyrings/debian-archive-keyring.gpg")
}

/// `deb [option=value …] URI SUITE COMPONENT…`
fn parse_lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None; // deb-src
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

/// Paragraphs of `Key: value`, continued on lines that begin with a space.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            found.extend(paragraph(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

fn paragraph(fields: &[(String, String)]) -> Vec<Source> {
    let value = |key: &str| {
        fields
            .iter()
            .find(|(name, _)| name == key)
            .map_or("", |(_, value)| value.as_str())
    };
    let words =
        |key: &str| -> Vec<String> { value(key).split_whitespace().map(str::to_owned).collect() };
    let disabled = matches!(
        value("enabled"),
        "no" | "false" | "0" | "off" | "without" | "disable"
    );
    if disabled || !words("types").iter().any(|name| name == "deb") {
        return Vec::new();
    }
    // The value may be a path or a whole key: only the path is of use here.
    let signed_by = Some(value("signed-by").trim())
        .filter(|path| path.starts_with('/') && !path.contains('\n'))
        .map(str::to_owned);
    words("uris")
        .into_iter()
        .map(|uri| Source {
            uri,
            suites: words("suites"),
            components: words("components"),
            signed_by: signed_by.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn one_line_sources() {
        let text = "# comment\n\
            deb-src http://a.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main contrib # why\n\
            deb http://s.example/debian-security bookworm-security main\n\
            deb\tmirror+file:///etc/apt/mirrors/debian.list\tbookworm main\n\
            deb http://broken.example\n";
        let found = parse_lines(text);
        assert_eq!(found.len(), 3);
        let first = found.first().unwrap();
        assert_eq!(first.uri, "http://a.example/debian");
        assert_eq!(first.components, ["main", "contrib"]);
        assert_eq!(first.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(archive(&found, "bookworm"), Some(first));
        assert_eq!(security(&found), found.get(1));
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
            Types: deb\nURIs: http://a.example/debian\n http://b.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
            Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
            Types: deb\nURIs: http://n.example\nSuites: nodistro\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let found = parse_deb822(text);
        assert_eq!(found.len(), 4);
        let main = archive(&found, "bookworm").unwrap();
        assert_eq!(main.uri, "http://a.example/debian");
        assert_eq!(main.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(found.last().unwrap().signed_by, None);
    }

    #[test]
    fn no_archive_of_this_release() {
        let found = parse_lines(
            "deb http://x.example nodistro main\ndeb http://y.example bookworm contrib",
        );
        assert_eq!(archive(&found, "bookworm"), None);
        assert!(parse_deb822("no colon here\n\n:\n \n").is_empty());
    }
}
