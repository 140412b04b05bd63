//! One connection: reads packets into the core, writes what its outbox may let go.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use stockade_mqtt::{Connect, Frame, Kind, Limits, Packet, ReasonCode, Sender, Version, frame};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::accept::refuse;
use crate::broker::{Arrival, Broker, Closing, Flow, Handle, Outbox, Output, put_connack_error};
use crate::policy::Policy;
use crate::tls::{PeerIdentity, Refused, Stream, Why};

/// How much is read before it is handed to the core.
const READ: usize = 32 * 1024;
/// How long a client may take between its handshake and its CONNECT.
const CONNECT_IN: Duration = Duration::from_secs(10);
/// How long a client may take to read our last bytes.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// How long an aborted connection may take for its last packet before it is cut.
const CUT: Duration = Duration::from_millis(200);
/// How long a displaced connection is listened to for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How long a sender waits while a receiver's queue is filling.
const CONGESTED: Duration = Duration::from_millis(5);
/// How long a sender waits for the journal's buffer.
const STALLED: Duration = Duration::from_millis(2);
/// Bytes waiting for a client beyond which nothing more is read from it.
const UNREAD: usize = 2 * 1024 * 1024;
/// How often a device that speaks is noted in the registry, in milliseconds.
const SEEN: u64 = 10_000;

thread_local! {
    /// One read buffer a thread, not one a connection: at rest a connection has none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Serves a connection until it ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: Stream,
    identity: PeerIdentity,
    peer: SocketAddr,
) {
    let conn = shared.next_conn.fetch_add(1, Ordering::Relaxed);
    let mut connection = Connection {
        shared,
        stream,
        outbox: Arc::default(),
        identity,
        peer,
        conn,
        handle: None,
        partial: Vec::new(),
        writing: Vec::new(),
        written: 0,
        unflushed: false,
        pause: None,
        deadline: None,
        seen_until: 0,
    };
    let ended = connection.serve().await;
    connection.outbox.detach();
    if let Some(handle) = connection.handle {
        connection
            .shared
            .turn(|broker, out| broker.handle_lost(handle, out));
    }
    if let Ok(closing) = ended {
        connection.farewell(closing).await;
    }
}

struct Connection {
    shared: Arc<Shared>,
    stream: Stream,
    outbox: Arc<Outbox>,
    identity: PeerIdentity,
    peer: SocketAddr,
    conn: u64,
    handle: Option<Handle>,
    /// A packet of which bytes are missing, or packets that must be handed in again.
    partial: Vec<u8>,
    /// Taken from the outbox, not yet written.
    writing: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Nothing is read until then.
    pause: Option<Pin<Box<Sleep>>>,
    /// The connection is to end, at the latest then.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The registry knows of it until then.
    seen_until: u64,
}

/// How a packet loop went.
enum Fed {
    /// All that was whole is taken.
    All,
    /// The rest must be handed in again, after a while.
    Again,
}

