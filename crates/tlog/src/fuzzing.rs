//! The bodies of the fuzz targets.

use crate::{Checkpoint, Note, Tile, VerifierKey, bundle, unbundle};

/// A note, and a verifier's key: what is read is written the same.
pub fn tlog_note(data: &[u8]) {
    if let Ok(note) = Note::parse(data) {
        assert_eq!(Note::parse(&note.bytes()).as_ref(), Ok(&note));
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(VerifierKey::parse(&key.text()), Ok(key));
    }
}

/// A path of a tile in the first line, and its file behind it.
pub fn tlog_tile(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == b'\n');
    let Some((path, rest)) = split.and_then(|at| data.split_at_checked(at)) else {
        return;
    };
    let (Ok(path), Some((_, bytes))) = (str::from_utf8(path), rest.split_first()) else {
        return;
    };
    match Tile::parse(path) {
        Some((tile, true)) => {
            assert_eq!(tile.bundle_path(), path);
            if let Ok(entries) = unbundle(bytes, tile.width) {
                let entries: Vec<_> = entries.iter().map(|it| it.to_vec()).collect();
                assert_eq!(bundle(&entries).as_deref(), Ok(bytes));
            }
        }
        Some((tile, false)) => {
            assert_eq!(tile.path(), path);
            if let Some(nodes) = tile.nodes(bytes) {
                assert_eq!(Tile::bytes(&nodes), bytes);
            }
        }
        None => {}
    }
}
