//! Data brought in: files and directories that are there. Nothing is ever downloaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use aws_lc_rs::digest::{Context, SHA256, digest};
use rusqlite::Connection;

use crate::archive::{self, Entry, Wrapping};
use crate::db::{Db, DbError, Incoming, Ready, Stop};
use crate::read::{self, Document, short};

/// The largest file that is read.
const MOST: u64 = 2 << 30;
/// How many that could not be read are told by name.
const NAMED: usize = 1000;
/// How deep directories are walked.
const DEEP: usize = 16;
/// How many documents a thread takes at a time.
const BATCH: usize = 64;

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// How many records, and rows of lists, were put in.
    pub records: u64,
    /// How many records, and whole lists, were older than what is there, which stays.
    pub older: u64,
    /// How many could not be read.
    pub bad: u64,
    /// Where and why; the first thousand.
    pub named: Vec<(String, String)>,
    /// How many files do not look like data, by their names.
    pub ignored: u64,
}

/// Brings in what is at these paths. All of it comes in, or, on an error, nothing; a record that cannot be read is told, and the
/// others come in.
pub fn import(
    db: &Path,
    inputs: &[PathBuf],
    now: u64,
    progress: &dyn Fn(&str),
) -> Result<Imported, DbError> {
    let mut db = Db::change(db)?;
    let mut all = Imported::default();
    db.transaction(|connection| {
        let empty: bool =
            connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM affected)", [], |row| {
                row.get(0)
            })?;
        if empty {
            // Sorting once is faster than keeping sorted.
            connection.execute_batch("DROP INDEX IF EXISTS affected_name")?;
        }
        for input in inputs {
            progress(&format!("{}", input.display()));
            one(connection, input, now, &mut all)?;
        }
        connection.execute_batch(
            "CREATE INDEX IF NOT EXISTS affected_name ON affected (name, ecosystem)",
        )?;
        Ok(())
    })?;
    Ok(all)
}

/// Something in which documents are.
enum Job {
    /// Files, each a document, maybe packed by gzip.
    Files(Vec<PathBuf>),
    /// One file with documents in it, and what they are.
    Inside(Vec<u8>, Vec<Entry>),
    /// One document, and its name.
    Whole(Vec<u8>, String),
}

fn one(connection: &Connection, input: &Path, now: u64, all: &mut Imported) -> Result<(), Stop> {
    let name = input.display().to_string();
    let mut incoming = Incoming::new(connection, &name, now)?;
    let mut taking = Taking {
        incoming: &mut incoming,
        all,
        bad: 0,
        digests: Context::new(&SHA256),
    };
    let sum = if fs_err::metadata(input)?.is_dir() {
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        walk(input, DEEP, &mut plain, &mut packed, taking.all)?;
        taking.run(&Job::Files(plain), input)?;
        for path in packed {
            let bytes = bounded(&path)?;
            taking.digests.update(digest(&SHA256, &bytes).as_ref());
            taking.file(bytes, &path)?;
        }
        taking.digests.clone().finish()
    } else {
        let bytes = bounded(input)?;
        let sum = digest(&SHA256, &bytes);
        taking.file(bytes, input)?;
        sum
    };
    let bad = taking.bad;
    all.older = all.older.saturating_add(incoming.older);
    incoming.finish(&base16ct::lower::encode_string(sum.as_ref()), bad)?;
    Ok(())
}

