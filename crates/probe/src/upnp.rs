//! `UPnP` asked from outside: who answers SSDP and how much, what descriptions give away, what a gateway does for strangers, and
//! whether events go where nobody should send them.
//!
//! Nothing is fetched from any host but the one that is asked, whatever it says.

pub mod description;
mod events;
mod igd;
pub mod ssdp;

use std::io::Result;
use std::net::{IpAddr, SocketAddr};

pub use description::Description;
pub use events::{Came, Events};
pub use igd::Gateway;

use crate::line::Line;
use crate::services;
use crate::text::told;
use ssdp::Reply;

/// The most descriptions that are fetched, and the most services of each that are asked.
const MOST_DESCRIPTIONS: usize = 4;
const MOST_SERVICES: usize = 2;

/// What a host answers to `UPnP`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpnpFacts {
    /// Each answer to a search, once.
    pub replies: Vec<Reply>,
    /// Bytes of a search that was sent to the host alone, and of what came back.
    pub unicast: (usize, usize),
    /// The same of searches that were sent to all.
    pub multicast: (usize, usize),
    /// Places that were announced and not fetched, and why.
    pub elsewhere: Vec<(String, &'static str)>,
    /// What devices say of themselves.
    pub devices: Vec<Description>,
    /// Services that map ports.
    pub gateways: Vec<Gateway>,
    /// What became of subscriptions.
    pub events: Vec<Events>,
    /// What could not be read: where, and why.
    pub unread: Vec<(String, String)>,
}

/// What may be done to find out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// The address of this machine that the host sees.
    pub(crate) own: IpAddr,
    /// Another address of this machine, on another network.
    pub(crate) second: Option<IpAddr>,
    /// Whether a mapping may be added, and taken away again.
    pub(crate) active: bool,
}

/// A place on the host that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its address and port.
    pub to: SocketAddr,
    /// The path, with a slash first.
    pub path: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.to, self.path)
    }
}

impl Place {
    /// Reads a URL; only one that leads to `host` by its address is a place to go to.
    pub fn read(url: &str, host: SocketAddr) -> std::result::Result<Self, &'static str> {
        let rest = url
            .strip_prefix("http://")
            .ok_or("it is no place of plain HTTP")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let (name, port) = if let Some(inside) = authority.strip_prefix('[') {
            let (name, port) = inside.split_once(']').ok_or("its address is malformed")?;
            (name, port.strip_prefix(':'))
        } else {
            match authority.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (authority, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| "its port is malformed")?,
            None => 80,
        };
        let name = name.split('%').next().unwrap_or_default();
        let address: IpAddr = name
            .parse()
            .map_err(|_| "it names a host, not an address")?;
        if address != host.ip() {
            return Err("it leads to another host");
        }
        let mut to = host;
        to.set_port(port);
        Ok(Self {
            to,
            path: path_of(path)?,
        })
    }

    /// What a reference in a document of this place leads to (RFC 3986 §5.2, as far as descriptions use it).
    pub fn join(&self, reference: &str) -> std::result::Result<Self, &'static str> {
        if reference.contains("://") {
            return Self::read(reference, self.to);
        }
        let path = if reference.starts_with('/') {
            reference.to_owned()
        } else {
            let at = self.path.rfind('/').unwrap_or_default();
            let folder = self.path.get(..at).unwrap_or_default();
            format!("{folder}/{reference}")
        };
        Ok(Self {
            to: self.to,
            path: path_of(&path)?,
        })
    }
}

/// A path that cannot end the line it is put into.
fn path_of(path: &str) -> std::result::Result<String, &'static str> {
    let path = if path.is_empty() { "/" } else { path };
    if path.len() > 512 || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its path is malformed");
    }
    Ok(path.to_owned())
}

