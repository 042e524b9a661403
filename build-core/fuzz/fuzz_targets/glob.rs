#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::tarutil::fuzz_glob(data));
