//! LLDP (IEEE 802.1AB): the MUD URL a device announces to its switch (RFC 8520 §11).

use crate::bytes::Bytes;

/// How many parts a frame may have; a real one has a dozen.
const MAX_PARTS: usize = 128;

/// What an LLDP frame says that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lldp {
    /// For how many seconds it holds; 0 says farewell.
    pub lifetime: u16,
    /// What the sender calls itself (TLV 5). A stranger's bytes.
    pub system_name: Option<Vec<u8>>,
    /// The MUD URL. A stranger's bytes.
    pub mud_url: Option<Vec<u8>>,
}

/// Why bytes are no LLDP frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LldpError {
    /// A part goes beyond the end.
    #[error("part {0} goes beyond the end")]
    Cut(usize),
    /// The three parts that must come first do not (§8.2).
    #[error("it does not begin with chassis, port and lifetime")]
    Order,
    /// More parts than any frame has.
    #[error("more than {MAX_PARTS} parts")]
    TooMany,
}

impl Lldp {
    /// Reads what follows the `EtherType` 0x88cc.
    pub fn read(bytes: &[u8]) -> Result<Self, LldpError> {
        let mut bytes = Bytes(bytes);
        let mut read = Self::default();
        let mut index: usize = 0;
        while !bytes.is_empty() {
            if index >= MAX_PARTS {
                return Err(LldpError::TooMany);
            }
            // Seven bits of kind, nine of length (§8.4).
            let head = bytes.u16().ok_or(LldpError::Cut(index))?;
            let (kind, length) = (head >> 9, head & 0x1ff);
            let value = bytes.take(length.into()).ok_or(LldpError::Cut(index))?;
            match (index, kind) {
                (0, 1) | (1, 2) => {}
                (2, 3) => read.lifetime = Bytes(value).u16().ok_or(LldpError::Cut(index))?,
                (0..=2, _) => return Err(LldpError::Order),
                // The end; what follows pads the frame.
                (_, 0) => return Ok(read),
                (_, 5) => read.system_name = Some(value.to_vec()),
                (_, 127) => {
                    // RFC 8520 §11: the IANA's OUI, subtype 1.
                    if let [0x00, 0x00, 0x5e, 1, url @ ..] = value {
                        read.mud_url = Some(url.to_vec());
                    }
                }
                _ => {}
            }
            index = index.saturating_add(1);
        }
        // Some senders leave the end out.
        if index < 3 {
            return Err(LldpError::Order);
        }
        Ok(read)
    }
}
