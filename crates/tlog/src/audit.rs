//! A whole log, read and compared from outside: every entry, every tile, the checkpoint, and how it stood before.

use crate::edge::Edge;
use crate::hash::Hash;
use crate::note::{Checkpoint, Cosigned, Ed25519, MAX_NOTE, Note, NoteError, VerifierKey};
use crate::tile::{BundleError, MAX_BUNDLE, Tile, WIDTH, unbundle};

/// Where the files of a log are.
pub trait Files {
    /// The bytes of a file, `most` of them at most; more is a failure.
    fn read(
        &mut self,
        path: &str,
        most: usize,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;
}

/// With what a log is audited.
#[derive(Debug, Clone)]
pub struct Audit<'a> {
    /// The log's key.
    pub key: &'a VerifierKey,
    /// Witnesses who must have signed the checkpoint too.
    pub witnesses: &'a [VerifierKey],
    /// A checkpoint that somebody kept; the log must begin with what it had then. Signed by the same key.
    pub old: Option<&'a [u8]>,
}

/// A log that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// How it stands.
    pub checkpoint: Checkpoint,
    /// Who else saw that.
    pub cosigned: Vec<Cosigned>,
    /// Entries that were there at the older checkpoint, where one was given.
    pub old: Option<u64>,
    /// Files that were read and compared, the checkpoint among them.
    pub files: Vec<String>,
}

/// The first thing that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// A file is not there, or cannot be read.
    #[error("{path}: could not be read")]
    Unread {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The checkpoint is not the log's.
    #[error("{path} {why}")]
    Checkpoint {
        /// Which: the log's own, or the older one.
        path: &'static str,
        /// Why.
        why: NoteError,
    },
    /// A bundle is not laid out as it should be.
    #[error("{path}: {why}")]
    Bundle {
        /// Which.
        path: String,
        /// Why.
        why: BundleError,
    },
    /// A tile does not have as many hashes as it should.
    #[error("{path} should hold {width} hashes of 32 bytes, and has {found} bytes")]
    Length {
        /// Which.
        path: String,
        /// Hashes it should hold.
        width: u16,
        /// Its bytes.
        found: usize,
    },
    /// A hash is not that of what is under it.
    #[error("{path}: hash {at} is {found}, and what is under it gives {computed}")]
    Hash {
        /// Which tile.
        path: String,
        /// Which hash in it, from 0.
        at: usize,
        /// What is there.
        found: Hash,
        /// What should be.
        computed: Hash,
    },
    /// The entries do not have the root that was signed.
    #[error("the {size} entries have the root {computed}, and the checkpoint says {signed}")]
    Root {
        /// How many.
        size: u64,
        /// Of the entries.
        computed: Hash,
        /// Of the checkpoint.
        signed: Hash,
    },
    /// The log has fewer entries than it had.
    #[error(
        "the log has {now} entries and had {before}: it was cut short, or an old copy put in its place"
    )]
    Shorter {
        /// Entries now.
        now: u64,
        /// Entries at the older checkpoint.
        before: u64,
    },
    /// The log does not begin with what it had.
    #[error(
        "the first {size} entries have the root {computed}, and the older checkpoint says {signed}: the log was forked"
    )]
    Forked {
        /// Entries at the older checkpoint.
        size: u64,
        /// The root of as many now.
        computed: Hash,
        /// The root then.
        signed: Hash,
    },
}

