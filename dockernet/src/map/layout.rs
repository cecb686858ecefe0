//! A tree with aligned columns that fits the terminal.

use crate::report::{Line, Look, Role};

/// A piece of text and what it is.
pub(super) type Span = (Role, String);

/// A branch: aligned cells, and lines below them.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Who, where, address: always on the first line.
    pub(super) main: Vec<Span>,
    /// What follows there if it fits, else on a line of its own.
    pub(super) more: Vec<Span>,
    /// Label and items below; items are not broken.
    pub(super) below: Vec<(Span, Vec<Span>)>,
}

/// A head and its branches.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) head: Vec<Span>,
    /// Lines below the head.
    pub(super) notes: Vec<(Span, Vec<Span>)>,
    pub(super) rows: Vec<Row>,
}

const GAP: usize = 2;

pub(super) fn columns(text: &str) -> usize {
    let mut line = Line::default();
    line.plain(text);
    line.columns()
}

/// Everything as text. Columns are aligned over all sections.
pub(super) fn render(sections: &[Section], look: &Look) -> String {
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let widths = |cells: fn(&Row) -> &Vec<Span>| -> Vec<usize> {
        let mut widths = Vec::new();
        for row in rows() {
            for (place, (_, text)) in cells(row).iter().enumerate() {
                if widths.len() <= place {
                    widths.push(0);
                }
                if let Some(width) = widths.get_mut(place) {
                    *width = (*width).max(columns(text));
                }
            }
        }
        widths
    };
    let (main, more) = (widths(|row| &row.main), widths(|row| &row.more));
    let total = 3 + main
        .iter()
        .chain(&more)
        .map(|width| width + GAP)
        .sum::<usize>()
        - GAP.min(main.len());
    let limit = look.width.columns();
    let one_line = limit.is_none_or(|limit| total <= limit);
    let page = Page {
        look,
        limit,
        one_line,
        indent: main.first().map_or(GAP, |width| width + GAP),
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
                let used: usize = 3 + self.main.iter().map(|width| width + GAP).sum::<usize>();
                let fill = used.saturating_sub(line.columns());
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
        let mut empty = true;
        for (role, text) in items {
            let width = columns(text);
            if !empty
                && self
                    .limit
                    .is_some_and(|limit| line.columns() + GAP + width > limit)
            {
                out.push_str(&trimmed(&line, self.look));
                line = Line::default().whole();
                line.push(Role::Dim, next).plain(" ".repeat(hang));
                empty = true;
            }
            if !empty {
                line.plain(" ".repeat(GAP));
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
