//! A host: read it, change it. Whatever needs the operating system is here.

pub mod netlink;
pub mod nft;
