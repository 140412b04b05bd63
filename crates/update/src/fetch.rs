//! The part that fetches: it has the network, and nothing else. What it brings is believed by nobody.
//!
//! It walks the repository as a client does, so that it stops at what is not signed, and keeps each file as it came.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use base16ct::lower::encode_string as hex;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use stockade_profile::HttpsUrl;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tough::schema::Target;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::repository::{RepositoryError, check};
use crate::shelf::{METADATA, MOST_METADATA, TARGETS, is_metadata};

/// What is fetched, and how patiently.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the repository is.
    pub source: HttpsUrl,
    /// The model.
    pub model: String,
    /// The system that is wanted; none for metadata only.
    pub version: Option<Version>,
    /// More authorities than the system has: certificates in PEM.
    pub authorities: Option<Vec<u8>>,
    /// How long the other side may be silent.
    pub silence: Duration,
    /// The least bytes in a second, over a minute.
    pub least: u64,
}

impl Wanted {
    /// The source's port.
    pub fn port(&self) -> u16 {
        let url = Url::parse(self.source.as_str()).ok();
        url.and_then(|it| it.port_or_known_default()).unwrap_or(443)
    }
}

/// Which system is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    Newest,
    /// This one.
    Exactly(u64),
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The repository is refused.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The spool.
    #[error("cannot keep what comes")]
    Spool(#[from] io::Error),
    /// The source.
    #[error("{url}: {why}")]
    Source {
        /// What was asked for.
        url: String,
        /// Why it did not come.
        why: String,
    },
    /// It has no such system.
    #[error("the source has no version {version} for {model}")]
    NoVersion {
        /// The version.
        version: u64,
        /// The model.
        model: String,
    },
}

/// How often a broken connection is taken up again.
const AGAIN: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
const WHILE: Duration = Duration::from_mins(1);

/// Fetches into the spool. `root` is the root of trust that the device came with.
pub fn fetch(spool: &Path, root: &Path, wanted: &Wanted) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()?;
    let fetched = runtime.block_on(Box::pin(run(spool, root, wanted)));
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    fetched
}

async fn run(spool: &Path, root: &Path, wanted: &Wanted) -> Result<(), FetchError> {
    let fresh = spool.join("fresh");
    gone(fs_err::remove_dir_all(&fresh))?;
    fs_err::create_dir_all(&fresh)?;
    let peer = Peer::new(wanted, fresh.clone())?;
    // Dates are judged by whoever installs: this part does not know what time it was.
    let trust = spool.join("trust");
    gone(fs_err::remove_dir_all(&trust))?;
    fs_err::create_dir_all(&trust)?;
    let checked = check(peer.clone(), &trust, root, &wanted.model, 0).await?;
    gone(fs_err::remove_dir_all(spool.join(METADATA)))?;
    fs_err::rename(&fresh, spool.join(METADATA))?;
    let offered = match wanted.version {
        None => return Ok(()),
        Some(Version::Newest) => checked.offers.last(),
        Some(Version::Exactly(version)) => {
            let found = checked
                .offers
                .iter()
                .find(|it| it.system.version == version);
            Some(found.ok_or_else(|| FetchError::NoVersion {
                version,
                model: wanted.model.clone(),
            })?)
        }
    };
    let Some(offered) = offered else {
        return Ok(());
    };
    let targets = &checked.repository.targets().signed.targets;
    if let Some(about) = targets.get(&offered.target) {
        let digest = hex(&about.hashes.sha256);
        let name = if checked.repository.root().signed.consistent_snapshot {
            format!("{digest}.{}", offered.target.resolved())
        } else {
            offered.target.resolved().to_owned()
        };
        target(&peer, spool, &name, about).await?;
    }
    Ok(())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// Fetches a target, from where the last try broke off.
async fn target(peer: &Peer, spool: &Path, name: &str, about: &Target) -> Result<(), FetchError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(plain) || name.starts_with('.') {
        let why = "a target's name has letters, digits and `._-`".to_owned();
        return Err(FetchError::Source {
            url: name.to_owned(),
            why,
        });
    }
    let folder = spool.join(TARGETS);
    fs_err::create_dir_all(&folder)?;
    let (there, part) = (folder.join(name), folder.join("part"));
    // One system at a time: what is not wanted any more makes room.
    for entry in fs_err::read_dir(&folder)? {
        let path = entry?.path();
        if path != there && path != part {
            fs_err::remove_file(path)?;
        }
    }
    if is_whole(&there, about)? {
        return Ok(());
    }
    let of = spool.join("part-of");
    if fs_err::read_to_string(&of).ok().as_deref() != Some(name) {
        gone(fs_err::remove_file(&part))?;
        fs_err::write(&of, name)?;
    }
    let mut tries = 0;
    while let Err(why) = more(peer, &part, &format!("{TARGETS}/{name}"), about.length).await {
        tries += 1;
        if tries >= AGAIN || !matches!(why, FetchError::Source { .. }) {
            return Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !is_whole(&part, about)? {
        fs_err::remove_file(&part)?;
        let why = "what came is not what was signed".to_owned();
        return Err(FetchError::Source {
            url: name.to_owned(),
            why,
        });
    }
    Ok(fs_err::rename(&part, &there)?)
}

fn is_whole(path: &Path, about: &Target) -> io::Result<bool> {
    let mut file = match fs_err::File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    if file.metadata()?.len() != about.length {
        return Ok(false);
    }
    let mut sum = Digest::new(&SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.finish().as_ref() == &about.hashes.sha256[..]),
            got => sum.update(piece.get(..got).unwrap_or_default()),
        }
    }
}

