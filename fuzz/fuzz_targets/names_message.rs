#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    stockade_controls::firewall::names::fuzzing::names_message(data)
});
