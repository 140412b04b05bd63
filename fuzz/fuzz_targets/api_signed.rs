#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_api::fuzzing::api_signed(data));
