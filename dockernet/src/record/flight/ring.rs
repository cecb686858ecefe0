//! The packets of the last seconds.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use crate::report::Frame;

/// What they may take together, in bytes of memory: in a storm the time is shorter than was asked for.
const SIZE: usize = 4 << 20;

/// Frames, oldest first.
pub(super) struct Ring {
    frames: VecDeque<Frame>,
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

    pub(super) fn push(&mut self, frame: Frame) {
        self.size += frame.size();
        self.frames.push_back(frame);
        while self.size > SIZE {
            self.pop();
        }
    }

    /// Lets go of what is too old.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let time = self.time;
        let is_old = |frame: &Frame| {
            let age = now.duration_since(frame.time());
            Duration::try_from(age).is_ok_and(|age| age > time)
        };
        while self.frames.front().is_some_and(is_old) {
            self.pop();
        }
        if self.frames.is_empty() {
            self.frames.shrink_to_fit();
        }
    }

    /// Everything, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Frame> {
        self.size = 0;
        std::mem::take(&mut self.frames)
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.size = self.size.saturating_sub(frame.size());
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
