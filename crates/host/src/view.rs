//! A host as rules read it: the system that runs, or a root directory that does not.

mod proc;
mod root;
mod running;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stockade_controls::engine::{
    Entry, FirewallState, Host, HostPath, InitSystem, Inventory, Kind, Listener, Name, Process,
    Standing, TlsAnswers, Transport, Unseen,
};
use stockade_controls::mac::Known;

use root::Root;
use running::Proc;

/// Asks a listener which versions of TLS it accepts.
type Prober<'a> = Box<dyn Fn(&Listener) -> Result<TlsAnswers, Unseen> + 'a>;
/// Looks how the firewall stands.
type Firewall<'a> = Box<dyn Fn() -> Result<FirewallState, Unseen> + 'a>;

/// The system that runs. Each fact is read once, when it is first asked for: a new look is a new value.
pub struct Live<'a> {
    root: Root,
    place: PathBuf,
    proc: Proc,
    prober: Option<Prober<'a>>,
    firewall: Option<Firewall<'a>>,
    mac: Option<Known>,
    inventory: OnceLock<Result<Inventory, Unseen>>,
    processes: OnceLock<Result<Vec<Process>, Unseen>>,
    listeners: OnceLock<Result<Vec<Listener>, Unseen>>,
    state: OnceLock<Result<FirewallState, Unseen>>,
}

impl fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<'a> Live<'a> {
    /// This machine.
    pub fn open() -> Result<Self, Unseen> {
        Self::in_root(Path::new("/"))
    }

    /// A system that runs in a root directory of this machine, in the namespaces that this process is in: files are read there,
    /// processes and sockets from this process's `/proc`.
    pub fn in_root(root: &Path) -> Result<Self, Unseen> {
        let place = root
            .canonicalize()
            .map_err(|why| Unseen::Failed(why.to_string()))?;
        Ok(Self {
            root: Root::open(&place)?,
            place,
            proc: Proc::open(Path::new("/proc"))?,
            prober: None,
            firewall: None,
            mac: None,
            inventory: OnceLock::new(),
            processes: OnceLock::new(),
            listeners: OnceLock::new(),
            state: OnceLock::new(),
        })
    }

    /// With somebody who can ask listeners; without, no listener's TLS is known.
    #[must_use]
    pub fn with_prober(
        mut self,
        ask: impl Fn(&Listener) -> Result<TlsAnswers, Unseen> + 'a,
    ) -> Self {
        self.prober = Some(Box::new(ask));
        self
    }

    /// With somebody who can look at the firewall; without, it is not known.
    #[must_use]
    pub fn with_firewall(mut self, look: impl Fn() -> Result<FirewallState, Unseen> + 'a) -> Self {
        self.firewall = Some(Box::new(look));
        self
    }

    /// With what is known of confined services; without, nothing is.
    #[must_use]
    pub fn with_mac(mut self, known: Option<Known>) -> Self {
        self.mac = known;
        self
    }
}

