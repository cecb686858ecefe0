//! What the user has chosen, and what a key changes of it. No terminal here.

use super::{
    group::Grouping,
    keys::Key,
    order::{Sort, listed},
    state::State,
};

/// Longest text that is searched for.
const LONGEST: usize = 60;

/// What covers the list, if anything. `usize`: lines scrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    List,
    Detail(usize),
    Help(usize),
}

/// What is to be done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Show what changed.
    Draw,
    /// Everything again, whatever the terminal shows.
    Redraw,
    Pause,
    Quit,
}

/// The choices.
#[derive(Clone, Debug, Default)]
pub(super) struct Ui {
    pub(super) grouping: Grouping,
    pub(super) sort: Sort,
    pub(super) page: Page,
    /// In lower case.
    pub(super) filter: String,
    /// The text under way.
    pub(super) typing: Option<String>,
    /// The selected row; none: whichever is first.
    selected: Option<String>,
    /// The first row on the screen.
    pub(super) top: usize,
    /// Rows, or lines of a page, that the screen had room for when it was drawn last.
    pub(super) room: usize,
    /// Lines that the page could be scrolled then.
    pub(super) scrollable: usize,
}

impl Ui {
    /// Takes a key. `state`: what is on the screen.
    pub(super) fn press(&mut self, key: Key, state: &State) -> Wish {
        if self.typing.is_some() {
            self.type_in(key);
            return Wish::Draw;
        }
        match key {
            Key::Char('q' | 'Q') | Key::F(10) | Key::Ctrl('c') => return Wish::Quit,
            Key::Ctrl('l') => return Wish::Redraw,
            Key::Char(' ' | 'p') | Key::F(5) => return Wish::Pause,
            Key::Char('?' | 'h') | Key::F(1) => {
                self.page = match self.page {
                    Page::Help(_) => Page::List,
                    _ => Page::Help(0),
                };
                return Wish::Draw;
            }
            _ => {}
        }
        match &mut self.page {
            Page::List => self.list(key, state),
            Page::Detail(line) | Page::Help(line) => match key {
                Key::Escape | Key::Enter | Key::Left => self.page = Page::List,
                _ => *line = scrolled(*line, key, self.room).min(self.scrollable),
            },
        }
        Wish::Draw
    }

    fn list(&mut self, key: Key, state: &State) {
        match key {
            Key::Tab | Key::Right => self.group(self.grouping.next()),
            Key::BackTab | Key::Left => self.group(self.grouping.previous()),
            Key::Char(digit @ '1'..='4') => {
                let place = digit as usize - '1' as usize;
                self.group(Grouping::ALL[place]);
            }
            Key::Char('s') | Key::F(6) => {
                self.sort = self.sort.next();
                self.select_first();
            }
            Key::Char('/') | Key::F(4 | 3) => self.typing = Some(String::new()),
            Key::Enter => self.page = Page::Detail(0),
            Key::Escape => self.filter.clear(),
            Key::Home | Key::Char('g') => self.select_first(),
            _ => self.walk(key, state),
        }
    }

    /// Moves the selection.
    fn walk(&mut self, key: Key, state: &State) {
        let (rows, _) = listed(state, self.grouping, self.sort, &self.filter);
        let Some(last) = rows.len().checked_sub(1) else {
            return;
        };
        let now = self.place(rows.iter().map(|row| row.key.as_str()));
        let to = scrolled(now, key, self.room).min(last);
        if to != now {
            self.selected = rows.get(to).map(|row| row.key.clone());
        }
    }

    fn group(&mut self, grouping: Grouping) {
        self.grouping = grouping;
        self.select_first();
    }

    fn select_first(&mut self) {
        self.selected = None;
        self.top = 0;
    }

    fn type_in(&mut self, key: Key) {
        let Some(text) = &mut self.typing else {
            return;
        };
        match key {
            Key::Enter => {
                self.filter = text.trim().to_lowercase();
                self.typing = None;
                self.select_first();
            }
            Key::Escape | Key::Ctrl('c' | 'g') => self.typing = None,
            Key::Backspace => {
                // As in less: deleting beyond the beginning leaves it.
                let was_empty = text.pop().is_none();
                self.typing = self.typing.take().filter(|_| !was_empty);
            }
            Key::Ctrl('u') => text.clear(),
            Key::Char(c) if text.chars().count() < LONGEST => text.push(c),
            _ => {}
        }
    }

