//! Services over UDP: each question goes to the port where its protocol lives, for there is nothing to connect to.

use std::io::{ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};

use super::{Kind, datagram};
use crate::discovery;
use crate::line::{Datagrams, Line};

/// How long answers are waited for after all questions of a round are sent.
const ROUND: Duration = Duration::from_millis(900);

/// How a port stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It answers.
    Open,
    /// The host says that nothing is there.
    Closed,
    /// Nobody says anything: nothing is there, or something is in between.
    Silent,
}

impl State {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Silent => "no answer",
        }
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpFacts {
    /// The port.
    pub port: u16,
    /// What was asked for.
    pub kind: Kind,
    /// How it stands.
    pub state: State,
    /// What it says.
    pub says: String,
    /// Whether it lets anybody in, of those that could ask who it is.
    pub open: Option<bool>,
    /// Bytes that were sent to it and that came back.
    pub sent: usize,
    /// Bytes that came back.
    pub received: usize,
}

/// What an answer says, and whether it lets anybody in; none if it is no answer of this protocol.
type Understand = fn(&[u8]) -> Option<(String, Option<bool>)>;

struct Question {
    port: u16,
    kind: Kind,
    bytes: Vec<u8>,
    understand: Understand,
}

fn questions(own: IpAddr) -> Vec<Question> {
    let ask = |port, kind, bytes: Vec<u8>, understand: Understand| Question {
        port,
        kind,
        bytes,
        understand,
    };
    let dns: Understand = |bytes| {
        let (recursion, _) = datagram::dns(bytes)?;
        let says = if recursion {
            "asks others for us"
        } else {
            "does not ask others"
        };
        Some((says.to_owned(), Some(recursion)))
    };
    let snmp: Understand = |bytes| datagram::snmp(bytes).map(|it| (it, Some(true)));
    let nat: Understand = |bytes| datagram::nat_pmp(bytes).map(|it| (it, None));
    let mut all = vec![
        ask(69, Kind::Tftp, datagram::TFTP.to_vec(), |bytes| {
            datagram::tftp(bytes).map(|it| (it, Some(true)))
        }),
        ask(123, Kind::Ntp, datagram::ntp(), |bytes| {
            datagram::ntp_time(bytes).map(|it| (format!("stratum {it}"), None))
        }),
        ask(123, Kind::Ntp, datagram::NTP_CONTROL.to_vec(), |bytes| {
            let says = datagram::ntp_variables(bytes)?;
            Some((format!("tells strangers: {says}"), Some(true)))
        }),
        ask(161, Kind::Snmp, datagram::snmp_get(1), snmp),
        ask(161, Kind::Snmp, datagram::snmp_get(0), snmp),
        ask(3702, Kind::WsDiscovery, discovery::wsd_probe(), |bytes| {
            discovery::wsd(bytes).map(|it| (it, None))
        }),
        ask(5351, Kind::NatPmp, datagram::NAT_PMP.to_vec(), nat),
        ask(5351, Kind::NatPmp, datagram::pcp_announce(own), nat),
        ask(5683, Kind::Coap, datagram::COAP.to_vec(), |bytes| {
            let (code, links) = datagram::coap(bytes)?;
            let open = code.starts_with("2.").then_some(true);
            Some((format!("{code} {links}").trim_end().to_owned(), open))
        }),
    ];
    let queries = datagram::dns_queries().into_iter().flatten();
    all.extend(queries.map(|query| ask(53, Kind::Dns, query, dns)));
    if let Some(query) = discovery::mdns_query() {
        all.push(ask(5353, Kind::Mdns, query, |bytes| {
            discovery::mdns(bytes).map(|it| (it, None))
        }));
    }
    all.sort_by_key(|it| it.port);
    all
}

