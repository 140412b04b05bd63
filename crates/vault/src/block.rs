//! Blocks: the form in which treated records are stored. A block has records of one device and one data set, sealed together.
//!
//! ```text
//! form 1 | epoch 4 | subject 16 | day 4 | count 4 | policy 16 | id 16 | commitment 32 | AES-256-GCM of the records
//! ```
//!
//! The key is made from the device's key and the block's random id, and used once. What is in clear is authenticated with the
//! rest, and with it where the block belongs: installation, data set, number. AES-GCM alone commits to no key: the commitment
//! is that of the device's keys, from which key and id make only one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::keys::{KeyError, SubjectId, SubjectKeys};

/// The form written here.
const FORM: u8 = 1;
const CLEAR: usize = 1 + 4 + 16 + 4 + 4 + 16 + 16 + 32;
const TAG: usize = 16;
/// What keys of blocks are made for.
const LABEL: &[u8] = b"block";
/// Most records in a block.
pub(crate) const MAX_RECORDS: usize = 1_024;
/// Bytes of records at which a block is full; one record may be larger than that.
pub(crate) const FULL: usize = 256 << 10;

/// Where a block belongs: what it is bound to beside its own header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The installation.
    pub(crate) tenant: &'a [u8; 16],
    /// The data set.
    pub(crate) schema: &'a str,
    /// The number of its first record.
    pub(crate) first: u64,
}

/// What a block says in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The epoch it was sealed in.
    pub(crate) epoch: u32,
    /// Whose records.
    pub(crate) subject: SubjectId,
    /// When they were stored, in days since 1970, no finer than their time.
    pub(crate) day: i32,
    /// How many they are; sealing counts them itself.
    pub(crate) count: u32,
    /// The policy that they were treated by.
    pub(crate) policy: [u8; 16],
}

/// Why a block cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("not a block of the vault: damaged")]
    NoBlock,
    #[error("a block of form {0}; this version knows {FORM}: start the version that wrote it")]
    OtherForm(u8),
    #[error("sealed with another key than the device's: damaged, or keys of another backup")]
    OtherKey,
    #[error("damaged: its content is not what was sealed")]
    Tampered,
    #[error("there is no key for it: its device was erased, or the key is lost")]
    NoKey,
    #[error("the policy that it was treated by is missing: see `stockade vault fsck`")]
    NoPolicy,
    #[error("the key of its device is damaged: see `stockade vault fsck`")]
    DamagedKey,
}

/// An opened block.
#[derive(Debug)]
pub(crate) struct Opened {
    clear: Zeroizing<Vec<u8>>,
    /// The records' numbers, and where they are.
    records: Vec<(u64, std::ops::Range<usize>)>,
}

impl Opened {
    /// The records' numbers, growing.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|(number, _)| *number)
    }

    /// The record at this place.
    pub(crate) fn record(&self, at: usize) -> Option<&[u8]> {
        let (_, range) = self.records.get(at)?;
        self.clear.get(range.clone())
    }

    /// The records with their numbers.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.records
            .iter()
            .map(|(number, range)| (*number, self.clear.get(range.clone()).unwrap_or_default()))
    }
}

impl Header {
    /// The header of a block, unauthenticated.
    pub(crate) fn parse(block: &[u8]) -> Result<Self, BlockError> {
        match block.first() {
            Some(&FORM) => parse(block)
                .map(|(header, ..)| header)
                .ok_or(BlockError::NoBlock),
            Some(other) => Err(BlockError::OtherForm(*other)),
            None => Err(BlockError::NoBlock),
        }
    }
}

/// Seals records with their numbers, which grow, under their device's keys.
pub(crate) fn seal(
    place: Place<'_>,
    header: Header,
    device: &SubjectKeys,
    records: &[(u64, &[u8])],
) -> Result<Vec<u8>, KeyError> {
    let mut id = [0; 16];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| KeyError::Crypto("no random bytes"))?;
    let key = device.derive(&[LABEL, &id])?;
    seal_with(place, header, (&id, &key, &device.commitment), records)
}

