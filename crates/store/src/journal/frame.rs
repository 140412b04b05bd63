//! The bytes of the journal.
//!
//! A segment is a header and then frames, one for each call of `append_all`:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of bytes 4 to 24, begun with the journal's salt |
//! | 4 | 4 | CRC-32 of the body |
//! | 8 | 4 | length of the body |
//! | 12 | 8 | position of the first record |
//! | 20 | 2 | number of records |
//! | 22 | 1 | flags |
//! | 23 | 1 | `0xA5` |
//! | 24 | | body: for each record its stream (1), its length (4), its bytes |
//!
//! Numbers are little endian. A file may end in zeros: a crash can leave its length ahead of what was written.
//!
//! The salt is random and stays in the journal: a device that puts the bytes of a frame into its payload cannot make
//! recovery take them for one.

use crate::bus::{Seq, Stream};

/// Bytes before a frame's body.
pub(crate) const HEADER: usize = 24;
/// Bytes before each record in a body.
pub(crate) const RECORD_HEADER: usize = 5;
/// Flag: when this frame was written, everything before it in the file was on disk.
///
/// So a bad frame with such a frame behind it can not be a write that a crash tore: it is damage to records which
/// may have been acknowledged.
pub(crate) const ALL_BEFORE_SYNCED: u8 = 1;

const MARK: u8 = 0xA5;

/// Bytes of a segment's header.
pub(crate) const FILE_HEADER: usize = 40;
const MAGIC: &[u8; 8] = b"STOCKJNL";
/// The format written here.
pub(crate) const FORMAT: u32 = 1;

/// Start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// No record in the segment is before this position.
    pub(crate) first: Seq,
    /// The last record before this segment; ties it to the segment before.
    pub(crate) after: Seq,
    /// What the checksums of frames begin with; the same in every segment of a journal.
    pub(crate) salt: u32,
}

/// Why the start of a file is not the header of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileHeaderError {
    Foreign,
    Newer(u32),
    Damaged,
}

impl FileHeader {
    pub(crate) fn encode(self) -> [u8; FILE_HEADER] {
        let mut out = [0; FILE_HEADER];
        let (head, rest) = out.split_at_mut(8);
        head.copy_from_slice(MAGIC);
        put(rest, 0, &FORMAT.to_le_bytes());
        put(rest, 4, &self.salt.to_le_bytes());
        put(rest, 8, &self.first.get().to_le_bytes());
        put(rest, 16, &self.after.get().to_le_bytes());
        let crc = crc32fast::hash(out.split_at(FILE_HEADER - 4).0);
        put(&mut out, FILE_HEADER - 4, &crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileHeaderError> {
        if bytes.get(..8) != Some(MAGIC.as_slice()) {
            return Err(FileHeaderError::Foreign);
        }
        let format = u32_at(bytes, 8).ok_or(FileHeaderError::Damaged)?;
        if format > FORMAT {
            return Err(FileHeaderError::Newer(format));
        }
        let covered = bytes
            .get(..FILE_HEADER - 4)
            .ok_or(FileHeaderError::Damaged)?;
        if u32_at(bytes, FILE_HEADER - 4) != Some(crc32fast::hash(covered)) {
            return Err(FileHeaderError::Damaged);
        }
        let first = u64_at(bytes, 16).ok_or(FileHeaderError::Damaged)?;
        let after = u64_at(bytes, 24).ok_or(FileHeaderError::Damaged)?;
        let salt = u32_at(bytes, 12).ok_or(FileHeaderError::Damaged)?;
        Ok(Self {
            first: Seq::new(first),
            after: Seq::new(after),
            salt,
        })
    }
}

/// Start of a frame; its own checksum was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body: usize,
    body_crc: u32,
    pub(crate) first: Seq,
    pub(crate) count: u16,
    pub(crate) flags: u8,
}

impl FrameHeader {
    /// Position of the frame's last record.
    pub(crate) fn last(&self) -> Seq {
        Seq::new(
            self.first
                .get()
                .saturating_add(u64::from(self.count).saturating_sub(1)),
        )
    }

