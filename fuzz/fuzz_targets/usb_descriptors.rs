#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_controls::fuzzing::usb_descriptors(data));
