//! Format-preserving encryption of a text's characters.

use aes::Aes256;
use aes::cipher::KeyInit as _;
use stockade_profile::Alphabet;
use zeroize::Zeroizing;

use super::ff1::{MOST, Way, ff1};
use super::pseudonym::DataSetKeys;
use super::spelled;
use crate::value::Value;

const fn characters(alphabet: Alphabet) -> &'static [u8] {
    match alphabet {
        Alphabet::Digits => b"0123456789",
        Alphabet::Hex => b"0123456789abcdef",
        Alphabet::Base36 => b"0123456789abcdefghijklmnopqrstuvwxyz",
        Alphabet::Base62 => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    }
}

/// What is not encrypted: the format itself.
const SEPARATORS: &[char] = &[' ', '-', ':', '.', '/', '_'];

impl DataSetKeys {
    /// A value of the same format; none for a text with other characters, too few of them or too many.
    pub(crate) fn encrypt_format(
        &self,
        secret: &[u8; 32],
        field: &str,
        alphabet: Alphabet,
        value: &Value,
    ) -> Option<Value> {
        let text = Zeroizing::new(spelled(value)?);
        self.format(secret, field, alphabet, &text, Way::Encrypt)
            .map(Value::Text)
    }

    /// The text behind an encrypted one: of this subject and field, or anything. The caller has checked who asks, and
    /// what for.
    #[must_use]
    pub fn decrypt_format(
        &self,
        secret: &[u8; 32],
        field: &str,
        alphabet: Alphabet,
        text: &str,
    ) -> Option<String> {
        self.format(secret, field, alphabet, text, Way::Decrypt)
    }

    /// The key is of one field of one subject; the field is the tweak all the same, as the standard asks (SP 800-38G r1,
    /// appendix C).
    fn format(
        &self,
        secret: &[u8; 32],
        field: &str,
        alphabet: Alphabet,
        text: &str,
        way: Way,
    ) -> Option<String> {
        let characters = characters(alphabet);
        if text.len() > MOST.checked_mul(2)? {
            return None;
        }
        let mut numerals = Zeroizing::new(Vec::with_capacity(text.len()));
        for c in text.chars().filter(|c| !SEPARATORS.contains(c)) {
            let numeral = characters
                .iter()
                .position(|known| char::from(*known) == c)?;
            numerals.push(u8::try_from(numeral).ok()?);
        }
        let key = self.field_key(b'f', secret, field);
        let cipher = Aes256::new_from_slice(key.as_ref()).ok()?;
        let radix = u32::try_from(characters.len()).ok()?;
        let mut numerals = ff1(&cipher, radix, field.as_bytes(), &numerals, way)?.into_iter();
        let character = |c| {
            if SEPARATORS.contains(&c) {
                return Some(c);
            }
            let known = characters.get(usize::from(numerals.next()?));
            known.copied().map(char::from)
        };
        text.chars().map(character).collect()
    }
}
