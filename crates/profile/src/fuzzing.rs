//! The bodies of the fuzz targets: what must hold for any bytes.

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
