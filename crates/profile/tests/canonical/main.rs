//! The canonical bytes: one form, fixed for ever, read back with every check.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod arbitrary;
#[path = "../arbitrary/firewall.rs"]
mod firewall;

use proptest::prelude::*;
use stockade_profile::{
    CanonicalError, CborError, Profile, Rollback, check, may_replace, parse, render,
};

const SMALL: &str = r#"
schema = 1

[device]
manufacturer = "Acme"
model = "cam-2"
version = 300
class = "linux"

[comms]
certificate-life = "24h"

[[comms.publish]]
topic = "cam-2/${device}/motion"
max-bytes = 512
rate = "120/min"

[[firewall.out]]
to = "gateway"
protocol = "tcp"
port = 8883

[upnp]
allow-enable = true
max-duration = "60min"
"#;

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Worked out by hand from RFC 8949: keys by the bytes of their encoding, so shorter ones first.
const GOLDEN: &[&str] = &[
    "a5",         // map(5)
    "6475706e70", // "upnp"
    "a2",         //   map(2)
    "6c616c6c6f772d656e61626c65",
    "f5", //   "allow-enable": true
    "6c6d61782d6475726174696f6e",
    "623168",           //   "max-duration": "1h"
    "65636f6d6d73",     // "comms"
    "a2",               //   map(2)
    "677075626c697368", //   "publish"
    "81",
    "a3", //     [map(3)]
    "6472617465",
    "673132302f6d696e", //       "rate": "120/min"
    "65746f706963",
    "7663616d2d322f247b6465766963657d2f6d6f74696f6e", //     "topic": "cam-2/${device}/motion"
    "696d61782d6279746573",
    "190200", //       "max-bytes": 512
    "7063657274696669636174652d6c696665",
    "623164",         //   "certificate-life": "1d"
    "66646576696365", // "device"
    "a4",             //   map(4)
    "65636c617373",
    "656c696e7578", //   "class": "linux"
    "656d6f64656c",
    "6563616d2d32", //   "model": "cam-2"
    "6776657273696f6e",
    "19012c", //   "version": 300
    "6c6d616e756661637475726572",
    "6441636d65", //   "manufacturer": "Acme"
    "66736368656d61",
    "01",                 // "schema": 1
    "686669726577616c6c", // "firewall"
    "a1",                 //   map(1)
    "636f7574",           //   "out"
    "81",
    "a3", //     [map(3)]
    "62746f",
    "6767617465776179", //       "to": "gateway"
    "64706f7274",
    "1922b3", //       "port": 8883
    "6870726f746f636f6c",
    "63746370", //       "protocol": "tcp"
];

#[test]
fn the_bytes_are_those_that_the_standard_asks_for() {
    let profile = parse(SMALL).unwrap();
    assert_eq!(hex(&profile.canonical()), GOLDEN.concat());
    assert_eq!(
        Profile::from_canonical(&profile.canonical()).unwrap(),
        profile
    );
}

#[test]
fn notation_does_not_change_the_bytes() {
    let other = SMALL
        .replace("\"24h\"", "\"1d\"")
        .replace("512", "0x2_00")
        .replace("60min", "3600s")
        .replace("[upnp]", "# a remark\n[upnp]\nmapping = []");
    assert_ne!(other, SMALL);
    assert_eq!(
        parse(&other).unwrap().canonical(),
        parse(SMALL).unwrap().canonical()
    );
}

#[test]
fn the_camera_of_the_documents_keeps_its_bytes() {
    let camera = parse(include_str!("../../../../profiles/cam-2.toml")).unwrap();
    insta::assert_snapshot!(hex(&camera.canonical()));
}

