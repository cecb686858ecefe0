//! What is shown beside drops: followed flows, NAT transitions, failures that drop nothing.

use anyhow::Result;
use jiff::Timestamp;

use super::{Pipeline, State};
use crate::{
    cli::Exit,
    findings::{Finding, Findings},
    model::{Fate, PathEvent},
};

impl Pipeline {
    /// Reads what was seen of followed flows. Returns how many hops came.
    pub(super) fn hops(&mut self) -> usize {
        let inventory = self.inventory.borrow().clone();
        self.paths
            .as_mut()
            .map_or(0, |paths| paths.drain(&inventory))
    }

    /// Tells what is known of followed flows by now. Whether more is to come soon.
    pub(super) fn journeys(&mut self, state: &mut State) -> Result<bool> {
        let Some(paths) = &mut self.paths else {
            return Ok(false);
        };
        let held = state.held();
        let inventory = self.inventory.borrow().clone();
        let Some(events) = paths.due(&inventory, held)? else {
            state.over = true;
            return Ok(false);
        };
        let busy = paths.follower.is_busy() || paths.prober.is_some();
        self.tell(state, &events)?;
        Ok(busy)
    }

    pub(super) fn tell(&mut self, state: &mut State, events: &[PathEvent]) -> Result<()> {
        for event in events {
            if state.closed || state.lines_left == Some(0) {
                break;
            }
            state.note(self.report.path(event)?);
            if let Some(left) = state.lines_left.as_mut() {
                *left -= 1;
            }
        }
        Ok(())
    }

    /// What followed flows came to, and the exit status that this means.
    pub(super) fn flows(&mut self, state: &mut State) -> Result<Option<Exit>> {
        let inventory = self.inventory.borrow().clone();
        let Some(paths) = &mut self.paths else {
            return Ok(None);
        };
        let (events, sums, lost) = paths.finish(&inventory)?;
        let exit = paths.exit(&sums);
        self.tell(state, &events)?;
        if !state.closed {
            let _ = self.report.flows(&sums)?;
        }
        if let Some(lost) = lost {
            self.report.warning(&lost);
        }
        Ok(Some(exit))
    }

    /// Takes the NAT transitions that have come; they are shown with the drops, in the order of time. Returns how many.
    pub(super) fn transitions(&mut self, state: &mut State, last: bool) -> Result<usize> {
        let Some(nat) = &mut state.transitions else {
            return Ok(0);
        };
        state.merge.begin();
        let inventory = self.inventory.borrow().clone();
        let (found, is_nameless) = nat.drain(&self.options, &inventory, state.clock, last);
        if is_nameless {
            self.rescan.notify_one();
        }
        let count = found.len();
        state.merge.add(found);
        Ok(count)
    }

    /// Shows the transitions until `time`.
    pub(super) fn show_transitions(&mut self, state: &mut State, time: Timestamp) -> Result<()> {
        while let Some(transition) = state.merge.next_until(time) {
            let is_shown = !state.closed && state.lines_left != Some(0);
            if is_shown {
                state.note(self.report.transition(&transition)?);
                if let Some(left) = state.lines_left.as_mut() {
                    *left -= 1;
                }
            }
            if let Some(nat) = &mut state.transitions {
                nat.told(is_shown);
            }
        }
        Ok(())
    }

    /// The watch for failures that drop nothing, where drops are shown.
    pub(super) fn findings(&self) -> Option<Findings> {
        let is_wanted = self.options.drops && self.drops.is_some() && self.paths.is_none();
        let started = is_wanted.then(|| Findings::start(self.host.clone(), self.inventory.clone()));
        started?
            .inspect_err(|error| log::warn!("failures that drop nothing are not told: {error:#}"))
            .ok()
    }

    /// Shows the failures that were found meanwhile.
    pub(super) fn found(&mut self, state: &mut State) -> Result<()> {
        let found: Vec<Finding> = match &state.findings {
            Some(findings) => findings.take().collect(),
            None => return Ok(()),
        };
        self.findings_shown(state, found)
    }

    /// They are no drops, and stand in no ledger.
    pub(super) fn findings_shown(&mut self, state: &mut State, found: Vec<Finding>) -> Result<()> {
        let inventory = self.inventory.borrow().clone();
        for finding in found {
            let (fate, line) = state.fates.finding(&self.options, finding, &inventory);
            if fate != Fate::Shown || state.closed || state.lines_left == Some(0) {
                continue;
            }
            state.note(self.report.finding(&line)?);
            if let Some(left) = state.lines_left.as_mut() {
                *left -= 1;
            }
        }
        Ok(())
    }
}
