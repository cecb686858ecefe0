//! One file per output. Both writers implement [`Report`].

mod block;
mod clean;
mod endpoint;
mod json;
mod nat;
mod path;
mod pcapng;
mod protocol;
mod sink;
mod storm;
mod style;
mod summary;
mod text;
mod unanswered;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use anyhow::Result;
use dockernet_common::count::Totals;
use jiff::{Timestamp, tz::TimeZone};

pub(crate) use block::{cause_name, fixes, full as block, key as block_key, labelled};
pub(crate) use clean::{ascii, line as cleaned, without_secrets};
pub(crate) use endpoint::{destination, source, subject, subject_name};
pub use json::Json;
pub(crate) use json::json_line;
#[cfg(test)]
pub(crate) use json::schemas;
pub use pcapng::Pcapng;
pub(crate) use pcapng::{Frame, Packets};
pub(crate) use style::{Line, Role, counted, thousands};
pub use style::{Look, Width};
pub(crate) use summary::{Totals as Summary, ledger as ledger_line};
pub use text::{Text, TextOptions};

use crate::{
    bpf::reasons::Reasons,
    cli::{
        Usage,
        options::{Options, Output, Scope},
    },
    host::state::Notebook,
    inventory::Inventory,
    model::{Drop, Fate, FlowSum, Ledger, PathEvent, Ready, Transition},
};

/// Whether somebody still reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stream {
    /// Go on.
    Open,
    /// The reader of stdout has gone (`| head`): end quietly, with status 0.
    Closed,
}

/// What the kernel's counters say by now.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Packets whose detail is on its way are not in it yet.
    pub ledger: &'a Ledger,
    /// The kernel half's own sums.
    pub totals: &'a Totals,
    /// Packets by the kernel's number of the reason.
    pub reasons: &'a BTreeMap<u32, u64>,
    /// What these reasons are called.
    pub names: &'a Reasons,
    /// The fullest that the ring was since the last time, of 1.
    pub ring: f64,
    /// Who is who now.
    pub inventory: &'a Inventory,
}

/// Where results go. Errors are those of writing to stdout (a full disk), never a closed pipe.
pub trait Report {
    /// The first line. `after`: time from start to ready.
    ///
    /// # Errors
    /// Writing failed.
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream>;

    /// A drop that is to be shown. (A method called `drop` could not be called on a `Box<dyn Report>`.)
    ///
    /// # Errors
    /// Writing failed.
    fn dropped(&mut self, drop: &Drop) -> Result<Stream>;

    /// A NAT transition that is to be shown. Reports without that view have nothing to do, here as in the next two.
    ///
    /// # Errors
    /// Writing failed.
    fn transition(&mut self, _transition: &Transition) -> Result<Stream> {
        Ok(Stream::Open)
    }

    /// What was seen of a followed flow.
    ///
    /// # Errors
    /// Writing failed.
    fn path(&mut self, _event: &PathEvent) -> Result<Stream> {
        Ok(Stream::Open)
    }

    /// What the followed flows came to; before [`Report::finish`].
    ///
    /// # Errors
    /// Writing failed.
    fn flows(&mut self, _sums: &[FlowSum]) -> Result<Stream> {
        Ok(Stream::Open)
    }

    /// A failure that leaves no dropped packet (`packet` is none).
    ///
    /// # Errors
    /// Writing failed.
    fn finding(&mut self, finding: &Drop) -> Result<Stream>;

    /// The end of a batch: what is buffered goes out. Call it at least every 100 ms, with the wall clock: a storm's
    /// lines are due at the end of each second.
    ///
    /// # Errors
    /// Writing failed.
    fn tick(&mut self, now: Timestamp) -> Result<Stream>;

    /// An interim ledger.
    ///
    /// # Errors
    /// Writing failed.
    fn ledger(&mut self, ledger: &Ledger) -> Result<Stream>;

    /// The end has begun: what is under way is waited for, then comes [`Report::finish`].
    fn ending(&mut self) {}

    /// The end: the final ledger, and in text a summary per cause. `interrupted`: by SIGINT.
    ///
    /// # Errors
    /// Writing failed.
    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream>;

    /// Every drop, shown or not, with its bytes: for those who count. Remainders that were only counted are among them.
    fn accounted(&mut self, _fate: Fate, _drop: &Drop, _bytes: u64) {}

    /// Where it wants to be told what the host was asked for a verdict, before the drop that it is about.
    fn notebook(&self) -> Option<Notebook> {
        None
    }

    /// Who is who has changed; before what is told by it.
    fn inventory(&mut self, _inventory: &Inventory) {}

    /// Once a second: what the kernel has counted so far.
    fn counted(&mut self, _counted: &Counted<'_>) {}

    /// What people like to know at the end. Goes to stderr.
    fn note(&mut self, _text: &str) {}

    /// Something that the user should know now. Goes to stderr.
    fn warning(&mut self, text: &str);
}

/// The writer that the options ask for, on stdout and stderr.
///
/// # Errors
/// Packets on a terminal.
pub fn open(options: &Options) -> Result<Box<dyn Report + Send>> {
    open_at(options, None)
}

/// The same for what began at another time than now.
///
/// # Errors
/// As [`open`].
pub fn open_at(options: &Options, since: Option<Timestamp>) -> Result<Box<dyn Report + Send>> {
    if options.pcapng {
        if io::stdout().is_terminal() {
            return Err(Usage(
                "--output pcapng writes packets, which are not for a terminal: redirect it to a file, or pipe it to: wireshark -k -i -"
                    .into(),
            )
            .into());
        }
        return Ok(Box::new(Pcapng::new(
            io::stdout(),
            text(options, io::sink(), since),
        )));
    }
    Ok(match options.output {
        Output::Json => Box::new(Json::new(io::stdout())),
        Output::Text => text(options, io::stdout(), since),
    })
}

/// What tells how a run goes whose results are kept in a file: the first and the last line of its output.
#[must_use]
pub fn notes(options: &Options) -> Box<dyn Report + Send> {
    match options.output {
        Output::Json => Box::new(Json::new(io::stdout())),
        Output::Text => text(options, io::sink(), None),
    }
}

fn text(
    options: &Options,
    out: impl Write + Send + 'static,
    since: Option<Timestamp>,
) -> Box<dyn Report + Send> {
    let text = TextOptions {
        out: Look::of(options, &io::stdout(), Width::Stdout),
        err: Look::of(options, &io::stderr(), Width::Stderr),
        oneline: options.oneline,
        verbose: options.verbose > 0,
        outside: outside(options.scope),
        zone: TimeZone::system(),
        clock: Timestamp::now,
        since,
    };
    Box::new(Text::new(out, io::stderr(), text))
}

/// What being out of scope means.
pub(crate) fn outside(scope: Scope) -> &'static str {
    match scope {
        Scope::Containers => "host-only",
        Scope::Host | Scope::All => "elsewhere",
    }
}
