//! Scopes: paths and methods (AIF, RFC 9237, section 3).

use super::GrantError;
use crate::cbor::{Error, Full, Reader, Writer};

/// Bytes of a scope, as encoded, at most.
pub const SCOPE_MAX: usize = 128;

/// The methods that CoAP has: codes 1 to 7, bits 0 to 6 (RFC 9237, section 3).
const METHODS: u64 = 0x7f;

/// What may be asked: nothing but this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    bytes: [u8; SCOPE_MAX],
    length: u8,
}

impl Scope {
    /// Reads all of it: at least one path, each with at least one method, all known.
    pub fn read(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut kept = [0; SCOPE_MAX];
        kept.get_mut(..bytes.len())
            .ok_or(GrantError::Malformed)?
            .copy_from_slice(bytes);
        let mut reader = Reader::new(bytes);
        let count = reader.array()?;
        if count == 0 {
            return Err(GrantError::Malformed);
        }
        for _ in 0..count {
            read_entry(&mut reader)?;
        }
        reader.end()?;
        let length = u8::try_from(bytes.len()).map_err(|_| GrantError::Malformed)?;
        Ok(Self {
            bytes: kept,
            length,
        })
    }

    /// Writes one, of paths that begin with a slash and sets of methods.
    pub fn of<'p>(
        entries: impl ExactSizeIterator<Item = (&'p str, u8)>,
    ) -> Result<Self, GrantError> {
        let mut bytes = [0; SCOPE_MAX];
        let mut writer = Writer::new(&mut bytes);
        writer.array(entries.len());
        for (path, methods) in entries {
            writer.array(2).text(path).uint(u64::from(methods));
        }
        Self::read(writer.finish().map_err(|Full| GrantError::Malformed)?)
    }

    /// As encoded.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Its paths and their methods.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u8)> {
        let mut reader = Reader::new(self.bytes());
        // Read whole when it was made: its entries follow.
        let _count = reader.array();
        core::iter::from_fn(move || read_entry(&mut reader).ok())
    }

    /// Whether a method, by its code, is granted for a path, with a slash at its beginning or without. Of a query nothing is said:
    /// what is granted is granted with any.
    pub fn allows(&self, method: u8, path: &str) -> bool {
        let Some(bit) = method
            .checked_sub(1)
            .and_then(|shift| 1_u8.checked_shl(shift.into()))
        else {
            return false;
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        self.entries()
            .any(|(granted, methods)| methods & bit != 0 && granted.strip_prefix('/') == Some(path))
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, u8), Error> {
    if reader.array()? != 2 {
        return Err(Error::Unexpected);
    }
    let path = reader.text()?;
    let methods = reader.uint()?;
    match u8::try_from(methods) {
        Ok(few @ 1..) if path.starts_with('/') && methods & !METHODS == 0 => Ok((path, few)),
        _ => Err(Error::Unexpected),
    }
}
