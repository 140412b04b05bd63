#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_tlog::fuzzing::tlog_note(data));
