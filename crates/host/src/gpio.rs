//! Lines of GPIO chips and switches of input devices: what they say now, and each change with its time.
//!
//! Times are of `CLOCK_MONOTONIC`. The kernel's own debouncing is not asked for: a line that flutters for good would never be
//! heard of.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use gpiocdev_uapi::v2 as chip;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::ioctl::{Getter, Setter, ioctl, opcode};
use rustix::time::{ClockId, clock_gettime};

/// Changes that the kernel keeps for us; what is more is seen by the level.
const KEPT: u32 = 64;
/// As many chips and lines of a chip are looked at.
const MOST: usize = 256;
const MOST_LINES: u32 = 4_096;
/// Who holds a line, for whoever asks the kernel.
const HOLDER: &[u8] = b"stockade";
/// `struct input_event`: two words of time, type, code, value (`linux/input.h`).
const WORD: usize = size_of::<libc::c_long>();
const EVENT: usize = 2 * WORD + 8;
/// `GPIO_V2_LINE_EVENT_RISING_EDGE` (`linux/gpio.h`).
const RISING: u32 = 1;
/// `EV_SW`.
const SWITCH: u16 = 5;

/// Why a sensor is not read, as half a sentence.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// There is none of this name.
    #[error("{0} is not there")]
    Absent(String),
    /// There are two: which is meant cannot be told.
    #[error("two chips have a line {0}")]
    Two(String),
    /// Somebody else has it.
    #[error("{line} is held by {by}")]
    Held {
        /// The line.
        line: String,
        /// By whom, as the kernel has it.
        by: String,
    },
    /// The kernel says no.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// The kernel says no, about a line.
    #[error("the kernel: {0}")]
    Chip(#[from] chip::Error),
}

/// A change: when, and whether it is high from then on.
pub type Change = (Duration, bool);

/// The time by the clock of changes.
pub fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// A line of a GPIO chip, held as an input.
#[derive(Debug)]
pub struct Line(File);

impl Line {
    /// Finds the line of this name on all chips below `dev`, and holds it.
    pub fn hold(dev: &Path, name: &str) -> Result<Self, SensorError> {
        let mut found = None;
        for path in entries(dev, "gpiochip")? {
            let file = fs_err::File::open(path)?.into_parts().0;
            let lines = chip::get_chip_info(&file)?.num_lines;
            for offset in 0..lines.min(MOST_LINES) {
                let info = chip::get_line_info(&file, offset)?;
                if info.name.as_os_str() != name {
                    continue;
                }
                if found.is_some() {
                    return Err(SensorError::Two(name.to_owned()));
                }
                found = Some((file.try_clone()?, info));
            }
        }
        let (file, info) = found.ok_or_else(|| SensorError::Absent(format!("the line {name}")))?;
        if info.flags.contains(chip::LineFlags::USED) {
            return Err(SensorError::Held {
                line: name.to_owned(),
                by: info.consumer.as_os_str().to_string_lossy().into_owned(),
            });
        }
        let edges = chip::LineFlags::EDGE_RISING | chip::LineFlags::EDGE_FALLING;
        let request = chip::LineRequest {
            offsets: chip::Offsets::from_slice(&[info.offset]),
            consumer: chip::Name::from_bytes(HOLDER),
            config: chip::LineConfig {
                flags: chip::LineFlags::INPUT | edges,
                ..chip::LineConfig::default()
            },
            num_lines: 1,
            event_buffer_size: KEPT,
            ..chip::LineRequest::default()
        };
        let line = chip::get_line(&file, request)?;
        let flags = fcntl_getfl(&line).map_err(io::Error::from)?;
        fcntl_setfl(&line, flags | OFlags::NONBLOCK).map_err(io::Error::from)?;
        Ok(Self(line))
    }

    /// Whether it is high now.
    pub fn level(&self) -> Result<bool, SensorError> {
        let mut values = chip::LineValues { bits: 0, mask: 1 };
        chip::get_line_values(&self.0, &mut values)?;
        Ok(values.bits & 1 == 1)
    }

