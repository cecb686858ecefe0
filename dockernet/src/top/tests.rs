//! Pictures of the whole screen, as a terminal would show them.
#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, tz::TimeZone};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::{self, Setting},
    keys::Key,
    paint::Paint,
    state::State,
    ui::Ui,
};
use crate::report::samples;

struct Shown {
    state: State,
    ui: Ui,
    setting: Setting,
    size: (u16, u16),
    is_paused: bool,
}

impl Shown {
    fn new() -> Self {
        Self {
            state: State::new(samples::ready(), samples::incident().time),
            ui: Ui::default(),
            setting: Setting {
                paint: Paint {
                    color: true,
                    ascii: false,
                },
                zone: TimeZone::fixed(jiff::tz::offset(8)),
                outside: "host-only",
                has_filter: false,
            },
            size: (80, 24),
            is_paused: false,
        }
    }

    /// Half a minute of a denial that grows, an incident at its end, and something that nobody knows.
    fn busy() -> Self {
        let mut shown = Self::new();
        let start = shown.state.now;
        for second in 0_u32..30 {
            shown.state.advance(
                start + SignedDuration::from_secs(second.into()),
                second.into(),
            );
            let mut drop = samples::denied("198.51.100.20", 4000);
            drop.time = shown.state.now;
            drop.flow = Some("11d2e3f4".into());
            drop.destination.container.as_mut().unwrap().id = "5c1d2e3f4a5b".into();
            shown.state.add(&drop);
            drop.count = u64::from(second) * 1604 + 7;
            shown.state.add(&drop);
            if second > 26 {
                let mut incident = samples::incident();
                incident.time = shown.state.now;
                shown.state.add(&incident);
            }
        }
        let mut mystery = samples::mystery();
        mystery.time = shown.state.now;
        mystery.flow = Some("99aabbcc".into());
        mystery.destination.container.as_mut().unwrap().id = "77aa88bb99cc".into();
        mystery.destination.container.as_mut().unwrap().name =
            "cron-with-a-long-name-of-its-own".into();
        shown.state.add(&mystery);
        let mut ledger = samples::ledger();
        ledger.shown = shown.state.total;
        ledger.observed = ledger.shown + 39;
        shown.state.counted(&ledger);
        shown
            .state
            .advance(start + SignedDuration::from_secs(30), 30);
        shown
    }

    fn press(&mut self, keys: &[Key]) -> &mut Self {
        for key in keys {
            // The screen is drawn between two keys, and says what it had room for.
            let _ = self.text();
            self.ui.press(*key, &self.state);
        }
        self
    }

    fn text(&mut self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(self.size.0, self.size.1)).unwrap();
        terminal
            .draw(|frame| {
                draw::screen(
                    frame,
                    &self.state,
                    &mut self.ui,
                    &self.setting,
                    self.is_paused,
                );
            })
            .unwrap();
        if self.size.0 == 0 {
            return String::new();
        }
        let text = terminal.backend().to_string();
        // The backend quotes each line; what is shown has no quotes around it.
        text.lines()
            .map(|line| line.trim_matches('"').trim_end())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[test]
fn a_healthy_host() {
    insta::assert_snapshot!(healthy().text());
}

fn healthy() -> Shown {
    let mut shown = Shown::new();
    let mut ledger = samples::ledger();
    (ledger.shown, ledger.observed) = (0, 39);
    shown.state.counted(&ledger);
    let now = shown.state.now + SignedDuration::from_secs(42);
    shown.state.advance(now, 42);
    shown
}

#[test]
fn by_container() {
    insta::assert_snapshot!(Shown::busy().text());
}

#[test]
fn another_row() {
    insta::assert_snapshot!(Shown::busy().press(&[Key::Down]).text());
}

#[test]
fn by_cause() {
    insta::assert_snapshot!(Shown::busy().press(&[Key::Char('2'), Key::Down]).text());
}

#[test]
fn by_network() {
    insta::assert_snapshot!(Shown::busy().press(&[Key::Char('3')]).text());
}

#[test]
fn by_flow_wide() {
    let mut shown = Shown::busy();
    shown.size = (120, 40);
    insta::assert_snapshot!(shown.press(&[Key::BackTab]).text());
}

#[test]
fn small_and_paused() {
    let mut shown = Shown::busy();
    shown.size = (60, 15);
    shown.is_paused = true;
    insta::assert_snapshot!(shown.text());
}

#[test]
fn ascii_with_a_filter() {
    let mut shown = Shown::busy();
    shown.setting.paint = Paint {
        color: false,
        ascii: true,
    };
    let keys: Vec<Key> = "/forw".chars().map(Key::Char).chain([Key::Enter]).collect();
    insta::assert_snapshot!(shown.press(&keys).text());
}

#[test]
fn detail_page() {
    insta::assert_snapshot!(Shown::busy().press(&[Key::Down, Key::Enter]).text());
}

#[test]
fn help_page() {
    let mut shown = Shown::busy();
    shown
        .state
        .note("no container `wbe` is there; did you mean web?");
    insta::assert_snapshot!(shown.press(&[Key::F(1)]).text());
}

#[test]
fn too_small() {
    let mut shown = Shown::busy();
    shown.size = (30, 6);
    insta::assert_snapshot!(shown.text());
}

/// The pictures in the documentation are these.
#[test]
fn documented() {
    let page = include_str!("../../../docs/top.md");
    let mut small = Shown::busy();
    small.size = (60, 15);
    small.is_paused = true;
    let mut wide = Shown::busy();
    wide.size = (120, 40);
    for picture in [
        healthy().text(),
        Shown::busy().press(&[Key::Down]).text(),
        Shown::busy().press(&[Key::Down, Key::Enter]).text(),
        wide.press(&[Key::Char('4')]).text(),
        small.text(),
    ] {
        assert!(
            page.contains(&format!("```\n{picture}\n```")),
            "docs/top.md has not:\n{picture}"
        );
    }
}

#[test]
fn no_size_and_no_key_breaks_it() {
    let keys = [
        Key::Down,
        Key::Enter,
        Key::End,
        Key::Escape,
        Key::Tab,
        Key::Char('/'),
        Key::Char('x'),
        Key::Enter,
        Key::F(1),
    ];
    for width in [0, 1, 39, 40, 41, 60, 79, 80, 200] {
        for height in [0, 1, 9, 10, 11, 17, 18, 24, 60] {
            let mut shown = Shown::busy();
            shown.size = (width, height);
            shown.press(&keys);
            let _ = shown.text();
        }
    }
}
