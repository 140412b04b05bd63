#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_image::fuzzing::image_disc(data));
