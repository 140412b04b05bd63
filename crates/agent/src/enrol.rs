//! Enrolment over Secure Transport (RFC 7030), the client's half.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use stockade_api::attest::{Introduction, Welcome};
use stockade_api::signed::Evidence;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::der;
use crate::trust::{self, Fingerprint};

/// Longest answer taken from a server, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the gateway's signing key is told.
pub(crate) const SIGNER: &str = "/.well-known/stockade/signer";

/// Why a device could not enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The server could not be reached or went away.
    #[error("cannot reach the enrolment server at {0}")]
    Unreachable(Server, #[source] std::io::Error),
    /// The conversation broke.
    #[error("the enrolment server at {0} does not speak HTTP as expected")]
    Http(Server, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too slow.
    #[error("the enrolment server at {0} did not answer in time")]
    Slow(Server),
    /// The server said no.
    #[error("the enrolment server refused: {status}: {text}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The server's CA is not the one whose fingerprint was handed over.
    #[error("no CA certificate of the server has the fingerprint that was given")]
    WrongCa,
    /// The answer holds no certificates.
    #[error(transparent)]
    Answer(#[from] der::NotCertsOnly),
    /// The answer is no base64 (RFC 8951 §3.1).
    #[error("the answer is no base64")]
    Base64(#[from] base64::DecodeError),
    /// Making the key or the request failed.
    #[error("cannot make a key and a certificate request")]
    Request(#[from] rcgen::Error),
    /// TLS settings that do not fit.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The key is none that signs evidence.
    #[error("the device's key can not sign")]
    Sign,
    /// Keys could not be kept.
    #[error("cannot keep the device's key")]
    Keep(#[source] std::io::Error),
    /// A kept file is damaged.
    #[error("{0} is damaged; remove the directory and enrol again")]
    Damaged(PathBuf),
}

/// A server by its name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A host name or an address: what its certificate has to say.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Connects, to the first of its addresses that answers.
    pub async fn dial(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect((self.host.as_str(), self.port)).await
    }

    /// What its certificate has to say.
    pub fn name(&self) -> std::io::Result<ServerName<'static>> {
        let wrong = |_| std::io::Error::new(std::io::ErrorKind::InvalidInput, "no host name");
        ServerName::try_from(self.host.clone()).map_err(wrong)
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a device is told by its operator.
#[expect(
    missing_debug_implementations,
    reason = "the code is a secret, and not printed by accident"
)]
pub struct Invitation {
    /// Where the enrolment server listens.
    pub est: SocketAddr,
    /// The fingerprint of the gateway's CA.
    pub ca: Fingerprint,
    /// The device's name.
    pub id: String,
    /// The one-time code.
    pub code: Zeroizing<String>,
}

/// An enrolled device's key, certificate, and the CA it trusts.
pub struct Identity {
    ca: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// TLS as this device.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, EnrolError> {
        let identity = Some((self.chain.clone(), self.key.clone_key()));
        Ok(Arc::new(trust::client_config(&self.ca, identity)?))
    }

    /// Has evidence signed by the key of this certificate.
    pub fn evidence(&self, evidence: &Evidence) -> Result<Vec<u8>, EnrolError> {
        let key = self.key.secret_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key)
            .map_err(|_| EnrolError::Sign)?;
        let shown = self.chain.first().ok_or(EnrolError::Sign)?;
        let shown = digest(&SHA256, shown);
        let named = shown.as_ref().try_into().map_err(|_| EnrolError::Sign)?;
        evidence.sign_with(named, |bytes| {
            let signature = key.sign(&SystemRandom::new(), bytes);
            let signature = signature.map_err(|_| EnrolError::Sign)?;
            Ok(signature.as_ref().to_vec())
        })
    }

    /// The key by which the gateway signs profiles and commands, in PEM: believed because the gateway's CA is known.
    pub async fn signer(&self, est: SocketAddr) -> Result<Bytes, EnrolError> {
        let tls = Arc::new(trust::client_config(&self.ca, None)?);
        fetch(&Server::from(est), tls, SIGNER).await
    }

    /// What an earlier [`enrol`] kept in `dir`; `None` if there was none.
    pub fn load(dir: &Path) -> Result<Option<Self>, EnrolError> {
        let path = dir.join("device.pem");
        let pem = match fs_err::read(&path) {
            Ok(pem) => Zeroizing::new(pem),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(EnrolError::Keep(e)),
        };
        let damaged = || EnrolError::Damaged(path.clone());
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| damaged())?;
        let mut certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| damaged())?;
        let ca = certificates.pop().ok_or_else(damaged)?;
        if certificates.is_empty() {
            return Err(damaged());
        }
        Ok(Some(Self {
            ca,
            chain: certificates,
            key,
        }))
    }
}

/// Makes a key, has it certified (`/cacerts`, `/simpleenroll`), and keeps the result in `dir`. The key never
/// leaves this machine.
pub async fn enrol(invitation: &Invitation, dir: &Path) -> Result<Identity, EnrolError> {
    let server = Server::from(invitation.est);
    let ca = fetch_ca(&server, |ca| invitation.ca.is_of(ca)).await?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    // RFC 7030 §4.2.1: the subject is the server's to decide; ours is empty.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    let code = Some((invitation.id.as_str(), invitation.code.as_str()));
    let tls = Arc::new(trust::client_config(&ca, None)?);
    let certificate = certify(&server, tls, "simpleenroll", csr.der(), code).await?;
    keep(dir, &key, &certificate, &ca)?;
    Identity::load(dir)?.ok_or_else(|| EnrolError::Damaged(dir.to_owned()))
}