    /// The selected row's place among the keys of those that are listed; the first, if it is not there.
    pub(super) fn place<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> usize {
        self.selected
            .as_deref()
            .and_then(|selected| keys.position(|key| key == selected))
            .unwrap_or(0)
    }
}

/// Where a key of movement leads from a line.
fn scrolled(line: usize, key: Key, room: usize) -> usize {
    let page = room.saturating_sub(1).max(1);
    match key {
        Key::Up | Key::Char('k') | Key::Ctrl('p') => line.saturating_sub(1),
        Key::Down | Key::Char('j') | Key::Ctrl('n') => line + 1,
        Key::PageUp | Key::Char('b') | Key::Ctrl('b') => line.saturating_sub(page),
        Key::PageDown | Key::Char('f') | Key::Ctrl('f') => line + page,
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => usize::MAX,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn state() -> State {
        let mut state = State::new(samples::ready(), samples::incident().time);
        state.add(&samples::incident());
        for _ in 0..2 {
            state.add(&samples::denied("198.51.100.20", 4000));
        }
        state.add(&samples::mystery());
        state
    }

    fn selected(ui: &Ui, state: &State) -> String {
        let (rows, _) = listed(state, ui.grouping, ui.sort, &ui.filter);
        let place = ui.place(rows.iter().map(|row| row.key.as_str()));
        rows.get(place)
            .map_or_else(String::new, |row| row.label.clone())
    }

    #[test]
    fn a_selection_stays_with_its_row() {
        let mut state = state();
        let mut ui = Ui {
            grouping: Grouping::Cause,
            room: 10,
            ..Ui::default()
        };
        assert_eq!(selected(&ui, &state), "docker-user-drop");
        ui.press(Key::Down, &state);
        assert_eq!(selected(&ui, &state), "interface-forwarding-disabled");
        for _ in 0..9 {
            state.add(&samples::mystery());
        }
        assert_eq!(selected(&ui, &state), "interface-forwarding-disabled");
        ui.press(Key::Home, &state);
        assert_eq!(selected(&ui, &state), "unexplained");
        ui.press(Key::Char('G'), &state);
        assert_eq!(selected(&ui, &state), "interface-forwarding-disabled");
    }

    #[test]
    fn a_filter_is_typed_as_in_less() {
        let state = state();
        let mut ui = Ui::default();
        for key in "/user-Dq".chars() {
            assert_eq!(ui.press(Key::Char(key), &state), Wish::Draw);
        }
        ui.press(Key::Backspace, &state);
        ui.press(Key::Enter, &state);
        assert_eq!(ui.filter, "user-d");
        let (rows, hidden) = listed(&state, ui.grouping, ui.sort, &ui.filter);
        assert_eq!(hidden, 0, "samples share one container id");
        assert_eq!(rows.len(), 1);
        ui.press(Key::Char('2'), &state);
        let (rows, hidden) = listed(&state, ui.grouping, ui.sort, &ui.filter);
        assert_eq!((rows.len(), hidden), (1, 2));
        // Escape while typing leaves it as it was, Escape on the list shows all.
        ui.press(Key::Char('/'), &state);
        ui.press(Key::Char('x'), &state);
        ui.press(Key::Escape, &state);
        assert_eq!(ui.filter, "user-d");
        ui.press(Key::Escape, &state);
        assert_eq!(ui.filter, "");
    }

    #[test]
    fn pages_open_scroll_and_close() {
        let state = state();
        let mut ui = Ui {
            scrollable: 3,
            room: 5,
            ..Ui::default()
        };
        ui.press(Key::Enter, &state);
        ui.press(Key::PageDown, &state);
        assert_eq!(ui.page, Page::Detail(3));
        ui.press(Key::Up, &state);
        assert_eq!(ui.page, Page::Detail(2));
        ui.press(Key::Escape, &state);
        assert_eq!(ui.page, Page::List);
        ui.press(Key::Char('?'), &state);
        assert_eq!(ui.press(Key::Char('q'), &state), Wish::Quit);
    }
}
