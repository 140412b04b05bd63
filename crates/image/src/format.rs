//! What every format gives, and the table of them.

use stockade_controls::engine::Unseen;

use crate::{Bytes, Meter, Tree};

/// A format of images.
pub(crate) struct Format {
    /// As the report calls it.
    pub(crate) name: &'static str,
    /// Bytes by which it is known: where they are, and which. Any of them will do.
    pub(crate) magics: &'static [(u64, &'static [u8])],
    /// Whether it is looked for at any place of a blob; else at its beginning only.
    pub(crate) anywhere: bool,
    /// Reads it. An error says that it is of this format and can not be read.
    pub(crate) open: fn(&Bytes, &Meter) -> Result<Opened, Unseen>,
}

impl Format {
    /// Whether it begins with one of its magics.
    pub(crate) fn begins(&self, bytes: &Bytes) -> bool {
        self.magics
            .iter()
            .any(|(at, magic)| bytes.read(*at, magic.len()).as_deref() == Ok(magic))
    }

    /// Whether it is one compressed stream.
    pub(crate) fn stream(&self) -> bool {
        crate::streams::NAMES.contains(&self.name)
    }
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What is in it.
    pub(crate) content: Inside,
    /// How many bytes it takes, if it says so: a scan goes on behind it.
    pub(crate) length: Option<u64>,
    /// Facts worth telling: the volume's name, a signature's key, the kernel's architecture.
    pub(crate) notes: Vec<(String, String)>,
}

/// What is in it.
#[derive(Debug)]
pub(crate) enum Inside {
    /// Files.
    Tree(Tree),
    /// Partitions, volumes, what was decompressed: each is opened in turn.
    Pieces(Vec<Piece>),
    /// A program: told as it is; archives in it are looked for.
    Program,
    /// Nothing to open.
    Data,
}

/// A part of a container.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// What it is called.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) bytes: Bytes,
    /// It runs: its bytes are told as they are, and only archives are looked for in it.
    pub(crate) program: bool,
    /// It lies between two others.
    pub(crate) padding: bool,
}

impl Piece {
    /// Something that may be an image.
    pub(crate) fn new(name: impl Into<String>, bytes: Bytes) -> Self {
        Self {
            name: name.into(),
            bytes,
            program: false,
            padding: false,
        }
    }

    /// A kernel, a boot loader, a text: no image is expected in it.
    pub(crate) fn program(name: impl Into<String>, bytes: Bytes) -> Self {
        Self {
            program: true,
            ..Self::new(name, bytes)
        }
    }
}

/// Where a part of a container lies.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// What it is called.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) at: u64,
    /// How long it is.
    pub(crate) length: u64,
    /// It runs.
    pub(crate) program: bool,
}

/// The parts of a container of some length, and as programs what lies between them: boot loaders do.
pub(crate) fn covered(bytes: &Bytes, length: u64, mut ranges: Vec<Range>) -> Vec<Piece> {
    let length = length.min(bytes.length());
    ranges.sort_by_key(|range| range.at);
    let mut pieces = Vec::new();
    let mut told = 0;
    let part = |at: u64, end: u64| bytes.part(at, end.saturating_sub(at)).ok();
    for range in ranges {
        if let Some(gap) = part(told, range.at.min(length)).filter(|it| it.length() > 0) {
            pieces.push(Piece {
                padding: true,
                ..Piece::program(format!("between at {told:#x}"), gap)
            });
        }
        let end = range.at.saturating_add(range.length);
        let (at, there) = (range.at.min(length), end.min(length));
        let name = if there < end {
            format!("{} (cut short)", range.name)
        } else {
            range.name
        };
        pieces.extend(part(at, there).map(|bytes| Piece {
            program: range.program,
            ..Piece::new(name, bytes)
        }));
        told = told.max(there);
    }
    if let Some(gap) = part(told, length).filter(|it| it.length() > 0) {
        pieces.push(Piece {
            padding: true,
            ..Piece::program(format!("between at {told:#x}"), gap)
        });
    }
    pieces
}

