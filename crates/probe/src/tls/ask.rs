//! One question: a connection, and what came.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use stockade_wire::tls::{Hello, Reader, Said, ServerHello, Version};

use crate::line::Line;

/// The most that is read of one answer: a hello and a long chain of certificates.
const MOST: usize = 80 * 1024;
/// As much of what is no TLS as is told.
const BANNER: usize = 60;

/// What came of one question.
#[derive(Debug, PartialEq)]
pub(super) enum Came {
    /// It went on; its certificates, if they came in clear text and were asked for.
    Hello(ServerHello, Option<Vec<Vec<u8>>>),
    /// It went on in SSL 2.0; its certificate.
    Ssl2(Vec<u8>),
    /// It refused with this alert (RFC 8446 §6).
    Alert(u8),
    /// It refused in SSL 2.0.
    Ssl2Error(u16),
    /// It speaks something else: the first line of it.
    Plain(String),
    /// It began as TLS does.
    Broken(&'static str),
    /// It closed without a word.
    Closed,
    /// It kept silent.
    Silent,
    /// There was no connection.
    NoConnection(String),
}

impl Came {
    /// Whether it is a refusal, for whatever reason.
    pub(super) fn is_word(&self) -> bool {
        matches!(self, Self::Alert(_) | Self::Ssl2Error(_) | Self::Closed)
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello, _) => write!(f, "it went on with {}", hello.version),
            Self::Ssl2(_) => f.write_str("it went on with SSL 2.0"),
            Self::Alert(number) => f.write_str(&alert(*number)),
            Self::Ssl2Error(number) => write!(f, "error {number} of SSL 2.0"),
            Self::Plain(said) => write!(f, "it said \"{said}\""),
            Self::Broken(what) => f.write_str(what),
            Self::Closed => f.write_str("it closes without a word"),
            Self::Silent => f.write_str("no answer in time"),
            Self::NoConnection(why) => f.write_str(why),
        }
    }
}

/// An alert by its name (RFC 8446 §6, and those of before).
pub(crate) fn alert(number: u8) -> String {
    let name = match number {
        0 => "close_notify",
        10 => "unexpected_message",
        40 => "handshake_failure",
        47 => "illegal_parameter",
        50 => "decode_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        112 => "unrecognized_name",
        _ => return format!("alert {number}"),
    };
    format!("alert {name}")
}

/// Asks, and reads no more than the answer; the certificates behind it only if they are wanted.
pub(super) fn ask(line: &Line, to: SocketAddr, hello: &Hello<'_>, chain: bool) -> Came {
    let mut stream = match line.connect(to) {
        Ok(stream) => stream,
        Err(why) => return Came::NoConnection(why.to_string()),
    };
    // One that has refused already may have closed: its reason is still to be read.
    let _closed = stream.write_all(&hello.record());
    let (mut reader, mut bytes) = (Reader::new(hello.version), Vec::new());
    let mut buffer = [0; 8192];
    let mut went_on = None;
    loop {
        let end = match reader.said() {
            Said::More if bytes.len() > MOST => Some(Came::Broken("an answer without an end")),
            Said::More => match stream.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let new = buffer.get(..count).unwrap_or_default();
                    bytes.extend_from_slice(new);
                    reader.push(new);
                    None
                }
                Ok(_) => Some(reader.warned().map_or(Came::Closed, Came::Alert)),
                Err(why) if why.kind() == ErrorKind::TimedOut => Some(Came::Silent),
                Err(_reset) => Some(reader.warned().map_or(Came::Closed, Came::Alert)),
            },
            Said::Hello(its) if chain && its.version < Version::Tls13 => {
                went_on = Some(its);
                None
            }
            Said::Hello(its) => Some(Came::Hello(its, None)),
            Said::Certificates(chain) => match went_on.take() {
                Some(its) => Some(Came::Hello(its, Some(chain))),
                None => Some(Came::Broken("certificates before its hello")),
            },
            Said::Ssl2 { certificate, .. } => Some(Came::Ssl2(certificate)),
            Said::Alert(number) => Some(Came::Alert(number)),
            Said::Ssl2Error(number) => Some(Came::Ssl2Error(number)),
            Said::Plain => Some(Came::Plain(first_line(&bytes))),
            Said::Broken(why) => Some(Came::Broken(why)),
            Said::Cookie(_) | Said::Other(_) => Some(Came::Broken("a message out of place")),
        };
        if let Some(end) = end {
            return match went_on {
                // Whatever followed: it went on.
                Some(its) => Came::Hello(its, None),
                None => end,
            };
        }
    }
}

/// The first line of what a server says.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes
        .iter()
        .take_while(|byte| !matches!(byte, b'\r' | b'\n'));
    let line: Vec<u8> = line.take(BANNER).copied().collect();
    line.escape_ascii().to_string()
}
