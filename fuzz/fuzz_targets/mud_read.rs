#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_profile::fuzzing::mud_read(data));
