//! A recording, shown as if it happened now: the same filters, the same writers, no kernel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};

use super::{
    anew::{Anew, Judged},
    catalogue_hash,
    frames::{Frames, Gap},
    line::{self, FORMAT, Header, Line},
    sums::Sums,
};
use crate::{
    cause::catalogue,
    cli::{Exit, Filter, Job, Usage, options::Options},
    model::{Drop, Fate, Ledger, Ready, Transition},
    pcap_filter::Expression,
    pipeline::{Signals, accepted, asked_for, block_signals, includes, wanted},
    report::{self, Report, Stream, counted},
};

/// While nothing came, the pipeline looked so often; what is due by time is told then.
const IDLE: SignedDuration = SignedDuration::from_millis(500);
/// How much later than others of its time a line may be written: a cause that has to be found first.
const WAITED: SignedDuration = SignedDuration::from_secs(20);
/// Looks after which nothing is due any more.
const LOOKS: i32 = 4;
/// A signal is looked for after so many lines: each may need a verdict.
const LINES: usize = 256;
/// Causes and containers remembered by name.
const NAMES: usize = 65_536;

/// A recording, by the name that the user gave it.
pub struct Source<'a> {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub input: Box<dyn Read + 'a>,
}

/// `replay FILE…`.
///
/// # Errors
/// A file cannot be opened or is no recording, or the output cannot be written.
pub fn run(options: &Options, files: &[PathBuf]) -> Result<Exit> {
    block_signals()?;
    let mut signals = Signals::new()?;
    let sources = in_order(files)?;
    let expression = options
        .expression
        .as_deref()
        .map(Expression::compile)
        .transpose()?;
    replay(
        options,
        expression.as_ref(),
        sources,
        &mut || signals.take(),
        &report::open_at,
    )
}

/// A rotated recording's parts in whatever order a shell names them; recordings of several runs, the oldest first.
pub(super) fn in_order(files: &[PathBuf]) -> Result<Vec<Source<'static>>> {
    let sources = files.iter().map(|path| open(path));
    let sources: Vec<Source<'_>> = sources.collect::<Result<_>>()?;
    let told: Vec<Option<(Timestamp, u32)>> = files.iter().map(|path| place(path)).collect();
    // A part whose beginning is damaged is where its name puts it.
    let places: Option<Vec<(Timestamp, u32)>> = files
        .iter()
        .zip(&told)
        .map(|(path, place)| place.or_else(|| beside(path, files.iter().zip(&told))))
        .collect();
    let Some(places) = places else {
        return Ok(sources);
    };
    let mut placed: Vec<_> = places.into_iter().zip(sources).collect();
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, source)| source).collect())
}

/// Its place by that of another part: `x.1` is the one before `x`.
fn beside<'a>(
    path: &Path,
    mut others: impl Iterator<Item = (&'a PathBuf, &'a Option<(Timestamp, u32)>)>,
) -> Option<(Timestamp, u32)> {
    let (base, age) = numbered(path);
    others.find_map(|(other, place)| {
        let (its_base, its_age) = numbered(other);
        let (started, part) = place.filter(|_| its_base == base)?;
        Some((started, part.checked_add(its_age)?.saturating_sub(age)))
    })
}

/// The name that all parts of a recording begin with, and how many came after this one.
fn numbered(path: &Path) -> (PathBuf, u32) {
    let extension = path.extension().and_then(|text| text.to_str());
    match extension.and_then(|text| text.parse().ok()) {
        Some(age) => (path.with_extension(""), age),
        None => (path.to_owned(), 0),
    }
}

fn open(path: &Path) -> Result<Source<'static>> {
    if path == Path::new("-") {
        return Ok(Source {
            name: "standard input".into(),
            input: Box::new(io::stdin()),
        });
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("opening {name}"))?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(Usage(format!("{name} is a directory; expected a recording")).into());
    }
    Ok(Source {
        name,
        input: Box::new(file),
    })
}

/// When the run of a recording began, and which part of it this is, if it says so at its beginning.
fn place(path: &Path) -> Option<(Timestamp, u32)> {
    let file = File::open(path).ok().filter(|_| path != Path::new("-"))?;
    // What cannot be read twice is read in its turn.
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut content = Vec::new();
    Frames::new(file).ok()?.next(&mut content).ok()?;
    match line::read(lines(&content).first()?, &mut 0, false).ok()? {
        Line::Header(header) => Some((header.started, header.part)),
        _ => None,
    }
}

