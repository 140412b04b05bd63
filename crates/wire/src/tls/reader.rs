//! What a server says to a client's first message.

use std::collections::BTreeMap;

use super::{
    ALERT, CERTIFICATE, HANDSHAKE, HELLO_VERIFY_REQUEST, KEY_SHARE, SERVER_HELLO,
    SUPPORTED_VERSIONS, Version,
};
use crate::bytes::Bytes;

/// The longest record (RFC 5246 §6.2.3).
const LONGEST: usize = (1 << 14) + 2048;
/// The longest message of a handshake that is read: a chain of certificates.
const LONGEST_MESSAGE: usize = 1 << 16;
/// The most certificates of a chain.
const MOST_CERTIFICATES: usize = 16;
/// The most messages of a flight over datagrams.
const MOST_MESSAGES: u16 = 16;
/// SHA-256 of "HelloRetryRequest": the random by which one is told from a `ServerHello` (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A server's choice (RFC 5246 §7.4.1.3, RFC 8446 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// The version that is meant, not the one for old eyes.
    pub version: Version,
    /// The cipher suite.
    pub suite: u16,
    /// Whether it is a `HelloRetryRequest`: the server asks for a key first.
    pub retry: bool,
    /// The group of the key it asks for or sends.
    pub group: Option<u16>,
}

/// The next thing a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Too few bytes to tell.
    More,
    /// It went on, with the version that was offered or an older one.
    Hello(ServerHello),
    /// SERVER-HELLO of SSL 2.0: the ciphers it shares with the client, and its certificate in DER.
    Ssl2 {
        /// The kinds of cipher.
        kinds: Vec<[u8; 3]>,
        /// The certificate.
        certificate: Vec<u8>,
    },
    /// Its certificates in DER, its own first.
    Certificates(Vec<Vec<u8>>),
    /// The cookie of a `HelloVerifyRequest` (RFC 6347 §4.2.1).
    Cookie(Vec<u8>),
    /// Another message of a handshake, by its number.
    Other(u8),
    /// It refused with an alert: its description's number (RFC 8446 §6).
    Alert(u8),
    /// It refused in the way of SSL 2.0.
    Ssl2Error(u16),
    /// It speaks something else.
    Plain,
    /// It began as TLS does, and what followed is none: why.
    Broken(&'static str),
}

/// Reads what a server sends over TCP, in pieces of any size. After [`Said::Alert`], [`Said::Plain`] and [`Said::Broken`] there is
/// nothing more to read.
#[derive(Debug)]
pub struct Reader {
    ssl2: bool,
    begun: bool,
    raw: Vec<u8>,
    /// What is left of the record that is being read, and of which kind it is.
    record: (u8, usize),
    handshake: Vec<u8>,
    alert: Vec<u8>,
    warned: Option<u8>,
}

