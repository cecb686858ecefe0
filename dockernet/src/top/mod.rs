//! `top`: a screen that shows what dies now, by container, cause, network or flow. It is one more report of the pipeline: a
//! bounded state (`state`), a thread that draws it and reads keys (`screen`), and the terminal as it was at the end.

mod detail;
mod draw;
mod group;
mod head;
mod help;
mod keys;
mod list;
mod order;
mod paint;
mod rates;
mod row;
mod screen;
mod signals;
mod state;
mod suits;
mod table;
mod terminal;
mod ui;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::{Timestamp, tz::TimeZone};

use self::{draw::Setting, paint::Paint, screen::Screen, state::State};
use crate::{
    cli::options::Options,
    model::{Drop, Ledger, Ready},
    report::{Counted, Line, Look, Report, Role, Stream, Summary, Width, ledger_line, outside},
};

/// Warnings that are told again at the end.
const WARNINGS: usize = 20;

/// Checks that there is a terminal to draw on, and keeps its signals for the screen. Call it before any thread is started.
///
/// # Errors
/// There is none, or the options ask for something else than a screen.
pub fn prepare(options: &Options) -> Result<()> {
    suits::check(options)?;
    signals::block()
}

/// The report.
pub struct Top {
    setting: Setting,
    look: Look,
    screen: Option<Screen>,
    summary: Summary,
    started: Instant,
    warnings: Vec<String>,
    /// What was written meanwhile.
    notes: Vec<String>,
}

impl Top {
    /// Nothing is drawn before [`Report::ready`].
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let look = Look::of(options, &io::stdout(), Width::Stdout);
        // The library knows NO_COLOR too, and not that --color goes before it.
        ratatui::crossterm::style::force_color_output(look.color);
        Self {
            setting: Setting {
                paint: Paint {
                    color: look.color,
                    ascii: look.ascii,
                },
                zone: TimeZone::system(),
                outside: outside(options.scope),
                has_filter: options.filter != Default::default() || options.expression.is_some(),
            },
            look,
            screen: None,
            summary: Summary::default(),
            started: Instant::now(),
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn print(&self, line: &Line) -> Result<()> {
        io::stdout()
            .write_all(line.render(&self.look).as_bytes())
            .context("writing to standard output")
    }
}

impl Report for Top {
    fn ready(&mut self, ready: &Ready, _after: Duration) -> Result<Stream> {
        self.started = Instant::now();
        let mut state = State::new(ready.clone(), Timestamp::now());
        for warning in &self.warnings {
            state.note(warning);
        }
        self.screen = Some(Screen::start(state, self.setting.clone())?);
        Ok(Stream::Open)
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.summary.add(drop);
        if let Some(screen) = &self.screen {
            screen.shared.change().add(drop);
        }
        Ok(Stream::Open)
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.summary.add_finding(finding);
        if let Some(screen) = &self.screen {
            screen.shared.change().add(finding);
        }
        Ok(Stream::Open)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        let second = self.started.elapsed().as_secs();
        if let Some(screen) = &mut self.screen {
            screen.check()?;
            screen.shared.state().advance(now, second);
        }
        Ok(Stream::Open)
    }

    fn ledger(&mut self, _ledger: &Ledger) -> Result<Stream> {
        Ok(Stream::Open)
    }

    fn ending(&mut self) {
        // A screen that is dead leaves the terminal as it was at once; one that lives stays until the last numbers are there.
        if self.screen.as_ref().is_some_and(Screen::is_dead) {
            terminal::leave();
        }
    }

    fn finish(&mut self, ledger: &Ledger, _interrupted: bool) -> Result<Stream> {
        if let Some(mut screen) = self.screen.take() {
            screen.end()?;
        }
        for warning in &self.warnings {
            let mut line = Line::hanging(3);
            line.push(Role::Warning, "warning: ").plain(warning);
            self.print(&line)?;
        }
        for note in &self.notes {
            let mut line = Line::hanging(3);
            line.plain(note);
            self.print(&line)?;
        }
        self.print(&ledger_line(ledger, self.setting.outside))?;
        for line in self.summary.lines() {
            self.print(&line)?;
        }
        Ok(Stream::Open)
    }

    fn counted(&mut self, counted: &Counted<'_>) {
        if let Some(screen) = &self.screen {
            let mut state = screen.shared.state();
            state.counted(counted.ledger);
            state.ready.containers = counted.inventory.containers().count();
            let engine = counted.inventory.engine_status().version();
            state.ready.docker = engine.map(str::to_owned);
        }
    }

    fn note(&mut self, text: &str) {
        if self.notes.len() < WARNINGS {
            self.notes.push(text.to_owned());
        }
        if let Some(screen) = &self.screen {
            screen.shared.change().note(text);
        }
    }

    fn warning(&mut self, text: &str) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(text.to_owned());
        }
        if let Some(screen) = &self.screen {
            screen.shared.change().note(text);
        }
    }
}
