//! Bodies of the fuzz targets: ordinary functions, so that the corpus also replays without a fuzzer.

use std::sync::LazyLock;

use stockade_profile::{Profile, parse};

use crate::keys::{KeyError, Pseudonyms, VaultKey};
use crate::{decode, treat};

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
time = { use = "generalise", to = "1min" }
location = { use = "generalise", to = "1km" }
level = { use = "generalise", to = "0.5" }
confidence = { use = "keep" }
owner-email = { use = "drop" }
clip = { use = "seal", readers = ["owner"] }
"#;

static TREATING: LazyLock<Result<(Option<Profile>, Pseudonyms), KeyError>> = LazyLock::new(|| {
    let pseudonyms = VaultKey::from_bytes(&[7; 32]).pseudonyms("cam-2", "motion")?;
    Ok((parse(PROFILE).ok(), pseudonyms))
});

/// Whatever a device sends is decoded or refused, and what is stored of it the profile names.
pub fn vault_decode(data: &[u8]) {
    let Ok(fields) = decode(data) else { return };
    let Ok((Some(profile), pseudonyms)) = &*TREATING else {
        unreachable!("the profile above is sound")
    };
    let Some(schema) = profile.data.get("motion") else {
        unreachable!("it is in the profile above")
    };
    let given = fields.len();
    let treated = treat(schema, fields, pseudonyms);
    assert_eq!(
        treated.fields.len() + treated.dropped.len(),
        given,
        "a field was lost without being counted"
    );
    for name in treated.fields.keys() {
        assert!(schema.contains_key(name.as_str()), "{name} is not named");
        assert!(
            name != "clip" && name != "owner-email",
            "{name} must not be stored"
        );
    }
}
