//! A host asked everything, and what it answered.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stockade_profile::{Inward, Profile, Protocol};
use stockade_wire::tls::Version;

pub use crate::credentials::Logins;
use crate::line::{self, Line, Spent};
pub use crate::ports::Ports;
pub use crate::services::udp::{State, UdpFacts};
pub use crate::services::{Kind, Service};
use crate::upnp::{self, UpnpFacts};
use crate::{credentials, dtls, ports, services, tls};

/// How a host is asked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much and how fast.
    pub line: line::Options,
    /// Which ports of TCP.
    pub ports: Ports,
    /// Whether all ciphers of TLS are listed, which takes a connection for each.
    pub ciphers: bool,
    /// Whether the passwords that devices are shipped with are tried.
    pub try_credentials: bool,
    /// Whether a mapping of a port may be added, and taken away again.
    pub active: bool,
    /// An address of this machine on another network than the host's: where an event proves that events go anywhere.
    pub second: Option<IpAddr>,
}

/// A port of TCP that is open.
#[derive(Debug)]
pub struct TcpFacts {
    /// Its number.
    pub port: u16,
    /// What is there, or why that is not known.
    pub service: std::result::Result<Service, String>,
    /// What TLS it accepts, if it speaks it.
    pub tls: Option<tls::Facts>,
    /// What is inside TLS, or why that is not known; none where there is no TLS of today.
    pub inside: Option<std::result::Result<Service, String>>,
    /// What came of trying passwords, if that was asked for and could be.
    pub logins: Option<Logins>,
}

/// What a host answered.
#[derive(Debug)]
pub struct HostFacts {
    /// Its address.
    pub address: IpAddr,
    /// Whether it gave any sign of being there.
    pub answers: bool,
    /// How every port of TCP that was asked stands.
    pub ports: BTreeMap<u16, State>,
    /// The open ones.
    pub tcp: Vec<TcpFacts>,
    /// What was asked over UDP.
    pub udp: Vec<UdpFacts>,
    /// What DTLS it accepts, of the ports that speak it.
    pub dtls: Vec<(u16, tls::Facts)>,
    /// What it answered to `UPnP`, unless only one port was to be asked.
    pub upnp: Option<UpnpFacts>,
    /// Whether passwords were to be tried.
    pub credentials_tried: bool,
    /// What could not be asked or read: where, and why.
    pub unread: Vec<(String, String)>,
    /// What went over the line.
    pub spent: Spent,
}

/// The most hosts of a range that are looked for at once; none of them sees more than it would alone.
const AT_ONCE: usize = 16;

