//! The profile: what one model of device is for.
//!
//! [`check`] reads a profile's text and finds all its faults; [`render`] shows them to a person. [`Profile::canonical`]
//! gives the one form in bytes that [`sign`] signs and [`verify`] checks, [`may_replace`] keeps versions from going
//! back, and [`Profile::words`] says in sentences what a device may do.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

mod boot;
mod canonical;
mod cbor;
mod check;
mod comms;
mod control;
mod cose;
mod credentials;
mod data;
mod device;
mod fault;
mod firewall;
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod mac;
pub mod mud;
mod net;
mod ports;
mod privileges;
mod profile;
mod programs;
mod protocols;
mod read;
mod render;
pub mod sign1;
mod tamper;
mod text;
mod to_toml;
mod toml;
mod topic;
mod units;
mod updates;
mod upnp;
mod words;

pub use boot::{Boot, Demand, PcrSet};
pub use canonical::{CanonicalError, Rollback, may_replace};
pub use cbor::CborError;
pub use comms::{Comms, KeyStore, Peer, Publish, ScopeName, Subscribe};
pub use control::Control;
pub use cose::{Verified, VerifyError, sign, verify};
pub use credentials::{AccountName, Credentials, Ssh};
pub use data::policy::{PolicyFault, PolicySeverity, policy};
pub use data::{
    Alphabet, Budget, Category, Contribution, DataSetUse, Decimal, Field, FieldName, FieldRole,
    Hierarchy, Percent, PurposeName, Range, ReaderName, ReleaseGoal, Schema, SchemaName, Scope,
    Treatment, Use,
};
pub use device::{Class, Device, Manufacturer, ModelName};
pub use fault::{Fault, Malformed, Severity};
pub use firewall::{
    Direction, EtherType, Family, Firewall, Frame, IcmpKind, Inward, LinkAddress, Outward,
    Protocol, Traffic,
};
pub use key::{KeyError, KeyId, SigningKey, VerifyingKey};
pub use mac::{Mac, MacSystem};
pub use net::{ClassUri, Endpoint, HostName, HttpsUrl, LocalSocket, Network, PortRange, Transport};
pub use ports::{
    InterfaceName, Permission, Ports, Radio, Switch, Usb, UsbMode, UsbPort, UsbRule, UsbSerial,
};
pub use privileges::{AbsolutePath, Privileges};
pub use profile::Profile;
pub use programs::{PackageName, Programs, ServiceName};
pub use protocols::{Front, Protocols, TlsVersion};
pub use render::render;
pub use tamper::{Debounce, InputKind, Level, LineName, Response, SwitchName, Tamper, TamperInput};
pub use topic::TopicTemplate;
pub use units::{Distance, Generalisation, Rate, Step};
pub use updates::{Health, Slots, SlotsKind, Updates};
pub use upnp::{Mapping, Upnp};
pub use words::Sentence;

use fault::{At, Faults};
use read::Form as _;

/// The largest text of a profile, in bytes.
pub const MAX_BYTES: usize = cbor::MAX_BYTES;

/// What came of reading a profile's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The profile, if no fault is an error.
    pub profile: Option<Profile>,
    /// All faults, in the order of the text; warnings, too.
    pub faults: Vec<Fault>,
}

/// Reads a profile's text and finds all its faults.
pub fn check(source: &str) -> Checked {
    let faults = Faults::default();
    if source.len() > MAX_BYTES {
        let wrong = format!(
            "a profile has at most {MAX_BYTES} bytes, this has {}",
            source.len()
        );
        let _: fault::Faulted = faults.error(At::default(), Malformed::new(wrong));
        return Checked {
            profile: None,
            faults: faults.locate(""),
        };
    }
    let tree = toml::tree(source, &faults);
    let profile = Profile::read(&tree, &faults).ok();
    let faults = faults.locate(source);
    let sound = faults
        .iter()
        .all(|fault| fault.severity == Severity::Warning);
    Checked {
        profile: profile.filter(|_| sound),
        faults,
    }
}

/// Reads a profile's text, or says all that is wrong with it; [`check`] also gives the warnings of a sound one.
pub fn parse(source: &str) -> Result<Profile, Vec<Fault>> {
    let Checked { profile, faults } = check(source);
    profile.ok_or(faults)
}
