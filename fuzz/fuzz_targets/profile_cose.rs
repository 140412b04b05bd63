#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_profile::fuzzing::profile_cose(data));
