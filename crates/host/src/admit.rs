//! Addresses of names, put where the firewall looks for them.

use std::net::IpAddr;
use std::time::Duration;

use stockade_profile::HostName;

use crate::netlink::NetlinkError;

/// An address that a name has for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The name, as the profile says it.
    pub name: HostName,
    /// Its address.
    pub address: IpAddr,
    /// For how long new flows to it are allowed, from now.
    pub keep: Duration,
}

/// Why an address could not be admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// No rule of the firewall in force names it.
    #[error("no rule of the firewall in force is about `{0}`")]
    NoRule(HostName),
    /// The kernel did not take it.
    #[error("cannot open the firewall for a name")]
    Kernel(#[from] NetlinkError),
}

/// Opens the firewall for addresses of names.
pub trait Admit {
    /// Admits these addresses, and takes back those of `gone`; when it returns, the kernel judges by it.
    fn admit(&self, put: &[Admission], gone: &[(HostName, IpAddr)]) -> Result<(), AdmitError>;
}
