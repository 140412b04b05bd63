//! Digests, by the numbers that a TPM has for them.

use aws_lc_rs::digest;

/// A digest that platform configuration registers are kept in (TCG Algorithm Registry §6.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-1: broken, and read only because old logs have nothing else.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its `TPM_ALG_ID`.
    pub fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// By its `TPM_ALG_ID`.
    pub fn of(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.id() == id)
    }

    /// By its name as the kernel writes it: `sha256`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Its name as the kernel writes it: `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// How many bytes it has.
    pub fn size(self) -> usize {
        self.inner().output_len()
    }

    fn inner(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// The digest of some bytes.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.inner(), bytes).as_ref().to_vec()
    }

    /// What a register holds after it was extended (TPM 2.0 part 1 §17.2): the digest of its value and what was measured.
    pub fn extend(self, register: &[u8], measured: &[u8]) -> Vec<u8> {
        let mut both = digest::Context::new(self.inner());
        both.update(register);
        both.update(measured);
        both.finish().as_ref().to_vec()
    }
}

/// Bytes as hexadecimal digits.
pub(crate) use base16ct::lower::encode_string as hex;

/// Hexadecimal digits as bytes, 64 bytes at most.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    (text.len() <= 128).then_some(())?;
    base16ct::mixed::decode_vec(text).ok()
}
