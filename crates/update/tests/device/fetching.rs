//! The part that fetches, against a server of HTTPS.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use stockade_api::update::Phase;
use stockade_update::{FetchError, Version, Wanted, fetch};

use crate::world::World;

/// How the server behaves to a request for a target; metadata it gives as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Fine,
    /// Breaks off in the middle, each time a bit later.
    BreaksOff,
    /// Sends a bit, and then nothing.
    Silent,
    /// Has another file there.
    Lies,
    /// Sends without end.
    Endless,
    /// Sends the device somewhere else.
    Redirects,
}

fn serve(folder: PathBuf, manner: Manner) -> (u16, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pem = made.cert.pem().into_bytes();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Who hung up is served no further.
            drop(answer(
                StreamOwned::new(connection, stream.unwrap()),
                &folder,
                manner,
            ));
        }
    });
    (port, pem)
}

fn answer(
    stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    folder: &std::path::Path,
    manner: Manner,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut from) = (String::new(), 0);
    stream.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range
                .trim()
                .trim_end_matches('-')
                .parse()
                .map_err(std::io::Error::other)?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut to = stream.into_inner();
    let path = first.split(' ').nth(1).unwrap().trim_start_matches("/cam/");
    let is_target = path.starts_with("targets/");
    let Ok(content) = fs_err::read(folder.join(path)) else {
        return write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let rest = &content[from..];
    let (status, end) = if from > 0 {
        ("206 Partial Content", content.len() - 1)
    } else {
        ("200 OK", 0)
    };
    let range = if from > 0 {
        format!("Content-Range: bytes {from}-{end}/{}\r\n", content.len())
    } else {
        String::new()
    };
    if is_target && manner == Manner::Redirects {
        return write!(
            to,
            "HTTP/1.1 302 Found\r\nLocation: https://localhost/other\r\nContent-Length: 0\r\n\r\n"
        );
    }
    let length = if is_target && manner == Manner::Endless {
        usize::MAX >> 1
    } else {
        rest.len()
    };
    write!(
        to,
        "HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\n\r\n"
    )?;
    if !is_target {
        to.write_all(rest)?;
        return to.flush();
    }
    match manner {
        Manner::Fine | Manner::Redirects => to.write_all(rest)?,
        Manner::BreaksOff => to.write_all(&rest[..rest.len().min(200_000)])?,
        Manner::Lies => to.write_all(&vec![7; rest.len()])?,
        Manner::Endless => loop {
            to.write_all(&vec![7; 65_536])?;
        },
        Manner::Silent => {
            to.write_all(&rest[..1000])?;
            to.flush()?;
            std::thread::park_timeout(Duration::from_secs(30));
        }
    }
    to.flush()
}

fn fetched(manner: Manner) -> (World, Result<(), FetchError>) {
    let mut world = World::new();
    world.publish(2);
    let (port, pem) = serve(world.maker.repository(), manner);
    let wanted = Wanted {
        source: format!("https://127.0.0.1:{port}/cam").parse().unwrap(),
        model: "cam-2".to_owned(),
        version: Some(Version::Newest),
        authorities: Some(pem),
        silence: Duration::from_secs(2),
        least: 256,
    };
    let spool = world.places().spool();
    fs_err::create_dir_all(&spool).unwrap();
    let root = world.places().etc().join("update/root.json");
    let done = fetch(&spool, &root, &wanted);
    (world, done)
}

#[track_caller]
fn refused(manner: Manner, why: &str) {
    let began = Instant::now();
    let (world, done) = fetched(manner);
    let said = format!("{:#}", anyhow::Error::from(done.unwrap_err()));
    assert!(said.contains(why), "{said}");
    assert!(began.elapsed() < Duration::from_mins(1));
    let whole = world.places().spool().join("targets");
    let files = fs_err::read_dir(whole).unwrap();
    assert!(
        files
            .into_iter()
            .all(|it| it.unwrap().file_name() == "part")
    );
    world.install_refused();
}

#[test]
fn what_is_fetched_is_installed() {
    let (world, done) = fetched(Manner::Fine);
    done.unwrap();
    assert!(matches!(
        world.install().unwrap().phase,
        Phase::Ready { version: 2, .. }
    ));
    assert_eq!(world.boot(), 2);
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let (world, done) = fetched(Manner::BreaksOff);
    done.unwrap();
    world.install().unwrap();
}

#[test]
fn a_server_that_is_silent_is_left() {
    refused(Manner::Silent, "silent for 2 seconds");
}

#[test]
fn a_server_that_has_another_file_is_not_believed() {
    refused(Manner::Lies, "not what was signed");
}

#[test]
fn a_server_that_sends_without_end_is_cut_off() {
    refused(Manner::Endless, "more comes than");
}

#[test]
fn a_server_that_points_elsewhere_is_not_followed() {
    refused(Manner::Redirects, "302");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_asked() {
    let world = World::new();
    let (port, _) = serve(world.maker.repository(), Manner::Fine);
    let (_, other) = serve(world.maker.repository(), Manner::Fine);
    let wanted = Wanted {
        source: format!("https://127.0.0.1:{port}/cam").parse().unwrap(),
        model: "cam-2".to_owned(),
        version: None,
        authorities: Some(other),
        silence: Duration::from_secs(2),
        least: 256,
    };
    let spool = world.places().spool();
    fs_err::create_dir_all(&spool).unwrap();
    let root = world.places().etc().join("update/root.json");
    let said = format!(
        "{:#}",
        anyhow::Error::from(fetch(&spool, &root, &wanted).unwrap_err())
    );
    assert!(said.contains("certificate"), "{said}");
}
