#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_audit::fuzzing::audit_report(data));