    /// The header in the first bytes of `bytes`, if there is an intact one.
    pub(crate) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if header.get(23) != Some(&MARK)
            || u32_at(header, 0) != Some(salted(salt, header.get(4..)?))
        {
            return None;
        }
        let count = u16::from_le_bytes(header.get(20..22)?.try_into().ok()?);
        let first = u64_at(header, 12)?;
        // Positions that could not be counted on from are no positions.
        if count == 0 || first == 0 || first.checked_add(u64::from(count)).is_none() {
            return None;
        }
        Some(Self {
            body: usize::try_from(u32_at(header, 8)?).ok()?,
            body_crc: u32_at(header, 4)?,
            first: Seq::new(first),
            count,
            flags: *header.get(22)?,
        })
    }

    /// The records in `body`, if it is what was written.
    pub(crate) fn records<'a>(&self, body: &'a [u8]) -> Option<Vec<(Seq, Stream, &'a [u8])>> {
        if body.len() != self.body || crc32fast::hash(body) != self.body_crc {
            return None;
        }
        let mut rest = body;
        let mut records =
            Vec::with_capacity(usize::from(self.count).min(body.len() / RECORD_HEADER));
        for number in 0..u64::from(self.count) {
            let stream = Stream::from_id(*rest.first()?)?;
            let length = usize::try_from(u32_at(rest, 1)?).ok()?;
            let end = RECORD_HEADER.checked_add(length)?;
            records.push((
                Seq::new(self.first.get() + number),
                stream,
                rest.get(RECORD_HEADER..end)?,
            ));
            rest = rest.get(end..)?;
        }
        rest.is_empty().then_some(records)
    }
}

/// Length of the frame for these records; `None` if that can not be written.
pub(crate) fn frame_len(records: &[(Stream, &[u8])]) -> Option<usize> {
    let mut length = HEADER;
    for (_, bytes) in records {
        length = length
            .checked_add(RECORD_HEADER)?
            .checked_add(bytes.len())?;
    }
    u32::try_from(length).ok().map(|_| length)
}

/// Checksum of the body that [`write_frame`] will write; by itself, so that it can be made before taking a lock.
pub(crate) fn body_crc(records: &[(Stream, &[u8])]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for (stream, bytes) in records {
        crc.update(&record_header(*stream, bytes));
        crc.update(bytes);
    }
    crc.finalize()
}

/// What a frame carries beside its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) first: Seq,
    pub(crate) body_crc: u32,
    pub(crate) flags: u8,
    pub(crate) salt: u32,
}

/// Appends the frame to `out`. `records` passed [`frame_len`], so its lengths fit; there are at most `u16::MAX`.
pub(crate) fn write_frame(out: &mut Vec<u8>, records: &[(Stream, &[u8])], stamp: Stamp) {
    let body: usize = records
        .iter()
        .map(|(_, bytes)| RECORD_HEADER + bytes.len())
        .sum();
    let mut header = [0; HEADER];
    put(&mut header, 4, &stamp.body_crc.to_le_bytes());
    put(
        &mut header,
        8,
        &u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes(),
    );
    put(&mut header, 12, &stamp.first.get().to_le_bytes());
    put(
        &mut header,
        20,
        &u16::try_from(records.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    put(&mut header, 22, &[stamp.flags, MARK]);
    let crc = salted(stamp.salt, header.split_at(4).1);
    put(&mut header, 0, &crc.to_le_bytes());
    out.extend_from_slice(&header);
    for (stream, bytes) in records {
        out.extend_from_slice(&record_header(*stream, bytes));
        out.extend_from_slice(bytes);
    }
}

fn salted(salt: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(bytes);
    crc.finalize()
}

fn record_header(stream: Stream, bytes: &[u8]) -> [u8; RECORD_HEADER] {
    let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    [stream.id(), a, b, c, d]
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in out.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
