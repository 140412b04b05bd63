//! A listening socket with TLS behind it: how many may come in, how long they may take to say hello.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{ServerConfig, SupportedProtocolVersion};
use stockade_web::gate::{Gate, GateSettings, Permit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A TLS handshake that takes longer is broken off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept, so that a lack of files does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections that gave way need a moment to end: so many more than there are places.
const ENDING: usize = 8;

/// TLS of a listening socket of ours, with the certificate that `who` has at the time of a handshake. No session is kept: this
/// costs a returning browser one signature, and the device no memory.
pub fn tls(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
    who: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(who);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A connection that came in.
#[derive(Debug)]
pub struct Guest {
    /// The conversation.
    pub stream: TlsStream<TcpStream>,
    /// Who it is.
    pub peer: SocketAddr,
    /// The address of ours that it came to.
    pub here: SocketAddr,
    /// Its place; to be told when the guest has said something of use.
    pub place: Arc<Permit>,
}

/// Lets guests in for good. When all places are taken, the oldest that has said nothing of use gives way.
pub async fn serve<F>(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    places: GateSettings,
    receive: impl Fn(Guest) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let gate = Gate::new(places);
    let room = Arc::new(Semaphore::new(places.total.saturating_add(ENDING)));
    let acceptor = TlsAcceptor::from(config);
    loop {
        let Ok(held) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((tcp, peer)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = gate.enter(peer.ip()).map(Arc::new) else {
            continue;
        };
        let (acceptor, receive) = (acceptor.clone(), receive.clone());
        tokio::spawn(async move {
            let _held = held;
            let coming = async {
                let here = tcp.local_addr().ok()?;
                // Pages are written whole: waiting for more only delays them.
                tcp.set_nodelay(true).ok()?;
                let stream = timeout(HANDSHAKE, acceptor.accept(tcp)).await.ok()?.ok()?;
                let guest = Guest {
                    stream,
                    peer,
                    here,
                    place: Arc::clone(&place),
                };
                receive(guest).await;
                Some(())
            };
            tokio::select! {
                _ = coming => {}
                () = place.give_way() => {}
            }
        });
    }
}