/// Has a request granted: by a one-time code (RFC 7030 §4.2.1), or by the certificate that the TLS settings show (§4.2.2).
pub(crate) async fn certify(
    server: &Server,
    tls: Arc<ClientConfig>,
    operation: &str,
    csr: &[u8],
    code: Option<(&str, &str)>,
) -> Result<Vec<CertificateDer<'static>>, EnrolError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("/.well-known/est/{operation}"))
        .header(header::CONTENT_TYPE, "application/pkcs10")
        .header("content-transfer-encoding", "base64");
    if let Some((id, code)) = code {
        let text = Zeroizing::new(format!("{id}:{code}"));
        let password = Zeroizing::new(STANDARD.encode(text.as_bytes()));
        request = request.header(header::AUTHORIZATION, format!("Basic {}", *password));
    }
    let request = request.body(Full::new(Bytes::from(STANDARD.encode(csr))));
    let answer = ask(server, tls, request).await?;
    Ok(der::certificates(&decode(&answer)?)?)
}

/// RFC 7030 §4.1.1: the CA certificates, taken over a provisional connection and believed only because one of
/// them is known another way.
pub(crate) async fn fetch_ca(
    server: &Server,
    is_it: impl Fn(&CertificateDer<'_>) -> bool,
) -> Result<CertificateDer<'static>, EnrolError> {
    let tls = Arc::new(trust::provisional_config()?);
    let answer = ask(server, tls, get("/.well-known/est/cacerts")).await?;
    der::certificates(&decode(&answer)?)?
        .into_iter()
        .find(is_it)
        .ok_or(EnrolError::WrongCa)
}

/// Makes the device's TPM known to the gateway (`docs/attestation.md`), as the device that the TLS settings show.
pub(crate) async fn introduce(
    server: &Server,
    tls: Arc<ClientConfig>,
    introduction: &Introduction,
) -> Result<Welcome, EnrolError> {
    let wrong = |error: serde_json::Error| EnrolError::Http(server.clone(), error.into());
    let body = serde_json::to_vec(introduction).map_err(wrong)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/.well-known/stockade/attest")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)));
    let answer = ask(server, tls, request).await?;
    serde_json::from_slice(&answer).map_err(wrong)
}

/// Fetches a text from the enrolment port.
pub(crate) async fn fetch(
    server: &Server,
    tls: Arc<ClientConfig>,
    path: &str,
) -> Result<Bytes, EnrolError> {
    ask(server, tls, get(path)).await
}

fn get(path: &str) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::builder().uri(path).body(Full::new(Bytes::new()))
}

fn decode(answer: &[u8]) -> Result<Vec<u8>, EnrolError> {
    let dense: Vec<u8> = answer
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    Ok(STANDARD.decode(dense)?)
}

async fn ask(
    server: &Server,
    tls: Arc<ClientConfig>,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Bytes, EnrolError> {
    match tokio::time::timeout(PATIENCE, Box::pin(exchange(server, tls, request))).await {
        Ok(answer) => answer,
        Err(_) => Err(EnrolError::Slow(server.clone())),
    }
}

async fn exchange(
    server: &Server,
    tls: Arc<ClientConfig>,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Bytes, EnrolError> {
    let http = |e: Box<dyn std::error::Error + Send + Sync>| EnrolError::Http(server.clone(), e);
    let mut request = request.map_err(|e| http(e.into()))?;
    let host = server
        .to_string()
        .parse()
        .map_err(|_| EnrolError::WrongCa)?;
    request.headers_mut().insert(header::HOST, host);

    let unreachable = |e| EnrolError::Unreachable(server.clone(), e);
    let tcp = server.dial().await.map_err(unreachable)?;
    let name = server.name().map_err(unreachable)?;
    let tls = TlsConnector::from(tls)
        .connect(name, tcp)
        .await
        .map_err(unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|e| http(e.into()))?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|e| http(e.into()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(http)?;
    let body = body.to_bytes();
    if status.is_success() {
        Ok(body)
    } else {
        let text = String::from_utf8_lossy(&body)
            .trim()
            .chars()
            .take(200)
            .collect();
        Err(EnrolError::Refused { status, text })
    }
}

/// One file with key, chain and CA, replaced in one step and readable by its owner only.
fn keep(
    dir: &Path,
    key: &KeyPair,
    chain: &[CertificateDer<'static>],
    ca: &CertificateDer<'static>,
) -> Result<(), EnrolError> {
    use std::io::Write as _;
    use std::os::unix::fs::DirBuilderExt as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;

    let mut pem = Zeroizing::new(key.serialize_pem());
    for certificate in chain.iter().chain([ca]) {
        pem.push_str(&pem_of(certificate));
    }
    let write = || -> std::io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let new = dir.join("device.pem.new");
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        fs_err::rename(&new, dir.join("device.pem"))
    };
    write().map_err(EnrolError::Keep)
}

/// A certificate in PEM (RFC 7468 §5).
pub(crate) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let encoded = STANDARD.encode(certificate);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in encoded.as_bytes().chunks(64) {
        out.extend(line.iter().copied().map(char::from));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
