//! The addresses that names have, in the kernel's sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};
use stockade_controls::firewall::compile::{TABLE, name_set};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::nft::Family as TableFamily;
use stockade_controls::firewall::policy::{Peer, Policy};
use stockade_profile::{Family, HostName};

use super::FirewallError;
use crate::admit::{Admission, Admit, AdmitError};
use crate::netlink::NetlinkError;
use crate::netlink::sets::{Change, Element, Key, SetName, Sets};

/// Held by whoever changes the elements (shared), and by whoever replaces the tables with them (alone).
const LOCK: &str = "sets.lock";

/// Opens the device's own firewall for addresses of names.
#[derive(Debug)]
pub struct Names {
    sets: Mutex<Sets>,
    lock: PathBuf,
}

impl Names {
    /// For the firewall that remembers in this folder.
    pub fn open(folder: &Path) -> Result<Self, FirewallError> {
        Ok(Self {
            sets: Mutex::new(Sets::open()?),
            lock: folder.join(LOCK),
        })
    }
}

impl Admit for Names {
    fn admit(&self, put: &[Admission], gone: &[(HostName, IpAddr)]) -> Result<(), AdmitError> {
        // While tables are replaced an element would be lost between their reading and their writing.
        let _held = lock(&self.lock, FlockOperation::LockShared).map_err(|errno| {
            AdmitError::Kernel(NetlinkError::Refused {
                doing: "wait for the firewall's lock",
                why: errno,
            })
        })?;
        let removed = gone.iter().map(|(name, address)| {
            let element = Element::new(key(*address));
            Change::Remove(set(name, family(*address)), element)
        });
        let added = put.iter().map(|it| {
            let element = Element {
                timeout: Some(it.keep),
                ..Element::new(key(it.address))
            };
            Change::Put(set(&it.name, family(it.address)), element)
        });
        let changes: Vec<Change> = removed.chain(added).collect();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        match (sets.change(&changes), put.first()) {
            // The only thing that can be missing is the set: no rule names the host.
            (Err(NetlinkError::Missing { .. }), Some(first)) => {
                Err(AdmitError::NoRule(first.name.clone()))
            }
            (done, _) => Ok(done?),
        }
    }
}

/// Keeps elements from changing until the value is dropped.
pub(super) fn hold(folder: &Path) -> Result<fs_err::File, FirewallError> {
    Ok(lock(&folder.join(LOCK), FlockOperation::LockExclusive)?)
}

fn lock(path: &Path, operation: FlockOperation) -> std::io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path)?;
    flock(&file, operation)?;
    Ok(file)
}

/// The addresses that the names of a policy have now.
pub(super) fn world(policy: &Policy) -> Result<World, FirewallError> {
    let mut sets = Sets::open()?;
    let mut names: BTreeMap<HostName, BTreeSet<IpAddr>> = BTreeMap::new();
    for allow in &policy.allow {
        let Peer::Name(name) = &allow.peer else {
            continue;
        };
        if names.contains_key(name) {
            continue;
        }
        let mut addresses = BTreeSet::new();
        for family in [Family::Ipv4, Family::Ipv6] {
            let listed = match sets.list(&set(name, family)) {
                Ok(listed) => listed,
                Err(NetlinkError::Missing { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            addresses.extend(listed.iter().filter_map(|it| address(&it.element.key)));
        }
        names.insert(name.clone(), addresses);
    }
    Ok(World {
        names,
        ..World::default()
    })
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

fn set(name: &HostName, family: Family) -> SetName {
    SetName {
        family: TableFamily::Inet,
        table: TABLE.to_owned(),
        set: name_set(name, family).to_string(),
    }
}

fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(v4) => Key::new().with(&v4.octets()),
        IpAddr::V6(v6) => Key::new().with(&v6.octets()),
    }
}

fn address(key: &Key) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(key.bytes()) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(key.bytes()).ok().map(IpAddr::from)
}
