//! Talking to the kernel's netfilter over netlink, without another program: elements of sets, connections,
//! and packets that a rule logged. Small and our own: `docs/decisions/0120-netlink-by-hand.md`.

// Everything below reads bytes that came from outside the process.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with, sockopt,
};

use self::message::{Message, Messages, Writer, kind};

pub mod flows;
pub mod keys;
pub(crate) mod message;
pub mod packets;
pub mod routes;
pub mod sets;
pub mod uevents;

pub use self::message::Malformed;

/// The largest datagram that is taken; the kernel fills at most 32 KiB when it lists (netlink(7)).
const DATAGRAM: usize = 256 * 1024;
/// The most that is sent at once.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// How long the kernel may take for an answer. It answers within the call; this bounds a fault of ours.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most messages that one list may have.
const MAX_LIST: usize = 4 * 1024 * 1024;

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// This process may not do it.
    #[error("the kernel lets only root (CAP_NET_ADMIN) {doing}")]
    NotAllowed {
        /// What was asked for.
        doing: &'static str,
    },
    /// What was named is not there.
    #[error("the kernel knows no such thing: cannot {doing}")]
    Missing {
        /// What was asked for.
        doing: &'static str,
    },
    /// Somebody else has it.
    #[error("another process has it: cannot {doing}")]
    Busy {
        /// What was asked for.
        doing: &'static str,
    },
    /// The kernel was not built with it.
    #[error("this kernel has no support: cannot {doing}")]
    Unsupported {
        /// What was asked for.
        doing: &'static str,
    },
    /// Any other answer than yes.
    #[error("the kernel refuses to {doing}")]
    Refused {
        /// What was asked for.
        doing: &'static str,
        /// The kernel's reason.
        #[source]
        why: io::Error,
    },
    /// The request would be longer than one may be.
    #[error("too much at once: cannot {doing}")]
    TooMuch {
        /// What was asked for.
        doing: &'static str,
    },
    /// No answer came.
    #[error("the kernel did not answer: cannot {doing}")]
    Silent {
        /// What was asked for.
        doing: &'static str,
    },
    /// The answer is not what the protocol says.
    #[error("cannot {doing}")]
    Malformed {
        /// What was asked for.
        doing: &'static str,
        /// What is wrong with it.
        #[source]
        why: Malformed,
    },
}

impl NetlinkError {
    fn of(doing: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotAllowed { doing },
            Errno::NOENT => Self::Missing { doing },
            Errno::BUSY => Self::Busy { doing },
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::Unsupported { doing }
            }
            other => Self::Refused {
                doing,
                why: other.into(),
            },
        }
    }

    fn malformed(doing: &'static str) -> impl Fn(Malformed) -> Self {
        move |why| Self::Malformed { doing, why }
    }
}