impl Host for Live<'_> {
    fn standing(&self) -> Standing {
        Standing::Live
    }

    fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        self.root.read(path, most)
    }

    fn device(&self, path: &HostPath, at: u64, length: usize) -> Result<Vec<u8>, Unseen> {
        self.root.device(path, at, length)
    }

    fn entry(&self, path: &HostPath) -> Result<Entry, Unseen> {
        self.root.entry(path)
    }

    fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen> {
        self.root.link(path)
    }

    fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen> {
        self.root.list(path)
    }

    fn inventory(&self) -> Result<&Inventory, Unseen> {
        once(&self.inventory, || walk::walk(&self.root, true))
    }

    fn init(&self) -> Result<InitSystem, Unseen> {
        // sd_booted(3); OpenRC makes its folder before the first service.
        let is_there = |path| {
            self.root
                .entry(&HostPath::of(path))
                .is_ok_and(|entry| entry.kind == Kind::Directory)
        };
        if is_there("/run/systemd/system") {
            return Ok(InitSystem::Systemd);
        }
        if is_there("/run/openrc") {
            return Ok(InitSystem::OpenRc);
        }
        match self.proc.read("1/comm", 64).as_deref() {
            Ok(b"systemd\n") => Ok(InitSystem::Systemd),
            Ok(b"openrc-init\n") => Ok(InitSystem::OpenRc),
            Ok(b"procd\n") => Ok(InitSystem::Procd),
            _ => InitSystem::installed(self),
        }
    }

    fn processes(&self) -> Result<&[Process], Unseen> {
        once(&self.processes, || self.proc.processes(&self.place)).map(Vec::as_slice)
    }

    fn listeners(&self) -> Result<&[Listener], Unseen> {
        once(&self.listeners, || self.proc.listeners()).map(Vec::as_slice)
    }

    fn tls(&self, listener: &Listener) -> Result<TlsAnswers, Unseen> {
        let nobody = || Unseen::Failed("nobody is there to ask it".to_owned());
        self.prober.as_ref().ok_or_else(nobody)?(listener)
    }

    fn firewall(&self) -> Result<&FirewallState, Unseen> {
        let nobody = || Unseen::Failed("nobody is there to look at it".to_owned());
        let look = self.firewall.as_ref().ok_or_else(nobody)?;
        once(&self.state, look)
    }

    fn mac(&self) -> Result<&Known, Unseen> {
        let nobody = || Unseen::Failed("nobody here learns what services do".to_owned());
        self.mac.as_ref().ok_or_else(nobody)
    }
}

/// A root directory that does not run: an unpacked image, a mounted disk.
#[derive(Debug)]
pub struct Offline {
    root: Root,
    inventory: OnceLock<Result<Inventory, Unseen>>,
}

impl Offline {
    /// Opens it.
    pub fn open(root: &Path) -> Result<Self, Unseen> {
        Ok(Self {
            root: Root::open(root)?,
            inventory: OnceLock::new(),
        })
    }
}

impl Host for Offline {
    fn standing(&self) -> Standing {
        Standing::Offline
    }

    fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        self.root.read(path, most)
    }

    fn entry(&self, path: &HostPath) -> Result<Entry, Unseen> {
        self.root.entry(path)
    }

    fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen> {
        self.root.link(path)
    }

    fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen> {
        self.root.list(path)
    }

    fn inventory(&self) -> Result<&Inventory, Unseen> {
        once(&self.inventory, || walk::walk(&self.root, false))
    }

    fn init(&self) -> Result<InitSystem, Unseen> {
        InitSystem::installed(self)
    }
}

fn once<T>(
    cell: &OnceLock<Result<T, Unseen>>,
    look: impl FnOnce() -> Result<T, Unseen>,
) -> Result<&T, Unseen> {
    cell.get_or_init(look).as_ref().map_err(Clone::clone)
}

/// A process's name and the number of its controlling terminal, of its `/proc/<pid>/stat`.
pub(crate) fn terminal(stat: &[u8]) -> Option<(String, u32)> {
    proc::stat(stat).map(|it| (it.name, it.terminal))
}

/// Takes the data as each of the texts of `/proc`: nothing of them is ever longer than it may be, or not printable.
pub(crate) fn fuzz(data: &[u8]) {
    if let Some(stat) = proc::stat(data) {
        assert!(!stat.name.contains(char::is_control), "a name can be shown");
    }
    let _: Option<proc::Status> = proc::status(data);
    for argument in proc::arguments(data) {
        assert!(!argument.contains(char::is_control), "it can be shown");
    }
    if let Some(cgroup) = proc::cgroup(data) {
        assert!(!cgroup.contains('\n'), "a cgroup is of one line");
    }
    for transport in [Transport::Tcp, Transport::Udp] {
        let (found, _) = proc::sockets(data, transport);
        assert!(found.len() <= proc::MOST_LISTENERS, "no more than is kept");
    }
    let _: Option<u64> = proc::socket_inode(data);
}
