//! Fetching from a server that does as it likes: real TLS, real sockets, bytes written by hand.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::PrivateKeyDer;
use stockade_host::fetch::{FetchError, FetchSettings, FetchedMud, Fetcher};
use stockade_profile::HttpsUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const FILE: &str = r#"{"ietf-mud:mud":{"mud-version":1}}"#;

/// A MUD file that names this signature.
fn naming(signature: &str) -> String {
    let policy = r#"{"access-lists":{"access-list":[{"name":"a"}]}}"#;
    let lists = r#"{"acl":[{"name":"a","type":"ipv4-acl-type","aces":{"ace":[{"name":"b","matches":{},"actions":{"forwarding":"accept"}}]}}]}"#;
    format!(
        r#"{{"ietf-mud:mud":{{"mud-signature":"{signature}","from-device-policy":{policy}}},"ietf-access-control-list:acls":{lists}}}"#
    )
}

/// What the server sends for a path.
#[derive(Clone)]
enum Page {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A head, then letters for ever.
    Endless(&'static str),
    /// A letter now and then.
    Drip(&'static str),
}

fn ok(body: &str) -> Page {
    let length = body.len();
    Page::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
}

fn redirect(to: &str) -> Page {
    Page::Bytes(
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
    )
}

struct Server {
    address: SocketAddr,
    authority: String,
    requests: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// At `lamp.example`, with a certificate for this name.
    fn named(name: &str, pages: &[(&str, Page)]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let pages: BTreeMap<String, Page> = pages
            .iter()
            .map(|(path, page)| ((*path).to_owned(), page.clone()))
            .collect();
        runtime.spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::new(pages),
            Arc::clone(&requests),
        ));
        Self {
            address,
            authority: authority.pem(),
            requests,
            _runtime: runtime,
        }
    }

    fn new(pages: &[(&str, Page)]) -> Self {
        Self::named("lamp.example", pages)
    }

    fn url(&self, path: &str) -> HttpsUrl {
        format!("https://lamp.example:{}{path}", self.address.port())
            .parse()
            .unwrap()
    }

    fn settings(&self) -> FetchSettings {
        FetchSettings {
            system_authorities: false,
            authorities: self.authority.clone().into_bytes(),
            also: vec!["127.0.0.0/8".parse().unwrap()],
            hosts: BTreeMap::from([("lamp.example".to_owned(), vec![self.address.ip()])]),
            total: Duration::from_secs(1),
            ..FetchSettings::default()
        }
    }

    fn fetch(&self, path: &str) -> Result<FetchedMud, FetchError> {
        Fetcher::new(self.settings())?.mud_blocking(&self.url(path))
    }

    /// How a fetch fails, in words, with the port taken out.
    fn refuses(&self, path: &str) -> String {
        let error = self.fetch(path).unwrap_err();
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            write!(words, ": {inner}").unwrap();
            source = inner.source();
        }
        words.replace(&self.address.port().to_string(), "PORT")
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    pages: Arc<BTreeMap<String, Page>>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, pages, requests) = (tls.clone(), Arc::clone(&pages), Arc::clone(&requests));
        tokio::spawn(async move {
            let mut stream = tls.accept(tcp).await?;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await?);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            requests.lock().unwrap().push(request);
            let missing =
                Page::Bytes(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec());
            match pages.get(&path).unwrap_or(&missing) {
                Page::Bytes(bytes) => stream.write_all(bytes).await?,
                Page::Endless(head) => {
                    stream.write_all(head.as_bytes()).await?;
                    loop {
                        stream.write_all(&[b'a'; 4096]).await?;
                    }
                }
                Page::Drip(head) => {
                    stream.write_all(head.as_bytes()).await?;
                    loop {
                        stream.write_all(b"a").await?;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            stream.shutdown().await
        });
    }
}

#[test]
fn a_file_comes_with_the_signature_it_names() {
    let file = naming("sig/lamp.p7s");
    let server = Server::new(&[
        ("/v1/lamp.json", redirect("/v2/lamp.json")),
        ("/v2/lamp.json", ok(&file)),
        ("/v2/sig/lamp.p7s", ok("signature")),
    ]);
    let fetched = server.fetch("/v1/lamp.json").unwrap();
    assert_eq!(fetched.file.bytes, file.as_bytes());
    assert_eq!(fetched.file.url, server.url("/v2/lamp.json"));
    // Relative to where the file was in the end.
    let signature = fetched.signature.unwrap();
    assert_eq!(signature.url, server.url("/v2/sig/lamp.p7s"));
    assert_eq!(signature.bytes, b"signature");
}

