//! The packets of the last seconds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::report::Frame;

/// What they may take together, in bytes of memory: in a storm the time is shorter than was asked for.
const SIZE: usize = 4 << 20;

/// Frames, oldest first, each with when it came: by the clock on the wall a packet may be of tomorrow, once that was set back.
pub(super) struct Ring {
    frames: VecDeque<(Instant, Frame)>,
    size: usize,
    time: Duration,
}

impl Ring {
    pub(super) fn new(time: Duration) -> Self {
        Self {
            frames: VecDeque::new(),
            size: 0,
            time,
        }
    }

    pub(super) fn push(&mut self, frame: Frame, now: Instant) {
        self.size += frame.size();
        self.frames.push_back((now, frame));
        while self.size > SIZE {
            self.pop();
        }
    }

    /// Lets go of what is too old.
    pub(super) fn forget(&mut self, now: Instant) {
        let time = self.time;
        let is_old = |(came, _): &(Instant, Frame)| now.saturating_duration_since(*came) > time;
        while self.frames.front().is_some_and(is_old) {
            self.pop();
        }
        if self.frames.is_empty() {
            self.frames.shrink_to_fit();
        }
    }

    /// Everything, oldest first.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Frame> + use<> {
        self.size = 0;
        let frames = std::mem::take(&mut self.frames);
        frames.into_iter().map(|(_, frame)| frame)
    }

    fn pop(&mut self) {
        if let Some((_, frame)) = self.frames.pop_front() {
            self.size = self.size.saturating_sub(frame.size());
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
