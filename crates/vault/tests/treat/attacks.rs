//! Attacks on pseudonyms. Each succeeds where the protection is off, so that it can see.

use aws_lc_rs::{digest, hmac};

use super::*;

/// Addresses of one vendor: the prefix is known, and 2^24 remain. A part of them is tried; that it is a part only helps
/// the defender where the search fails anyway.
const PREFIX: [u8; 3] = [0x00, 0x1a, 0x11];
const TRIED: u32 = 1 << 16;

fn address(number: u32) -> String {
    let [_, rest @ ..] = number.to_be_bytes();
    let all = [PREFIX, rest].concat();
    let pairs: Vec<String> = all.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// What a dictionary finds: the address whose image is the stored one.
fn dictionary(stored: &str, image: impl Fn(&str) -> String) -> Option<String> {
    (0..TRIED)
        .map(address)
        .find(|address| image(address) == stored)
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pairs.concat()
}

#[test]
fn a_dictionary_undoes_a_hash_without_a_key_and_no_pseudonym() {
    let victim = address(51_234);
    let unkeyed = |address: &str| hex(digest::digest(&digest::SHA256, address.as_bytes()).as_ref());
    assert_eq!(
        dictionary(&unkeyed(&victim), unkeyed),
        Some(victim.clone()),
        "the attack can see"
    );

    let stored = pseudonym(r#""dataset""#, Value::Text(victim), by(&MOTION, PORCH));
    assert_eq!(dictionary(&stored, unkeyed), None);
    // The method is known, and keys of the attacker's own are not the vault's.
    let own = DataSetKeys::new(&vault(), "cam-2", "motion").unwrap();
    let guessed =
        |address: &str| pseudonym(r#""dataset""#, Value::Text(address.into()), by(&own, PORCH));
    assert!(
        (51_200..51_300)
            .map(address)
            .all(|address| guessed(&address) != stored)
    );
    let empty = hmac::Key::new(hmac::HMAC_SHA256, &[]);
    let keyless = |address: &str| hex(hmac::sign(&empty, address.as_bytes()).as_ref());
    assert_eq!(dictionary(&stored, keyless), None);
}

#[test]
fn with_the_subjects_secret_gone_no_other_key_makes_its_pseudonym_again() {
    let victim = address(51_234);
    let near = || (51_200..51_300).map(address);
    for treatment in [
        r#"{ use = "pseudonym", scope = "dataset" }"#,
        r#"{ use = "pseudonym", scope = "fleet" }"#,
        r#"{ use = "token" }"#,
        r#"{ use = "format-preserving", alphabet = "hex" }"#,
    ] {
        let of = |address: String, secret: &[u8; 32]| {
            one(treatment, Value::Text(address), by(&MOTION, secret)).unwrap()
        };
        let stored = of(victim.clone(), PORCH);
        // Every key of the vault, and this subject's secret, kept against the rules: found.
        assert_eq!(
            near().find(|address| of(address.clone(), PORCH) == stored),
            Some(victim.clone())
        );
        // Every key of the vault and the secrets of all others: nothing.
        for others in [GARDEN, &[0; 32], &[3; 32]] {
            assert_eq!(
                near().find(|address| of(address.clone(), others) == stored),
                None
            );
        }
    }
}
