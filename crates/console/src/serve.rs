//! The listeners: https for people, a Unix socket for the command line.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use stockade_gateway::tls::{Gate, GateSettings, Permit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections at once, of all sources.
const MAX_CONNECTIONS: usize = 512;
/// Connections at once of one source (an IPv6 /64 is one).
const MAX_PER_SOURCE: usize = 64;
/// When all places are taken, the oldest connection without a request gives way to a newcomer, or else the oldest one
/// that has its place for this long: a browser's event stream comes back by itself.
const OWN_PLACE: Duration = Duration::from_secs(15);
/// Connections that gave way need a moment to end.
const ENDING: usize = MAX_CONNECTIONS;
/// A TLS handshake that takes longer is broken off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Request headers that take longer, or a connection idle for longer, are broken off.
const HEADERS: Duration = Duration::from_secs(15);
/// No connection lives longer than this; a browser's event stream comes back by itself.
const LIFETIME: Duration = Duration::from_hours(1);
/// How long requests in flight may take to finish once the server is told to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes of a request's head that are buffered.
const MAX_HEAD: usize = 32 * 1024;
/// Pause after the system refused to accept, so that a lack of files does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address a request came from; absent on the Unix socket.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves `router` over TLS until `shutdown`. `tls` is asked for each connection, so that a new
/// certificate is used from the next connection on.
pub async fn serve(
    listener: TcpListener,
    tls: impl Fn() -> Arc<ServerConfig> + Send,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS + ENDING));
    let gate = Gate::new(GateSettings {
        total: MAX_CONNECTIONS,
        per_source: MAX_PER_SOURCE,
        speaking: Some(OWN_PLACE),
    });
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = with_room(&room, listener.accept()) => accepted,
        };
        let Some((permit, (tcp, peer))) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = match gate.enter(peer.ip()) {
            Ok(place) => Arc::new(place),
            Err(full) => {
                tracing::debug!(%peer, %full, "console: no place for a connection");
                continue;
            }
        };
        let (acceptor, router, stopped) =
            (TlsAcceptor::from(tls()), router.clone(), stopped.clone());
        tokio::spawn(async move {
            let _held = permit;
            tokio::select! {
                () = receive(tcp, peer, acceptor, router, (&place, stopped)) => {}
                () = place.give_way() => tracing::debug!(%peer, "console: a connection gave way"),
            }
        });
    }
    finish(&room, MAX_CONNECTIONS + ENDING, &stop).await;
}

/// One connection, from its first byte to its end.
async fn receive(
    tcp: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    (place, stopped): (&Arc<Permit>, watch::Receiver<bool>),
) {
    // Headers and small pages are written whole: waiting for more only delays them.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            let from = Some((Peer(peer), Arc::clone(place)));
            converse(stream, router, from, stopped).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "console: TLS handshake failed"),
        Err(_late) => tracing::debug!(%peer, "console: TLS handshake took too long"),
    }
}

/// Serves `router` on a Unix socket until `shutdown`.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = with_room(&room, listener.accept()) => accepted,
        };
        let Some((permit, (stream, _address))) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            let _held = permit;
            converse(stream, router, None, stopped).await;
        });
    }
    finish(&room, MAX_CONNECTIONS, &stop).await;
}

/// The Unix socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process serves it.
    #[error("{0} is in use by another process that answers on it")]
    InUse(String),
    /// The system refused.
    #[error("cannot make the socket {path}")]
    Io {
        /// The socket.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Binds the Unix socket at `path`, for its owner only (mode 0600). One that is left over from a process
/// that ended is replaced; one on which somebody answers is not.
pub async fn bind_unix(path: &Path) -> Result<UnixListener, SocketError> {
    use std::os::unix::fs::FileTypeExt as _;

    let name = || path.display().to_string();
    match fs_err::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            let source = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            );
            return Err(SocketError::Io {
                path: name(),
                source,
            });
        }
        _ => {}
    }
    match timeout(Duration::from_secs(1), UnixStream::connect(path)).await {
        // A connection that hangs belongs to a process that is alive but busy.
        Ok(Ok(_)) | Err(_) => return Err(SocketError::InUse(name())),
        Ok(Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) => {}
        Ok(Err(source)) => {
            return Err(SocketError::Io {
                path: name(),
                source,
            });
        }
    }
    let fresh = path.with_extension("new");
    let make = || -> io::Result<UnixListener> {
        match fs_err::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        // Only now it gets the name under which it is looked for: nobody meets it with other rights.
        fs_err::rename(&fresh, path)?;
        Ok(listener)
    };
    make().map_err(|source| SocketError::Io {
        path: name(),
        source,
    })
}

async fn with_room<T>(
    room: &Arc<Semaphore>,
    accept: impl Future<Output = io::Result<T>>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, T)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match accept.await {
        Ok(accepted) => Some((permit, accepted)),
        Err(error) => {
            tracing::warn!(%error, "console: cannot accept a connection");
            None
        }
    }
}

/// Answers the requests of one connection.
async fn converse<S>(
    stream: S,
    router: Router,
    from: Option<(Peer, Arc<Permit>)>,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = from.as_ref().map(|(peer, _)| *peer);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some((peer, place)) = &from {
            place.spoke();
            request.extensions_mut().insert(*peer);
        }
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(?peer, %error, "console: connection ended");
            }
            return;
        }
        _ = stopped.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _over = timeout(LAST_WORDS, connection).await;
}

/// Tells all connections to end, and waits until they did.
async fn finish(room: &Semaphore, places: usize, stop: &watch::Sender<bool>) {
    stop.send_replace(true);
    let all = u32::try_from(places).unwrap_or(u32::MAX);
    let _over = timeout(LAST_WORDS + HANDSHAKE / 10, room.acquire_many(all)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_one_that_answers_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = bind_unix(&path).await.unwrap();
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind_unix(&path).await, Err(SocketError::InUse(_))));
        drop(first);
        bind_unix(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        fs_err::write(&path, "precious").unwrap();
        assert!(bind_unix(&path).await.is_err());
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "precious");
    }
}
