//! Ports, hosts, networks, the other end of a rule, and addresses of web services.

mod endpoint;

// `core::net` has the addresses without the sockets.
use core::net::{IpAddr, SocketAddr};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Node, Text, Value, mistyped};
use crate::text::choice;
use crate::units::digits;

pub use endpoint::{ClassUri, Endpoint};

choice! {
    /// A transport protocol with ports.
    Transport: "a transport" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

const PORT_HELP: &str = "a port is a whole number from 1 to 65535";

impl Form for NonZeroU16 {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let Value::Integer(number) = node.value else {
            return Err(mistyped(node, "a whole number", faults));
        };
        port(number).map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        Value::Integer(self.get().into())
    }
}

fn port(number: i64) -> Result<NonZeroU16, Malformed> {
    u16::try_from(number)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| Malformed::new(format!("{number} is not a port")).help(PORT_HELP))
}

/// One port or a range of ports: `443`, `"40000-40010"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

impl PortRange {
    /// Every port; 0 is none (RFC 6335 §6).
    pub const ANY: Self = Self {
        first: NonZeroU16::MIN,
        last: NonZeroU16::MAX,
    };

    /// The ports from one to another, if neither is 0 and they are in order.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let (first, last) = (NonZeroU16::new(first)?, NonZeroU16::new(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first.get()
    }

    /// The highest port; the lowest one if there is but one.
    pub fn last(self) -> u16 {
        self.last.get()
    }

    /// For a sentence: `port 443`, `ports 1-2`.
    pub(crate) fn spoken(self) -> String {
        if self == Self::ANY {
            "any port".to_owned()
        } else if self.first == self.last {
            format!("port {self}")
        } else {
            format!("ports {self}")
        }
    }

    /// Whether a port is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first()..=self.last()).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let wrong = Malformed::new(format!("`{}` is not a port range", quote(text)));
            wrong.help("for example 443 or \"40000-40010\"")
        };
        if text == "any" {
            return Ok(Self::ANY);
        }
        let end = |text: &str| {
            let number = digits(text.trim()).and_then(|number| i64::try_from(number).ok());
            number.ok_or_else(wrong).and_then(port)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (end(first)?, end(last)?);
        if first > last {
            let wrong = Malformed::new("a range goes from the lower to the higher port");
            return Err(wrong.help(format!("\"{last}-{first}\"")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl Form for PortRange {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let range = match &node.value {
            Value::Integer(number) => port(*number).map(|port| Self {
                first: port,
                last: port,
            }),
            Value::Text(text) => text.parse(),
            Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                return Err(mistyped(node, "a port or a range of ports", faults));
            }
        };
        range.map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        if self.first == self.last {
            self.first.write()
        } else {
            Value::Text(self.to_string())
        }
    }
}

/// A fully qualified host name (RFC 1123 §2.1), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::new(format!("`{}` is not a host name", quote(text)));
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(wrong().help("letters, digits and `-`, in parts joined by dots"));
        }
        match name.rsplit_once('.') {
            None => Err(wrong().help("a name needs its domain: `ntp.example.org`")),
            // An address that is none must not pass as a name (RFC 3696 §2).
            Some((_, top)) if top.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(wrong().help("an address has four numbers from 0 to 255"))
            }
            Some(_) => Ok(Self(name.into())),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network: an address whose bits beyond the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this prefix that the address lies in; none if the prefix is too long.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= most).then(|| Self {
            address: masked(address, prefix),
            prefix,
        })
    }

    /// The lowest address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The networks that make up this one without a part of it; nothing if it is all in the other one.
    pub(crate) fn without(self, part: Self) -> Vec<Self> {
        let inside = part.prefix >= self.prefix && self.contains(part.address);
        if !inside {
            let all = part.prefix <= self.prefix && part.contains(self.address);
            return if all { Vec::new() } else { vec![self] };
        }
        let halves = self.prefix.saturating_add(1)..=part.prefix;
        halves
            .filter_map(|prefix| Self::around(flipped(part.address, prefix), prefix))
            .collect()
    }

    /// Whether an address lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// The address with the last of its first `prefix` bits turned over.
