#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_dp::fuzzing::vault_question(data));
