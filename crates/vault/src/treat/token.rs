//! Tokens: a value encrypted so that the same value of one subject's field is the same token, and an operator can get it
//! back. There is no table of tokens: they go with the subject's secret.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::pseudonym::{DataSetKeys, pull_value, value_bytes};
use crate::value::Value;

/// What a token's length is a multiple of, before base64: it tells little of the value's.
const BLOCK: usize = 32;
/// What follows the value, before zeros (ISO/IEC 7816-4 §9.2).
const END: u8 = 0x80;

impl DataSetKeys {
    /// The token of a plain value.
    pub(crate) fn tokenise(&self, secret: &[u8; 32], field: &str, value: &Value) -> Option<Value> {
        let value = value_bytes(value)?;
        let padded = value
            .len()
            .checked_add(1)?
            .checked_next_multiple_of(BLOCK)?;
        let room = padded.checked_add(AES_256_GCM_SIV.tag_len())?;
        // Growing would leave a copy of the value behind.
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        text.extend_from_slice(&value);
        text.push(END);
        text.resize(padded, 0);
        self.token_key(secret, field)?
            .seal_in_place_append_tag(nonce(), Aad::empty(), &mut *text)
            .ok()?;
        Some(Value::Text(URL_SAFE_NO_PAD.encode(&*text)))
    }

    /// The value behind a token; none if it is not a token of this subject and field. The caller has checked who asks,
    /// and what for.
    #[must_use]
    pub fn detokenise(&self, secret: &[u8; 32], field: &str, token: &str) -> Option<Value> {
        let mut sealed = Zeroizing::new(URL_SAFE_NO_PAD.decode(token).ok()?);
        let opened = self
            .token_key(secret, field)?
            .open_in_place(nonce(), Aad::empty(), &mut sealed)
            .ok()?;
        let end = opened.iter().rposition(|byte| *byte != 0)?;
        let (value, rest) = opened.split_at_checked(end)?;
        (rest.first() == Some(&END))
            .then(|| pull_value(value))
            .flatten()
    }

    fn token_key(&self, secret: &[u8; 32], field: &str) -> Option<LessSafeKey> {
        let key = self.field_key(b't', secret, field);
        UnboundKey::new(&AES_256_GCM_SIV, key.as_ref())
            .ok()
            .map(LessSafeKey::new)
    }
}

/// Always the same, so that equal values have equal tokens: AES-GCM-SIV shows that and no more (RFC 8452 §9). The key is
/// of one field of one subject.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    /// Python's `hmac` and `cryptography`.
    #[test]
    fn a_token_is_what_other_code_makes() {
        let key = |parts: &[&[u8]]| Ok(hmac::Key::new(hmac::HMAC_SHA256, &parts.concat()));
        let keys = DataSetKeys::derived("cam-2", "motion", key).expect("keys");
        let value = Value::Text("a@example.org".into());
        let token = "Bwd-63N78hHWPWky9-jFOwZHsI_JIJeUtYKRBiIQRS4r2NV89BEZDWNNssiF5xXJ";
        let made = keys.tokenise(&[7; 32], "account", &value);
        assert_eq!(made, Some(Value::Text(token.into())));
        assert_eq!(keys.detokenise(&[7; 32], "account", token), Some(value));
    }
}
