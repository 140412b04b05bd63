//! A host: read it, change it. Whatever needs the operating system is here.

pub mod admit;
pub mod capture;
#[cfg(feature = "fetch")]
pub mod fetch;
#[doc(hidden)]
pub mod fuzzing;
pub mod netlink;
pub mod nft;
