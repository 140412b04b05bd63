//! Enrolment over Secure Transport (RFC 7030): how devices come by their certificates with nothing but TLS and HTTP.
//!
//! Four operations under `/.well-known/est/`: `cacerts`, `csrattrs`, `simpleenroll` with a one-time code as password,
//! and `simplereenroll` with the certificate in use, or one that expired not too long ago.

mod body;
mod cms;
mod operations;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full as Whole, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

pub use self::body::BodyError;
#[doc(hidden)]
pub use self::body::decode as decode_body;
pub use self::cms::certs_only;
use self::operations::{Asked, answer, plain};
use crate::attest::{Attester, Roots};
use crate::link::grants::Grants;
use crate::pki::{Pki, PkiError};
use crate::registry::Registry;
use crate::tls::{
    self, Clock, Gate, GateSettings, PeerIdentity, Permit, Refusals, Refused, TlsOptions,
    TlsSettings, Why,
};

/// What an operator may choose about enrolment.
#[derive(Debug, Clone, Copy)]
pub struct EstSettings {
    /// How TLS is spoken.
    pub tls: TlsOptions,
    /// How many handshakes may be under way.
    pub handshakes: GateSettings,
    /// How many connections may be open after that: 256, and 32 from one source. Those that sent no request give way.
    pub connections: GateSettings,
    /// Longest body, in bytes; 64 KiB.
    pub body_limit: usize,
    /// How long a peer may take for the head of a request, and again for its body; 10 seconds.
    pub patience: Duration,
    /// How long a connection may last; 60 seconds.
    pub connection_life: Duration,
}

impl Default for EstSettings {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            handshakes: GateSettings::default(),
            connections: GateSettings {
                total: 256,
                per_source: 32,
                speaking: None,
            },
            body_limit: 64 * 1024,
            patience: Duration::from_secs(10),
            connection_life: Duration::from_mins(1),
        }
    }
}

/// The EST server.
#[derive(Debug)]
pub struct Est {
    pki: Arc<Pki>,
    registry: Arc<Registry>,
    refusals: Arc<Refusals>,
    settings: EstSettings,
    tls: TlsSettings,
    handshakes: Gate,
    connections: Gate,
    /// The public key, in PEM, of what is signed for devices.
    signer: Option<String>,
    /// Where devices make their TPMs known, and whose word counts for them.
    attester: Option<(Arc<Attester>, Roots)>,
    grants: Option<Arc<Grants>>,
}

impl Est {
    /// A server that enrols the devices of `registry` with the CA of `pki`.
    pub fn new(
        pki: Arc<Pki>,
        registry: Arc<Registry>,
        refusals: Arc<Refusals>,
        settings: EstSettings,
    ) -> Result<Self, PkiError> {
        let tls = pki.est_tls(settings.tls, Arc::clone(&registry))?;
        let handshakes = Gate::new(settings.handshakes);
        let connections = Gate::new(settings.connections);
        Ok(Self {
            pki,
            registry,
            refusals,
            settings,
            tls,
            handshakes,
            connections,
            signer: None,
            attester: None,
            grants: None,
        })
    }

    /// Tells devices, under `/.well-known/stockade/signer`, which key (PEM) signs their profiles and commands. They believe it
    /// because they know the CA of this server.
    #[must_use]
    pub fn with_signer(mut self, pem: String) -> Self {
        self.signer = Some(pem);
        self
    }

    /// Lets devices make their TPMs known, under `/.well-known/stockade/attest`.
    #[must_use]
    pub fn with_attester(mut self, attester: Arc<Attester>, roots: Roots) -> Self {
        self.attester = Some((attester, roots));
        self
    }

    /// Tells devices what they may ask of others, under `/.well-known/stockade/grants`.
    #[must_use]
    pub fn with_grants(mut self, grants: Arc<Grants>) -> Self {
        self.grants = Some(grants);
        self
    }

    /// Serves until `stop` is done.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.admit(tcp, peer),
                Err(error) => {
                    // Out of files, or a connection that was gone before it was taken: neither is cured by hurry.
                    tracing::warn!(%error, "cannot accept a connection for enrolment");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr) {
        match self.handshakes.enter(peer.ip()) {
            Ok(permit) => {
                let est = Arc::clone(self);
                tokio::spawn(async move { est.connection(tcp, peer, permit).await });
            }
            Err(full) => self.refuse(peer, &Why::Full(full).into()),
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, permit: Permit) {
        let accepted = tls::accept(tcp, permit, &self.tls).await;
        let (stream, identity) = match accepted {
            Ok(accepted) => accepted,
            Err(refused) => return self.refuse(peer, &refused),
        };
        let open = match self.connections.enter(peer.ip()) {
            Ok(open) => Arc::new(open),
            Err(full) => return self.refuse(peer, &Why::Full(full).into()),
        };
        let service = service_fn(|request| {
            open.spoke();
            Arc::clone(&self).request(request, peer, identity.clone())
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.settings.patience)
            .max_buf_size(16 * 1024);
        let served = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            served = tokio::time::timeout(self.settings.connection_life, served) => match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection for enrolment broke off"),
                Err(_elapsed) => tracing::debug!(%peer, "a connection for enrolment lasted too long"),
            },
            () = open.give_way() => tracing::debug!(%peer, "a connection without a request gave way"),
        }
    }

    async fn request(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        identity: Option<PeerIdentity>,
    ) -> Result<Response<Whole<Bytes>>, std::convert::Infallible> {
        let (head, body) = request.into_parts();
        // Refused before it is asked for (RFC 9110 §10.1.1): who sent it all might miss the answer.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.settings.body_limit {
            return Ok(too_long());
        }
        let body = Limited::new(body, self.settings.body_limit).collect();
        let body = match tokio::time::timeout(self.settings.patience, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Ok(too_long());
            }
            Ok(Err(_)) => return Ok(plain(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_elapsed) => {
                return Ok(plain(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body did not arrive in time",
                ));
            }
        };
        let asked = Asked {
            head,
            body,
            peer,
            identity,
        };
        // Issuing waits for the disk.
        let answered = tokio::task::spawn_blocking(move || answer(&self, &asked)).await;
        Ok(answered
            .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed")))
    }

    fn refuse(&self, peer: SocketAddr, refused: &Refused) {
        let at_address = self.registry.at_address(peer.ip());
        let happening = refused.happening(
            Some(peer),
            at_address.as_ref().map(crate::name::DeviceId::as_str),
        );
        self.refusals.record(
            self.registry.events(),
            self.clock().now(),
            &refused.why,
            happening,
        );
    }

    fn clock(&self) -> &Clock {
        self.pki.clock()
    }
}

fn too_long() -> Response<Whole<Bytes>> {
    plain(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is too long for a certificate request",
    )
}

/// Listens for devices that enrol.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen for enrolment on {address}: {error}"),
        )
    })
}

#[cfg(test)]
mod tests;
