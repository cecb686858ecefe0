//! One file per output.
