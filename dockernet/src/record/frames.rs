//! Whole zstd frames out of a file that may be damaged or cut off. What cannot be read is stepped over, and told.

use std::io::{self, Read};

use zstd::{
    stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer},
    zstd_safe::DParameter,
};

/// How a frame begins (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The last three bytes of a skippable frame's beginning; the first is 0x50 to 0x5f (section 3.1.2).
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// The largest frame, before and after decompression, and the largest window. A recorder's hold 1 MiB and a line.
const LARGEST: usize = 1 << 24;
const WINDOW_LOG: u32 = 24;
/// Bytes that may be decompressed in vain in one file: a made-up one could keep us at it for days.
const VAIN: usize = 1 << 30;
const CHUNK: usize = 1 << 16;

/// Bytes that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// They are the beginning of a frame whose end is missing.
    pub is_cut: bool,
}

impl Gap {
    /// What is missing of the file `name`.
    pub(super) fn told(self, name: &str) -> String {
        let Self { at, bytes, is_cut } = self;
        if is_cut {
            format!(
                "{name} is cut off: its last {bytes} bytes, from position {at} on, are the beginning of a frame and were left out"
            )
        } else {
            format!("{name} is damaged: {bytes} bytes from position {at} on were left out")
        }
    }
}

/// Reads frames.
pub struct Frames<R> {
    input: R,
    /// Bytes that were read; those before `start` are done with.
    buffer: Vec<u8>,
    start: usize,
    /// Where in the file `start` is.
    position: u64,
    is_over: bool,
    decoder: Decoder<'static>,
    vain: usize,
    gaps: Vec<Gap>,
}

/// What comes next.
enum Found {
    /// A frame of so many bytes.
    Frame(usize),
    Damage,
    /// The file ends before the frame does.
    Cut,
}

impl<R: Read> Frames<R> {
    /// Reads from `input`.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn new(input: R) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self {
            input,
            buffer: Vec::new(),
            start: 0,
            position: 0,
            is_over: false,
            decoder,
            vain: 0,
            gaps: Vec::new(),
        })
    }

    /// What could not be read so far.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Puts the next whole frame's content into `content`; false at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self, content: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            content.clear();
            while self.rest().len() < MAGIC.len() && self.more()? {}
            if self.rest().is_empty() {
                return Ok(false);
            }
            if self.vain > VAIN {
                self.skip(self.rest().len(), false);
                continue;
            }
            let found = if self.rest().starts_with(&MAGIC) {
                self.frame(content)?
            } else if self.is_skippable() {
                match self.skippable()? {
                    true => continue,
                    false => Found::Cut,
                }
            } else {
                Found::Damage
            };
            match found {
                Found::Frame(length) => {
                    self.consume(length);
                    return Ok(true);
                }
                Found::Damage => self.resynchronise(false),
                Found::Cut => self.resynchronise(true),
            }
        }
    }

    /// What was read and is not done with.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn more(&mut self) -> io::Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let free = self.buffer.get_mut(old..).unwrap_or_default();
        let read = loop {
            match self.input.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(old);
                    return Err(error);
                }
                Ok(read) => break read.min(CHUNK),
            }
        };
        self.buffer.truncate(old + read);
        self.is_over = read == 0;
        Ok(read > 0)
    }

    fn frame(&mut self, content: &mut Vec<u8>) -> io::Result<Found> {
        self.decoder.reinit()?;
        let mut chunk = [0; CHUNK];
        let mut at = 0;
        loop {
            if at >= self.rest().len() && !self.more()? {
                return Ok(Found::Cut);
            }
            let rest = self.buffer.get(self.start + at..).unwrap_or_default();
            let mut input = InBuffer::around(rest);
            let mut output = OutBuffer::around(&mut chunk[..]);
            let left = self.decoder.run(&mut input, &mut output);
            let (read, written) = (input.pos(), output.pos());
            let Ok(left) = left else {
                self.vain = self.vain.saturating_add(content.len());
                return Ok(Found::Damage);
            };
            at += read;
            content.extend_from_slice(chunk.get(..written).unwrap_or_default());
            if left == 0 {
                return Ok(Found::Frame(at));
            }
            let is_stuck = read == 0 && written == 0;
            if content.len() > LARGEST || at > LARGEST || is_stuck && at < self.rest().len() {
                self.vain = self.vain.saturating_add(content.len());
                return Ok(Found::Damage);
            }
        }
    }

    fn is_skippable(&self) -> bool {
        matches!(self.rest(), [0x50..=0x5f, rest @ ..] if rest.starts_with(&SKIPPABLE))
    }

    /// Steps over a skippable frame; false if the file ends in it.
    fn skippable(&mut self) -> io::Result<bool> {
        while self.rest().len() < 8 {
            if !self.more()? {
                return Ok(false);
            }
        }
        let size = self.rest().get(4..8).and_then(|size| size.try_into().ok());
        let mut left = 8 + size.map_or(0, |size| u64::from(u32::from_le_bytes(size)));
        loop {
            let there = self.rest().len();
            let here = usize::try_from(left).map_or(there, |left| left.min(there));
            self.consume(here);
            left -= here as u64;
            if left == 0 {
                return Ok(true);
            }
            if !self.more()? {
                return Ok(false);
            }
        }
    }

    /// Goes on to what may be the next frame's beginning.
    fn resynchronise(&mut self, is_cut: bool) {
        let next = self
            .rest()
            .windows(MAGIC.len())
            .skip(1)
            .position(|window| window == MAGIC)
            .map(|place| place + 1);
        let skipped = match next {
            Some(next) => next,
            // A beginning may end the buffer.
            None if self.is_over => self.rest().len(),
            None => self.rest().len().saturating_sub(MAGIC.len() - 1).max(1),
        };
        self.skip(skipped, is_cut && next.is_none());
    }

    fn skip(&mut self, bytes: usize, is_cut: bool) {
        let (at, bytes_told) = (self.position, bytes as u64);
        match self.gaps.last_mut() {
            Some(gap) if gap.at + gap.bytes == at => {
                gap.bytes += bytes_told;
                gap.is_cut = false;
            }
            _ => self.gaps.push(Gap {
                at,
                bytes: bytes_told,
                is_cut,
            }),
        }
        self.consume(bytes);
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.position += bytes as u64;
    }
}
