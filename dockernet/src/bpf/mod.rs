//! The kernel half: load, resolve offsets, attach, drain, count.