/// Makes the writer once it is known when the recording began.
pub type Opener<'a> = &'a dyn Fn(&Options, Option<Timestamp>) -> Result<Box<dyn Report + Send>>;

/// Shows recordings one after another. `expression`: the options' `--filter`, compiled. `stop` is asked again and again: whether a signal came, and whether it was SIGINT.
///
/// # Errors
/// One is no recording, or the output cannot be written.
pub fn replay(
    options: &Options,
    expression: Option<&Expression>,
    sources: Vec<Source<'_>>,
    stop: &mut dyn FnMut() -> Result<Option<bool>>,
    opener: Opener<'_>,
) -> Result<Exit> {
    let mut replay = Replay::new(options, expression, opener);
    let mut interrupted = false;
    'files: for source in sources {
        let mut frames = Frames::new(source.input).context("starting zstd")?;
        replay.begin(&source.name);
        let mut content = Vec::new();
        while frames
            .next(&mut content)
            .with_context(|| format!("reading {}", source.name))?
        {
            for texts in lines(&content).chunks(LINES) {
                for text in texts {
                    replay.line(text)?;
                    if replay.is_over() {
                        break 'files;
                    }
                }
                if let Some(by_interrupt) = stop()? {
                    interrupted = by_interrupt;
                    break 'files;
                }
            }
        }
        replay.end(frames.gaps())?;
    }
    replay.finish(interrupted)
}

fn lines(content: &[u8]) -> Vec<&[u8]> {
    let lines = content.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).collect()
}

struct Replay<'a> {
    options: &'a Options,
    expression: Option<&'a Expression>,
    opener: Opener<'a>,
    report: Option<Box<dyn Report + Send>>,
    /// The filter without causes, which goes before scope and noise.
    coarse: Filter,
    /// Bridge devices by the names of their networks.
    bridges: HashMap<String, String>,
    /// Containers that were known at some time, by id.
    containers: BTreeMap<String, String>,
    networks: BTreeSet<String>,
    header: Option<Header>,
    /// The file that is read.
    name: String,
    sums: Sums,
    /// Its ledger is the last.
    is_ended: bool,
    /// Packets of this file's drop lines, and its NAT lines.
    in_file: u64,
    nat_in_file: u64,
    found: u64,
    lines_left: Option<u64>,
    until: Option<Timestamp>,
    closed: bool,
    over: bool,
    clock: Option<Timestamp>,
    /// Since when the file that is read goes on.
    since: Option<Timestamp>,
    unknown_types: u64,
    unknown_keys: u64,
    unreadable: u64,
    /// Causes that this catalogue does not have.
    unknown_causes: BTreeSet<String>,
    is_damaged: bool,
    /// Judges again what another version has judged.
    anew: Option<Box<Anew>>,
    /// When the run began whose file is read.
    run: Option<Timestamp>,
    /// Its latest part.
    part: u32,
    /// Packets with another cause now, and those of which too little was recorded.
    changed: u64,
    left: u64,
}

