//! L2–L4 headers out of bytes.
