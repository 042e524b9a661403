#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maintner_core::dump::fuzz_corpus(data));
