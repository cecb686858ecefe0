//! What an expression accepts is what tcpdump accepts, on the classic machine and in the code for the kernel half.
//!
//! libpcap and tcpdump are needed, as `cargo xtask setup --lab` installs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod expressions;
mod machine;
mod marks;
mod packets;
mod programs;
mod recorded;
mod tcpdump;

use super::{classic::Instruction, *};

/// What the kernel half would say.
fn in_kernel(expression: &Expression, frame: &[u8], length: u32) -> bool {
    machine::run(expression.code(), frame, length) != 0
}
