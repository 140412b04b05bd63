//! The kernel's list of the files it measured (Linux `Documentation/security/IMA-templates.rst`), as text and as bytes.

use std::borrow::Cow;

use crate::bytes::{Bytes, utf8};
use crate::digest::{Algorithm, unhex};

/// The longest list that is read.
pub const LONGEST: usize = 16 * 1024 * 1024;
/// The most files of a list.
pub const MOST_ENTRIES: usize = 131_072;
/// The register that the kernel extends unless it was built otherwise.
pub const REGISTER: u8 = 10;
/// The length of a path in the oldest template (`IMA_EVENT_NAME_LEN_MAX` and its zero).
const OLD_NAME: usize = 256;

/// A list that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImaError {
    /// There is more than is read.
    #[error("the list has more than {LONGEST} bytes or {MOST_ENTRIES} files")]
    TooLong,
    /// This entry, counted from one, can not be read.
    #[error("entry {0} of the list can not be read")]
    Wrong(usize),
    /// Only the binary list has all that this entry's digest is made of.
    #[error("entry {0} of the list has a template that its text does not tell whole")]
    Untold(usize),
}

/// One file that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The register that was extended.
    pub pcr: u8,
    /// The SHA-1 of the template's data, or zeros for a violation.
    pub template_digest: [u8; 20],
    /// The template's name: `ima-ng`.
    pub template: String,
    /// The template's data.
    data: Cow<'a, [u8]>,
    /// The algorithm of the file's digest, by its name; SHA-1 for the oldest template.
    pub algorithm: String,
    /// The file's digest.
    pub digest: Vec<u8>,
    /// The file's path, shown.
    pub path: String,
}

impl Entry<'_> {
    /// Whether the file was written while it was measured, or measured while it was open for writing: its digest says nothing.
    pub fn is_violation(&self) -> bool {
        self.template_digest == [0; 20]
    }

    /// What a register holds after this entry: each bank is extended by its own digest of the template's data, and by ones for a
    /// violation (`ima_add_template_entry`).
    fn extend(&self, register: &[u8], algorithm: Algorithm) -> Vec<u8> {
        let measured = match (self.is_violation(), algorithm) {
            (true, _) => vec![0xff; algorithm.size()],
            (false, Algorithm::Sha1) => self.template_digest.to_vec(),
            (false, Algorithm::Sha256 | Algorithm::Sha384 | Algorithm::Sha512) => {
                algorithm.digest(&self.data)
            }
        };
        algorithm.extend(register, &measured)
    }
}

/// Reads the list in bytes (`binary_runtime_measurements`), written by a machine with the lowest byte first.
pub fn read(list: &[u8]) -> Result<Vec<Entry<'_>>, ImaError> {
    if list.len() > LONGEST {
        return Err(ImaError::TooLong);
    }
    let mut bytes = Bytes::of(list);
    let mut entries = Vec::new();
    while !bytes.rest().is_empty() {
        let number = entries.len().saturating_add(1);
        if number > MOST_ENTRIES {
            return Err(ImaError::TooLong);
        }
        entries.push(entry(&mut bytes).ok_or(ImaError::Wrong(number))?);
    }
    Ok(entries)
}

fn entry<'a>(bytes: &mut Bytes<'a>) -> Option<Entry<'a>> {
    let pcr = u8::try_from(bytes.u32()?).ok()?;
    let template_digest = bytes.take(20)?.try_into().ok()?;
    let length = bytes.length()?;
    let template = std::str::from_utf8(bytes.take(length)?).ok()?.to_owned();
    if template == "ima" {
        // The oldest has no length: a digest, and a path with its length.
        let digest = bytes.take(20)?.to_vec();
        let length = bytes.length().filter(|it| *it < OLD_NAME)?;
        let name = bytes.take(length)?;
        let mut data = digest.clone();
        data.extend(name);
        data.resize(digest.len().checked_add(OLD_NAME)?, 0);
        return Some(Entry {
            pcr,
            template_digest,
            template,
            data: data.into(),
            algorithm: Algorithm::Sha1.name().to_owned(),
            digest,
            path: utf8(name),
        });
    }
    let length = bytes.length()?;
    let data = bytes.take(length)?;
    let mut fields = Bytes::of(data);
    let mut field = || {
        let length = fields.length()?;
        fields.take(length)
    };
    let (algorithm, digest) = digest_ng(field()?)?;
    let path = utf8(field()?);
    Some(Entry {
        pcr,
        template_digest,
        template,
        data: data.into(),
        algorithm,
        digest,
        path,
    })
}

