#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_mqtt::fuzzing::mqtt_frame_v5(data));
