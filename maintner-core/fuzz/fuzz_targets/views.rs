#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maintner_core::mutation::fuzz_mutation(data));
