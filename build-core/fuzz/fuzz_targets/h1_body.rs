#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::h1::fuzz_body(data));
