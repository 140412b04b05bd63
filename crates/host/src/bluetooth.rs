//! A Bluetooth controller without the kernel's own host: the user channel of HCI.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// `BTPROTO_HCI` and `HCI_CHANNEL_USER` (the kernel's `bluetooth.h` and `hci_sock.h`).
const HCI: u32 = 1;
const USER: u16 = 1;

/// The kernel's `sockaddr_hci`.
#[repr(C)]
struct Address {
    family: libc::sa_family_t,
    device: u16,
    channel: u16,
}

/// The controller `hciN`, for this process alone: each read is one packet with its H4 type, and so is each write. The kernel
/// wants `CAP_NET_ADMIN` for it, and the controller down; it is free again when the descriptor is closed.
pub fn user_channel(index: u16) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::BLUETOOTH,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        std::num::NonZero::new(HCI).map(Protocol::from_raw),
    )?;
    let address = Address {
        family: AddressFamily::BLUETOOTH.as_raw(),
        device: index,
        channel: USER,
    };
    #[expect(unsafe_code, reason = "no safe wrapper of sockaddr_hci exists")]
    // SAFETY: the kernel reads as many bytes as `address` has and does not keep the pointer.
    let status = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            u32::try_from(size_of::<Address>()).unwrap_or_default(),
        )
    };
    Errno::result(status)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_not_there_is_an_error() {
        // No such device, or a kernel without Bluetooth, or no right to it: in no case a descriptor.
        user_channel(65_000).expect_err("nobody has so many");
    }
}
