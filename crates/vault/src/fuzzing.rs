//! Bodies of the fuzz targets: ordinary functions, so that the corpus also replays without a fuzzer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use stockade_profile::{Alphabet, Profile, ReaderName, Treatment, parse};
use time::OffsetDateTime;

use crate::keys::KeyError;
use crate::log::Entry;
use crate::treat::{DataSetKeys, ReaderKey, Treating};
use crate::{Value, decode, treat};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.motion]
device = { use = "pseudonym", scope = "fleet" }
visitor = { use = "pseudonym", scope = "window", window = "1d" }
badge = { use = "format-preserving", alphabet = "digits" }
account = { use = "token" }
steps = { use = "noise", to = "10", epsilon = "0.5", range = [0, 1000] }
room = { use = "generalise", to = "level 1", hierarchy = { hall = ["entry"], attic = ["living"] } }
time = { use = "generalise", to = "1min" }
location = { use = "generalise", to = "1km" }
level = { use = "generalise", to = "0.5" }
confidence = { use = "keep", range = [0, 1] }
owner-email = { use = "drop" }
clip = { use = "seal", readers = ["owner"] }
"#;

type Keys = (DataSetKeys, BTreeMap<ReaderName, ReaderKey>);

static TREATING: LazyLock<Result<(Option<Profile>, Keys), KeyError>> = LazyLock::new(|| {
    let key = |parts: &[&[u8]]| Ok(hmac::Key::new(hmac::HMAC_SHA256, &parts.concat()));
    let keys = DataSetKeys::derived("cam-2", "motion", key)?;
    let owner = "owner".parse().ok().zip(ReaderKey::parse(READER).ok());
    Ok((parse(PROFILE).ok(), (keys, owner.into_iter().collect())))
});

/// RFC 7748 §6.1, Bob's public key: nobody may seal anything else for it.
const READER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// Whatever a device sends is decoded or refused, and what is stored of it the profile names and has treated.
pub fn vault_decode(data: &[u8]) {
    let Ok(fields) = decode(data) else { return };
    let Ok((Some(profile), (keys, readers))) = &*TREATING else {
        unreachable!("the profile above is sound")
    };
    let Some(schema) = profile.data.get("motion") else {
        unreachable!("it is in the profile above")
    };
    let by = Treating {
        keys,
        secret: &[7; 32],
        readers,
        device: "porch",
        at: OffsetDateTime::UNIX_EPOCH,
    };
    let given = fields.clone();
    let treated = treat(schema, fields, by);
    assert_eq!(
        treated.fields.len() + treated.dropped.len(),
        given.len(),
        "a field was lost without being counted"
    );
    for (name, value) in &treated.fields {
        let Some(field) = schema.get(name.as_str()) else {
            panic!("{name} is not named")
        };
        let is_as_given = given.get(name) == Some(value);
        match field.treatment {
            Treatment::Drop => panic!("{name} must not be stored"),
            Treatment::Token => {
                let Value::Text(token) = value else {
                    panic!("a token is text")
                };
                let value = keys.detokenise(by.secret, name, token);
                assert_eq!(value.as_ref(), given.get(name), "a token is undone");
            }
            Treatment::Pseudonym { .. } => assert!(!is_as_given, "{name} is in clear"),
            Treatment::Seal { .. } => assert!(matches!(value, Value::Map(_)), "{name} is in clear"),
            Treatment::Keep
            | Treatment::Generalise { .. }
            | Treatment::FormatPreserving { .. }
            | Treatment::Noise { .. } => {}
        }
    }
}

/// Whatever is in the place of a block is refused or is what was sealed, and a body is read as it was written.
pub fn vault_block(data: &[u8]) {
    crate::block::fuzz(data);
    if let Some(prepared) = crate::prepare::Prepared::decode(data) {
        assert_eq!(*prepared.encode(), data, "a prepared message has one form");
    }
}

/// Whatever is said to be a backup is refused, and what was sealed as one is opened.
pub fn vault_backup(data: &[u8]) {
    crate::backup::fuzz(data);
}

/// Whatever is in the place of the keyring, of a device's wrapped keys or of the root key's place is refused, or is one.
pub fn vault_keys(data: &[u8]) {
    crate::keys::fuzz(data);
}

/// Whatever is said to be a token, an encrypted text or a reader's key is undone as it was made, or not at all.
pub fn vault_treat(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok((_, (keys, _))) = &*TREATING else {
        unreachable!("keys are derived")
    };
    let secret = &[7; 32];
    if let Some(value) = keys.detokenise(secret, "account", text) {
        let again = keys.tokenise(secret, "account", &value);
        assert_eq!(again, Some(Value::Text(text.to_owned())), "one token");
    }
    for alphabet in Alphabet::ALL {
        if let Some(plain) = keys.decrypt_format(secret, "badge", *alphabet, text) {
            let again = keys.encrypt_format(secret, "badge", *alphabet, &Value::Text(plain));
            assert_eq!(again, Some(Value::Text(text.to_owned())), "one text");
        }
    }
    if let Ok(key) = ReaderKey::parse(text) {
        assert_eq!(ReaderKey::parse(&key.to_string()), Ok(key), "one key");
    }
}

/// An entry of the log is read as it is written, and one with a sentence in it is not written.
pub fn vault_log_entry(data: &[u8]) {
    let entry = Entry::decode(data);
    if let Some(bytes) = entry.as_ref().and_then(|entry| entry.encode().ok()) {
        assert_eq!(Entry::decode(&bytes), entry, "one entry");
        assert!(!bytes.contains(&b' '), "a sentence");
    }
}
