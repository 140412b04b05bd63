//! Extended attributes: many files have the same, by its number.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use stockade_controls::engine::{Name, Unseen};

use super::{Place, Reader};
use crate::inodes::damaged;

/// The most bytes of attributes of one file (`XATTR_LIST_MAX` of values of `XATTR_SIZE_MAX` is more than any tool writes), and
/// of all files.
const MOST_ATTRIBUTES: usize = 1 << 20;
const MOST_ATTRIBUTES_IN_ALL: usize = 64 << 20;

/// Extended attributes that were read.
#[derive(Default)]
pub(super) struct Attributes {
    by_number: BTreeMap<u32, BTreeMap<Name, Vec<u8>>>,
    pub(super) unread: Vec<(u32, Unseen)>,
    /// How many bytes of them the files have.
    spent: usize,
}

impl Reader {
    /// Attributes by their number, each read once. Those that can not be read leave their file in its place, and are told apart.
    pub(super) fn known_attributes(&self, number: u32) -> BTreeMap<Name, Vec<u8>> {
        let known = self.attributes.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let found = match known.by_number.get(&number) {
            Some(found) => found.clone(),
            None => match self.attributes(number) {
                Ok(found) => {
                    known.by_number.insert(number, found.clone());
                    found
                }
                Err(why) => {
                    known.unread.push((number, why));
                    BTreeMap::new()
                }
            },
        };
        let size: usize = found.values().map(Vec::len).sum();
        known.spent = known.spent.saturating_add(size);
        if known.spent > MOST_ATTRIBUTES_IN_ALL {
            known
                .unread
                .push((number, Unseen::TooMuch(MOST_ATTRIBUTES_IN_ALL)));
            return BTreeMap::new();
        }
        found
    }

    /// Extended attributes by their number: a table of lists, each of a type, a name and a value, or the place of one.
    fn attributes(&self, number: u32) -> Result<BTreeMap<Name, Vec<u8>>, Unseen> {
        let none = || damaged("attributes without their table");
        let at = self.layout.attributes.ok_or_else(none)?;
        let head = self.bytes.read(at, 16)?;
        let mut head = self.layout.fields(&head);
        let (start, count) = (head.u64()?, head.u32()?);
        if number >= count {
            return Err(damaged("attributes that are not in the table"));
        }
        let record = self.indexed(at.saturating_add(16), number.into(), 16)?;
        let mut record = self.layout.fields(&record);
        let mut place = Place::of(start, record.u64()?);
        let mut found = BTreeMap::new();
        let mut size = 0_usize;
        for _ in 0..record.u32()? {
            let head = self.metadata(&mut place, 4)?;
            let mut head = self.layout.fields(&head);
            let (kind, length) = (head.u16()?, head.u16()?);
            let prefix = match kind & 0xff {
                0 => b"user.".as_slice(),
                1 => b"trusted.",
                2 => b"security.",
                _ => return Err(damaged("an attribute of no kind that there is")),
            };
            let name = [prefix, &self.metadata(&mut place, length.into())?].concat();
            let mut value = self.value(&mut place)?;
            // The value is elsewhere.
            if kind & 0x100 != 0 {
                let mut there = Place::of(start, self.layout.fields(&value).u64()?);
                value = self.value(&mut there)?;
            }
            size = size.saturating_add(name.len()).saturating_add(value.len());
            if size > MOST_ATTRIBUTES {
                return Err(Unseen::TooMuch(MOST_ATTRIBUTES));
            }
            found.insert(name.into(), value);
        }
        Ok(found)
    }

    fn value(&self, place: &mut Place) -> Result<Vec<u8>, Unseen> {
        let length = self.metadata(place, 4)?;
        let length = usize::try_from(self.layout.fields(&length).u32()?).unwrap_or(usize::MAX);
        if length > MOST_ATTRIBUTES {
            return Err(Unseen::TooMuch(MOST_ATTRIBUTES));
        }
        self.metadata(place, length)
    }
}