/// Files below a directory, sorted; those with others in them apart. Links are not followed.
fn walk(
    folder: &Path,
    deep: usize,
    plain: &mut Vec<PathBuf>,
    packed: &mut Vec<PathBuf>,
    all: &mut Imported,
) -> Result<(), Stop> {
    let mut found: Vec<_> = fs_err::read_dir(folder)?.collect::<Result<_, _>>()?;
    found.sort_by_key(fs_err::DirEntry::file_name);
    for entry in found {
        let path = entry.path();
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let name = name.to_string_lossy().to_lowercase();
        let ends = |all: &[&str]| all.iter().any(|it| name.ends_with(it));
        if kind.is_dir() && !name.starts_with('.') {
            match deep.checked_sub(1) {
                Some(deep) => walk(&path, deep, plain, packed, all)?,
                None => all.wrong(&path.display().to_string(), "it is too deep"),
            }
        } else if !kind.is_file() {
            all.ignored = all.ignored.saturating_add(1);
        } else if ends(&[".zip", ".tar", ".tgz", ".tar.gz"]) {
            packed.push(path);
        } else if ends(&[".json", ".json.gz", ".csv", ".csv.gz"]) {
            plain.push(path);
        } else {
            all.ignored = all.ignored.saturating_add(1);
        }
    }
    Ok(())
}

fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if !fs_err::metadata(path)?.is_file() {
        let why = format!("{}: it is no file", path.display());
        return Err(std::io::Error::other(why));
    }
    fs_err::File::open(path)?
        .take(MOST.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST {
        let why = format!("{}: it is larger than {MOST} bytes", path.display());
        return Err(std::io::Error::other(why));
    }
    Ok(bytes)
}

impl Imported {
    fn wrong(&mut self, place: &str, why: &str) {
        self.bad = self.bad.saturating_add(1);
        if self.named.len() < NAMED {
            self.named.push((short(place), short(why)));
        }
    }
}

struct Taking<'a, 'c> {
    incoming: &'a mut Incoming<'c>,
    all: &'a mut Imported,
    bad: u64,
    digests: Context,
}

/// What a thread made of one document.
struct Made {
    name: String,
    digest: Option<Vec<u8>>,
    records: Vec<Ready>,
    document: Document,
    why: Option<String>,
}

impl Taking<'_, '_> {
    /// A file by its content: one document, or a file of many.
    fn file(&mut self, bytes: Vec<u8>, path: &Path) -> Result<(), Stop> {
        let place = path.display().to_string();
        let job = match archive::wrapping(&bytes) {
            Wrapping::Zip => archive::zip(&bytes).map(|entries| Job::Inside(bytes, entries)),
            Wrapping::Tar => Ok(self.tar(bytes, &place)),
            Wrapping::Gzip => archive::gunzip(&bytes).map(|bytes| {
                if archive::wrapping(&bytes) == Wrapping::Tar {
                    self.tar(bytes, &place)
                } else {
                    Job::Whole(bytes, place.trim_end_matches(".gz").to_owned())
                }
            }),
            Wrapping::None => Ok(Job::Whole(bytes, place.clone())),
        };
        match job {
            Ok(job) => self.run(&job, path),
            Err(why) => {
                self.wrong(&place, &why);
                Ok(())
            }
        }
    }

    fn tar(&mut self, bytes: Vec<u8>, place: &str) -> Job {
        let (entries, why) = archive::tar(&bytes);
        if let Some(why) = why {
            self.wrong(place, &why);
        }
        Job::Inside(bytes, entries)
    }

    fn wrong(&mut self, place: &str, why: &str) {
        self.bad = self.bad.saturating_add(1);
        self.all.wrong(place, why);
    }