#[test]
fn the_camera_written_as_text_keeps_its_bytes() {
    let camera = parse(include_str!("../../../../profiles/cam-2.toml")).unwrap();
    let text = camera.to_toml();
    assert_eq!(parse(&text).unwrap().canonical(), camera.canonical());
    insta::assert_snapshot!(text);
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn any_other_form_of_the_same_profile_is_refused() {
    let good = GOLDEN.concat();
    assert!(Profile::from_canonical(&bytes(&good)).is_ok());
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        Profile::from_canonical(&bytes(&good.replacen(from, to, 1))).unwrap_err()
    };
    let encoding = CanonicalError::Encoding;
    // "schema": 1 with a number that is one byte too long.
    assert_eq!(
        refused("66736368656d6101", "66736368656d611801"),
        encoding(CborError::Form)
    );
    // The outer map without a length.
    assert_eq!(refused("a5", "bf"), encoding(CborError::Form));
    // "rate" and "topic" change places.
    let (rate, topic) = (
        "6472617465673132302f6d696e",
        "65746f7069637663616d2d322f247b6465766963657d2f6d6f74696f6e",
    );
    assert_eq!(
        refused(&format!("{rate}{topic}"), &format!("{topic}{rate}")),
        encoding(CborError::Order)
    );
    assert_eq!(
        refused("6441636d65", "6441636dff"),
        encoding(CborError::Utf8)
    );
    // A default that is said, and a duration that is not in its largest unit.
    assert_eq!(refused("623164", "63323468"), CanonicalError::Form);
    assert_eq!(refused("f5", "f6"), encoding(CborError::Type));
    assert!(matches!(
        refused("190200", "190000"),
        CanonicalError::Encoding(CborError::Form)
    ));
    assert!(matches!(
        refused("01686669", "02686669"),
        CanonicalError::Content(_)
    ));
    let mut trailing = bytes(&good);
    trailing.push(0);
    assert_eq!(
        Profile::from_canonical(&trailing).unwrap_err(),
        encoding(CborError::Trailing)
    );
    for end in 0..bytes(&good).len() {
        assert!(
            Profile::from_canonical(&bytes(&good)[..end]).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn bytes_from_outside_have_bounds() {
    let nested = [vec![0x81; 100], vec![0x01]].concat();
    assert_eq!(
        Profile::from_canonical(&nested).unwrap_err(),
        CanonicalError::Encoding(CborError::Depth)
    );
    let claimed = bytes("9bffffffffffffffff");
    assert_eq!(
        Profile::from_canonical(&claimed).unwrap_err(),
        CanonicalError::Encoding(CborError::Short)
    );
    let claimed = bytes("7bffffffffffffffff");
    assert_eq!(
        Profile::from_canonical(&claimed).unwrap_err(),
        CanonicalError::Encoding(CborError::Short)
    );
    let large = vec![0; 256 * 1024 + 1];
    assert_eq!(
        Profile::from_canonical(&large).unwrap_err(),
        CanonicalError::Encoding(CborError::Size)
    );
}

#[test]
fn content_from_outside_is_checked_like_a_text() {
    let profile = bytes(
        &GOLDEN
            .concat()
            .replacen("6767617465776179", "6767617465776178", 1),
    );
    assert_eq!(
        Profile::from_canonical(&profile).unwrap_err(),
        CanonicalError::Content("`gatewax` is not an endpoint".to_owned())
    );
}

#[test]
fn a_version_never_goes_back() {
    let at = |version: u64| parse(&SMALL.replace("300", &version.to_string())).unwrap();
    assert_eq!(may_replace(&at(300), &at(301)), Ok(()));
    assert_eq!(may_replace(&at(300), &at(300)), Ok(()));
    assert_eq!(
        may_replace(&at(300), &at(299)),
        Err(Rollback::Older {
            installed: 300,
            new: 299
        })
    );
    let changed = parse(&SMALL.replace("8883", "8884")).unwrap();
    assert_eq!(
        may_replace(&at(300), &changed),
        Err(Rollback::Different { version: 300 })
    );
    let other = parse(
        &SMALL
            .replace("\"cam-2\"", "\"cam-3\"")
            .replace("300", "301"),
    )
    .unwrap();
    let (installed, new) = ("cam-2".to_owned(), "cam-3".to_owned());
    assert_eq!(
        may_replace(&at(300), &other),
        Err(Rollback::Model { installed, new })
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_profile_reads_back_from_its_bytes(profile in arbitrary::profile()) {
        let bytes = profile.canonical();
        prop_assert_eq!(&Profile::from_canonical(&bytes).unwrap(), &profile);
        prop_assert_eq!(Profile::from_canonical(&bytes).unwrap().canonical(), bytes);
    }

    #[test]
    fn every_profile_reads_back_from_its_text(profile in arbitrary::profile()) {
        let text = profile.to_toml();
        let checked = check(&text);
        prop_assert_eq!(checked.profile.as_ref(), Some(&profile), "{}", text);
    }

    #[test]
    fn different_profiles_have_different_bytes(a in arbitrary::profile(), b in arbitrary::profile()) {
        prop_assert_eq!(a == b, a.canonical() == b.canonical());
    }

    #[test]
    fn reading_any_text_never_panics(text in ".{0,400}") {
        let checked = check(&text);
        prop_assert!(checked.profile.is_none());
        prop_assert!(!render(&text, "x", &checked.faults).is_empty());
    }

    #[test]
    fn reading_a_damaged_profile_never_panics(at in 0_usize..4_000, cut in 0_usize..40, put in "[\\PC\n\"=\\[\\]{}.#,-]{0,6}") {
        let source = include_str!("../../../../profiles/cam-2.toml");
        let mut text: Vec<char> = source.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        let checked = check(&text);
        let lines = text.lines().count() + 1;
        for fault in &checked.faults {
            prop_assert!((1..=lines).contains(&fault.line) && fault.column >= 1);
        }
        prop_assert!(checked.profile.is_some() || !checked.faults.is_empty());
        render(&text, "x", &checked.faults);
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Profile::from_canonical(&bytes).is_err());
    }
}
