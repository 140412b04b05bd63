#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_probe::fuzzing::upnp_description(data));
