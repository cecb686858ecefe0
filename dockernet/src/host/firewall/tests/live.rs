//! Rules in a namespace of the test's own, real packets, real counters. Runs as root; elsewhere it cannot make a namespace.