impl Connection {
    /// Until the connection ends: with how the core wants it closed, or the error of the transport.
    async fn serve(&mut self) -> io::Result<Closing> {
        let connected = tokio::time::timeout(CONNECT_IN, poll_fn(|cx| self.poll(cx, true))).await;
        match connected {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(closing))) => return Ok(closing),
            Ok(Err(error)) => return Err(error),
            Err(_late) => {
                refuse(
                    &self.shared,
                    self.peer,
                    &Refused {
                        why: Why::NoConnect,
                        claims: Some(self.identity.name.clone()),
                    },
                );
                return Ok(Closing::Abort);
            }
        }
        let ended = poll_fn(|cx| self.poll(cx, false)).await?;
        Ok(ended.unwrap_or(Closing::Orderly))
    }

    /// Writes what may be written, reads what is there; ready when the connection is to end, or, if
    /// asked for, once the client is connected.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        until_connected: bool,
    ) -> Poll<io::Result<Option<Closing>>> {
        loop {
            match self.poll_write(cx) {
                Poll::Ready(Ok(Some(closing))) => return Poll::Ready(Ok(Some(closing))),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // The reader is slow. Only an abort does not wait for it.
                    match self.outbox.closing() {
                        None => {}
                        Some(Closing::Orderly) => self.set_deadline(),
                        Some(closing) => return Poll::Ready(Ok(Some(closing))),
                    }
                }
            }
            if let Some(deadline) = &mut self.deadline {
                ready!(deadline.as_mut().poll(cx));
                return Poll::Ready(Ok(Some(Closing::Abort)));
            }
            if until_connected && self.handle.is_some() {
                return Poll::Ready(Ok(None));
            }
            if self.outbox.pending() > UNREAD {
                // It does not read its answers, or the disk is behind: it is not read from either.
                return Poll::Pending;
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
                if !self.partial.is_empty() {
                    let data = std::mem::take(&mut self.partial);
                    self.feed(&data);
                    continue;
                }
            }
            ready!(self.poll_read(cx))?;
        }
    }

    fn set_deadline(&mut self) {
        self.deadline
            .get_or_insert_with(|| Box::pin(sleep(LAST_BYTES)));
    }

    /// Writes what the outbox lets go. Ready with nothing when all of that is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Closing>>> {
        loop {
            while let Some(rest) = self
                .writing
                .get(self.written..)
                .filter(|rest| !rest.is_empty())
            {
                let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += n;
                self.unflushed = true;
            }
            self.shared
                .counters
                .bytes_out
                .fetch_add(self.written as u64, Ordering::Relaxed);
            self.writing.clear();
            self.written = 0;
            let durable = self.shared.durable.load(Ordering::Acquire);
            let taken = self.outbox.take(durable, &mut self.writing, cx.waker());
            if let Some(seq) = taken.park {
                self.shared.park(Arc::clone(&self.outbox), seq);
                // It may have been reached meanwhile, before there was a waker to wake.
                if self.shared.durable.load(Ordering::Acquire) >= seq {
                    cx.waker().wake_by_ref();
                }
            }
            if !self.writing.is_empty() {
                continue;
            }
            self.writing = Vec::new();
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            return Poll::Ready(Ok(taken.closing));
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            let mut waiting = false;
            while buf.remaining() > READ / 4 && !waiting {
                let before = buf.filled().len();
                match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) if buf.filled().len() == before => {
                        if before == 0 {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                        waiting = true;
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) if buf.filled().is_empty() => {
                        return Poll::Ready(Err(error));
                    }
                    // What was read before the end is still handed in; the end comes again.
                    Poll::Ready(Err(_)) | Poll::Pending => waiting = true,
                }
            }
            if buf.filled().is_empty() {
                return Poll::Pending;
            }
            self.shared
                .counters
                .bytes_in
                .fetch_add(buf.filled().len() as u64, Ordering::Relaxed);
            if self.partial.is_empty() {
                self.feed(buf.filled());
            } else {
                let mut data = std::mem::take(&mut self.partial);
                data.extend_from_slice(buf.filled());
                self.feed(&data);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Hands the packets in `data` to the core, and keeps what is left over.
    fn feed(&mut self, data: &[u8]) {
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        let mut out = Output::at(now);
        let fed = {
            let mut broker = shared.broker.lock().unwrap_or_else(PoisonError::into_inner);
            self.feed_all(data, &mut broker, &mut out)
            // The lock ends here: nobody is woken into it.
        };
        // What is new for this connection is written next, without waking anybody.
        out.dirty
            .retain(|outbox| !Arc::ptr_eq(outbox, &self.outbox));
        match fed {
            Fed::All if out.congested => self.pause = Some(Box::pin(sleep(CONGESTED))),
            Fed::All => {}
            Fed::Again => self.pause = Some(Box::pin(sleep(STALLED))),
        }
        shared.settle(out);
        if self.handle.is_some() && now.mono >= self.seen_until {
            self.seen_until = now.mono + SEEN;
            let around = &shared.around;
            around
                .registry
                .seen(&self.identity.name.id, around.clock.now(), self.peer);
        }
    }

    fn feed_all(&mut self, data: &[u8], broker: &mut Broker, out: &mut Output) -> Fed {
        if let Some(handle) = self.handle {
            broker.handle_heard(handle, out);
        }
        let limits = Limits {
            max_packet: usize::try_from(broker.limits().max_packet).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        let mut rest = data;
        let (fed, left) = loop {
            let whole = match frame(rest, limits) {
                Ok(Some(whole)) => whole,
                Ok(None) => break (Fed::All, rest),
                Err(error) => {
                    self.broken(&error, broker, out);
                    break (Fed::All, &[][..]);
                }
            };
            let after = rest.get(whole.len()..).unwrap_or_default();
            let version = self.handle.map_or(Version::V5, Handle::version);
            let flow = match (self.handle, whole.decode(version, Sender::Client)) {
                (Some(handle), Ok(packet)) => broker.handle_packet(handle, &packet, out),
                (None, Ok(Packet::Connect(connect))) => self.connect(&connect, broker, out),
                (None, Ok(_)) => {
                    // [MQTT-3.1.0-1]
                    self.outbox.close(Closing::Abort, |_| ());
                    Flow::Close
                }
                (None, Err(error)) if whole.kind() == Kind::Connect => {
                    let (id, peer) = (&self.identity.name.id, self.peer);
                    broker.handle_malformed_connect(id, peer, &error, out);
                    self.refuse_connect(&whole, error.reason);
                    Flow::Close
                }
                (_, Err(error)) => {
                    self.broken(&error, broker, out);
                    Flow::Close
                }
            };
            match flow {
                Flow::Continue => rest = after,
                Flow::Close => {
                    // What cannot go on must end, even where the core did not say how.
                    if self.outbox.closing().is_none() {
                        self.outbox.close(Closing::Abort, |_| ());
                    }
                    break (Fed::All, &[][..]);
                }
                Flow::Retry => break (Fed::Again, rest),
            }
        };
        self.partial = left.to_vec();
        fed
    }

    /// Answers a CONNECT that cannot be taken, in the version asked for. 3.1.1 has return codes for
    /// a level and an identifier; anything else is closed without a word [MQTT-3.1.4-1].
    fn refuse_connect(&self, packet: &Frame<'_>, reason: ReasonCode) {
        let answered = matches!(
            reason,
            ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
        );
        let version = match packet.connect_level() {
            Some((_, 5..)) => Some(Version::V5),
            Some(_) if answered => Some(Version::V311),
            _ => None,
        };
        self.outbox.close(Closing::Orderly, |bytes| {
            if let Some(version) = version {
                put_connack_error(version, reason, bytes);
            }
        });
    }

    /// A packet that is none: the core answers on a session, before that the connection just ends.
    fn broken(
        &mut self,
        error: &stockade_mqtt::DecodeError,
        broker: &mut Broker,
        out: &mut Output,
    ) {
        if let Some(handle) = self.handle {
            broker.handle_malformed(handle, error, out);
        } else {
            broker.handle_malformed_connect(&self.identity.name.id, self.peer, error, out);
            self.outbox.close(Closing::Abort, |_| ());
        }
    }

    /// Asks the registry, under the core's lock: a change of the registry is either seen here or
    /// applied to the new session afterwards.
    fn connect(&mut self, packet: &Connect<'_>, broker: &mut Broker, out: &mut Output) -> Flow {
        let around = &self.shared.around;
        let now = around.clock.now();
        let identity = &self.identity;
        let why = match around
            .registry
            .admit(&identity.name, &identity.fingerprint, now)
        {
            Ok(admission) if admission.permits_tls(identity.version) => {
                let arrival = Arrival {
                    way: crate::broker::Way::Tls,
                    policy: Policy::compile(
                        &admission.profile,
                        &identity.name,
                        admission.quarantined,
                    ),
                    peer: self.peer,
                    conn: self.conn,
                    fingerprint: identity.fingerprint,
                    certified_until: i64::try_from(
                        admission.not_after.unix_timestamp_nanos() / 1_000_000,
                    )
                    .unwrap_or(i64::MAX),
                };
                self.handle = broker.handle_connect(&arrival, packet, &self.outbox, out);
                return if self.handle.is_some() {
                    Flow::Continue
                } else {
                    Flow::Close
                };
            }
            Ok(_) => Why::Cryptography("TLS 1.2, and its profile asks for TLS 1.3".to_owned()),
            Err(refusal) => Why::NotAdmitted(refusal.to_string()),
        };
        self.shared
            .counters
            .refused_identity
            .fetch_add(1, Ordering::Relaxed);
        let refused = Refused {
            why,
            claims: Some(identity.name.clone()),
        };
        refuse(&self.shared, self.peer, &refused);
        self.outbox.close(Closing::Orderly, |bytes| {
            put_connack_error(packet.version, ReasonCode::NotAuthorized, bytes);
        });
        Flow::Close
    }

    /// Ends the connection as the core wants it: in good order, or so that nothing more leaves.
    async fn farewell(&mut self, closing: Closing) {
        let all_written = self.written >= self.writing.len() && !self.unflushed;
        let time = match closing {
            Closing::Orderly => LAST_BYTES,
            Closing::Abort | Closing::Displaced => CUT,
        };
        if all_written {
            let alive = tokio::time::timeout(
                if closing == Closing::Displaced {
                    SIGN_OF_LIFE
                } else {
                    time
                },
                poll_fn(|cx| self.poll_goodbye(cx)),
            )
            .await;
            if closing == Closing::Displaced && matches!(alive, Ok(true)) {
                let id = &self.identity.name.id;
                self.shared
                    .turn(|broker, out| broker.handle_displaced_alive(id, self.peer, out));
            }
            if alive.is_ok() {
                return;
            }
        }
        // What the kernel still holds is thrown away with the connection (SO_LINGER 0).
        let tcp = self.stream.get_ref().0.tcp();
        let _best_effort = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// Says goodbye and waits for the peer's; ready with whether the peer answered.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let said = Pin::new(&mut self.stream).poll_shutdown(cx);
        if let Poll::Ready(Err(_)) = said {
            return Poll::Ready(false);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                // Data or the end of it: somebody is there.
                Ok(()) => Poll::Ready(true),
                Err(error) => Poll::Ready(error.kind() == io::ErrorKind::UnexpectedEof),
            }
        })
    }
}
