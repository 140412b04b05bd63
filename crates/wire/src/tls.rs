//! Asking a server for one version of SSL, TLS or DTLS: the question, and what its answer means.
//!
//! Each question offers one version only and has every other reason to be refused taken away: ciphers of all ages, groups,
//! signature schemes. Nothing is ever encrypted, and a question for TLS 1.3 has no key in it, so that the server asks for one and
//! neither side does public-key work.

mod hello;
mod reader;
pub mod suites;

use std::fmt;

pub use hello::{Hello, client_hello};
pub use reader::{DtlsReader, Reader, Said, ServerHello};

/// A version of SSL, TLS or DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// SSL 2.0 ("The SSL Protocol", 1995), forbidden by RFC 6176.
    Ssl2,
    /// SSL 3.0 (RFC 6101), forbidden by RFC 7568.
    Ssl3,
    /// TLS 1.0 (RFC 2246), forbidden by RFC 8996.
    Tls10,
    /// TLS 1.1 (RFC 4346), forbidden by RFC 8996.
    Tls11,
    /// DTLS 1.0 (RFC 4347), forbidden by RFC 8996.
    Dtls10,
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// DTLS 1.2 (RFC 6347).
    Dtls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Version {
    /// Those over TCP, the newest first: a server that is asked for the best first is not taken for an old one that hangs.
    pub const ALL: [Self; 6] = [
        Self::Tls13,
        Self::Tls12,
        Self::Tls11,
        Self::Tls10,
        Self::Ssl3,
        Self::Ssl2,
    ];
    /// Those over UDP, the newest first.
    pub const DATAGRAM: [Self; 2] = [Self::Dtls12, Self::Dtls10];

    /// Its name in reports: `tls1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssl2 => "ssl2",
            Self::Ssl3 => "ssl3",
            Self::Tls10 => "tls1.0",
            Self::Tls11 => "tls1.1",
            Self::Dtls10 => "dtls1.0",
            Self::Tls12 => "tls1.2",
            Self::Dtls12 => "dtls1.2",
            Self::Tls13 => "tls1.3",
        }
    }

    /// Whether it is forbidden: older than TLS 1.2.
    pub fn is_old(self) -> bool {
        self < Self::Tls12
    }

    fn number(self) -> u16 {
        match self {
            Self::Ssl2 => 0x0002,
            Self::Ssl3 => 0x0300,
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            // RFC 4347 §4.1, RFC 6347 §4.1: the ones' complement of 1.0 and 1.2.
            Self::Dtls10 => 0xfeff,
            Self::Tls12 => 0x0303,
            Self::Dtls12 => 0xfefd,
            Self::Tls13 => 0x0304,
        }
    }

    /// Whether it is a version of DTLS.
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Dtls10 | Self::Dtls12)
    }

    fn of(number: u16) -> Option<Self> {
        let all = Self::ALL.into_iter().chain(Self::DATAGRAM);
        all.into_iter().find(|it| it.number() == number)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `ContentType` (RFC 5246 §6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// `HandshakeType` (RFC 5246 §7.4, RFC 6347 §4.2.2).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
/// Extensions (RFC 8446 §4.2).
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

#[cfg(test)]
mod tests;
