//! What `?` shows.

use ratatui::text::Line;

use super::{draw::Setting, rates::SECONDS, state::State, table::ROWS};
use crate::report::{self, Role};

const KEYS: [(&str, &str); 10] = [
    ("arrows j k", "select a row; PgUp PgDn Home End too"),
    (
        "1 2 3 4",
        "group by container, cause, network, flow; Tab goes round",
    ),
    ("Enter", "all evidence and fixes of the row; Esc closes it"),
    (
        "/ F4",
        "only rows that hold a text, in any of their columns; Esc: all",
    ),
    ("s F6", "sort by rate, total, newest, name"),
    (
        "space F5",
        "pause: the picture stands still, counting goes on",
    ),
    ("? h F1", "this page"),
    ("Ctrl-L", "draw everything again"),
    ("Ctrl-Z", "to the shell; fg comes back"),
    ("q F10", "quit, and print the sums; Ctrl-C too"),
];

/// The page, wrapped.
pub(super) fn lines(state: &State, setting: &Setting, columns: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut title = report::Line::default();
    title.plain("Keys  (Esc goes back)");
    lines.push(title);
    for (key, what) in KEYS {
        let mut line = report::Line::hanging(15);
        line.push(Role::Name, format!("   {key:<12}")).plain(what);
        lines.push(line);
    }
    lines.push(report::Line::default());
    let text = [
        "TOTAL is exact, counted in the kernel; PKT/S is the mean of the last three seconds. 'ev' are events that dropped no \
         packet."
            .to_owned(),
        "+ in front: came in the last ten seconds. WHY is the main cause of what happens now; +2: there were two others.".to_owned(),
        "Of flows only samples are known: what was only counted stands as 'flows not told apart'.".to_owned(),
        format!(
            "At most {ROWS} rows a group, {SECONDS} s of bars. Rows that were quiet longest make room; their packets stay in the \
             sum and are told beside the groups."
        ),
    ];
    for sentence in text {
        let mut line = report::Line::default();
        line.plain(sentence);
        lines.push(line);
    }
    if !state.notes.is_empty() {
        lines.push(report::Line::default());
        let mut line = report::Line::default();
        line.plain("Notes of this run");
        lines.push(line);
    }
    for note in &state.notes {
        let mut line = report::Line::hanging(3);
        line.push(Role::Warning, "   ").plain(note);
        lines.push(line);
    }
    setting.paint.wrapped(&lines, columns.into())
}
