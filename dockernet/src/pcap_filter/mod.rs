//! Filter expressions in tcpdump's syntax: compiled by libpcap, run in the kernel half before anything is counted.
//!
//! libpcap's programs are for the classic BPF machine: [`classic`] is that machine, [`translate`] makes them what the kernel half's
//! stub is replaced by. All of them see a packet's start as an Ethernet frame
//! ([`Frame`](dockernet_common::frame::Frame)).

pub mod classic;
mod libpcap;
mod opcode;
mod position;
mod recorded;
mod synthetic;
pub mod translate;

use anyhow::Result;

use self::{classic::Instruction, libpcap::Library};
use crate::{
    cli::{Marked, Usage},
    model::Tuple,
};

/// A compiled expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    program: Vec<Instruction>,
    code: Vec<u64>,
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`Marked`] if the expression is wrong, in libpcap's words and with a mark under the place; [`Usage`] if it is none that the kernel
    /// half can run; another error if there is no libpcap.
    pub fn compile(text: &str) -> Result<Self> {
        let library = Library::open()?;
        let program = library.compile(text).map_err(|words| {
            let mark = position::mark(text, &words, &|text| match library.compile(text) {
                Ok(_) => true,
                // Well-formed, though nothing can be all of it.
                Err(words) => words.contains("rejects all packets"),
            });
            Marked {
                below: mark.unwrap_or_else(|| format!("  {text}")) + hint(&words),
                usage: Usage(format!("--filter: {words}")),
            }
        })?;
        Self::new(program).map_err(|why| Usage(format!("--filter '{text}': {why}")).into())
    }

    fn new(program: Vec<Instruction>) -> Result<Self, String> {
        classic::check(&program)?;
        let code = translate::translate(&program)?;
        Ok(Self { program, code })
    }

    /// Whether it accepts a frame, of which `frame` is the start and `length` the length in bytes.
    #[must_use]
    pub fn accepts(&self, frame: &[u8], length: u32) -> bool {
        classic::run(&self.program, frame, length) != 0
    }

    /// Whether it accepts a flow's opening packet with these ends.
    #[must_use]
    pub fn accepts_opening(&self, protocol: &str, ends: &Tuple) -> bool {
        let frame = synthetic::frame(protocol, ends);
        u32::try_from(frame.len()).is_ok_and(|length| self.accepts(&frame, length))
    }

    /// What the kernel half runs.
    #[must_use]
    pub fn code(&self) -> &[u64] {
        &self.code
    }
}

/// What somebody may have meant who gave a name that is no host's.
fn hint(words: &str) -> &'static str {
    if words.contains("unknown host") {
        "\n  (a container is named with --container)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
