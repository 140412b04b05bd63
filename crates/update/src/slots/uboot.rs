//! Two devices, and U-Boot's environment with the variables of RAUC's scripts for it: `BOOT_ORDER` names the slots in the order in
//! which they are tried, `BOOT_A_LEFT` and `BOOT_B_LEFT` how often. The boot loader counts down at each try.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{Advice, OFlags, fadvise};
use stockade_api::update::Slot;

use super::{SlotError, TRIES};
use crate::environment::Environment;

const CHUNK: usize = 1024 * 1024;
/// What direct reading wants its memory to be a multiple of.
const ALIGNED: usize = 4096;

/// The devices and the environment.
#[derive(Debug)]
pub(crate) struct Uboot {
    root: PathBuf,
    devices: [PathBuf; 2],
    environment: Environment,
}

impl Uboot {
    pub(super) fn open(root: &Path, devices: [&String; 2]) -> Result<Self, SlotError> {
        let below = |path: &String| root.join(path.trim_start_matches('/'));
        Ok(Self {
            root: root.to_owned(),
            devices: devices.map(below),
            environment: Environment::open(root)?,
        })
    }

    fn device(&self, slot: Slot) -> &Path {
        let [a, b] = &self.devices;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// By the kernel's command line: RAUC's scripts say `rauc.slot=`; else the root device is one of the two.
    pub(super) fn running(&self) -> Result<Slot, SlotError> {
        let line = fs_err::read_to_string(self.root.join("proc/cmdline"))?;
        let value = |key: &str| {
            line.split_ascii_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        if let Some(letter) = value("rauc.slot=") {
            let named = Slot::ALL.into_iter().find(|slot| slot.letter() == letter);
            return named.ok_or(SlotError::Running);
        }
        let device = |path: &Path| fs_err::metadata(path).map(|it| it.rdev());
        let root = value("root=/").ok_or(SlotError::Running)?;
        let root = device(&self.root.join(root))?;
        let is = |slot: &Slot| device(self.device(*slot)).is_ok_and(|it| it == root);
        Slot::ALL.into_iter().find(is).ok_or(SlotError::Running)
    }

    /// Which is tried first, and how often each is still tried.
    pub(super) fn order(&self) -> Result<(Slot, [u64; 2]), SlotError> {
        let variables = self.environment.read()?;
        let order = variables.get("BOOT_ORDER").map_or("A B", String::as_str);
        let left = |slot: Slot| {
            let letter = slot.letter();
            if !order.split_ascii_whitespace().any(|it| it == letter) {
                return 0;
            }
            let left = variables.get(&left_of(slot));
            // U-Boot's `setexpr` writes hexadecimal.
            left.map_or(TRIES, |it| {
                u64::from_str_radix(it.trim_start_matches("0x"), 16).unwrap_or(0)
            })
        };
        let first = order.split_ascii_whitespace().next();
        let first = Slot::ALL
            .into_iter()
            .find(|slot| Some(slot.letter()) == first);
        let none = || SlotError::Environment(format!("`BOOT_ORDER={order}` names no slot first"));
        Ok((first.ok_or_else(none)?, Slot::ALL.map(left)))
    }

    pub(super) fn start_next(&self, slot: Slot) -> Result<(), SlotError> {
        self.set(
            &[slot, slot.other()],
            &[(slot, TRIES), (slot.other(), TRIES)],
        )
    }

    pub(super) fn mark_good(&self, slot: Slot) -> Result<(), SlotError> {
        let (first, [a, b]) = self.order()?;
        let left = if slot == Slot::A { a } else { b };
        if first == slot && left == TRIES {
            // Flash wears: what is so already is not written.
            return Ok(());
        }
        self.set(&[slot, slot.other()], &[(slot, TRIES)])
    }

    pub(super) fn mark_bad(&self, slot: Slot) -> Result<(), SlotError> {
        self.set(&[slot.other()], &[(slot, 0), (slot.other(), TRIES)])
    }

    /// All of it in one step: there is no moment at which half of it holds.
    fn set(&self, order: &[Slot], left: &[(Slot, u64)]) -> Result<(), SlotError> {
        let order: Vec<&str> = order.iter().map(|it| it.letter()).collect();
        let mut variables = self.environment.read()?;
        variables.insert("BOOT_ORDER".to_owned(), order.join(" "));
        for (slot, tries) in left {
            variables.insert(left_of(*slot), tries.to_string());
        }
        self.environment.write(&variables)
    }

    /// Opens the device of a slot that does not run, for its new system. A device that is mounted is refused by the kernel.
    pub(crate) fn writer(&self, slot: Slot, size: u64) -> Result<Writer, SlotError> {
        let path = self.device(slot);
        let is_device = fs_err::metadata(path)?.file_type().is_block_device();
        let flags = if is_device {
            OFlags::EXCL
        } else {
            OFlags::empty()
        };
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let room = file.seek(SeekFrom::End(0))?;
        if room < size {
            return Err(SlotError::TooSmall {
                place: path.display().to_string(),
                room,
                size,
            });
        }
        file.rewind()?;
        Ok(Writer {
            path: path.to_owned(),
            file,
        })
    }
}

fn left_of(slot: Slot) -> String {
    format!("BOOT_{}_LEFT", slot.letter())
}

/// A slot that is written.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: fs_err::File,
}

impl Writer {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Everything is on the device, and what is read back from there has this SHA-256.
    pub(crate) fn finish(self, size: u64, wanted: &[u8]) -> io::Result<()> {
        self.file.sync_all()?;
        drop(self.file);
        let read = digest(&self.path, size)?;
        if read.as_slice() == wanted {
            return Ok(());
        }
        let why = format!(
            "{} does not read back as it was written",
            self.path.display()
        );
        Err(io::Error::other(why))
    }
}

/// Of what is on the device, past the kernel's memory of it where the device allows.
fn digest(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let open = |flags: OFlags| {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        options.open(path)
    };
    let file = open(OFlags::DIRECT).or_else(|_| open(OFlags::empty()))?;
    let file: File = file.into_parts().0;
    // Where it can not be passed by, it is to forget.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut memory = vec![0; CHUNK + ALIGNED];
    let begin = memory.as_ptr().align_offset(ALIGNED);
    let buffer = memory.get_mut(begin..begin + CHUNK).unwrap_or_default();
    let mut context = Context::new(&SHA256);
    let mut at = 0_u64;
    while at < size {
        let got = match file.read_at(buffer, at) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            got => got?,
        };
        let left = usize::try_from(size - at).map_or(got, |left| left.min(got));
        let Some(piece) = buffer.get(..left).filter(|it| !it.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        context.update(piece);
        at += left as u64;
    }
    Ok(context.finish().as_ref().to_vec())
}
