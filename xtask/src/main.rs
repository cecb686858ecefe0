//! Developer and set-up commands: `cargo xtask VERB`. One file per verb.

mod bench;
mod build;
mod demo;
mod docs;
mod licenses;
mod lint;
mod process;
mod project;
mod run;
mod setup;
mod test;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// Sets machines up, builds, runs and tests dockernet.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes this machine able to build the kernel half (does nothing when it already is)
    Setup {
        /// Also what the lab tests need: Docker engines, nft, tcpdump and the like
        #[arg(long)]
        tests: bool,
    },
    /// Builds dockernet-trace with its kernel half inside
    Build {
        /// With optimisations
        #[arg(long)]
        release: bool,
    },
    /// Builds and runs dockernet-trace with the privileges it needs: cargo xtask run -- --drops
    Run {
        /// Arguments for dockernet-trace
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Runs every test, those that need root and Docker included
    Test {
        /// Every case of every fault instead of this seed's share
        #[arg(long)]
        full: bool,
        /// Only tests whose name contains this; further words go to the test harness
        #[arg(last = true)]
        filter: Vec<OsString>,
    },
    /// Breaks a Docker host in a lab, shows the tool naming the fault, mends it, cleans up
    Demo,
    /// Writes the pages that are made of the program's own data: docs/causes.md
    Docs,
    /// Measures what the tool costs, in a lab; writes docs/benchmarks.md
    Bench {
        /// Which benchmarks (nat); all, if none is named
        names: Vec<String>,
    },
    /// Formatting, clippy (both halves), documentation, generated pages and licences, warnings denied
    Lint,
    /// Checks the licence of every dependency against deny.toml
    Licenses,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup { tests } => setup::verb(tests),
        Verb::Build { release } => build::verb(release),
        Verb::Run { args } => run::verb(&args),
        Verb::Test { full, filter } => test::verb(full, &filter),
        Verb::Demo => demo::verb(),
        Verb::Docs => docs::verb(),
        Verb::Bench { names } => bench::verb(&names),
        Verb::Lint => lint::verb(),
        Verb::Licenses => licenses::verb(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
