//! The command line: what the user typed, and what it means.
