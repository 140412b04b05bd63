//! Programs of EFI (Microsoft's "PE Format"), and those that carry a kernel with all it needs (UAPI.5 "Unified Kernel Image").

use stockade_controls::engine::Unseen;

use crate::fields::Fields;
use crate::format::{Inside, Opened, Piece};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"MZ")];

const MOST: u16 = 96;

/// What the header says.
pub(super) struct Header {
    machine: u16,
    sections: u16,
    /// Where the table of sections is.
    table: u64,
    /// Where the signature ends, if there is one.
    signed: Option<u64>,
    /// Whether the firmware starts it, or what the firmware started: subsystems 10 to 13.
    efi: bool,
}

impl Header {
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Unseen> {
        let at = u64::from(Fields::little(&bytes.read(0x3c, 4)?).u32()?);
        let fixed = bytes.read(at, 24)?;
        let mut fields = Fields::little(&fixed);
        if fields.take(4)? != b"PE\0\0" {
            return Err(wrong("no header"));
        }
        let machine = fields.u16()?;
        let sections = fields.u16()?;
        fields.take(12)?;
        let optional = fields.u16()?;
        if sections > MOST {
            return Err(wrong("more sections than any has"));
        }
        let after = at.saturating_add(24);
        let optional_header = bytes.read(after, usize::from(optional))?;
        Ok(Self {
            machine,
            sections,
            table: after.saturating_add(u64::from(optional)),
            signed: signed(&optional_header)?,
            efi: optional_header
                .get(68..70)
                .is_none_or(|subsystem| matches!(subsystem, [10..=13, 0])),
        })
    }

    /// Whether it is signed, and where it ends then: the signature is behind all else.
    pub(super) fn signature(&self) -> ((String, String), u64) {
        let text = match self.signed {
            Some(_) => "there, not checked: the keys are in the firmware",
            None if self.efi => "none",
            None => "none: it is no program of EFI",
        };
        let note = ("signature".to_owned(), text.to_owned());
        (note, self.signed.unwrap_or_default())
    }
}

/// Reads one.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let header = Header::read(bytes)?;
    let mut notes = vec![
        ("machine".to_owned(), format!("{:#06x}", header.machine)),
        header.signature().0,
    ];
    let mut pieces = Vec::new();
    for number in 0..u64::from(header.sections) {
        meter.time()?;
        let at = header.table.saturating_add(number.saturating_mul(40));
        let section = bytes.read(at, 40)?;
        let mut fields = Fields::little(&section);
        let name = fields.take(8)?.split(|byte| *byte == 0).next();
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        let inside = u64::from(fields.u32()?);
        fields.u32()?;
        let (stored, place) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let content = || bytes.part(place, inside.min(stored));
        match name.as_str() {
            ".linux" => pieces.push(Piece::program("kernel", content()?)),
            ".initrd" | ".ucode" | ".dtb" | ".dtbauto" => pieces.push(Piece::new(name, content()?)),
            ".cmdline" | ".osrel" | ".uname" => {
                let text = content()?.all(64 << 10)?;
                let text = String::from_utf8_lossy(&text);
                let text = text.trim_end_matches(['\0', '\n']);
                let name = name.trim_start_matches('.');
                notes.push((name.to_owned(), text.replace('\n', "; ")));
            }
            _ => (),
        }
    }
    Ok(Opened {
        content: if pieces.is_empty() {
            Inside::Program
        } else {
            Inside::Pieces(pieces)
        },
        length: Some(bytes.length()),
        notes,
    })
}

/// Where what the directory of certificates, the fifth, points at ends.
fn signed(optional: &[u8]) -> Result<Option<u64>, Unseen> {
    let mut fields = Fields::little(optional);
    if optional.is_empty() {
        return Ok(None);
    }
    let directories = match fields.u16()? {
        0x10b => 96,
        0x20b => 112,
        _ => return Err(wrong("a kind that is not read")),
    };
    let at = optional.get(directories..).unwrap_or_default();
    let mut fields = Fields::little(at);
    if at.len() < 40 {
        return Ok(None);
    }
    fields.take(32)?;
    let (place, size) = (fields.u32()?, fields.u32()?);
    let end = u64::from(place).saturating_add(u64::from(size));
    Ok((place != 0 && size != 0).then_some(end))
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("PE: {why}"))
}
