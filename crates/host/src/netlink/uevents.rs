//! What the kernel tells of devices that come and go (`NETLINK_KOBJECT_UEVENT`; `lib/kobject_uevent.c`).

use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::KOBJECT_UEVENT;

use super::{NetlinkError, Socket};

/// The group that the kernel itself sends to; udev sends to another one.
const KERNEL: u32 = 1;
/// Room for what comes while a device is judged.
const RECEIVE_BYTES: usize = 1024 * 1024;
/// The longest message, and the longest name in it (`UEVENT_BUFFER_SIZE`; a path of sysfs).
const LONGEST: usize = 8 * 1024;
const LISTEN: &str = "listen for devices that come and go";

/// A device came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, …
    pub action: String,
    /// Its path below `/sys`.
    pub path: String,
    /// Its subsystem: `usb`, `net`.
    pub subsystem: String,
    /// What kind within the subsystem: `usb_device`, `usb_interface`; empty if it is not said.
    pub kind: String,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Something of a device.
    Event(Uevent),
    /// Nothing in time, or nothing of the kernel's.
    Nothing,
    /// More came than could be taken: some is lost.
    Lost,
}

/// Listens to the kernel.
#[derive(Debug)]
pub struct Uevents {
    socket: Socket,
}

impl Uevents {
    /// Listens, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::open(LISTEN, Some(KOBJECT_UEVENT), KERNEL)?;
        socket.receive_buffer(RECEIVE_BYTES);
        Ok(Self { socket })
    }

    /// What comes next, waiting for it no longer than `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Heard, NetlinkError> {
        match self.socket.receive(LISTEN, patience) {
            Ok(datagram) => Ok(datagram
                .and_then(parse)
                .map_or(Heard::Nothing, Heard::Event)),
            Err(NetlinkError::Refused { why, .. })
                if why.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) =>
            {
                Ok(Heard::Lost)
            }
            Err(why) => Err(why),
        }
    }
}

/// Reads a message: `ACTION@PATH`, then variables, each ended by a zero. None if it is not one of the kernel's, or of no use.
pub(crate) fn parse(message: &[u8]) -> Option<Uevent> {
    if message.len() > LONGEST {
        return None;
    }
    let text = str::from_utf8(message.strip_suffix(&[0])?).ok()?;
    let mut parts = text.split('\0');
    let (action, path) = parts.next()?.split_once('@')?;
    let mut event = Uevent {
        action: action.to_owned(),
        path: path.to_owned(),
        subsystem: String::new(),
        kind: String::new(),
    };
    for part in parts {
        match part.split_once('=')? {
            // The head says the same.
            ("ACTION", value) if value != action => return None,
            ("DEVPATH", value) if value != path => return None,
            ("SUBSYSTEM", value) => value.clone_into(&mut event.subsystem),
            ("DEVTYPE", value) => value.clone_into(&mut event.kind),
            _ => (),
        }
    }
    let whole = path.starts_with('/') && !path.split('/').any(|name| name == "..");
    (whole && !event.subsystem.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_that_is_plugged_in_is_heard_of() {
        let message = b"add@/devices/pci0000:00/usb1/1-2\0ACTION=add\0DEVPATH=/devices/pci0000:00/usb1/1-2\0SUBSYSTEM=usb\0DEVNAME=bus/usb/001/002\0DEVTYPE=usb_device\0SEQNUM=7\0";
        let event = parse(message).unwrap();
        assert_eq!(
            (
                &*event.action,
                &*event.path,
                &*event.subsystem,
                &*event.kind
            ),
            ("add", "/devices/pci0000:00/usb1/1-2", "usb", "usb_device")
        );
    }

    #[test]
    fn what_the_kernel_would_not_say_is_passed_over() {
        for wrong in [
            b"".as_slice(),
            b"\0",
            b"libudev\0\xfe\xed\xca\xfe\0",
            b"add@/devices/x\0SUBSYSTEM=usb",
            b"add@/devices/x\0ACTION=remove\0SUBSYSTEM=usb\0",
            b"add@/devices/x\0DEVPATH=/devices/y\0SUBSYSTEM=usb\0",
            b"add@/devices/../x\0SUBSYSTEM=usb\0",
            b"add@x\0SUBSYSTEM=usb\0",
            b"add@/devices/x\0SUBSYSTEM\0",
            b"add@/devices/x\0SUBSYSTEM=\xff\0",
            b"add@/devices/x\0",
        ] {
            assert_eq!(parse(wrong), None, "{}", wrong.escape_ascii());
        }
        let long = [b"add@/".as_slice(), &[b'x'; LONGEST], b"\0SUBSYSTEM=usb\0"].concat();
        assert_eq!(parse(&long), None);
    }

    #[test]
    fn the_kernel_lets_itself_be_heard() {
        let mut heard = Uevents::open().expect("any process may listen");
        assert_eq!(
            heard.next(Duration::ZERO).expect("an answer"),
            Heard::Nothing
        );
    }
}
