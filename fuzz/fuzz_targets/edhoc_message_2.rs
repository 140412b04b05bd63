#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_link::fuzzing::edhoc_message_2(data));
