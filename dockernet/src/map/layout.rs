//! A tree with aligned columns that fits the terminal.

use crate::report::{Line, Look, Role, ascii, cleaned};

/// A piece of text and what it is.
pub(super) type Span = (Role, String);

/// A label and items; items are not broken.
pub(super) type Below = (Span, Vec<Span>);

/// A branch: aligned cells, and lines below them.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Who, where, address: always on the first line.
    pub(super) main: Vec<Span>,
    /// What follows there if it fits, else on a line of its own.
    pub(super) more: Vec<Span>,
    /// Label and items below; items are not broken.
    pub(super) below: Vec<Below>,
}

/// A head and its branches.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) head: Vec<Span>,
    /// Lines below the head.
    pub(super) notes: Vec<Below>,
    pub(super) rows: Vec<Row>,
}

/// Columns between columns.
const GAP: usize = 2;
/// Columns of a branch's sign.
const BRANCH: usize = 3;
/// Where further lines begin at most, when not all fits on one.
const NARROW: usize = 10;

/// Columns of text that was prepared. Names here are ASCII, and the signs are one column wide.
fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Text as it will be shown, so that it can be measured.
fn prepare(sections: &mut [Section], look: &Look) {
    let shown = |(_, text): &mut Span| {
        *text = cleaned(text).into_owned();
        if look.ascii {
            *text = ascii(text);
        }
    };
    let lines = |lines: &mut Vec<Below>| {
        for (label, items) in lines {
            shown(label);
            items.iter_mut().for_each(shown);
        }
    };
    for section in sections {
        section.head.iter_mut().for_each(shown);
        lines(&mut section.notes);
        for row in &mut section.rows {
            row.main.iter_mut().chain(&mut row.more).for_each(shown);
            lines(&mut row.below);
        }
    }
}

/// Everything as text. Columns are aligned over all sections.
pub(super) fn render(sections: &[Section], look: &Look) -> String {
    let limit = look.width.columns();
    let fits = |columns: usize| limit.is_none_or(|limit| columns <= limit);
    let mut sections = sections.to_vec();
    prepare(&mut sections, look);
    let (mut main, mut more) = widths(&sections);
    let one_line = fits(BRANCH + total(&main) + GAP + total(&more));
    if !one_line && !fits(BRANCH + total(&main)) {
        // Long names: the last column goes down to the others.
        for row in sections.iter_mut().flat_map(|section| &mut section.rows) {
            if row.main.len() > 2 {
                row.more.splice(0..0, row.main.drain(2..));
            }
        }
        (main, more) = widths(&sections);
    }
    let name = main.first().map_or(GAP, |width| width + GAP);
    let page = Page {
        look,
        limit,
        one_line,
        indent: if one_line { name } else { name.min(NARROW) },
        main,
        more,
    };
    let mut out = String::new();
    for (place, section) in sections.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        page.section(section, &mut out);
    }
    out
}

/// Widths of the columns of both halves. A branch of one cell has no columns.
fn widths(sections: &[Section]) -> (Vec<usize>, Vec<usize>) {
    let rows = || {
        let rows = sections.iter().flat_map(|section| &section.rows);
        rows.filter(|row| row.main.len() > 1)
    };
    (
        widest(rows().map(|row| &*row.main)),
        widest(rows().map(|row| &*row.more)),
    )
}

fn widest<'a>(rows: impl Iterator<Item = &'a [Span]>) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for cells in rows {
        widths.resize(widths.len().max(cells.len()), 0);
        for (width, (_, text)) in widths.iter_mut().zip(cells) {
            *width = (*width).max(columns(text));
        }
    }
    widths
}

fn total(widths: &[usize]) -> usize {
    widths
        .iter()
        .map(|width| width + GAP)
        .sum::<usize>()
        .saturating_sub(GAP)
}

struct Page<'a> {
    look: &'a Look,
    limit: Option<usize>,
    one_line: bool,
    /// Where the second column begins, after the branch.
    indent: usize,
    main: Vec<usize>,
    more: Vec<usize>,
}

impl Page<'_> {
    fn sign(&self, sign: &'static str, ascii: &'static str) -> &'static str {
        if self.look.ascii { ascii } else { sign }
    }

    fn section(&self, section: &Section, out: &mut String) {
        let bar = if section.rows.is_empty() {
            "   "
        } else {
            self.sign("│  ", "|  ")
        };
        self.items("", bar, None, &section.head, out);
        for (label, items) in &section.notes {
            self.items(bar, bar, Some(label), items, out);
        }
        for (place, row) in section.rows.iter().enumerate() {
            let last = place + 1 == section.rows.len();
            let (branch, bar) = if last {
                (self.sign("└─ ", "`- "), "   ")
            } else {
                (self.sign("├─ ", "|- "), self.sign("│  ", "|  "))
            };
            self.row(row, branch, bar, out);
        }
    }

    fn row(&self, row: &Row, branch: &str, bar: &str, out: &mut String) {
        let mut line = Line::default().whole();
        line.push(Role::Dim, branch);
        cells(&mut line, &row.main, &self.main);
        let pad = " ".repeat(self.indent);
        if self.one_line {
            if !row.more.is_empty() {
                let used: usize = BRANCH + self.main.iter().map(|width| width + GAP).sum::<usize>();
                let fill = used.saturating_sub(columns(&line.text()));
                line.plain(" ".repeat(fill));
                cells(&mut line, &row.more, &self.more);
            }
            out.push_str(&trimmed(&line, self.look));
        } else {
            out.push_str(&trimmed(&line, self.look));
            if !row.more.is_empty() {
                let mut line = Line::default().whole();
                line.push(Role::Dim, bar).plain(&*pad);
                cells(&mut line, &row.more, &self.more);
                out.push_str(&trimmed(&line, self.look));
            }
        }
        for (label, items) in &row.below {
            let bar = format!("{bar}{pad}");
            self.items(&bar, &bar, Some(label), items, out);
        }
    }

    /// A label and items, as many on a line as fit; the following lines are indented below the first item.
    fn items(
        &self,
        first: &str,
        next: &str,
        label: Option<&Span>,
        items: &[Span],
        out: &mut String,
    ) {
        let mut line = Line::default().whole();
        line.push(Role::Dim, first);
        let mut hang = 0;
        if let Some((role, text)) = label {
            line.push(*role, format!("{text} "));
            hang = columns(text) + 1;
        }
        // A sentence comes in words.
        let words = label.is_some_and(|(role, _)| *role == Role::Confirmed);
        let gap = if words { 1 } else { GAP };
        let mut empty = true;
        for (role, text) in items {
            let width = columns(text);
            if !empty
                && self
                    .limit
                    .is_some_and(|limit| columns(&line.text()) + gap + width > limit)
            {
                out.push_str(&trimmed(&line, self.look));
                line = Line::default().whole();
                line.push(Role::Dim, next).plain(" ".repeat(hang));
                empty = true;
            }
            if !empty {
                line.plain(" ".repeat(gap));
            }
            line.push(*role, &**text);
            empty = false;
        }
        out.push_str(&trimmed(&line, self.look));
    }
}

/// Cells padded to their columns' widths.
fn cells(line: &mut Line, cells: &[Span], widths: &[usize]) {
    for (place, (role, text)) in cells.iter().enumerate() {
        line.push(*role, &**text);
        if place + 1 < cells.len() {
            let width = widths.get(place).copied().unwrap_or(0);
            line.plain(" ".repeat(width.saturating_sub(columns(text)) + GAP));
        }
    }
}

fn trimmed(line: &Line, look: &Look) -> String {
    let mut text = line.render(look);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
