//! The line to a host: every connection and every datagram of a probe goes through it, is counted and kept within bounds.
//!
//! Devices fall over when many connections come at once, so one is in flight unless more are allowed, and each is closed by a
//! reset: the device keeps no state for it.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::GetSockOpt as _;
use nix::sys::socket::sockopt::GetStruct;
use socket2::{Domain, Socket, Type};

/// How much a host is asked at most, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most connections in flight at once.
    pub max_connections: usize,
    /// The most connections and datagrams begun in a second; none: as fast as the host answers.
    pub rate: Option<u32>,
    /// How long a host has to take a connection and to answer on it.
    pub timeout: Duration,
    /// How long all of it may take.
    pub total: Duration,
    /// The address of this machine from which connections are made; none: the kernel's choice.
    pub source: Option<IpAddr>,
    /// The name the host is known by, for servers that go by it (RFC 6066 §3).
    pub name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 1,
            rate: None,
            timeout: Duration::from_secs(3),
            total: Duration::from_mins(10),
            source: None,
            name: None,
        }
    }
}

/// What has gone over a line so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Connections begun, answered or not.
    pub connections: u64,
    /// TCP segments of these connections in both directions, as the kernel counts them.
    pub segments: u64,
    /// UDP datagrams in both directions.
    pub datagrams: u64,
    /// Bytes of payload in both directions.
    pub bytes: u64,
}

/// The line to a host.
#[derive(Debug)]
pub struct Line {
    options: Options,
    until: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    /// When the next may begin.
    next: Instant,
    spent: Spent,
}

impl Line {
    /// A line that nothing has gone over; its total time begins now.
    pub fn new(options: Options) -> Self {
        let now = Instant::now();
        // A total beyond what the clock can tell is a day.
        let until = now.checked_add(options.total);
        let until = until.unwrap_or_else(|| now + Duration::from_hours(24));
        Self {
            options,
            until,
            state: Mutex::new(State {
                in_flight: 0,
                next: now,
                spent: Spent::default(),
            }),
            changed: Condvar::new(),
        }
    }

    /// What has gone over it so far; what is in flight counts when it is closed.
    pub fn spent(&self) -> Spent {
        self.state().spent
    }

    /// How long a host has for one answer.
    pub fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// The address of this machine from which it asks, if one was chosen.
    pub fn source(&self) -> Option<IpAddr> {
        self.options.source
    }

    /// The name the host is known by, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.options.name.as_deref()
    }

    /// Whether its time is over: nothing more can be asked.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Opens a connection, once it is its turn.
    pub fn connect(&self, to: SocketAddr) -> Result<Stream<'_>> {
        self.connect_within(to, self.options.timeout)
    }

    /// The same with another time for the host to take the connection and to answer on it.
    pub fn connect_within(&self, to: SocketAddr, time: Duration) -> Result<Stream<'_>> {
        self.begin(true)?;
        let mut place = Place {
            line: self,
            socket: None,
        };
        let deadline = self.deadline(time);
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        let socket = place.socket.insert(socket);
        if let Some(source) = self.options.source
            && source.is_ipv4() == to.is_ipv4()
        {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        // The last word of the handshake and the first of ours share a segment, and answers are acknowledged together.
        let _older_kernel = socket.set_tcp_quickack(false);
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect_timeout(&to.into(), left(deadline)?)?;
        let stream = TcpStream::from(socket.try_clone()?);
        Ok(Stream {
            stream,
            deadline,
            place,
        })
    }

    /// A socket for datagrams, bound and set up as its user wants it, whose every datagram counts.
    pub fn datagrams(&self, socket: UdpSocket) -> Datagrams<'_> {
        Datagrams { line: self, socket }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more connection or datagram may begin.
    fn begin(&self, connection: bool) -> Result<()> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let full = connection && state.in_flight >= self.options.max_connections.max(1);
            let wait = if full {
                left(self.until)?
            } else {
                state.next.saturating_duration_since(now)
            };
            if now >= self.until || (!full && state.next > self.until) {
                return Err(over());
            }
            if wait.is_zero() {
                break;
            }
            let woken = self.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(rate) = self.options.rate {
            let pace = Duration::from_secs(1) / rate.max(1);
            state.next = Instant::now() + pace;
        }
        if connection {
            state.in_flight = state.in_flight.saturating_add(1);
            state.spent.connections = state.spent.connections.saturating_add(1);
        } else {
            state.spent.datagrams = state.spent.datagrams.saturating_add(1);
        }
        Ok(())
    }

    fn deadline(&self, time: Duration) -> Instant {
        let now = Instant::now();
        now.checked_add(time).unwrap_or(self.until).min(self.until)
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut state = self.state();
        state.spent.bytes = state.spent.bytes.saturating_add(bytes);
    }
}

