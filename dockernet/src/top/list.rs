//! The rows.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    draw::Setting,
    group::Grouping,
    order::listed,
    paint::{Paint, rate, width},
    rates::SECONDS,
    row::Row,
    state::State,
    ui::Ui,
};
use crate::report::{Role, cause_name, thousands};

/// Columns of a rate.
const RATE: usize = 8;
/// Terminals from which on there is room for a line of bars.
const WITH_BARS: usize = 70;
/// Between two columns.
const GAP: usize = 1;

/// How wide the columns are.
struct Columns {
    label: usize,
    total: usize,
    bars: usize,
    why: usize,
}

impl Columns {
    fn new(all: usize, grouping: Grouping, rows: &[&Row]) -> Self {
        let total = rows
            .iter()
            .map(|row| width(&total(row)))
            .max()
            .unwrap_or(0)
            .max("TOTAL".len() + 2);
        // A flow's name is long.
        let least = match grouping {
            Grouping::Flow => 100,
            _ => WITH_BARS,
        };
        let bars = if all < least {
            0
        } else {
            (all / 10).max(all.saturating_sub(100)).min(SECONDS - 1)
        };
        // A sign in front, and what stands between.
        let gaps = GAP * if bars > 0 { 4 } else { 3 };
        let text = all.saturating_sub(1 + RATE + total + bars + gaps);
        // The label may take what the cause leaves, and has a share in any case.
        let share = match grouping {
            Grouping::Cause | Grouping::Flow => 60,
            Grouping::Container | Grouping::Network => 38,
        };
        let widest =
            |of: &dyn Fn(&Row) -> String| rows.iter().map(|row| width(&of(row))).max().unwrap_or(0);
        let name = widest(&|row| row.label.clone()).max(grouping.name().len());
        let label = text
            .saturating_sub(widest(&|row| why(row, grouping)))
            .max(text * share / 100)
            .min(name)
            .min(text);
        Self {
            label,
            total,
            bars,
            why: text.saturating_sub(label),
        }
    }
}

/// Draws the rows.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &State,
    ui: &mut Ui,
    setting: &Setting,
) {
    let (rows, hidden) = listed(state, ui.grouping, ui.sort, &ui.filter);
    let room = usize::from(area.height.saturating_sub(1));
    ui.room = room;
    let paint = setting.paint;
    let columns = Columns::new(area.width.into(), ui.grouping, &rows);
    let mut lines = vec![header(&columns, ui.grouping, paint)];
    if rows.is_empty() {
        lines.extend(nothing(state, hidden, setting, area.width));
        frame.render_widget(Paragraph::new(lines), area);
        return;
    }
    let place = ui.place(rows.iter().map(|row| row.key.as_str()));
    ui.top = ui
        .top
        .min(place)
        .max((place + 1).saturating_sub(room))
        .min(rows.len().saturating_sub(room));
    for (number, row) in rows.iter().enumerate().skip(ui.top).take(room) {
        lines.push(line(
            row,
            state,
            ui.grouping,
            &columns,
            paint,
            number == place,
        ));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn header(columns: &Columns, grouping: Grouping, paint: Paint) -> Line<'static> {
    let bars = if columns.bars > 0 {
        format!(
            "{} ",
            paint.fit(&format!("LAST {} s", columns.bars), columns.bars)
        )
    } else {
        String::new()
    };
    let why = match grouping {
        Grouping::Container | Grouping::Flow => "WHY",
        Grouping::Cause => "WHOSE",
        Grouping::Network => "WHOSE AND WHY",
    };
    let text = format!(
        " {} {} {} {bars}{}",
        paint.fit(&grouping.name().to_uppercase(), columns.label),
        paint.right("PKT/S", RATE),
        paint.right("TOTAL", columns.total),
        paint.fit(why, columns.why),
    );
    Line::from(Span::styled(
        text,
        Style::new().add_modifier(Modifier::REVERSED),
    ))
}

fn line(
    row: &Row,
    state: &State,
    grouping: Grouping,
    columns: &Columns,
    paint: Paint,
    is_selected: bool,
) -> Line<'static> {
    let role = row
        .main()
        .map_or(Role::Plain, |part| cause_name(&part.drop).0);
    let (name_role, why_role) = match grouping {
        Grouping::Cause => (role, Role::Name),
        _ => (Role::Name, role),
    };
    let sign = if state.is_new(row) { "+" } else { " " };
    let mut spans = vec![
        paint.span(Role::Warning, sign),
        Span::styled(paint.fit(&row.label, columns.label), paint.style(name_role)),
        Span::raw(format!(
            " {} {} ",
            paint.right(&rate(row.rates.now(state.second)), RATE),
            paint.right(&total(row), columns.total)
        )),
    ];
    if columns.bars > 0 {
        let bars = paint.bars(&row.rates.last(state.second, columns.bars));
        spans.push(Span::raw(format!("{bars} ")));
    }
    let why = paint.fit(&why(row, grouping), columns.why);
    spans.push(Span::styled(why, paint.style(why_role)));
    if is_selected {
        // One look for the whole line: colours on reversed ground cannot be read everywhere.
        let text: String = spans.iter().map(|span| span.content.as_ref()).collect();
        return Line::from(Span::styled(
            text,
            Style::new().add_modifier(Modifier::REVERSED),
        ));
    }
    Line::from(spans)
}

/// Packets, or where there are none what was found without.
fn total(row: &Row) -> String {
    if row.total == 0 && row.findings > 0 {
        format!("{} ev", thousands(row.findings))
    } else {
        thousands(row.total)
    }
}

/// The main cause, and how many others there are.
fn why(row: &Row, grouping: Grouping) -> String {
    let Some(part) = row.main() else {
        return String::new();
    };
    let text = match grouping {
        Grouping::Container | Grouping::Flow => part.why(),
        Grouping::Cause => part.whose.clone(),
        Grouping::Network => format!("{}: {}", part.whose, part.why()),
    };
    match row.parts.len() {
        1 => text,
        parts => format!("{text} +{}", parts - 1),
    }
}

/// What stands in place of rows.
fn nothing(state: &State, hidden: usize, setting: &Setting, columns: u16) -> Vec<Line<'static>> {
    let paint = setting.paint;
    let mut text = Vec::new();
    if hidden > 0 {
        text.push(format!(
            "Nothing here holds that text; Esc shows all {hidden}."
        ));
    } else {
        let since = state
            .since
            .to_zoned(setting.zone.clone())
            .strftime("%T")
            .to_string();
        let what = if setting.has_filter {
            "Nothing that the options ask for"
        } else if setting.outside == "host-only" {
            "Nothing of containers or published ports"
        } else {
            "Nothing"
        };
        text.push(format!("{what} was dropped since {since}."));
        let ledger = state.ledger();
        let scope = match setting.outside {
            "host-only" => "--scope host lists them",
            _ => "--scope all lists them",
        };
        let others = [
            (ledger.out_of_scope, setting.outside, scope),
            (ledger.benign, "benign", "--all lists them"),
            (ledger.filtered, "filtered", "the options leave them out"),
            (ledger.expected, "expected", "--ignore leaves them out"),
        ];
        for (count, name, how) in others {
            if count > 0 {
                text.push(format!("{} {name}: {how}", thousands(count)));
            }
        }
    }
    let columns = usize::from(columns).saturating_sub(2);
    std::iter::once(Line::default())
        .chain(
            text.iter()
                .map(|text| Line::from(Span::raw(format!("  {}", paint.fit(text, columns))))),
        )
        .collect()
}
