#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maintner_core::netlog::fuzz_index(data));
