//! Signatures made by openssl: what is signed for one thing is nothing else.

use stockade_api::signed::{Command, Evidence, Order, SignedError};
use stockade_profile::{VerifyingKey, verify};

const COMMAND: &[u8] = include_bytes!("../../../fuzz/corpus/api_signed/command");
const CHANGED: &[u8] = include_bytes!("../../../fuzz/corpus/api_signed/command-changed");
const NEWER: &[u8] = include_bytes!("../../../fuzz/corpus/api_signed/command-form-2");
/// The public half of the key that signed them; its private half is 32 bytes of 1.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=
-----END PUBLIC KEY-----
";

fn trusted() -> Vec<VerifyingKey> {
    vec![VerifyingKey::from_pem(KEY).expect("a key")]
}

#[test]
fn a_command_is_read_as_it_was_signed() {
    let command = Command::verify(COMMAND, &trusted()).expect("a command");
    assert_eq!((command.device.as_str(), command.number), ("porch", 7));
    assert!(matches!(command.order, Order::AssessNow { nonce } if nonce == "n"));
}

#[test]
fn a_command_is_no_profile_and_no_evidence() {
    assert!(verify(COMMAND, &trusted()).is_err());
    assert!(Evidence::claimed(COMMAND).is_err());
}

#[test]
fn a_command_that_was_changed_or_that_nobody_here_signed_is_none() {
    let changed = Command::verify(CHANGED, &trusted());
    assert!(matches!(changed, Err(SignedError::Open(_))), "{changed:?}");
    assert!(Command::verify(COMMAND, &[]).is_err());
    let newer = Command::verify(NEWER, &trusted());
    assert!(matches!(newer, Err(SignedError::Content(_))), "{newer:?}");
}
