//! Berkeley DB, a hash (its `src/dbinc/db_page.h`): every header is longer than a page has room for and lies on overflow pages.

use std::collections::BTreeSet;

use stockade_controls::engine::Unseen;

use super::{Each, number, short, size, stretch};

/// A page's header.
const HEADER: usize = 26;
/// Kinds of pages, and of what lies on them.
const HASH: [u64; 2] = [2, 13];
const OVERFLOW: u64 = 7;
const OFF_PAGE: u64 = 3;

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    big: bool,
}

pub(super) fn headers(file: &[u8], each: Each<'_>) -> Result<(), Unseen> {
    let big = match stretch(file, 12, 4)? {
        [0x61, 0x15, 6, 0] => false,
        [0, 6, 0x15, 0x61] => true,
        _ => return Err(Unseen::Damaged("no hash of Berkeley DB".to_owned())),
    };
    let page = size(number(file, 20, 4, big)?);
    let encrypted = number(file, 24, 1, big)? != 0;
    if !page.is_power_of_two() || !(512..=65_536).contains(&page) || encrypted {
        return Err(Unseen::Damaged(
            "pages of a size that there is not".to_owned(),
        ));
    }
    let file = File {
        bytes: file,
        page,
        big,
    };
    let pages = file.bytes.len().checked_div(page).unwrap_or(0);
    // What the first page says, so that a file that was cut is not taken for a short one.
    let last = size(file.number(0, 32, 4)?);
    if last >= pages {
        return Err(short());
    }
    let mut used = BTreeSet::new();
    for page in 1..=last {
        if !HASH.contains(&file.number(page, 25, 1)?) {
            continue;
        }
        let entries = size(file.number(page, 20, 2)?);
        // Keys and values take turns.
        for value in (1..entries).step_by(2) {
            let index = HEADER.saturating_add(value.saturating_mul(2));
            let at = size(file.number(page, index, 2)?);
            if file.number(page, at, 1)? == OFF_PAGE {
                let first = size(file.number(page, at.saturating_add(4), 4)?);
                let length = size(file.number(page, at.saturating_add(8), 4)?);
                each(&file.overflow(first, length, &mut used)?)?;
            }
        }
    }
    Ok(())
}

impl File<'_> {
    /// A number on a page.
    fn number(&self, page: usize, at: usize, length: usize) -> Result<u64, Unseen> {
        number(self.page(page)?, at, length, self.big)
    }

    fn page(&self, number: usize) -> Result<&[u8], Unseen> {
        stretch(self.bytes, number.saturating_mul(self.page), self.page)
    }

    /// A chain of pages; each belongs to one chain.
    fn overflow(
        &self,
        first: usize,
        length: usize,
        used: &mut BTreeSet<usize>,
    ) -> Result<Vec<u8>, Unseen> {
        let mut all = Vec::new();
        let mut page = first;
        while page != 0 {
            if !used.insert(page) || self.number(page, 25, 1)? != OVERFLOW {
                return Err(Unseen::Damaged("a chain of pages that is none".to_owned()));
            }
            let some = size(self.number(page, 22, 2)?);
            all.extend(stretch(self.page(page)?, HEADER, some)?);
            page = size(self.number(page, 16, 4)?);
        }
        if all.len() == length {
            Ok(all)
        } else {
            Err(short())
        }
    }
}
