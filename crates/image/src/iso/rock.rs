//! Rock Ridge: what the system use fields of a record say.

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::inodes::{self, damaged};

/// The most continuations of one record, and the most bytes of each.
const MOST_AREAS: usize = 16;
const MOST_AREA: u32 = 64 << 10;

#[derive(Default)]
pub(super) struct Rock {
    /// Mode, owner, group (PX).
    pub(super) mode: Option<(u32, u32, u32)>,
    /// (PN)
    pub(super) device: Option<(u32, u32)>,
    /// (NM)
    pub(super) name: Option<Vec<u8>>,
    /// (SL)
    pub(super) link: Vec<u8>,
    /// (TF)
    pub(super) modified: Option<u64>,
    /// Where the directory lies whose place this is (CL).
    pub(super) child: Option<u32>,
    /// It is shown elsewhere (RE).
    pub(super) moved: bool,
    /// It is compressed (ZF).
    pub(super) packed: bool,
    /// The last part of the link goes on in the next.
    open: bool,
}

/// Reads a continuation: block, offset in it, length.
type Area<'a> = &'a dyn Fn(u32, u32, u32) -> Result<Vec<u8>, Unseen>;

impl Rock {
    pub(super) fn read(system: &[u8], area: Area<'_>) -> Result<Self, Unseen> {
        let mut rock = Self::default();
        let mut next = rock.area(system)?;
        for _ in 0..MOST_AREAS {
            let Some((block, at, length)) = next else {
                return Ok(rock);
            };
            if length > MOST_AREA {
                return Err(damaged("a continuation of a record that is too long"));
            }
            next = rock.area(&area(block, at, length)?)?;
        }
        Err(damaged("a record with too many continuations"))
    }

    /// One area of fields (SUSP §4); where it goes on.
    fn area(&mut self, bytes: &[u8]) -> Result<Option<(u32, u32, u32)>, Unseen> {
        let mut next = None;
        let mut rest = Fields::little(bytes);
        while let &[first, second, length, _, ..] = rest.rest() {
            if first == 0 {
                break;
            }
            let field = rest.take(usize::from(length))?;
            let mut fields = Fields::little(field);
            fields
                .take(4)
                .map_err(|_| damaged("a field that is too short"))?;
            match &[first, second] {
                // All numbers are there twice, of either byte order: the first of both is little-endian.
                b"CE" => {
                    let mut both = || -> Result<u32, Unseen> {
                        let number = fields.u32()?;
                        fields.take(4)?;
                        Ok(number)
                    };
                    next = Some((both()?, both()?, both()?));
                }
                b"PX" => {
                    let mode = fields.u32()?;
                    fields.take(12)?;
                    let owner = fields.u32()?;
                    fields.take(4)?;
                    self.mode = Some((mode, owner, fields.u32()?));
                }
                b"PN" => {
                    let high = fields.u32()?;
                    fields.take(4)?;
                    let low = fields.u32()?;
                    // Either apart, or all in the second as Linux packs them.
                    let packed = high == 0 && low > 0xff;
                    self.device = Some(if packed {
                        inodes::device(low)
                    } else {
                        (high, low)
                    });
                }
                b"NM" => {
                    let flags = fields.u8()?;
                    if flags & 6 == 0 {
                        let name = self.name.get_or_insert_default();
                        name.extend(fields.rest());
                    }
                }
                b"SL" => self.link(&mut fields)?,
                b"TF" => self.modified = modified(&mut fields)?,
                b"CL" => self.child = Some(fields.u32()?),
                b"RE" => self.moved = true,
                b"ZF" => self.packed = true,
                b"SF" => {
                    let why = "a sparse file of Rock Ridge is not read";
                    return Err(Unseen::Failed(why.to_owned()));
                }
                b"ST" => break,
                _ => (),
            }
        }
        Ok(next)
    }

    /// The parts of a link (RRIP §4.1.3).
    fn link(&mut self, fields: &mut Fields<'_>) -> Result<(), Unseen> {
        fields.u8()?;
        while !fields.rest().is_empty() {
            let (flags, length) = (fields.u8()?, usize::from(fields.u8()?));
            let content = fields.take(length)?;
            if !self.open && !self.link.is_empty() && self.link != b"/" {
                self.link.push(b'/');
            }
            self.link.extend(match flags & 0x0e {
                0 => content,
                2 => b".",
                4 => b"..",
                8 => b"/",
                _ => return Err(damaged("a part of a link that is of no kind")),
            });
            self.open = flags & 1 != 0;
        }
        Ok(())
    }
}

/// When it was changed last, of the times that are there (RRIP §4.1.6).
fn modified(fields: &mut Fields<'_>) -> Result<Option<u64>, Unseen> {
    let flags = fields.u8()?;
    if flags & 0x80 != 0 || flags & 2 == 0 {
        return Ok(None);
    }
    if flags & 1 != 0 {
        fields.take(7)?;
    }
    Ok(Some(super::moment(fields.take(7)?)))
}
