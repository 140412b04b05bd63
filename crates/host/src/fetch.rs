//! Fetching a MUD file and its signature over https, from servers that nobody vouched for.
//!
//! The address comes from a device. So: https and nothing else, at each redirect again; public addresses only; no
//! cookies, no credentials, no proxy; and a limit to bytes, time and redirects.

mod place;
mod url;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use stockade_profile::{HttpsUrl, Network};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use url::Target;

/// RFC 8520 §17.3 and RFC 8520 §6: what is asked for, and what a server that knows no better sends.
const MUD: &str = "application/mud+json, application/json;q=0.5, */*;q=0.1";
/// RFC 8551 §3.4: a detached signature.
const SIGNATURE: &str = "application/pkcs7-signature, application/cms;q=0.9, */*;q=0.1";
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Bytes of an answer before its body.
const MAX_HEAD: usize = 32 * 1024;
/// Fields of an answer.
const MAX_FIELDS: usize = 64;
/// Answers on the way to a document, the last one apart.
const MAX_REDIRECTS: usize = 3;

/// How far a fetch may go.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Whether the authorities that the system trusts vouch for servers; yes.
    pub system_authorities: bool,
    /// More authorities: certificates in PEM, one after the other; none.
    pub authorities: Vec<u8>,
    /// Networks that may be reached though they are not public; none.
    pub also: Vec<Network>,
    /// Names whose addresses are known without asking, as in a hosts file; none.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The most bytes a document may have; 1 MiB.
    pub max_bytes: usize,
    /// How long one server may take to answer its connection; 5 seconds.
    pub connect: Duration,
    /// How long a document may take, with all redirects; 20 seconds.
    pub total: Duration,
    /// What a person here reads (RFC 8520 §6), as `Accept-Language` says it; English.
    pub language: String,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            system_authorities: true,
            authorities: Vec::new(),
            also: Vec::new(),
            hosts: BTreeMap::new(),
            max_bytes: 1024 * 1024,
            connect: Duration::from_secs(5),
            total: Duration::from_secs(20),
            language: "en".to_owned(),
        }
    }
}

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody could vouch for a server.
    #[error("there are no authorities to trust: install ca-certificates, or name a file of them")]
    NoAuthorities,
    /// The authorities that were given can not be read.
    #[error("the authorities to trust are no certificates in PEM")]
    Authorities,
    /// The settings can not be used.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The name has no address.
    #[error("cannot find {0}")]
    Resolve(String, #[source] io::Error),
    /// All of the host's addresses are out of bounds.
    #[error("{host} is at {address}, which is not public: allow its network to fetch from there")]
    NotPublic {
        /// The host.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The host did not answer, or its certificate was not good.
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    /// The conversation broke.
    #[error("{0} does not speak HTTP as expected")]
    Http(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server has no such document.
    #[error("{url} is not there: the server answered {status}")]
    Status {
        /// What was asked for.
        url: HttpsUrl,
        /// The answer.
        status: StatusCode,
    },
    /// The document is encoded, which nobody asked for.
    #[error("{0} answers with a content encoding that was not asked for")]
    Encoding(String),
    /// The document is too large.
    #[error("{url} has more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: HttpsUrl,
        /// The most that is taken.
        limit: usize,
    },
    /// The server points at something that is not an https address.
    #[error("{url} leads to something that is not an https address: `{to}`")]
    NotHttps {
        /// What was asked for.
        url: HttpsUrl,
        /// Where it leads; text of the server's, made safe to print.
        to: String,
    },
    /// The server sends us from place to place.
    #[error("{0} leads from place to place: {MAX_REDIRECTS} redirects are followed")]
    Redirects(HttpsUrl),
    /// It took too long.
    #[error("{url} did not come within {} seconds", limit.as_secs())]
    Slow {
        /// What was asked for.
        url: HttpsUrl,
        /// The limit.
        limit: Duration,
    },
    /// The MUD file names a signature that can not be had.
    #[error("the file's signature could not be fetched")]
    Signature(#[source] Box<Self>),
    /// No thread could be had to work in.
    #[error("cannot start")]
    Start(#[source] io::Error),
}

/// A document, and where it came from in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// After all redirects.
    pub url: HttpsUrl,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A MUD file with the signature it names, if it names one; neither is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedMud {
    /// The file.
    pub file: Fetched,
    /// The signature.
    pub signature: Option<Fetched>,
}

/// Fetches documents.
pub struct Fetcher {
    settings: FetchSettings,
    tls: TlsConnector,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Reads the authorities once.
    pub fn new(settings: FetchSettings) -> Result<Self, FetchError> {
        let roots = authorities(&settings)?;
        // RFC 9325 §3.1.1, as on our own listeners: 1.3, and 1.2 with AEAD suites, which are all the library has.
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(FetchError::Tls)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Servers learn nothing about who comes back.
        config.resumption = Resumption::disabled();
        Ok(Self {
            settings,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Fetches a MUD file and, if it names one, its signature (RFC 8520 §6).
    pub async fn mud(&self, url: &HttpsUrl) -> Result<FetchedMud, FetchError> {
        let file = self.document(url, MUD).await?;
        let signature = match signature_of(&file.bytes) {
            None => None,
            Some(reference) => {
                let to = url::resolve(&file.url, &reference).ok_or_else(|| {
                    FetchError::Signature(Box::new(FetchError::NotHttps {
                        url: file.url.clone(),
                        to: quoted(&reference),
                    }))
                })?;
                let signature = self.document(&to, SIGNATURE).await;
                Some(signature.map_err(|e| FetchError::Signature(Box::new(e)))?)
            }
        };
        Ok(FetchedMud { file, signature })
    }

    /// The same for who has no runtime; must not be called within one.
    pub fn mud_blocking(&self, url: &HttpsUrl) -> Result<FetchedMud, FetchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(FetchError::Start)?;
        let fetched = runtime.block_on(self.mud(url));
        // A name server that does not answer is not waited for.
        runtime.shutdown_background();
        fetched
    }

    async fn document(&self, url: &HttpsUrl, accept: &str) -> Result<Fetched, FetchError> {
        let limit = self.settings.total;
        match timeout(limit, Box::pin(self.follow(url, accept))).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::Slow {
                url: url.clone(),
                limit,
            }),
        }
    }

    async fn follow(&self, url: &HttpsUrl, accept: &str) -> Result<Fetched, FetchError> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.ask(&at, accept).await? {
                Answer::Document(bytes) => return Ok(Fetched { url: at, bytes }),
                Answer::Elsewhere(location) => {
                    at = url::resolve(&at, &location).ok_or_else(|| FetchError::NotHttps {
                        url: at.clone(),
                        to: quoted(&location),
                    })?;
                }
            }
        }
        Err(FetchError::Redirects(url.clone()))
    }

    async fn ask(&self, url: &HttpsUrl, accept: &str) -> Result<Answer, FetchError> {
        let target = Target::of(url);
        let tls = self.connect(&target).await?;
        let http = |e: hyper::Error| FetchError::Http(target.authority.clone(), e.into());
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(tls))
            .await
            .map_err(http)?;
        // The connection ends with the set, which ends with this function.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let response = sender
            .send_request(self.request(&target, accept)?)
            .await
            .map_err(http)?;
        self.read(url, &target, response).await
    }

    fn request(&self, target: &Target, accept: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        Request::builder()
            .uri(&target.path)
            .header(header::HOST, &target.authority)
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_LANGUAGE, &self.settings.language)
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, "stockade")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|e| FetchError::Http(target.authority.clone(), e.into()))
    }

    async fn read(
        &self,
        url: &HttpsUrl,
        target: &Target,
        response: Response<Incoming>,
    ) -> Result<Answer, FetchError> {
        let status = response.status();
        let location = response.headers().get(header::LOCATION);
        // RFC 9110 §15.4: those that name another place for the same document.
        if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
            && let Some(Ok(location)) = location.map(header::HeaderValue::to_str)
        {
            return Ok(Answer::Elsewhere(location.to_owned()));
        }
        if status != StatusCode::OK {
            let url = url.clone();
            return Err(FetchError::Status { url, status });
        }
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(FetchError::Encoding(target.authority.clone()));
        }
        let limit = self.settings.max_bytes;
        let too_large = || FetchError::TooLarge {
            url: url.clone(),
            limit,
        };
        let announced = response.body().size_hint().lower();
        if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(Answer::Document(body.to_bytes().to_vec())),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Err(e) => Err(FetchError::Http(target.authority.clone(), e)),
        }
    }

    /// To the first of the host's addresses that answers, and only to one that was looked at: a name that changes its
    /// address in between gains nothing.
    async fn connect(&self, target: &Target) -> Result<TlsStream<TcpStream>, FetchError> {
        let failed = |e| FetchError::Connect(target.authority.clone(), e);
        let name = ServerName::try_from(target.host.clone())
            .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        let mut last = None;
        for address in self.addresses(target).await? {
            let connecting = async {
                let tcp = TcpStream::connect(address).await?;
                self.tls.connect(name.clone(), tcp).await
            };
            match timeout(self.settings.connect, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => last = Some(e),
                Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failed(
            last.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
        ))
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, FetchError> {
        let known = match target.address() {
            Some(address) => Some(vec![address]),
            None => self.settings.hosts.get(&target.host).cloned(),
        };
        let found: Vec<SocketAddr> = match known {
            Some(known) => known
                .into_iter()
                .map(|address| SocketAddr::new(address, target.port))
                .collect(),
            None => tokio::net::lookup_host((target.host.as_str(), target.port))
                .await
                .map_err(|e| FetchError::Resolve(target.host.clone(), e))?
                .collect(),
        };
        let Some(first) = found.first().map(SocketAddr::ip) else {
            let none = io::ErrorKind::NotFound.into();
            return Err(FetchError::Resolve(target.host.clone(), none));
        };
        let allowed: Vec<SocketAddr> = found
            .into_iter()
            .filter(|socket| place::allowed(socket.ip(), &self.settings.also))
            .take(MAX_ADDRESSES)
            .collect();
        if allowed.is_empty() {
            return Err(FetchError::NotPublic {
                host: target.host.clone(),
                address: first,
            });
        }
        Ok(allowed)
    }
}

enum Answer {
    Document(Vec<u8>),
    Elsewhere(String),
}

fn authorities(settings: &FetchSettings) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    if settings.system_authorities {
        // What of the system's store can not be read is not trusted; the rest is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for certificate in CertificateDer::pem_slice_iter(&settings.authorities) {
        let certificate = certificate.map_err(|_| FetchError::Authorities)?;
        roots
            .add(certificate)
            .map_err(|_| FetchError::Authorities)?;
    }
    if roots.is_empty() {
        return Err(FetchError::NoAuthorities);
    }
    Ok(roots)
}

/// The address of the signature that a MUD file names (RFC 8520 §3.5); of a file that is none, nobody wants it.
fn signature_of(file: &[u8]) -> Option<String> {
    let file = stockade_profile::mud::read(file).ok()?;
    file.signature().map(ToOwned::to_owned)
}

/// Text of a stranger's, short and safe to print.
fn quoted(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_default)
        .collect()
}