fn seal_with(
    place: Place<'_>,
    header: Header,
    (id, key, commitment): (&[u8; 16], &[u8; 32], &[u8; 32]),
    records: &[(u64, &[u8])],
) -> Result<Vec<u8>, KeyError> {
    let bytes: usize = records.iter().map(|(_, record)| record.len() + 12).sum();
    let mut block = Vec::with_capacity(CLEAR + bytes + TAG);
    block.push(FORM);
    block.extend_from_slice(&header.epoch.to_be_bytes());
    block.extend_from_slice(header.subject.as_bytes());
    block.extend_from_slice(&header.day.to_be_bytes());
    block.extend_from_slice(
        &u32::try_from(records.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    block.extend_from_slice(&header.policy);
    block.extend_from_slice(id);
    block.extend_from_slice(commitment);
    for (number, record) in records {
        put_number(&mut block, number.saturating_sub(place.first));
        put_number(&mut block, record.len() as u64);
        block.extend_from_slice(record);
    }
    let (clear, body) = block.split_at_mut(CLEAR);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(zero(), Aad::from(bound(place, clear)), body)
        .map_err(|_| KeyError::Crypto("a block was not sealed"))?;
    block.extend_from_slice(tag.as_ref());
    Ok(block)
}

/// Opens a block that belongs at `place` with its device's keys.
pub(crate) fn open(
    place: Place<'_>,
    device: &SubjectKeys,
    block: &[u8],
) -> Result<Opened, BlockError> {
    Header::parse(block)?;
    let (_, id, commitment) = parse(block).ok_or(BlockError::NoBlock)?;
    verify_slices_are_equal(&device.commitment, commitment).map_err(|_| BlockError::OtherKey)?;
    let key = device
        .derive(&[LABEL, id])
        .map_err(|_| BlockError::OtherKey)?;
    open_with(place, &key, block)
}

fn open_with(place: Place<'_>, key: &[u8; 32], block: &[u8]) -> Result<Opened, BlockError> {
    let header = Header::parse(block)?;
    let (clear, body) = block.split_at_checked(CLEAR).ok_or(BlockError::NoBlock)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = cipher(key)
        .map_err(|_| BlockError::OtherKey)?
        .open_in_place(zero(), Aad::from(bound(place, clear)), &mut body)
        .map_err(|_| BlockError::Tampered)?
        .len();
    body.truncate(length);
    let records = split(place.first, header.count, &body).ok_or(BlockError::Tampered)?;
    Ok(Opened {
        clear: body,
        records,
    })
}

type Parts<'a> = (Header, &'a [u8; 16], &'a [u8; 32]);

fn parse(block: &[u8]) -> Option<Parts<'_>> {
    if block.len() < CLEAR + TAG {
        return None;
    }
    let (_, rest) = block.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (subject, rest) = rest.split_first_chunk()?;
    let (day, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (policy, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let header = Header {
        epoch: u32::from_be_bytes(*epoch),
        subject: SubjectId::from_bytes(*subject),
        day: i32::from_be_bytes(*day),
        count: u32::from_be_bytes(*count),
        policy: *policy,
    };
    Some((header, id, rest.first_chunk()?))
}

/// The records in an opened body: exactly `count`, their numbers growing, and nothing behind them.
fn split(first: u64, count: u32, body: &[u8]) -> Option<Vec<(u64, std::ops::Range<usize>)>> {
    let mut records: Vec<(u64, _)> = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let number = first.checked_add(take_number(body, &mut at)?)?;
        let length = usize::try_from(take_number(body, &mut at)?).ok()?;
        let end = at.checked_add(length).filter(|end| *end <= body.len())?;
        if records.last().is_some_and(|(before, _)| *before >= number) {
            return None;
        }
        records.push((number, at..end));
        at = end;
    }
    let complete = u32::try_from(records.len()).ok() == Some(count);
    complete.then_some(records)
}

/// LEB128.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while let Some(low) = u8::try_from(number & 0x7f).ok().filter(|_| number > 0x7f) {
        out.push(low | 0x80);
        number >>= 7;
    }
    out.extend(u8::try_from(number));
}

fn take_number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(shift).filter(|it| it >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| KeyError::Crypto("no key for a block"))
}

/// What is authenticated beside the records. Data sets' names are shorter than 64 KiB.
fn bound(place: Place<'_>, clear: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(16 + 8 + place.schema.len() + 8 + clear.len());
    bound.extend_from_slice(place.tenant);
    bound.extend_from_slice(&(place.schema.len() as u64).to_be_bytes());
    bound.extend_from_slice(place.schema.as_bytes());
    bound.extend_from_slice(&place.first.to_be_bytes());
    bound.extend_from_slice(clear);
    bound
}

