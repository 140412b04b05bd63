#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_controls::fuzzing::credential_files(data));
