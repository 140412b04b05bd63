//! Ports of the LAN's bridge that reach each other through the gateway only.
//!
//! Two devices on one bridge talk past the gateway's rules. With every port isolated the bridge no longer passes frames
//! between them; the gateway answers ARP in their place (`proxy_arp_pvlan`), routes what they send and judges it. It must not
//! tell them of the shorter way (`send_redirects`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What of the interface is set, below `/proc/sys/net`.
const SETTINGS: [(&str, &str); 6] = [
    ("ipv4/conf/{}/proxy_arp_pvlan", "1"),
    // An answer in another's place is otherwise held back by up to 0.8 s, and connections begin with it.
    ("ipv4/neigh/{}/proxy_delay", "0"),
    ("ipv4/conf/{}/send_redirects", "0"),
    // A redirect is also sent where all interfaces say so.
    ("ipv4/conf/all/send_redirects", "0"),
    // An answer for the other card's address would go past the rules.
    ("ipv4/conf/{}/arp_ignore", "1"),
    ("ipv4/conf/{}/accept_redirects", "0"),
];

/// Why ports could not be isolated.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// A setting could not be read or changed.
    #[error("cannot {doing} {}: is this root, and is it writable?", .path.display())]
    Setting {
        /// `read` or `set`.
        doing: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The interface is no bridge.
    #[error(
        "`{0}` is no bridge, so its devices' switch passes frames between them that the gateway never sees; set \
         `isolate-ports = false` in [guard] if that is understood (docs/guard.md)"
    )]
    NoBridge(String),
}

/// The switches of one interface.
#[derive(Debug)]
pub struct Isolation {
    interface: String,
    /// `/`, or in tests a tree that looks like it.
    root: PathBuf,
}

impl Isolation {
    /// Of the interface of this name, which the kernel has confirmed.
    pub fn of(interface: &str, root: &Path) -> Self {
        Self {
            interface: interface.to_owned(),
            root: root.to_owned(),
        }
    }

    /// Every setting's name and its value now; what `apply` would change.
    pub fn now(&self) -> Result<BTreeMap<String, String>, IsolationError> {
        let mut found = BTreeMap::new();
        for (name, _) in self.wanted()? {
            let value = self.read(&name)?;
            found.insert(name, value);
        }
        Ok(found)
    }

    /// Isolates all ports there are; a port that came since is isolated by the next call. How many ports there are.
    pub fn apply(&self) -> Result<usize, IsolationError> {
        let wanted = self.wanted()?;
        for (name, value) in &wanted {
            // Unchanged settings are not written: whoever watches them would think that somebody changed them.
            if self.read(name)? != *value {
                self.write(name, value)?;
            }
        }
        Ok(self.ports()?.len())
    }

    /// Sets everything as it was. Ports and interfaces that are gone since have nothing to be set.
    pub fn restore(&self, before: &BTreeMap<String, String>) -> Result<(), IsolationError> {
        for (name, value) in before {
            if self.path(name).exists() {
                self.write(name, value)?;
            }
        }
        Ok(())
    }

    /// The bridge's ports.
    pub fn ports(&self) -> Result<BTreeSet<String>, IsolationError> {
        let path = self
            .root
            .join(format!("sys/class/net/{}/brif", self.interface));
        let entries = match fs_err::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IsolationError::NoBridge(self.interface.clone()));
            }
            Err(source) => {
                return Err(IsolationError::Setting {
                    doing: "read",
                    path,
                    source,
                });
            }
        };
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    fn wanted(&self) -> Result<Vec<(String, String)>, IsolationError> {
        let mut wanted: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|(name, value)| {
                let name = format!("proc/sys/net/{}", name.replace("{}", &self.interface));
                (name, (*value).to_owned())
            })
            .collect();
        for port in self.ports()? {
            let name = format!("sys/class/net/{port}/brport/isolated");
            wanted.push((name, "1".to_owned()));
        }
        Ok(wanted)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> Result<String, IsolationError> {
        let path = self.path(name);
        match fs_err::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(IsolationError::Setting {
                doing: "read",
                path,
                source,
            }),
        }
    }

    fn write(&self, name: &str, value: &str) -> Result<(), IsolationError> {
        let path = self.path(name);
        fs_err::write(&path, value).map_err(|source| IsolationError::Setting {
            doing: "set",
            path,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("proc/sys/net/ipv4/conf/br0/proxy_arp_pvlan", "0\n"),
            ("proc/sys/net/ipv4/neigh/br0/proxy_delay", "80\n"),
            ("proc/sys/net/ipv4/conf/br0/send_redirects", "1\n"),
            ("proc/sys/net/ipv4/conf/all/send_redirects", "1\n"),
            ("proc/sys/net/ipv4/conf/br0/arp_ignore", "0\n"),
            ("proc/sys/net/ipv4/conf/br0/accept_redirects", "1\n"),
            ("sys/class/net/p1/brport/isolated", "0\n"),
            ("sys/class/net/p2/brport/isolated", "1\n"),
            ("sys/class/net/br0/brif/p1", ""),
            ("sys/class/net/br0/brif/p2", ""),
        ];
        for (name, value) in files {
            let path = root.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, value).unwrap();
        }
        root
    }

    #[test]
    fn what_was_changed_goes_back_as_it_was() {
        let root = tree();
        let isolation = Isolation::of("br0", root.path());
        let before = isolation.now().unwrap();
        assert_eq!(isolation.apply().unwrap(), 2);
        let after = isolation.now().unwrap();
        assert_eq!(after["sys/class/net/p1/brport/isolated"], "1");
        assert_eq!(after["proc/sys/net/ipv4/conf/br0/proxy_arp_pvlan"], "1");
        assert_eq!(after["proc/sys/net/ipv4/conf/all/send_redirects"], "0");
        fs_err::remove_dir_all(root.path().join("sys/class/net/p2")).unwrap();
        fs_err::remove_file(root.path().join("sys/class/net/br0/brif/p2")).unwrap();
        isolation.restore(&before).unwrap();
        let now = isolation.now().unwrap();
        assert!(now.iter().all(|(name, value)| before[name] == *value));
    }

    #[test]
    fn a_card_that_is_no_bridge_is_refused_with_what_to_do() {
        let root = tree();
        let told = Isolation::of("p1", root.path()).apply().unwrap_err();
        assert!(told.to_string().contains("isolate-ports"), "{told}");
    }
}
