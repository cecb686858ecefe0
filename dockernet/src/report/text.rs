//! Text for people: drops on stdout; banner, warnings, ledger and summary on stderr.

use std::{collections::HashMap, io::Write, time::Duration};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{
    Look, Report, Stream, block, clean,
    path::{self, Journeys},
    sink::Sink,
    storm::{Second, Show, Sources, Storm},
    style::{Line, Role, counted, thousands},
    summary::{self, Totals},
    unanswered::Unanswered,
};
use crate::model::{Drop, FlowSum, Ledger, PathEvent, Ready, Transition};

/// After this time a drop is explained again.
const REMIND: SignedDuration = SignedDuration::from_mins(5);
/// Explanations that are remembered.
const REMEMBERED: usize = 4096;
/// Where engines listen unless told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Whether who reads still knows an explanation of this age. One of later than now is from before the clock was set back.
fn is_remembered(age: SignedDuration) -> bool {
    -REMIND < age && age < REMIND
}

/// How text is written.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Stdout.
    pub out: Look,
    /// Stderr.
    pub err: Look,
    /// One line for each drop.
    pub oneline: bool,
    /// More about each drop.
    pub verbose: bool,
    /// What being out of scope means, for the ledger: `host-only`.
    pub outside: &'static str,
    /// Of the times shown.
    pub zone: TimeZone,
    /// Wall clock.
    pub clock: fn() -> Timestamp,
    /// When what is told began, if that is not now.
    pub since: Option<Timestamp>,
}

/// Writes text. `O`: stdout, `E`: stderr.
#[derive(Debug)]
pub struct Text<O, E> {
    options: TextOptions,
    sink: Sink<O>,
    err: E,
    storm: Storm,
    totals: Totals,
    explained: HashMap<u64, Timestamp>,
    last: Option<u64>,
    date: Option<Date>,
    unanswered: Unanswered,
    journeys: Journeys,
}

impl<O: Write, E: Write> Text<O, E> {
    /// Writes to `out` and `err`.
    pub fn new(out: O, err: E, options: TextOptions) -> Self {
        Self {
            options,
            sink: Sink::new(out),
            err,
            storm: Storm::default(),
            totals: Totals::default(),
            explained: HashMap::new(),
            last: None,
            date: None,
            unanswered: Unanswered::default(),
            journeys: Journeys::default(),
        }
    }

    fn out(&mut self, line: &Line) -> Result<Stream> {
        self.sink.write(line.render(&self.options.out).as_bytes())
    }

    /// Stderr may be closed: nobody to tell, and no reason to stop.
    fn err(&mut self, line: &Line) {
        let _ = self.sink.flush();
        let _ = self
            .err
            .write_all(line.render(&self.options.err).as_bytes());
    }

    /// The banner has the date; a new day is said.
    fn day(&mut self, time: Timestamp) {
        let zoned = time.to_zoned(self.options.zone.clone());
        if self.date.is_some_and(|date| date < zoned.date()) {
            self.date = Some(zoned.date());
            let mut line = Line::default();
            line.push(Role::Dim, zoned.strftime("%F %:z").to_string());
            self.err(&line);
        }
    }

    fn single(&mut self, drop: &Drop) -> Result<Stream> {
        let key = block::key(drop);
        let known = self
            .explained
            .get(&key)
            .is_some_and(|then| is_remembered(drop.time.duration_since(*then)));
        if !known {
            return self.explain(key, drop);
        }
        let line = if self.last == Some(key) {
            block::same(drop, &self.options.zone)
        } else {
            block::short(drop, &self.options.zone)
        };
        self.last = Some(key);
        self.out(&line)
    }

    fn explain(&mut self, key: u64, drop: &Drop) -> Result<Stream> {
        if self.explained.len() >= REMEMBERED {
            self.explained.clear();
        }
        self.explained.insert(key, drop.time);
        self.last = Some(key);
        let mut stream = Stream::Open;
        for line in block::full(drop, &self.options.zone, self.options.verbose) {
            stream = self.out(&line)?;
        }
        Ok(stream)
    }

    fn second(&mut self, second: Option<Second>) -> Result<Stream> {
        let Some(second) = second else {
            return Ok(Stream::Open);
        };
        self.last = None;
        let mut stream = Stream::Open;
        for line in storm_lines(&second, &self.options.zone) {
            stream = self.out(&line)?;
        }
        Ok(stream)
    }
}

