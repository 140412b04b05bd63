#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_attest::fuzzing::event_log(data));
