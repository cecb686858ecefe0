//! What the kernel itself says about drops: the tracepoint's text, without the tool.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// How often each `REASON@function` came up.
pub(crate) type Counts = BTreeMap<String, u64>;

/// How much the tracepoint's text tells, which kernels differ in: all before 5.17 give no reason, and those before 6.2
/// or so a hashed address instead of a function's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    ReasonAndFunction,
    Reason,
    Nothing,
}

impl Telling {
    fn of_format(text: &str) -> Self {
        match (text.contains("reason: "), text.contains("location=%pS")) {
            (true, true) => Self::ReasonAndFunction,
            (true, false) => Self::Reason,
            (false, _) => Self::Nothing,
        }
    }
}

/// A tracefs instance of our own that records `skb:kfree_skb`. It sees the whole machine.
#[derive(Debug)]
pub struct Evidence {
    instance: PathBuf,
    telling: Telling,
}

impl Evidence {
    /// Starts recording.
    ///
    /// # Errors
    /// tracefs is not mounted, or its instance cannot be made.
    pub fn start(name: &str) -> Result<Self> {
        let instance = Path::new("/sys/kernel/tracing/instances").join(format!("dn-{name}"));
        std::fs::create_dir_all(&instance)
            .with_context(|| format!("making {} (is tracefs mounted?)", instance.display()))?;
        let format = instance.join("events/skb/kfree_skb/format");
        let format = std::fs::read_to_string(&format)
            .with_context(|| format!("reading {}", format.display()))?;
        let telling = Telling::of_format(&format);
        let evidence = Self { instance, telling };
        evidence.write("trace", "")?;
        evidence.write("events/skb/kfree_skb/enable", "1")?;
        Ok(evidence)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.instance.join(file);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// Whether `counts` hold one of `wanted` (`REASON@function`), as far as this kernel's text tells.
    #[must_use]
    pub fn shows(&self, counts: &Counts, wanted: &[String]) -> bool {
        let reason = |key: &str| key.split('@').next().map(str::to_owned);
        wanted.is_empty()
            || match self.telling {
                Telling::ReasonAndFunction => wanted.iter().any(|key| counts.contains_key(key)),
                Telling::Reason => wanted
                    .iter()
                    .any(|key| counts.keys().any(|other| reason(other) == reason(key))),
                Telling::Nothing => true,
            }
    }

    /// Whether something of `wanted` (of everything, if it is empty) is in `counts` and not in `in_sight`.
    #[must_use]
    pub fn hides(&self, counts: &Counts, in_sight: &Counts, wanted: &[String]) -> bool {
        let hidden: Counts = counts
            .iter()
            .filter(|(key, count)| in_sight.get(*key).is_none_or(|seen| seen < count))
            .map(|(key, count)| (key.clone(), *count))
            .collect();
        !hidden.is_empty() && self.shows(&hidden, wanted)
    }

    /// Whether this kernel gives reasons at all.
    #[must_use]
    pub fn has_reasons(&self) -> bool {
        self.telling != Telling::Nothing
    }

    /// `REASON@function` → how often, since the start: all of them, and those that did not come up while a CPU was running process 1: a
    /// timer or a softirq that interrupts some task is seen as that task's. There are machines (micro VMs whose init is an agent) whose
    /// kernel runs no BPF program then, and counts none as missed: of 37,862 drops the 89 in that task's context, and no other, went
    /// unseen.
    ///
    /// # Errors
    /// The trace, or the list of process 1's threads, cannot be read.
    pub fn read(&self) -> Result<(Counts, Counts)> {
        let threads = std::fs::read_dir("/proc/1/task").context("reading /proc/1/task")?;
        let threads: Vec<String> = threads
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<_>>()
            .context("reading /proc/1/task")?;
        let file = self.instance.join("trace");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let is_outside =
            |line: &str| task(line).is_some_and(|task| !threads.iter().any(|own| own == task));
        Ok((counts(&text, |_| true), counts(&text, is_outside)))
    }
}

fn counts(text: &str, is_wanted: impl Fn(&str) -> bool) -> Counts {
    let mut counts = Counts::new();
    for key in text
        .lines()
        .filter(|line| is_wanted(line))
        .filter_map(parse)
    {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

impl Drop for Evidence {
    fn drop(&mut self) {
        self.write("events/skb/kfree_skb/enable", "0").ok();
        std::fs::remove_dir(&self.instance).ok();
    }
}

/// `… kfree_skb: skbaddr=… rx_sk=… protocol=2048 location=ip_error+0xb8/0x200 reason: IP_INADDRERRORS`
fn parse(line: &str) -> Option<String> {
    let location = line.split_once("location=")?.1;
    // A compiler's suffix, as in `ip_rcv_finish_core.isra.0`, is not the same in all kernels.
    let end = location.find(['+', ' ', '.']).unwrap_or(location.len());
    let reason = line.split_once("reason: ")?.1.trim();
    Some(format!("{reason}@{}", &location[..end]))
}

/// Number of the task that a line is about: `  tokio-rt-worker-75      [001] ..s1. 14437.166976: kfree_skb: …`
fn task(line: &str) -> Option<&str> {
    // A task's name may hold one, too.
    let (before, _) = line.rsplit_once(" [")?;
    before.trim_end().rsplit_once('-').map(|(_, task)| task)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Counts, Evidence, Telling, parse, task};

    #[test]
    fn what_was_hidden_is_only_what_was_wanted() {
        let evidence = Evidence {
            instance: PathBuf::new(),
            telling: Telling::ReasonAndFunction,
        };
        let counts = |pairs: &[(&str, u64)]| -> Counts {
            pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
        };
        let all = counts(&[("A@a", 3), ("B@b", 1)]);
        let seen = counts(&[("A@a", 2), ("B@b", 1)]);
        assert!(evidence.hides(&all, &seen, &["A@a".to_owned()]));
        assert!(!evidence.hides(&all, &seen, &["B@b".to_owned()]));
        assert!(evidence.hides(&all, &seen, &[]));
        assert!(!evidence.hides(&all, &all, &[]));
    }

    #[test]
    fn a_line_tells_reason_place_and_task() {
        let line = "  tokio-rt-worker-75      [001] ..s1. 14437.166976: kfree_skb: skbaddr=000000009bf79dea \
                    rx_sk=0000000000000000 protocol=2048 location=ip_expire+0x68/0x220 reason: FRAG_REASM_TIMEOUT";
        assert_eq!(parse(line).as_deref(), Some("FRAG_REASM_TIMEOUT@ip_expire"));
        assert_eq!(task(line), Some("75"));
        assert_eq!(task("# tracer: nop"), None);
    }
}
