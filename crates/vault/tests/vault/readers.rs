//! Who reads sealed fields, and what stands behind a token.

use stockade_vault::{Access, ReaderKey, Refused, Replaced, Role, Value, VaultError};
use tempfile::TempDir;

use super::place::{PROFILE, Place, now, of, open, purpose, record, subject};

/// RFC 7748 §6.1, Bob's public key.
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

fn operator(purpose: Option<&str>) -> Access {
    Access {
        who: "root".to_owned(),
        role: Role::Operator,
        purpose: purpose.map(str::to_owned),
    }
}

fn entries(place: &Place) -> String {
    let entries = place.vault.log().entries(0, 100).expect("entries");
    serde_json::to_string(&entries).expect("JSON")
}

#[test]
fn a_reader_reads_what_comes_after_it_was_named_and_until_it_is_taken_back() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    let send = || {
        place.send(&record("porch", "motion", br#"{"clip": "AAAA"}"#));
        place.ingest();
    };
    send();
    let (owner, key) = ("owner".parse().unwrap(), ReaderKey::parse(BOB).unwrap());
    let set = |access: &Access, key| {
        let whose = (&owner, Some("porch"));
        place.vault.set_reader(access, whose, key, now())
    };
    set(&operator(None), Some(&key)).unwrap();
    let told = place.vault.readers(&operator(None), now()).unwrap();
    assert_eq!(told, [("owner".into(), Some("porch".into()), key.clone())]);
    send();
    set(&operator(None), None).unwrap();
    send();
    let withheld: Vec<bool> = place
        .all(&of("motion"))
        .iter()
        .map(|record| record.withheld == ["clip"])
        .collect();
    assert_eq!(withheld, [true, false, true]);

    let analyst = purpose("operation");
    let refused = |result| matches!(result, Err(VaultError::Refused(Refused::Role { .. })));
    assert!(refused(set(&analyst, Some(&key)).map(drop)));
    assert!(refused(place.vault.readers(&analyst, now()).map(drop)));
    let log = entries(&place);
    assert_eq!(log.matches(r#""action":"readers""#).count(), 4, "{log}");
    assert!(!log.contains("porch") && !log.contains(BOB), "{log}");
}

#[test]
fn a_token_is_undone_by_an_operator_for_a_purpose_and_never_after_the_erasure() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    let tokens = PROFILE.replace(
        r#"owner = { use = "pseudonym", scope = "purpose" }"#,
        r#"owner = { use = "token" }
phone = { use = "format-preserving", alphabet = "digits" }"#,
    );
    place.profiles.put("cam-2", &tokens);
    let payload = br#"{"owner": "a@example.org", "phone": "044 668-18.00"}"#;
    for device in ["porch", "garden"] {
        place.send(&record(device, "bare", payload));
        place.ingest();
    }
    let stored = place.all(&of("bare"));
    let shown = |field: &str| match &stored[0].fields[field] {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let reveal = |access: &Access, device: &str, field: &str| {
        let replaced = Replaced {
            subject: subject(device),
            schema: "bare".into(),
            field: field.into(),
            shown: shown(field),
        };
        place.vault.reveal(access, &replaced, now())
    };
    let repair = operator(Some("repair"));
    assert_eq!(
        reveal(&repair, "porch", "owner").unwrap(),
        Some(Value::Text("a@example.org".into()))
    );
    assert_eq!(
        reveal(&repair, "porch", "phone").unwrap(),
        Some(Value::Text("044 668-18.00".into()))
    );
    assert_eq!(
        reveal(&repair, "garden", "owner").unwrap(),
        None,
        "not of this device"
    );
    assert_eq!(reveal(&repair, "nobody", "owner").unwrap(), None);
    for refused in [operator(None), operator(Some("gossip")), purpose("repair")] {
        let answer = reveal(&refused, "porch", "owner");
        assert!(matches!(answer, Err(VaultError::Refused(_))), "{answer:?}");
    }
    let log = entries(&place);
    assert_eq!(log.matches(r#""revealed":1"#).count(), 2, "{log}");
    assert_eq!(log.matches(r#""outcome":"refused""#).count(), 3, "{log}");
    assert!(
        !log.contains("example.org") && !log.contains(&shown("owner")),
        "{log}"
    );

    let erased = place.vault.erase(
        &operator(None),
        &subject("porch"),
        false,
        || Ok(None),
        now(),
    );
    assert!(erased.unwrap().found);
    assert_eq!(reveal(&repair, "porch", "owner").unwrap(), None);
    assert_eq!(reveal(&repair, "porch", "phone").unwrap(), None);
}