impl<'a> Replay<'a> {
    fn new(options: &'a Options, expression: Option<&'a Expression>, opener: Opener<'a>) -> Self {
        Self {
            options,
            expression,
            opener,
            report: None,
            coarse: Filter {
                causes: Vec::new(),
                ..options.filter.clone()
            },
            bridges: HashMap::new(),
            containers: BTreeMap::new(),
            networks: BTreeSet::new(),
            header: None,
            name: String::new(),
            sums: Sums::default(),
            is_ended: false,
            in_file: 0,
            nat_in_file: 0,
            found: 0,
            lines_left: options.count.map(std::num::NonZeroU64::get),
            until: None,
            closed: false,
            over: false,
            clock: None,
            since: None,
            unknown_types: 0,
            unknown_keys: 0,
            unreadable: 0,
            unknown_causes: BTreeSet::new(),
            is_damaged: false,
            anew: None,
            run: None,
            part: 0,
            changed: 0,
            left: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.closed || self.over || self.lines_left == Some(0)
    }

    fn begin(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.is_ended = false;
        (self.in_file, self.nat_in_file) = (0, 0);
    }

    /// The end of a file.
    fn end(&mut self, gaps: &[Gap]) -> Result<()> {
        if self.header.is_none() && self.report.is_none() {
            let why = match gaps {
                [] => "it is empty".to_owned(),
                [gap, ..] if gap.is_cut => format!("it ends after {} bytes", gap.at + gap.bytes),
                _ => "no frame in it could be read".to_owned(),
            };
            anyhow::bail!(
                "{} is no recording of dockernet-trace: {why}; write one with: dockernet-trace record FILE",
                self.name
            );
        }
        let mut problems: Vec<String> = gaps.iter().map(|gap| gap.told(&self.name)).collect();
        let current = &self.sums.current;
        let nat = current.nat.map_or(0, |nat| nat.shown);
        for (what, expected, found) in [
            ("drops", current.shown, self.in_file),
            ("NAT transitions", nat, self.nat_in_file),
        ] {
            if self.is_ended && expected > found {
                problems.push(format!(
                    "{}: {} of {expected} {what} are missing",
                    self.name,
                    expected - found
                ));
            }
        }
        if !self.is_ended {
            problems.push(format!(
                "{} has no end: the recorder still runs, was killed, or the file was cut off",
                self.name
            ));
        }
        self.is_damaged |= !problems.is_empty();
        for problem in problems {
            self.report()?.warning(&problem);
        }
        self.seconds_so_far();
        self.since = None;
        self.sums.next_file();
        Ok(())
    }

    /// The writer; made now if the recording's beginning is missing.
    fn report(&mut self) -> Result<&mut Box<dyn Report + Send>> {
        if self.report.is_none() {
            let version = self
                .header
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |header| header.version.clone());
            self.ready(&Ready {
                schema: 1,
                version,
                kernel: "unknown".into(),
                docker: None,
                docker_host: None,
                containers: 0,
                programs: Vec::new(),
                degraded: vec!["the beginning of the recording is missing".into()],
            })?;
        }
        self.report.as_mut().context("no writer")
    }

    fn ready(&mut self, ready: &Ready) -> Result<()> {
        if self.report.is_some() {
            // A later part's.
            return Ok(());
        }
        let header = self.header.as_ref();
        let started = header.map(|header| header.started);
        let mut report = (self.opener)(self.options, started)?;
        let after = header.map_or(Duration::ZERO, Header::ready_after);
        if report.ready(ready, after)? == Stream::Closed {
            self.closed = true;
        }
        if let Some(header) = header
            && header.catalogue != catalogue_hash()
        {
            report.warning(&format!(
                "recorded by dockernet-trace {} with another catalogue of causes: this version's is applied to what was recorded",
                header.version
            ));
        }
        self.report = Some(report);
        Ok(())
    }

    fn line(&mut self, text: &[u8]) -> Result<()> {
        let Ok(line) = line::read(text, &mut self.unknown_keys, self.anew.is_some()) else {
            self.unreadable += 1;
            return Ok(());
        };
        match line {
            Line::Header(header) => self.header_line(header),
            Line::Ready(ready) => self.ready(&ready),
            Line::Inventory(known, parts) => {
                if let (Some(anew), Some(parts)) = (&mut self.anew, parts) {
                    anew.inventory(*parts);
                }
                self.bridges = known.bridges();
                for container in known.containers {
                    if self.containers.len() < NAMES {
                        self.containers.insert(container.id, container.name);
                    }
                }
                for network in known.networks {
                    if self.networks.len() < NAMES {
                        self.networks.insert(network.name);
                        self.networks.extend(network.bridge);
                    }
                }
                Ok(())
            }
            Line::State(asked) => {
                if let (Some(anew), Some(asked)) = (&mut self.anew, asked) {
                    anew.asked(asked);
                }
                Ok(())
            }
            Line::Drop(drop) => {
                self.in_file = self.in_file.saturating_add(drop.count);
                if !self.options.drops || self.is_late(drop.time)? {
                    return Ok(());
                }
                self.dropped(*drop)
            }
            Line::Finding(finding) => {
                if !self.options.drops || self.is_late(finding.time)? {
                    return Ok(());
                }
                self.finding(*finding)
            }
            Line::Nat(transition) => {
                self.nat_in_file = self.nat_in_file.saturating_add(1);
                if !self.options.nat || self.is_late(transition.time)? {
                    return Ok(());
                }
                self.transition(&transition)
            }
            Line::Tick(time) => {
                if self.is_late(time)? {
                    return Ok(());
                }
                let stream = self.report()?.tick(time)?;
                self.note(stream);
                Ok(())
            }
            Line::Ledger(ledger) => {
                self.is_ended = ledger.is_final;
                self.sums.current = ledger;
                if !self.is_ended {
                    let ledger = self.ledger();
                    let stream = self.report()?.ledger(&ledger)?;
                    self.note(stream);
                }
                Ok(())
            }
            Line::Unknown => {
                self.unknown_types += 1;
                Ok(())
            }
        }
    }

