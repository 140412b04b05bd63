//! The bodies of the fuzz targets: what must hold for any bytes.

use stockade_profile::VerifyingKey;

use crate::events::Batch;
use crate::helper::{Answer, Request};
use crate::signed::{Command, Evidence};
use crate::{Settings, frame};

/// The public half of the key that signed the corpus; its private half is 32 bytes of 1, so nobody may trust it.
const CORPUS_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=
-----END PUBLIC KEY-----
";

/// Reading a message never panics, and what was read is written so that it reads back.
pub fn api_frame(data: &[u8]) {
    let mut rest = data;
    if let Ok(Some(request)) = frame::read::<Request>(&mut rest) {
        let written = frame::encode(&request).map(|frame| frame.to_vec());
        let again = written.as_deref().unwrap_or_default();
        let read = frame::read::<Request>(&mut { again });
        assert!(matches!(read, Ok(Some(_))), "what was read is written");
    }
    let _answer = frame::read::<Answer>(&mut { data });
    if let Ok(text) = str::from_utf8(data)
        && let Ok(settings) = Settings::parse(text)
    {
        let again = settings.to_toml().ok().map(|text| Settings::parse(&text));
        assert!(matches!(again, Some(Ok(it)) if it == settings), "read back");
    }
}

/// Reading signed statements never panics, and no key means no trust.
pub fn api_signed(data: &[u8]) {
    assert!(Command::verify(data, &[]).is_err(), "no key, no trust");
    assert!(Evidence::verify(data, &[]).is_err(), "no key, no trust");
    let _named = Evidence::claimed(data);
    if let Ok(batch) = Batch::read(data) {
        assert_eq!(Batch::read(&batch.write()), Ok(batch), "read back");
    }
    let trusted: Vec<VerifyingKey> = VerifyingKey::from_pem(CORPUS_KEY).into_iter().collect();
    assert!(!trusted.is_empty(), "the key of the corpus is sound");
    if let Ok(command) = Command::verify(data, &trusted) {
        assert_eq!(command.form, Command::FORM, "of the form of today");
    }
}
