//! SSDP (`UPnP` Device Architecture 2.0 §1.3): a search, and who answers it.

use std::io::{ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::UpnpFacts;
use crate::http;
use crate::line::{Datagrams, Line};
use crate::services::udp;
use crate::text::told;

const PORT: u16 = 1900;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// The link-local group (`UPnP` Device Architecture 2.0 §A.4).
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc);
/// A device answers within the second that the search gives it (MX), and a moment more.
const WAIT: Duration = Duration::from_millis(1500);
/// The most answers that are heard of one search.
const MOST: usize = 256;

/// An answer to a search.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reply {
    /// Where its description is said to be.
    pub location: Option<String>,
    /// The system and program it names.
    pub server: Option<String>,
    /// What it is.
    pub target: Option<String>,
    /// Its unique name.
    pub name: Option<String>,
}

/// Reads an answer to a search; none if it is not one.
pub fn reply(bytes: &[u8]) -> Option<Reply> {
    // The empty line at the end is often forgotten.
    let ended;
    let whole = if bytes.windows(4).any(|it| it == b"\r\n\r\n") {
        bytes
    } else {
        ended = [bytes, b"\r\n\r\n"].concat();
        &ended
    };
    let head = http::head(whole, "HTTP/")?;
    let field = |name| head.field(name).map(|text| told(text.as_bytes()));
    (head.status == 200 && (head.field("st").is_some() || head.field("usn").is_some())).then(|| {
        Reply {
            // Not cut: it is compared and followed, or told with why not.
            location: head
                .field("location")
                .map(|it| it.chars().take(512).collect()),
            server: field("server"),
            target: field("st"),
            name: field("usn"),
        }
    })
}

fn message(host: &str, target: &str) -> Vec<u8> {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {host}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\nUSER-AGENT: stockade-audit\r\n\r\n"
    )
    .into_bytes()
}

/// Searches: the host alone first, then all, of whose answers those of the host count.
pub(super) fn search(
    line: &Line,
    host: SocketAddr,
    source: Option<IpAddr>,
    own: IpAddr,
    facts: &mut UpnpFacts,
) -> Result<()> {
    let mut to = host;
    to.set_port(PORT);
    let alone = line.datagrams(udp::socket(host.ip(), source.or(Some(own)))?);
    let asked = message(&to.to_string(), "ssdp:all");
    facts.unicast.0 = asked.len();
    match alone.send(&asked, to) {
        Ok(()) => facts.unicast.1 = hear(&alone, host.ip(), &mut facts.replies)?,
        Err(why) if is_no_way(&why) => (),
        Err(why) => return Err(why),
    }
    let all = line.datagrams(udp::socket(host.ip(), source.or(Some(own)))?);
    let socket = SockRef::from(all.socket());
    let group = match (own, host) {
        (IpAddr::V4(own), _) => {
            socket.set_multicast_if_v4(&own)?;
            SocketAddr::from((GROUP, PORT))
        }
        (IpAddr::V6(own), SocketAddr::V6(host)) => {
            let Some(index) = interface(own, host) else {
                return Ok(());
            };
            socket.set_multicast_if_v6(index)?;
            SocketAddrV6::new(GROUP_6, PORT, 0, index).into()
        }
        (IpAddr::V6(_), SocketAddr::V4(_)) => return Ok(()),
    };
    let name = match group {
        SocketAddr::V4(group) => group.to_string(),
        SocketAddr::V6(_) => format!("[{GROUP_6}]:{PORT}"),
    };
    for target in ["ssdp:all", "upnp:rootdevice"] {
        let asked = message(&name, target);
        match all.send(&asked, group) {
            Ok(()) => facts.multicast.0 = facts.multicast.0.saturating_add(asked.len()),
            // A network without multicast has no answers to it.
            Err(why) if is_no_way(&why) => return Ok(()),
            Err(why) => return Err(why),
        }
    }
    facts.multicast.1 = hear(&all, host.ip(), &mut facts.replies)?;
    facts.replies.sort();
    facts.replies.dedup();
    Ok(())
}

fn is_no_way(why: &std::io::Error) -> bool {
    matches!(
        why.kind(),
        ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::ConnectionRefused
            | ErrorKind::PermissionDenied
            | ErrorKind::AddrNotAvailable
            | ErrorKind::InvalidInput
    )
}

/// The interface through which the host is reached.
fn interface(own: Ipv6Addr, host: SocketAddrV6) -> Option<u32> {
    if host.scope_id() != 0 {
        return Some(host.scope_id());
    }
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    let its = all.find(|it| {
        let address = it.address.as_ref().and_then(|it| it.as_sockaddr_in6());
        address.is_some_and(|it| it.ip() == own)
    })?;
    nix::net::if_::if_nametoindex(its.interface_name.as_str()).ok()
}

/// Hears the answers of a host; how many bytes they have.
fn hear(socket: &Datagrams<'_>, host: IpAddr, replies: &mut Vec<Reply>) -> Result<usize> {
    let until = Instant::now().checked_add(WAIT);
    let mut bytes_heard = 0_usize;
    for _ in 0..MOST {
        let left = until.map(|it| it.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(WAIT);
        if left.is_zero() {
            break;
        }
        match socket.receive(left) {
            Ok(None) => break,
            Ok(Some((bytes, from))) => {
                if from.ip() == host {
                    bytes_heard = bytes_heard.saturating_add(bytes.len());
                    replies.extend(reply(&bytes));
                }
            }
            Err(why) if is_no_way(&why) => break,
            Err(why) => return Err(why),
        }
    }
    Ok(bytes_heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_anything_else_is_not() {
        let text = b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\nSERVER: Debian/12 UPnP/1.1 MiniUPnPd/2.3.1\r\nLOCATION: http://192.0.2.7:61999/rootDesc.xml\r\n";
        let read = reply(text).expect("an answer");
        assert_eq!(
            read.location.as_deref(),
            Some("http://192.0.2.7:61999/rootDesc.xml")
        );
        assert_eq!(reply(&message("x", "ssdp:all")), None);
        assert_eq!(reply(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(reply(b""), None);
    }
}
