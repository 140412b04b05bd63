//! Accepting connections: bounded, never stopped by one of them, and never out of file descriptors.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{MqttSettings, Shared, connection};
use crate::broker::Counters;
use crate::events::{Happening, Outcome};
use crate::tls::{Full, Refused, Why, handshake};

/// Connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4_096;
/// Silence after which the kernel probes whether the peer is there.
const PROBED_AFTER: Duration = Duration::from_mins(5);
/// How long to wait when the system has no room for another socket.
const NO_ROOM: Duration = Duration::from_millis(100);
/// How long the same lack is not told again.
const SAY_AGAIN: Duration = Duration::from_secs(10);

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A gateway that starts again must not wait for old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The most connections: what is asked for, or what the limit on open files leaves.
pub(super) fn max_connections(settings: &MqttSettings) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let left = files - settings.reserved_files.min(files / 2);
    let most = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(settings.max_connections);
    tracing::info!(
        open_files = files,
        connections = most,
        "limit on connections"
    );
    most
}

/// A connection that counts as open until it is dropped.
pub(super) struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Option<Self> {
        let open = shared.open.fetch_add(1, Ordering::Relaxed);
        let counted = Self(Arc::clone(shared));
        (open < shared.max_connections).then_some(counted)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
) {
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((tcp, peer)) => welcome(&shared, tcp, peer),
            Err(error) if gone(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= SAY_AGAIN) {
                    told = Some(Instant::now());
                    tell_no_room(&shared, &error);
                }
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

/// The peer was gone before it was accepted: nothing to do (accept(2)).
fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn tell_no_room(shared: &Shared, error: &io::Error) {
    shared.around.events.record(
        shared.around.clock.now(),
        Happening {
            outcome: Outcome::Alarm,
            control: stockade_profile::Control::Comms,
            device: None,
            peer: None,
            reason: format!("cannot accept connections: {error}"),
        },
    );
}

fn welcome(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    count(shared, |c| &c.accepted);
    let (open, permit) = match (Open::new(shared), shared.gate.enter(peer.ip())) {
        (Some(open), Ok(permit)) => (open, permit),
        (None, _) => {
            count(shared, |c| &c.shed);
            refuse(shared, peer, &Why::Full(Full::Files).into());
            return;
        }
        (_, Err(full)) => {
            count(shared, |c| &c.shed);
            refuse(shared, peer, &Why::Full(full).into());
            return;
        }
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // Small packets leave at once; many of them are put together above, in the outbox.
        let _best_effort = tcp.set_nodelay(true);
        // A client without keep alive (3.1.1) must not leave its dead connection behind for ever.
        let probes = TcpKeepalive::new().with_time(PROBED_AFTER);
        let _best_effort = SockRef::from(&tcp).set_tcp_keepalive(&probes);
        match handshake(tcp, permit, &shared.tls).await {
            Ok((stream, identity)) => connection::run(shared, stream, identity, peer).await,
            Err(refused) => {
                count(&shared, |c| &c.handshakes_refused);
                refuse(&shared, peer, &refused);
            }
        }
        drop(open);
    });
}

fn count(shared: &Shared, which: impl Fn(&Counters) -> &std::sync::atomic::AtomicU64) {
    which(&shared.counters).fetch_add(1, Ordering::Relaxed);
}

pub(super) fn refuse(shared: &Shared, peer: SocketAddr, refused: &Refused) {
    let around = &shared.around;
    let here = around.registry.at_address(peer.ip());
    let happening = refused.happening(Some(peer), here.as_ref().map(crate::name::DeviceId::as_str));
    shared
        .refusals
        .record(&around.events, around.clock.now(), &refused.why, happening);
}
