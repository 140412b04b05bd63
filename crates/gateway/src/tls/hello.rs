//! What a peer's first bytes say, before anything else looks at them: a bounded reading of the
//! `ClientHello` (RFC 8446 §4.1.2) for the record of refused peers, and of the plain protocols that
//! are most often sent to a TLS port by mistake.
//!
//! This is no TLS implementation: whatever passes here is read again, strictly, by rustls.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

use std::borrow::Cow;

/// Longest `ClientHello` accepted, with its headers; rustls' own limit for a handshake message.
pub const MAX_HELLO: usize = 16 * 1024;
/// Most records a `ClientHello` may be cut into; clients that cut it at all make two or three.
const MAX_RECORDS: usize = 16;

/// TLS 1.3 on the wire (RFC 8446 §4.2.1).
pub const TLS13: u16 = 0x0304;
/// TLS 1.2 on the wire (RFC 5246 §6.2.1).
pub const TLS12: u16 = 0x0303;

/// First bytes that are no `ClientHello`, and what they are instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHello {
    /// An SSL 2.0 `CLIENT-HELLO` record; the version is the highest it offers.
    Ssl2 {
        /// The highest version offered, as it is on the wire.
        version: u16,
    },
    /// An MQTT CONNECT without TLS.
    PlainMqtt,
    /// An HTTP request without TLS.
    PlainHttp,
    /// Bytes of some other protocol.
    Foreign,
    /// Longer than [`MAX_HELLO`], or cut into too many records.
    TooLong,
    /// TLS, but not as RFC 8446 §4 and §5 have it.
    Malformed(&'static str),
}

/// The parts of a `ClientHello` that are of interest here, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// `legacy_version`: the highest version of a client that knows no TLS 1.3.
    pub legacy_version: u16,
    versions: Option<&'a [u8]>,
    alpn: Option<&'a [u8]>,
    groups: Option<&'a [u8]>,
    server_name: Option<&'a [u8]>,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&first, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&pair, tail) = self.0.split_first_chunk::<2>()?;
        self.0 = tail;
        Some(u16::from_be_bytes(pair))
    }

    fn u24(&mut self) -> Option<usize> {
        let (&[a, b, c], tail) = self.0.split_first_chunk::<3>()?;
        self.0 = tail;
        usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let count = self.u8()?;
        self.take(usize::from(count))
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }
}

/// The handshake message at the start of `bytes`, put together from its records (RFC 8446 §5.1);
/// `None` while bytes are missing.
pub fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotHello> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first != 22 {
        return foreign(first, bytes);
    }
    let mut rest = Cursor(bytes);
    let mut whole: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    for _ in 0..MAX_RECORDS {
        let Some(record) = record(&mut rest)? else {
            return if bytes.len() >= MAX_HELLO {
                Err(NotHello::TooLong)
            } else {
                Ok(None)
            };
        };
        if whole.is_empty() {
            whole = Cow::Borrowed(record);
        } else {
            whole.to_mut().extend_from_slice(record);
        }
        if let Some(wanted) = wanted(&whole)?
            && let Some(message) = whole.get(..wanted)
        {
            return Ok(Some(match whole {
                Cow::Borrowed(all) => Cow::Borrowed(all.get(..wanted).unwrap_or(all)),
                Cow::Owned(_) => Cow::Owned(message.to_vec()),
            }));
        }
    }
    Err(NotHello::TooLong)
}

/// One record's fragment, if it is there whole.
fn record<'a>(rest: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, NotHello> {
    match rest.u8() {
        None => return Ok(None),
        Some(22) => {}
        Some(_) => return Err(NotHello::Malformed("another record within the ClientHello")),
    }
    match rest.u8() {
        None => return Ok(None),
        Some(3) => {}
        Some(_) => return Err(NotHello::Malformed("the record's version is not 3.x")),
    }
    if rest.u8().is_none() {
        return Ok(None);
    }
    let Some(length) = rest.u16() else {
        return Ok(None);
    };
    if length == 0 {
        // RFC 8446 §5.1: zero-length fragments of handshake types are forbidden.
        return Err(NotHello::Malformed("an empty handshake record"));
    }
    if usize::from(length) > MAX_HELLO {
        return Err(NotHello::TooLong);
    }
    Ok(rest.take(usize::from(length)))
}

/// How long the message that starts `whole` says it is, header included.
fn wanted(whole: &[u8]) -> Result<Option<usize>, NotHello> {
    let mut head = Cursor(whole);
    match head.u8() {
        None => return Ok(None),
        Some(1) => {}
        Some(_) => return Err(NotHello::Malformed("the first message is no ClientHello")),
    }
    let Some(length) = head.u24() else {
        return Ok(None);
    };
    if length > MAX_HELLO {
        return Err(NotHello::TooLong);
    }
    Ok(Some(length.saturating_add(4)))
}

