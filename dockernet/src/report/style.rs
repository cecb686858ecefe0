//! How a line of text looks: roles instead of colours, one place that cleans, colours and wraps.

use std::{env, io::IsTerminal};

use anstyle::{AnsiColor, Effects, Style};
use textwrap::{WordSeparator, WordSplitter};

use super::clean;
use crate::cli::options::{ColorWhen, Options};

/// Columns below which wrapping would only make things worse.
const NARROWEST: usize = 30;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Time, labels, what matters least.
    Dim,
    /// A cause that is confirmed.
    Confirmed,
    /// A cause that is likely.
    Likely,
    /// No cause.
    Unknown,
    /// A container, the host, an address.
    Name,
    /// What to run.
    Fix,
    /// Something wrong with the run itself.
    Warning,
}

impl Role {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Dim => Style::new().effects(Effects::DIMMED),
            Self::Confirmed => color(AnsiColor::Red).bold(),
            Self::Likely => color(AnsiColor::Yellow).bold(),
            Self::Unknown => color(AnsiColor::Magenta).bold(),
            Self::Name => color(AnsiColor::Cyan),
            Self::Fix => color(AnsiColor::Green),
            Self::Warning => color(AnsiColor::Yellow),
        }
    }
}

/// How wide lines may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As long as they are: files and pipes.
    Unlimited,
    /// This many columns.
    Fixed(usize),
    /// The terminal's on stdout, asked for each line as it may be resized.
    Stdout,
    /// The terminal's on stderr.
    Stderr,
}

impl Width {
    /// The number of columns now; none where nothing limits it.
    pub(crate) fn columns(self) -> Option<usize> {
        let size = match self {
            Self::Unlimited => return None,
            Self::Fixed(columns) => return Some(columns),
            Self::Stdout => terminal_size::terminal_size_of(std::io::stdout()),
            Self::Stderr => terminal_size::terminal_size_of(std::io::stderr()),
        };
        size.map(|(width, _)| usize::from(width.0))
    }
}

/// How text looks on one of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// Nothing but ASCII.
    pub ascii: bool,
    /// Where lines are wrapped.
    pub width: Width,
}

impl Look {
    /// What suits an output, as the options and the environment wish.
    pub(crate) fn of(options: &Options, output: &impl IsTerminal, width: Width) -> Self {
        let color = match options.color {
            ColorWhen::Auto => None,
            ColorWhen::Always => Some(true),
            ColorWhen::Never => Some(false),
        };
        Self::detect(output, width, color, &|name| env::var(name).ok())
    }

    /// What suits an output: colour and wrapping on a terminal only. `color`: the user's wish, if any.
    /// `variable` reads the environment.
    pub fn detect(
        output: &impl IsTerminal,
        width: Width,
        color: Option<bool>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let terminal = output.is_terminal();
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        Self {
            color: color.unwrap_or(terminal && !set("NO_COLOR") && !dumb),
            ascii: !utf8(variable),
            width: if terminal { width } else { Width::Unlimited },
        }
    }
}

/// Whether the locale's character set is UTF-8, by the variables in POSIX's order.
fn utf8(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty())
        .is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
}

/// A line under construction. Text is cleaned when it is rendered, so anything may be pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    spans: Vec<(Role, String)>,
    indent: usize,
    whole: bool,
}

impl Line {
    /// A line whose continuation lines are indented by so many columns.
    pub(crate) fn hanging(indent: usize) -> Self {
        Self {
            indent,
            ..Self::default()
        }
    }

    /// Never wrapped: a command must survive copy and paste.
    pub(crate) fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    pub(crate) fn push(&mut self, role: Role, text: impl Into<String>) -> &mut Self {
        self.spans.push((role, text.into()));
        self
    }