/// All formats; of two that begin at one place, the earlier one is tried first.
pub(crate) static FORMATS: &[Format] = &[
    Format {
        name: "squashfs",
        magics: crate::squashfs::MAGICS,
        anywhere: true,
        open: crate::squashfs::open,
    },
    Format {
        name: "ext2/3/4",
        magics: &[(1080, &[0x53, 0xef])],
        anywhere: true,
        open: crate::ext::open,
    },
    Format {
        name: "UBI",
        magics: &[(0, b"UBI#\x01")],
        anywhere: true,
        open: crate::ubi::open,
    },
    Format {
        name: "UBIFS",
        // The length and the kind of the superblock: every node begins with the same four bytes.
        magics: &[(16, b"\0\x10\0\0\x06\0\0\0")],
        anywhere: true,
        open: crate::ubifs::open,
    },
    Format {
        name: "JFFS2",
        magics: &[
            (0, b"\x85\x19\x01\xe0"),
            (0, b"\x85\x19\x02\xe0"),
            (0, b"\x85\x19\x03\x20"),
            (0, b"\x19\x85\xe0\x01"),
            (0, b"\x19\x85\xe0\x02"),
            (0, b"\x19\x85\x20\x03"),
        ],
        anywhere: true,
        open: crate::jffs2::open,
    },
    Format {
        name: "cramfs",
        magics: &[(16, b"Compressed ROMFS"), (528, b"Compressed ROMFS")],
        anywhere: true,
        open: crate::cramfs::open,
    },
    Format {
        name: "romfs",
        magics: &[(0, b"-rom1fs-")],
        anywhere: true,
        open: crate::romfs::open,
    },
    Format {
        name: "FAT",
        magics: &[
            (54, b"FAT12   "),
            (54, b"FAT16   "),
            (54, b"FAT     "),
            (82, b"FAT32   "),
        ],
        anywhere: true,
        open: crate::fat::open,
    },
    Format {
        name: "ISO 9660",
        magics: &[(0x8001, b"CD001")],
        anywhere: true,
        open: crate::iso::open,
    },
    Format {
        name: "Btrfs",
        magics: &[(0x1_0040, b"_BHRfS_M")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "F2FS",
        magics: &[(0x400, b"\x10\x20\xf5\xf2")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "JFS",
        magics: &[(0x8000, b"JFS1")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "ReiserFS",
        magics: &[
            (0x1_0034, b"ReIsErFs"),
            (0x1_0034, b"ReIsEr2Fs"),
            (0x1_0034, b"ReIsEr3Fs"),
        ],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "EROFS",
        magics: &[(0x400, b"\xe2\xe1\xf5\xe0")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "exFAT",
        magics: &[(3, b"EXFAT   ")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "NTFS",
        magics: &[(3, b"NTFS    ")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "LUKS",
        magics: &[(0, b"LUKS\xba\xbe")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "LVM2",
        magics: &[(0x200, b"LABELONE")],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "bcachefs",
        magics: &[(
            0x1018,
            b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        )],
        anywhere: true,
        open: crate::other::named,
    },
    Format {
        name: "XFS",
        magics: &[(0, b"XFSB")],
        anywhere: true,
        open: crate::other::xfs,
    },
    Format {
        name: "Minix",
        magics: &[
            (1040, b"\x7f\x13"),
            (1040, b"\x8f\x13"),
            (1040, b"\x68\x24"),
            (1040, b"\x78\x24"),
            (1040, b"\x13\x7f"),
            (1040, b"\x13\x8f"),
            (1040, b"\x24\x68"),
            (1040, b"\x24\x78"),
        ],
        anywhere: false,
        open: crate::other::minix,
    },
    Format {
        name: "YAFFS",
        magics: &[
            (0, b"\x03\0\0\0\x01\0\0\0\xff\xff"),
            (0, b"\x01\0\0\0\x01\0\0\0\xff\xff"),
            (0, b"\0\0\0\x03\0\0\0\x01\xff\xff"),
            (0, b"\0\0\0\x01\0\0\0\x01\xff\xff"),
        ],
        anywhere: true,
        open: crate::other::yaffs,
    },
    Format {
        name: "Android sparse",
        magics: crate::disk::sparse::MAGICS,
        anywhere: true,
        open: crate::disk::sparse::open,
    },
    Format {
        name: "qcow2",
        magics: crate::disk::qcow2::MAGICS,
        anywhere: false,
        open: crate::disk::qcow2::open,
    },
    Format {
        name: "GPT",
        magics: crate::disk::gpt::MAGICS,
        anywhere: false,
        open: crate::disk::gpt::open,
    },
    Format {
        name: "cpio",
        magics: crate::cpio::MAGICS,
        anywhere: true,
        open: crate::cpio::open,
    },
    Format {
        name: "tar",
        magics: crate::tar::MAGICS,
        anywhere: true,
        open: crate::tar::open,
    },
    Format {
        name: "zip",
        magics: crate::zip::MAGICS,
        anywhere: true,
        open: crate::zip::open,
    },
    Format {
        name: "deb",
        magics: crate::ar::MAGICS,
        anywhere: true,
        open: crate::ar::open,
    },
    Format {
        name: "gzip",
        magics: &[(0, b"\x1f\x8b\x08")],
        anywhere: true,
        open: crate::streams::gzip,
    },
    Format {
        name: "xz",
        magics: &[(0, b"\xfd7zXZ\0")],
        anywhere: true,
        open: crate::streams::xz,
    },
    Format {
        name: "zstd",
        magics: &[(0, b"\x28\xb5\x2f\xfd")],
        anywhere: true,
        open: crate::streams::zstd,
    },
    Format {
        name: "lz4",
        magics: &[(0, b"\x04\x22\x4d\x18")],
        anywhere: true,
        open: crate::streams::lz4,
    },
    Format {
        name: "lz4",
        magics: &[(0, b"\x02\x21\x4c\x18")],
        anywhere: true,
        open: crate::streams::lz4_legacy,
    },
    Format {
        name: "lzop",
        magics: &[(0, b"\x89LZO\0\r\n\x1a\n")],
        anywhere: true,
        open: crate::streams::lzop,
    },
    Format {
        name: "bzip2",
        magics: crate::streams::BZIP2,
        anywhere: true,
        open: crate::streams::bzip2,
    },
    Format {
        name: "lzma",
        magics: crate::streams::LZMA,
        anywhere: true,
        open: crate::streams::lzma,
    },
    Format {
        name: "U-Boot image",
        magics: crate::boot::uimage::MAGICS,
        anywhere: true,
        open: crate::boot::uimage::open,
    },
    Format {
        name: "device tree",
        magics: crate::boot::fdt::MAGICS,
        anywhere: true,
        open: crate::boot::fdt::open,
    },
    Format {
        name: "TRX",
        magics: crate::boot::vendor::TRX,
        anywhere: true,
        open: crate::boot::vendor::trx,
    },
    Format {
        name: "TP-Link",
        magics: crate::boot::vendor::TPLINK,
        anywhere: true,
        open: crate::boot::vendor::tplink,
    },
    Format {
        name: "Android boot image",
        magics: crate::boot::android::MAGICS,
        anywhere: true,
        open: crate::boot::android::open,
    },
    Format {
        name: "Linux kernel",
        magics: crate::boot::kernel::BZIMAGE,
        anywhere: true,
        open: crate::boot::kernel::bzimage,
    },
    Format {
        name: "Linux kernel",
        magics: crate::boot::kernel::ZBOOT,
        anywhere: true,
        open: crate::boot::kernel::zboot,
    },
    Format {
        name: "Linux kernel",
        magics: crate::boot::kernel::ARM64,
        anywhere: true,
        open: crate::boot::kernel::arm64,
    },
    Format {
        name: "Linux kernel",
        magics: crate::boot::kernel::ZIMAGE,
        anywhere: true,
        open: crate::boot::kernel::zimage,
    },
    Format {
        name: "PE",
        magics: crate::boot::pe::MAGICS,
        anywhere: false,
        open: crate::boot::pe::open,
    },
    Format {
        name: "ELF",
        magics: crate::boot::kernel::ELF,
        anywhere: false,
        open: crate::boot::kernel::elf,
    },
    Format {
        name: "Intel HEX",
        magics: crate::boot::text::HEX,
        anywhere: false,
        open: crate::boot::text::hex,
    },
    Format {
        name: "S-record",
        magics: crate::boot::text::SRECORD,
        anywhere: false,
        open: crate::boot::text::srecord,
    },
    Format {
        name: "DOS partitions",
        magics: crate::disk::mbr::MAGICS,
        anywhere: false,
        open: crate::disk::mbr::open,
    },
];