impl<O: Write, E: Write> Report for Text<O, E> {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        let now = self.options.since.unwrap_or_else(self.options.clock);
        let now = now.to_zoned(self.options.zone.clone());
        self.date = Some(now.date());
        let containers = counted(ready.containers as u64, "container").replace(' ', "\u{a0}");
        let docker = match &ready.docker {
            Some(version) => format!("docker {version}"),
            None => "docker does not answer".to_owned(),
        };
        let elsewhere = ready
            .docker_host
            .as_deref()
            .filter(|host| *host != DEFAULT_HOST)
            .map_or_else(String::new, |host| {
                format!(" at {}", clean::without_secrets(host))
            });
        let mut line = Line::hanging(3);
        line.plain(format!(
            "dockernet-trace {}  kernel {}  {docker}{elsewhere} ({containers})  {}  ready\u{a0}{:.2}\u{a0}s",
            ready.version,
            ready.kernel,
            now.strftime("%F %:z"),
            after.as_secs_f64()
        ));
        self.err(&line);
        if self.options.verbose && !ready.programs.is_empty() {
            let mut line = Line::hanging(3);
            line.push(
                Role::Dim,
                format!("   attached: {}", ready.programs.join(", ")),
            );
            self.err(&line);
        }
        for sentence in &ready.degraded {
            let mut line = Line::hanging(6);
            line.push(Role::Warning, "   degraded: ").plain(sentence);
            self.err(&line);
        }
        Ok(Stream::Open)
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.totals.add(drop);
        self.day(drop.time);
        if self.options.oneline {
            let line = block::oneline(drop, &self.options.zone);
            return self.out(&line);
        }
        let second = self.storm.seen(drop.time.as_second());
        let _ = self.second(second)?;
        match self.storm.add(drop) {
            Show::Single => self.single(drop),
            Show::Storm { may_explain: true } => {
                let key = block::key(drop);
                if self.explained.contains_key(&key) {
                    return Ok(Stream::Open);
                }
                self.storm.explained();
                self.explain(key, drop)
            }
            Show::Storm { may_explain: false } => Ok(Stream::Open),
        }
    }

    fn transition(&mut self, transition: &Transition) -> Result<Stream> {
        self.day(transition.time);
        let mut stream = Stream::Open;
        for line in self.unanswered.seen(transition, &self.options.zone) {
            self.last = None;
            stream = self.out(&line)?;
        }
        Ok(stream)
    }

    fn path(&mut self, event: &PathEvent) -> Result<Stream> {
        self.last = None;
        let lines = match event {
            PathEvent::Journey(journey) => {
                self.day(journey.time);
                self.journeys
                    .journey(journey, &self.options.zone, self.options.verbose)
            }
            PathEvent::Silence(silence) => {
                self.day(silence.time);
                vec![self.journeys.silence(silence, &self.options.zone)]
            }
            PathEvent::Probe(probe) => {
                self.day(probe.time);
                vec![path::probe(probe, &self.options.zone)]
            }
        };
        let mut stream = Stream::Open;
        for line in lines {
            stream = self.out(&line)?;
        }
        Ok(stream)
    }

    fn flows(&mut self, sums: &[FlowSum]) -> Result<Stream> {
        let untold = self.journeys.untold();
        for line in untold.into_iter().chain(path::sums(sums)) {
            let _ = self.out(&line)?;
        }
        self.sink.flush()
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.totals.add_finding(finding);
        self.day(finding.time);
        if self.options.oneline {
            let line = block::oneline(finding, &self.options.zone);
            return self.out(&line);
        }
        self.single(finding)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        let second = self.storm.advance(now.as_second());
        let _ = self.second(second)?;
        for line in self.unanswered.overdue(now, &self.options.zone) {
            self.last = None;
            let _ = self.out(&line)?;
        }
        self.sink.flush()
    }

    fn ledger(&mut self, _ledger: &Ledger) -> Result<Stream> {
        // People get one at the end; every 30 s it would only be noise on a silent host.
        self.sink.flush()
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        let second = self.storm.finish();
        let _ = self.second(second)?;
        for line in self.unanswered.overdue(Timestamp::MAX, &self.options.zone) {
            let _ = self.out(&line)?;
        }
        let stream = self.sink.flush()?;
        let mut line = Line::hanging(3);
        // The terminal has written "^C" and stayed on that line.
        if interrupted && self.options.err.width != super::Width::Unlimited {
            line.plain(" ");
        }
        line.append(summary::ledger(ledger, self.options.outside));
        self.err(&line);
        for line in self.totals.lines() {
            self.err(&line);
        }
        Ok(stream)
    }

    fn note(&mut self, text: &str) {
        let mut line = Line::hanging(3);
        line.plain(text);
        self.err(&line);
    }

    fn warning(&mut self, text: &str) {
        let mut line = Line::hanging(3);
        line.push(Role::Warning, "warning: ").plain(text);
        self.err(&line);
    }
}

/// `12:07:01 ✗ docker-user-drop   api:53/udp  ×48,213/s  1,204 sources  DOCKER-USER #3 (counter)`.
fn storm_lines(second: &Second, zone: &TimeZone) -> Vec<Line> {
    let time = Timestamp::from_second(second.at).map_or_else(
        |_| "--:--:--".to_owned(),
        |time| time.to_zoned(zone.clone()).strftime("%T").to_string(),
    );
    let width = |text: &str| {
        let mut line = Line::default();
        line.plain(text);
        line.columns()
    };
    let rate = |count: u64| format!("×{}/s", thousands(count));
    let rows = &second.rows;
    let causes = rows.iter().map(|row| width(&row.cause)).max().unwrap_or(0);
    let whose = rows.iter().map(|row| width(&row.whose)).max().unwrap_or(0);
    let rates = rows
        .iter()
        .map(|row| width(&rate(row.count)))
        .max()
        .unwrap_or(0);
    let mut lines: Vec<Line> = rows
        .iter()
        .map(|row| {
            let mut line = Line::hanging(11);
            line.push(Role::Dim, time.clone()).plain(" ");
            line.push(row.role, format!("✗ {}", row.cause));
            line.plain(" ".repeat(causes - width(&row.cause) + 3));
            line.push(Role::Name, &row.whose);
            line.plain(" ".repeat(whose - width(&row.whose) + 2));
            let rate = rate(row.count);
            line.plain(" ".repeat(rates - width(&rate))).plain(rate);
            match &row.sources {
                Sources::None => {}
                Sources::One(address) => {
                    line.plain(format!("  from {address}"));
                }
                Sources::Many { number, at_least } => {
                    let sign = if *at_least { "≥" } else { "" };
                    line.plain(format!("  {sign}{}", counted(*number, "source")));
                }
            }
            if let Some(detail) = &row.detail {
                line.plain(format!("  {detail}"));
            }
            line
        })
        .collect();
    if second.more > 0 {
        let mut line = Line::default();
        line.push(Role::Dim, time).plain(format!(
            "   +{} more  {}",
            second.more,
            rate(second.more_count)
        ));
        lines.push(line);
    }
    lines
}
