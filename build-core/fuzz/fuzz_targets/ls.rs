#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::buildlet::fuzz_ls(data));
