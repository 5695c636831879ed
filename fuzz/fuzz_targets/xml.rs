#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| properties::xml::check(body));