/// Reads all of a log and compares; `entry` is handed each entry with its number, before it is known that all is well.
pub fn audit(
    files: &mut impl Files,
    with: &Audit<'_>,
    ed25519: &impl Ed25519,
    entry: impl FnMut(u64, &[u8]),
) -> Result<Audited, Difference> {
    let open = |path, bytes: &[u8], witnesses: &[_]| {
        Note::parse(bytes)
            .and_then(|note| note.open(with.key, witnesses, ed25519))
            .map_err(|why| Difference::Checkpoint { path, why })
    };
    let old = with
        .old
        .map(|bytes| open("the older checkpoint", bytes, &[]))
        .transpose()?
        .map(|opened| opened.checkpoint);
    let note = read(files, "checkpoint", MAX_NOTE)?;
    let opened = open("checkpoint", &note, with.witnesses)?;
    let now = opened.checkpoint;
    if let Some(old) = old.as_ref().filter(|old| old.size > now.size) {
        return Err(Difference::Shorter {
            now: now.size,
            before: old.size,
        });
    }
    let mut reading = Reading {
        files,
        seen: vec!["checkpoint".to_owned()],
        edge: Edge::default(),
        old,
        entry,
    };
    reading.old_root()?;
    while reading.edge.size() < now.size {
        reading.bundle(now.size)?;
    }
    let partial: Vec<_> = reading
        .edge
        .partial()
        .map(|(tile, nodes)| (tile, nodes.to_vec()))
        .collect();
    for (tile, nodes) in &partial {
        reading.compare(*tile, nodes)?;
    }
    let computed = reading.edge.root();
    if computed != now.root {
        return Err(Difference::Root {
            size: now.size,
            computed,
            signed: now.root,
        });
    }
    Ok(Audited {
        checkpoint: now,
        cosigned: opened.cosigned,
        old: reading.old.map(|old| old.size),
        files: reading.seen,
    })
}

struct Reading<'a, F, E> {
    files: &'a mut F,
    seen: Vec<String>,
    edge: Edge,
    old: Option<Checkpoint>,
    entry: E,
}

impl<F: Files, E: FnMut(u64, &[u8])> Reading<'_, F, E> {
    /// The next bundle, its entries into the edge, and the tiles that it made full.
    fn bundle(&mut self, size: u64) -> Result<(), Difference> {
        let Some(tile) = Tile::holding(0, self.edge.size(), size) else {
            return Ok(());
        };
        let path = tile.bundle_path();
        let bytes = read(self.files, &path, MAX_BUNDLE)?;
        let entries = unbundle(&bytes, tile.width).map_err(|why| Difference::Bundle {
            path: path.clone(),
            why,
        })?;
        self.seen.push(path);
        for entry in entries {
            (self.entry)(self.edge.size(), entry);
            let mut full = Vec::new();
            self.edge.push(Hash::leaf(entry), |tile, nodes| {
                full.push((tile, nodes.to_vec()));
            });
            for (tile, nodes) in full {
                self.compare(tile, &nodes)?;
            }
            self.old_root()?;
        }
        Ok(())
    }

    /// Whether the tree is what it was, once it is as long.
    fn old_root(&self) -> Result<(), Difference> {
        let Some(old) = self.old.as_ref().filter(|old| old.size == self.edge.size()) else {
            return Ok(());
        };
        let computed = self.edge.root();
        if computed == old.root {
            return Ok(());
        }
        Err(Difference::Forked {
            size: old.size,
            computed,
            signed: old.root,
        })
    }

    fn compare(&mut self, tile: Tile, computed: &[Hash]) -> Result<(), Difference> {
        let path = tile.path();
        let bytes = read(self.files, &path, WIDTH.saturating_mul(32))?;
        let found = tile.nodes(&bytes).ok_or_else(|| Difference::Length {
            path: path.clone(),
            width: tile.width,
            found: bytes.len(),
        })?;
        let differs = found
            .iter()
            .zip(computed)
            .enumerate()
            .find(|(_, (found, computed))| found != computed);
        if let Some((at, (found, computed))) = differs {
            return Err(Difference::Hash {
                path,
                at,
                found: *found,
                computed: *computed,
            });
        }
        self.seen.push(path);
        Ok(())
    }
}

fn read(files: &mut impl Files, path: &str, most: usize) -> Result<Vec<u8>, Difference> {
    files.read(path, most).map_err(|source| Difference::Unread {
        path: path.to_owned(),
        source,
    })
}
