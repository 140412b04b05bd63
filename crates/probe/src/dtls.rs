//! Which versions of DTLS a UDP port offers, as CoAP over DTLS does (RFC 7252 §9.1), and its certificate.
//!
//! A `HelloVerifyRequest` is no proof of a version (RFC 6347 §4.2.1: its version says nothing): the cookie is sent back, and what
//! counts is the `ServerHello`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use stockade_wire::tls::suites::{self, FEW, USUAL};
use stockade_wire::tls::{DtlsReader, Hello, Said, ServerHello, Version};

use crate::line::{Datagrams, Line};
use crate::tls::{Facts, Verdict, alert};

/// How often a question is sent, for one may get lost (RFC 6347 §4.2.4).
const ATTEMPTS: u8 = 3;
/// The most datagrams that are read for one question.
const MOST: usize = 32;

/// What came of one question.
enum Came {
    Hello(ServerHello, Option<Vec<Vec<u8>>>),
    Alert(u8),
    Plain,
    Broken(&'static str),
    Silent,
    Unreachable(String),
}

/// Asks a UDP port for DTLS 1.2 and 1.0. Who does not answer at all may be there all the same: UDP does not tell.
pub fn probe(line: &Line, to: SocketAddr, name: Option<&str>) -> Facts {
    let mut versions = BTreeMap::new();
    let mut certificates = Err("none came".to_owned());
    let mut heard = false;
    for version in Version::DATAGRAM {
        // Who has not said anything to one version is asked for the other once.
        let first = version == Version::DATAGRAM[0];
        let attempts = if heard || first { ATTEMPTS } else { 1 };
        let mut came = ask(line, to, version, &usual(), (name, attempts));
        if matches!(came, Came::Alert(it) if it != 70) {
            let full: Vec<u16> = suites::all().map(|(number, _)| number).collect();
            came = ask(line, to, version, &full, (name, ATTEMPTS));
        } else if matches!(came, Came::Silent) && heard {
            came = ask(line, to, version, &FEW, (None, ATTEMPTS));
        }
        let verdict = match came {
            Came::Hello(hello, _) if !hello.version.is_datagram() => {
                Verdict::Undetermined("it chose a version that is none of DTLS".to_owned())
            }
            Came::Hello(hello, _) if hello.version < version => {
                Verdict::Refused(format!("it answered with {}", hello.version))
            }
            Came::Hello(hello, _) if hello.version > version => {
                let what = format!("it chose {}, newer than what it was offered", hello.version);
                Verdict::Undetermined(what)
            }
            Came::Hello(hello, _) if suites::name(hello.suite).is_none() => {
                Verdict::Undetermined("it chose a cipher suite that nobody knows".to_owned())
            }
            Came::Hello(hello, chain) => {
                if let Some(chain) = chain {
                    certificates = Ok(chain);
                }
                Verdict::Offered {
                    suite: Some(hello.suite),
                    group: hello.group,
                }
            }
            Came::Alert(number) => Verdict::Refused(alert(number)),
            Came::Plain => Verdict::NotTls("a datagram that is no DTLS".to_owned()),
            Came::Broken(why) => Verdict::Undetermined(why.to_owned()),
            Came::Silent => Verdict::Undetermined("no answer in time".to_owned()),
            Came::Unreachable(why) => Verdict::Undetermined(why),
        };
        heard |= !matches!(verdict, Verdict::Undetermined(_));
        versions.insert(version, verdict);
    }
    Facts {
        versions,
        ciphers: BTreeMap::new(),
        inventory: BTreeMap::new(),
        certificates,
    }
}

/// The usual suites but for RC4, which DTLS has not (RFC 6347 §4.1.2.2).
fn usual() -> Vec<u16> {
    let fits = |it: &u16| !suites::name(*it).is_some_and(|name| name.contains("RC4"));
    USUAL.into_iter().filter(fits).collect()
}

fn ask(
    line: &Line,
    to: SocketAddr,
    version: Version,
    offered: &[u16],
    (name, attempts): (Option<&str>, u8),
) -> Came {
    let mut random = [0; 32];
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)
        .and_then(|_| UdpSocket::bind((line.source().filter(|it| it.is_ipv4() == to.is_ipv4()).unwrap_or(any), 0)))
        // Connected, it hears only this host, and hears that nothing listens.
        .and_then(|socket| socket.connect(to).map(|()| socket));
    let socket = match socket {
        Ok(socket) => line.datagrams(socket),
        Err(why) => return Came::Unreachable(why.to_string()),
    };
    let hello = Hello {
        version,
        suites: offered,
        name,
        short: true,
        random,
    };
    let came = converse(line, &socket, to, &hello, attempts);
    if matches!(came, Ok(Came::Hello(..))) {
        // UDP has no reset: without a word the device would keep what it has begun, and many can only keep one.
        let _gone = socket.send(&FAREWELL, to);
    }
    came.unwrap_or_else(|why| Came::Unreachable(why.to_string()))
}

/// A fatal `handshake_failure`, in a record of its own (RFC 6347 §4.1).
const FAREWELL: [u8; 15] = [21, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];

fn converse(
    line: &Line,
    socket: &Datagrams<'_>,
    to: SocketAddr,
    hello: &Hello<'_>,
    attempts: u8,
) -> std::io::Result<Came> {
    let patience = line.timeout() / u32::from(ATTEMPTS);
    let (mut cookie, mut reader) = (Vec::new(), DtlsReader::default());
    let (mut sent, mut heard, mut silent) = (0_u8, 0, 0);
    let mut went_on = None;
    socket.send(&hello.datagram(&cookie, sent), to)?;
    while heard < MOST {
        let Some((datagram, _)) = socket.receive(patience.max(Duration::from_millis(10)))? else {
            silent += 1;
            if let Some(its) = went_on.take() {
                return Ok(Came::Hello(its, None));
            }
            if silent >= attempts {
                return Ok(Came::Silent);
            }
            sent += 1;
            socket.send(&hello.datagram(&cookie, sent), to)?;
            continue;
        };
        heard += 1;
        for said in reader.datagram(&datagram) {
            match said {
                // One cookie is enough; another is for a question that was sent twice.
                Said::Cookie(its) if cookie.is_empty() => {
                    cookie = its;
                    sent += 1;
                    socket.send(&hello.datagram(&cookie, sent), to)?;
                }
                Said::Hello(its) => went_on = Some(its),
                Said::Certificates(chain) => {
                    return Ok(match went_on.take() {
                        Some(its) => Came::Hello(its, Some(chain)),
                        None => Came::Broken("certificates before its hello"),
                    });
                }
                Said::Alert(number) => return Ok(Came::Alert(number)),
                said => {
                    return Ok(match (went_on.take(), said) {
                        (Some(its), _) => Came::Hello(its, None),
                        (None, Said::Plain) => Came::Plain,
                        (None, Said::Broken(why)) => Came::Broken(why),
                        (None, _) => Came::Broken("a message out of place"),
                    });
                }
            }
        }
    }
    Ok(
        went_on.map_or(Came::Broken("an answer without an end"), |its| {
            Came::Hello(its, None)
        }),
    )
}
