//! Benchmarks in the lab: `bench [NAME]…`. Each replaces its section of docs/benchmarks.md. One file per benchmark.

mod drops;
mod nat;
mod path;
mod programs;
mod replay;
mod section;
mod start;
mod wire;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// A benchmark: its name, and what makes the text of its section.
type Bench = (&'static str, fn() -> Result<String>);

const BENCHES: &[Bench] = &[
    ("drops", drops::run),
    ("nat", nat::run),
    ("path", path::run),
    ("replay", replay::run),
    ("start", start::run),
];

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "no benchmark is called {name}; there are: {}",
            known.join(", ")
        );
    }
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let text = run()?;
            println!("{text}");
            section::replace(name, &text)?;
        }
    }
    Ok(())
}
