//! The whole picture: head, rows, the selected row's explanation, keys.

use jiff::tz::TimeZone;
use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    detail, head, help, list,
    order::listed,
    paint::{Paint, width},
    state::State,
    ui::{Page, Ui},
};
use crate::report::Role;

/// Smaller terminals cannot show anything of use.
const SMALLEST: (u16, u16) = (40, 10);
/// Lines from which on the explanation stands below the rows.
const WITH_PANE: u16 = 18;
/// The keys at the bottom, as htop shows them.
const KEYS: [(&str, &str); 7] = [
    ("F1", "Help"),
    ("F4", "Filter"),
    ("F5", "Pause"),
    ("F6", "Sort"),
    ("F10", "Quit"),
    ("Tab", "Group"),
    ("Enter", "Why"),
];

/// What does not change during a run.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) paint: Paint,
    pub(super) zone: TimeZone,
    /// What being out of scope means.
    pub(super) outside: &'static str,
    /// Whether only some drops were asked for.
    pub(super) has_filter: bool,
}

/// Draws everything, and notes in `ui` what there was room for.
pub(super) fn screen(
    frame: &mut Frame<'_>,
    state: &State,
    ui: &mut Ui,
    setting: &Setting,
    is_paused: bool,
) {
    let area = frame.area();
    let paint = setting.paint;
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!(
            "top needs {}x{}; this is {}x{}. q quits",
            SMALLEST.0, SMALLEST.1, area.width, area.height
        );
        let lines: Vec<Line<'_>> = chunks(&text, area.width.into())
            .into_iter()
            .map(Line::from)
            .collect();
        frame.render_widget(Paragraph::new(lines), area);
        return;
    }
    let [body, bottom] = split(area, area.height - 1);
    if let Page::Help(line) = ui.page {
        page(
            frame,
            body,
            &help::lines(state, setting, body.width),
            line,
            ui,
        );
    } else if let Page::Detail(line) = ui.page {
        let (rows, _) = listed(state, ui.grouping, ui.sort, &ui.filter);
        let place = ui.place(rows.iter().map(|row| row.key.as_str()));
        let lines = detail::page(rows.get(place).copied(), state, setting, body.width);
        page(frame, body, &lines, line, ui);
    } else {
        let lines = head::lines(state, ui, setting, body.width, is_paused);
        let [head, rest] = split(body, u16::try_from(lines.len()).unwrap_or(u16::MAX));
        frame.render_widget(Paragraph::new(lines), head);
        let (listed, _) = listed(state, ui.grouping, ui.sort, &ui.filter);
        let pane = if area.height >= WITH_PANE {
            let place = ui.place(listed.iter().map(|row| row.key.as_str()));
            let selected = listed.get(place).copied();
            detail::pane(selected, ui.grouping, setting, area.width)
        } else {
            Vec::new()
        };
        let height = pane_height(pane.len(), listed.len(), rest.height);
        let [rows, below] = split(rest, rest.height - height);
        list::draw(frame, rows, state, ui, setting);
        let pane = detail::cut(pane, setting, height);
        frame.render_widget(Paragraph::new(pane), below);
    }
    let line = match &ui.typing {
        Some(text) => typing(text, paint),
        None => keys(bottom.width.into()),
    };
    frame.render_widget(Paragraph::new(line), bottom);
}

/// The explanation has a share of the lines, and what the rows leave.
fn pane_height(wanted: usize, rows: usize, all: u16) -> u16 {
    if wanted == 0 {
        return 0;
    }
    let share = all * 45 / 100;
    let free = usize::from(all).saturating_sub(rows + 1);
    let free = u16::try_from(free.min(wanted)).unwrap_or(share);
    share.max(free).min(all.saturating_sub(2))
}

/// A page of text that may be longer than the screen.
fn page(frame: &mut Frame<'_>, area: Rect, lines: &[Line<'static>], from: usize, ui: &mut Ui) {
    let room = usize::from(area.height);
    ui.room = room;
    ui.scrollable = lines.len().saturating_sub(room);
    let from = from.min(ui.scrollable);
    let shown: Vec<Line<'static>> = lines.iter().skip(from).take(room).cloned().collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn typing(text: &str, paint: Paint) -> Line<'static> {
    Line::from(vec![
        Span::raw(format!("/{}", paint.text(text))),
        Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
        paint.span(Role::Dim, "  Enter: these only; Esc: leave it"),
    ])
}

fn keys(columns: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in KEYS {
        used += width(key) + width(what) + 2;
        if used > columns {
            break;
        }
        spans.push(Span::raw(key));
        spans.push(Span::styled(
            format!("{what} "),
            Style::new().add_modifier(Modifier::REVERSED),
        ));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// The first `height` lines, and the rest.
fn split(area: Rect, height: u16) -> [Rect; 2] {
    let height = height.min(area.height);
    [
        Rect { height, ..area },
        Rect {
            y: area.y + height,
            height: area.height - height,
            ..area
        },
    ]
}

fn chunks(text: &str, columns: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(columns.max(1))
        .map(|chunk| chunk.iter().collect())
        .collect()
}
