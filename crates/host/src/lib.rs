//! A host: read it, change it. Whatever needs the operating system is here.

pub mod admit;
pub mod capture;
pub mod cgroup;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod firewall;
#[doc(hidden)]
pub mod fuzzing;
pub mod netlink;
pub mod nft;
pub mod process;
pub mod surroundings;
pub mod watch;
