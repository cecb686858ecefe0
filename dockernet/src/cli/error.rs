//! How errors reach the user: one sentence, no backtrace, the right exit status.

use std::fmt;

use super::Exit;

/// Bad usage found after parsing: a value that does not exist or makes no sense. Exit status 2.
///
/// It travels inside an [`anyhow::Error`] where that is handier; [`report`] finds it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// [`Usage`] of a text in which the mistake has a place: lines below the sentence show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The sentence.
    pub usage: Usage,
    /// The text, a mark under the place, and what else helps.
    pub below: String,
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage.fmt(f)
    }
}

impl std::error::Error for Marked {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.usage)
    }
}

/// Why a command line is not run: help was asked for, or it is wrong.
#[derive(Debug)]
pub enum Refusal {
    /// From clap: `--help`, `--version`, or a mistake with its hint.
    Clap(Box<clap::Error>),
    /// A value that does not hold.
    Usage(Usage),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Clap(Box::new(error))
    }
}

impl From<Usage> for Refusal {
    fn from(error: Usage) -> Self {
        Self::Usage(error)
    }
}

impl Refusal {
    /// Prints it where it belongs (help and version on stdout, mistakes on stderr) and gives the exit status.
    #[must_use]
    pub fn report(&self) -> Exit {
        match self {
            Self::Clap(error) if error.use_stderr() => {
                let styled = error.render();
                let text = if color() {
                    styled.ansi().to_string()
                } else {
                    styled.to_string()
                };
                // All errors begin alike, whoever found them.
                eprintln(text.replacen("error:", "dockernet-trace:", 1).trim_end());
                Exit::Usage
            }
            Self::Clap(error) => {
                // Nobody is left to tell when this fails: `dockernet-trace --help | head -1`.
                let _ = error.print();
                Exit::Done
            }
            Self::Usage(usage) => {
                eprintln(&sentence(&anyhow::Error::new(usage.clone())));
                eprintln("For more information, try '--help'.");
                Exit::Usage
            }
        }
    }
}

/// Prints an error on stderr as one line (and what [`Marked`] shows below) and gives the exit status: 2 for a [`Usage`]
/// inside, else 1.
#[must_use]
pub fn report(error: &anyhow::Error) -> Exit {
    eprintln(&sentence(error));
    if let Some(marked) = error.downcast_ref::<Marked>() {
        eprintln(&marked.below);
    }
    if error.chain().any(<dyn std::error::Error>::is::<Usage>) {
        Exit::Usage
    } else {
        Exit::Failure
    }
}

/// The error and what caused it as one line: `dockernet-trace: reading A: opening B: no such file`.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let part: String = cause
            .to_string()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        // Many errors repeat their source in their own text.
        if !part.is_empty() && !parts.last().is_some_and(|last| last.ends_with(&part)) {
            parts.push(part);
        }
    }
    format!("dockernet-trace: {}", parts.join(": "))
}

fn color() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `eprintln!` panics when stderr is closed; this does not.
fn eprintln(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn chain_becomes_one_line() {
        let error = anyhow!("permission denied (os error 13)")
            .context("opening /sys/kernel/btf/vmlinux")
            .context("reading the kernel's types");
        assert_eq!(
            sentence(&error),
            "dockernet-trace: reading the kernel's types: opening /sys/kernel/btf/vmlinux: permission denied (os error 13)"
        );
    }

    #[test]
    fn repeated_source_and_newlines_are_folded() {
        let error = anyhow!("inner\nline").context("outer: inner line");
        assert_eq!(sentence(&error), "dockernet-trace: outer: inner line");
    }

    #[test]
    fn usage_is_found_anywhere_in_the_chain() {
        let error: anyhow::Error = Err::<(), _>(Usage("unknown reason".into()))
            .context("starting")
            .map_or_else(|error| error, |()| anyhow!(""));
        assert_eq!(report(&error), Exit::Usage);
        assert_eq!(report(&anyhow!("x")), Exit::Failure);
    }
}