/// The ports that are asked.
pub(crate) fn ports() -> Vec<u16> {
    let all = questions(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut ports: Vec<u16> = all.into_iter().map(|it| it.port).collect();
    ports.dedup();
    ports
}

/// A socket from which a host is asked, which hears when the host says that nothing is there.
pub(crate) fn socket(to: IpAddr, source: Option<IpAddr>) -> Result<UdpSocket> {
    let any = match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let own = source.filter(|it| it.is_ipv4() == to.is_ipv4());
    let socket = UdpSocket::bind((own.unwrap_or(any), 0))?;
    match to {
        IpAddr::V4(_) => setsockopt(&socket, Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, Ipv6RecvErr, &true)?,
    }
    Ok(socket)
}

/// Asks a host everything that can be asked over UDP: all at once, and what is not answered a second time.
pub(crate) fn ask(
    line: &Line,
    host: SocketAddr,
    source: Option<IpAddr>,
    own: IpAddr,
) -> Result<Vec<UdpFacts>> {
    let questions = questions(own);
    let mut facts: Vec<UdpFacts> = Vec::new();
    let mut sockets: Vec<Datagrams<'_>> = Vec::new();
    for question in &questions {
        sockets.push(line.datagrams(socket(host.ip(), source)?));
        facts.push(UdpFacts {
            port: question.port,
            kind: question.kind,
            state: State::Silent,
            says: String::new(),
            open: None,
            sent: 0,
            received: 0,
        });
    }
    for _ in 0..2 {
        for ((question, socket), fact) in questions.iter().zip(&sockets).zip(&mut facts) {
            if fact.state != State::Silent {
                continue;
            }
            let mut to = host;
            to.set_port(question.port);
            match socket.send(&question.bytes, to) {
                Ok(()) => fact.sent = fact.sent.saturating_add(question.bytes.len()),
                Err(why) => refused(fact, &why)?,
            }
        }
        let until = Instant::now().checked_add(ROUND);
        for ((question, socket), fact) in questions.iter().zip(&sockets).zip(&mut facts) {
            hear(question, socket, fact, host.ip(), until)?;
        }
    }
    // A port is told once: by what answered, or else as closed rather than silent.
    facts.sort_by(|a, b| {
        (a.port, a.state, b.open, b.says.len()).cmp(&(b.port, b.state, a.open, a.says.len()))
    });
    facts.dedup_by_key(|it| it.port);
    Ok(facts)
}

/// Whether a gateway maps a port to us by NAT-PMP: for a minute, and taken away again at once.
pub(crate) fn map(line: &Line, host: SocketAddr, source: Option<IpAddr>) -> Result<Option<bool>> {
    const OUTSIDE: u16 = 48_610;
    let socket = line.datagrams(socket(host.ip(), source)?);
    let mut to = host;
    to.set_port(5351);
    let mut mapped = None;
    for seconds in [60, 0] {
        socket.send(&datagram::nat_pmp_map(OUTSIDE, seconds), to)?;
        let answer = socket
            .receive(ROUND)?
            .filter(|(_, from)| from.ip() == host.ip());
        let answer = answer.and_then(|(bytes, _)| datagram::nat_pmp_mapped(&bytes));
        mapped = mapped.or(answer);
    }
    Ok(mapped)
}

fn hear(
    question: &Question,
    socket: &Datagrams<'_>,
    fact: &mut UdpFacts,
    host: IpAddr,
    until: Option<Instant>,
) -> Result<()> {
    // A host that sends without end is heard this often.
    for _ in 0..16 {
        if fact.state != State::Silent {
            return Ok(());
        }
        let left = until.map(|it| it.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(ROUND).max(Duration::from_millis(1));
        match socket.receive(left) {
            Ok(None) => return Ok(()),
            Ok(Some((bytes, from))) if from.ip() == host => {
                fact.received = fact.received.saturating_add(bytes.len());
                if let Some((says, open)) = (question.understand)(&bytes) {
                    (fact.state, fact.says, fact.open) = (State::Open, says, open);
                }
            }
            Ok(Some(_)) => (),
            Err(why) => refused(fact, &why)?,
        }
    }
    Ok(())
}

/// What the kernel says of a datagram that did not arrive (RFC 1122 §4.1.3.3).
fn refused(fact: &mut UdpFacts, why: &std::io::Error) -> Result<()> {
    match why.kind() {
        ErrorKind::ConnectionRefused => fact.state = State::Closed,
        // Somebody on the way says no: it is not the host's word.
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::PermissionDenied => (),
        _ => return Err(std::io::Error::new(why.kind(), why.to_string())),
    }
    Ok(())
}
