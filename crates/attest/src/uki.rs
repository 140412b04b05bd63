//! Unified kernel images (UAPI specification 5): what systemd-stub(7) measures of them.

use crate::bytes::{Bytes, utf8};
use crate::component::section;
use crate::digest::Algorithm;

/// The most sections of an image.
const MOST_SECTIONS: u16 = 96;
/// The register that systemd-stub(7) extends.
pub const REGISTER: u8 = 11;

/// The sections in the order in which they are measured, with the version of systemd that began (its
/// `src/fundamental/uki.c`). `.pcrsig` is not: it signs the register.
const MEASURED: [(&str, u32); 10] = [
    (".linux", 0),
    (".osrel", 0),
    (".cmdline", 0),
    (".initrd", 0),
    (".ucode", 256),
    (".splash", 0),
    (".dtb", 0),
    (".uname", 253),
    (".sbat", 254),
    (".pcrpkey", 0),
];
/// Sections whose measuring depends on the machine or on a choice at the start.
const UNTOLD: [&str; 4] = [".profile", ".dtbauto", ".hwids", ".efifw"];

/// Why nothing can be said of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// It is no program of UEFI.
    #[error("it is not an image in the format PE")]
    NotPe,
    /// It is a program of UEFI without a kernel.
    #[error("it is no unified kernel image: it has no section .linux")]
    NoKernel,
    /// It is not by systemd, or so old that it measures otherwise.
    #[error("its stub is not systemd's of version 252 or newer")]
    Stub,
    /// What is measured of it is not known before the start.
    #[error("what is measured of its section {0} depends on the machine")]
    Untold(String),
}

/// One section that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, with the dot.
    pub name: &'static str,
    /// What it is, in words.
    pub component: String,
    /// Its content.
    pub data: &'a [u8],
}

impl Section<'_> {
    /// What the register is extended by: the section's name with its zero, then its content.
    pub fn digests(&self) -> [Vec<u8>; 2] {
        let name = [self.name.as_bytes(), b"\0"].concat();
        [name.as_slice(), self.data].map(|it| Algorithm::Sha256.digest(it))
    }
}

/// The sections of an image that are measured, in order.
pub fn measured(image: &[u8]) -> Result<Vec<Section<'_>>, UkiError> {
    let found = sections(image).ok_or(UkiError::NotPe)?;
    let get = |name: &str| found.iter().find(|(it, _)| it == name);
    if get(".linux").is_none() {
        return Err(UkiError::NoKernel);
    }
    if let Some(untold) = UNTOLD.iter().find(|it| get(it).is_some()) {
        return Err(UkiError::Untold((*untold).to_owned()));
    }
    let version = get(".sdmagic").and_then(|(_, data)| stub(data));
    let version = version.filter(|it| *it >= 252).ok_or(UkiError::Stub)?;
    let known = MEASURED.iter().filter(|(_, since)| version >= *since);
    Ok(known
        .filter_map(|(name, _)| {
            let (_, data) = get(name)?;
            let words = section(name).unwrap_or_default();
            Some(Section {
                name,
                component: format!("{words} ({name})"),
                data,
            })
        })
        .collect())
}

/// The version in `#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####`.
fn stub(magic: &[u8]) -> Option<u32> {
    let text = utf8(magic);
    let (_, version) = text.split_once("LoaderInfo: systemd-stub ")?;
    let digits = version.split(|it: char| !it.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The sections of an image (Microsoft PE format, revision of 2024-07): each with what of it is in memory.
fn sections(image: &[u8]) -> Option<Vec<(String, &[u8])>> {
    if !image.starts_with(b"MZ") {
        return None;
    }
    let mut bytes = Bytes::of(image);
    bytes.take(0x3c)?;
    let head = bytes.length()?;
    let mut bytes = Bytes::of(image.get(head..)?);
    if bytes.take(4)? != b"PE\0\0" {
        return None;
    }
    let _machine = bytes.u16()?;
    let count = bytes.u16().filter(|it| *it <= MOST_SECTIONS)?;
    bytes.take(12)?;
    let optional = bytes.u16()?;
    let _characteristics = bytes.u16()?;
    bytes.take(optional.into())?;
    let mut sections = Vec::new();
    for _ in 0..count {
        let name = utf8(bytes.take(8)?);
        let in_memory = bytes.length()?;
        let _address = bytes.u32()?;
        let (in_file, at) = (bytes.length()?, bytes.length()?);
        bytes.take(16)?;
        // What is longer in memory than in the file ends in zeros there; nobody builds such a section of those that are measured.
        let end = at.checked_add(in_memory.min(in_file))?;
        sections.push((name, image.get(at..end)?));
    }
    Some(sections)
}