impl Reader {
    /// For the answer to a question for this version.
    pub fn new(asked: Version) -> Self {
        Self {
            ssl2: asked == Version::Ssl2,
            begun: false,
            raw: Vec::new(),
            record: (0, 0),
            handshake: Vec::new(),
            alert: Vec::new(),
            warned: None,
        }
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    /// The warning that came last, for a server that closes after it (RFC 5246 §7.2).
    pub fn warned(&self) -> Option<u8> {
        self.warned
    }

    /// The next thing that was said.
    pub fn said(&mut self) -> Said {
        loop {
            if let Some(said) = message(&mut self.handshake) {
                return said;
            }
            if let [level, description, rest @ ..] = self.alert.as_slice() {
                // RFC 5246 §7.2: after a warning it may go on, as after `unrecognized_name`.
                let (warning, description) = (*level == 1 && *description != 0, *description);
                self.alert = rest.to_vec();
                if !warning {
                    return Said::Alert(description);
                }
                self.warned = Some(description);
                continue;
            }
            match self.record {
                (_, 0) => match self.header() {
                    Ok(record) => self.record = record,
                    Err(said) => return said,
                },
                (kind, left) => {
                    let here = left.min(self.raw.len());
                    if here == 0 {
                        return Said::More;
                    }
                    let content = self.raw.drain(..here);
                    match kind {
                        HANDSHAKE => self.handshake.extend(content),
                        _ => self.alert.extend(content),
                    }
                    self.record = (kind, left.saturating_sub(here));
                }
            }
        }
    }

    /// The kind and length of the next record (RFC 5246 §6.2.1).
    fn header(&mut self) -> Result<(u8, usize), Said> {
        let mut reader = Bytes(&self.raw);
        let nothing = if self.begun {
            Said::Broken("what follows is no record of TLS")
        } else {
            Said::Plain
        };
        let kind = reader.u8().ok_or(Said::More)?;
        if kind != HANDSHAKE && kind != ALERT {
            // Asked for TLS, it may still refuse in the way of SSL 2.0: five bytes.
            let refusal = self.raw.starts_with(&[0x80]);
            return Err(match ssl2(&self.raw).filter(|_| !self.begun) {
                Some(said) if self.ssl2 => said,
                Some(said @ Said::Ssl2Error(_)) if refusal => said,
                Some(Said::More) if refusal && self.raw.len() < 5 => Said::More,
                _ => nothing,
            });
        }
        if reader.u8().ok_or(Said::More)? != 3 {
            return Err(nothing);
        }
        let _minor = reader.u8().ok_or(Said::More)?;
        let length = usize::from(reader.u16().ok_or(Said::More)?);
        if length == 0 || length > LONGEST {
            return Err(Said::Broken("a record without a possible length"));
        }
        self.begun = true;
        self.raw = reader.0.to_vec();
        Ok((kind, length))
    }
}

/// Takes the first message of a handshake out of these bytes, if it is there (RFC 5246 §7.4).
fn message(bytes: &mut Vec<u8>) -> Option<Said> {
    let mut reader = Bytes(bytes);
    let kind = reader.u8()?;
    let length = number(&mut reader)?;
    if length > LONGEST_MESSAGE {
        return Some(Said::Broken("a message longer than any is"));
    }
    let content = reader.take(length)?;
    let said = meant(kind, content);
    *bytes = reader.0.to_vec();
    Some(said)
}

fn meant(kind: u8, content: &[u8]) -> Said {
    match kind {
        SERVER_HELLO => server_hello(content).map_or(
            Said::Broken("a ServerHello that cannot be read"),
            Said::Hello,
        ),
        CERTIFICATE => certificates(content).map_or(
            Said::Broken("certificates that cannot be read"),
            Said::Certificates,
        ),
        HELLO_VERIFY_REQUEST => {
            let mut reader = Bytes(content);
            let cookie = reader.u16().and_then(|_version| {
                let length = reader.u8()?;
                reader.take(usize::from(length))
            });
            cookie.map_or(Said::Broken("a cookie that cannot be read"), |cookie| {
                Said::Cookie(cookie.to_vec())
            })
        }
        kind => Said::Other(kind),
    }
}

fn server_hello(bytes: &[u8]) -> Option<ServerHello> {
    let mut hello = Bytes(bytes);
    let mut number = hello.u16()?;
    let retry = hello.array()? == RETRY;
    let session = hello.u8()?;
    hello.take(usize::from(session))?;
    let suite = hello.u16()?;
    let _compression = hello.u8()?;
    let mut group = None;
    if !hello.is_empty() {
        let length = hello.u16()?;
        let mut extensions = Bytes(hello.take(usize::from(length))?);
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let length = extensions.u16()?;
            let mut content = Bytes(extensions.take(usize::from(length))?);
            match kind {
                // RFC 8446 §4.2.1: the version that is meant.
                SUPPORTED_VERSIONS => number = content.u16()?,
                KEY_SHARE => group = Some(content.u16()?),
                _ => (),
            }
        }
    }
    Some(ServerHello {
        version: Version::of(number)?,
        suite,
        retry,
        group,
    })
}

/// RFC 5246 §7.4.2.
fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    fn list<'a>(reader: &mut Bytes<'a>) -> Option<&'a [u8]> {
        let length = number(reader)?;
        reader.take(length)
    }
    let mut all = Bytes(list(&mut Bytes(bytes))?);
    let mut found = Vec::new();
    while !all.is_empty() && found.len() < MOST_CERTIFICATES {
        found.push(list(&mut all)?.to_vec());
    }
    Some(found)
}

