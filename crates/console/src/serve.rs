//! The listeners: https for people, a Unix socket for the command line.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::limit::network;

/// Connections at once, of all sources.
const MAX_CONNECTIONS: usize = 512;
/// Connections at once of one source (an IPv6 /64 is one).
const MAX_PER_SOURCE: usize = 64;
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
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let sources = Arc::new(Sources::default());
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
        let Some(place) = Sources::enter(&sources, peer.ip()) else {
            tracing::debug!(%peer, "too many connections of one source");
            continue;
        };
        let (acceptor, router, stopped) =
            (TlsAcceptor::from(tls()), router.clone(), stopped.clone());
        tokio::spawn(async move {
            let _held = (permit, place);
            // Headers and small pages are written whole: waiting for more only delays them.
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => converse(stream, router, Some(Peer(peer)), stopped).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "console: TLS handshake failed"),
                Err(_late) => tracing::debug!(%peer, "console: TLS handshake took too long"),
            }
        });
    }
    finish(&room, &stop).await;
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
    finish(&room, &stop).await;
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
    peer: Option<Peer>,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
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
async fn finish(room: &Semaphore, stop: &watch::Sender<bool>) {
    stop.send_replace(true);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _over = timeout(LAST_WORDS + HANDSHAKE / 10, room.acquire_many(all)).await;
}

/// How many connections each source holds.
#[derive(Debug, Default)]
struct Sources(Mutex<BTreeMap<IpAddr, usize>>);

/// One connection of a source; gives its place back when dropped.
struct Place(Arc<Sources>, IpAddr);

impl Sources {
    fn enter(this: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = network(source);
        let mut sources = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = sources.entry(source).or_default();
        if *held >= MAX_PER_SOURCE {
            return None;
        }
        *held += 1;
        drop(sources);
        Some(Place(Arc::clone(this), source))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sources = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = sources.get_mut(&self.1) {
            *held -= 1;
            if *held == 0 {
                sources.remove(&self.1);
            }
        }
    }
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

    #[test]
    fn one_source_cannot_hold_every_connection() {
        let sources = Arc::new(Sources::default());
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<_> = (0..MAX_PER_SOURCE)
            .map(|_| Sources::enter(&sources, source).unwrap())
            .collect();
        assert!(Sources::enter(&sources, source).is_none());
        assert!(Sources::enter(&sources, "192.0.2.2".parse().unwrap()).is_some());
        drop(held);
        assert!(Sources::enter(&sources, source).is_some());
    }
}
