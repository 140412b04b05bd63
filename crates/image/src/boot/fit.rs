//! U-Boot's images that are device trees (FIT; its `doc/usage/fit/source_file_format.rst` and `signature.rst`). Hashes are checked;
//! of signatures it is told which key made them and over what: the key itself is in the boot loader.

use aws_lc_rs::digest::{self, Algorithm};
use stockade_controls::engine::Unseen;

use super::fdt::{Fdt, Node};
use super::uimage::by_name;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The most images, and the most configurations.
const MOST: usize = 64;
const MOST_CONFIGURATIONS: usize = 512;

/// How a hash that is not that of the data is told, and what nobody signed.
const WRONG: &str = "wrong";
const NOT_SIGNED: &str = "not signed";

/// Reads one.
pub(super) fn open(bytes: &Bytes, fdt: &Fdt, meter: &Meter) -> Result<Opened, Unseen> {
    let mut notes = Vec::new();
    let mut pieces = Vec::new();
    let mut end = fdt.length;
    for image in fdt.below("/images") {
        if pieces.len() == MOST {
            return Err(Unseen::TooMuch(MOST));
        }
        let data = data(bytes, fdt, image)?;
        if let Some((_, last)) = data.1 {
            end = end.max(last);
        }
        let name = image.name();
        for part in fdt.below(&image.path) {
            let key = format!("image {name}, {}", part.name());
            if part.name().starts_with("hash") {
                notes.push((key, hash(part, &data.0, meter)?));
            } else if part.name().starts_with("signature") {
                notes.push((key, signature(part)));
            }
        }
        let kind = image.text("type").unwrap_or_default();
        let packing = image.text("compression");
        let packing = packing.unwrap_or_else(|| "none".to_owned());
        // A file system stays packed for who uses it: what it is, is found out then.
        let whole = match kind.as_str() {
            "ramdisk" | "filesystem" => data.0,
            _ => by_name(&packing, data.0, meter)?,
        };
        notes.push((format!("image {name}"), format!("{kind}, {packing}")));
        pieces.push(match kind.as_str() {
            "ramdisk" | "filesystem" | "flat_dt" | "multi" => Piece::new(name, whole),
            _ => Piece::program(name, whole),
        });
    }
    let configurations = fdt.node("/configurations");
    if let Some(name) = configurations.and_then(|it| it.text("default")) {
        notes.push(("default configuration".to_owned(), name));
    }
    for (number, one) in fdt.below("/configurations").enumerate() {
        if number == MOST_CONFIGURATIONS {
            return Err(Unseen::TooMuch(MOST_CONFIGURATIONS));
        }
        let mut signatures = fdt
            .below(&one.path)
            .filter(|it| it.name().starts_with("signature"))
            .peekable();
        let name = format!("configuration {}", one.name());
        if signatures.peek().is_none() {
            notes.push((name, NOT_SIGNED.to_owned()));
            continue;
        }
        for it in signatures {
            notes.push((format!("{name}, {}", it.name()), signature(it)));
        }
    }
    // Not all may be kept: what is wrong comes first, then configurations.
    notes.sort_by_key(|(name, said)| {
        let fine = (!said.ends_with(WRONG), !said.starts_with(NOT_SIGNED));
        (fine, name.starts_with("image "))
    });
    Ok(Opened {
        content: Inside::Pieces(pieces),
        length: Some(end.min(bytes.length())),
        notes,
    })
}

/// An image's data: in the tree, or behind it, and then up to where.
fn data(bytes: &Bytes, fdt: &Fdt, image: &Node) -> Result<(Bytes, Option<(u64, u64)>), Unseen> {
    if let Some(data) = image.value("data") {
        return Ok((data.clone(), None));
    }
    let behind = fdt.length.checked_next_multiple_of(4).unwrap_or(u64::MAX);
    let from_behind = image.number("data-offset");
    let at = from_behind.map(|offset| behind.saturating_add(offset));
    let at = at.or_else(|| image.number("data-position"));
    let size = image.number("data-size");
    let (Some(at), Some(size)) = (at, size) else {
        return Err(Unseen::Damaged("FIT: an image without data".to_owned()));
    };
    let data = bytes.part(at, size)?;
    Ok((data, Some((at, at.saturating_add(size)))))
}

/// Whether a hash is that of the data.
fn hash(node: &Node, data: &Bytes, meter: &Meter) -> Result<String, Unseen> {
    let name = node.text("algo").unwrap_or_default();
    let algorithm: &Algorithm = match name.as_str() {
        "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => &digest::SHA256,
        "sha384" => &digest::SHA384,
        "sha512" => &digest::SHA512,
        "crc32" => {
            let data = data.all(meter.limits().longest)?;
            return Ok(verdict(&name, node, &crc32fast::hash(&data).to_be_bytes()));
        }
        _ => return Ok(format!("{name}, not checked")),
    };
    let data = data.all(meter.limits().longest)?;
    let made = digest::digest(algorithm, &data);
    Ok(verdict(&name, node, made.as_ref()))
}

fn verdict(name: &str, node: &Node, made: &[u8]) -> String {
    let said = node.value("value").and_then(|it| it.all(64).ok());
    let right = if said.as_deref() == Some(made) {
        "right"
    } else {
        WRONG
    };
    format!("{name}, {right}")
}

/// By which key, with what, over what.
fn signature(node: &Node) -> String {
    let of = |name| node.text(name).unwrap_or_else(|| "unknown".to_owned());
    if node.value("value").is_none() {
        return format!("{NOT_SIGNED}: a place for a signature, and none in it");
    }
    let over = node
        .text("sign-images")
        .or_else(|| node.text("hashed-nodes"));
    let over = over.map(|it| format!(", over {it}")).unwrap_or_default();
    format!(
        "signed by key {}, {}{over}",
        of("key-name-hint"),
        of("algo")
    )
}