    /// Has threads read the documents, and puts in what they made, in the documents' order.
    fn run(&mut self, job: &Job, place: &Path) -> Result<(), Stop> {
        let count = match job {
            Job::Files(all) => all.len(),
            Job::Inside(_, all) => all.len(),
            Job::Whole(..) => 1,
        };
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, |it| it.get().min(4));
        std::thread::scope(|scope| {
            let (give, take) = sync_channel(threads.saturating_mul(2));
            for _ in 0..threads {
                let (give, next) = (give.clone(), &next);
                scope.spawn(move || work(job, count, next, &give));
            }
            drop(give);
            self.take(&take, place)
        })
    }

    fn take(&mut self, from: &Receiver<(usize, Vec<Made>)>, place: &Path) -> Result<(), Stop> {
        let (mut waiting, mut next) = (BTreeMap::new(), 0_usize);
        for (at, made) in from {
            waiting.insert(at, made);
            while let Some(batch) = waiting.remove(&next) {
                next = next.saturating_add(BATCH);
                for made in batch {
                    self.put(made, place)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, made: Made, place: &Path) -> Result<(), Stop> {
        if let Some(digest) = made.digest {
            let name = Path::new(&made.name);
            let name = name.strip_prefix(place).unwrap_or(name);
            self.digests.update(name.as_os_str().as_encoded_bytes());
            self.digests.update(b"\0");
            self.digests.update(&digest);
        }
        let file = place.display().to_string();
        let at = |what: &str| {
            let inner = (made.name != file).then_some(made.name.as_str());
            let parts = [Some(file.as_str()), inner, Some(what)];
            let told: Vec<&str> = parts
                .into_iter()
                .flatten()
                .filter(|it| !it.is_empty())
                .collect();
            told.join(": ")
        };
        if let Some(why) = made.why {
            self.wrong(&at(""), &why);
        }
        for (record, why) in &made.document.bad {
            self.wrong(&at(record), why);
        }
        for record in &made.records {
            self.incoming.put(record)?;
        }
        let count = u64::try_from(made.records.len()).unwrap_or(u64::MAX);
        self.all.records = self.all.records.saturating_add(count);
        if let Some((list, of)) = &made.document.list {
            match self.incoming.replace(list, of)? {
                Some(count) => self.all.records = self.all.records.saturating_add(count),
                None => self.all.older = self.all.older.saturating_add(1),
            }
        }
        Ok(())
    }
}

/// Reads documents until there are no more, or nobody wants them.
fn work(job: &Job, count: usize, next: &AtomicUsize, give: &SyncSender<(usize, Vec<Made>)>) {
    loop {
        let from = next.fetch_add(BATCH, Ordering::Relaxed);
        if from >= count {
            return;
        }
        let to = from.saturating_add(BATCH).min(count);
        let made = (from..to).map(|at| make(job, at)).collect();
        if give.send((from, made)).is_err() {
            return;
        }
    }
}

fn make(job: &Job, at: usize) -> Made {
    let mut made = Made {
        name: String::new(),
        digest: None,
        records: Vec::new(),
        document: Document::default(),
        why: None,
    };
    let bytes = match job {
        Job::Whole(bytes, name) => {
            made.name.clone_from(name);
            Ok(std::borrow::Cow::Borrowed(bytes.as_slice()))
        }
        Job::Inside(bytes, entries) => match entries.get(at) {
            Some(entry) => {
                made.name.clone_from(&entry.name);
                let name = entry.name.to_lowercase();
                if ![".json", ".csv"].iter().any(|it| name.ends_with(it)) {
                    return made;
                }
                entry.open(bytes).map(std::borrow::Cow::Owned)
            }
            None => return made,
        },
        Job::Files(paths) => match paths.get(at) {
            Some(path) => {
                made.name = path.display().to_string();
                let read = bounded(path).map_err(|why| why.to_string());
                made.digest = read
                    .as_ref()
                    .ok()
                    .map(|it| digest(&SHA256, it).as_ref().to_vec());
                read.and_then(|bytes| match archive::wrapping(&bytes) {
                    Wrapping::Gzip => archive::gunzip(&bytes),
                    _ => Ok(bytes),
                })
                .map(std::borrow::Cow::Owned)
            }
            None => return made,
        },
    };
    let name = made.name.trim_end_matches(".gz");
    match bytes.map(|bytes| read::document(&bytes, name)) {
        Ok(Some(document)) => made.document = document,
        Ok(None) => made.why = Some("it is of no known form".to_owned()),
        Err(why) => made.why = Some(why),
    }
    for (form, advisory) in std::mem::take(&mut made.document.advisories) {
        match Ready::of(form, &advisory) {
            Ok(ready) => made.records.push(ready),
            Err(why) => made.document.bad.push((advisory.id, why.to_string())),
        }
    }
    made
}
