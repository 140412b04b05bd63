//! The doors: datagrams and streams of clients.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdUdp};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use stockade_controls::firewall::names::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::clients::Stream;
use super::{DnsError, Event, Forwarder};

/// The longest question that is read: a name has 255 octets, EDNS options seldom more than a few dozen.
const LONGEST_QUESTION: usize = 1_024;
/// How long a stream may wait for the next question (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// How long one question or reply may take to pass.
const PASSING: Duration = Duration::from_secs(3);
/// Questions on one stream.
const QUESTIONS_A_STREAM: usize = 128;
/// A door that fails so often in a row stays shut.
const FAILURES: u32 = 100;

/// Sockets on which questions come in, each bound to one address: a reply must leave from where the question went.
#[derive(Debug, Default)]
pub struct Doors {
    datagrams: Vec<(SocketAddr, StdUdp)>,
    streams: Vec<(SocketAddr, StdListener)>,
}

impl Doors {
    /// Opens a door for datagrams and one for streams at each address; with port 0, a free one, the same for both.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, DnsError> {
        let mut doors = Self::default();
        for address in addresses {
            let listen = |source| DnsError::Listen {
                address: *address,
                source,
            };
            let (place, datagram, stream) = both(*address).map_err(listen)?;
            doors.datagrams.push((place, datagram));
            doors.streams.push((place, stream));
        }
        Ok(doors)
    }

    /// Where they are.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.datagrams.iter().map(|(address, _)| *address)
    }
}

/// A port that is free for datagrams may be taken for streams: where any will do, others are tried.
fn both(address: SocketAddr) -> io::Result<(SocketAddr, StdUdp, StdListener)> {
    const TRIES: usize = 32;
    let open = || {
        let datagram: StdUdp = bound(address, Type::DGRAM)?.into();
        let place = datagram.local_addr()?;
        let stream = bound(place, Type::STREAM)?;
        stream.listen(64)?;
        Ok((place, datagram, stream.into()))
    };
    let taken = |opened: &io::Result<_>| {
        let error = opened.as_ref().err().map(io::Error::kind);
        address.port() == 0 && error == Some(io::ErrorKind::AddrInUse)
    };
    for _ in 1..TRIES {
        let opened = open();
        if !taken(&opened) {
            return opened;
        }
    }
    open()
}

fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // After a restart, streams of the last run may still be closing.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Forwarder {
    /// Answers whoever comes to the doors; returns only when a door fails. Dropping it shuts them.
    pub async fn serve(&self, doors: Doors) -> Result<(), DnsError> {
        let mut open = JoinSet::new();
        for (address, socket) in doors.datagrams {
            let socket = UdpSocket::from_std(socket);
            let socket = socket.map_err(|source| DnsError::Listen { address, source })?;
            open.spawn(self.clone().datagrams(address, Arc::new(socket)));
        }
        for (address, listener) in doors.streams {
            let listener = TcpListener::from_std(listener);
            let listener = listener.map_err(|source| DnsError::Listen { address, source })?;
            open.spawn(self.clone().streams(address, listener));
        }
        match open.join_next().await {
            None => Ok(()),
            Some(Ok(error)) => Err(error),
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn datagrams(self, address: SocketAddr, socket: Arc<UdpSocket>) -> DnsError {
        let mut patience = Patience::default();
        let mut buffer = vec![0; LONGEST_QUESTION];
        loop {
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(source) => match patience.lose(source).await {
                    None => continue,
                    Some(source) => return DnsError::Receive { address, source },
                },
            };
            patience = Patience::default();
            let client = peer.ip().to_canonical();
            let Some(visit) = self.enter(client) else {
                continue;
            };
            let Ok(place) = Arc::clone(&self.inner.waiting).try_acquire_owned() else {
                self.tell_all(Event::Overload);
                continue;
            };
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            let (forwarder, socket) = (self.clone(), Arc::clone(&socket));
            tokio::spawn(async move {
                let reply = forwarder.answer(client, &bytes, Transport::Udp).await;
                if let Some(reply) = reply {
                    // A client that is gone needs no answer, and one that is there asks again.
                    let _gone = socket.send_to(&reply, peer).await;
                }
                drop((visit, place));
            });
        }
    }

    async fn streams(self, address: SocketAddr, listener: TcpListener) -> DnsError {
        let mut patience = Patience::default();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(source) => match patience.lose(source).await {
                    None => continue,
                    Some(source) => return DnsError::Receive { address, source },
                },
            };
            patience = Patience::default();
            let client = peer.ip().to_canonical();
            let Ok(place) = Arc::clone(&self.inner.streams).try_acquire_owned() else {
                self.tell_all(Event::Overload);
                continue;
            };
            let Some(seat) = Stream::open(&self.inner, client) else {
                self.tell(client, Event::Flood { client });
                continue;
            };
            let forwarder = self.clone();
            tokio::spawn(async move {
                // How a client leaves is its own affair.
                let _ended = forwarder.stream(stream, client).await;
                drop((seat, place));
            });
        }
    }

    async fn stream(&self, mut stream: TcpStream, client: std::net::IpAddr) -> io::Result<()> {
        for _ in 0..QUESTIONS_A_STREAM {
            let length: usize = timeout(IDLE, stream.read_u16()).await??.into();
            if length > LONGEST_QUESTION {
                break;
            }
            let mut bytes = vec![0; length];
            timeout(PASSING, stream.read_exact(&mut bytes)).await??;
            let Some(visit) = self.enter(client) else {
                break;
            };
            let reply = self.answer(client, &bytes, Transport::Tcp).await;
            drop(visit);
            let Some(reply) = reply else {
                break;
            };
            let Ok(length) = u16::try_from(reply.len()) else {
                break;
            };
            // RFC 7766 §8: length and message in one piece.
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&reply);
            timeout(PASSING, stream.write_all(&framed)).await??;
        }
        Ok(())
    }
}

/// How often a door may fail in a row.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits a little after a failure; gives the error back when there were too many.
    async fn lose(&mut self, error: io::Error) -> Option<io::Error> {
        self.failures += 1;
        if self.failures > FAILURES {
            return Some(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        None
    }
}
