//! Asking a listener of this machine which versions of TLS it accepts: a connection for each, and no more than the first answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use stockade_controls::engine::{Listener, TlsAnswers, Transport, Unseen};
use stockade_wire::tls::{Reader, Said, Version, client_hello};

/// How long a listener has for all questions, and for one.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(2);
/// The most that is read of one answer: a `ServerHello` is far shorter.
const MOST: usize = 20 * 1024;
/// As much of a banner as is told.
const BANNER: usize = 60;

/// What came of one question.
enum Came {
    /// The server went on with this version.
    Speaks(Version),
    /// It refused, as TLS or SSL 2.0 does.
    Refused,
    /// It began as TLS does, and what followed is none.
    Broken,
    /// It said something that is not TLS.
    Banner(String),
    /// It closed without a word.
    Closed,
    /// It kept silent.
    Silent,
}

/// Asks a listener of this machine.
pub fn ask(listener: &Listener) -> Result<TlsAnswers, Unseen> {
    if listener.transport != Transport::Tcp {
        return Err(Unseen::Failed("only TCP is asked".to_owned()));
    }
    let until = Instant::now() + PATIENCE;
    let mut answers = TlsAnswers::default();
    let mut closed = Vec::new();
    let mut older: Option<Version> = None;
    for version in Version::ALL {
        let came = question(reachable(listener.address), version, until)
            .map_err(|why| Unseen::Failed(format!("{}: {why}", listener.address)))?;
        let accepted = match came {
            Came::Speaks(spoken) => {
                older = Some(spoken);
                spoken == version
            }
            // RFC 8446 §6: whatever the alert, it went no further with this version.
            Came::Refused => false,
            Came::Banner(banner) => {
                answers.plain = Some(banner);
                return Ok(answers);
            }
            Came::Closed => {
                closed.push(version);
                continue;
            }
            Came::Broken | Came::Silent if answers.accepted.is_empty() => {
                // It does not speak first and does not speak TLS: no use to wait four times more.
                return Err(Unseen::Failed(format!(
                    "{} gives no answer",
                    listener.address
                )));
            }
            Came::Broken | Came::Silent => continue,
        };
        answers
            .accepted
            .insert(version.as_str().to_owned(), accepted);
    }
    if answers.accepted.is_empty() {
        return Err(Unseen::Failed(format!(
            "{} closes without an answer",
            listener.address
        )));
    }
    // Some refuse a version by closing; that is a refusal by one who speaks TLS.
    for version in closed {
        answers.accepted.insert(version.as_str().to_owned(), false);
    }
    // What it chose by itself it accepts, even if the question for it went unanswered.
    if let Some(spoken) = older {
        answers
            .accepted
            .entry(spoken.as_str().to_owned())
            .or_insert(true);
    }
    Ok(answers)
}

/// The address by which this machine itself reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn question(server: SocketAddr, version: Version, until: Instant) -> std::io::Result<Came> {
    let deadline = until.min(Instant::now() + ANSWER);
    let left = || {
        deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    };
    let Some(time) = left() else {
        return Ok(Came::Silent);
    };
    let mut stream = TcpStream::connect_timeout(&server, time)?;
    stream.set_write_timeout(Some(time))?;
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    // One that has refused already may have closed: its reason is still to be read.
    let _closed = stream.write_all(&client_hello(version, random));
    let (mut reader, mut bytes) = (Reader::new(version), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        let Some(time) = left() else {
            return Ok(Came::Silent);
        };
        stream.set_read_timeout(Some(time))?;
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(Came::Closed),
            Ok(count) => count,
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(why) if why.kind() == ErrorKind::ConnectionReset => return Ok(Came::Closed),
            Err(why) => return Err(why),
        };
        let new = buffer.get(..count).unwrap_or_default();
        bytes.extend(new);
        reader.push(new);
        return Ok(match reader.said() {
            Said::More if bytes.len() > MOST => Came::Broken,
            Said::More => continue,
            Said::Hello(hello) => Came::Speaks(hello.version),
            Said::Ssl2 { .. } => Came::Speaks(Version::Ssl2),
            Said::Alert(_) | Said::Ssl2Error(_) => Came::Refused,
            Said::Plain => Came::Banner(banner(&bytes)),
            Said::Certificates(_) | Said::Cookie(_) | Said::Other(_) | Said::Broken(_) => {
                Came::Broken
            }
        });
    }
}

/// The first line of what a server says.
fn banner(bytes: &[u8]) -> String {
    let line = bytes
        .iter()
        .take_while(|byte| !matches!(byte, b'\r' | b'\n'));
    let line: Vec<u8> = line.take(BANNER).copied().collect();
    line.escape_ascii().to_string()
}
