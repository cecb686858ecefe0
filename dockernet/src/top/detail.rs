//! The selected row's evidence and fix, in the words of a drop's block.

use jiff::SignedDuration;
use ratatui::text::{Line, Span};

use super::{
    draw::Setting,
    group::Grouping,
    paint::width,
    row::{Part, Row},
    state::State,
};
use crate::report::{Role, block, counted};

/// Below the rows: the main cause.
pub(super) fn pane(
    row: Option<&Row>,
    grouping: Grouping,
    setting: &Setting,
    columns: u16,
) -> Vec<Line<'static>> {
    let columns = usize::from(columns);
    let Some((row, part)) = row.and_then(|row| Some((row, row.main()?))) else {
        return Vec::new();
    };
    let mut title = format!("{} {}", grouping.name(), row.label);
    if row.parts.len() > 1 {
        title.push_str(&format!(
            ", the main one of {}; Enter: all",
            counted(row.parts.len() as u64, "cause")
        ));
    }
    let mut lines = vec![rule(&title, setting, columns)];
    let block = block(&part.drop, &setting.zone, false);
    lines.extend(setting.paint.wrapped(&block, columns));
    lines
}

/// As many of the pane's lines as there is room for: what happened and what mends it, before all the evidence.
pub(super) fn cut(
    mut lines: Vec<Line<'static>>,
    setting: &Setting,
    room: u16,
) -> Vec<Line<'static>> {
    let room = usize::from(room);
    if lines.len() <= room {
        return lines;
    }
    let is_fix = |line: &Line<'_>| {
        let first = line.spans.first();
        first.is_some_and(|span| span.content.starts_with("   fix"))
    };
    let fix = lines.iter().position(is_fix).unwrap_or(lines.len());
    let mut fixes = lines.split_off(fix);
    // Rule, title, ends of the journey, and the line that says that there is more.
    fixes.truncate(room.saturating_sub(4));
    lines.truncate(room.saturating_sub(fixes.len() + 1));
    lines.push(Line::from(
        setting.paint.span(Role::Dim, "   … Enter shows the rest"),
    ));
    lines.extend(fixes);
    lines
}

/// The page that Enter opens.
pub(super) fn page(
    row: Option<&Row>,
    state: &State,
    setting: &Setting,
    columns: u16,
) -> Vec<Line<'static>> {
    let paint = setting.paint;
    let columns = usize::from(columns);
    let Some(row) = row else {
        return vec![
            rule("nothing is selected", setting, columns),
            Line::from(paint.span(Role::Dim, "   Esc goes back")),
        ];
    };
    let mut lines = vec![rule(
        &format!("{}  (Esc goes back)", row.label),
        setting,
        columns,
    )];
    let first = row
        .first
        .to_zoned(setting.zone.clone())
        .strftime("%T")
        .to_string();
    let mut text = format!(
        "{} since {first}, {}/s now",
        counted(row.total, "packet"),
        super::paint::rate(row.rates.now(state.second))
    );
    if row.findings > 0 {
        text.push_str(&format!(
            "; {} that dropped nothing",
            counted(row.findings, "event")
        ));
    }
    if row.rest > 0 {
        text.push_str(&format!(
            "; {} of causes that are not listed",
            counted(row.rest, "packet")
        ));
    }
    lines.push(Line::from(paint.span(Role::Plain, &text)));
    for part in row.parts.iter().rev() {
        lines.push(Line::default());
        lines.push(Line::from(paint.span(Role::Dim, &amount(part, state))));
        lines.extend(paint.wrapped(&block(&part.drop, &setting.zone, true), columns));
    }
    lines
}

/// `1,234 packets, the last 3 s ago:`.
fn amount(part: &Part, state: &State) -> String {
    let ago = state
        .now
        .duration_since(part.last)
        .max(SignedDuration::ZERO);
    let what = if part.total == 0 && part.findings > 0 {
        counted(part.findings, "event")
    } else {
        counted(part.total, "packet")
    };
    format!("{what}, the last {} s ago:", ago.as_secs())
}

/// `── title ─────`.
fn rule(title: &str, setting: &Setting, columns: usize) -> Line<'static> {
    let paint = setting.paint;
    let dash = if paint.ascii { "-" } else { "─" };
    let title = format!(
        " {} ",
        paint.fit(title, columns.saturating_sub(6)).trim_end()
    );
    let rest = columns.saturating_sub(2 + width(&title));
    Line::from(vec![
        Span::styled(dash.repeat(2), paint.style(Role::Dim)),
        Span::raw(title),
        Span::styled(dash.repeat(rest), paint.style(Role::Dim)),
    ])
}