/// The only nonce of a key that seals once.
fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// See [`crate::fuzzing::vault_block`].
pub(crate) fn fuzz(data: &[u8]) {
    const KEY: [u8; 32] = [7; 32];
    let place = Place {
        tenant: &[1; 16],
        schema: "motion",
        first: 9,
    };
    assert!(open_with(place, &KEY, data).is_err(), "nobody but us seals");
    if let Ok(header) = Header::parse(data) {
        let _never_panics = split(u64::MAX - 1, header.count, data);
    }
    // As a body, the bytes are authentic: what is read of it must be what was written.
    for count in 0..3 {
        if let Some(records) = split(9, count, data) {
            assert_eq!(records.len(), usize::try_from(count).unwrap_or(usize::MAX));
            assert_eq!(records.last().map_or(0, |(_, range)| range.end), data.len());
        }
    }
    let records: Vec<(u64, &[u8])> = (9..)
        .step_by(3)
        .zip(data.chunks(97).take(MAX_RECORDS))
        .collect();
    let header = Header {
        epoch: 1,
        subject: SubjectId::from_bytes([2; 16]),
        day: -1,
        count: u32::try_from(records.len()).unwrap_or(0),
        policy: [3; 16],
    };
    let sealed = seal_with(place, header, (&[5; 16], &KEY, &[6; 32]), &records);
    let opened = sealed.map(|it| open_with(place, &KEY, &it));
    assert!(
        opened.is_ok_and(|it| it.is_ok_and(|it| it.records().eq(records.iter().copied()))),
        "what was sealed is opened"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const PLACE: Place<'_> = Place {
        tenant: &[1; 16],
        schema: "motion",
        first: 41,
    };

    fn sample() -> Vec<u8> {
        let header = Header {
            epoch: 2,
            subject: SubjectId::from_bytes([3; 16]),
            day: 20_717,
            count: 3,
            policy: [4; 16],
        };
        seal_with(
            PLACE,
            header,
            (&[5; 16], &KEY, &[6; 32]),
            &[(41, b"one"), (42, b""), (300, b"three")],
        )
        .unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_with_its_numbers() {
        let opened = open_with(PLACE, &KEY, &sample()).unwrap();
        let records: Vec<_> = opened.records().collect();
        assert_eq!(records, [(41, &b"one"[..]), (42, b""), (300, b"three")]);
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let block = sample();
        for bit in 0..block.len() * 8 {
            let mut other = block.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(open_with(PLACE, &KEY, &other).is_err(), "bit {bit}");
        }
        for length in 0..block.len() {
            assert!(
                open_with(PLACE, &KEY, &block[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_block_in_another_place_or_under_another_key_is_refused_by_what_is_wrong() {
        let block = sample();
        for place in [
            Place {
                tenant: &[9; 16],
                ..PLACE
            },
            Place {
                schema: "motion2",
                ..PLACE
            },
            Place { first: 40, ..PLACE },
        ] {
            assert_eq!(
                open_with(place, &KEY, &block).unwrap_err(),
                BlockError::Tampered,
                "{place:?}"
            );
        }
        assert_eq!(
            open_with(PLACE, &[8; 32], &block).unwrap_err(),
            BlockError::Tampered
        );
        assert_eq!(
            open_with(PLACE, &KEY, b"").unwrap_err(),
            BlockError::NoBlock
        );
        assert_eq!(
            open_with(PLACE, &KEY, &[2; 200]).unwrap_err(),
            BlockError::OtherForm(2)
        );
    }

    #[test]
    fn hostile_bodies_are_refused_and_bounded() {
        // One record too few, numbers that stand still, a length beyond the end, a number beyond 64 bits.
        for (count, body) in [
            (2, &b"\0\x01a"[..]),
            (2, b"\0\x01a\0\x01b"),
            (1, b"\0\x7fa"),
            (1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01a"),
            (1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01a"),
        ] {
            assert_eq!(split(1, count, body), None, "{body:x?}");
        }
        assert_eq!(
            split(5, 2, b"\0\x01a\x82\x01\0").unwrap(),
            [(5, 2..3), (135, 6..6)]
        );
    }

    /// Seeded changes of a real block: no panic, and never a wrong answer.
    #[test]
    fn mutations_are_refused() {
        let block = sample();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 16).unwrap()
        };
        for _ in 0..5_000 {
            let mut other = block.clone();
            match next() % 3 {
                0 => other.truncate(next() % block.len()),
                1 => other.extend((0..=next() % 64).map(|n| u8::try_from(n).unwrap())),
                _ => {
                    for _ in 0..=next() % 8 {
                        let at = next() % other.len();
                        other[at] = u8::try_from(next() % 256).unwrap();
                    }
                }
            }
            assert!(other == block || open_with(PLACE, &KEY, &other).is_err());
            fuzz(&other);
        }
    }
}