/// Asks a host about `UPnP`.
pub(crate) fn ask(
    line: &Line,
    host: SocketAddr,
    source: Option<IpAddr>,
    how: How,
) -> Result<UpnpFacts> {
    let mut facts = UpnpFacts::default();
    ssdp::search(line, host, source, how.own, &mut facts)?;
    let mut places: Vec<Place> = Vec::new();
    let locations: Vec<String> = facts
        .replies
        .iter()
        .filter_map(|it| it.location.clone())
        .collect();
    for location in locations {
        match Place::read(&location, host) {
            Ok(place) if !places.contains(&place) => places.push(place),
            Ok(_) => (),
            Err(why) => {
                let told = (location, why);
                if !facts.elsewhere.contains(&told) {
                    facts.elsewhere.push(told);
                }
            }
        }
    }
    places.sort_by(|a, b| (a.to, &a.path).cmp(&(b.to, &b.path)));
    for place in places.iter().skip(MOST_DESCRIPTIONS) {
        let why = "more descriptions than are fetched".to_owned();
        facts.unread.push((place.to_string(), why));
    }
    for place in places.iter().take(MOST_DESCRIPTIONS) {
        match fetch(line, place) {
            Ok(found) => services_of(line, found, how, &mut facts)?,
            Err(why) => facts.unread.push((place.to_string(), why)),
        }
    }
    Ok(facts)
}

fn fetch(line: &Line, place: &Place) -> std::result::Result<Description, String> {
    let asked = services::request("GET", &place.path, place.to, "", "");
    let (head, bytes) =
        services::exchange(line, place.to, &asked).map_err(|why| why.to_string())?;
    if head.status != 200 {
        return Err(format!("status {}", head.status));
    }
    let server = head.field("server").map(|it| told(it.as_bytes()));
    let mut found = description::read(&head.content(&bytes), place)?;
    found.server = server;
    Ok(found)
}

fn services_of(line: &Line, found: Description, how: How, facts: &mut UpnpFacts) -> Result<()> {
    let maps = found.services.iter().filter(|it| it.maps_ports());
    for service in maps.take(MOST_SERVICES) {
        match &service.control {
            Ok(place) => facts
                .gateways
                .push(igd::ask(line, &service.kind, place, how)?),
            Err(why) => facts.unread.push((service.kind.clone(), (*why).to_owned())),
        }
    }
    let events = found.services.iter().find_map(|it| it.events.as_ref());
    if let Some(Ok(place)) = events {
        facts.events.push(events::ask(line, place, how)?);
    }
    facts.devices.push(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_itself_is_a_place_to_go_to() {
        let host: SocketAddr = "192.0.2.7:1900".parse().expect("an address");
        let read = |url: &str| Place::read(url, host).map(|it| it.to_string());
        assert_eq!(
            read("http://192.0.2.7:49152/root.xml").as_deref(),
            Ok("http://192.0.2.7:49152/root.xml")
        );
        assert_eq!(
            read("http://192.0.2.7").as_deref(),
            Ok("http://192.0.2.7:80/")
        );
        for url in [
            "http://192.0.2.8/x",
            "http://192.0.2.7@192.0.2.8/",
            "http://cam.local/x",
            "https://192.0.2.7/",
            "file:///etc/passwd",
            "http://192.0.2.7:99999/",
            "http://192.0.2.7/a b",
            "http://192.0.2.7/a\r\nX: y",
            "http://[::ffff:192.0.2.7]/",
            "",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn references_stay_on_the_host() {
        let host: SocketAddr = "[fe80::1%3]:1900"
            .parse()
            .unwrap_or_else(|_| "[fe80::1]:1900".parse().expect("an address"));
        let place = Place::read("http://[fe80::1]:80/a/root.xml", host).expect("a place");
        let join = |reference: &str| place.join(reference).map(|it| it.path);
        assert_eq!(join("ctl"), Ok("/a/ctl".to_owned()));
        assert_eq!(join("/ctl"), Ok("/ctl".to_owned()));
        assert!(join("http://192.0.2.8/ctl").is_err());
    }
}