fn flipped(address: IpAddr, prefix: u8) -> IpAddr {
    let bit = |bits: u32| bits.saturating_sub(u32::from(prefix));
    match address {
        IpAddr::V4(v4) => {
            let bit = 1_u32.checked_shl(bit(32)).unwrap_or_default();
            IpAddr::V4((v4.to_bits() ^ bit).into())
        }
        IpAddr::V6(v6) => {
            let bit = 1_u128.checked_shl(bit(128)).unwrap_or_default();
            IpAddr::V6((v6.to_bits() ^ bit).into())
        }
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let beyond = |bits: u32| bits.saturating_sub(u32::from(prefix));
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(beyond(32)).unwrap_or_default();
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(beyond(128)).unwrap_or_default();
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let wrong = Malformed::new(format!("`{}` is not a network", quote(text)));
            wrong.help("for example \"192.168.0.0/16\" or \"fd00::/8\"")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = digits(prefix)
            .and_then(|prefix| u8::try_from(prefix).ok())
            .ok_or_else(wrong)?;
        if prefix > most {
            return Err(Malformed::new(format!(
                "a prefix here is at most {most} bits"
            )));
        }
        let network = masked(address, prefix);
        if network != address {
            let wrong = Malformed::new("the address has bits set beyond the prefix");
            return Err(wrong.help(format!("the network is \"{network}/{prefix}\"")));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A socket of the device itself, as `127.0.0.1:8080` or `[::1]:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalSocket(SocketAddr);

impl LocalSocket {
    /// The socket's address; always a loopback address and a port that is not zero.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for LocalSocket {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let example = "for example \"127.0.0.1:8080\" or \"[::1]:8080\"";
        let address: SocketAddr = text.parse().map_err(|_| {
            Malformed::new(format!("`{}` is not an address with a port", quote(text))).help(example)
        })?;
        if !address.ip().is_loopback() {
            let wrong =
                Malformed::new("plain text may not leave the device: this is no loopback address");
            return Err(wrong.help(example));
        }
        if address.port() == 0 {
            return Err(Malformed::new("0 is not a port").help(PORT_HELP));
        }
        // A zone or a flow label would be dropped by the normal form.
        Ok(Self(SocketAddr::new(address.ip(), address.port())))
    }
}

impl fmt::Display for LocalSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for LocalSocket {}

/// The address of a service that speaks HTTPS (RFC 9110 §4.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(Box<str>);

impl HttpsUrl {
    const MAX: usize = 1_024;

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without the port; an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        let rest = self.0.strip_prefix("https://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        let end = match authority.find(']') {
            Some(bracket) => Some(bracket.saturating_add(1)),
            None => authority.find(':'),
        };
        end.and_then(|end| authority.get(..end))
            .unwrap_or(authority)
    }
}

impl FromStr for HttpsUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = |why: &str| Malformed::new(format!("`{}` {why}", quote(text)));
        if let Some(rest) = text.strip_prefix("http://") {
            let wrong = wrong("is not protected on its way");
            return Err(wrong.help(format!("\"https://{}\"", quote(rest))));
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(wrong("is not an https address")
                .help("for example \"https://updates.example.org/model\""));
        };
        // RFC 3986 §2: unreserved, reserved and `%`; a user, a query and a fragment have no meaning here.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]!$&'()*+,;=%".contains(c);
        if text.len() > Self::MAX || !text.chars().all(allowed) {
            return Err(wrong("has characters that an address here can not have")
                .help("no blanks, no `@`, no `?`, no `#`"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        check_authority(authority).map_err(|why| Malformed {
            message: wrong("has no usable host").message,
            ..why
        })?;
        Ok(Self(text.into()))
    }
}

/// RFC 3986 §3.2.2 and §3.2.3: the host, and a port if there is one.
fn check_authority(authority: &str) -> Result<(), Malformed> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']').unwrap_or((inside, "]")),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if authority.starts_with('[') {
        let address: Result<core::net::Ipv6Addr, _> = host.parse();
        address.map_err(|_| Malformed::new("").help("in brackets stands an IPv6 address"))?;
    } else if host.parse::<core::net::Ipv4Addr>().is_err() {
        host.parse::<HostName>()?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let number = rest.strip_prefix(':').and_then(digits);
    port(
        number
            .and_then(|number| i64::try_from(number).ok())
            .unwrap_or_default(),
    )
    .map(drop)
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for HttpsUrl {}
