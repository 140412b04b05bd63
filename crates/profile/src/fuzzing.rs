//! The bodies of the fuzz targets: what must hold for any bytes.

use crate::mud::signature::{self, Anchors, UnixTime};
use crate::mud::{self, ExportOptions, ImportOptions};
use crate::{Profile, VerifyingKey, check, render, verify};

/// The public half of the key that signed the corpus; its private half is 32 bytes of 1, so nobody may trust it.
const CORPUS_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=
-----END PUBLIC KEY-----
";

/// Reading text never panics, every fault can be shown, and a sound profile survives its canonical form.
pub fn profile_parse(data: &[u8]) {
    let Ok(source) = str::from_utf8(data) else {
        return;
    };
    let checked = check(source);
    let shown = render(source, "profile.toml", &checked.faults);
    assert_eq!(
        shown.is_empty(),
        checked.faults.is_empty(),
        "each fault is shown"
    );
    match checked.profile {
        Some(profile) => {
            let bytes = profile.canonical();
            assert_eq!(
                Profile::from_canonical(&bytes).as_ref(),
                Ok(&profile),
                "read back"
            );
            assert!(!profile.words(Some("device")).is_empty(), "said in words");
        }
        None => assert!(!checked.faults.is_empty(), "a refusal says why"),
    }
}

/// Reading signed and canonical bytes never panics, what is read has but one form, and no key means no trust.
pub fn profile_cose(data: &[u8]) {
    assert!(verify(data, &[]).is_err(), "no key, no trust");
    if let Ok(profile) = Profile::from_canonical(data) {
        assert_eq!(profile.canonical(), data, "one form");
    }
    let trusted: Vec<VerifyingKey> = VerifyingKey::from_pem(CORPUS_KEY).into_iter().collect();
    assert!(!trusted.is_empty(), "the key of the corpus is sound");
    if let Ok(verified) = verify(data, &trusted) {
        let bytes = verified.into_profile().canonical();
        let signed = data.windows(bytes.len()).any(|window| window == bytes);
        assert!(signed, "what is taken is what was signed");
    }
}

/// The authority of the corpus of signatures; its key was thrown away.
const CORPUS_AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBXTCCAQSgAwIBAgIUZiHrdkdMxPptYiE7uHlKj39+WPgwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYzAgFw0yNjExMjIyMTUzNDlaGA8yMTI2MTAyOTIxNTM0OVow
DDEKMAgGA1UEAwwBYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHUk4w2XmNxh
Wh4pzu8W+vqOeI/5lwv2s7Rjv1MmY6ZroI0xH4UVYZUnGA1XbvN8i4sZCqgFtsh4
NMXm/gLNUqejQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMB0G
A1UdDgQWBBQAwDo3UTxUbF/0faEYAIOdqyC31zAKBggqhkjOPQQDAgNHADBEAiBg
2cMr5/bzaEDcel07HngrrfSg0ytaewAHLpRTMS6VsQIgEeJU7UNnr8ieJWjRB+D9
pNlHwMose2nhFvLy+zfjW7E=
-----END CERTIFICATE-----
";
/// What the corpus's signatures sign.
const CORPUS_MUD: &[u8] = br#"{"ietf-mud:mud":{"mud-version":1}}"#;

/// Checking a signature never panics, nobody's trust means no trust, and what is taken is a signature of the file.
pub fn mud_signature(data: &[u8]) {
    // 2027-01-15
    let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(1_800_000_001));
    let nobody = signature::verify(CORPUS_MUD, data, &Anchors::default(), now);
    assert!(nobody.is_err(), "nobody trusted, no trust");
    let mut anchors = Anchors::default();
    let added = anchors.add(CORPUS_AUTHORITY.as_bytes());
    assert!(added.is_ok(), "the authority of the corpus is sound");
    if signature::verify(CORPUS_MUD, data, &anchors, now).is_ok() {
        let other = signature::verify(b"{}", data, &anchors, now);
        assert!(other.is_err(), "one signature, one file");
    }
    let _read: Result<(), signature::SignatureError> = anchors.add(data);
}

/// Reading a MUD file never panics, each of its rules has one fate, the profile is sound, and written again it says the same.
pub fn mud_read(data: &[u8]) {
    let Ok(file) = mud::read(data) else {
        return;
    };
    for literal in [false, true] {
        let options = ImportOptions {
            literal,
            model: None,
        };
        let imported = mud::import(&file, &options);
        assert_eq!(imported.rules.len(), file.rules(), "each rule has one fate");
        assert_eq!(
            imported.count().total(),
            file.rules(),
            "and is counted once"
        );
        assert!(!imported.report(true).is_empty(), "all can be shown");
        let bytes = imported.profile.canonical();
        assert_eq!(
            Profile::from_canonical(&bytes).as_ref(),
            Ok(&imported.profile),
            "a sound profile"
        );
        there_and_back(&imported.profile);
    }
}

/// What can be written of a profile reads back as the same rules.
fn there_and_back(profile: &Profile) {
    let (Ok(url), Ok(last_update)) = (
        "https://acme.example/x".parse(),
        "2026-11-22T12:00:00Z".parse(),
    ) else {
        return;
    };
    let options = ExportOptions {
        url,
        last_update,
        signature: None,
    };
    let exported = mud::export(profile, &options);
    let written = exported.rules.iter().all(|rule| rule.refused.is_none());
    let Ok(file) = mud::read(&exported.bytes) else {
        assert!(
            exported.rules.iter().all(|rule| rule.refused.is_some()),
            "a file with rules reads back"
        );
        return;
    };
    let again = mud::import(&file, &ImportOptions::default()).profile;
    let count = |profile: &Profile| {
        let firewall = &profile.firewall;
        (
            firewall.inward.len(),
            firewall.outward.len(),
            firewall.frames.len(),
        )
    };
    if written {
        assert_eq!(count(&again), count(profile), "as many rules come back");
    }
}
