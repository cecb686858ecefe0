//! docs/benchmarks.md, one section per benchmark.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};

const HEAD: &str = "# Benchmarks\n\nWritten by `cargo xtask bench [NAME]` with the program as it is packed (`cargo xtask dist`), on real kernels,\nengines and packets, in the lab's namespaces. Ratios are of interleaved\nrepetitions in one run, and medians of those: the machine's own speed cancels out, what else it does only partly.\n";

/// Writes a section in place of the one of the same name.
pub(crate) fn replace(name: &str, text: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("docs/benchmarks.md");
    fs::create_dir_all(root.join("docs"))?;
    let old = fs::read_to_string(&file).unwrap_or_else(|_| HEAD.to_owned());
    let title = format!("\n## {name}\n");
    let section = format!("{title}\n{}\n", text.trim());
    let new = match old.split_once(&title) {
        Some((before, after)) => {
            let rest = after.find("\n## ").and_then(|at| after.get(at..));
            format!("{before}{section}{}", rest.unwrap_or_default())
        }
        None => format!("{}\n{section}", old.trim_end()),
    };
    fs::write(&file, new).with_context(|| format!("writing {}", file.display()))
}

/// Ratios of pairs of runs.
pub(crate) struct Pairs(Vec<f64>);

impl Pairs {
    /// Runs one thing and another in turns, so that neither always comes first.
    pub(crate) fn measure(
        pairs: usize,
        with: impl Fn() -> Result<f64>,
        without: impl Fn() -> Result<f64>,
    ) -> Result<Self> {
        let mut ratios = Vec::new();
        for pair in 0..pairs {
            let (with, without) = if pair % 2 == 0 {
                let with = with()?;
                (with, without()?)
            } else {
                let without = without()?;
                (with()?, without)
            };
            ratios.push(with / without);
        }
        Ok(Self(ratios))
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(0.0, f64::max);
        write!(f, "{:.3} (from {least:.3} to {most:.3})", median(&self.0))
    }
}

/// The middle one of some measurements.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The machine, in a few words.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, model)| model)
        .to_owned();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "Linux {}, {cores} cores ({model}), load average {load} at the start.",
        kernel.trim()
    )
}
