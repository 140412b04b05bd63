//! What is remembered of the case, in a file that has its room from the start: a full disk does not make it forget.
//!
//! The file has two places for a record, each with a number and a SHA-256. The one with the higher number holds; the other is
//! written next, so that a power cut leaves one whole.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use stockade_controls::tamper::Record;

/// Room for one record.
const ROOM: usize = 16 * 1024;
/// A number, a length, a digest.
const HEAD: usize = 8 + 4 + 32;
/// What is said to have been open when the memory is damaged.
const DAMAGED: &str = "the memory of it, which is damaged";
/// How long nothing more is told of a sensor that comes and goes.
const QUIET: Duration = Duration::from_mins(10);

/// The file and what it says.
#[derive(Debug)]
pub(crate) struct Latch {
    file: fs_err::File,
    number: u64,
    record: Record,
    /// When it was told last that a sensor says nothing.
    told: BTreeMap<String, Duration>,
}

impl Latch {
    /// Opens the file, and makes it if it is not there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("tamper");
        if !path.try_exists()? {
            make(&path)?;
        }
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)?;
        let mut bytes = Vec::new();
        (&mut file).take(2 * ROOM as u64).read_to_end(&mut bytes)?;
        let records = bytes.chunks(ROOM).filter_map(parse);
        let newest = records.max_by_key(|(number, _)| *number);
        let (number, record) = newest.unwrap_or_else(|| {
            let mut record = Record::default();
            record.opened(DAMAGED, 0);
            (0, record)
        });
        Ok(Self {
            file,
            number,
            record,
            told: BTreeMap::new(),
        })
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Whether this sensor has said already that the case is open.
    pub(super) fn opened(&self, sensor: &str) -> bool {
        let latch = self.record.latch.as_ref();
        latch.is_some_and(|latch| latch.opened.contains_key(sensor))
    }

    /// Whether it is told that a sensor says nothing: not each time of one that comes and goes.
    pub(super) fn tells_unseen(&mut self, sensor: &str, at: Duration) -> bool {
        let quiet = |told: &Duration| at.saturating_sub(*told) < QUIET;
        if self.told.get(sensor).is_some_and(quiet) {
            return false;
        }
        self.told.insert(sensor.to_owned(), at);
        true
    }

    /// Holds in memory from now on, and on disk if that worked.
    pub(super) fn put(&mut self, mut record: Record) -> io::Result<()> {
        record.form = Record::FORM;
        let number = self.number.saturating_add(1);
        let written = self.write(number, &record);
        self.record = record;
        written
    }

    fn write(&mut self, number: u64, record: &Record) -> io::Result<()> {
        let bytes = frame(number, record)?;
        let place = number % 2 * ROOM as u64;
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.number = number;
        Ok(())
    }
}

/// Both places are filled, so that their room is the file's for good.
fn make(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let empty = Record {
        form: Record::FORM,
        ..Record::default()
    };
    for number in [2, 1] {
        let mut bytes = frame(number, &empty)?;
        bytes.resize(ROOM, 0);
        file.write_all(&bytes)?;
    }
    file.sync_all()?;
    fs_err::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |parent| fs_err::File::open(parent)?.sync_all())
}

fn frame(number: u64, record: &Record) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(record)?;
    let length = u32::try_from(text.len()).ok();
    let length = length.filter(|_| text.len() <= ROOM - HEAD);
    let length = length.ok_or_else(|| io::Error::other("too much to remember"))?;
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(length.to_be_bytes());
    let mut summed = bytes.clone();
    summed.extend(&text);
    bytes.extend(digest::digest(&digest::SHA256, &summed).as_ref());
    bytes.extend(text);
    Ok(bytes)
}

fn parse(place: &[u8]) -> Option<(u64, Record)> {
    let (number, rest) = place.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let text = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let summed = [&number[..], &length[..], text].concat();
    if digest::digest(&digest::SHA256, &summed).as_ref() != sum {
        return None;
    }
    let record: Record = serde_json::from_slice(text).ok()?;
    (record.form == Record::FORM).then_some((u64::from_be_bytes(*number), record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(latch: &mut Latch, sensor: &str) {
        let mut record = latch.record().clone();
        record.opened(sensor, 7);
        latch.put(record).unwrap();
    }

    #[test]
    fn what_was_put_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut latch = Latch::open(folder.path()).unwrap();
        assert_eq!(latch.record().latch, None);
        opened(&mut latch, "line A");
        opened(&mut latch, "line B");
        let latch = Latch::open(folder.path()).unwrap();
        assert!(latch.opened("line A") && latch.opened("line B"));
    }

    #[test]
    fn a_write_that_is_cut_short_anywhere_leaves_the_record_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tamper");
        let mut latch = Latch::open(folder.path()).unwrap();
        opened(&mut latch, "line A");
        let before = fs_err::read(&path).unwrap();
        opened(&mut latch, "line B");
        let after = fs_err::read(&path).unwrap();
        for cut in 0..=2 * ROOM {
            let torn = [&after[..cut], &before[cut..]].concat();
            let all = torn.chunks(ROOM).filter_map(parse);
            let (_, record) = all.max_by_key(|(number, _)| *number).unwrap();
            let opened = record.latch.unwrap().opened;
            assert!(opened.contains_key("line A"), "{cut}");
        }
    }

    #[test]
    fn a_memory_that_is_damaged_is_one_of_an_open_case() {
        let folder = tempfile::tempdir().unwrap();
        drop(Latch::open(folder.path()).unwrap());
        let path = folder.path().join("tamper");
        fs_err::write(&path, vec![0; 2 * ROOM]).unwrap();
        let mut latch = Latch::open(folder.path()).unwrap();
        assert!(latch.opened(DAMAGED));
        let mut record = latch.record().clone();
        assert!(record.clear(8, "root", "looked at"));
        latch.put(record).unwrap();
        assert_eq!(Latch::open(folder.path()).unwrap().record().latch, None);
    }

    #[test]
    fn the_room_is_there_from_the_start_and_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tamper");
        let mut latch = Latch::open(folder.path()).unwrap();
        let length = || fs_err::metadata(&path).unwrap().len();
        assert_eq!(length(), 2 * ROOM as u64);
        for sensor in 0..16 {
            opened(&mut latch, &format!("line {}{sensor}", "x".repeat(126)));
        }
        let mut record = latch.record().clone();
        assert!(record.clear(1, "gateway", &"\u{1f512}".repeat(super::super::REASON)));
        for sensor in 0..16 {
            record.opened(&format!("line {}{sensor}", "x".repeat(126)), u64::MAX);
        }
        latch.put(record).unwrap();
        assert_eq!(length(), 2 * ROOM as u64);
    }

    #[test]
    fn a_sensor_that_comes_and_goes_is_told_once_in_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let mut latch = Latch::open(folder.path()).unwrap();
        let told =
            (0..3_600).filter(|second| latch.tells_unseen("line A", Duration::from_secs(*second)));
        assert_eq!(told.count(), 6);
    }
}
