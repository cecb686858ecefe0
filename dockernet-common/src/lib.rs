//! What the kernel half and the user half share. `no_std`, pure, tested on any machine.
#![cfg_attr(not(test), no_std)]

pub mod packet;
