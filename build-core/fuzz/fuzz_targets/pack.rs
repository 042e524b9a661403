#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| build_core::event::fuzz_pack(data));
