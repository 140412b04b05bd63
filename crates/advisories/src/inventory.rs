//! What software a host has.

mod detect;
mod rpm;

use std::collections::BTreeMap;

use stockade_controls::engine::{Host, HostPath, Unseen};
use stockade_controls::programs::{Package, alpine, stanzas};

use crate::component::{Component, Distribution, Kind};

pub use detect::detect;

/// The largest database that is read.
const MOST: usize = 64 << 20;

const DPKG: &str = "/var/lib/dpkg/status";
/// Images without a package manager keep a file for each package here.
const DPKG_PARTS: &str = "/var/lib/dpkg/status.d";
const OPKG: [&str; 3] = [
    "/usr/lib/opkg/status",
    "/var/lib/opkg/status",
    "/rom/usr/lib/opkg/status",
];
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The packages of a database by name.
type Packages = Result<BTreeMap<String, Package>, Unseen>;

/// What software is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The distribution; none where nothing says.
    pub distribution: Option<Distribution>,
    /// Each piece, sorted.
    pub components: Vec<Component>,
    /// What could not be read, and why: what is in it was not checked.
    pub unread: Vec<(String, String)>,
}

/// Reads what package managers know, and what version strings tell.
pub fn inventory(host: &dyn Host) -> Inventory {
    let mut all = Inventory::default();
    all.distribution = all.release(host);
    all.dpkg(host);
    for path in OPKG {
        all.database(host, path, Kind::Opkg, stanzas);
    }
    for path in APK {
        all.database(host, path, Kind::Apk, alpine);
    }
    rpm::read(host, &mut all);
    all.components.sort();
    all.components.dedup();
    all
}

impl Inventory {
    /// A file's bytes; none if it is not there, or, which is told, cannot be read.
    fn file(&mut self, host: &dyn Host, path: &HostPath) -> Option<Vec<u8>> {
        match host.read(path, MOST) {
            Ok(bytes) => Some(bytes),
            Err(Unseen::Absent) => None,
            Err(why) => {
                self.unread.push((path.to_string(), why.to_string()));
                None
            }
        }
    }

    fn release(&mut self, host: &dyn Host) -> Option<Distribution> {
        let bytes = RELEASE
            .iter()
            .find_map(|path| self.file(host, &HostPath::of(path)))?;
        let text = String::from_utf8_lossy(&bytes);
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
            Some(value.trim().trim_matches(['"', '\'']).to_owned())
        };
        Some(Distribution {
            id: value("ID").filter(|it| !it.is_empty())?,
            version: value("VERSION_ID").unwrap_or_default(),
        })
    }

    fn database(
        &mut self,
        host: &dyn Host,
        path: &'static str,
        kind: Kind,
        read: fn(&[u8]) -> Packages,
    ) {
        if let Some(bytes) = self.file(host, &HostPath::of(path)) {
            self.packages(path, kind, read(&bytes));
        }
    }

    fn packages(&mut self, place: &str, kind: Kind, read: Packages) {
        let all = match read {
            Ok(all) => all,
            Err(why) => return self.unread.push((place.to_owned(), why.to_string())),
        };
        for (name, package) in &all {
            let of = self.distribution.as_ref();
            if package.version.is_empty() {
                let why = format!("the package {} has no version", name.escape_debug());
                self.unread.push((place.to_owned(), why));
            } else {
                let component = Component::package(kind, of, (name, package), place);
                self.components.push(component);
            }
        }
    }

    fn dpkg(&mut self, host: &dyn Host) {
        self.database(host, DPKG, Kind::Dpkg, stanzas);
        let parts = match host.list(&HostPath::of(DPKG_PARTS)) {
            Ok(parts) => parts,
            Err(Unseen::Absent) => return,
            Err(why) => {
                return self.unread.push((DPKG_PARTS.to_owned(), why.to_string()));
            }
        };
        for (name, _) in parts.iter().filter(|(it, _)| !it.ends_with(b".md5sums")) {
            let Ok(path) = HostPath::of(DPKG_PARTS).join(name) else {
                continue;
            };
            if let Some(bytes) = self.file(host, &path) {
                // There is no `Status:` in them: what is there is installed.
                let text = [b"Status: install ok installed\n", bytes.as_slice()].concat();
                self.packages(&path.to_string(), Kind::Dpkg, stanzas(&text));
            }
        }
    }
}

/// Any bytes as a database of rpm, and as a program.
pub(crate) fn fuzz(data: &[u8]) {
    rpm::fuzz(data);
    detect::fuzz(data);
}