/// Which of these hosts give a sign of being there, in the same order, and what it took.
pub fn present(hosts: &[SocketAddr], options: &Options) -> (Vec<bool>, Spent) {
    let found = Mutex::new((vec![false; hosts.len()], Spent::default()));
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(host) = hosts.get(index) else {
                return;
            };
            let line = Line::new(options.line.clone());
            // Who can not be asked is looked at as if he were there: then it is told why not.
            let there = signs(&line, *host, options).unwrap_or(true);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = found.0.get_mut(index) {
                *place = there;
            }
            found.1 = sum(found.1, line.spent());
        }
    };
    // Who sets a rate means that of the network.
    let workers = if options.line.rate.is_some() {
        1
    } else {
        AT_ONCE
    };
    std::thread::scope(|scope| {
        for _ in 1..workers.min(hosts.len()) {
            scope.spawn(work);
        }
        work();
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn signs(line: &Line, host: SocketAddr, options: &Options) -> Result<bool> {
    if ports::is_there(line, host)? {
        return Ok(true);
    }
    let own = own_address(host, options.line.source)?;
    let udp = services::udp::ask(line, host, options.line.source, own)?;
    Ok(udp.iter().any(|it| it.state != State::Silent))
}

/// What both cost.
pub fn sum(a: Spent, b: Spent) -> Spent {
    Spent {
        connections: a.connections.saturating_add(b.connections),
        segments: a.segments.saturating_add(b.segments),
        datagrams: a.datagrams.saturating_add(b.datagrams),
        bytes: a.bytes.saturating_add(b.bytes),
    }
}

/// Asks a host. `only` is the one port to ask, if there is one.
pub fn probe(
    host: SocketAddr,
    only: Option<u16>,
    options: &Options,
    profile: Option<&Profile>,
    progress: &dyn Fn(&str),
) -> Result<HostFacts> {
    let line = Line::new(options.line.clone());
    let own = own_address(host, options.line.source)?;
    let mut facts = HostFacts {
        address: host.ip(),
        answers: false,
        ports: BTreeMap::new(),
        tcp: Vec::new(),
        udp: Vec::new(),
        dtls: Vec::new(),
        upnp: None,
        credentials_tried: options.try_credentials,
        unread: Vec::new(),
        spent: Spent::default(),
    };
    let wanted = match only {
        Some(port) => vec![port],
        None => options.ports.list(allowed(profile, Protocol::Tcp)),
    };
    if only.is_none() {
        progress(&format!(
            "{}: asking {} services over UDP",
            host.ip(),
            services::udp::ports().len()
        ));
        facts.udp = udp(&line, host, options, own, &mut facts.unread)?;
        facts.answers = facts.udp.iter().any(|it| it.state != State::Silent);
    }
    if let Some(port) = only.filter(|port| services::is_usually_tls(*port)) {
        let mut to = host;
        to.set_port(port);
        // No connection is spent on finding out that it is open.
        if let Some(found) = over_tls(&line, to, options, false) {
            facts.answers = true;
            facts.ports.insert(port, State::Open);
            facts.tcp.push(found);
            facts.spent = line.spent();
            return Ok(facts);
        }
    }
    progress(&format!(
        "{}: asking {} ports of TCP",
        host.ip(),
        wanted.len()
    ));
    open_ports(&line, host, &wanted, options, &mut facts, progress)?;
    if only.is_none() {
        over_dtls(&line, host, profile, &mut facts);
        progress(&format!("{}: asking about UPnP", host.ip()));
        about_upnp(&line, host, own, options, &mut facts);
    }
    facts.spent = line.spent();
    Ok(facts)
}

/// Finds the open ports, and what is there.
fn open_ports(
    line: &Line,
    host: SocketAddr,
    wanted: &[u16],
    options: &Options,
    facts: &mut HostFacts,
    progress: &dyn Fn(&str),
) -> Result<()> {
    facts.ports = ports::scan(line, host, wanted, options.line.max_connections)?;
    facts.answers |= facts.ports.values().any(|it| *it != State::Silent);
    if let ([port], Some(state)) = (wanted, facts.ports.values().next())
        && *state != State::Open
    {
        // Who names one port wants to know about it; that nothing is there is no pass.
        let place = format!("tcp {}", SocketAddr::new(host.ip(), *port));
        facts.unread.push((place, state.as_str().to_owned()));
    }
    if facts.ports.len() < wanted.len() {
        let left = wanted.len().saturating_sub(facts.ports.len());
        let why = format!("the time was over: {left} ports were not asked");
        facts.unread.push((host.ip().to_string(), why));
    }
    let open = facts.ports.iter();
    let open = open.filter(|(_, state)| **state == State::Open);
    for port in open.map(|(port, _)| *port).collect::<Vec<_>>() {
        let mut to = host;
        to.set_port(port);
        let found = tcp(line, to, options);
        if let Ok(service) = &found.service {
            progress(&format!("{to}: {} {}", service.kind, service.says));
        }
        facts.tcp.push(found);
    }
    Ok(())
}

fn about_upnp(
    line: &Line,
    host: SocketAddr,
    own: IpAddr,
    options: &Options,
    facts: &mut HostFacts,
) {
    let how = upnp::How {
        own,
        second: options.second,
        active: options.active,
    };
    let mut maps = facts.udp.iter_mut();
    let maps = maps.find(|it| it.kind == Kind::NatPmp && it.state == State::Open);
    if let Some(maps) = maps.filter(|_| options.active) {
        // No answer is neither a yes nor a no.
        maps.open = services::udp::map(line, host, options.line.source).unwrap_or_default();
    }
    match upnp::ask(line, host, options.line.source, how) {
        Ok(upnp) => {
            facts.unread.extend(upnp.unread.iter().cloned());
            facts.answers |= !upnp.replies.is_empty();
            facts.upnp = Some(upnp);
        }
        Err(why) => {
            let place = format!("UPnP of {}", host.ip());
            facts.unread.push((place, why.to_string()));
            facts.upnp = Some(UpnpFacts::default());
        }
    }
}

fn udp(
    line: &Line,
    host: SocketAddr,
    options: &Options,
    own: IpAddr,
    unread: &mut Vec<(String, String)>,
) -> Result<Vec<UdpFacts>> {
    match services::udp::ask(line, host, options.line.source, own) {
        Ok(facts) => Ok(facts),
        Err(why) if why.kind() == ErrorKind::TimedOut => {
            unread.push((format!("UDP of {}", host.ip()), why.to_string()));
            Ok(Vec::new())
        }
        Err(why) => Err(why),
    }
}

fn tcp(line: &Line, to: SocketAddr, options: &Options) -> TcpFacts {
    if services::is_usually_tls(to.port())
        && let Some(facts) = over_tls(line, to, options, false)
    {
        return facts;
    }
    let mut facts = TcpFacts {
        port: to.port(),
        service: services::identify(line, to).map_err(|why| why.to_string()),
        tls: None,
        inside: None,
        logins: None,
    };
    let Ok(service) = &mut facts.service else {
        return facts;
    };
    if service.kind == Kind::Tls {
        return over_tls(line, to, options, true).unwrap_or(facts);
    }
    if options.try_credentials {
        facts.logins = logins(line, to, service, false);
    }
    facts
}

fn logins(line: &Line, to: SocketAddr, service: &mut Service, inside: bool) -> Option<Logins> {
    credentials::try_all(line, to, service, inside).unwrap_or_else(|_| {
        Some(Logins {
            stopped: Some("the time was over, or it closed"),
            ..Logins::default()
        })
    })
}

/// What TLS a port accepts; none if it is not `certain` that it speaks it, and its answers are no TLS.
fn over_tls(line: &Line, to: SocketAddr, options: &Options, certain: bool) -> Option<TcpFacts> {
    let what = tls::What {
        name: line.name(),
        ciphers: options.ciphers,
    };
    let tls = tls::probe(line, to, &what);
    if !certain && (tls.plain().is_some() || !speaks(&tls)) {
        return None;
    }
    let offered: Vec<String> = tls.offered().map(|it| it.to_string()).collect();
    let mut says = offered.join(", ");
    let today = tls.offered().any(|it| it >= Version::Tls12);
    let asked = || services::inside::inside(line, to).map_err(|why| why.to_string());
    let mut inside = today.then(asked);
    let mut tried = None;
    if let Some(Ok(service)) = &mut inside {
        says = format!("{says}; inside {}: {}", service.kind, service.says);
        if options.try_credentials {
            tried = logins(line, to, service, true);
        }
    }
    Some(TcpFacts {
        port: to.port(),
        service: Ok(Service::of(Kind::Tls, says)),
        tls: Some(tls),
        inside,
        logins: tried,
    })
}

/// Whether an answer was one of TLS.
fn speaks(tls: &tls::Facts) -> bool {
    let said =
        |it: &tls::Verdict| matches!(it, tls::Verdict::Offered { .. } | tls::Verdict::Refused(_));
    tls.versions.values().any(said)
}

/// `CoAP` over DTLS (RFC 7252 §12.7).
const COAPS: u16 = 5684;
/// The most further ports of a profile that are asked for DTLS, for silence takes its time.
const MOST_DTLS: usize = 8;

/// Who answers in DTLS, of those that nothing else is asked of.
fn over_dtls(line: &Line, host: SocketAddr, profile: Option<&Profile>, facts: &mut HostFacts) {
    let others = services::udp::ports();
    let further = allowed(profile, Protocol::Udp).filter(|it| !others.contains(it) && *it != COAPS);
    for port in std::iter::once(COAPS).chain(further.take(MOST_DTLS)) {
        let mut to = host;
        to.set_port(port);
        let found = dtls::probe(line, to, line.name());
        if !speaks(&found) {
            continue;
        }
        let offered: Vec<String> = found.offered().map(|it| it.to_string()).collect();
        facts.answers = true;
        facts.udp.push(UdpFacts {
            port,
            kind: Kind::Tls,
            state: State::Open,
            says: offered.join(", "),
            open: None,
            sent: 0,
            received: 0,
        });
        facts.dtls.push((port, found));
    }
}

/// The ports of a profile that others may open, one by one; a wide range is not walked.
pub(crate) fn allowed(profile: Option<&Profile>, protocol: Protocol) -> impl Iterator<Item = u16> {
    let rules = profile.into_iter().flat_map(|it| &it.firewall.inward);
    let ports = rules.filter_map(move |rule| {
        (rule.traffic.protocol == protocol).then_some(rule.traffic.port)?
    });
    ports
        .filter(|it| it.last().saturating_sub(it.first()) < 256)
        .flat_map(|it| it.first()..=it.last())
}

/// The rule of a profile that lets others open a port.
pub(crate) fn let_in(profile: &Profile, protocol: Protocol, port: u16) -> Option<&Inward> {
    profile.firewall.inward.iter().find(|rule| {
        let traffic = &rule.traffic;
        (traffic.protocol == protocol || traffic.protocol == Protocol::Any)
            && traffic.port.is_none_or(|ports| ports.contains(port))
    })
}

/// The address of this machine that a host sees: the kernel is asked, and nothing is sent.
fn own_address(host: SocketAddr, source: Option<IpAddr>) -> Result<IpAddr> {
    if let Some(source) = source
        && source.is_ipv4() == host.is_ipv4()
    {
        return Ok(source);
    }
    let any = if host.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    let mut to = host;
    to.set_port(9);
    socket.connect(to).map_err(|why| {
        Error::new(
            why.kind(),
            format!("there is no way to {}: {why}", host.ip()),
        )
    })?;
    Ok(socket.local_addr()?.ip())
}
