//! What is printed on a device, and what is built into it.
//!
//! A label is a URI, `stockade:1/<model>/<device>/<key>`, the key being the SHA-256 thumbprint of the device's public key (RFC 9679)
//! in hexadecimal digits: as a QR code, or as the URI record of an NFC tag. It is no secret: who copies it has no key.
//!
//! Provisioning is what a firmware is built with, one CBOR map:
//!
//! | Key | Value |
//! |---|---|
//! | 1 | `model/device`, a text |
//! | 2 | the device's short name at the gateway (`kid`), bytes |
//! | 3 | the device's credential, bytes; absent where the device made it itself |
//! | 4 | the gateway's credential, bytes |
//! | 5 | the key that grants are signed with, a `COSE_Key` |
//! | 6 | the device's private key, 32 bytes; absent where the device has made it itself |

use core::fmt;

use crate::cbor::{Full, Reader, Writer};
use crate::credential::{Credential, CredentialError, read_key, write_key};
use crate::crypto::{PublicKey, Secret};

/// What a label begins with: the scheme and the version.
const SCHEME: &str = "stockade:1/";
/// The longest label.
pub const LABEL_MAX: usize = 220;
/// One record, short, of a well-known type; it is a URI, whole (NDEF 1.0, section 3.2; URI RTD 1.0, section 3.2).
const NDEF: [u8; 2] = [0xd1, 0x01];
const NDEF_URI: [u8; 2] = [b'U', 0x00];

/// A text or record that is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoLabel;

impl fmt::Display for NoLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this is no label of a device: stockade:1/<model>/<device>/<64 hexadecimal digits>",
        )
    }
}

impl core::error::Error for NoLabel {}

/// A label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// The device's model.
    pub model: &'a str,
    /// The device.
    pub device: &'a str,
    /// The thumbprint of its key.
    pub key: [u8; 32],
}

impl<'a> Label<'a> {
    /// Reads the URI.
    pub fn read(uri: &'a str) -> Result<Self, NoLabel> {
        let rest = uri.strip_prefix(SCHEME).ok_or(NoLabel)?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(NoLabel);
        let (model, device, digits) = (next()?, next()?, next()?);
        if parts.next().is_some() || uri.len() > LABEL_MAX || !name(model) || !name(device) {
            return Err(NoLabel);
        }
        let mut key = [0; 32];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != key.len() || !rest.is_empty() {
            return Err(NoLabel);
        }
        for (byte, [high, low]) in key.iter_mut().zip(pairs) {
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Ok(Self { model, device, key })
    }

    /// Writes the URI.
    pub fn write<'b>(&self, buffer: &'b mut [u8; LABEL_MAX]) -> Result<&'b str, Full> {
        if !name(self.model) || !name(self.device) {
            return Err(Full);
        }
        let mut writer = Writer::new(buffer);
        for part in [SCHEME, self.model, "/", self.device, "/"] {
            writer.raw(part.as_bytes());
        }
        for byte in self.key {
            writer.raw(&[digit(byte >> 4), digit(byte & 15)]);
        }
        core::str::from_utf8(writer.finish()?).map_err(|_| Full)
    }

    /// Reads the message of an NFC tag.
    pub fn read_ndef(message: &'a [u8]) -> Result<Self, NoLabel> {
        let (head, rest) = message.split_first_chunk::<2>().ok_or(NoLabel)?;
        let (&length, rest) = rest.split_first().ok_or(NoLabel)?;
        let (kind, payload) = rest.split_first_chunk::<2>().ok_or(NoLabel)?;
        // The code that says how the URI was shortened counts as payload.
        let right = payload.len().checked_add(1) == Some(usize::from(length));
        if *head != NDEF || *kind != NDEF_URI || !right {
            return Err(NoLabel);
        }
        Self::read(core::str::from_utf8(payload).map_err(|_| NoLabel)?)
    }

    /// Writes the message of an NFC tag.
    pub fn write_ndef<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Full> {
        let mut uri = [0; LABEL_MAX];
        let uri = self.write(&mut uri)?;
        let length = uri
            .len()
            .checked_add(1)
            .and_then(|length| u8::try_from(length).ok());
        let mut writer = Writer::new(buffer);
        writer.raw(&NDEF).raw(&[length.ok_or(Full)?]);
        writer.raw(&NDEF_URI).raw(uri.as_bytes());
        writer.finish()
    }
}

/// Whether this is a name as the gateway gives them.
fn name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.next().is_some_and(plain)
        && text.len() <= 64
        && bytes.all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

const fn nibble(digit: u8) -> Result<u8, NoLabel> {
    match digit {
        b'0'..=b'9' => Ok(digit & 0x0f),
        b'a'..=b'f' => Ok((digit & 0x0f).saturating_add(9)),
        _ => Err(NoLabel),
    }
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => nibble | b'0',
        _ => nibble.saturating_sub(10).saturating_add(b'a'),
    }
}

/// What a firmware is built with.
#[derive(Debug, Clone)]
pub struct Provisioning<'a> {
    /// `model/device`.
    pub name: &'a str,
    /// What the gateway calls the device's key.
    pub kid: &'a [u8],
    /// The device's credential.
    pub credential: Option<Credential<'a>>,
    /// The gateway's credential.
    pub gateway: Credential<'a>,
    /// The key that grants are signed with.
    pub authority: PublicKey,
    /// The device's private key.
    pub key: Option<Secret<32>>,
}

impl<'a> Provisioning<'a> {
    /// Reads all of it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CredentialError> {
        let mut reader = Reader::new(bytes);
        let pairs = reader.map()?;
        let (mut name, mut kid, mut credential) = (None, None, None);
        let (mut gateway, mut authority, mut key) = (None, None, None);
        let mut last = None;
        for _ in 0..pairs {
            match reader.key(&mut last)? {
                1 => name = Some(reader.text()?),
                2 => kid = Some(reader.bytes()?),
                3 => credential = Some(Credential::read(reader.bytes()?)?),
                4 => gateway = Some(Credential::read(reader.bytes()?)?),
                5 => authority = Some(read_key(&mut reader)?.0),
                6 => key = Some(Secret::new(*reader.bytes_of()?)),
                _ => return Err(CredentialError::Malformed),
            }
        }
        reader.end()?;
        let missing = CredentialError::Malformed;
        Ok(Self {
            name: name.ok_or(missing)?,
            kid: kid.ok_or(missing)?,
            credential,
            gateway: gateway.ok_or(missing)?,
            authority: authority.ok_or(missing)?,
            key,
        })
    }

    /// Writes it.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Full> {
        let mut writer = Writer::new(buffer);
        let some = [self.credential.is_some(), self.key.is_some()];
        let some = some.iter().filter(|there| **there).count();
        writer.map(some.saturating_add(4));
        writer.int(1).text(self.name).int(2).bytes(self.kid);
        if let Some(credential) = &self.credential {
            writer.int(3).bytes(credential.bytes);
        }
        writer.int(4).bytes(self.gateway.bytes).int(5);
        write_key(&mut writer, &self.authority, None);
        if let Some(key) = &self.key {
            writer.int(6).bytes(key.expose());
        }
        writer.finish()
    }
}
