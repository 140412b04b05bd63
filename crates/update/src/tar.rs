//! What is in a bundle: an archive of tar(5), as GNU and POSIX write it. Its files are read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const BLOCK: u64 = 512;
/// The most files in a bundle.
const MOST: usize = 4096;

/// A file in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where its first byte is.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) length: u64,
}

/// The files of an archive by their names.
pub(crate) fn members(file: &File, length: u64) -> io::Result<BTreeMap<String, Member>> {
    let read = |at: u64| {
        let mut block = [0; 512];
        file.read_exact_at(&mut block, at).map(|()| block)
    };
    walk(read, length)
}

/// The same for what reads blocks.
pub(crate) fn walk(
    mut read: impl FnMut(u64) -> io::Result<[u8; 512]>,
    length: u64,
) -> io::Result<BTreeMap<String, Member>> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let cut = |name: &str| wrong(format!("the bundle is cut short: {name}"));
    let mut found = BTreeMap::new();
    let mut at = 0_u64;
    loop {
        if at.saturating_add(BLOCK) > length {
            return Err(cut("its end is missing"));
        }
        let block = read(at)?;
        if block == [0; 512] {
            return Ok(found);
        }
        let header = Header::read(&block)
            .ok_or_else(|| wrong("not a bundle: it is no tar archive".to_owned()))?;
        at = at.saturating_add(BLOCK);
        let end = at.saturating_add(header.length);
        if end > length {
            return Err(cut(&format!("`{}`", header.name.escape_debug())));
        }
        // Folders, and what else describes the files, are passed over.
        if header.is_file {
            let member = Member {
                at,
                length: header.length,
            };
            if found.len() >= MOST {
                return Err(wrong(format!("a bundle has at most {MOST} files")));
            }
            let name = header.name.trim_start_matches("./").to_owned();
            if found.insert(name, member).is_some() {
                let name = header.name.escape_debug();
                return Err(wrong(format!("the bundle has `{name}` twice")));
            }
        }
        at = end.div_ceil(BLOCK).saturating_mul(BLOCK);
    }
}

struct Header {
    name: String,
    length: u64,
    is_file: bool,
}

impl Header {
    /// tar(5), "POSIX ustar Archives".
    fn read(block: &[u8; 512]) -> Option<Self> {
        let text = |from: usize, to: usize| {
            let field = block.get(from..to)?;
            let end = field.iter().position(|byte| *byte == 0);
            std::str::from_utf8(field.get(..end.unwrap_or(field.len()))?).ok()
        };
        let octal = |from, to| u64::from_str_radix(text(from, to)?.trim(), 8).ok();
        // The checksum counts its own field as spaces.
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(place, byte)| {
                u64::from(if (148..156).contains(&place) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        if octal(148, 156)? != sum {
            return None;
        }
        let prefix = match text(257, 262)? {
            "ustar" if block.get(262) == Some(&0) => text(345, 500)?,
            _ => "",
        };
        let name = text(0, 100)?;
        Some(Self {
            name: if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}/{name}")
            },
            length: octal(124, 136)?,
            is_file: matches!(block.get(156), Some(b'0' | 0)),
        })
    }
}
