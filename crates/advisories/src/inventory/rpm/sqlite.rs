//! The file format of `SQLite` (its "Database File Format"), as far as one table of blobs needs it.

use std::collections::BTreeSet;

use stockade_controls::engine::Unseen;

use super::{Each, number, short, size, stretch};

/// Where the first page's tree begins, behind the file's own header.
const FILE_HEADER: usize = 100;
/// Kinds of pages of a table (§1.6).
const INTERIOR: u64 = 5;
const LEAF: u64 = 13;

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    /// What a page has without the room that is reserved at its end.
    usable: usize,
}

pub(super) fn headers(file: &[u8], each: Each<'_>) -> Result<(), Unseen> {
    if !file.starts_with(b"SQLite format 3\0") {
        return Err(Unseen::Damaged("no database of SQLite".to_owned()));
    }
    let page = match size(number(file, 16, 2, true)?) {
        1 => 65_536,
        page => page,
    };
    let reserved = size(number(file, 20, 1, true)?);
    let usable = page.checked_sub(reserved).filter(|it| *it >= 480);
    let file = File {
        bytes: file,
        page,
        usable: usable
            .filter(|_| page.is_power_of_two())
            .ok_or_else(short)?,
    };
    // A file that was cut is not a short one (§1.3.7).
    if size(number(file.bytes, 28, 4, true)?).saturating_mul(page) > file.bytes.len() {
        return Err(short());
    }
    let mut table = None;
    file.rows(1, &mut |record| {
        let [kind, name, _, root, ..] = columns(record)?;
        if kind == b"table" && name == b"Packages" {
            table = Some(size(number(root, 0, root.len().min(8), true)?));
        }
        Ok(())
    })?;
    let no_table = || Unseen::Damaged("a database without the table of packages".to_owned());
    file.rows(table.ok_or_else(no_table)?, &mut |record| {
        // The number of a row is not in its record.
        each(columns(record)?[1])
    })
}

/// The first columns of a record (§2.1), as bytes.
fn columns(record: &[u8]) -> Result<[&[u8]; 5], Unseen> {
    let (header, used) = varint(record)?;
    let mut at = size(header);
    let mut rest = stretch(record, 0, at)?.get(used..).ok_or_else(short)?;
    let mut columns = [&[][..]; 5];
    for column in &mut columns {
        if rest.is_empty() {
            break;
        }
        let (kind, used) = varint(rest)?;
        rest = rest.get(used..).unwrap_or_default();
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => size(kind),
            5 => 6,
            6 | 7 => 8,
            _ => size(kind.saturating_sub(12) / 2),
        };
        *column = stretch(record, at, length)?;
        at = at.saturating_add(length);
    }
    Ok(columns)
}

/// A number of one to nine bytes (§1.6), and how many it took.
fn varint(bytes: &[u8]) -> Result<(u64, usize), Unseen> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Ok((value.wrapping_shl(8) | u64::from(*byte), 9));
        }
        value = value.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((value, index.saturating_add(1)));
        }
    }
    Err(short())
}

impl<'a> File<'a> {
    /// A page, by its number from 1 on.
    fn page(&self, number: usize) -> Result<&'a [u8], Unseen> {
        let before = number.checked_sub(1).ok_or_else(short)?;
        stretch(self.bytes, before.saturating_mul(self.page), self.page)
    }

    /// The records of a table; each page once, so that no loop is followed.
    fn rows(&self, root: usize, each: Each<'_>) -> Result<(), Unseen> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![root]);
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                return Err(Unseen::Damaged(
                    "a table that leads back to itself".to_owned(),
                ));
            }
            let page = self.page(at)?;
            let header = if at == 1 { FILE_HEADER } else { 0 };
            let tree = page.get(header..).unwrap_or_default();
            let cells = size(number(tree, 3, 2, true)?);
            let first = match number(tree, 0, 1, true)? {
                INTERIOR => 12,
                LEAF => 8,
                _ => return Err(Unseen::Damaged("a page that is of no table".to_owned())),
            };
            for index in 0..cells {
                let pointer = index.saturating_mul(2).saturating_add(first);
                let at = size(number(tree, pointer, 2, true)?);
                if first == 12 {
                    open.push(size(number(page, at, 4, true)?));
                } else {
                    each(&self.record(page.get(at..).ok_or_else(short)?, &mut seen)?)?;
                }
            }
            if first == 12 {
                open.push(size(number(tree, 8, 4, true)?));
            }
        }
        Ok(())
    }

    /// A cell's record (§1.6): what does not fit goes on on pages of its own.
    fn record(&self, cell: &[u8], seen: &mut BTreeSet<usize>) -> Result<Vec<u8>, Unseen> {
        let (length, used) = varint(cell)?;
        let cell = cell.get(used..).ok_or_else(short)?;
        let (_, used) = varint(cell)?;
        let cell = cell.get(used..).ok_or_else(short)?;
        let length = size(length);
        let local = self.local(length);
        let mut record = stretch(cell, 0, local)?.to_vec();
        if local == length {
            return Ok(record);
        }
        let mut next = size(number(cell, local, 4, true)?);
        while record.len() < length {
            if !seen.insert(next) {
                return Err(Unseen::Damaged(
                    "a record that leads back to itself".to_owned(),
                ));
            }
            let page = self.page(next)?;
            let left = length.saturating_sub(record.len());
            let most = self.usable.saturating_sub(4);
            record.extend(stretch(page, 4, left.min(most))?);
            next = size(number(page, 0, 4, true)?);
        }
        Ok(record)
    }

    /// How much of a record is on the page itself.
    fn local(&self, length: usize) -> usize {
        let most = self.usable.saturating_sub(35);
        if length <= most {
            return length;
        }
        let room = self.usable.saturating_sub(12).saturating_mul(32);
        let least = (room / 255).saturating_sub(23);
        let rest = length.saturating_sub(least);
        let rest = rest.checked_rem(self.usable.saturating_sub(4));
        let fits = least.saturating_add(rest.unwrap_or(0));
        if fits <= most { fits } else { least }
    }
}
