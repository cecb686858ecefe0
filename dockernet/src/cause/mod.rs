//! Evidence in, finding out: one file per family of causes.
