#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::test_lines::fuzz_test_lines(data));
