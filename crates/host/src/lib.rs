//! A host: read it, change it. Whatever needs the operating system is here.

pub mod admit;
pub mod apply;
pub mod bluetooth;
pub mod capture;
pub mod cgroup;
pub mod console;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod files;
pub mod firewall;
#[doc(hidden)]
pub mod fuzzing;
pub mod gpio;
pub mod init;
pub mod local;
pub mod mac;
pub mod memory;
pub mod netlink;
pub mod nft;
pub mod packages;
pub mod process;
pub mod program;
pub mod sandbox;
pub mod surroundings;
pub mod tls;
pub mod tpm;
pub mod upnp;
pub mod usb;
pub mod view;
pub mod watch;

/// An error with all its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
