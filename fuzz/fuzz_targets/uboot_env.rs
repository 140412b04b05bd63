#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_controls::fuzzing::uboot_env(data));
