//! Servers of others, asked which versions of TLS they accept; sslscan says the same.
#![expect(
    clippy::expect_used,
    reason = "a helper of a test fails as the test does"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stockade_controls::engine::{Listener, TlsAnswers, Transport, Unseen};
use stockade_host::tls::ask;

/// A program that is stopped when the test is over.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Says why something is not tried.
fn skip(why: &str) {
    let _nobody = writeln!(std::io::stdout(), "{why}");
}

/// A port that nobody has now.
fn port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// `openssl s_server` with these arguments, with a key of its own.
fn openssl(arguments: &[&str]) -> Option<Server> {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-days",
            "2",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    if made.is_err() {
        skip("skipped: there is no openssl");
        return None;
    }
    let address = port();
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &address.to_string(),
        ])
        .arg("-key")
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    Some(up(child, address))
}

fn up(child: Child, address: SocketAddr) -> Server {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{address} does not come up"
        );
        std::thread::yield_now();
    }
    Server { child, address }
}

fn asked(address: SocketAddr) -> Result<TlsAnswers, Unseen> {
    ask(&Listener {
        transport: Transport::Tcp,
        address,
        user: 0,
        processes: Vec::new(),
    })
}

fn accepted(server: &Server) -> Vec<String> {
    let answers = asked(server.address).expect("answers");
    assert_eq!(answers.plain, None);
    let accepted = answers
        .accepted
        .into_iter()
        .filter(|(_, accepted)| *accepted);
    accepted.map(|(version, _)| version).collect()
}

/// What sslscan says of the same server.
fn sslscan(server: &Server) -> Option<Vec<String>> {
    let output = Command::new("sslscan")
        .args([
            "--no-colour",
            "--no-ciphersuites",
            "--no-heartbleed",
            "--no-groups",
            "--no-renegotiation",
        ])
        .arg(server.address.to_string())
        .output();
    let Ok(output) = output else {
        skip("skipped: there is no sslscan to compare with");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let enabled = text
        .lines()
        .filter(|line| line.contains("enabled") && !line.contains("SSLv2"));
    let mut versions: Vec<String> = enabled
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| {
            name.to_lowercase()
                .replace("tlsv", "tls")
                .replace("sslv", "ssl")
        })
        .collect();
    versions.sort();
    Some(versions)
}

/// Seclevel 0 lets openssl 3 speak what it thinks is too old.
const OLD: [&str; 2] = ["-cipher", "ALL:@SECLEVEL=0"];

#[test]
fn each_version_is_told_as_it_is_and_as_sslscan_tells_it() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["-tls1_3"], &["tls1.3"]),
        (&["-tls1_2"], &["tls1.2"]),
        (&["-tls1_1", OLD[0], OLD[1]], &["tls1.1"]),
        (&["-tls1", OLD[0], OLD[1]], &["tls1.0"]),
        (&[OLD[0], OLD[1]], &["tls1.0", "tls1.1", "tls1.2", "tls1.3"]),
    ];
    for (arguments, expected) in cases {
        let Some(server) = openssl(arguments) else {
            return;
        };
        assert_eq!(accepted(&server), expected, "{arguments:?}");
        if let Some(theirs) = sslscan(&server) {
            assert_eq!(theirs, expected, "sslscan, {arguments:?}");
        }
    }
}

#[test]
fn a_server_that_wants_another_group_or_a_shared_key_has_answered_all_the_same() {
    let Some(server) = openssl(&["-tls1_3", "-groups", "P-384"]) else {
        return;
    };
    assert_eq!(accepted(&server), ["tls1.3"]);
    let Some(server) = openssl(&["-tls1_2", "-nocert", "-psk", "00112233", "-cipher", "PSK"])
    else {
        return;
    };
    assert_eq!(accepted(&server), ["tls1.2"]);
}

/// A server of our own that does with each connection as it is told.
fn server(each: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            each(stream);
        }
    });
    address
}

#[test]
fn a_plain_service_is_known_by_what_it_says_first() {
    let greets = server(|mut stream| {
        let _sent = stream.write_all(b"220 ftp ready\r\n");
        let _read = stream.read(&mut [0; 1000]);
    });
    assert_eq!(
        asked(greets).expect("an answer").plain.as_deref(),
        Some("220 ftp ready")
    );
    let address = port();
    let child = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1"])
        .arg(address.port().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        skip("skipped: there is no python3");
        return;
    };
    let python = up(child, address);
    let said = asked(python.address).expect("an answer").plain;
    assert!(said.is_some_and(|said| !said.is_empty()), "it speaks HTTP");
}

#[test]
fn one_that_keeps_silent_or_drips_can_not_hold_us_and_is_not_called_fine() {
    let silent = server(|stream| {
        std::thread::spawn(move || {
            let mut stream = stream;
            let mut buffer = [0; 1000];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
    });
    let begun = Instant::now();
    assert!(matches!(asked(silent), Err(Unseen::Failed(_))));
    let drips = server(|mut stream| {
        std::thread::spawn(move || {
            let (_never, wait) = std::sync::mpsc::sync_channel::<()>(0);
            for byte in [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3].iter().cycle() {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                let _pause = wait.recv_timeout(Duration::from_millis(50));
            }
        });
    });
    assert!(asked(drips).is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    let closes = server(drop);
    assert!(matches!(asked(closes), Err(Unseen::Failed(_))));
    let nobody = port();
    assert!(asked(nobody).is_err());
}
