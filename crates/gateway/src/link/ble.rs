//! The Bluetooth LE bearer: CoAP messages over L2CAP channels and over GATT, by a controller that is ours alone.
//!
//! The host stack is this folder, and only what a central needs (decision 0264): `hci` what a controller understands,
//! `l2cap` and `att` what a peer says, `peer` a connection, `queue` and `central` who is connected when. No pairing, no bond, no name: a radio's address
//! says where an answer goes, and OSCORE says who speaks.

mod att;
mod central;
#[doc(hidden)]
pub mod fuzz;
mod hci;
mod l2cap;
mod peer;
mod queue;

use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use stockade_link::bearer::MESSAGE_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use self::central::Central;
use super::bearer::{BearerError, Datagram, Place, Port, Retry, deliver};
use super::serial::{Ends, connect, host_line, server, terminal};

/// How long to wait before a controller that failed is opened again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where the controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// The kernel's `hciN`.
    Adapter(u16),
    /// H4 over TCP: HOST:PORT.
    Server(String),
    /// H4 on a serial line, with RTS and CTS.
    Line {
        /// The line.
        path: PathBuf,
        /// Its speed.
        baud: u32,
    },
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapter(number) => write!(f, "ble:hci{number}"),
            Self::Server(server) => write!(f, "ble:hci-tcp:{server}"),
            Self::Line { path, .. } => write!(f, "ble:h4:{}", path.display()),
        }
    }
}

impl FromStr for Settings {
    type Err = BearerError;

    /// Nothing or `hci0`, `hci-tcp:HOST:PORT`, `h4:/dev/ttyACM0[@BAUD]`.
    fn from_str(text: &str) -> Result<Self, BearerError> {
        let fault = |why| BearerError::Settings {
            text: text.to_owned(),
            why,
        };
        if text.is_empty() {
            return Ok(Self::Adapter(0));
        }
        if let Some(text) = text.strip_prefix("hci-tcp:") {
            let server = server(text);
            let server = server.ok_or_else(|| fault("after hci-tcp: come a host and a port"))?;
            return Ok(Self::Server(server));
        }
        if let Some(line) = text.strip_prefix("h4:") {
            let (path, baud) = host_line(line, 9_600).map_err(fault)?;
            return Ok(Self::Line { path, baud });
        }
        let number = text.strip_prefix("hci").and_then(|it| it.parse().ok());
        number
            .map(Self::Adapter)
            .ok_or_else(|| fault("a controller is hci0, hci-tcp:HOST:PORT or h4:PATH@BAUD"))
    }
}

/// Carries datagrams until the core is gone. A controller that fails is opened again, each time a little later.
pub async fn run(settings: Settings, bearer: u16, mut port: Port) {
    let (mut retry, mut next_peer) = (Retry::new(AGAIN.0, AGAIN.1, &port), 0);
    loop {
        let carried = async {
            let ends = open(&settings).await?;
            retry.opened();
            carry(ends, bearer, &mut port, &mut next_peer, &mut retry).await
        };
        let Err(error) = carried.await else { return };
        retry.failed(&error);
        if !retry.wait(&mut port).await {
            return;
        }
    }
}

async fn open(settings: &Settings) -> io::Result<Ends> {
    match settings {
        Settings::Adapter(index) => {
            let socket = stockade_host::bluetooth::user_channel(*index)?;
            let write = pipe::Sender::from_file_unchecked(socket.try_clone()?.into())?;
            let read = Packets(UnixDatagram::from_std(socket.into())?);
            Ok((Box::new(read), Box::new(write)))
        }
        Settings::Server(server) => connect(server).await,
        Settings::Line { path, baud } => terminal(path, *baud, true),
    }
}

/// What comes from the kernel's channel. Tokio takes a short read of a stream for the last one there is, but here each is a packet:
/// its datagram socket knows that, and is one of any family once it is made.
struct Packets(UnixDatagram);

impl AsyncRead for Packets {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_recv(context, buffer)
    }
}

/// Carries datagrams until the controller fails, or the core is gone.
async fn carry(
    (mut read, mut write): Ends,
    bearer: u16,
    port: &mut Port,
    next_peer: &mut u64,
    retry: &mut Retry,
) -> io::Result<()> {
    let started = Instant::now();
    let mut address = [0; 6];
    aws_lc_rs::rand::fill(&mut address).map_err(|_| io::Error::other("no randomness"))?;
    let mut central = Central::new(address, *next_peer);
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    let mut ready = false;
    let mut chunk = [0; hci::MAX_PACKET];
    loop {
        *next_peer = central.next_peer();
        while let Some((peer, bytes)) = central.poll_message() {
            let place = Place::Near { bearer, peer };
            deliver(port, Datagram { place, bytes })?;
        }
        // One packet a write: the kernel's channel wants it so.
        if outgoing.is_empty()
            && let Some(packet) = central.poll_packet(started.elapsed())
        {
            outgoing = packet;
        }
        let timeout = central.next_timeout().map(|at| started + at);
        tokio::select! {
            count = read.read(&mut chunk) => {
                let count = count?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                incoming.extend_from_slice(chunk.get(..count).unwrap_or_default());
                while let Some(length) = hci::length(&incoming).map_err(io::Error::other)?
                    && incoming.len() >= length
                {
                    let packet: Vec<u8> = incoming.drain(..length).collect();
                    central
                        .handle_packet(&packet, started.elapsed())
                        .map_err(io::Error::other)?;
                    if central.is_ready() && !ready {
                        ready = true;
                        retry.works();
                        tracing::info!(bearer, "Bluetooth controller ready");
                    }
                }
            }
            written = write.write(&outgoing), if !outgoing.is_empty() => {
                outgoing.drain(..written?);
            }
            next = port.to_send.recv() => {
                let Some(Datagram { place, bytes }) = next else { return Ok(()) };
                if let Place::Near { bearer: number, peer } = place
                    && number == bearer
                    && bytes.len() <= MESSAGE_MAX
                {
                    central.handle_message(peer, bytes, started.elapsed());
                }
            }
            () = tokio::time::sleep_until(timeout.unwrap_or(started)), if timeout.is_some() => {
                central
                    .handle_timeout(started.elapsed())
                    .map_err(io::Error::other)?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
