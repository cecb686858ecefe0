//! `record` and `replay`: what a run would have shown, in a file, and shown again on any machine.
//!
//! A recording is the JSON Lines of everything that was seen, with what the contract's lines leave out ([`mod@line`]), in
//! zstd frames that stand alone ([`frames`]). docs/recordings.md has the format.

mod anew;
pub(crate) mod files;
mod flight;
pub mod frames;
pub mod inventory;
pub mod line;
mod parts;
mod pcap;
mod replay;
mod sums;
mod write;

#[cfg(test)]
mod tests;

pub use flight::FlightRecorder;
pub use pcap::PcapngRecorder;
pub use replay::{Opener, Source, replay, run};
pub use write::Recorder;

use crate::{
    cause::catalogue::CATALOGUE,
    cli::options::{Job, Options, Scope},
    report::Report,
};

/// What is recorded whatever is to be shown later: `--scope`, `--all` and `--ignore` are left to `replay`. It reads no pcapng.
#[must_use]
pub fn everything(options: Options) -> Options {
    if matches!(&options.job, Job::Record(args) if args.pcapng) {
        return options;
    }
    Options {
        all: true,
        scope: Scope::All,
        ignore: Vec::new(),
        ..options
    }
}

/// What makes two catalogues differ, as 16 digits (FNV-1a, 64 bits: it has to be the same on every machine).
#[must_use]
pub fn catalogue_hash() -> String {
    let texts = CATALOGUE.iter().flat_map(|entry| {
        [
            entry.id,
            entry.title,
            entry.symptom,
            entry.evidence,
            entry.fix,
        ]
    });
    let hash = texts
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Says what was written.
fn wrote(notes: &mut dyn Report, files: &files::Files, number: u32) {
    let others = match number {
        1 => String::new(),
        number => format!(", the last of {number} files"),
    };
    notes.note(&format!(
        "wrote {} ({} bytes{others})",
        files.path().display(),
        files.size()
    ));
}