    pub(crate) fn plain(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Role::Plain, text)
    }

    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.spans.extend(other.spans);
        self
    }

    /// Its text without colours, cleaned.
    pub(crate) fn text(&self) -> String {
        self.spans
            .iter()
            .map(|(_, text)| clean::line(text))
            .collect()
    }

    /// Columns it takes.
    pub(crate) fn columns(&self) -> usize {
        textwrap::core::display_width(&self.text())
    }

    /// Its text as it stands on lines of so many columns, each piece with its role. What `render` never wraps is cut where
    /// the line ends: on a screen the rest would not be seen at all.
    pub(crate) fn wrapped(&self, columns: usize, ascii: bool) -> Vec<Vec<(Role, String)>> {
        let look = Look {
            color: false,
            ascii,
            width: Width::Fixed(columns),
        };
        let mut roles = self.spans.iter().flat_map(|(role, text)| {
            let text = clean::line(text);
            let text = if ascii {
                clean::ascii(&text)
            } else {
                text.replace('\u{a0}', " ")
            };
            text.chars().map(|c| (*role, c)).collect::<Vec<_>>()
        });
        let mut lines = Vec::new();
        for (number, text) in self.render(&look).lines().enumerate() {
            let mut line: Vec<(Role, String)> = Vec::new();
            let mut push = |role, c| match line.last_mut() {
                Some((last, text)) if *last == role => text.push(c),
                _ => line.push((role, String::from(c))),
            };
            let indent = if number > 0 { self.indent } else { 0 };
            for (place, c) in text.chars().enumerate() {
                let role = if place < indent {
                    Role::Plain
                } else {
                    // Where it was wrapped, spaces were left out.
                    roles
                        .find(|(_, of)| *of == c)
                        .map_or(Role::Plain, |(role, _)| role)
                };
                push(role, c);
            }
            lines.push(line);
        }
        if self.whole {
            lines = lines
                .into_iter()
                .flat_map(|line| cut(line, columns))
                .collect();
        }
        lines
    }

    /// With a final line feed.
    pub(crate) fn render(&self, look: &Look) -> String {
        let mut line = String::new();
        for (role, text) in &self.spans {
            let text = clean::line(text);
            let text = if look.ascii {
                clean::ascii(&text).into()
            } else {
                text
            };
            if look.color && *role != Role::Plain && !text.is_empty() {
                let style = role.style();
                line.push_str(&format!("{style}{text}{style:#}"));
            } else {
                line.push_str(&text);
            }
        }
        let columns = look.width.columns().filter(|_| !self.whole);
        let mut rendered = match columns {
            Some(columns) if columns >= NARROWEST => {
                let indent = " ".repeat(self.indent);
                let options = textwrap::Options::new(columns)
                    .subsequent_indent(&indent)
                    .break_words(false)
                    .word_separator(WordSeparator::AsciiSpace)
                    .word_splitter(WordSplitter::NoHyphenation);
                textwrap::fill(&line, options)
            }
            _ => line,
        };
        // What must stay together was joined by no-break spaces until here.
        if rendered.contains('\u{a0}') {
            rendered = rendered.replace('\u{a0}', " ");
        }
        rendered.push('\n');
        rendered
    }
}

/// Cuts a line into lines of so many columns.
fn cut(line: Vec<(Role, String)>, columns: usize) -> Vec<Vec<(Role, String)>> {
    let mut lines = vec![Vec::<(Role, String)>::new()];
    let mut used = 0;
    for (role, text) in line {
        for c in text.chars() {
            let width = textwrap::core::display_width(c.encode_utf8(&mut [0; 4]));
            if used + width > columns.max(1) {
                lines.push(Vec::new());
                used = 0;
            }
            used += width;
            if let Some(line) = lines.last_mut() {
                match line.last_mut() {
                    Some((last, text)) if *last == role => text.push(c),
                    _ => line.push((role, String::from(c))),
                }
            }
        }
    }
    lines
}

/// `48213` as `48,213`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 drop`, `2 drops`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 48_213, 1_000_000].map(thousands),
            ["0", "999", "1,000", "48,213", "1,000,000"]
        );
        assert_eq!(counted(1, "drop"), "1 drop");
        assert_eq!(counted(0, "drop"), "0 drops");
    }

    #[test]
    fn locale_decides_in_posix_order() {
        let with = |set: &'static [(&str, &str)]| {
            utf8(&|name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(&[("LANG", "de_DE.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LANG", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!with(&[]));
    }

    #[test]
    fn hostile_text_cannot_colour_or_break_lines() {
        let look = Look {
            color: true,
            ascii: false,
            width: Width::Unlimited,
        };
        let mut line = Line::default();
        line.push(Role::Name, "evil\u{1b}[31m\nname").plain(" x");
        assert_eq!(line.render(&look), "\u{1b}[36mevil[31mname\u{1b}[0m x\n");
    }

    #[test]
    fn wrapped_pieces_keep_their_roles() {
        let mut line = Line::hanging(4);
        line.push(Role::Dim, "one two ")
            .plain("three four five six ")
            .push(Role::Fix, "seven eight");
        let joined = |columns| -> Vec<String> {
            let lines = line.wrapped(columns, false);
            let text = |line: Vec<(Role, String)>| line.into_iter().map(|(_, text)| text).collect();
            lines.into_iter().map(text).collect()
        };
        assert_eq!(
            joined(30),
            ["one two three four five six", "    seven eight"]
        );
        let lines = line.wrapped(30, false);
        assert_eq!(lines[0][0], (Role::Dim, "one two ".to_owned()));
        assert_eq!(lines[1][1], (Role::Fix, "seven eight".to_owned()));
        let mut line = Line::default().whole();
        line.push(Role::Fix, "0123456789".repeat(4));
        let lines = line.wrapped(30, false);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], [(Role::Fix, "0123456789".to_owned())]);
    }

    #[test]
    fn wrapping_hangs_and_commands_stay_whole() {
        let look = Look {
            color: false,
            ascii: false,
            width: Width::Fixed(30),
        };
        let mut line = Line::hanging(4);
        line.plain("one two three four five six seven eight");
        assert_eq!(
            line.render(&look),
            "one two three four five six\n    seven eight\n"
        );
        let mut line = Line::hanging(4).whole();
        line.plain("one two three four five six seven eight");
        assert_eq!(
            line.render(&look),
            "one two three four five six seven eight\n"
        );
    }
}
