//! The log's files. What the checkpoint speaks of is on disk before it is.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use stockade_tlog::{Edge, Hash, MAX_BUNDLE, MAX_NOTE, Tile, WIDTH, bundle, unbundle};

use super::LogError;

/// The checkpoint's file.
pub(super) const CHECKPOINT: &str = "checkpoint";
const NEW_CHECKPOINT: &str = "checkpoint.new";

/// The log as far as it is on disk: its edge, and the entries of the bundle that is not full.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) edge: Edge,
    last: Vec<Vec<u8>>,
}

impl State {
    /// What the files say of a log of this size. Whether its root is the signed one is for the caller to see.
    pub(super) fn load(dir: &Path, size: u64) -> Result<Self, LogError> {
        let edge = Edge::load(size, |tile| {
            let path = tile.path();
            tile.nodes(&read(dir, &path, WIDTH * 32)?)
                .ok_or_else(|| damaged(&path, "does not hold as many hashes as the log needs"))
        })?;
        let mut last = Vec::new();
        if let Some((tile, nodes)) = edge.partial().next().filter(|(tile, _)| tile.level == 0) {
            last = entries(dir, tile)?;
            if !last
                .iter()
                .map(|entry| Hash::leaf(entry))
                .eq(nodes.iter().copied())
            {
                return Err(damaged(
                    &tile.bundle_path(),
                    "holds other entries than were hashed",
                ));
            }
        }
        Ok(Self { edge, last })
    }

    /// The state with these entries too. Their files are on disk when it returns; the log is still the one before.
    pub(super) fn with(&self, dir: &Path, entries: Vec<Vec<u8>>) -> Result<Self, LogError> {
        let mut next = self.clone();
        let mut tiles: Vec<(Tile, Vec<u8>)> = Vec::new();
        let mut files = Vec::new();
        for entry in entries {
            next.edge.push(Hash::leaf(&entry), |tile, nodes| {
                tiles.push((tile, Tile::bytes(nodes)));
            });
            next.last.push(entry);
            if next.last.len() == WIDTH {
                let full = std::mem::take(&mut next.last);
                let index = next.edge.size() / 256 - 1;
                let tile = Tile {
                    level: 0,
                    index,
                    width: 256,
                };
                files.push((
                    tile.bundle_path(),
                    bundle(&full).map_err(|_| LogError::TooLong)?,
                ));
            }
        }
        for (tile, nodes) in next.edge.partial() {
            if self.edge.partial().any(|(before, _)| before == tile) {
                continue;
            }
            tiles.push((tile, Tile::bytes(nodes)));
            if tile.level == 0 {
                let bytes = bundle(&next.last).map_err(|_| LogError::TooLong)?;
                files.push((tile.bundle_path(), bytes));
            }
        }
        files.extend(tiles.into_iter().map(|(tile, bytes)| (tile.path(), bytes)));
        write(dir, &files)?;
        Ok(next)
    }

    /// Removes what belongs to no log of this size: narrower tiles that wider ones replaced, and what was written for a
    /// checkpoint that never was. The files beside the edge only: behind it nothing is written.
    pub(super) fn tidy(&self, dir: &Path) -> Result<(), LogError> {
        let (mut keep, mut look) = (BTreeSet::new(), BTreeSet::new());
        let size = self.edge.size();
        for level in 0..8_u8 {
            let nodes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            let index = nodes / 256;
            for index in index.saturating_sub(1)..=index.saturating_add(1) {
                let of = |width| Tile {
                    level,
                    index,
                    width,
                };
                let width = u16::try_from(nodes.saturating_sub(index * 256).min(256));
                let entries = (level == 0).then_some(Tile::bundle_path as fn(_) -> _);
                for path in [Tile::path as fn(_) -> String].into_iter().chain(entries) {
                    look.extend(path(of(1)).strip_suffix("/1").map(str::to_owned));
                    look.insert(path(of(256)));
                    keep.extend(width.ok().filter(|it| *it > 0).map(|it| path(of(it))));
                }
            }
            if nodes == 0 {
                break;
            }
        }
        for place in look {
            let at = dir.join(&place);
            if place.strip_suffix(".p").is_none() {
                if !keep.contains(&place) && at.exists() {
                    fs_err::remove_file(&at)?;
                }
                continue;
            }
            if !at.exists() {
                continue;
            }
            let mut kept = false;
            for entry in fs_err::read_dir(&at)? {
                let name = entry?.file_name();
                let path = format!("{place}/{}", name.to_string_lossy());
                if keep.contains(&path) {
                    kept = true;
                } else {
                    fs_err::remove_file(dir.join(path))?;
                }
            }
            if !kept {
                fs_err::remove_dir(&at)?;
            }
        }
        Ok(())
    }
}

/// The entries of a bundle.
pub(super) fn entries(dir: &Path, tile: Tile) -> Result<Vec<Vec<u8>>, LogError> {
    let path = tile.bundle_path();
    let bytes = read(dir, &path, MAX_BUNDLE)?;
    let entries =
        unbundle(&bytes, tile.width).map_err(|error| damaged(&path, &error.to_string()))?;
    Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
}

/// The checkpoint's bytes, if there is one.
pub(super) fn checkpoint(dir: &Path) -> Result<Option<Vec<u8>>, LogError> {
    if dir.join(CHECKPOINT).exists() {
        read(dir, CHECKPOINT, MAX_NOTE).map(Some)
    } else {
        Ok(None)
    }
}

/// A file of the log, of so many bytes at most.
pub(super) fn read(dir: &Path, path: &str, most: usize) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match fs_err::File::open(dir.join(path)) {
        Ok(file) => file.take(limit).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(path, "is missing"));
        }
        Err(error) => return Err(error.into()),
    };
    if bytes.len() > most {
        return Err(damaged(path, "is longer than such a file can be"));
    }
    Ok(bytes)
}

/// Writes files, and has them and their places on disk when it returns.
fn write(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), LogError> {
    let mut folders = BTreeSet::new();
    for (path, bytes) in files {
        let file = dir.join(path);
        let folder = file.parent().unwrap_or(dir);
        // A new folder is a new entry of the one above it.
        let new = folder
            .ancestors()
            .take_while(|it| !it.exists() && *it != dir);
        folders.extend(new.filter_map(Path::parent).map(Path::to_owned));
        fs_err::create_dir_all(folder)?;
        folders.insert(folder.to_owned());
        let mut out = fs_err::File::create(&file)?;
        out.write_all(bytes)?;
        out.sync_all()?;
    }
    for folder in folders {
        fs_err::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Writes a checkpoint beside the one there is, on disk when it returns.
pub(super) fn prepare_checkpoint(dir: &Path, note: &[u8]) -> Result<(), LogError> {
    let mut out = fs_err::File::create(dir.join(NEW_CHECKPOINT))?;
    out.write_all(note)?;
    Ok(out.sync_all()?)
}

/// Puts it in the place of the one there is. From here on the log is the new one, even where this fails.
pub(super) fn publish_checkpoint(dir: &Path) -> Result<(), LogError> {
    fs_err::rename(dir.join(NEW_CHECKPOINT), dir.join(CHECKPOINT))?;
    Ok(fs_err::File::open(dir)?.sync_all()?)
}

pub(super) fn damaged(path: &str, detail: &str) -> LogError {
    LogError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}
