//! A device and its peer: two network namespaces and a cable between them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

/// The device's address, and the peer's.
pub(crate) const DEVICE: &str = "10.9.0.2";
pub(crate) const PEER: &str = "10.9.0.1";

/// The calling thread is in the device's namespace; the peer's is entered for single calls.
#[derive(Debug)]
pub(crate) struct Cable {
    device: File,
    peer: File,
}

impl Cable {
    /// Lays it; none where namespaces can not be had.
    pub(crate) fn new() -> Option<Self> {
        if !super::namespace() {
            return None;
        }
        let peer = here();
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        super::ip("link set dev lo up");
        let device = here();
        super::ip("link add name eth0 type veth peer name far");
        // The other end is moved by the number of a process that is there.
        let cable = Self { device, peer };
        let mut holder = cable.at_peer(|| {
            std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .expect("a process")
        });
        super::ip(&format!("link set dev far netns {}", holder.id()));
        holder.kill().expect("its end");
        holder.wait().expect("its end");
        super::ip("link set dev eth0 up");
        super::ip(&format!("addr add {DEVICE}/24 dev eth0"));
        super::ip(&format!("route add default via {PEER}"));
        cable.at_peer(|| {
            super::ip("link set dev far up");
            super::ip(&format!("addr add {PEER}/24 dev far"));
        });
        // The kernel gives itself another address a moment after both ends are up; rules are about addresses.
        while !super::run("ip", "-6 addr show dev eth0", "").contains("fe80::") {
            super::pause(Duration::from_millis(10));
        }
        Some(cable)
    }

    /// Does something in the peer's namespace.
    pub(crate) fn at_peer<T>(&self, what: impl FnOnce() -> T) -> T {
        setns(&self.peer, CloneFlags::CLONE_NEWNET).expect("the peer's namespace");
        let done = what();
        setns(&self.device, CloneFlags::CLONE_NEWNET).expect("the device's namespace");
        done
    }

    /// Does something in the peer's namespace, in a thread of its own.
    pub(crate) fn thread_at_peer(
        &self,
        what: impl FnOnce() + Send + 'static,
    ) -> std::thread::JoinHandle<()> {
        let peer = self.peer.try_clone().expect("a handle");
        std::thread::spawn(move || {
            setns(&peer, CloneFlags::CLONE_NEWNET).expect("the peer's namespace");
            what();
        })
    }

    /// Listens on the device.
    #[expect(
        clippy::unused_self,
        reason = "the calling thread is in the cable's namespace"
    )]
    pub(crate) fn listen(&self, ports: &[u16]) -> Vec<TcpListener> {
        let bind = |port: &u16| TcpListener::bind((DEVICE, *port)).expect("a port");
        ports.iter().map(bind).collect()
    }

    /// Listens at the peer, and sends back what comes.
    pub(crate) fn listen_at_peer(&self, port: u16) -> std::thread::JoinHandle<()> {
        let listener = self.at_peer(|| TcpListener::bind((PEER, port)).expect("a port"));
        self.thread_at_peer(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().expect("a handle");
                    drop(std::io::copy(&mut stream, &mut back));
                });
            }
        })
    }

    /// A connection from the device to the peer, if there can be one.
    #[expect(
        clippy::unused_self,
        reason = "the calling thread is in the cable's namespace"
    )]
    pub(crate) fn connect_out(&self, port: u16) -> Option<TcpStream> {
        let to: SocketAddr = format!("{PEER}:{port}").parse().expect("an address");
        TcpStream::connect_timeout(&to, Duration::from_millis(300)).ok()
    }

    /// Whether the peer can connect to the device.
    pub(crate) fn reaches(&self, port: u16) -> bool {
        let to: SocketAddr = format!("{DEVICE}:{port}").parse().expect("an address");
        self.at_peer(|| TcpStream::connect_timeout(&to, Duration::from_millis(150)).is_ok())
    }

    /// A connection from the peer to the device: the peer's end first.
    pub(crate) fn connect(&self, port: u16) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((DEVICE, port)).expect("a port");
        let client = self.at_peer(|| TcpStream::connect((DEVICE, port)).expect("a connection"));
        let (server, _) = listener.accept().expect("a peer");
        (client, server)
    }
}

fn here() -> File {
    File::open("/proc/thread-self/ns/net").expect("a namespace")
}
