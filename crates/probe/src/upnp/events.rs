//! Whether a device sends events wherever it is told to (CVE-2020-12695, `CallStranger`; `UPnP` Device Architecture 2.0 §4.1.1).

use std::io::{Read as _, Result, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{How, Place};
use crate::line::Line;
use crate::services::{exchange, request};
use crate::text::told;

/// How long an event has to arrive.
const WAIT: Duration = Duration::from_secs(2);
/// An address that nobody has (RFC 5737), for who has no second one.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// What an event of ours names.
const NAME: &str = "/stockade-audit-event";

/// What came of asking for events to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was refused, with this status; 0 is no answer.
    Refused(u16),
    /// It was accepted; no event was seen.
    Accepted,
    /// It was accepted, and an event arrived.
    Delivered,
}

/// What came of subscriptions to one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Where it takes them.
    pub place: String,
    /// With our own address: whether events work at all.
    pub own: Came,
    /// With an address of another network, and whether that is ours, so that an event would be seen.
    pub other: Came,
    /// Whether the other address was ours.
    pub second: bool,
    /// Whether a place that is none was accepted.
    pub malformed: bool,
}

pub(super) fn ask(line: &Line, place: &Place, how: How) -> Result<Events> {
    let own = try_with(line, place, how.own, true)?;
    let other = match how.second {
        Some(second) => try_with(line, place, second, true)?,
        None => try_with(line, place, NOBODY, false)?,
    };
    let (status, sid) = subscribe(line, place, "<bad");
    unsubscribe(line, place, sid.as_deref());
    Ok(Events {
        place: place.to_string(),
        own,
        other,
        second: how.second.is_some(),
        malformed: status == 200,
    })
}

fn try_with(line: &Line, place: &Place, address: IpAddr, ours: bool) -> Result<Came> {
    let listener = if ours {
        Some(TcpListener::bind((address, 0))?)
    } else {
        None
    };
    let port = match &listener {
        Some(listener) => listener.local_addr()?.port(),
        None => 49_999,
    };
    let to = SocketAddr::new(address, port);
    let (status, sid) = subscribe(line, place, &format!("<http://{to}{NAME}>"));
    let came = match (status, &listener) {
        (200, Some(listener)) if arrives(listener)? => Came::Delivered,
        (200, _) => Came::Accepted,
        (status, _) => Came::Refused(status),
    };
    unsubscribe(line, place, sid.as_deref());
    Ok(came)
}

/// Asks for events; the status, and the subscription's name.
fn subscribe(line: &Line, place: &Place, callback: &str) -> (u16, Option<String>) {
    let fields = format!("CALLBACK: {callback}\r\nNT: upnp:event\r\nTIMEOUT: Second-60\r\n");
    let asked = request("SUBSCRIBE", &place.path, place.to, &fields, "");
    match exchange(line, place.to, &asked) {
        Ok((head, _)) => (head.status, head.field("sid").map(|it| told(it.as_bytes()))),
        Err(_) => (0, None),
    }
}

/// What was asked for is taken back; it would end by itself after a minute.
fn unsubscribe(line: &Line, place: &Place, sid: Option<&str>) {
    if let Some(sid) = sid {
        let asked = request(
            "UNSUBSCRIBE",
            &place.path,
            place.to,
            &format!("SID: {sid}\r\n"),
            "",
        );
        drop(exchange(line, place.to, &asked));
    }
}

/// Whether an event of ours arrives.
fn arrives(listener: &TcpListener) -> Result<bool> {
    let until = Instant::now().checked_add(WAIT);
    // Strangers may call as well; that many are heard.
    for _ in 0..8 {
        let left = until.map(|it| it.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(WAIT);
        if left.is_zero() {
            break;
        }
        // Accepting waits as long as reading would (socket(7), SO_RCVTIMEO).
        SockRef::from(listener).set_read_timeout(Some(left))?;
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if is_event(stream).unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_event(mut stream: TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut bytes = vec![0; 1024];
    let mut got = 0_usize;
    for _ in 0..8 {
        let Some(room) = bytes.get_mut(got..).filter(|it| !it.is_empty()) else {
            break;
        };
        match stream.read(room) {
            Ok(0) | Err(_) => break,
            Ok(count) => got = got.saturating_add(count),
        }
        if bytes.get(..got).is_some_and(|it| it.contains(&b'\n')) {
            break;
        }
    }
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let wanted = format!("NOTIFY {NAME} ");
    Ok(bytes.starts_with(wanted.as_bytes()))
}
