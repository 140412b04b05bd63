//! How blocks are compressed. Version 4 says so by a number; older ones do not, and vendors took LZMA without saying so.

use std::sync::OnceLock;

use stockade_controls::engine::Unseen;

use super::{Layout, METADATA};
use crate::compress::{Method, expand};
use crate::fields::Fields;
use crate::inodes::damaged;
use crate::{Bytes, Meter};

/// The properties of LZMA that are used unless something else is asked for: lc 3, lp 0, pb 2.
const USUAL: u8 = 0x5d;
/// How many there are: lc below 9, lp and pb below 5.
const PROPERTIES: u8 = 225;
/// The dictionary need not be larger than a block.
const DICTIONARY: u32 = 1 << 20;

/// How the blocks of one image are compressed.
pub(super) struct Codec {
    said: Method,
    /// Whether it may be LZMA, unsaid.
    older: bool,
    /// The lengths of metadata blocks are of the other byte order (AVM).
    swapped: bool,
    found: OnceLock<Form>,
}

/// A method, and how many bytes of a vendor's head stand before it.
#[derive(Clone, Copy)]
struct Form {
    method: Method,
    head: usize,
}

impl Codec {
    pub(super) fn of(layout: &Layout, bytes: &Bytes, meter: &Meter) -> Result<Self, Unseen> {
        let said = match layout.compressor {
            1 => Method::Zlib,
            2 => Method::Lzma,
            3 => Method::Lzo1x,
            4 => Method::XzBlock,
            5 => Method::Lz4Block,
            6 => Method::Zstd,
            other => {
                let why = format!("compressor {other} is not known");
                return Err(Unseen::Damaged(why));
            }
        };
        let mut codec = Self {
            said,
            older: layout.compressor <= 2,
            swapped: false,
            found: OnceLock::new(),
        };
        if layout.big
            && layout.version == 4
            && codec.metadata(layout, bytes, layout.inodes, meter).is_err()
        {
            codec.swapped = true;
        }
        Ok(codec)
    }

    /// Reads a metadata block: a word with its length, and in bit 15 whether it is stored as it is; then the data. Also where the next
    /// one is.
    pub(super) fn metadata(
        &self,
        layout: &Layout,
        bytes: &Bytes,
        at: u64,
        meter: &Meter,
    ) -> Result<(Vec<u8>, u64), Unseen> {
        let head = bytes.read(at, 2)?;
        let word = if layout.big == self.swapped {
            Fields::little(&head).u16()?
        } else {
            Fields::big(&head).u16()?
        };
        let length = match word & 0x7fff {
            0 => 0x8000,
            length => length,
        };
        let start = at.saturating_add(if layout.checked { 3 } else { 2 });
        let data = bytes.read(start, length.into())?;
        let next = start.saturating_add(length.into());
        let data = if word & 0x8000 == 0 {
            self.expand(&data, METADATA, meter)?
        } else if data.len() <= METADATA {
            data
        } else {
            return Err(damaged("a metadata block is longer than there are"));
        };
        if data.is_empty() {
            return Err(damaged("a metadata block with nothing in it"));
        }
        Ok((data, next))
    }

    /// Decompresses a block.
    pub(super) fn expand(
        &self,
        data: &[u8],
        most: usize,
        meter: &Meter,
    ) -> Result<Vec<u8>, Unseen> {
        let with = |form: Form| {
            let rest = data.get(form.head..).unwrap_or_default();
            expand(form.method, rest, most, meter)
        };
        if let Some(form) = self.found.get() {
            return with(*form);
        }
        let said = Form {
            method: self.said,
            head: 0,
        };
        let (made, form) = match with(said) {
            Err(why) if self.older && !is_zlib(data) => {
                let tried = forms(data).find_map(|form| Some((with(form).ok()?, form)));
                // They are looked for once, not for each block.
                tried.map_or((Err(why), said), |(made, form)| (Ok(made), form))
            }
            made => (made, said),
        };
        // Another thread may have found the same.
        let _ = self.found.set(form);
        made
    }
}

/// Whether it starts as RFC 1950 2.2 says.
fn is_zlib(data: &[u8]) -> bool {
    let Some([first, second]) = data.first_chunk() else {
        return false;
    };
    u16::from_be_bytes([*first, *second]).is_multiple_of(31) && first & 0xf == 8
}

/// The forms of LZMA that were seen: with the usual head; behind a head of vendors that tells the properties; and with none at
/// all, and any properties. The first byte of what is compressed is always 0.
fn forms(data: &[u8]) -> impl Iterator<Item = Form> {
    let usual = Form {
        method: Method::Lzma,
        head: 0,
    };
    let raw = |head, props| Form {
        method: Method::LzmaRaw {
            props,
            dict: DICTIONARY,
        },
        head,
    };
    let told = data.first().copied().filter(|it| *it < PROPERTIES);
    let heads = [0, 5, 9, 13, 4];
    let heads = heads.map(|head| (data.get(head) == Some(&0)).then_some(head));
    let heads: Vec<usize> = heads.into_iter().flatten().collect();
    let behind = heads.clone().into_iter().filter(|head| *head > 0);
    let told = behind.filter_map(move |head| Some(raw(head, told?)));
    let plain = heads.clone().into_iter().map(move |head| raw(head, USUAL));
    let any = heads
        .into_iter()
        .flat_map(move |head| (0..PROPERTIES).map(move |it| raw(head, it)));
    std::iter::once(usual).chain(told).chain(plain).chain(any)
}
