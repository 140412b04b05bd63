//! The serial bearer: CoAP messages in slipmux frames, on a line of this host or of a serial server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, io};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{ControlModes, OptionalActions};
use stockade_link::bearer::MESSAGE_MAX;
use stockade_link::bearer::fragment::{Assembler, Cutter, PAUSE_MAX};
use stockade_link::bearer::slipmux::{Decoder, FRAME_MAX, Frame, Kind, encode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::bearer::{BearerError, Datagram, Place, Port, Retry};

/// Speed of a line where none is said.
const BAUD: u32 = 115_200;
/// How long to wait before a line that failed is opened again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How long a serial server may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// Peers of a radio whose messages are put together at the same time: what bounds the memory for what strangers send.
const PEERS: usize = 64;

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Host { path: PathBuf, baud: u32 },
    Server(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { path, .. } => path.display().fmt(f),
            Self::Server(server) => write!(f, "tcp:{server}"),
        }
    }
}

/// A line, and what is on it: `PATH[@BAUD]` or `tcp:HOST:PORT`, then `,frames=N` for a radio of small frames at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    line: Line,
    /// Most a frame of the radio carries for us, in bytes.
    frames: Option<usize>,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial:{}", self.line)
    }
}

impl FromStr for Settings {
    type Err = BearerError;

    fn from_str(text: &str) -> Result<Self, BearerError> {
        let fault = |why| BearerError::Settings {
            text: text.to_owned(),
            why,
        };
        let (line, frames) = match text.split_once(',') {
            None => (text, None),
            Some((line, more)) => {
                let size = more.strip_prefix("frames=").and_then(|it| it.parse().ok());
                let size = size.filter(|it| (20..=MESSAGE_MAX).contains(it));
                let size = size.ok_or_else(|| {
                    fault("after the comma comes frames=N, and N is from 20 to 1152")
                })?;
                (line, Some(size))
            }
        };
        let line = if let Some(text) = line.strip_prefix("tcp:") {
            Line::Server(server(text).ok_or_else(|| {
                fault("after tcp: come a host and a port, as in tcp:192.0.2.7:3001")
            })?)
        } else {
            let (path, baud) = host_line(line, 50).map_err(fault)?;
            Line::Host { path, baud }
        };
        Ok(Self { line, frames })
    }
}

/// `HOST:PORT`.
pub(super) fn server(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (port > 0 && !host.is_empty()).then(|| text.to_owned())
}

/// `PATH[@BAUD]`, at that speed at least.
pub(super) fn host_line(text: &str, slowest: u32) -> Result<(PathBuf, u32), &'static str> {
    let (path, baud) = match text.rsplit_once('@') {
        None => (text, Some(BAUD)),
        Some((path, baud)) => (path, baud.parse().ok()),
    };
    let baud = baud
        .filter(|it| (slowest..=12_000_000).contains(it))
        .ok_or("the speed after @ is a number of bits a second, as 115200")?;
    if !path.starts_with('/') {
        return Err("a line is a path from the root, as /dev/ttyACM0");
    }
    Ok((PathBuf::from(path), baud))
}

/// Carries datagrams until the core is gone. A line that fails is opened again, each time a little later.
pub async fn run(settings: Settings, bearer: u16, mut port: Port) {
    let mut retry = Retry::new(AGAIN.0, AGAIN.1, &port);
    for peer in 0.. {
        let place = Place::Near { bearer, peer };
        let carried = async {
            let ends = open(&settings.line).await?;
            tracing::info!(bearer, line = %settings.line, "serial line opened");
            retry.opened();
            carry(ends, place, settings.frames, &mut port, &mut retry).await
        };
        let Err(error) = carried.await else { return };
        retry.failed(&error);
        if !retry.wait(&mut port).await {
            return;
        }
    }
}

pub(super) type Ends = (
    Box<dyn AsyncRead + Send + Unpin>,
    Box<dyn AsyncWrite + Send + Unpin>,
);

async fn open(line: &Line) -> io::Result<Ends> {
    match line {
        Line::Host { path, baud } => terminal(path, *baud, false),
        Line::Server(server) => connect(server).await,
    }
}

/// A line, or whatever else is a stream of bytes, at a server of this name.
pub(super) async fn connect(server: &str) -> io::Result<Ends> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(server)).await??;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((Box::new(read), Box::new(write)))
}

