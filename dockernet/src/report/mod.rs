//! One file per output. Both writers implement [`Report`].

mod block;
mod clean;
mod endpoint;
mod json;
mod nat;
mod path;
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

use std::{collections::BTreeMap, env, io, time::Duration};

use anyhow::Result;
use dockernet_common::count::Totals;
use jiff::{Timestamp, tz::TimeZone};

pub(crate) use block::{fixes, labelled};
pub(crate) use clean::{ascii, line as cleaned, without_secrets};
pub(crate) use endpoint::{subject, subject_name};
pub use json::Json;
pub(crate) use json::json_line;
#[cfg(test)]
pub(crate) use json::schemas;
pub(crate) use style::{Line, Role, counted};
pub use style::{Look, Width};
pub use text::{Text, TextOptions};

use crate::{
    bpf::reasons::Reasons,
    cli::options::{ColorWhen, Options, Output, Scope},
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

    /// A NAT transition that is to be shown.
    ///
    /// # Errors
    /// Writing failed.
    fn transition(&mut self, transition: &Transition) -> Result<Stream>;

    /// What was seen of a followed flow.
    ///
    /// # Errors
    /// Writing failed.
    fn path(&mut self, event: &PathEvent) -> Result<Stream>;

    /// What the followed flows came to; before [`Report::finish`].
    ///
    /// # Errors
    /// Writing failed.
    fn flows(&mut self, sums: &[FlowSum]) -> Result<Stream>;

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

    /// The end: the final ledger, and in text a summary per cause. `interrupted`: by SIGINT.
    ///
    /// # Errors
    /// Writing failed.
    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream>;

    /// Every drop, shown or not, with its bytes: for those who count. Remainders that were only counted are among them.
    fn accounted(&mut self, _fate: Fate, _drop: &Drop, _bytes: u64) {}

    /// Once a second: what the kernel has counted so far.
    fn counted(&mut self, _counted: &Counted<'_>) {}

    /// Something that the user should know now. Goes to stderr.
    fn warning(&mut self, text: &str);
}

/// The writer that the options ask for, on stdout and stderr.
#[must_use]
pub fn open(options: &Options) -> Box<dyn Report + Send> {
    match options.output {
        Output::Json => Box::new(Json::new(io::stdout())),
        Output::Text => {
            let color = match options.color {
                ColorWhen::Auto => None,
                ColorWhen::Always => Some(true),
                ColorWhen::Never => Some(false),
            };
            let variable = |name: &str| env::var(name).ok();
            let text = TextOptions {
                out: Look::detect(&io::stdout(), Width::Stdout, color, &variable),
                err: Look::detect(&io::stderr(), Width::Stderr, color, &variable),
                oneline: options.oneline,
                verbose: options.verbose > 0,
                outside: match options.scope {
                    Scope::Containers => "host-only",
                    Scope::Host | Scope::All => "elsewhere",
                },
                zone: TimeZone::system(),
                clock: Timestamp::now,
            };
            Box::new(Text::new(io::stdout(), io::stderr(), text))
        }
    }
}
