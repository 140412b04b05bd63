//! The listener itself: real TLS, slow clients, and an end in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use stockade_console::{bind_unix, serve, serve_unix};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bench::Bench;

struct Listening {
    address: std::net::SocketAddr,
    connector: TlsConnector,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn listen(bench: &Bench) -> Listening {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let router = bench.pages.clone();
    let task = tokio::spawn(serve(
        listener,
        move || Arc::clone(&config),
        router,
        async move {
            let _told = stopped.await;
        },
    ));
    Listening {
        address,
        connector: TlsConnector::from(Arc::new(client)),
        stop,
        task,
    }
}

async fn connect(listening: &Listening) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(listening.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    listening.connector.connect(name, tcp).await.unwrap()
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Not every end of a connection is a polite one.
    let _ended = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_page_comes_over_tls_and_localhost_gets_no_hsts() {
    let bench = Bench::new();
    let listening = listen(&bench).await;
    let answer = ask(&mut connect(&listening).await, "/login").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"));
    assert!(
        !answer.contains("strict-transport-security"),
        "other programs share the name"
    );
    listening.stop.send(()).unwrap();
    listening.task.await.unwrap();
}

#[tokio::test]
async fn silent_connections_stop_nobody_even_at_the_same_address() {
    let bench = Bench::new();
    let listening = listen(&bench).await;
    let mut silent = Vec::new();
    for _ in 0..700 {
        silent.push(TcpStream::connect(listening.address).await.unwrap());
    }
    // These got as far as TLS, and then nothing.
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(connect(&listening).await);
    }
    let answer = ask(&mut connect(&listening).await, "/login").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let first = silent.first_mut().unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), first.read(&mut [0; 1])).await;
    assert!(
        matches!(closed, Ok(Ok(0) | Err(_))),
        "the oldest gave way: {closed:?}"
    );
}

#[tokio::test]
async fn a_stop_waits_for_nobody_for_long() {
    let bench = Bench::new();
    let listening = listen(&bench).await;
    let _idle = connect(&listening).await;
    let _silent = TcpStream::connect(listening.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    listening.stop.send(()).unwrap();
    listening.task.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn the_socket_answers_without_a_log_in() {
    let bench = Bench::new();
    bench.populate();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = bind_unix(&path).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve_unix(listener, bench.api.clone(), async move {
        let _told = stopped.await;
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = "GET /api/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.ends_with(r#""version":7,"devices":5}]}"#),
        "{answer}"
    );
    stop.send(()).unwrap();
    task.await.unwrap();
}
