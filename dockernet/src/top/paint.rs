//! How things look: colours if they are wanted, ASCII where nothing else is understood, text that fits.

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use crate::report::{self, Role, ascii, cleaned};

/// Eight heights, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_BARS: [char; 8] = ['.', ':', '-', '=', '+', '*', '%', '#'];

/// What the terminal can do and the user wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) color: bool,
    pub(super) ascii: bool,
}

impl Paint {
    pub(super) fn style(self, role: Role) -> Style {
        let color = |color| Style::new().fg(color);
        if !self.color {
            return Style::new();
        }
        match role {
            Role::Plain => Style::new(),
            Role::Dim => Style::new().add_modifier(Modifier::DIM),
            Role::Confirmed => color(Color::Red).add_modifier(Modifier::BOLD),
            Role::Likely => color(Color::Yellow).add_modifier(Modifier::BOLD),
            Role::Unknown => color(Color::Magenta).add_modifier(Modifier::BOLD),
            Role::Name => color(Color::Cyan),
            Role::Fix => color(Color::Green),
            Role::Warning => color(Color::Yellow),
        }
    }

    /// Text that nobody has to be believed for: cleaned, and in ASCII where that is needed.
    pub(super) fn text(self, text: &str) -> String {
        let text = cleaned(text);
        if self.ascii {
            ascii(&text)
        } else {
            text.replace('\u{a0}', " ")
        }
    }

    pub(super) fn span(self, role: Role, text: &str) -> Span<'static> {
        Span::styled(self.text(text), self.style(role))
    }

    /// Exactly so many columns: cut with a mark at its end, or filled up.
    pub(super) fn fit(self, text: &str, columns: usize) -> String {
        let text = self.text(text);
        let mut fitted = String::new();
        let mut used = 0;
        let is_cut = width(&text) > columns;
        let room = if is_cut {
            columns.saturating_sub(1)
        } else {
            columns
        };
        for c in text.chars() {
            let wide = width(c.encode_utf8(&mut [0; 4]));
            if used + wide > room {
                break;
            }
            used += wide;
            fitted.push(c);
        }
        if is_cut && columns > 0 {
            fitted.push(if self.ascii { '~' } else { '…' });
            used += 1;
        }
        fitted.push_str(&" ".repeat(columns.saturating_sub(used)));
        fitted
    }

    /// The same, filled up in front.
    pub(super) fn right(self, text: &str, columns: usize) -> String {
        let fitted = self.fit(text, columns);
        let kept = fitted.trim_end();
        format!("{}{kept}", " ".repeat(columns.saturating_sub(width(kept))))
    }

    /// One bar a column, the highest being the largest number. A second without packets is a gap.
    pub(super) fn bars(self, numbers: &[u64]) -> String {
        let bars = if self.ascii { ASCII_BARS } else { BARS };
        let most = numbers.iter().copied().max().unwrap_or(0).max(1);
        numbers
            .iter()
            .map(|&number| {
                let share = u128::from(number) * 8 / u128::from(most);
                match usize::try_from(share).unwrap_or(8) {
                    _ if number == 0 => ' ',
                    share => bars[share.saturating_sub(1).min(7)],
                }
            })
            .collect()
    }

    /// Lines of the report's, wrapped.
    pub(super) fn wrapped(self, lines: &[report::Line], columns: usize) -> Vec<Line<'static>> {
        lines
            .iter()
            .flat_map(|line| line.wrapped(columns, self.ascii))
            .map(|pieces| {
                let spans = pieces
                    .into_iter()
                    .map(|(role, text)| Span::styled(text, self.style(role)));
                Line::from_iter(spans)
            })
            .collect()
    }
}

pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// `0`, `0.3`, `48,213`, `1.2 M`.
pub(super) fn rate(rate: f64) -> String {
    if rate <= 0.0 {
        "0".to_owned()
    } else if rate < 9.95 {
        format!("{rate:.1}")
    } else if rate < 999_999.5 {
        // In range: less than a million.
        report::thousands(rate.round() as u64)
    } else {
        format!("{:.2} M", rate / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: Paint = Paint {
        color: false,
        ascii: false,
    };
    const ASCII: Paint = Paint {
        color: false,
        ascii: true,
    };

    #[test]
    fn text_fits_exactly() {
        assert_eq!(UTF8.fit("web", 5), "web  ");
        assert_eq!(UTF8.fit("interface", 5), "inte…");
        assert_eq!(ASCII.fit("a → b", 5), "a ->~");
        assert_eq!(UTF8.fit("容器容器", 5), "容器…");
        assert_eq!(UTF8.fit("容器容器", 4), "容… ");
        assert_eq!(UTF8.right("12", 5), "   12");
    }

    #[test]
    fn bars_have_gaps_and_a_top() {
        assert_eq!(UTF8.bars(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(ASCII.bars(&[0, 1, 50, 100]), " .=#");
        assert_eq!(UTF8.bars(&[0, u64::MAX]), " █");
    }

    #[test]
    fn rates_are_short() {
        let shown = [0.0, 0.333, 9.94, 48_213.2, 999_999.9, 1_234_567.0].map(rate);
        assert_eq!(shown, ["0", "0.3", "9.9", "48,213", "1.00 M", "1.23 M"]);
    }
}