/// The rest of a file, onto what is there of it.
async fn more(peer: &Peer, part: &Path, name: &str, length: u64) -> Result<(), FetchError> {
    let mut file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(part)?;
    let mut have = file.metadata()?.len();
    if have > length {
        file.set_len(0)?;
        have = 0;
    }
    if have == length {
        return Ok(());
    }
    let url = peer.url(name);
    let failed = |why: String| FetchError::Source {
        url: url.clone(),
        why,
    };
    let range = (have > 0).then(|| format!("bytes={have}-"));
    let response = peer
        .get(&url, range.as_deref())
        .await
        .map_err(|why| failed(why.to_string()))?;
    match response.status() {
        // RFC 9110 §15.3.7: what comes is the part that was asked for.
        StatusCode::PARTIAL_CONTENT if begins_at(&response, have) => (),
        StatusCode::OK => {
            file.set_len(0)?;
            have = 0;
        }
        status => return Err(failed(format!("the source answers {status}"))),
    }
    let mut body = response.into_body();
    let (mut since, mut came) = (Instant::now(), 0_u64);
    while let Some(piece) = peer
        .piece(&mut body)
        .await
        .map_err(|why| failed(why.to_string()))?
    {
        have = have.saturating_add(piece.len() as u64);
        if have > length {
            return Err(failed(format!(
                "more comes than the {length} bytes that are signed"
            )));
        }
        file.write_all(&piece)?;
        came = came.saturating_add(piece.len() as u64);
        if since.elapsed() >= WHILE {
            if came / WHILE.as_secs() < peer.least {
                return Err(failed("the source is too slow".to_owned()));
            }
            (since, came) = (Instant::now(), 0);
        }
    }
    if have < length {
        return Err(failed(format!(
            "it broke off after {have} of {length} bytes"
        )));
    }
    Ok(file.sync_all()?)
}

fn begins_at(response: &Response<Incoming>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    range
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.starts_with(&format!("bytes {have}-")))
}

/// The source.
#[derive(Debug, Clone)]
struct Peer {
    source: HttpsUrl,
    config: Arc<ClientConfig>,
    silence: Duration,
    least: u64,
    /// Where metadata is kept as it comes.
    keep: PathBuf,
}

