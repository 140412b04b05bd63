//! The kernel's audit log as it is written, of what policies refuse or would refuse.
//!
//! By netlink, as the kernel's ring of messages is small and leaves out what comes fast (`docs/decisions/0192-learning.md`). Other
//! readers of the log, `auditd` or journald, are not disturbed.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};
use stockade_controls::mac::log::{Heard, read};

/// `AUDIT_NLGRP_READLOG` and `AUDIT_AVC` (linux/audit.h): only the kernel itself makes records of this type.
const READLOG: u32 = 1;
const AVC: u16 = 1400;
/// A header of netlink (netlink(7)).
const HEADER: usize = 16;
/// More than the longest record.
const DATAGRAM: usize = 16 * 1024;
/// What waits while a service starts with a hundred files at once.
const WAITING: usize = 1 << 20;

/// The log.
#[derive(Debug)]
pub struct Log {
    socket: OwnedFd,
}

impl Log {
    /// Listens from now on; needs `CAP_AUDIT_READ`.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(AUDIT),
        )?;
        // As much as root lets it have.
        let _less = sockopt::set_socket_recv_buffer_size(&socket, WAITING);
        bind(&socket, &SocketAddrNetlink::new(0, READLOG))?;
        Ok(Self { socket })
    }

    /// Waits for the next record about a policy; none if some were lost, as more came than fit.
    pub fn wait(&self) -> io::Result<Option<Heard>> {
        let mut buffer = [0; DATAGRAM];
        loop {
            let length = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::NOBUFS) => return Ok(None),
                Err(why) => return Err(why.into()),
            };
            if let Some(heard) = heard(buffer.get(..length).unwrap_or_default()) {
                return Ok(Some(heard));
            }
        }
    }
}

/// What a datagram of the log tells: one header, one record.
fn heard(datagram: &[u8]) -> Option<Heard> {
    let (kind, record) = (datagram.get(4..6)?, datagram.get(HEADER..)?);
    let is_policy = u16::from_ne_bytes(kind.try_into().ok()?) == AVC;
    let end = record.iter().position(|byte| *byte == 0);
    read(record.get(..end.unwrap_or(record.len()))?).filter(|_| is_policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_says_of_policies_is_heard() {
        let text = b"audit(1.1:1): apparmor=\"ALLOWED\" operation=\"capable\" profile=\"stockade.cam\" capability=1 capname=\"kill\"\0";
        let datagram = |kind: u16| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(text);
            bytes
        };
        let came = heard(&datagram(AVC)).expect("a record");
        assert_eq!((came.policy.as_str(), came.allowed), ("stockade.cam", true));
        // AUDIT_USER: anybody with the right to write into the log.
        assert_eq!(heard(&datagram(1005)), None);
        assert_eq!(heard(&datagram(AVC)[..10]), None);
    }
}
