//! Boot images of Android (`system/tools/mkbootimg/include/bootimg/bootimg.h`), headers 0 to 4.

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Range, covered};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"ANDROID!")];

/// Reads one.
pub(crate) fn open(bytes: &Bytes, _: &Meter) -> Result<Opened, Unseen> {
    let header = bytes.read(0, 1660)?;
    let at = |place: usize| {
        let field = header.get(place..).unwrap_or_default();
        Fields::little(field).u32().map(u64::from)
    };
    let version = at(40)?;
    let mut parts = Vec::new();
    let (page, command) = if version >= 3 {
        parts.push(("kernel", at(8)?));
        parts.push(("ramdisk", at(12)?));
        if version >= 4 {
            parts.push(("signature", at(1580)?));
        }
        (4096, header.get(44..1580))
    } else {
        parts.push(("kernel", at(8)?));
        parts.push(("ramdisk", at(16)?));
        parts.push(("second stage", at(24)?));
        if version >= 1 {
            parts.push(("recovery device tree", at(1632)?));
        }
        if version >= 2 {
            parts.push(("device tree", at(1648)?));
        }
        (at(36)?, header.get(64..576))
    };
    if version > 4 || !(2048..=65536).contains(&page) {
        return Err(Unseen::Damaged(
            "Android boot image: a version or page that is not read".to_owned(),
        ));
    }
    let mut place = page;
    let mut ranges = vec![Range {
        name: "header".to_owned(),
        at: 0,
        length: page,
        program: true,
    }];
    for (name, length) in parts.into_iter().filter(|(_, length)| *length > 0) {
        ranges.push(Range {
            name: name.to_owned(),
            at: place,
            length,
            program: matches!(name, "kernel" | "signature" | "second stage"),
        });
        let end = place.saturating_add(length);
        place = end.checked_next_multiple_of(page).unwrap_or(u64::MAX);
    }
    let last = ranges
        .last()
        .map_or(0, |it| it.at.saturating_add(it.length));
    let length = place.min(bytes.length());
    if last > bytes.length() {
        return Err(Unseen::Damaged(
            "Android boot image: it ends early".to_owned(),
        ));
    }
    // What Android Verified Boot adds begins behind it, on the next block (`avbtool add_hash_footer`).
    let behind = place.checked_next_multiple_of(4096).unwrap_or(u64::MAX);
    let verified = match bytes.some(behind, 4)?.as_slice() {
        b"AVB0" => "there, not checked",
        _ => "none",
    };
    let command = command.unwrap_or_default();
    let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut pieces = covered(bytes, length, ranges);
    pieces.remove(0);
    Ok(Opened {
        content: Inside::Pieces(pieces),
        length: Some(length),
        notes: vec![
            ("header version".to_owned(), version.to_string()),
            ("verified boot".to_owned(), verified.to_owned()),
            (
                "cmdline".to_owned(),
                String::from_utf8_lossy(command).replace(char::is_control, ""),
            ),
        ],
    })
}
