//! The file: pieces sealed one after the other, so that none can be changed, left out, put elsewhere or cut off.
//!
//! ```text
//! "stockade backup 1\n" | installation 16 | salt 32 | commitment 32 | { length 4 | AES-256-GCM of a piece }
//! ```
//!
//! The key is made from the keyring's and the salt, and used for one file. A piece's nonce is its number and whether it is the
//! last (STREAM: Hoang, Reyhanitabar, Rogaway, Vizár 2015).

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::BackupError;
use crate::keys::{KeyError, Keys, constant_eq, random};

const HEADER: &[u8] = b"stockade backup 1\n";
const CLEAR: usize = HEADER.len() + 16 + 32 + 32;
const TAG: usize = 16;
/// Bytes in a piece.
const PIECE: usize = 256 << 10;

fn cipher(keys: &Keys, salt: &[u8]) -> Result<(LessSafeKey, [u8; 32]), KeyError> {
    let secret = keys.domain_secret(&[b"backup", salt])?;
    let key = UnboundKey::new(&AES_256_GCM, &*secret)
        .map_err(|_| KeyError::Crypto("no key for the backup"))?;
    let commitment = *keys.domain_secret(&[b"backup commitment", salt])?;
    Ok((LessSafeKey::new(key), commitment))
}

fn nonce(piece: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    let (_, end) = nonce.split_at_mut(7);
    let (number, end) = end.split_at_mut(4);
    number.copy_from_slice(&piece.to_be_bytes());
    end.copy_from_slice(&[u8::from(last)]);
    Nonce::assume_unique_for_key(nonce)
}

/// Seals what is written.
pub(super) struct Sealer<'a> {
    out: &'a mut dyn Write,
    clear: Vec<u8>,
    key: LessSafeKey,
    piece: Zeroizing<Vec<u8>>,
    number: u32,
}

impl<'a> Sealer<'a> {
    pub(super) fn begin(out: &'a mut dyn Write, keys: &Keys) -> Result<Self, BackupError> {
        let salt = random::<32>()?;
        let (key, commitment) = cipher(keys, &*salt)?;
        let clear = [HEADER, &keys.installation(), &*salt, &commitment].concat();
        out.write_all(&clear)?;
        Ok(Self::with(out, clear, key))
    }

    fn with(out: &'a mut dyn Write, clear: Vec<u8>, key: LessSafeKey) -> Self {
        Self {
            out,
            clear,
            key,
            piece: Zeroizing::new(Vec::with_capacity(PIECE + TAG)),
            number: 0,
        }
    }

    /// Seals the last piece; without it the file counts for nothing.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.seal(true)?;
        self.out.flush()
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let sealed = self.key.seal_in_place_append_tag(
            nonce(self.number, last),
            Aad::from(&self.clear),
            &mut *self.piece,
        );
        sealed.map_err(|_| io::Error::other("a piece was not sealed"))?;
        let length = u32::try_from(self.piece.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.piece)?;
        self.piece.clear();
        let next = self.number.checked_add(1);
        self.number = next.ok_or_else(|| io::Error::other("the backup is too large"))?;
        Ok(())
    }
}

impl Write for Sealer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE {
            self.seal(false)?;
        }
        let (now, _) = bytes.split_at(bytes.len().min(PIECE.saturating_sub(self.piece.len())));
        self.piece.extend_from_slice(now);
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what is read, a piece at a time.
pub(super) struct Unsealer<'a> {
    from: &'a mut dyn Read,
    clear: Vec<u8>,
    key: LessSafeKey,
    piece: Zeroizing<Vec<u8>>,
    /// Read of the piece.
    at: usize,
    number: u32,
    /// The length of the next piece; `None` behind the last.
    next: Option<usize>,
}

