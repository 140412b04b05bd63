//! The bodies of the fuzz targets: what must hold for any bytes.

use crate::{Profile, check, render, verify};

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

/// Reading signed and canonical bytes never panics; what is read is written as the same bytes; nothing is trusted without a key.
pub fn profile_cose(data: &[u8]) {
    assert!(verify(data, &[]).is_err(), "no key, no trust");
    if let Ok(profile) = Profile::from_canonical(data) {
        assert_eq!(profile.canonical(), data, "one form");
    }
}
