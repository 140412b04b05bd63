//! The environment of U-Boot: the variables that its start follows, one copy or two (U-Boot `env/common.c`, `tools/env`).

use std::collections::BTreeMap;

use crate::engine::HostPath;

/// The largest environment.
pub const MOST: usize = 1024 * 1024;

/// Why an environment can not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UbootError {
    /// The file that says where it is says something else.
    #[error("line {0} of fw_env.config can not be read")]
    Config(usize),
    /// It is in one place or in two.
    #[error("fw_env.config names no place, or more than two")]
    Places,
    /// No copy has the checksum that it says.
    #[error("the environment of U-Boot is damaged: its checksum is wrong")]
    Checksum,
    /// What it says is no list of variables.
    #[error("the environment of U-Boot is no list of variables")]
    Variables,
    /// The variables do not fit.
    #[error("the environment of U-Boot has no room for these variables")]
    Room,
}

/// Where one copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The device or file.
    pub path: HostPath,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How long it is, with its head.
    pub size: usize,
}

/// Where the environment is, by `/etc/fw_env.config`: a device, an offset and a size in a line, for one copy or two.
pub fn places(config: &str) -> Result<Vec<Place>, UbootError> {
    let mut places = Vec::new();
    for (number, line) in (1..).zip(config.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(path) = words.next() else { continue };
        let mut rest = || {
            Some(Place {
                path: HostPath::from_bytes(path.as_bytes()).ok()?,
                offset: self::number(words.next()?)?,
                size: usize::try_from(self::number(words.next()?)?)
                    .ok()
                    .filter(|size| (16..=MOST).contains(size))?,
            })
        };
        places.push(rest().ok_or(UbootError::Config(number))?);
    }
    if (1..=2).contains(&places.len()) {
        Ok(places)
    } else {
        Err(UbootError::Places)
    }
}

/// As strtoul(3) reads it; a negative offset counts from the end of a device, and is not read here.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        _ => text.parse().ok(),
    }
}

/// The variables, and which copy they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// By name.
    pub variables: BTreeMap<String, String>,
    /// How many copies there are.
    copies: usize,
    /// The copy that counts.
    current: usize,
    /// Its flag, if there are two: it grows with each writing.
    flag: u8,
}

impl Environment {
    /// Reads the environment from its one copy, or its two.
    ///
    /// Of two good ones the one counts whose flag is newer (`env_check_redund`): it grows by one and begins anew at 0 after 255.
    pub fn read(copies: &[&[u8]]) -> Result<Self, UbootError> {
        let redundant = copies.len() > 1;
        let good: Vec<_> = copies
            .iter()
            .enumerate()
            .take(2)
            .filter_map(|(number, copy)| {
                let (flag, data) = checked(copy, redundant)?;
                Some((number, flag, data))
            })
            .collect();
        let (current, flag, data) = match good.as_slice() {
            [] => return Err(UbootError::Checksum),
            [one] => *one,
            [first, second, ..] if newer(second.1, first.1) => *second,
            [first, ..] => *first,
        };
        Ok(Self {
            variables: variables(data)?,
            copies: copies.len().min(2),
            current,
            flag,
        })
    }

    /// How many copies do not have the checksum that they say.
    pub(super) fn damaged(copies: &[&[u8]]) -> usize {
        let redundant = copies.len() > 1;
        let whole = copies
            .iter()
            .filter(|copy| checked(copy, redundant).is_some());
        copies.len().saturating_sub(whole.count())
    }

    /// The bytes of a copy of this size that says these variables, and which copy is to be written: of two the one that does not
    /// count, so that the other still does until this one is whole.
    pub fn write(&self, size: usize) -> Result<(usize, Vec<u8>), UbootError> {
        let mut data = Vec::new();
        for (name, value) in &self.variables {
            let plain = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
            if !plain {
                return Err(UbootError::Variables);
            }
            data.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        }
        // A second zero ends the list.
        data.push(0);
        let redundant = self.copies > 1;
        let head = if redundant { 5 } else { 4 };
        let room = size.checked_sub(head).ok_or(UbootError::Room)?;
        if data.len() > room {
            return Err(UbootError::Room);
        }
        data.resize(room, 0);
        let mut copy = crc32fast::hash(&data).to_le_bytes().to_vec();
        if redundant {
            copy.push(self.flag.wrapping_add(1));
        }
        copy.extend(data);
        let other = usize::from(redundant && self.current == 0);
        Ok((other, copy))
    }
}

/// A copy's flag and data, if its checksum is right. The checksum is in the byte order of the machine: the lowest first on all
/// that Linux starts by U-Boot today.
fn checked(copy: &[u8], redundant: bool) -> Option<(u8, &[u8])> {
    let (sum, rest) = copy.split_first_chunk::<4>()?;
    let (flag, data) = if redundant {
        let (flag, data) = rest.split_first()?;
        (*flag, data)
    } else {
        (0, rest)
    };
    (crc32fast::hash(data) == u32::from_le_bytes(*sum)).then_some((flag, data))
}

