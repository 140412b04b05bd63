//! Bytes taken from the front, never more than there are.

/// What is left of some bytes.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Bytes<'a> {
    pub(crate) fn of(rest: &'a [u8]) -> Self {
        Self { rest, taken: 0 }
    }

    /// How many were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        self.taken = self.taken.saturating_add(count);
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length of 32 bits.
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    /// A length of 64 bits.
    pub(crate) fn long(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).ok()
    }

    // The TPM's own structures have the highest byte first.

    pub(crate) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn be64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPM2B`: a length of 16 bits, and as many bytes.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.be16()?;
        self.take(length.into())
    }
}

/// UTF-16 with the lowest byte first, up to a zero; what is no text, or no printable character, is shown as U+FFFD.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .filter_map(|two| two.try_into().ok())
        .map(u16::from_le_bytes)
        .take_while(|unit| *unit != 0);
    let text = char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER));
    shown(text)
}

/// UTF-8 up to a zero, likewise.
pub(crate) fn utf8(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    shown(String::from_utf8_lossy(bytes).chars())
}

/// The most characters of a text that are shown.
const LONGEST: usize = 200;

fn shown(text: impl Iterator<Item = char>) -> String {
    let printable = |it: char| {
        let hidden = it.is_control()
            || matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if hidden {
            char::REPLACEMENT_CHARACTER
        } else {
            it
        }
    };
    text.take(LONGEST).map(printable).collect()
}