/// The field `d-ng`: the algorithm, a colon, a zero, the digest; newer kernels have `verity:` or `ima:` before (`d-ngv2`).
fn digest_ng(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let (name, digest) = (field.get(..end)?, field.get(end.checked_add(1)?..)?);
    let name = utf8(name.strip_suffix(b":")?);
    Some((name, digest.to_vec()))
}

/// Reads the list as text (`ascii_runtime_measurements`).
pub fn read_text(list: &str) -> Result<Vec<Entry<'static>>, ImaError> {
    if list.len() > LONGEST {
        return Err(ImaError::TooLong);
    }
    let mut entries = Vec::new();
    for line in list.lines() {
        let number = entries.len().saturating_add(1);
        if number > MOST_ENTRIES {
            return Err(ImaError::TooLong);
        }
        let entry = line_of(line).ok_or(ImaError::Wrong(number))?;
        // The text has all of the common templates: what it says is what was digested, or it was changed.
        let digested = Algorithm::Sha1.digest(&entry.data);
        if !entry.is_violation() && digested != entry.template_digest {
            return Err(ImaError::Untold(number));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn line_of(line: &str) -> Option<Entry<'static>> {
    let mut words = line.splitn(5, ' ');
    let pcr = words.next()?.parse().ok()?;
    let template_digest = unhex(words.next()?)?.try_into().ok()?;
    let template = words.next()?.to_owned();
    let digest = words.next()?;
    let rest = words.next()?;
    let (algorithm, digest) = match digest.rsplit_once(':') {
        Some((algorithm, digest)) => (algorithm.to_owned(), unhex(digest)?),
        None => (Algorithm::Sha1.name().to_owned(), unhex(digest)?),
    };
    let mut data = Vec::new();
    let mut put = |field: &[u8]| {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        data.extend(length.to_le_bytes());
        data.extend(field);
    };
    let path = if template == "ima" {
        let mut name = rest.as_bytes().to_vec();
        name.resize(OLD_NAME, 0);
        data = [digest.clone(), name].concat();
        rest
    } else {
        put(&[algorithm.as_bytes(), b":\0", &digest].concat());
        // What follows the path is a signature, in hexadecimal digits; a path may have spaces.
        let (path, signature) = match rest.rsplit_once(' ') {
            Some((path, last)) if template != "ima-ng" => (path, last.to_owned()),
            _ => (rest, String::new()),
        };
        put(&[path.as_bytes(), b"\0"].concat());
        if template != "ima-ng" {
            put(&long_hex(&signature)?);
        }
        path
    };
    Some(Entry {
        pcr,
        template_digest,
        template,
        data: data.into(),
        algorithm,
        digest,
        path: utf8(path.as_bytes()),
    })
}

/// Hexadecimal digits of any length.
fn long_hex(text: &str) -> Option<Vec<u8>> {
    let parts = text.as_bytes().chunks(128);
    let parts = parts.map(|part| unhex(std::str::from_utf8(part).ok()?));
    parts
        .collect::<Option<Vec<_>>>()
        .map(|parts| parts.concat())
}

/// What a register holds by this list.
pub fn replay(entries: &[Entry<'_>], pcr: u8, algorithm: Algorithm) -> Vec<u8> {
    let start = vec![0; algorithm.size()];
    let of_it = entries.iter().filter(|it| it.pcr == pcr);
    of_it.fold(start, |register, entry| entry.extend(&register, algorithm))
}

/// How many entries lead to what the register held when it was read: the list may have grown since. None if no part of the list
/// does.
pub fn leads_to(entries: &[Entry<'_>], algorithm: Algorithm, value: &[u8]) -> Option<usize> {
    let mut register = vec![0; algorithm.size()];
    let mut of_it = (1..).zip(entries.iter().filter(|it| it.pcr == REGISTER));
    of_it.find_map(|(number, entry)| {
        register = entry.extend(&register, algorithm);
        (register == value).then_some(number)
    })
}

/// Whether an entry's data is what its digest says; one that is not was changed after it was measured.
pub fn is_whole(entry: &Entry<'_>) -> bool {
    entry.is_violation() || Algorithm::Sha1.digest(&entry.data) == entry.template_digest
}
