//! `ar` archives, which Debian packages are (deb(5)): each file is opened in turn. Those of old `OpenWrt` are gzipped tars.

use stockade_controls::engine::Unseen;

use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"!<arch>\ndebian-binary")];

/// The most files; a package has three or four.
const MOST: usize = 64;

/// Reads one.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let mut at = 8_u64;
    let mut pieces = Vec::new();
    while at < bytes.length() {
        meter.time()?;
        let header = bytes.some(at, 60)?;
        if header.get(58..60) != Some(b"`\n") {
            // It ends where no header is.
            break;
        }
        let part = |from: usize, to: usize| {
            let text = header.get(from..to).unwrap_or_default();
            String::from_utf8_lossy(text).trim().to_owned()
        };
        let size: u64 = part(48, 58)
            .parse()
            .map_err(|_| Unseen::Damaged("ar: a number that is none".to_owned()))?;
        let content = bytes.part(at.saturating_add(60), size)?;
        let name = part(0, 16).trim_end_matches('/').to_owned();
        if pieces.len() == MOST {
            return Err(Unseen::TooMuch(MOST));
        }
        if name != "debian-binary" {
            pieces.push(Piece::new(name, content));
        }
        let next = at.saturating_add(60).saturating_add(size);
        at = next.checked_next_multiple_of(2).unwrap_or(u64::MAX);
    }
    Ok(Opened {
        content: Inside::Pieces(pieces),
        length: Some(at.min(bytes.length())),
        notes: Vec::new(),
    })
}
