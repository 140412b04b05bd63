//! Asking a resolver: a fresh port and a random id for each question, TCP where a datagram does not do.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use socket2::{Domain, Socket, Type};
use stockade_controls::firewall::names::{Answer, Question, Unusable};
use stockade_profile::HostName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::{Event, Forwarder, Inner, lock};
use crate::chain;
use crate::netlink::flows::{Ends, Tuple};

/// Larger than what we offer to receive, so that a resolver that ignores the offer is still understood.
const DATAGRAM: usize = 4_096;
/// After so many answers to somebody else's question, the datagrams are left alone.
const MOST_FORGED: usize = 8;
/// How often every resolver is asked.
const ROUNDS: usize = 2;

/// A socket towards a resolver, with the mark that lets it through the firewall.
pub(super) fn socket(to: SocketAddr, kind: Type, mark: Option<u32>) -> io::Result<Socket> {
    let kind = kind.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    Ok(socket)
}

/// A question on its way, which meets no trace of others in the kernel's table of flows and leaves none of its own.
///
/// A flow stays there for a while after its end. If the port was a client's before, our packet would go the way of the client's
/// question: to ourselves. If it is a client's after us, its question would go our way: to the resolver, past the firewall.
struct Asking<'a> {
    inner: &'a Inner,
    name: &'a HostName,
    resolver: SocketAddr,
    socket: UdpSocket,
}

impl<'a> Asking<'a> {
    fn new(
        inner: &'a Inner,
        name: &'a HostName,
        resolver: SocketAddr,
        socket: Socket,
    ) -> io::Result<Self> {
        let asking = Self {
            inner,
            name,
            resolver,
            socket: UdpSocket::from_std(socket.into())?,
        };
        asking.cut();
        Ok(asking)
    }

    /// While the socket is open, nobody else on this machine has its port.
    fn cut(&self) {
        let (Some(flows), Ok(here)) = (&self.inner.flows, self.socket.local_addr()) else {
            return;
        };
        let original = Tuple {
            source: here.ip(),
            destination: self.resolver.ip(),
            protocol: 17,
            ends: Ends::Ports {
                source: here.port(),
                destination: self.resolver.port(),
            },
        };
        if let Err(error) = lock(flows).cut_between(&original) {
            let why = format!("the way to the resolver stays open: {}", chain(&error));
            let name = self.name.clone();
            (self.inner.tell)(Event::NotAdmitted { name, why });
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Why one resolver gave no answer.
enum Failed {
    Io,
    Unusable(Unusable),
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl Forwarder {
    /// The first usable answer of any resolver, within the time that a client has.
    pub(super) async fn fetch(&self, question: &Question) -> Option<Answer> {
        let settings = &self.inner.settings;
        let asking = async {
            let first = self.inner.preferred.load(Ordering::Relaxed);
            let count = settings.upstreams.len();
            for turn in 0..count * ROUNDS {
                let index = (first + turn) % count;
                let Some(resolver) = settings.upstreams.get(index) else {
                    continue;
                };
                if let Ok(answer) = self.ask(*resolver, question).await {
                    self.inner.preferred.store(index, Ordering::Relaxed);
                    return Some(answer);
                }
            }
            None
        };
        timeout(settings.total, asking).await.ok().flatten()
    }

    async fn ask(&self, resolver: SocketAddr, question: &Question) -> Result<Answer, Failed> {
        let patience = self.inner.settings.patience;
        let datagram = timeout(patience, self.ask_by_datagram(resolver, question));
        match datagram.await.map_err(|_| Failed::Io)? {
            Err(Failed::Unusable(Unusable::Truncated | Unusable::NotOurs)) => {
                let stream = timeout(patience, self.ask_by_stream(resolver, question));
                stream.await.map_err(|_| Failed::Io)?
            }
            done => done,
        }
    }

    async fn ask_by_datagram(
        &self,
        resolver: SocketAddr,
        question: &Question,
    ) -> Result<Answer, Failed> {
        let id = random_id()?;
        let socket = socket(resolver, Type::DGRAM, self.inner.settings.mark)?;
        // Connected: the kernel chooses a random port (RFC 5452 §9.2), drops what comes from elsewhere and tells of refusals.
        socket.connect(&resolver.into())?;
        let asking = Asking::new(&self.inner, question.name(), resolver, socket)?;
        asking.socket.send(&question.upstream(id)).await?;
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..MOST_FORGED {
            let length = asking.socket.recv(&mut buffer).await?;
            match question.read(id, buffer.get(..length).unwrap_or_default()) {
                // RFC 5452 §9.1: what does not match is not even looked at; the right one may still come.
                Err(Unusable::NotOurs) => (),
                Err(unusable) => return Err(Failed::Unusable(unusable)),
                Ok(answer) => return Ok(answer),
            }
        }
        self.tell_all(Event::Forged {
            name: question.name().clone(),
            resolver,
        });
        // RFC 5452 §9.3: a stream can not be guessed into.
        Err(Failed::Unusable(Unusable::NotOurs))
    }

    async fn ask_by_stream(
        &self,
        resolver: SocketAddr,
        question: &Question,
    ) -> Result<Answer, Failed> {
        let id = random_id()?;
        let socket = socket(resolver, Type::STREAM, self.inner.settings.mark)?;
        let mut stream = TcpSocket::from_std_stream(socket.into())
            .connect(resolver)
            .await?;
        let message = question.upstream(id);
        // RFC 7766 §8: length and message in one piece.
        let mut framed = u16::try_from(message.len())
            .map_err(|_| Failed::Io)?
            .to_be_bytes()
            .to_vec();
        framed.extend_from_slice(&message);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        question.read(id, &answer).map_err(Failed::Unusable)
    }
}

/// From the kernel: nobody off the path may guess it (RFC 5452 §9.2).
fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}
