#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_advisories::fuzzing::advisory_versions(data));