#[test]
fn a_request_says_what_rfc_8520_wants_and_nothing_about_us() {
    let server = Server::new(&[("/lamp.json", ok(FILE))]);
    assert_eq!(server.fetch("/lamp.json").unwrap().signature, None);
    let request = server.requests()[0].replace(&server.address.port().to_string(), "PORT");
    let expected = "GET /lamp.json HTTP/1.1\r\nhost: lamp.example:PORT\r\n\
        accept: application/mud+json, application/json;q=0.5, */*;q=0.1\r\naccept-language: en\r\n\
        accept-encoding: identity\r\nuser-agent: stockade\r\nconnection: close\r\n\r\n";
    assert_eq!(request, expected);
}

#[test]
fn chunks_and_bodies_that_end_with_the_connection_are_read() {
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{FILE}\r\n0\r\n\r\n",
        FILE.len()
    );
    let server = Server::new(&[
        ("/chunked", Page::Bytes(chunked.into_bytes())),
        (
            "/closed",
            Page::Bytes(format!("HTTP/1.1 200 OK\r\n\r\n{FILE}").into_bytes()),
        ),
    ]);
    for path in ["/chunked", "/closed"] {
        assert_eq!(server.fetch(path).unwrap().file.bytes, FILE.as_bytes());
    }
}

#[test]
fn too_many_bytes_are_refused_announced_or_not() {
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    let server = Server::new(&[
        ("/announced", Page::Bytes(huge.into())),
        ("/endless", Page::Endless("HTTP/1.1 200 OK\r\n\r\n")),
        (
            "/chunks",
            Page::Endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n"),
        ),
        ("/head", Page::Endless("HTTP/1.1 200 OK\r\nx: ")),
    ]);
    for path in ["/announced", "/endless", "/chunks"] {
        assert_eq!(
            server.refuses(path),
            format!("https://lamp.example:PORT{path} has more than 1048576 bytes")
        );
    }
    assert_eq!(
        server.refuses("/head"),
        "lamp.example:PORT does not speak HTTP as expected: message head is too large"
    );
}

