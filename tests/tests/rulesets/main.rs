//! What the simulation of rulesets says is what the kernel does.
//!
//! Random rulesets of what Docker, ufw, firewalld and administrators write, for iptables-nft, iptables-legacy, nft and
//! mixtures of them, in a router of its own; random packets, answers and errors through it. The simulation may say that it
//! cannot tell; else it names exactly the rules whose counters moved. `DOCKERNET_TEST_SEED` chooses the rulesets,
//! `DOCKERNET_TEST_RULESETS` how many there are, `DOCKERNET_TEST_RULESET` runs the one of that number.

#![expect(clippy::expect_used, reason = "tests")]

mod blur;
mod compare;
mod follow;
mod frame;
mod native;
mod packets;
mod place;
mod predict;
mod rng;
mod world;
mod xtables;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dockernet_tests::{can_run, progress};

use self::{compare::Tally, rng::Rng, world::World};

/// Rulesets of a quick run, and of a full one.
const QUICK: u64 = 20;
const FULL: u64 = 300;

#[test]
fn the_kernel_does_what_the_simulation_says() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let full = std::env::var_os("DOCKERNET_TEST_FULL").is_some_and(|value| value == "1");
    let seed: u64 = std::env::var("DOCKERNET_TEST_SEED").map_or(Ok(0), |text| text.parse())?;
    let count = match std::env::var("DOCKERNET_TEST_RULESETS") {
        Ok(text) => text.parse()?,
        Err(_) if full => FULL,
        Err(_) => QUICK,
    };
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let first = seed.wrapping_mul(1_000_003);
    let cases = match std::env::var("DOCKERNET_TEST_RULESET") {
        Ok(text) => text.parse().map(|one| one..one + 1)?,
        Err(_) => first..first.saturating_add(count),
    };
    for case in cases {
        if let Err(error) = one(case, &mut tally) {
            progress(&format!("ruleset {case} ... FAILED: {error:#}"));
            failed.push(case);
            if failed.len() == 5 {
                break;
            }
        }
    }
    progress(&format!(
        "{tally}; {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    ensure!(
        failed.is_empty(),
        "rulesets {failed:?}: the simulation and the kernel differ"
    );
    // A simulation that never told anything would pass all the above.
    ensure!(
        tally.unclear * 4 < tally.sent,
        "too many that cannot be told: {tally}"
    );
    ensure!(
        tally.left_open * 20 <= tally.attributed,
        "too many that counters do not tell: {tally}"
    );
    Ok(())
}

/// One ruleset in a router of its own.
fn one(case: u64, tally: &mut Tally) -> Result<()> {
    let mut rng = Rng::new(case);
    let world = World::new()?;
    load(&world, &mut rng).context("loading rules")?;
    compare::run(&world, &mut rng, tally).with_context(|| {
        let file = format!("{}/ruleset-{case}.txt", env!("CARGO_TARGET_TMPDIR"));
        match std::fs::write(&file, world.listing()) {
            Ok(()) => format!("its rules are in {file}"),
            Err(error) => format!("its rules could not be written to {file}: {error}"),
        }
    })
}

/// Rules by one or two of the backends.
fn load(world: &World, rng: &mut Rng) -> Result<()> {
    let kind = rng.below(10);
    let nft_tables = matches!(kind, 0..4 | 8);
    let legacy_tables = matches!(kind, 4..6 | 9);
    let native = matches!(kind, 6..10);
    let (strange, nat, notrack) = (rng.percent(15), rng.percent(40), rng.percent(25));
    for (wanted, backend) in [(nft_tables, "nft"), (legacy_tables, "legacy")] {
        if !wanted {
            continue;
        }
        for v6 in [false, true] {
            let style = xtables::Style {
                v6,
                strange,
                nat,
                notrack,
            };
            let program = if v6 { "ip6tables" } else { "iptables" };
            world.load(
                &format!("{program}-{backend}-restore"),
                &[],
                &xtables::dump(rng, &style),
            )?;
        }
    }
    if native {
        let style = native::Style {
            strange,
            nat,
            notrack,
            netdev: rng.percent(35),
        };
        world.load("nft", &["-f", "-"], &native::script(rng, &style))?;
    }
    Ok(())
}
