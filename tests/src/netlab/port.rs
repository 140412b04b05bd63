//! Raw ends of the lab's cables, and the ears of a host.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::packet::{Packet, number, tail};

const BUFFER: usize = 8 << 20;

/// An interface without an IP stack: frames in, frames out.
#[derive(Debug)]
pub struct Port(OwnedFd);

impl Port {
    /// Opens an interface of the namespace the calling thread is in.
    pub fn open(interface: &str) -> Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        bind(socket.as_raw_fd(), &link(interface)?)?;
        Ok(Self(socket))
    }

    /// Puts a frame on the cable.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty()).context("cannot send a frame")?;
        Ok(())
    }

    /// Puts a packet on the cable.
    pub fn put(&self, packet: &Packet) -> Result<()> {
        self.send(&packet.frame())
    }

    /// The numbers of the lab's packets that came out of the cable since the last call.
    pub fn heard(&self) -> Result<Vec<u32>> {
        let mut heard = Vec::new();
        self.frames(|frame| heard.extend(frame.get(14..).and_then(number)))?;
        Ok(heard)
    }

    /// Every frame that came out of the cable since the last call; those sent here are not among them.
    pub fn frames(&self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = [0; 2048];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => each(&buffer[..length.min(buffer.len())]),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot receive frames"),
            }
        }
    }
}

fn link(interface: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))
}

/// The link-layer address of an interface of the namespace the calling thread is in.
pub fn mac(interface: &str) -> Result<super::packet::Mac> {
    link(interface)?
        .addr()
        .with_context(|| format!("{interface} has no link-layer address"))
}

/// What a host accepted for itself: a raw socket for each protocol, behind the input hook.
#[derive(Debug)]
pub struct Ears(Vec<Socket>);

impl Ears {
    /// Listens for these protocols, on IPv4 and IPv6, in the namespace the calling thread is in.
    pub fn open(protocols: &[u8]) -> Result<Self> {
        let mut sockets = Vec::new();
        for domain in [Domain::IPV4, Domain::IPV6] {
            for protocol in protocols {
                let socket = Socket::new(
                    domain,
                    Type::RAW,
                    Some(Protocol::from(i32::from(*protocol))),
                )?;
                socket.set_nonblocking(true)?;
                socket.set_recv_buffer_size(BUFFER)?;
                sockets.push(socket);
            }
        }
        Ok(Self(sockets))
    }

    /// The numbers of the lab's packets the host accepted since the last call.
    pub fn heard(&self) -> Result<Vec<u32>> {
        let mut heard = Vec::new();
        let mut buffer = [0; 2048];
        for mut socket in &self.0 {
            loop {
                match socket.read(&mut buffer) {
                    Ok(length) => heard.extend(tail(&buffer[..length])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("cannot listen"),
                }
            }
        }
        Ok(heard)
    }
}