fn over() -> Error {
    Error::new(ErrorKind::TimedOut, "the time for this host is over")
}

fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::new(ErrorKind::TimedOut, "no answer in time"));
    }
    Ok(left)
}

/// The place of one connection among those in flight: given back, and its segments counted, when it is dropped.
#[derive(Debug)]
struct Place<'a> {
    line: &'a Line,
    socket: Option<Socket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // It is closed before another may begin.
        let segments = self.socket.take().as_ref().and_then(segments);
        let mut state = self.line.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.spent.segments += segments.unwrap_or_default();
        drop(state);
        self.line.changed.notify_all();
    }
}

/// `struct tcp_info` (linux/tcp.h) up to `tcpi_segs_in`; the kernel fills in as much as is asked for.
type TcpInfo = [u32; 36];
/// What the kernel knows of a connection.
#[derive(Clone, Copy)]
struct Info;
nix::getsockopt_impl!(
    Info,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfo,
    GetStruct<TcpInfo>
);

/// Segments out and in of a connection, and the reset that ends it where one is still to be sent.
fn segments(socket: &Socket) -> Option<u64> {
    let info = Info.get(socket).ok()?;
    let [first, .., out, inward] = info;
    let [state, ..] = first.to_ne_bytes();
    let reset = !matches!(state, SYN_SENT | CLOSED);
    Some(u64::from(out) + u64::from(inward) + u64::from(reset))
}

/// `TCP_SYN_SENT` and `TCP_CLOSE` (`net/tcp_states.h`).
const SYN_SENT: u8 = 2;
const CLOSED: u8 = 7;

/// A connection over a line, closed by a reset when it is dropped. Reading and writing end at its deadline.
#[derive(Debug)]
pub struct Stream<'a> {
    stream: TcpStream,
    deadline: Instant,
    /// Behind the stream, so that it is counted as it was.
    place: Place<'a>,
}

impl Stream<'_> {
    /// Gives the host its time for an answer anew.
    pub fn again(&mut self) {
        self.within(self.place.line.options.timeout);
    }

    /// Gives the host this time for an answer.
    pub fn within(&mut self, time: Duration) {
        self.deadline = self.place.line.deadline(time);
    }

    /// The address of this machine on it.
    pub fn local(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(left(self.deadline)?))?;
            match self.stream.read(buffer) {
                Ok(count) => {
                    self.place.line.count(count);
                    return Ok(count);
                }
                Err(why) if again(&why) => (),
                Err(why) => return Err(why),
            }
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        loop {
            self.stream.set_write_timeout(Some(left(self.deadline)?))?;
            match self.stream.write(bytes) {
                Ok(count) => {
                    self.place.line.count(count);
                    return Ok(count);
                }
                Err(why) if again(&why) => (),
                Err(why) => return Err(why),
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether it is only to be tried again: how much time is left is looked at before each try.
fn again(why: &Error) -> bool {
    matches!(
        why.kind(),
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}

/// A socket for datagrams over a line.
#[derive(Debug)]
pub struct Datagrams<'a> {
    line: &'a Line,
    socket: UdpSocket,
}

impl Datagrams<'_> {
    /// Sends one, once it is its turn.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> Result<()> {
        self.line.begin(false)?;
        let sent = self.socket.send_to(bytes, to)?;
        self.line.count(sent);
        Ok(())
    }

    /// The next one that comes within `time`, cut to 64 KiB; none if none comes.
    pub fn receive(&self, time: Duration) -> Result<Option<(Vec<u8>, SocketAddr)>> {
        let until = Instant::now().checked_add(time).unwrap_or(self.line.until);
        let until = until.min(self.line.until);
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while let Ok(time) = left(until) {
            self.socket.set_read_timeout(Some(time))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    buffer.truncate(count);
                    self.line.count(count);
                    let mut state = self.line.state();
                    state.spent.datagrams = state.spent.datagrams.saturating_add(1);
                    return Ok(Some((buffer, from)));
                }
                Err(why) if again(&why) => (),
                Err(why) => return Err(why),
            }
        }
        Ok(None)
    }

    /// The socket itself, to be set up: groups, interfaces, hop limits. What is sent by it directly is not counted.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}
