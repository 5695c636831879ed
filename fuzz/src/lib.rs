//! The invariants for input from outside: each fuzz target has a function `check` that panics if
//! they are violated.
//!
//! `fuzz_targets` calls them from libFuzzer, and `tests/it/fuzzing.rs`, which includes these files,
//! with the corpora.

mod accounts;
pub mod envelope;
pub mod json;
pub mod query;
mod reading;
mod render;
pub mod xml;
