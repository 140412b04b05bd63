//! The guard's socket: `guard.sock`, for its owner and root; one request and one reply at a time, each with its length.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::request::{MAX_ANSWER, MAX_REQUEST, Refusal, Reply, Request};

/// Most connections at once.
const MAX_CONNECTIONS: usize = 16;
/// Longest wait for a request that has begun, and for the reply to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest silence between two requests of one connection.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest time a reply may take.
const WORK: Duration = Duration::from_mins(1);
/// Pause after a failed `accept`.
const PAUSE: Duration = Duration::from_millis(100);

/// A request on its way to the one who decides, and the way back.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the reply goes.
    pub reply: oneshot::Sender<Reply>,
}

/// Makes the socket, for its owner only. One that is left over from a guard that ended is replaced; one on which somebody
/// answers is not.
pub async fn bind(path: &Path) -> io::Result<UnixListener> {
    match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(_)) | Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another guard answers on it",
            ));
        }
        Ok(Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) => {}
        Ok(Err(error)) => return Err(error),
    }
    let fresh = path.with_extension("new");
    match fs_err::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    // Only now it gets the name under which it is looked for: nobody meets it with other rights.
    fs_err::rename(&fresh, path)?;
    Ok(listener)
}

/// Answers on the socket until the receiver is gone.
pub async fn serve(listener: UnixListener, to: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _address)) => stream,
            Err(error) => {
                tracing::warn!(%error, "guard: cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let to = to.clone();
        if to.is_closed() {
            return;
        }
        tokio::spawn(async move {
            let _held = permit;
            if let Err(error) = converse(stream, to).await {
                tracing::debug!(%error, "guard: a connection ended");
            }
        });
    }
}

async fn converse(mut stream: UnixStream, to: mpsc::Sender<Asked>) -> io::Result<()> {
    // The file's mode says the same; this also holds where somebody has changed it.
    let peer = stream.peer_cred()?;
    if !may_ask(peer.uid()) {
        tracing::warn!(
            uid = peer.uid(),
            "guard: refused a connection of another user"
        );
        let refusal = Refusal::new("only root and the guard's own user may ask");
        return send(&mut stream, &Reply::Refused(refusal)).await;
    }
    loop {
        let Ok(first) = timeout(SILENCE, read_length(&mut stream)).await else {
            return Ok(());
        };
        let Some(length) = first? else { return Ok(()) };
        if length > MAX_REQUEST {
            let refusal = Refusal::new(format!("a request has at most {MAX_REQUEST} bytes"));
            return send(&mut stream, &Reply::Refused(refusal)).await;
        }
        let bytes = timeout(PATIENCE, read_bytes(&mut stream, length)).await??;
        let reply = match Request::read(&bytes) {
            Ok(request) => ask(&to, request).await,
            Err(error) => Reply::Refused(Refusal::new(error.to_string())),
        };
        timeout(PATIENCE, send(&mut stream, &reply)).await??;
    }
}

fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

async fn ask(to: &mpsc::Sender<Asked>, request: Request) -> Reply {
    let (reply, answer) = oneshot::channel();
    let gone = || Reply::Refused(Refusal::new("the guard is ending"));
    if to.send(Asked { request, reply }).await.is_err() {
        return gone();
    }
    match timeout(WORK, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => gone(),
        Err(_late) => Reply::Refused(Refusal::new("the guard took too long")),
    }
}

async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    usize::try_from(u32::from_be_bytes(length))
        .map(Some)
        .map_err(io::Error::other)
}

/// Memory grows with what has come, not with what was announced.
async fn read_bytes(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(length).map_err(io::Error::other)?;
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

async fn send_bytes(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let bytes = serde_json::to_vec(reply).map_err(io::Error::other)?;
    if bytes.len() > MAX_ANSWER {
        let refusal = Reply::Refused(Refusal::new("the answer is too long"));
        return send_bytes(stream, &serde_json::to_vec(&refusal)?).await;
    }
    send_bytes(stream, &bytes).await
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers there.
    #[error(
        "no guard answers at {path}; start it with `stockade guard run`, or name its directory with --data"
    )]
    Nobody {
        /// The socket.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The guard said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The conversation broke off.
    #[error("the guard went away")]
    Broken(#[source] io::Error),
}

/// Somebody who asks the guard.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the guard's socket.
    pub async fn connect(socket: &Path) -> Result<Self, AskError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| AskError::Nobody {
                path: socket.display().to_string(),
                source,
            })?;
        Ok(Self { stream })
    }

    /// Asks one thing.
    pub async fn ask(&mut self, request: &Request) -> Result<serde_json::Value, AskError> {
        match self.exchange(request).await.map_err(AskError::Broken)? {
            Reply::Done(value) => Ok(value),
            Reply::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        send_bytes(&mut self.stream, &request.write()).await?;
        let length = read_length(&mut self.stream)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if length > MAX_ANSWER {
            return Err(io::Error::other("an answer that is too long"));
        }
        let bytes = read_bytes(&mut self.stream, length).await?;
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    }
}
