//! What is asked: an address, a name, one of them with a port, or a range of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs as _};

/// The most addresses of a range.
pub const MOST: u32 = 1024;

/// Hosts to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Their addresses; the ports of them mean nothing.
    pub hosts: Vec<SocketAddr>,
    /// The only port that is asked, if one was named.
    pub port: Option<u16>,
    /// The name that was given, if it was one.
    pub name: Option<String>,
    /// Further addresses of that name, which are not asked.
    pub further: Vec<IpAddr>,
}

impl Target {
    /// Reads what a person wrote; a name is looked up.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(hosts) = range(text)? {
            return Ok(Self::of(hosts, None));
        }
        if let Some(host) = address(text) {
            return Ok(Self::of(vec![host], None));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse().ok().filter(|it| *it > 0);
                (
                    name,
                    Some(port.ok_or_else(|| format!("`{text}` has no port behind its colon"))?),
                )
            }
            None => (text, None),
        };
        let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Some(host) = address(bare.unwrap_or(name)) {
            return Ok(Self::of(vec![host], port));
        }
        named(name, port)
    }

    fn of(hosts: Vec<SocketAddr>, port: Option<u16>) -> Self {
        Self {
            hosts,
            port,
            name: None,
            further: Vec::new(),
        }
    }
}

fn named(name: &str, port: Option<u16>) -> Result<Target, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(fine) {
        return Err(format!(
            "`{name}` is no address, name or range: `192.0.2.7`, `cam.local:443`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`"
        ));
    }
    let found = (name, 0).to_socket_addrs();
    let mut all: Vec<SocketAddr> = found
        .map_err(|why| format!("`{name}` can not be looked up: {why}"))?
        .collect();
    // Always the same one of several, IPv4 first.
    all.sort();
    all.dedup();
    let mut all = all.into_iter();
    let first = all
        .next()
        .ok_or_else(|| format!("`{name}` has no address"))?;
    Ok(Target {
        hosts: vec![first],
        port,
        name: Some(name.to_owned()),
        further: all.map(|it| it.ip()).collect(),
    })
}

/// An address, with the interface of a link-local one behind `%`.
fn address(text: &str) -> Option<SocketAddr> {
    let (text, scope) = match text.split_once('%') {
        Some((text, scope)) => (text, Some(scope)),
        None => (text, None),
    };
    match (text.parse().ok()?, scope) {
        (IpAddr::V4(address), None) => Some(SocketAddr::from((address, 0))),
        (IpAddr::V6(address), None) => Some(SocketAddr::from((address, 0))),
        (IpAddr::V6(address), Some(scope)) => {
            let number = scope.parse().ok();
            let number = number.or_else(|| nix::net::if_::if_nametoindex(scope).ok())?;
            Some(SocketAddrV6::new(address, 0, 0, number).into())
        }
        (IpAddr::V4(_), Some(_)) => None,
    }
}

/// `192.0.2.0/24`, `192.0.2.1-192.0.2.9` and `192.0.2.1-9`.
fn range(text: &str) -> Result<Option<Vec<SocketAddr>>, String> {
    if let Some((first, length)) = text.split_once('/') {
        let wrong = || format!("`{text}` is no network: `192.0.2.0/24`");
        let address: IpAddr = first.parse().map_err(|_| wrong())?;
        let length: u32 = length.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32_u32 } else { 128 };
        let free = bits.checked_sub(length).ok_or_else(wrong)?;
        let count = 1_u32
            .checked_shl(free)
            .filter(|it| free < 32 && *it <= MOST);
        let count = count.ok_or_else(|| too_many(text))?;
        let mask = u128::MAX.checked_shl(free).unwrap_or_default();
        let start = number(address) & mask;
        // The network's own address and the one of all hosts are nobody's (RFC 919), but in the smallest networks (RFC 3021).
        let ends = address.is_ipv4() && count > 2;
        let all = (0..count).filter(|it| !ends || (*it != 0 && it.checked_add(1) != Some(count)));
        return Ok(Some(listed(address, start, all)));
    }
    let Some((first, last)) = text.split_once('-') else {
        return Ok(None);
    };
    let Ok(first) = first.parse::<IpAddr>() else {
        // A name may have a hyphen.
        return Ok(None);
    };
    let wrong = || format!("`{text}` is no range: `192.0.2.1-192.0.2.9`");
    let last: IpAddr = match (first, last.parse::<u8>()) {
        (IpAddr::V4(first), Ok(last)) => {
            let [a, b, c, _] = first.octets();
            Ipv4Addr::new(a, b, c, last).into()
        }
        _ => last.parse().map_err(|_| wrong())?,
    };
    if first.is_ipv4() != last.is_ipv4() {
        return Err(wrong());
    }
    let beyond = number(last).checked_sub(number(first)).ok_or_else(wrong)?;
    let beyond = u32::try_from(beyond).ok().filter(|it| *it < MOST);
    let beyond = beyond.ok_or_else(|| too_many(text))?;
    Ok(Some(listed(first, number(first), 0..=beyond)))
}

fn too_many(text: &str) -> String {
    format!("`{text}` has more than {MOST} addresses, which are the most at once")
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn listed(like: IpAddr, start: u128, offsets: impl Iterator<Item = u32>) -> Vec<SocketAddr> {
    let one = |offset: u32| {
        let bits = start.checked_add(offset.into())?;
        let address = if like.is_ipv4() {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).ok()?))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        Some(SocketAddr::new(address, 0))
    };
    offsets.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Result<Vec<String>, String> {
        let target = Target::read(text)?;
        Ok(target.hosts.iter().map(|it| it.ip().to_string()).collect())
    }

    #[test]
    fn addresses_ports_and_ranges_are_read() {
        assert_eq!(hosts("192.0.2.7").expect("one"), ["192.0.2.7"]);
        let target = Target::read("[2001:db8::7]:8443").expect("one");
        assert_eq!(target.port, Some(8443));
        assert_eq!(Target::read("192.0.2.7:23").expect("one").port, Some(23));
        assert_eq!(hosts("2001:db8::7").expect("one"), ["2001:db8::7"]);
        assert_eq!(hosts("192.0.2.1-3").expect("three").len(), 3);
        assert_eq!(hosts("192.0.2.254-192.0.3.1").expect("four").len(), 4);
        let net = hosts("192.0.2.77/24").expect("a network");
        assert_eq!((net.len(), net[0].as_str()), (254, "192.0.2.1"));
        assert_eq!(hosts("192.0.2.6/31").expect("two").len(), 2);
        assert_eq!(hosts("192.0.2.7/32").expect("one"), ["192.0.2.7"]);
        assert_eq!(hosts("2001:db8::/120").expect("a network").len(), 256);
    }

    #[test]
    fn what_is_too_large_or_nothing_is_refused() {
        for text in [
            "10.0.0.0/8",
            "2001:db8::/64",
            "10.0.0.1-10.9.0.1",
            "192.0.2.9-192.0.2.1",
            "192.0.2.1-2001:db8::1",
            "192.0.2.0/33",
            "",
            "a b",
            "192.0.2.7:x",
            "192.0.2.7:0",
            "::/0",
        ] {
            assert!(Target::read(text).is_err(), "{text}");
        }
    }
}
