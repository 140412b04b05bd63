//! A host that is written down: for tests of rules, without a file system.

use std::collections::BTreeMap;

use super::host::{
    Entry, FirewallState, Host, InitSystem, Inventory, Kind, Listener, Name, Notable, Process,
    Standing, TlsAnswers, Unseen,
};
use super::path::{HostPath, follow};

/// A host in memory. Absent is what was not put there; live facts are [`Unseen::Offline`] until they are set.
#[derive(Debug, Clone, Default)]
pub struct MemoryHost {
    files: BTreeMap<HostPath, (Entry, Vec<u8>)>,
    /// What the walk finds; [`MemoryHost::file`] does not add to it.
    pub inventory: Inventory,
    /// Who starts services.
    pub init: Option<InitSystem>,
    /// The processes; none: not running.
    pub processes: Option<Vec<Process>>,
    /// The listeners; none: not running.
    pub listeners: Option<Vec<Listener>>,
    /// What listeners answer.
    pub tls: BTreeMap<Listener, TlsAnswers>,
    /// What block devices hold, or how reading them fails.
    pub devices: BTreeMap<HostPath, Result<Vec<u8>, Unseen>>,
    /// The firewall; none: not running.
    pub firewall: Option<FirewallState>,
    /// What is known of confined services; none: not running.
    pub mac: Option<crate::mac::Known>,
}

impl MemoryHost {
    /// An empty offline root.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a file of root's, and directories on the way.
    #[must_use]
    pub fn file(self, path: &'static str, mode: u32, content: &str) -> Self {
        self.owned(path, mode, (0, 0), content)
    }

    /// With a file of somebody's.
    #[must_use]
    pub fn owned(self, path: &'static str, mode: u32, owner: (u32, u32), content: &str) -> Self {
        self.holding(path, mode, owner, content.as_bytes())
    }

    /// With a file of root's that is no text.
    #[must_use]
    pub fn bytes(self, path: &'static str, content: &[u8]) -> Self {
        self.holding(path, 0o600, (0, 0), content)
    }

    fn holding(mut self, path: &'static str, mode: u32, owner: (u32, u32), content: &[u8]) -> Self {
        let path = HostPath::of(path);
        self.parents(&path);
        let entry = entry(Kind::File, mode, owner, content.len());
        self.files.insert(path, (entry, content.to_vec()));
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn linked(mut self, path: &'static str, target: &str) -> Self {
        let path = HostPath::of(path);
        self.parents(&path);
        let entry = entry(Kind::Link, 0o777, (0, 0), target.len());
        self.files.insert(path, (entry, target.as_bytes().to_vec()));
        self
    }

    /// With a directory.
    #[must_use]
    pub fn directory(mut self, path: &'static str, mode: u32) -> Self {
        let path = HostPath::of(path);
        self.parents(&path);
        self.files
            .insert(path, (entry(Kind::Directory, mode, (0, 0), 0), Vec::new()));
        self
    }

    /// With a file that the walk finds worth a look.
    #[must_use]
    pub fn notable(mut self, path: &'static str, mode: u32, capability: Option<&[u8]>) -> Self {
        self.inventory.notable.push(Notable {
            path: HostPath::of(path),
            entry: entry(Kind::File, mode, (0, 0), 0),
            capability: capability.map(<[u8]>::to_vec),
        });
        self.inventory.notable.sort_by(|a, b| a.path.cmp(&b.path));
        self.file(path, mode, "")
    }

    fn parents(&mut self, path: &HostPath) {
        let parent = path.parent();
        if parent != *path {
            self.parents(&parent);
            let directory = || (entry(Kind::Directory, 0o755, (0, 0), 0), Vec::new());
            self.files.entry(parent).or_insert_with(directory);
        }
    }

    fn resolve(&self, path: &HostPath, last: bool) -> Result<HostPath, Unseen> {
        follow(path, last, &mut |at| match self.files.get(at) {
            Some((entry, target)) if entry.kind == Kind::Link => Some(target.clone()),
            _ => None,
        })
    }

    fn live<T: ?Sized>(it: Option<&T>) -> Result<&T, Unseen> {
        it.ok_or(Unseen::Offline)
    }
}

fn entry(kind: Kind, mode: u32, owner: (u32, u32), size: usize) -> Entry {
    Entry {
        kind,
        mode,
        owner: owner.0,
        group: owner.1,
        size: u64::try_from(size).unwrap_or(u64::MAX),
        modified: 0,
    }
}

impl Host for MemoryHost {
    fn standing(&self) -> Standing {
        if self.processes.is_some() {
            Standing::Live
        } else {
            Standing::Offline
        }
    }

    fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        let (entry, content) = self
            .files
            .get(&self.resolve(path, true)?)
            .ok_or(Unseen::Absent)?;
        if entry.kind != Kind::File {
            return Err(Unseen::Damaged("not a regular file".to_owned()));
        }
        if content.len() > most {
            return Err(Unseen::TooMuch(most));
        }
        Ok(content.clone())
    }

    fn device(&self, path: &HostPath, at: u64, length: usize) -> Result<Vec<u8>, Unseen> {
        let held = self.devices.get(&self.resolve(path, true)?);
        let held = held.ok_or(Unseen::Absent)?.as_ref().map_err(Clone::clone)?;
        let skipped = usize::try_from(at).unwrap_or(usize::MAX);
        Ok(held.iter().skip(skipped).take(length).copied().collect())
    }

    fn entry(&self, path: &HostPath) -> Result<Entry, Unseen> {
        let found = self.files.get(&self.resolve(path, false)?);
        found.map(|(entry, _)| *entry).ok_or(Unseen::Absent)
    }

    fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen> {
        match self.files.get(&self.resolve(path, false)?) {
            Some((entry, target)) if entry.kind == Kind::Link => Ok(target.clone()),
            Some(_) => Err(Unseen::Damaged("not a link".to_owned())),
            None => Err(Unseen::Absent),
        }
    }

    fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen> {
        let directory = self.resolve(path, true)?;
        match self.files.get(&directory) {
            Some((entry, _)) if entry.kind == Kind::Directory => (),
            Some(_) => return Err(Unseen::Damaged("not a directory".to_owned())),
            None => return Err(Unseen::Absent),
        }
        let inside = self
            .files
            .iter()
            .filter(|(path, _)| **path != directory && path.parent() == directory);
        Ok(inside
            .map(|(path, (entry, _))| (path.name().into(), *entry))
            .collect())
    }

    fn inventory(&self) -> Result<&Inventory, Unseen> {
        Ok(&self.inventory)
    }

    fn init(&self) -> Result<InitSystem, Unseen> {
        self.init.ok_or(Unseen::Absent)
    }

    fn processes(&self) -> Result<&[Process], Unseen> {
        Self::live(self.processes.as_deref())
    }

    fn listeners(&self) -> Result<&[Listener], Unseen> {
        Self::live(self.listeners.as_deref())
    }

    fn tls(&self, listener: &Listener) -> Result<TlsAnswers, Unseen> {
        self.tls.get(listener).cloned().ok_or(Unseen::Offline)
    }

    fn firewall(&self) -> Result<&FirewallState, Unseen> {
        Self::live(self.firewall.as_ref())
    }

    fn mac(&self) -> Result<&crate::mac::Known, Unseen> {
        Self::live(self.mac.as_ref())
    }
}