#[test]
fn a_slow_server_is_left() {
    let server = Server::new(&[
        (
            "/body",
            Page::Drip("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"),
        ),
        ("/head", Page::Drip("HTTP/1.1 200 OK\r\nx: ")),
        (
            "/early",
            Page::Drip("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 "),
        ),
    ]);
    for path in ["/body", "/head", "/early"] {
        let begun = Instant::now();
        assert_eq!(
            server.refuses(path),
            format!("https://lamp.example:PORT{path} did not come within 1 seconds")
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn redirects_are_few_and_stay_on_https() {
    let server = Server::new(&[
        ("/1", redirect("/2")),
        ("/2", redirect("3")),
        ("/3", redirect("./4")),
        ("/4", ok(FILE)),
        ("/0", redirect("/1")),
        ("/circle", redirect("/circle")),
        ("/plain", redirect("http://lamp.example/lamp.json")),
        ("/file", redirect("file:///etc/passwd")),
        ("/escape", redirect("https://x.example/\u{1b}]0;owned\u{7}")),
        ("/inside", redirect("https://10.0.0.1/lamp.json")),
        ("/metadata", redirect("https://169.254.169.254/latest")),
    ]);
    assert!(server.fetch("/1").is_ok(), "three are followed");
    for path in ["/0", "/circle"] {
        assert_eq!(
            server.refuses(path),
            format!(
                "https://lamp.example:PORT{path} leads from place to place: 3 redirects are followed"
            )
        );
    }
    let leads = "leads to something that is not an https address";
    assert_eq!(
        server.refuses("/plain"),
        format!("https://lamp.example:PORT/plain {leads}: `http://lamp.example/lamp.json`")
    );
    assert_eq!(
        server.refuses("/file"),
        format!("https://lamp.example:PORT/file {leads}: `file:///etc/passwd`")
    );
    assert!(!server.refuses("/escape").contains(char::is_control));
    assert_eq!(
        server.refuses("/inside"),
        "10.0.0.1 is at 10.0.0.1, which is not public: allow its network to fetch from there"
    );
    assert_eq!(
        server.refuses("/metadata"),
        "169.254.169.254 is at 169.254.169.254, which is not public: allow its network to fetch from there"
    );
}

#[test]
fn a_device_can_not_send_the_gateway_to_its_neighbours() {
    let server = Server::new(&[("/lamp.json", ok(FILE))]);
    let settings = FetchSettings {
        also: Vec::new(),
        ..server.settings()
    };
    let fetcher = Fetcher::new(settings).unwrap();
    // By name and by address.
    let by_address = format!("https://127.0.0.1:{}/", server.address.port());
    for url in [server.url("/lamp.json"), by_address.parse().unwrap()] {
        let error = fetcher.mud_blocking(&url).unwrap_err();
        assert!(matches!(error, FetchError::NotPublic { .. }), "{error}");
    }
    assert!(server.requests().is_empty(), "nothing was asked");
}

#[test]
fn who_answers_must_be_who_was_asked() {
    let server = Server::named("other.example", &[("/lamp.json", ok(FILE))]);
    let error = server.refuses("/lamp.json");
    assert!(
        error.contains("not valid for name \"lamp.example\""),
        "{error}"
    );
    assert!(server.requests().is_empty(), "nothing was asked");

    let (server, stranger) = (Server::new(&[("/lamp.json", ok(FILE))]), Server::new(&[]));
    let settings = FetchSettings {
        authorities: stranger.authority.clone().into_bytes(),
        ..server.settings()
    };
    let fetcher = Fetcher::new(settings).unwrap();
    assert!(matches!(
        fetcher.mud_blocking(&server.url("/lamp.json")),
        Err(FetchError::Connect(..))
    ));
    assert!(server.requests().is_empty(), "nothing was asked");
}

#[test]
fn answers_that_are_none_are_refused() {
    let server = Server::new(&[
        (
            "/cut",
            Page::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec()),
        ),
        (
            "/chunk",
            Page::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab".to_vec()),
        ),
        (
            "/both",
            Page::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc".to_vec(),
            ),
        ),
        ("/noise", Page::Bytes(vec![0xff; 300])),
        ("/nothing", Page::Bytes(Vec::new())),
        (
            "/partial",
            Page::Bytes(b"HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\n\r\nabc".to_vec()),
        ),
        (
            "/zip",
            Page::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"
                    .to_vec(),
            ),
        ),
        (
            "/nowhere",
            Page::Bytes(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
    ]);
    for path in ["/cut", "/chunk", "/both", "/noise", "/nothing"] {
        let error = server.fetch(path).unwrap_err();
        assert!(matches!(error, FetchError::Http(..)), "{path}: {error}");
    }
    assert_eq!(
        server.refuses("/partial"),
        "https://lamp.example:PORT/partial is not there: the server answered 206 Partial Content"
    );
    assert_eq!(
        server.refuses("/nowhere"),
        "https://lamp.example:PORT/nowhere is not there: the server answered 302 Found"
    );
    assert_eq!(
        server.refuses("/missing"),
        "https://lamp.example:PORT/missing is not there: the server answered 404 Not Found"
    );
    assert_eq!(
        server.refuses("/zip"),
        "lamp.example:PORT answers with a content encoding that was not asked for"
    );
}

#[test]
fn a_signature_that_is_named_and_missing_is_an_error() {
    let server = Server::new(&[
        ("/missing.json", ok(&naming("gone.p7s"))),
        ("/plain.json", ok(&naming("http://lamp.example/lamp.p7s"))),
        ("/inside.json", ok(&naming("https://192.168.1.1/reboot"))),
    ]);
    let signature = "the file's signature could not be fetched";
    assert_eq!(
        server.refuses("/missing.json"),
        format!(
            "{signature}: https://lamp.example:PORT/gone.p7s is not there: the server answered 404 Not Found"
        )
    );
    assert_eq!(
        server.refuses("/plain.json"),
        format!(
            "{signature}: https://lamp.example:PORT/plain.json leads to something that is not an https address: `http://lamp.example/lamp.p7s`"
        )
    );
    assert_eq!(
        server.refuses("/inside.json"),
        format!(
            "{signature}: 192.168.1.1 is at 192.168.1.1, which is not public: allow its network to fetch from there"
        )
    );
}

#[test]
fn nobody_to_vouch_for_servers_is_said_at_once() {
    let settings = |authorities: &[u8]| FetchSettings {
        system_authorities: false,
        authorities: authorities.to_vec(),
        ..FetchSettings::default()
    };
    assert!(matches!(
        Fetcher::new(settings(b"")),
        Err(FetchError::NoAuthorities)
    ));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        Fetcher::new(settings(broken)),
        Err(FetchError::Authorities)
    ));
}
