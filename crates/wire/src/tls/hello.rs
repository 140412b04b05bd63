//! A client's first message.

use super::{CLIENT_HELLO, HANDSHAKE, KEY_SHARE, SUPPORTED_VERSIONS, Version, suites};

/// RFC 8422 §5.1.1, RFC 7919, RFC 8446 §4.2.7: X25519, P-256, P-384, P-521, X448, the usual others, and one against quantum computers.
const GROUPS: [u16; 20] = [
    29, 23, 24, 25, 30, 26, 27, 28, 31, 32, 33, 22, 21, 19, 14, 13, 256, 257, 258, 4588,
];
/// RFC 8446 §4.2.3, and what was before it: SHA-1, DSA.
const SCHEMES: [u16; 20] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401,
    0x0501, 0x0601, 0x0301, 0x0303, 0x0201, 0x0203, 0x0202, 0x0402,
];
/// What a short question leaves of both.
const SHORT: usize = 4;
/// All kinds of cipher of SSL 2.0 (its appendix C.4).
const SSL2_KINDS: [[u8; 3]; 7] = [
    [1, 0, 0x80],
    [2, 0, 0x80],
    [3, 0, 0x80],
    [4, 0, 0x80],
    [5, 0, 0x80],
    [6, 0, 0x40],
    [7, 0, 0xc0],
];

/// The first message of a client that offers `version` and no other (RFC 5246 §7.4.1.2, RFC 8446 §4.1.2).
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// The version.
    pub version: Version,
    /// The suites; SSL 2.0 has its own and offers all of them.
    pub suites: &'a [u16],
    /// Whom it takes the server for (RFC 6066 §3).
    pub name: Option<&'a str>,
    /// As few extensions as can be.
    pub short: bool,
    /// Need not be secret: nothing is ever sent under what follows from it.
    pub random: [u8; 32],
}

/// The question for `version` that most servers have no other reason to refuse.
pub fn client_hello(version: Version, random: [u8; 32]) -> Vec<u8> {
    let mut offered = suites::USUAL.to_vec();
    if version == Version::Tls13 {
        offered.splice(0..0, suites::NEW);
    }
    let hello = Hello {
        version,
        suites: &offered,
        name: None,
        short: false,
        random,
    };
    hello.record()
}

