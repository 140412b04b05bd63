//! The passwords that devices are shipped with, tried only when that was asked for: three accounts a service, one try each and one a
//! second, and no further once the service shows that it counts.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use stockade_controls::credentials::most_usual;

use crate::http;
use crate::line::Line;
use crate::services::inside::Timed;
use crate::services::{Kind, Service, binary, exchange_on, listen, request, say};
use crate::tls::certificate::connect;

/// The most tries of a service, and the pause between them.
const MOST: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);

/// What came of the tries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logins {
    /// How many were made.
    pub tried: usize,
    /// The account that was let in with the password it is shipped with.
    pub let_in: Option<String>,
    /// Why there were no more.
    pub stopped: Option<&'static str>,
}

/// What a try came to.
enum Came {
    In,
    Out,
    Stop(&'static str),
}

/// Tries a service that asks people who they are, inside TLS if that is where it is; none if this one does not, or not in a way
/// that is known here.
pub(crate) fn try_all(
    line: &Line,
    to: SocketAddr,
    service: &mut Service,
    inside: bool,
) -> Result<Option<Logins>> {
    let login = service.http.as_ref().and_then(|it| it.login.as_deref());
    let basic = login.is_some_and(|it| {
        it.get(..5)
            .is_some_and(|it| it.eq_ignore_ascii_case("basic"))
    });
    let attempt: &dyn Fn(&str, &str) -> Result<Came> = match service.kind {
        Kind::Http if basic && inside => {
            &|user, password| web(line, &mut connect(line, to)?, to, user, password)
        }
        Kind::Http if basic => {
            &|user, password| web(line, &mut line.connect(to)?, to, user, password)
        }
        Kind::Mqtt if service.open == Some(false) && inside => {
            &|user, password| mqtt(&mut connect(line, to)?, user, password)
        }
        Kind::Mqtt if service.open == Some(false) => {
            &|user, password| mqtt(&mut line.connect(to)?, user, password)
        }
        // Of these, only what is in plain text is known here.
        _ if inside => return Ok(None),
        Kind::Ftp => {
            service.open = match ftp(line, to, "anonymous", "audit@stockade.invalid")? {
                Came::In => Some(true),
                Came::Out => Some(false),
                Came::Stop(_) => None,
            };
            wait(PAUSE);
            &|user, password| ftp(line, to, user, password)
        }
        Kind::Rtsp
            if service.open == Some(false)
                && service.says.to_ascii_lowercase().contains("basic") =>
        {
            &|user, password| rtsp(line, to, user, password)
        }
        _ => return Ok(None),
    };
    let mut logins = Logins::default();
    for (user, password) in most_usual().take(MOST) {
        if logins.tried > 0 {
            wait(PAUSE);
        }
        logins.tried = logins.tried.saturating_add(1);
        match attempt(user, password) {
            Ok(Came::In) => {
                logins.let_in = Some(user.to_owned());
                break;
            }
            Ok(Came::Out) => (),
            Ok(Came::Stop(why)) => {
                logins.stopped = Some(why);
                break;
            }
            Err(why) if line.is_over() => return Err(why),
            Err(_) => {
                logins.stopped = Some("it closes or keeps silent when it is tried");
                break;
            }
        }
    }
    Ok(Some(logins))
}

/// A pause: parked threads may wake early.
fn wait(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        std::thread::park_timeout(left);
    }
}

fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

fn web(
    line: &Line,
    stream: &mut impl Timed,
    to: SocketAddr,
    user: &str,
    password: &str,
) -> Result<Came> {
    let asked = request("GET", "/", to, &basic(user, password), "");
    let (head, _) = exchange_on(stream, line.timeout(), &asked)?;
    Ok(match head.status {
        200..=399 | 404 => Came::In,
        401 => Came::Out,
        // RFC 6585 §4, RFC 9110 §15.5.4.
        429 => Came::Stop("it says that there were too many tries"),
        403 | 423 => Came::Stop("it refuses without looking at the password"),
        _ => Came::Stop("it answers with an error"),
    })
}

fn mqtt(stream: &mut impl Timed, user: &str, password: &str) -> Result<Came> {
    let asked = binary::mqtt_login(user, password);
    let got = say(stream, &asked, TIME, 256, |bytes| {
        binary::mqtt_connack(bytes).is_some()
    })?;
    Ok(match binary::mqtt_connack(&got.bytes) {
        Some(0) => Came::In,
        Some(4 | 5 | 0x86 | 0x87) => Came::Out,
        Some(_) | None => Came::Stop("it closes or refuses for another reason"),
    })
}

/// RFC 959 §5.4: USER, then PASS.
fn ftp(line: &Line, to: SocketAddr, user: &str, password: &str) -> Result<Came> {
    let mut stream = line.connect(to)?;
    stream.within(TIME);
    let complete = |bytes: &[u8]| ftp_code(bytes).is_some();
    let greeting = listen(&mut stream, 4096, complete);
    if ftp_code(&greeting.bytes) != Some(220) {
        return Ok(Came::Stop("it takes no more connections"));
    }
    let asked = format!("USER {user}\r\n");
    let mut code = ftp_code(&say(&mut stream, asked.as_bytes(), TIME, 4096, complete)?.bytes);
    if code == Some(331) {
        let asked = format!("PASS {password}\r\n");
        code = ftp_code(&say(&mut stream, asked.as_bytes(), TIME, 4096, complete)?.bytes);
    }
    Ok(match code {
        Some(230) => Came::In,
        Some(530 | 332) => Came::Out,
        Some(421) => Came::Stop("it says that there were too many tries"),
        _ => Came::Stop("it answers with an error"),
    })
}

/// The code of a reply whose last line is there: three digits and a space (RFC 959 §4.2).
pub(crate) fn ftp_code(bytes: &[u8]) -> Option<u16> {
    let whole = bytes.strip_suffix(b"\n")?;
    let last = whole.rsplit(|byte| *byte == b'\n').next()?;
    match last {
        [a, b, c, b' ', ..] | [a, b, c, b'\r'] => {
            std::str::from_utf8(&[*a, *b, *c]).ok()?.parse().ok()
        }
        _ => None,
    }
}

fn rtsp(line: &Line, to: SocketAddr, user: &str, password: &str) -> Result<Came> {
    let mut stream = line.connect(to)?;
    let asked = format!(
        "DESCRIBE rtsp://{to}/ RTSP/1.0\r\nCSeq: 1\r\n{}\r\n",
        basic(user, password)
    );
    let got = say(&mut stream, asked.as_bytes(), TIME, 16 * 1024, |bytes| {
        http::head(bytes, "RTSP/").is_some()
    })?;
    match http::head(&got.bytes, "RTSP/").map(|it| it.status) {
        Some(200) => Ok(Came::In),
        Some(401) => Ok(Came::Out),
        Some(_) => Ok(Came::Stop("it answers with an error")),
        None => Err(ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_reply_is_that_of_its_last_line() {
        assert_eq!(ftp_code(b"220-hello\r\n220 ready\r\n"), Some(220));
        assert_eq!(ftp_code(b"220-hello\r\n"), None);
        assert_eq!(ftp_code(b"220 rea"), None);
        assert_eq!(ftp_code(b"\n"), None);
    }

    #[test]
    fn three_accounts_are_tried_and_none_twice() {
        let all: Vec<_> = most_usual().take(MOST).map(|it| it.0).collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), MOST);
    }
}