/// A netlink socket of ours.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for netfilter: sets, connections, logged packets.
    pub(crate) fn netfilter(doing: &'static str) -> Result<Self, NetlinkError> {
        Self::open(doing, Some(NETFILTER), 0)
    }

    /// A socket for links, addresses and routes (`NETLINK_ROUTE`, which is 0).
    pub(crate) fn route(doing: &'static str) -> Result<Self, NetlinkError> {
        Self::open(doing, None, 0)
    }

    /// A socket of a protocol, which hears what is sent to these groups.
    fn open(
        doing: &'static str,
        protocol: Option<Protocol>,
        groups: u32,
    ) -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError::of(doing, errno);
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(failed)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed)?;
        // A batch has to fit into the buffer; without the right the default stays and a long one is refused.
        let _default = sockopt::set_socket_send_buffer_size_force(&socket, MAX_REQUEST);
        Ok(Self {
            socket,
            sequence: 1,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Room for what comes between two looks at the socket.
    pub(crate) fn receive_buffer(&self, bytes: usize) {
        if sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes).is_err() {
            let _default = sockopt::set_socket_recv_buffer_size(&self.socket, bytes);
        }
    }

    /// The next number for a message.
    pub(crate) fn sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(crate) fn send(&self, doing: &'static str, request: &Writer) -> Result<(), NetlinkError> {
        if request.len() > MAX_REQUEST {
            return Err(NetlinkError::TooMuch { doing });
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, request.bytes(), SendFlags::empty(), &kernel)
            .map(drop)
            .map_err(|errno| match errno {
                Errno::MSGSIZE => NetlinkError::TooMuch { doing },
                errno => NetlinkError::of(doing, errno),
            })
    }

    /// Waits for a datagram of the kernel. None: nothing came in time.
    pub(crate) fn receive(
        &mut self,
        doing: &'static str,
        patience: Duration,
    ) -> Result<Option<&[u8]>, NetlinkError> {
        let failed = |errno| NetlinkError::of(doing, errno);
        let wait = Timespec::try_from(patience).map_err(|_| NetlinkError::Silent { doing })?;
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => (),
            Err(errno) => return Err(failed(errno)),
        }
        let ((), length, from) = recvfrom(
            &self.socket,
            self.buffer.as_mut_slice(),
            RecvFlags::DONTWAIT,
        )
        .map(|(_, length, from)| ((), length, from))
        .map_err(failed)?;
        // Only the kernel has port 0 (netlink(7)); any other sender is passed over.
        let kernel = from
            .and_then(|from| SocketAddrNetlink::try_from(from).ok())
            .is_some_and(|from| from.pid() == 0);
        Ok(Some(if kernel {
            self.buffer.get(..length).unwrap_or_default()
        } else {
            &[]
        }))
    }

    /// Sends, and waits until every message that asked for it is acknowledged: `last` is the number of the last one.
    pub(crate) fn acknowledged(
        &mut self,
        doing: &'static str,
        request: &Writer,
        last: u32,
    ) -> Result<(), NetlinkError> {
        self.send(doing, request)?;
        self.until(doing, |message| match message.kind {
            kind::ERROR => match message.error().map_err(NetlinkError::malformed(doing))? {
                0 => Ok(message.sequence == last),
                errno => Err(NetlinkError::of(doing, Errno::from_raw_os_error(errno))),
            },
            _ => Ok(false),
        })
    }

    /// Sends a request for a list, and hands over each message of it.
    pub(crate) fn list(
        &mut self,
        doing: &'static str,
        request: &Writer,
        mut each: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), NetlinkError> {
        self.send(doing, request)?;
        let sequence = self.sequence;
        let mut left = MAX_LIST;
        self.until(doing, |message| {
            if message.sequence != sequence {
                return Ok(false);
            }
            match message.kind {
                kind::DONE => Ok(true),
                kind::ERROR => match message.error().map_err(NetlinkError::malformed(doing))? {
                    0 => Ok(true),
                    errno => Err(NetlinkError::of(doing, Errno::from_raw_os_error(errno))),
                },
                _ => {
                    left = left.checked_sub(1).ok_or(NetlinkError::TooMuch { doing })?;
                    each(message).map_err(NetlinkError::malformed(doing))?;
                    Ok(false)
                }
            }
        })
    }

    /// Reads messages until one of them is the last.
    fn until(
        &mut self,
        doing: &'static str,
        mut last: impl FnMut(&Message<'_>) -> Result<bool, NetlinkError>,
    ) -> Result<(), NetlinkError> {
        loop {
            let datagram = self
                .receive(doing, PATIENCE)?
                .ok_or(NetlinkError::Silent { doing })?;
            for message in Messages(datagram) {
                let message = message.map_err(NetlinkError::malformed(doing))?;
                if message.kind == kind::OVERRUN {
                    return Err(NetlinkError::of(doing, Errno::NOBUFS));
                }
                if last(&message)? {
                    return Ok(());
                }
            }
        }
    }
}
