//! Developer and set-up commands: `cargo xtask VERB`. One file per verb.

mod bench;
mod build;
mod cross;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod licenses;
mod lint;
mod process;
mod project;
mod run;
mod setup;
mod soak;
mod test;
mod vm;

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
        /// On these kernels instead, such as 5.10,6.1: boots each and runs a quick set in it (see docs/kernels.md)
        #[arg(long, value_delimiter = ',', conflicts_with = "full")]
        kernels: Vec<String>,
        /// With --kernels: a few faults on each, no table
        #[arg(long, requires = "kernels")]
        brief: bool,
        /// Only tests whose name contains this; further words go to the test harness
        #[arg(last = true)]
        filter: Vec<OsString>,
    },
    /// Boots a stock Debian kernel in an emulated machine and runs a command in it; its exit status is ours
    Vm {
        /// The kernel's series, such as 5.10, 6.1, 6.12, 6.18, 7.2
        #[arg(long)]
        kernel: String,
        /// More words for the kernel, such as lockdown=confidentiality; dockernet.cgroup=v1 mounts the old hierarchy
        #[arg(long, default_value = "")]
        cmdline: String,
        /// Seconds after which a guest without a terminal is ended
        #[arg(long, default_value_t = 300)]
        limit: u64,
        /// Without one: a shell where stdin is a terminal, else dockernet-trace doctor
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Breaks a Docker host in a lab, shows the tool naming the fault, mends it, cleans up
    Demo,
    /// Writes what is made of the program's own data: docs/causes.md, docs/metrics.md, docs/json.md, docs/schema.json
    Docs,
    /// Measures what the tool costs, in a lab; writes docs/benchmarks.md
    Bench {
        /// Which benchmarks (nat); all, if none is named
        names: Vec<String>,
    },
    /// Runs the service beside a Docker host that lives and breaks, for as long as you say; writes docs/soak.md
    Soak {
        /// Minutes
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
    },
    /// Runs the fuzz targets of tests/fuzz with libFuzzer; the first build takes ten minutes
    Fuzz {
        /// Which (btf, config, conntrack, docker, ebtables, iptables, nft, packet, proc, recording); all, if none is named
        names: Vec<String>,
        /// Minutes for each
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Then keeps the inputs that reach all that was reached, in tests/fuzz/corpus
        #[arg(long)]
        keep: bool,
    },
    /// Builds the program as people install it, small and for old systems, and its packages: target/packages
    Dist {
        /// Also tries them on Debian 11, in a folder: installs, upgrades, downgrades, removes, purges
        #[arg(long)]
        trial: bool,
        /// Also tries the .deb under a running systemd, in an emulated machine
        #[arg(long)]
        trial_vm: bool,
    },
    /// Formatting, clippy (both halves), documentation, generated pages and licences, warnings denied
    Lint {
        /// Also the user half for the other architecture (aarch64 on x86_64); minutes the first time
        #[arg(long)]
        cross: bool,
    },
    /// Checks the licence of every dependency against deny.toml
    Licenses,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Vm {
            kernel,
            cmdline,
            limit,
            command,
        } => return end(vm::verb(&kernel, &cmdline, limit, &command)),
        Verb::Setup { tests } => setup::verb(tests),
        Verb::Build { release } => build::verb(release),
        Verb::Run { args } => run::verb(&args),
        Verb::Test {
            kernels,
            brief,
            filter,
            ..
        } if !kernels.is_empty() => vm::matrix::verb(&kernels, brief, &filter),
        Verb::Test { full, filter, .. } => test::verb(full, &filter),
        Verb::Demo => demo::verb(),
        Verb::Docs => docs::verb(),
        Verb::Bench { names } => bench::verb(&names),
        Verb::Soak { minutes } => soak::verb(minutes),
        Verb::Fuzz {
            names,
            minutes,
            keep,
        } => fuzz::verb(&names, minutes, keep),
        Verb::Dist { trial, trial_vm } => dist::verb(dist::Where {
            folder: trial,
            machine: trial_vm,
        }),
        Verb::Lint { cross } => lint::verb(cross),
        Verb::Licenses => licenses::verb(),
    };
    end(done.map(|()| ExitCode::SUCCESS))
}

fn end(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