impl<'a> Unsealer<'a> {
    /// Reads the beginning; says the file's salt, which names it.
    pub(super) fn begin(
        from: &'a mut dyn Read,
        keys: &Keys,
    ) -> Result<(Self, [u8; 32]), BackupError> {
        let mut clear = Vec::with_capacity(CLEAR);
        Read::take(&mut *from, u64::try_from(CLEAR).unwrap_or(u64::MAX)).read_to_end(&mut clear)?;
        let rest = clear.strip_prefix(HEADER).ok_or(BackupError::NoBackup)?;
        let (installation, rest) = rest
            .split_first_chunk::<16>()
            .ok_or(BackupError::NoBackup)?;
        let (salt, rest) = rest
            .split_first_chunk::<32>()
            .ok_or(BackupError::NoBackup)?;
        let commitment = rest.first_chunk::<32>().ok_or(BackupError::NoBackup)?;
        if *installation != keys.installation() {
            return Err(BackupError::OtherVault);
        }
        let (key, expected) = cipher(keys, salt)?;
        if !constant_eq(&expected, commitment) {
            return Err(BackupError::OtherVault);
        }
        let salt = *salt;
        Ok((Self::with(from, clear, key)?, salt))
    }

    fn with(from: &'a mut dyn Read, clear: Vec<u8>, key: LessSafeKey) -> Result<Self, BackupError> {
        let mut unsealer = Self {
            from,
            clear,
            key,
            piece: Zeroizing::new(Vec::with_capacity(PIECE + TAG)),
            at: 0,
            number: 0,
            next: None,
        };
        unsealer.next = unsealer.length()?;
        if unsealer.next.is_none() {
            return Err(BackupError::Damaged("it is cut off".to_owned()));
        }
        Ok(unsealer)
    }

    /// That nothing is behind what was read.
    pub(super) fn end(&self) -> Result<(), BackupError> {
        if self.at == self.piece.len() && self.next.is_none() {
            Ok(())
        } else {
            Err(BackupError::Damaged("it goes on behind its end".to_owned()))
        }
    }

    fn length(&mut self) -> io::Result<Option<usize>> {
        let mut bytes = Vec::with_capacity(4);
        Read::take(&mut *self.from, 4).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let length = bytes.first_chunk().map(|it| u32::from_be_bytes(*it));
        let length = length.and_then(|it| usize::try_from(it).ok());
        length
            .filter(|it| (TAG..=PIECE + TAG).contains(it))
            .map(Some)
            .ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> io::Error {
        let told = format!("piece {} is damaged, or the file is cut off", self.number);
        io::Error::new(io::ErrorKind::InvalidData, told)
    }

    fn open(&mut self, length: usize) -> io::Result<()> {
        self.piece.clear();
        self.at = 0;
        let most = u64::try_from(length).unwrap_or(u64::MAX);
        Read::take(&mut *self.from, most).read_to_end(&mut self.piece)?;
        self.next = self.length()?;
        let opened = self.key.open_in_place(
            nonce(self.number, self.next.is_none()),
            Aad::from(&self.clear),
            &mut self.piece,
        );
        let Ok(length) = opened.map(|clear| clear.len()) else {
            self.piece.clear();
            return Err(self.damaged());
        };
        self.piece.truncate(length);
        self.number = self.number.saturating_add(1);
        Ok(())
    }
}

impl Read for Unsealer<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            match self.next {
                Some(length) => self.open(length)?,
                None => return Ok(0),
            }
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let count = left.len().min(to.len());
        let (to, _) = to.split_at_mut(count);
        to.copy_from_slice(left.get(..count).unwrap_or_default());
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

/// What is sealed is opened, and what nobody sealed is not.
pub(super) fn fuzz(data: &[u8]) {
    let open = |mut from: &[u8]| {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok()?;
        let mut unsealer = Unsealer::with(&mut from, Vec::new(), LessSafeKey::new(key)).ok()?;
        let mut clear = Vec::new();
        unsealer.read_to_end(&mut clear).ok()?;
        unsealer.end().ok().map(|()| clear)
    };
    assert_eq!(open(data), None, "nobody but us seals");
    let mut sealed = Vec::new();
    let ended = UnboundKey::new(&AES_256_GCM, &[7; 32]).is_ok_and(|key| {
        let mut sealer = Sealer::with(&mut sealed, Vec::new(), LessSafeKey::new(key));
        sealer.write_all(data).is_ok() && sealer.end().is_ok()
    });
    assert!(
        ended && open(&sealed).as_deref() == Some(data),
        "what was sealed is opened"
    );
}
