//! The reference: Eclipse Mosquitto over plain TCP on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::{Connection, pass};

/// The version whose failures are listed.
const LISTED: &str = "2.0.11";

/// Debian puts it where only root looks.
fn program() -> &'static str {
    let debian = "/usr/sbin/mosquitto";
    if Path::new(debian).is_file() {
        debian
    } else {
        "mosquitto"
    }
}

/// Whether the mosquitto here is the one whose failures are listed; another may fail less.
pub(crate) fn is_the_listed_one() -> bool {
    let help = Command::new(program()).arg("-h").output().expect(MISSING);
    let text = String::from_utf8_lossy(&help.stdout);
    text.lines()
        .next()
        .is_some_and(|line| line.ends_with(LISTED))
}

const MISSING: &str = "mosquitto can be started: apt-get install mosquitto";

/// A running broker.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    child: Child,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Mosquitto {
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            if let Some(started) = Self::try_start() {
                return started;
            }
        }
        panic!("mosquitto did not start; is it installed?");
    }

    /// `None` when another process took the port in the meantime.
    fn try_start() -> Option<Self> {
        let files = tempfile::tempdir().expect("a directory for the configuration");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let rights = files.path().join("acl");
        fs_err::write(&rights, "pattern readwrite t/#\npattern read $SYS/#\n").expect("written");
        let lines = [
            format!("listener {port} 127.0.0.1"),
            "allow_anonymous true".into(),
            format!("acl_file {}", rights.display()),
            "user root".into(),
            "set_tcp_nodelay true".into(),
            "log_dest none".into(),
        ];
        let settings = files.path().join("mosquitto.conf");
        fs_err::write(&settings, lines.join("\n") + "\n").expect("written");
        let mut child = Command::new(program())
            .arg("-c")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for _ in 0..1000 {
            if TcpStream::connect(address).is_ok() {
                return Some(Self {
                    child,
                    address,
                    _files: files,
                });
            }
            if child.try_wait().expect("a child of ours").is_some() {
                return None;
            }
            pass(Duration::from_millis(5));
        }
        panic!("mosquitto does not listen on {address}");
    }

    pub(crate) fn open(&self) -> Connection {
        let socket = TcpStream::connect(self.address).expect("mosquitto accepts");
        let stream = Box::new(socket.try_clone().expect("a socket can be cloned"));
        Connection { stream, socket }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may be gone already; the point is that it is not left behind.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
