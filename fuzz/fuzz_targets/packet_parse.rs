#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_wire::fuzzing::packet_parse(data));