    fn header_line(&mut self, header: Header) -> Result<()> {
        if header.format > FORMAT {
            anyhow::bail!(
                "{} was written by dockernet-trace {} in format {}, this version reads format {FORMAT}; replay it with that version or a later one",
                self.name,
                header.version,
                header.format
            );
        }
        // Another run's host is another, whatever its namespaces are called.
        if self.run != Some(header.started) {
            self.run = Some(header.started);
            self.anew = Anew::of(&header);
        } else if header.part != self.part.saturating_add(1) {
            let (name, part, last) = (&self.name, header.part, self.part);
            let problem = format!(
                "{name} is part {part} of a recording, read after part {last}: what is between them is missing"
            );
            self.is_damaged = true;
            self.report()?.warning(&problem);
        }
        self.part = header.part;
        // A later part goes on where the one before ended, or, alone, with its first line.
        self.since = if header.part > 1 {
            self.clock
        } else {
            Some(header.started)
        };
        if self.header.is_some() {
            return Ok(());
        }
        if !header.reasons.is_empty() {
            self.options.check_reasons(&header.reasons)?;
        }
        let missing = [
            (self.options.drops && !header.drops, "--drops"),
            (self.options.nat && !header.nat, "--nat"),
        ];
        let takes_what_is_there =
            matches!(&self.options.job, Job::Replay(replay) if replay.every_view);
        for (is_missing, view) in missing {
            if is_missing && !takes_what_is_there {
                return Err(Usage(format!(
                    "{} has no {view} view: record it with {view}",
                    self.name
                ))
                .into());
            }
        }
        self.until = self.options.duration.and_then(|duration| {
            let duration = SignedDuration::try_from(duration).ok()?;
            header.started.checked_add(duration).ok()
        });
        self.header = Some(header);
        Ok(())
    }

    /// Whether it is from after `--duration`. What was due before is told: a line that waited for its cause stands behind later ones.
    fn is_late(&mut self, time: Timestamp) -> Result<bool> {
        if let Some(until) = self.until.filter(|until| time > *until) {
            self.over = time.duration_since(until) > WAITED;
            self.clock = Some(until);
            return Ok(true);
        }
        self.advance(time)?;
        self.clock = self.clock.max(Some(time));
        self.since = self.since.or(Some(time));
        Ok(false)
    }

    /// Looks as the pipeline did while nothing came.
    fn advance(&mut self, to: Timestamp) -> Result<()> {
        let Some(last) = self.clock else {
            return Ok(());
        };
        for look in 1..=LOOKS {
            let Ok(at) = last.checked_add(IDLE * look) else {
                break;
            };
            if at >= to {
                break;
            }
            let stream = self.report()?.tick(at)?;
            self.note(stream);
        }
        Ok(())
    }

    fn dropped(&mut self, mut drop: Drop) -> Result<()> {
        match self.anew.as_mut().map(|anew| anew.judge(&mut drop)) {
            Some(Judged::Other) => self.changed = self.changed.saturating_add(drop.count),
            Some(Judged::Left) => self.left = self.left.saturating_add(drop.count),
            Some(Judged::Same) | None => {}
        }
        let fate = self.fate(&mut drop);
        self.remember(&drop);
        let count = drop.count;
        let is_refused = fate == Fate::Shown && self.is_over();
        let fate = if is_refused { Fate::Filtered } else { fate };
        let column = self.sums.mine.column(fate);
        *column = column.saturating_add(count);
        if fate == Fate::Shown {
            if drop.noise.is_none() {
                self.found = self.found.saturating_add(count);
            }
            let stream = self.report()?.dropped(&drop)?;
            self.shown(stream);
        }
        Ok(())
    }

    /// As the pipeline decides, in the same order.
    fn fate(&self, drop: &mut Drop) -> Fate {
        let bridge_of = |name: &str| self.bridges.get(name).cloned();
        // The kernel half's part comes first.
        let is_accepted = |expression: &Expression| expression.accepts_drop(drop);
        if !self.expression.is_none_or(is_accepted) || !self.coarse.admits(drop, &bridge_of) {
            return Fate::Filtered;
        }
        if !includes(self.options.scope, drop.reach) {
            return Fate::OutOfScope;
        }
        if drop.noise.is_some() && !self.options.all {
            return Fate::Benign;
        }
        asked_for(self.options, drop, &bridge_of)
    }

