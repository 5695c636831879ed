//! What must hold whatever comes from outside: one property per fuzz target, `check`, which panics when it does not hold.
//!
//! `fuzz_targets` feeds them from libFuzzer, and `tests/it/fuzzing.rs`, which includes these files, from the corpora.

mod accounts;
pub mod envelope;
pub mod json;
pub mod query;
mod reading;
mod render;
pub mod xml;