/// Tells what the bytes are when they are not TLS.
fn foreign(first: u8, bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotHello> {
    let Some((start, rest)) = bytes.split_first_chunk::<5>() else {
        // Five bytes tell all of the cases below apart.
        return Ok(None);
    };
    // SSL 2.0 §2.5 CLIENT-HELLO: two length bytes with the top bit set, type 1, version.
    if first & 0x80 != 0 && start.get(2) == Some(&1) {
        let [_, _, _, major, minor] = *start;
        return Err(NotHello::Ssl2 {
            version: u16::from_be_bytes([major, minor]),
        });
    }
    // MQTT 5.0 §3.1: type 1, flags 0, then a length of at most four bytes and "\0\4MQTT" or "\0\6MQIsdp".
    if first == 0x10 {
        let looked: Vec<u8> = start.iter().chain(rest).take(16).copied().collect();
        if looked.windows(3).any(|w| w == b"MQT" || w == b"MQI") {
            return Err(NotHello::PlainMqtt);
        }
        return if looked.len() < 12 {
            Ok(None)
        } else {
            Err(NotHello::Foreign)
        };
    }
    let methods: [&[u8]; 9] = [
        b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELET", b"OPTIO", b"CONNE", b"PATCH", b"PRI *",
    ];
    if methods.iter().any(|method| start.starts_with(method)) {
        return Err(NotHello::PlainHttp);
    }
    Err(NotHello::Foreign)
}

impl<'a> Hello<'a> {
    /// Reads a whole handshake message as [`message`] gives it (RFC 8446 §4.1.2).
    pub fn parse(message: &'a [u8]) -> Result<Self, NotHello> {
        Self::read(message).ok_or(NotHello::Malformed("the ClientHello ends too early"))
    }

    fn read(message: &'a [u8]) -> Option<Self> {
        let mut head = Cursor(message);
        let _type = head.u8()?;
        let length = head.u24()?;
        let mut body = Cursor(head.take(length)?);
        let legacy_version = body.u16()?;
        let _random = body.take(32)?;
        let _session = body.vec8()?;
        let _suites = body.vec16()?;
        let _compression = body.vec8()?;
        let mut hello = Self {
            legacy_version,
            versions: None,
            alpn: None,
            groups: None,
            server_name: None,
        };
        if body.0.is_empty() {
            // Clients of TLS 1.1 and older may send no extensions (RFC 5246 §7.4.1.2).
            return Some(hello);
        }
        let mut extensions = Cursor(body.vec16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let mut data = Cursor(extensions.vec16()?);
            match kind {
                // RFC 6066 §3: a list of (type 0, name).
                0 => {
                    let mut names = Cursor(data.vec16()?);
                    if names.u8()? == 0 {
                        hello.server_name = Some(names.vec16()?);
                    }
                }
                // RFC 8446 §4.2.7
                10 => hello.groups = Some(data.vec16()?),
                // RFC 7301 §3.1
                16 => hello.alpn = Some(data.vec16()?),
                // RFC 8446 §4.2.1
                43 => hello.versions = Some(data.vec8()?),
                _ => {}
            }
        }
        Some(hello)
    }

    /// The versions offered, in the peer's order; of SSL 3.0 and TLS, so without the reserved ones of RFC 8701.
    pub fn versions(&self) -> impl Iterator<Item = u16> + '_ {
        // RFC 8446 §4.2.1: without the extension, legacy_version alone speaks, and never for 1.3.
        let legacy = self
            .versions
            .is_none()
            .then(|| self.legacy_version.min(TLS12));
        pairs(self.versions)
            .chain(legacy)
            .filter(|v| v.to_be_bytes().first() == Some(&3))
    }

    /// Whether `version` is among those offered.
    pub fn offers(&self, version: u16) -> bool {
        self.versions().any(|offered| offered == version)
    }

    /// The highest version offered, if any is known.
    pub fn highest(&self) -> Option<u16> {
        self.versions().max()
    }

    /// The named groups offered (RFC 8446 §4.2.7).
    pub fn groups(&self) -> impl Iterator<Item = u16> + '_ {
        pairs(self.groups)
    }

    /// The application protocols offered (RFC 7301 §3.1), or `None` if the peer offers no list.
    pub fn alpn(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        self.alpn.map(|list| {
            let mut rest = Cursor(list);
            std::iter::from_fn(move || rest.vec8())
        })
    }

    /// The server name asked for (RFC 6066 §3), made printable.
    pub fn server_name(&self) -> Option<String> {
        self.server_name.map(|name| name.escape_ascii().to_string())
    }
}

fn pairs(list: Option<&[u8]>) -> impl Iterator<Item = u16> + '_ {
    list.unwrap_or_default()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&pair| u16::from_be_bytes(pair))
}

/// What people call a version.
pub fn version_name(version: u16) -> Cow<'static, str> {
    Cow::Borrowed(match version {
        0x0002 | 0x0200 => "SSL 2.0",
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        TLS12 => "TLS 1.2",
        TLS13 => "TLS 1.3",
        other => return Cow::Owned(format!("TLS version 0x{other:04x}")),
    })
}

#[cfg(test)]
mod tests;