    /// The changes since the last call that the kernel kept.
    pub fn changes(&self) -> Result<Vec<Change>, SensorError> {
        let mut changes = Vec::new();
        let mut room = vec![0_u64; chip::LineEdgeEvent::u64_size()];
        while changes.len() < MOST && chip::has_event(&self.0)? {
            chip::read_event(&self.0, &mut room)?;
            let event = chip::LineEdgeEvent::from_slice(&room)?;
            let high = event.kind == RISING;
            changes.push((Duration::from_nanos(event.timestamp_ns), high));
        }
        Ok(changes)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A switch of an input device.
#[derive(Debug)]
pub struct Switch {
    file: File,
    code: u16,
}

impl Switch {
    /// Every input device's switch of this code (`linux/input-event-codes.h`), in a root.
    pub fn all(root: &Path, code: u16) -> Result<Vec<Self>, SensorError> {
        let mut all = Vec::new();
        for about in entries(&root.join("sys/class/input"), "event")? {
            let Some(name) = about.file_name() else {
                continue;
            };
            let switches = about.join("device/capabilities/sw");
            let has = fs_err::read_to_string(switches).is_ok_and(|text| bit(&text, code));
            if !has {
                continue;
            }
            let file = fs_err::OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(root.join("dev/input").join(name))?;
            all.push(Self::of(file.into_parts().0, code)?);
        }
        Ok(all)
    }

    fn of(file: File, code: u16) -> io::Result<Self> {
        const CLOCK: rustix::ioctl::Opcode = opcode::write::<libc::c_int>(b'E', 0xa0);
        #[expect(unsafe_code, reason = "no safe wrapper of EVIOCSCLOCKID exists")]
        // SAFETY: EVIOCSCLOCKID reads one int.
        let clock = unsafe { Setter::<CLOCK, libc::c_int>::new(libc::CLOCK_MONOTONIC) };
        #[expect(unsafe_code, reason = "no safe wrapper of EVIOCSCLOCKID exists")]
        // SAFETY: the kernel keeps nothing of what it reads.
        let set = unsafe { ioctl(&file, clock) };
        set?;
        Ok(Self { file, code })
    }

    /// Whether it is set now.
    pub fn level(&self) -> io::Result<bool> {
        const STATE: rustix::ioctl::Opcode = opcode::read::<[u8; 8]>(b'E', 0x1b);
        #[expect(unsafe_code, reason = "no safe wrapper of EVIOCGSW exists")]
        // SAFETY: EVIOCGSW(8) writes at most eight bytes, and every eight bytes are an array of bytes.
        let state = unsafe { Getter::<STATE, [u8; 8]>::new() };
        #[expect(unsafe_code, reason = "no safe wrapper of EVIOCGSW exists")]
        // SAFETY: the kernel keeps nothing of where it writes.
        let set = unsafe { ioctl(&self.file, state) }?;
        let byte = set.get(usize::from(self.code / 8)).copied();
        Ok(byte.unwrap_or_default() >> (self.code % 8) & 1 == 1)
    }

    /// The changes since the last call that the kernel kept.
    pub fn changes(&self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut room = [0; EVENT * 64];
        let length = match (&self.file).read(&mut room) {
            Ok(length) => length,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
            Err(why) => return Err(why),
        };
        let events = room.get(..length).unwrap_or_default().chunks_exact(EVENT);
        changes.extend(events.filter_map(|event| self.change(event)));
        Ok(changes)
    }

    fn change(&self, event: &[u8]) -> Option<Change> {
        let (seconds, rest) = event.split_at_checked(WORD)?;
        let (micros, rest) = rest.split_at_checked(WORD)?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (code, value) = rest.split_first_chunk::<2>()?;
        let ours = u16::from_ne_bytes(*kind) == SWITCH && u16::from_ne_bytes(*code) == self.code;
        let time = Duration::from_secs(word(seconds)?) + Duration::from_micros(word(micros)?);
        ours.then_some((time, value != [0; 4]))
    }
}

impl AsFd for Switch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn word(bytes: &[u8]) -> Option<u64> {
    let bytes: [u8; WORD] = bytes.try_into().ok()?;
    u64::try_from(libc::c_long::from_ne_bytes(bytes)).ok()
}

/// Whether a mask of the kernel has a bit: words in hexadecimal, the last one the lowest.
fn bit(mask: &str, bit: u16) -> bool {
    let bits = u16::try_from(WORD * 8).unwrap_or(u16::MAX);
    let word = mask.split_whitespace().rev().nth(usize::from(bit / bits));
    let word = word.and_then(|word| u64::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (bit % bits) & 1 == 1)
}

/// What in a folder has a name that begins so; none if there is no such folder.
fn entries(folder: &Path, prefix: &str) -> io::Result<Vec<std::path::PathBuf>> {
    let listed = match fs_err::read_dir(folder) {
        Ok(listed) => listed,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut all = Vec::new();
    for entry in listed {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            all.push(path);
        }
    }
    all.sort();
    all.truncate(MOST);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_the_kernel_is_read_from_its_end() {
        assert!(bit("10000\n", 16));
        assert!(!bit("10000\n", 15));
        assert!(!bit("", 0));
        assert!(!bit("1", 64));
        if WORD == 8 {
            assert!(bit("1 0\n", 64));
        }
    }

    #[test]
    fn a_line_that_no_chip_has_is_not_there() {
        let empty = tempfile::tempdir().unwrap();
        let why = Line::hold(empty.path(), "CASE_OPEN").unwrap_err();
        assert_eq!(why.to_string(), "the line CASE_OPEN is not there");
    }
}
