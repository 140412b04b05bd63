#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_agent::der::fuzzing::est_answer(data));
