#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::recipe::fuzz_ci_file(data));
