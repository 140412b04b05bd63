//! Bodies of the fuzz targets: `fuzz/` feeds them noise, tests replay its corpus.

mod mend;
#[cfg(test)]
#[path = "../../../fuzz/random.rs"]
mod random;

use std::time::Duration;

use stockade_controls::engine::Unseen;

use crate::format::{Inside, Opened};
use crate::{Bytes, Limits, Meter, PartContent};

#[cfg(test)]
pub(crate) use random::Random;

/// An image of `SquashFS`, and all that is in it.
pub fn image_squashfs(data: &[u8]) {
    read_all(crate::squashfs::open, data);
}

/// An image of ext2, ext3 or ext4, and all that is in it.
pub fn image_ext(data: &[u8]) {
    read_all(crate::ext::open, data);
}

/// UBI, UBIFS and JFFS2, as they are and with their checksums put right, and all that is in them.
pub fn image_flash(data: &[u8]) {
    let mut mended = data.to_vec();
    mend::mend(&mut mended);
    for data in [data, &mended] {
        for open in [crate::ubifs::open, crate::jffs2::open] {
            read_all(open, data);
        }
        let bytes = Bytes::memory(data.to_vec());
        let opened = crate::ubi::open(&bytes, &Meter::new(Limits::default()));
        if let Ok(Inside::Pieces(pieces)) = opened.map(|it| it.content) {
            for piece in pieces {
                let data = piece.bytes.some(0, 1 << 20);
                read_all(crate::ubifs::open, &data.unwrap_or_default());
            }
        }
    }
}

/// A file of any format, and all that is in it to the bottom.
pub fn image_open(data: &[u8]) {
    let limits = Limits {
        nodes: 10_000,
        expanded: 64 << 20,
        longest: 4 << 20,
        time: Duration::from_secs(10),
        ..Limits::default()
    };
    let parts = crate::open::open_bytes("fuzz", &Bytes::memory(data.to_vec()), limits);
    assert!(!parts.is_empty(), "nothing is left out");
    for part in parts {
        if let PartContent::Tree(tree) = part.content {
            for path in tree.nodes.keys() {
                let _ = tree.read(path, 1 << 20);
            }
        }
    }
}

/// cramfs, romfs, FAT and ISO 9660, and all that is in them.
pub fn image_disc(data: &[u8]) {
    for open in [
        crate::cramfs::open,
        crate::romfs::open,
        crate::fat::open,
        crate::iso::open,
    ] {
        read_all(open, data);
    }
}

/// Opens it and reads every file, within small bounds.
fn read_all(open: fn(&Bytes, &Meter) -> Result<Opened, Unseen>, data: &[u8]) {
    let meter = Meter::new(Limits {
        nodes: 10_000,
        expanded: 64 << 20,
        time: Duration::from_secs(10),
        ..Limits::default()
    });
    if let Ok(Opened {
        content: Inside::Tree(tree),
        ..
    }) = open(&Bytes::memory(data.to_vec()), &meter)
    {
        for path in tree.nodes.keys() {
            let _ = tree.read(path, 1 << 20);
        }
    }
}
