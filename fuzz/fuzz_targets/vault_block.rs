#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_vault::fuzzing::vault_block(data));
