#![no_main]

libfuzzer_sys::fuzz_target!(|raw: &[u8]| properties::query::check(raw));
