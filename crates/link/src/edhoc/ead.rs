//! External authorization data (RFC 9528, section 3.8): what applications send along in a handshake.

use crate::cbor::{Kind, Reader, Writer};

use super::EdhocError;

/// The label of padding (section 3.8.1).
const PADDING: u64 = 0;

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EadItem<'a> {
    /// What it is, by the registry; 32768 to 65535 are for private use.
    pub label: u64,
    /// Whether a peer that does not understand it must give up.
    pub critical: bool,
    /// What it says.
    pub value: Option<&'a [u8]>,
}

impl EadItem<'_> {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EdhocError> {
        let label = i64::try_from(self.label).map_err(|_| EdhocError::Malformed)?;
        writer.int(if self.critical {
            label.saturating_neg()
        } else {
            label
        });
        if let Some(value) = self.value {
            writer.bytes(value);
        }
        Ok(())
    }
}

/// Writes an EAD field.
pub(super) fn write(items: &[EadItem<'_>], writer: &mut Writer<'_>) -> Result<(), EdhocError> {
    items.iter().try_for_each(|item| item.write(writer))
}

/// An EAD field that was read: every item is whole, and the critical ones are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ead<'a>(&'a [u8]);

impl<'a> Ead<'a> {
    /// All that `reader` still has, of which the caller understands the critical items of these labels.
    pub(super) fn read(reader: Reader<'a>, understood: &[u64]) -> Result<Self, EdhocError> {
        let field = Self(reader.rest());
        let mut reader = reader;
        while !reader.is_empty() {
            let item = item(&mut reader)?;
            if item.critical && !understood.contains(&item.label) {
                return Err(EdhocError::CriticalItem(item.label));
            }
        }
        Ok(field)
    }

    /// The items as they were sent, without padding.
    pub const fn items(self) -> Items<'a> {
        Items(Reader::new(self.0))
    }

    /// The value of the first item of this label, critical or not.
    pub fn find(self, label: u64) -> Option<EadItem<'a>> {
        self.items().find(|item| item.label == label)
    }

    pub(super) const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The items of a field.
#[derive(Debug, Clone)]
pub struct Items<'a>(Reader<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = EadItem<'a>;

    fn next(&mut self) -> Option<EadItem<'a>> {
        loop {
            let item = item(&mut self.0).ok()?;
            if item.label != PADDING {
                return Some(item);
            }
        }
    }
}

fn item<'a>(reader: &mut Reader<'a>) -> Result<EadItem<'a>, EdhocError> {
    let label = reader.int()?;
    let has_value = !reader.is_empty() && reader.peek()? == Kind::Bytes;
    Ok(EadItem {
        label: label.unsigned_abs(),
        critical: label < 0,
        value: has_value.then(|| reader.bytes()).transpose()?,
    })
}
