//! TLS at the door: who may come in, and who is refused with the right alert and a line in the log.
//!
//! [`Gate`] bounds the handshakes under way; [`handshake`] looks at the first bytes, refuses what is too old or no TLS
//! at all, and leaves the rest to rustls. What comes out is a stream and the device its certificate names; whether that
//! device is wanted now is the registry's to say.

mod clock;
pub mod hello;
mod refused;
mod replay;
mod settings;
mod verify;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

pub use stockade_web::gate::{Full, Gate, GateSettings, Permit, Source};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server};

pub use self::clock::Clock;
use self::hello::{Hello, NotHello, TLS12, TLS13};
pub use self::refused::{Refusals, Refused, Why};
pub use self::replay::Replay;
pub(crate) use self::settings::{Foundation, harden, protocol_versions, provider};
pub use self::settings::{Minimum, TlsOptions, TlsSettings};
pub(crate) use self::verify::DeviceVerifier;
pub use self::verify::{Fingerprint, Leaf, LeafError, MayReturn, RefusedCertificate, sha256};
use crate::name::DeviceName;

/// An accepted TLS connection.
pub type Stream = server::TlsStream<Replay>;

/// Who is at the other end of an accepted connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The device its certificate names.
    pub name: DeviceName,
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// Until when its certificate is valid.
    pub not_after: OffsetDateTime,
    /// The version spoken, [`hello::TLS13`] or [`hello::TLS12`].
    pub version: u16,
}

// Alerts of RFC 8446 §6.
const PROTOCOL_VERSION: u8 = 70;
const DECODE_ERROR: u8 = 50;
/// How long a refused peer may take to read its alert.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);
/// How much a refused peer may still send before it is cut off.
const LAST_BYTES: usize = 64 * 1024;
/// First room for a hello; those with a post-quantum key share are about 1,800 bytes.
const USUAL_HELLO: usize = 2 * 1024;

/// Takes a fresh connection through the handshake of a listener that demands a device certificate.
pub async fn handshake(
    tcp: TcpStream,
    permit: Permit,
    settings: &TlsSettings,
) -> Result<(Stream, PeerIdentity), Refused> {
    let (stream, identity) = accept(tcp, permit, settings).await?;
    match identity {
        Some(identity) => Ok((stream, identity)),
        None => Err(Why::NoCertificate.into()),
    }
}

/// Takes a fresh connection through a handshake; without a certificate there is no identity.
pub async fn accept(
    tcp: TcpStream,
    permit: Permit,
    settings: &TlsSettings,
) -> Result<(Stream, Option<PeerIdentity>), Refused> {
    // Boxed, so that the connection's task is no larger than what follows the handshake needs.
    let work = Box::pin(tokio::time::timeout(
        settings.deadline(),
        greet(tcp, &permit, settings),
    ));
    let finished = tokio::select! {
        biased;
        finished = work => finished,
        () = permit.give_way() => return Err(Why::GaveWay { spoke: permit.has_spoken() }.into()),
    };
    match finished {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Why::Slow {
            spoke: permit.has_spoken(),
        }
        .into()),
    }
}

async fn greet(
    mut tcp: TcpStream,
    permit: &Permit,
    settings: &TlsSettings,
) -> Result<(Stream, Option<PeerIdentity>), Refused> {
    let mut first = Vec::with_capacity(USUAL_HELLO);
    let judged = loop {
        match tcp.read_buf(&mut first).await {
            Ok(0) if first.is_empty() => return Err(Why::Left("it sent nothing".to_owned()).into()),
            Ok(0) => return Err(Why::Left("its hello was not finished".to_owned()).into()),
            Ok(_) => {}
            Err(error) => return Err(Why::Left(error.kind().to_string()).into()),
        }
        match judge(&first, settings) {
            Ok(None) => {}
            Ok(Some(wishes)) => break Ok(wishes),
            Err(no) => break Err(no),
        }
    };
    permit.spoke();
    let wishes = match judged {
        Ok(wishes) => wishes,
        Err((why, alert)) => {
            if let Some(alert) = alert {
                say_goodbye(tcp, &first, alert).await;
            }
            return Err(why.into());
        }
    };
    let acceptor = TlsAcceptor::from(settings.config());
    let mut accept = pin!(acceptor.accept_with(Replay::new(tcp, first), |connection| {
        connection.set_buffer_limit(Some(settings.buffer_limit()));
    }));
    // A thread's note of a refused certificate must be taken in the poll that made it.
    let stream = poll_fn(|cx| match accept.as_mut().poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(refusal(
            &error,
            wishes.as_ref(),
            verify::take_refused(),
        ))),
        Poll::Ready(Ok(stream)) => Poll::Ready(Ok(stream)),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let identity = identity(&stream, settings)?;
    Ok((stream, identity))
}

/// The application protocols asked for, kept only if ours is not among them.
struct Wishes {
    offered: String,
    spoken: &'static str,
}

type Judged = Result<Option<Option<Wishes>>, (Why, Option<u8>)>;