    fn finding(&mut self, mut finding: Drop) -> Result<()> {
        // There is no packet that an expression could accept.
        if self.expression.is_some() || !includes(self.options.scope, finding.reach) {
            return Ok(());
        }
        let bridges = &self.bridges;
        let bridge_of = |name: &str| bridges.get(name).cloned();
        let fate = asked_for(self.options, &mut finding, &bridge_of);
        self.remember(&finding);
        if fate == Fate::Shown && !self.is_over() {
            let stream = self.report()?.finding(&finding)?;
            self.shown(stream);
        }
        Ok(())
    }

    fn transition(&mut self, transition: &Transition) -> Result<()> {
        if transition.listed && !self.options.all {
            return Ok(());
        }
        let bridges = &self.bridges;
        let bridge_of = |name: &str| bridges.get(name).cloned();
        let is_accepted = |expression: &Expression| accepted(transition, expression);
        if self.is_over()
            || !self.expression.is_none_or(is_accepted)
            || !wanted(transition, self.options, &bridge_of)
        {
            self.sums.nat.hidden += 1;
            return Ok(());
        }
        self.sums.nat.shown += 1;
        let stream = self.report()?.transition(transition)?;
        self.shown(stream);
        Ok(())
    }

    fn remember(&mut self, drop: &Drop) {
        let id = drop.cause.id.as_ref();
        let is_known = id == "unexplained" || catalogue::IDS.contains(&id);
        if !is_known && self.unknown_causes.len() < NAMES {
            self.unknown_causes.insert(id.to_owned());
        }
    }

    fn shown(&mut self, stream: Stream) {
        self.note(stream);
        if let Some(left) = &mut self.lines_left {
            *left = left.saturating_sub(1);
        }
    }

    fn note(&mut self, stream: Stream) {
        self.closed |= stream == Stream::Closed;
    }

    fn ledger(&self) -> Ledger {
        self.sums.ledger(self.options.drops, self.options.nat)
    }

    /// Where a file is not read to its end its ledger is not either: the time that was read is known all the same.
    fn seconds_so_far(&mut self) {
        if let (false, Some(since), Some(clock)) = (self.is_ended, self.since, self.clock) {
            let seconds = clock.duration_since(since).as_secs_f64();
            self.sums.current.seconds = self.sums.current.seconds.max(seconds);
        }
    }

    fn finish(mut self, interrupted: bool) -> Result<Exit> {
        self.seconds_so_far();
        let mut ledger = self.ledger();
        ledger.is_final = true;
        let warnings = self.warnings();
        let report = self.report()?;
        for warning in warnings {
            report.warning(&warning);
        }
        if !self.closed {
            let _over = self.report()?.finish(&ledger, interrupted)?;
        }
        let found = self.found > 0 || ledger.lost > 0;
        Ok(if self.options.expect_no_drops && found && !self.closed {
            Exit::Found
        } else if self.is_damaged {
            Exit::Failure
        } else {
            Exit::Done
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let judged = [
            (
                self.changed,
                "with another cause by this version's catalogue than when recorded",
            ),
            (
                self.left,
                "with the cause that was recorded: there is too little to judge again",
            ),
        ];
        warnings.extend(
            judged
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", counted(count, "packet"))),
        );
        if !self.unknown_causes.is_empty() {
            let ids: Vec<&str> = self.unknown_causes.iter().map(String::as_str).collect();
            warnings.push(format!(
                "this version's catalogue does not have: {}",
                ids.join(", ")
            ));
        }
        let counted = [
            (
                self.unknown_types,
                "lines of types that this version does not know were left out",
            ),
            (
                self.unknown_keys,
                "keys that this version does not know were left out",
            ),
            (self.unreadable, "lines could not be read"),
        ];
        warnings.extend(
            counted
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{count} {what}")),
        );
        let is_whole = !self.is_over();
        if is_whole && self.header.is_some() {
            let known: Vec<(&str, &str)> = self
                .containers
                .iter()
                .map(|(id, name)| (id.as_str(), name.as_str()))
                .collect();
            warnings.extend(self.options.filter.absent_containers(&known));
            let networks: Vec<&str> = self.networks.iter().map(String::as_str).collect();
            if let Err(Usage(absent)) = self.options.filter.check_networks(&networks) {
                warnings.push(absent);
            }
        }
        warnings
    }
}
