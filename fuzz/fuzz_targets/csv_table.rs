#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_anonymity::fuzzing::csv_table(data));
