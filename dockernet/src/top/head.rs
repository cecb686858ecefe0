//! The lines above the rows: what runs, the ledger, what happens now, what is new, how the rows are chosen.

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{
    draw::Setting,
    group::Grouping,
    order::listed,
    paint::{rate, width},
    rates::SECONDS,
    state::State,
    ui::Ui,
};
use crate::report::{self, Role, counted, ledger_line};

/// How long what is new is highlighted.
const NEW: u64 = 10;

pub(super) fn lines(
    state: &State,
    ui: &Ui,
    setting: &Setting,
    columns: u16,
    is_paused: bool,
) -> Vec<Line<'static>> {
    let columns = usize::from(columns);
    let mut lines = vec![title(state, setting, columns, is_paused)];
    lines.extend(ledger(state, setting, columns));
    lines.push(now(state, setting, columns));
    lines.push(groups(state, ui, setting, columns));
    lines
}

/// `dockernet-trace top  12:01:05  kernel 6.18.44  docker 28.5.2 (12 containers)`.
fn title(state: &State, setting: &Setting, columns: usize, is_paused: bool) -> Line<'static> {
    let paint = setting.paint;
    let time = state
        .now
        .to_zoned(setting.zone.clone())
        .strftime("%T")
        .to_string();
    let docker = match &state.ready.docker {
        Some(version) => format!("docker {version}"),
        None => "docker does not answer".to_owned(),
    };
    let notes = match state.notes.len() {
        0 => String::new(),
        number => format!("{} (?)  ", counted(number as u64, "note")),
    };
    let text = format!(
        "dockernet-trace top  {time}  {notes}kernel {}  {docker} ({})",
        state.ready.kernel,
        counted(state.ready.containers as u64, "container")
    );
    let paused = if is_paused {
        " PAUSED: space goes on "
    } else {
        ""
    };
    let room = columns.saturating_sub(width(paused));
    Line::from(vec![
        Span::raw(paint.fit(&text, room)),
        Span::styled(paused, Style::new().add_modifier(Modifier::REVERSED)),
    ])
}

fn ledger(state: &State, setting: &Setting, columns: usize) -> Vec<Line<'static>> {
    let mut ledger = state.ledger();
    ledger.seconds = state.second as f64;
    let mut text = ledger_line(&ledger, setting.outside).text();
    if state.findings > 0 {
        text.push_str(&format!(
            "; {} that dropped nothing",
            counted(state.findings, "event")
        ));
    }
    let role = if ledger.lost > 0 {
        Role::Warning
    } else {
        Role::Plain
    };
    let mut line = report::Line::hanging(3);
    line.push(role, text);
    setting.paint.wrapped(&[line], columns)
}

/// `now 48,213/s  ▁▂▅█   new 12:01:03 interface-forwarding-disabled at web`.
fn now(state: &State, setting: &Setting, columns: usize) -> Line<'static> {
    let paint = setting.paint;
    let rate = rate(state.rates.now(state.second));
    let wide = (columns / 4).clamp(8, SECONDS);
    let bars = paint.bars(&state.rates.last(state.second, wide));
    let start = format!("now {rate}/s {bars} ");
    let mut spans = vec![Span::raw(start.clone())];
    if let Some(newest) = &state.newest {
        let time = newest.time.to_zoned(setting.zone.clone()).strftime("%T");
        let text = format!("new {time} {} at {}", newest.cause, newest.whose);
        let role = if state.second - newest.second < NEW {
            Role::Warning
        } else {
            Role::Plain
        };
        let room = columns.saturating_sub(width(&start));
        spans.push(Span::styled(paint.fit(&text, room), paint.style(role)));
    }
    Line::from(spans)
}

/// ` 1 container  2 cause  3 network  4 flow   by rate  /web/ hides 3`.
fn groups(state: &State, ui: &Ui, setting: &Setting, columns: usize) -> Line<'static> {
    let paint = setting.paint;
    let mut spans = Vec::new();
    let mut used = 0;
    for (place, grouping) in Grouping::ALL.into_iter().enumerate() {
        let text = format!(" {} {} ", place + 1, grouping.name());
        used += width(&text);
        let style = if grouping == ui.grouping {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.push(Span::styled(text, style));
    }
    let mut text = format!("  by {}", ui.sort.name());
    if !ui.filter.is_empty() {
        let (_, hidden) = listed(state, ui.grouping, ui.sort, &ui.filter);
        text.push_str(&format!("  /{}/ hides {hidden}", ui.filter));
    }
    let gone = state.table(ui.grouping);
    if gone.gone > 0 {
        text.push_str(&format!(
            "  {} let go: {}",
            counted(gone.gone, "quiet row"),
            counted(gone.gone_packets, "packet")
        ));
    }
    let room = columns.saturating_sub(used);
    spans.push(Span::raw(paint.fit(&text, room)));
    Line::from(spans)
}