fn newer(one: u8, other: u8) -> bool {
    match (one, other) {
        (0, 255) => true,
        (255, 0) => false,
        _ => one > other,
    }
}

fn variables(data: &[u8]) -> Result<BTreeMap<String, String>, UbootError> {
    let lines = data.split(|byte| *byte == 0);
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let text = std::str::from_utf8(line).map_err(|_| UbootError::Variables)?;
            let pair = text.split_once('=').ok_or(UbootError::Variables)?;
            Ok((pair.0.to_owned(), pair.1.to_owned()))
        })
        .collect()
}

/// Any bytes as both files: what is read can be written, and is read again as it was.
pub(crate) fn fuzz(data: &[u8]) {
    drop(places(&String::from_utf8_lossy(data)));
    for copies in [vec![data], vec![data, data]] {
        let Ok(environment) = Environment::read(&copies) else {
            continue;
        };
        let size = data.len().saturating_mul(4).saturating_add(16);
        let Ok((_, copy)) = environment.write(size) else {
            continue;
        };
        let both: Vec<&[u8]> = copies.iter().map(|_| copy.as_slice()).collect();
        let again = Environment::read(&both).map(|it| it.variables);
        assert_eq!(again, Ok(environment.variables), "written as it was");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(variables: &[(&str, &str)], copies: usize, flag: u8) -> Environment {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment {
            variables: variables.iter().map(pair).collect(),
            copies,
            current: 0,
            flag,
        }
    }

    #[test]
    fn one_copy_is_read_as_it_was_written() {
        let written = environment(&[("BOOT_ORDER", "A B"), ("bootdelay", "-2")], 1, 0);
        let (copy, bytes) = written.write(0x2000).unwrap();
        assert_eq!((copy, bytes.len()), (0, 0x2000));
        assert_eq!(Environment::read(&[&bytes]).unwrap(), written);
        let mut damaged = bytes;
        damaged[100] ^= 1;
        assert_eq!(Environment::read(&[&damaged]), Err(UbootError::Checksum));
    }

    #[test]
    fn of_two_copies_the_newer_good_one_counts_and_the_other_is_written() {
        let mut now = environment(&[("slot", "0")], 2, 254);
        let (other, first) = now.write(512).unwrap();
        assert_eq!(other, 1);
        let empty = vec![0xff; 512];
        let mut copies = [empty, first];
        // Over the end of the flag: 255, then 0, then 1.
        for round in 1..5 {
            now = Environment::read(&[&copies[0], &copies[1]]).unwrap();
            now.variables.insert("slot".to_owned(), round.to_string());
            let (place, bytes) = now.write(512).unwrap();
            // A power cut in the middle leaves what was.
            let mut half = copies.clone();
            half[place][..256].copy_from_slice(&bytes[..256]);
            half[place][256..].fill(0xff);
            let after = Environment::read(&[&half[0], &half[1]]).unwrap();
            assert_eq!(after.variables["slot"], (round - 1).to_string());
            copies[place] = bytes;
            let after = Environment::read(&[&copies[0], &copies[1]]).unwrap();
            assert_eq!(after.variables["slot"], round.to_string());
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let full = environment(&[("a", "0123456789")], 1, 0);
        assert_eq!(full.write(17), Err(UbootError::Room));
        assert!(full.write(18).is_ok());
        let wrong = environment(&[("a=b", "c")], 1, 0);
        assert_eq!(wrong.write(64), Err(UbootError::Variables));
    }

    #[test]
    fn its_place_is_told_by_the_configuration() {
        let config = "# device  offset  size\n/dev/mmcblk0 0x400000 0x4000 # first\n/dev/mmcblk0\t0x404000 16384\n";
        let places = places(config).unwrap();
        assert_eq!(places.len(), 2);
        assert_eq!(places[1].offset, 0x40_4000);
        assert_eq!(places[1].size, 0x4000);
        for (wrong, why) in [
            ("", UbootError::Places),
            (
                "/dev/a 0 64\n/dev/a 64 64\n/dev/a 128 64",
                UbootError::Places,
            ),
            ("/dev/a 0", UbootError::Config(1)),
            ("\n../a 0 64", UbootError::Config(2)),
            ("/dev/a 0 0xffffffff", UbootError::Config(1)),
            ("/dev/a -1 64", UbootError::Config(1)),
        ] {
            assert_eq!(super::places(wrong), Err(why), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_variables_survive(
            variables in prop::collection::btree_map("[a-zA-Z_.]{1,8}", "[^\0]{0,20}", 0..8),
            flag: u8,
        ) {
            let written = Environment { variables, copies: 2, current: 0, flag };
            let (_, copy) = written.write(4096).unwrap();
            let read = Environment::read(&[&[], &copy]).unwrap();
            prop_assert_eq!(read.variables, written.variables);
        }
    }
}
