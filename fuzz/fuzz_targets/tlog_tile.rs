#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_tlog::fuzzing::tlog_tile(data));