/// A line of this host: raw, eight bits, ours alone, and with RTS and CTS where both ends have them.
pub(super) fn terminal(path: &Path, baud: u32, handshake: bool) -> io::Result<Ends> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let line = rustix::fs::open(path, flags, Mode::empty())?;
    let mut settings = rustix::termios::tcgetattr(&line)?;
    rustix::termios::ioctl_tiocexcl(&line)?;
    settings.make_raw();
    settings.set_speed(baud)?;
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes -= ControlModes::CSTOPB;
    settings.control_modes.set(ControlModes::CRTSCTS, handshake);
    rustix::termios::tcsetattr(&line, OptionalActions::Flush, &settings)?;
    // Tokio's ends of a pipe do all that is needed: any descriptor that epoll knows, read and written without waiting.
    let other = line.try_clone()?;
    let read = pipe::Receiver::from_file_unchecked(line.into())?;
    let write = pipe::Sender::from_file_unchecked(other.into())?;
    Ok((Box::new(read), Box::new(write)))
}

/// Carries datagrams until the line fails, or the core is gone. What is half sent holds back the rest, and the core drops: CoAP repeats.
async fn carry(
    (mut read, mut write): Ends,
    place: Place,
    frames: Option<usize>,
    port: &mut Port,
    retry: &mut Retry,
) -> io::Result<()> {
    let mut frame = [0; FRAME_MAX];
    let mut decoder = Decoder::new(&mut frame);
    let mut radio = frames.map(|size| Radio {
        size,
        started: Instant::now(),
        peers: BTreeMap::new(),
    });
    let mut chunk = [0; 512];
    let mut outgoing = Vec::new();
    loop {
        tokio::select! {
            count = read.read(&mut chunk) => {
                let count = count?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                for byte in chunk.iter().take(count) {
                    let Some(frame) = decoder.push(*byte) else { continue };
                    retry.works();
                    let received = match &mut radio {
                        Some(radio) => radio.receive(frame, place),
                        None => (frame.kind == Kind::Message).then(|| (place, frame.bytes.to_vec())),
                    };
                    if let Some((place, bytes)) = received {
                        super::bearer::deliver(port, Datagram { place, bytes })?;
                    }
                }
            }
            written = write.write(&outgoing), if !outgoing.is_empty() => {
                outgoing.drain(..written?);
            }
            next = port.to_send.recv(), if outgoing.is_empty() => {
                let Some(datagram) = next else { return Ok(()) };
                match &mut radio {
                    Some(radio) => outgoing.extend(radio.send(&datagram)),
                    None if datagram.place == place && datagram.bytes.len() <= MESSAGE_MAX => {
                        outgoing.extend(encode(Kind::Message, &datagram.bytes));
                    }
                    // For a connection from before, or too long for any peer.
                    None => {}
                }
            }
        }
    }
}

/// A radio of small frames at the other end of a line, by its co-processor: each frame is eight bytes of the peer's address and a fragment.
struct Radio {
    size: usize,
    started: Instant,
    peers: BTreeMap<u64, Peer>,
}

struct Peer {
    assembler: Assembler<Vec<u8>>,
    cutter: Cutter,
    /// When it was last heard or spoken to, in milliseconds since the start.
    at: u64,
}

impl Radio {
    fn receive(&mut self, frame: Frame<'_>, line: Place) -> Option<(Place, Vec<u8>)> {
        let (address, fragment) = frame.bytes.split_first_chunk()?;
        let Place::Near { bearer, .. } = line else {
            return None;
        };
        if frame.kind != Kind::Radio {
            return None;
        }
        let number = u64::from_be_bytes(*address);
        let now = self.now();
        let message = self.peer(number, now)?.assembler.push(fragment, now)?;
        Some((
            Place::Near {
                bearer,
                peer: number,
            },
            message.to_vec(),
        ))
    }

    fn send(&mut self, datagram: &Datagram) -> Vec<u8> {
        let Place::Near { peer: number, .. } = datagram.place else {
            return Vec::new();
        };
        let (now, size) = (self.now(), self.size);
        let Some(peer) = self.peer(number, now) else {
            return Vec::new();
        };
        let pieces = peer.cutter.cut(&datagram.bytes, size).into_iter().flatten();
        pieces
            .flat_map(|(header, piece)| {
                let frame = [&number.to_be_bytes(), [header].as_slice(), piece].concat();
                encode(Kind::Radio, &frame).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The state of a peer; a new one takes the place of the one silent for longest, if nothing of that can be under way.
    fn peer(&mut self, number: u64, now: u64) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS && !self.peers.contains_key(&number) {
            let (oldest, peer) = self.peers.iter().min_by_key(|(_, peer)| peer.at)?;
            if now.saturating_sub(peer.at) <= PAUSE_MAX {
                return None;
            }
            let oldest = *oldest;
            self.peers.remove(&oldest);
        }
        let peer = self.peers.entry(number).or_insert_with(|| Peer {
            assembler: Assembler::new(vec![0; MESSAGE_MAX]),
            cutter: Cutter::new(),
            at: now,
        });
        peer.at = now;
        Some(peer)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
pub(super) mod tests;