/// What an answer in SSL 2.0 means; none if it is no such answer.
fn ssl2(bytes: &[u8]) -> Option<Said> {
    let mut reader = Bytes(bytes);
    let Some([first, second]) = reader.array() else {
        return Some(Said::More);
    };
    // The header has three bytes, of which the last counts padding, or two.
    let (mask, padding) = if first & 0x80 == 0 {
        (0x3f, 1)
    } else {
        (0x7f, 0)
    };
    let length = usize::from(u16::from_be_bytes([first & mask, second]));
    let kind = reader.take(padding).and_then(|_padding| reader.u8());
    let Some(kind) = kind else {
        return Some(Said::More);
    };
    match kind {
        0 if length == 3 => Some(reader.u16().map_or(Said::More, Said::Ssl2Error)),
        4 if length >= 11 => {
            let Some(body) = reader.take(length.checked_sub(1)?) else {
                return Some(Said::More);
            };
            let mut body = Bytes(body);
            let _session_and_type = body.u16()?;
            (body.u16()? == Version::Ssl2.number()).then_some(())?;
            let (certificate, kinds, _id) = (body.u16()?, body.u16()?, body.u16()?);
            let certificate = body.take(usize::from(certificate))?.to_vec();
            let (kinds, _) = body.take(usize::from(kinds))?.as_chunks();
            Some(Said::Ssl2 {
                kinds: kinds.to_vec(),
                certificate,
            })
        }
        _ => None,
    }
}

/// Reads what a server sends over UDP, a datagram at a time. Messages come in fragments, each with its own place.
#[derive(Debug, Default)]
pub struct DtlsReader {
    messages: BTreeMap<u16, Fragments>,
    next: u16,
}

/// A message as far as it has come.
#[derive(Debug)]
struct Fragments {
    kind: u8,
    length: usize,
    bytes: Vec<u8>,
}

impl DtlsReader {
    /// What a datagram said, in its order: everything that is whole now.
    pub fn datagram(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut reader = Bytes(bytes);
        let mut said = Vec::new();
        while !reader.is_empty() {
            match self.record(&mut reader) {
                Some(Ok(())) => (),
                Some(Err(alert)) => said.push(alert),
                None => {
                    said.push(Said::Plain);
                    break;
                }
            }
            while let Some(whole) = self.whole() {
                said.push(whole);
            }
        }
        said
    }

    /// Takes one record in (RFC 6347 §4.1); none if it is none, an alert instead of a message.
    fn record(&mut self, reader: &mut Bytes<'_>) -> Option<Result<(), Said>> {
        let kind = reader.u8()?;
        let version = Version::of(reader.u16()?)?;
        // Epoch and sequence number.
        reader.take(8)?;
        let length = reader.u16()?;
        let content = reader.take(usize::from(length))?;
        if !version.is_datagram() {
            return None;
        }
        match kind {
            HANDSHAKE => self.fragments(content).map(Ok),
            ALERT => match content {
                // A warning, which it may go on after.
                [1, description] if *description != 0 => Some(Ok(())),
                [_, description] => Some(Err(Said::Alert(*description))),
                _ => None,
            },
            // What was encrypted is for others.
            20 | 23 => Some(Ok(())),
            _ => None,
        }
    }

    /// RFC 6347 §4.2.2, §4.2.3: a record may hold several.
    fn fragments(&mut self, content: &[u8]) -> Option<()> {
        let mut reader = Bytes(content);
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let length = number(&mut reader)?;
            let sequence = reader.u16()?;
            let offset = number(&mut reader)?;
            let size = number(&mut reader)?;
            let fragment = reader.take(size)?;
            if length > LONGEST_MESSAGE || sequence < self.next || sequence >= MOST_MESSAGES {
                continue;
            }
            let message = self.messages.entry(sequence).or_insert(Fragments {
                kind,
                length,
                bytes: Vec::new(),
            });
            // What comes out of order is sent again when nothing follows (RFC 6347 §4.2.4).
            if (message.kind, message.length) == (kind, length)
                && let Some(known) = message.bytes.len().checked_sub(offset)
                && let Some(new) = fragment.get(known..)
                && message.bytes.len().saturating_add(new.len()) <= length
            {
                message.bytes.extend(new);
            }
        }
        Some(())
    }

    fn whole(&mut self) -> Option<Said> {
        let message = self.messages.get(&self.next)?;
        if message.bytes.len() < message.length {
            return None;
        }
        let said = meant(message.kind, &message.bytes);
        self.messages.remove(&self.next);
        self.next = self.next.saturating_add(1);
        Some(said)
    }

    /// Whether part of an answer has come.
    pub fn has_begun(&self) -> bool {
        self.next > 0 || !self.messages.is_empty()
    }
}

/// A number of three bytes.
fn number(reader: &mut Bytes<'_>) -> Option<usize> {
    let [high, middle, low] = reader.array()?;
    usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()
}
