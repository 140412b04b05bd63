//! TLS in front of a local service that speaks plain text: what comes in is handed on, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use stockade_web::gate::GateSettings;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::door::{self, Guest};

/// Connections at once, of all sources and of one.
const PLACES: GateSettings = GateSettings {
    total: 32,
    per_source: 16,
    speaking: None,
};
/// A connection on which nothing moves is ended after this long, or at most twice as long.
const IDLE: Duration = Duration::from_mins(5);
/// How long the service may take to accept.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes under way in one direction.
const BUFFER: usize = 4 * 1024;

/// Serves the service at `to` over TLS, for good.
pub async fn serve(listener: TcpListener, config: Arc<ServerConfig>, to: SocketAddr) {
    door::serve(listener, config, PLACES, move |guest| hand_on(guest, to)).await;
}

async fn hand_on(guest: Guest, to: SocketAddr) {
    guest.place.spoke();
    let Ok(Ok(service)) = timeout(CONNECT, TcpStream::connect(to)).await else {
        return;
    };
    let (mut from_guest, mut to_guest) = split(guest.stream);
    let (mut from_service, mut to_service) = service.into_split();
    let moved = AtomicBool::new(false);
    let both = async {
        tokio::join!(
            pump(&mut from_guest, &mut to_service, &moved),
            pump(&mut from_service, &mut to_guest, &moved),
        );
    };
    tokio::select! {
        () = both => {}
        () = idle(&moved) => {}
    }
}

/// Hands on until one side ends or breaks, and tells the other that this was all.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &AtomicBool,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(some @ 1..) = from.read(&mut buffer).await {
        moved.store(true, Ordering::Relaxed);
        let Some(bytes) = buffer.get(..some) else {
            break;
        };
        // TLS keeps what it could not send yet: without a flush the end of an answer could wait for the next.
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}

/// Returns when nothing moved for a while.
async fn idle(moved: &AtomicBool) {
    loop {
        sleep(IDLE).await;
        if !moved.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}