impl Peer {
    fn new(wanted: &Wanted, keep: PathBuf) -> Result<Self, FetchError> {
        let failed = |why: String| FetchError::Source {
            url: wanted.source.to_string(),
            why,
        };
        let mut roots = RootCertStore::empty();
        match &wanted.authorities {
            // Who names authorities trusts no others.
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|why| failed(why.to_string()))?;
                    roots
                        .add(certificate)
                        .map_err(|why| failed(why.to_string()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let why = "there are no authorities to trust: install ca-certificates, or put update/ca.pem into /etc/stockade";
            return Err(failed(why.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|why| failed(why.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            source: wanted.source.clone(),
            config: Arc::new(config),
            silence: wanted.silence,
            least: wanted.least,
            keep,
        })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.source.to_string().trim_end_matches('/'))
    }

    /// One request on a connection of its own. No redirect is followed: the profile names the source.
    async fn get(&self, url: &str, range: Option<&str>) -> io::Result<Response<Incoming>> {
        let url = Url::parse(url).map_err(io::Error::other)?;
        let host = url
            .host_str()
            .ok_or_else(|| io::Error::other("no host"))?
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let connect = async {
            let stream = TcpStream::connect((bare, port)).await?;
            TlsConnector::from(Arc::clone(&self.config))
                .connect(name, stream)
                .await
        };
        let stream = self.patient(connect).await??;
        let made = hyper::client::conn::http1::Builder::new()
            .max_headers(64)
            .max_buf_size(32 * 1024)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = self.patient(made).await?.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let authority = if port == 443 {
            host
        } else {
            format!("{host}:{port}")
        };
        let mut request = Request::get(url.path())
            .header(header::HOST, authority)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        self.patient(sender.send_request(request))
            .await?
            .map_err(io::Error::other)
    }

    async fn piece(&self, body: &mut Incoming) -> io::Result<Option<Bytes>> {
        loop {
            match self
                .patient(body.frame())
                .await?
                .transpose()
                .map_err(io::Error::other)?
            {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    async fn patient<T>(&self, what: impl Future<Output = T>) -> io::Result<T> {
        let silent = |_| {
            let why = format!(
                "the source is silent for {} seconds",
                self.silence.as_secs()
            );
            io::Error::new(io::ErrorKind::TimedOut, why)
        };
        timeout(self.silence, what).await.map_err(silent)
    }

    /// A file of metadata: whole, and kept.
    async fn metadata(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = name.strip_prefix("metadata/").filter(|it| is_metadata(it));
        let file = file.ok_or_else(|| io::Error::other("no metadata of this name is fetched"))?;
        let response = self.get(&self.url(name), None).await?;
        match response.status() {
            StatusCode::OK => (),
            // S3 and its like say 403 of what is not there.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => {
                return Err(io::ErrorKind::NotFound.into());
            }
            status => return Err(io::Error::other(format!("the source answers {status}"))),
        }
        let mut body = response.into_body();
        let mut whole = Vec::new();
        let until = Instant::now() + WHILE;
        while let Some(piece) = self.piece(&mut body).await? {
            if (whole.len() + piece.len()) as u64 > MOST_METADATA {
                return Err(io::Error::other("too long for metadata"));
            }
            if Instant::now() > until {
                return Err(io::Error::other("the source is too slow"));
            }
            whole.extend_from_slice(&piece);
        }
        fs_err::write(self.keep.join(file), &whole)?;
        Ok(whole)
    }
}

#[async_trait]
impl Transport for Peer {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let came = self.metadata(url.path().trim_start_matches('/')).await;
        let came = came.map(Bytes::from).map_err(|why| {
            let kind = match why.kind() {
                io::ErrorKind::NotFound => TransportErrorKind::FileNotFound,
                _ => TransportErrorKind::Other,
            };
            TransportError::new_with_cause(kind, &url, why)
        })?;
        Ok(Box::pin(futures_util::stream::once(std::future::ready(
            Ok(came),
        ))))
    }
}
