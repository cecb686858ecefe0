//! Two faults at the same time.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Scenario, placed, rename::Rename, text_of};
use crate::seed;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairs {
    pairs: Vec<[String; 2]>,
}

/// Reads `pairs/pairs.toml`, and each of its pairs as one scenario.
///
/// # Errors
/// The file is none, or names a scenario that cannot be read, or two that need different daemons.
pub fn pairs() -> Result<Vec<Scenario>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pairs/pairs.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let pairs: Pairs = toml::from_str(&text).with_context(|| path.display().to_string())?;
    pairs
        .pairs
        .iter()
        .map(|[first, second]| pair(first, second))
        .collect()
}

fn pair(first: &str, second: &str) -> Result<Scenario> {
    let seed = Rename::by_seed(seed()?);
    let (text, other_text) = (text_of(first)?, text_of(second)?);
    let names = shared(
        &Scenario::parse(first, &text)?,
        &Scenario::parse(second, &other_text)?,
    );
    let one = Scenario::parse(first, &seed.apply(&text))?;
    let other_text = seed.apply(&Rename::beside(names).apply(&other_text));
    let mut other = Scenario::parse(second, &other_text)?;
    ensure!(
        one.daemon == other.daemon && one.list_path == other.list_path,
        "{first} and {second} need different labs"
    );
    let mut both = one;
    both.name = format!("{first}+{second}");
    both.description = format!("{}; and {}", both.description, other.description);
    both.min_engine = both.min_engine.max(other.min_engine);
    both.max_engine = [both.max_engine, other.max_engine]
        .into_iter()
        .flatten()
        .min();
    both.needs.append(&mut other.needs);
    both.module = both.module.or(other.module.take());
    both.network.append(&mut other.network);
    both.container.append(&mut other.container);
    both.server.append(&mut other.server);
    both.setup.append(&mut other.setup);
    both.fault.append(&mut other.fault);
    both.teardown.append(&mut other.teardown);
    both.traffic.append(&mut other.traffic);
    if both.heal.is_empty() || other.heal.is_empty() {
        // Half mended is not silent.
        both.heal.clear();
    } else {
        both.heal.append(&mut other.heal);
    }
    let accepted = |expect: &super::Expect| [expect.cause.clone(), expect.also.clone()].concat();
    let (of_one, of_other) = (accepted(&both.expect), accepted(&other.expect));
    both.expect.also.extend(of_other);
    other.expect.also.extend(of_one);
    both.beside.push(other.expect);
    Ok(placed(both, &seed))
}

/// Names that both use.
fn shared(one: &Scenario, other: &Scenario) -> BTreeSet<String> {
    let names = |scenario: &Scenario| -> BTreeSet<String> {
        let networks = scenario.network.iter().map(|network| &network.name);
        let containers = scenario.container.iter().map(|container| &container.name);
        networks.chain(containers).cloned().collect()
    };
    names(one).intersection(&names(other)).cloned().collect()
}
