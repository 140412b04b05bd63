#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_host::fuzzing::proc_texts(data));
