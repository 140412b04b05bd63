//! Sockets between the processes of one device: who is on the other side, and messages with a file descriptor.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_api::frame::{self, FrameError};

/// Who is on the other side of a socket, as the kernel saw it when it connected (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its process, for the log: numbers are used again.
    pub process: i32,
    /// Its user id.
    pub user: u32,
    /// Its group id.
    pub group: u32,
}

impl Caller {
    /// Who is on the other side.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let found = rustix::net::sockopt::socket_peercred(stream)?;
        Ok(Self {
            process: found.pid.as_raw_nonzero().get(),
            user: found.uid.as_raw(),
            group: found.gid.as_raw(),
        })
    }
}

/// Listens at a path that this group may connect to, and root; a socket that a dead process left there is replaced.
pub fn listen(path: &Path, group: u32) -> io::Result<UnixListener> {
    match fs_err::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => (),
    }
    let listener = UnixListener::bind(path)
        .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?;
    // Between the two steps the mode is what the umask left, and the group is root's: nobody else can connect.
    std::os::unix::fs::chown(path, None, Some(group))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// A conversation that is over at a given time, however slowly the other side talks.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    until: Instant,
    received: Option<OwnedFd>,
}

impl Channel {
    /// A conversation that may take this long.
    pub fn new(stream: UnixStream, patience: Duration) -> Self {
        Self {
            stream,
            until: Instant::now() + patience,
            received: None,
        }
    }

    /// Connects to whoever listens at a path.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?;
        Ok(Self::new(stream, patience))
    }

    /// More time, from now.
    pub fn extend(&mut self, patience: Duration) {
        self.until = Instant::now() + patience;
    }

    /// Sends a message.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), FrameError> {
        let bytes = frame::encode(message)?;
        Ok(self.put(&bytes, None)?)
    }

    /// Sends a message with a file descriptor.
    pub fn send_with<T: Serialize>(
        &mut self,
        message: &T,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), FrameError> {
        let bytes = frame::encode(message)?;
        Ok(self.put(&bytes, Some(descriptor))?)
    }

    /// Waits for a message; none when the other side is done.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        self.received = None;
        frame::read(self)
    }

    /// The file descriptor that came with the last message, if one did.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.received.take()
    }

    /// Asks, and waits for the answer.
    pub fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        question: &Q,
    ) -> Result<A, FrameError> {
        self.send(question)?;
        let gone = || FrameError::Broken(io::ErrorKind::UnexpectedEof.into());
        self.receive()?.ok_or_else(gone)
    }

    fn put(&mut self, mut bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let handed = descriptor.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !handed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(handed));
        }
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            let slices = [IoSlice::new(bytes)];
            // No signal when the other side is gone.
            let sent = sendmsg(
                self.stream.as_fd(),
                &slices,
                &mut ancillary,
                SendFlags::NOSIGNAL,
            );
            let sent = match sent {
                Err(rustix::io::Errno::INTR) => continue,
                sent => sent?,
            };
            ancillary.clear();
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(buffer)];
        let got = recvmsg(
            self.stream.as_fd(),
            &mut slices,
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.received = descriptors.last();
            }
        }
        Ok(got.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    #[test]
    fn a_descriptor_crosses_with_its_message_and_is_the_same_file() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let (mut a, mut b) = (Channel::new(a, SOON), Channel::new(b, SOON));
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, b"here").expect("written");
        a.send_with(&"file", file.as_fd()).expect("sent");
        a.send(&"none").expect("sent");
        assert_eq!(b.receive::<String>().expect("read"), Some("file".into()));
        let mut got = std::fs::File::from(b.take_descriptor().expect("it came along"));
        io::Seek::rewind(&mut got).expect("a file");
        let mut text = String::new();
        got.read_to_string(&mut text).expect("read");
        assert_eq!(text, "here");
        assert_eq!(b.receive::<String>().expect("read"), Some("none".into()));
        assert!(b.take_descriptor().is_none());
    }

    #[test]
    fn a_slow_side_does_not_hold_a_conversation_beyond_its_time() {
        let (a, mut b) = UnixStream::pair().expect("a pair");
        let dribble = std::thread::spawn(move || {
            // A byte whenever a plain timeout of reading would have begun anew.
            while io::Write::write_all(&mut b, b"\0").is_ok() {
                std::thread::park_timeout(SOON / 4);
            }
        });
        let begun = Instant::now();
        let got = Channel::new(a, SOON).receive::<String>();
        assert!(got.is_err(), "{got:?}");
        assert!(begun.elapsed() < SOON * 5, "{:?}", begun.elapsed());
        dribble.join().expect("it ends when nobody reads");
    }

    #[test]
    fn the_other_side_is_who_the_kernel_says() {
        let (a, _b) = UnixStream::pair().expect("a pair");
        let caller = Caller::of(&a).expect("known");
        assert_eq!(caller.user, rustix::process::geteuid().as_raw());
        assert_eq!(caller.process.unsigned_abs(), std::process::id());
    }
}