/// Looks at the first bytes: `Ok(None)` wants more of them.
fn judge(first: &[u8], settings: &TlsSettings) -> Judged {
    let read = hello::message(first).and_then(|whole| {
        let Some(whole) = whole else {
            return Ok(None);
        };
        Hello::parse(&whole).map(|hello| Some(weigh(&hello, settings)))
    });
    match read {
        Ok(None) => Ok(None),
        Ok(Some(weighed)) => weighed.map(Some),
        Err(NotHello::Ssl2 { version }) => {
            Err((too_old(Some(version), settings), Some(PROTOCOL_VERSION)))
        }
        Err(NotHello::PlainMqtt) => Err((Why::PlainMqtt, None)),
        Err(NotHello::PlainHttp) => Err((Why::PlainHttp, None)),
        Err(NotHello::Foreign) => {
            Err((Why::NotTls("its first bytes are of another protocol"), None))
        }
        Err(NotHello::TooLong) => Err((Why::NotTls("its hello is too long"), Some(DECODE_ERROR))),
        Err(NotHello::Malformed(what)) => Err((Why::NotTls(what), Some(DECODE_ERROR))),
    }
}

fn weigh(hello: &Hello<'_>, settings: &TlsSettings) -> Result<Option<Wishes>, (Why, Option<u8>)> {
    let spoken =
        hello.offers(TLS13) || (settings.minimum() == Minimum::Tls12 && hello.offers(TLS12));
    if !spoken {
        return Err((too_old(hello.highest(), settings), Some(PROTOCOL_VERSION)));
    }
    let ours = settings.protocol();
    let unmet = hello.alpn().filter(|_| {
        !hello
            .alpn()
            .into_iter()
            .flatten()
            .any(|name| name == ours.as_bytes())
    });
    Ok(unmet.map(|names| {
        let names: Vec<String> = names
            .take(4)
            .map(|name| format!("`{}`", name.escape_ascii()))
            .collect();
        Wishes {
            offered: names.join(", "),
            spoken: ours,
        }
    }))
}

fn too_old(highest: Option<u16>, settings: &TlsSettings) -> Why {
    let offered = highest.map_or_else(
        || "no known version".to_owned(),
        |v| hello::version_name(v).into_owned(),
    );
    Why::Version {
        offered,
        spoken: settings.minimum().spoken(),
    }
}

/// Sends an alert and waits, shortly, until it is read: closing a socket with unread bytes would destroy it on its way.
async fn say_goodbye(mut tcp: TcpStream, first: &[u8], alert: u8) {
    // RFC 8446 §5.1: TLS 1.0 and older peers expect their own version in the record. An SSL 2.0 hello has none.
    let minor = match first {
        [22, 3, ..] => first.get(9..11).map_or(1, |version| match version {
            [3, minor] => (*minor).min(3),
            _ => 1,
        }),
        _ => 0,
    };
    let record = [21, 3, minor, 0, 2, 2, alert];
    let farewell = async {
        tcp.write_all(&record).await?;
        tcp.shutdown().await?;
        let mut scrap = [0; 1_024];
        let mut read = 0;
        while read < LAST_BYTES {
            match tcp.read(&mut scrap).await? {
                0 => break,
                count => read += count,
            }
        }
        io::Result::Ok(())
    };
    // Whether it arrives is the peer's concern.
    let _told = tokio::time::timeout(LAST_WORDS, farewell).await;
}

fn identity(stream: &Stream, settings: &TlsSettings) -> Result<Option<PeerIdentity>, Refused> {
    let (_, connection) = stream.get_ref();
    let Some([certificate, ..]) = connection.peer_certificates() else {
        return Ok(None);
    };
    let leaf = Leaf::read(certificate, settings.domain())
        .map_err(|error| Refused::from(Why::Certificate(error.to_string())))?;
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => TLS12,
        _ => TLS13,
    };
    Ok(Some(PeerIdentity {
        name: leaf.name,
        fingerprint: leaf.fingerprint,
        not_after: leaf.not_after,
        version,
    }))
}

/// Puts rustls' error into the words of this gateway.
fn refusal(
    error: &io::Error,
    wishes: Option<&Wishes>,
    certificate: Option<RefusedCertificate>,
) -> Refused {
    use rustls::Error;
    if let Some(RefusedCertificate { claims, why }) = certificate {
        return Refused {
            why: Why::Certificate(why),
            claims,
        };
    }
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    else {
        return Why::Left(error.kind().to_string()).into();
    };
    match (tls, wishes) {
        (Error::NoApplicationProtocol, Some(Wishes { offered, spoken })) => Why::Alpn {
            offered: offered.clone(),
            spoken,
        },
        (Error::NoCertificatesPresented, _) => Why::NoCertificate,
        (Error::InvalidCertificate(_), _) => Why::Certificate(tls.to_string()),
        (Error::PeerIncompatible(what), _) => Why::Cryptography(format!("{what:?}")),
        (Error::AlertReceived(alert), _) => Why::RefusedUs(format!("it sent the alert {alert:?}")),
        _ => Why::Left(tls.to_string()),
    }
    .into()
}

/// A time as people read it.
pub(crate) fn moment(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0)
        .unwrap_or(at)
        .format(&Rfc3339)
        .unwrap_or_else(|_| at.to_string())
}
