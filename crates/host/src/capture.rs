//! Frames as they pass an interface: a packet socket (packet(7)).

mod filter;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;
use stockade_wire::capture::{Frame, LinkType, MAX_FRAME};

/// Ethernet, and the loopback interface, whose frames look the same (`ARPHRD_*` of Linux).
const ETHERNET_LIKE: [u16; 2] = [1, 772];

/// What the kernel says of frames that this machine sends (`linux/if_packet.h`).
const PACKET_OUTGOING: u8 = 4;

/// How much the kernel holds for us while we are busy.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// What is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureOptions {
    /// Ask the interface for frames that are for others as well: on a port that mirrors.
    pub promiscuous: bool,
    /// Which frames are wanted.
    pub wanted: Wanted,
}

/// Which frames are wanted; the kernel leaves out the others, and they cost next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Every one.
    #[default]
    All,
    /// What tells who is there: ARP, neighbour discovery, DHCP of both versions, LLDP.
    Announcements,
}

/// Why there are no frames.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No interface has the name.
    #[error("there is no interface {name:?}; there are: {}", known.join(", "))]
    NoInterface {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Its frames are not Ethernet's.
    #[error("interface {name:?} has no Ethernet frames (hardware type {kind})")]
    NotEthernet {
        /// The interface.
        name: String,
        /// Its hardware type.
        kind: u16,
    },
    /// This process may not.
    #[error("only root (CAP_NET_RAW) may capture on {0:?}; run it with sudo")]
    NotAllowed(String),
    /// The interface was there.
    #[error("interface {0:?} went down or has gone; bring it up and start again")]
    Gone(String),
    /// Anything else.
    #[error("cannot {doing} on {name:?}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The interface.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An open capture; frames that come while nobody asks wait in a bounded buffer of the kernel.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    name: String,
    index: usize,
    buffer: Vec<u8>,
    outgoing: bool,
}

impl Capture {
    /// Begins to capture on an interface, which must be up.
    pub fn open(name: &str, options: CaptureOptions) -> Result<Self, CaptureError> {
        let failed = |doing| move |errno: Errno| failure(doing, name, errno.into());
        let address = interface(name)?;
        // The socket hears every interface until it is bound; `take` leaves out the others' frames.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            SockProtocol::EthAll,
        )
        .map_err(failed("open a packet socket"))?;
        let socket = Socket::from(socket);
        if options.wanted == Wanted::Announcements {
            let filtered = socket.attach_filter(&filter::announcements());
            filtered.map_err(|error| failure("set a filter", name, error))?;
        }
        let sized = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        sized.map_err(|error| failure("set the size of a buffer", name, error))?;
        bind(socket.as_raw_fd(), &address).map_err(failed("begin to capture"))?;
        let capture = Self {
            socket: socket.into(),
            name: name.to_owned(),
            index: address.ifindex(),
            buffer: vec![0; usize::try_from(MAX_FRAME).unwrap_or(usize::MAX)],
            outgoing: false,
        };
        if options.promiscuous {
            capture.be_promiscuous()?;
        }
        Ok(capture)
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// The next frame, or none if none came in time.
    pub fn next_frame(&mut self, patience: Duration) -> Result<Option<Frame>, CaptureError> {
        let until = std::time::Instant::now() + patience;
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || !self.wait(left)? {
                return Ok(None);
            }
        }
    }

    /// A frame that is there already. For event loops, which wait for [`Capture::as_fd`] to be readable.
    pub fn take(&mut self) -> Result<Option<Frame>, CaptureError> {
        loop {
            let (length, from) =
                match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                    Ok(received) => received,
                    Err(Errno::EAGAIN) => return Ok(None),
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(failure("capture", &self.name, errno.into())),
                };
            let Some(from) = from.filter(|from| from.ifindex() == self.index) else {
                continue;
            };
            self.outgoing = from.pkttype() == PACKET_OUTGOING;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            return Ok(Some(Frame {
                time: now.unwrap_or_default(),
                link: LinkType::Ethernet,
                bytes: self.buffer.get(..length).unwrap_or_default().to_vec(),
                original_len: u32::try_from(length).unwrap_or(u32::MAX),
            }));
        }
    }

    /// Whether this machine sent the frame that was taken last. The kernel says so; a frame's own bytes can lie.
    pub fn outgoing(&self) -> bool {
        self.outgoing
    }

    /// How many frames the kernel had no room for since the last call.
    pub fn lost(&self) -> Result<u32, CaptureError> {
        let mut counts = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = socklen::<libc::tpacket_stats>();
        #[expect(unsafe_code, reason = "no safe wrapper of PACKET_STATISTICS exists")]
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `counts`, and keeps neither pointer.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counts).cast(),
                &raw mut length,
            )
        };
        match Errno::result(status) {
            Ok(_) => Ok(counts.tp_drops),
            Err(errno) => Err(failure("count lost frames", &self.name, errno.into())),
        }
    }

    /// The kernel forgets it when the socket closes.
    fn be_promiscuous(&self) -> Result<(), CaptureError> {
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(self.index).unwrap_or_default(),
            mr_type: libc::PACKET_MR_PROMISC.try_into().unwrap_or_default(),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        #[expect(
            unsafe_code,
            reason = "no safe wrapper of PACKET_ADD_MEMBERSHIP exists"
        )]
        // SAFETY: the kernel reads as many bytes as `request` has and does not keep the pointer.
        let status = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                socklen::<libc::packet_mreq>(),
            )
        };
        match Errno::result(status) {
            Ok(_) => Ok(()),
            Err(errno) => Err(failure("hear others' frames", &self.name, errno.into())),
        }
    }

    /// Whether something came in time.
    fn wait(&self, patience: Duration) -> Result<bool, CaptureError> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => Ok(false),
            // A signal is no reason to stop; whoever asked asks again.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(failure("wait for a frame", &self.name, errno.into())),
        }
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socklen<T>() -> libc::socklen_t {
    size_of::<T>().try_into().unwrap_or_default()
}

/// The link address of an interface, by its name.
fn interface(name: &str) -> Result<LinkAddr, CaptureError> {
    let all = getifaddrs().map_err(|errno| failure("list interfaces", name, errno.into()))?;
    let mut known = BTreeSet::new();
    for entry in all {
        let link = entry
            .address
            .and_then(|address| address.as_link_addr().copied());
        if let Some(link) = link {
            if entry.interface_name == name {
                if ETHERNET_LIKE.contains(&link.hatype()) {
                    return Ok(link);
                }
                let (name, kind) = (name.to_owned(), link.hatype());
                return Err(CaptureError::NotEthernet { name, kind });
            }
            known.insert(entry.interface_name);
        }
    }
    Err(CaptureError::NoInterface {
        name: name.to_owned(),
        known: known.into_iter().collect(),
    })
}

fn failure(doing: &'static str, name: &str, source: io::Error) -> CaptureError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => CaptureError::NotAllowed(name),
        // The kernel says so of an interface that is down, goes down, or is taken away.
        Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => CaptureError::Gone(name),
        _ => CaptureError::System {
            doing,
            name,
            source,
        },
    }
}
