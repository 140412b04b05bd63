//! Secrets: random, unprintable, wiped, compared in constant time.

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The system's random source failed; nothing that needs a secret can go on.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoRandomness;

/// 256 random bits.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut token = Self([0; 32]);
        rand::fill(&mut token.0).map_err(|_unspecified| NoRandomness)?;
        Ok(token)
    }

    /// Reads what [`Token::text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut token = Self([0; 32]);
        // Longer text does not fit and is refused; shorter text would leave zeros.
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut token.0).ok()?;
        (length == token.0.len()).then_some(token)
    }

    /// As it goes into a cookie or a form.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is stored of it: a thief of the store cannot log in with that. A plain hash suffices, as
    /// 256 random bits cannot be guessed.
    pub fn stored_key(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        out
    }

    /// Another secret that belongs to this one, for one purpose.
    #[must_use]
    pub fn derived(&self, purpose: &[u8]) -> Self {
        let mut out = Self([0; 32]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        out.0.copy_from_slice(hmac::sign(&key, purpose).as_ref());
        out
    }

    /// Compares in constant time.
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Lower-case hexadecimal.
pub use base16ct::lower::encode_string as hex;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_only_whole_tokens_are_read() {
        let token = Token::random().unwrap();
        let text = token.text();
        assert!(Token::parse(&text).unwrap().same(&token));
        for bad in [
            "",
            "AAAA",
            text.strip_suffix(|_| true).unwrap(),
            &format!("{text}A"),
            &format!("{text}AAAA"),
            "é",
        ] {
            assert!(Token::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_derived_differs_by_purpose_and_by_secret() {
        let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(!a.derived(b"x").same(&a.derived(b"y")));
        assert!(!a.derived(b"x").same(&b.derived(b"x")));
        assert!(a.derived(b"x").same(&a.derived(b"x")));
    }
}