impl Hello<'_> {
    /// The record that goes over a TCP connection.
    pub fn record(&self) -> Vec<u8> {
        if self.version == Version::Ssl2 {
            return self.ssl2();
        }
        let mut record = vec![HANDSHAKE];
        // RFC 8446 §5.1: the first record may say 1.0, as all servers expect.
        put(&mut record, self.version.min(Version::Tls10).number());
        prefixed(&mut record, 2, |out| {
            out.push(CLIENT_HELLO);
            prefixed(out, 3, |out| self.body(out, None));
        });
        record
    }

    /// The `attempt`th datagram of DTLS: with the server's cookie once it is known (RFC 6347 §4.2.1).
    pub fn datagram(&self, cookie: &[u8], attempt: u8) -> Vec<u8> {
        let mut body = Vec::new();
        self.body(&mut body, Some(cookie));
        let mut datagram = vec![HANDSHAKE];
        // RFC 6347 §4.2.1: 1.0, as all servers expect. Then epoch and sequence number.
        put(&mut datagram, Version::Dtls10.number());
        datagram.extend([0, 0, 0, 0, 0, 0, 0, attempt]);
        let message = u16::from(!cookie.is_empty());
        prefixed(&mut datagram, 2, |out| {
            out.push(CLIENT_HELLO);
            let length = width(body.len(), 3);
            out.extend(&length);
            put(out, message);
            // One fragment, which is all of it.
            out.extend([0, 0, 0]);
            out.extend(&length);
            out.extend(&body);
        });
        datagram
    }

    fn body(&self, out: &mut Vec<u8>, cookie: Option<&[u8]>) {
        // RFC 8446 §4.1.2: legacy_version stays that of TLS 1.2.
        let new = self.version == Version::Tls13;
        let legacy = if new { Version::Tls12 } else { self.version };
        put(out, legacy.number());
        out.extend(self.random);
        // RFC 8446 §D.4: a session id for middle boxes; older servers are shown none.
        if new && !self.short {
            prefixed(out, 1, |out| out.extend(self.random));
        } else {
            out.push(0);
        }
        if let Some(cookie) = cookie {
            prefixed(out, 1, |out| out.extend(cookie));
        }
        prefixed(out, 2, |out| {
            all(out, self.suites);
            // RFC 5746 §3.4: secure renegotiation is known; without it some servers refuse.
            put(out, 0x00ff);
        });
        out.extend([1, 0]);
        if self.version != Version::Ssl3 {
            prefixed(out, 2, |out| self.extensions(out));
        }
    }

    fn extensions(&self, out: &mut Vec<u8>) {
        let mut extension = |number: u16, content: &dyn Fn(&mut Vec<u8>)| {
            put(out, number);
            prefixed(out, 2, content);
        };
        let most = if self.short { SHORT } else { usize::MAX };
        let some = |all: &'static [u16]| all.get(..most).unwrap_or(all);
        if let Some(name) = self.name {
            extension(0, &|out| {
                prefixed(out, 2, |out| {
                    out.push(0);
                    prefixed(out, 2, |out| out.extend(name.as_bytes()));
                });
            });
        }
        // supported_groups, and ec_point_formats: uncompressed (RFC 8422 §5.1).
        extension(10, &|out| prefixed(out, 2, |out| all(out, some(&GROUPS))));
        extension(11, &|out| out.extend([1, 0]));
        if self.version.is_old() {
            return;
        }
        // signature_algorithms (RFC 5246 §7.4.1.4.1).
        extension(13, &|out| {
            prefixed(out, 2, |out| {
                all(out, some(&SCHEMES));
                if self.short {
                    // RSA with SHA-256 and with SHA-1, PSS.
                    all(out, &[0x0804, 0x0401, 0x0201]);
                }
            });
        });
        if self.version == Version::Tls13 {
            extension(SUPPORTED_VERSIONS, &|out| {
                prefixed(out, 1, |out| put(out, self.version.number()));
            });
            // psk_key_exchange_modes: psk_dhe_ke.
            extension(45, &|out| out.extend([1, 1]));
            // RFC 8446 §4.2.8: a client may have no key yet, so that the server says which it wants.
            extension(KEY_SHARE, &|out| out.extend([0, 0]));
        }
    }

    /// CLIENT-HELLO of SSL 2.0 (§2.5 of "The SSL Protocol"): a record header of two bytes.
    fn ssl2(&self) -> Vec<u8> {
        let mut body = vec![CLIENT_HELLO];
        put(&mut body, self.version.number());
        let challenge = self.random.get(..16).unwrap_or_default();
        let kinds = SSL2_KINDS.as_flattened();
        for length in [kinds.len(), 0, challenge.len()] {
            body.extend(width(length, 2));
        }
        body.extend(kinds);
        body.extend(challenge);
        let mut record = Vec::new();
        put(&mut record, u16::try_from(body.len()).unwrap_or(0) | 0x8000);
        record.extend(body);
        record
    }
}

fn put(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}

fn all(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
}

/// A length in so many bytes.
fn width(length: usize, width: usize) -> Vec<u8> {
    let length = u64::try_from(length).unwrap_or(0).to_be_bytes();
    let from = length.len().saturating_sub(width);
    length.get(from..).unwrap_or_default().to_vec()
}

/// What `content` writes, behind its length in so many bytes.
fn prefixed(out: &mut Vec<u8>, bytes: usize, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    out.extend(width(inner.len(), bytes));
    out.extend(inner);
}
