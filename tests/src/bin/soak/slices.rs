//! The run in slices of time: what each cost and held.

use std::collections::BTreeMap;

use crate::{trend::median, watch::Sample};

/// How many.
const SLICES: usize = 8;

/// The samples of slice after slice; each begins with the last of the one before.
pub(crate) fn of(samples: &[Sample]) -> Vec<&[Sample]> {
    let size = (samples.len() / SLICES).max(1);
    let mut slices = Vec::new();
    let mut from = 0;
    while from + size < samples.len() && slices.len() < SLICES {
        let is_last = slices.len() + 1 == SLICES;
        let to = if is_last {
            samples.len()
        } else {
            from + size + 1
        };
        slices.extend(samples.get(from..to));
        from += size;
    }
    slices
}

/// A part of the samples by their number, in quarters of the run.
pub(crate) fn quarters(samples: &[Sample], from: usize, to: usize) -> &[Sample] {
    let at = |quarter: usize| samples.len() * quarter / 4;
    samples.get(at(from)..at(to)).unwrap_or_default()
}

/// Shares of one core: the process, and the kernel half by the service's own account.
pub(crate) fn cpu(samples: &[Sample]) -> (f64, f64) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return (0.0, 0.0);
    };
    let span = (last.at.saturating_sub(first.at)).as_secs_f64();
    if span == 0.0 {
        return (0.0, 0.0);
    }
    (
        (last.cpu - first.cpu) / span,
        (last.kernel - first.kernel) / span,
    )
}

/// The least that was held of each kind.
pub(crate) fn least(samples: &[Sample]) -> BTreeMap<&'static str, u64> {
    let mut least = BTreeMap::new();
    for sample in samples {
        for (kind, number) in &sample.held {
            let entry = least.entry(*kind).or_insert(*number);
            *entry = (*entry).min(*number);
        }
    }
    least
}

/// KiB as MiB.
pub(crate) fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

/// One line of the report's table for each.
pub(crate) fn table(samples: &[Sample]) -> String {
    let mut text = String::from(
        "| minutes | RSS, MiB | of it heap and stacks | maps, MiB | descriptors | of them maps, programs, links | threads | CPU, % | kernel half, % | containers gone |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for slice in of(samples) {
        let (Some(first), Some(last)) = (slice.first(), slice.last()) else {
            continue;
        };
        let minute = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
        let least = least(slice);
        let held = |kind| least.get(kind).copied().unwrap_or(0);
        let (process, kernel) = cpu(slice);
        text.push_str(&format!(
            "| {:.1}–{:.1} | {:.2} | {:.2} | {:.2} | {} | {}, {}, {} | {} | {:.2} | {:.2} | {} |\n",
            minute(first),
            minute(last),
            median(slice.iter().map(|sample| mib(sample.rss))),
            median(slice.iter().map(|sample| mib(sample.own))),
            median(slice.iter().map(|sample| mib(sample.maps))),
            held("descriptors"),
            held("maps"),
            held("programs"),
            held("links"),
            held("threads"),
            process * 100.0,
            kernel * 100.0,
            last.churned,
        ));
    }
    text
}
