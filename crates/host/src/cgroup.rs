//! The cgroups of services: how a rule can be about one program.
//!
//! A rule holds the number that a cgroup had when the rule was loaded. A service that is started anew has a new cgroup under the
//! old name: the rule then holds for nobody, and the service can open nothing, until the rules are loaded again. [`Watch`] tells
//! when.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use stockade_controls::firewall::nft::CgroupPath;
use stockade_profile::{Profile, ServiceName};

/// Where `nft` looks cgroups up, wherever they are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The longest list of mounts that is read.
const MOST: usize = 1024 * 1024;
/// Slices within slices: systemd's own are at most four deep, and each level costs a look into a folder.
const DEEPEST: usize = 6;
/// The most folders that are looked into for one service.
const MOST_FOLDERS: usize = 4_096;

/// Why a service can not be told from others here.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// There is no cgroup2 file system at all.
    #[error(
        "no cgroup2 file system is mounted, so no rule can be about a service: mount one at {ROOT}"
    )]
    NotMounted,
    /// There is one where `nft` does not look.
    #[error(
        "cgroup2 is mounted at {0}, but nft looks for it at {ROOT}: boot with systemd.unified_cgroup_hierarchy=1"
    )]
    Elsewhere(PathBuf),
    /// The service has no cgroup now.
    #[error(
        "the service `{0}` is not running, so it has no cgroup yet: its rules allow nothing until it starts"
    )]
    Absent(ServiceName),
}

/// The cgroups of this machine.
#[derive(Debug, Clone)]
pub struct Cgroups {
    root: PathBuf,
}

/// The cgroup that a service has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: CgroupPath,
    /// Its number: another one after the service was started anew.
    pub number: u64,
}

impl Cgroups {
    /// Finds the cgroup2 file system.
    pub fn find() -> Result<Self, CgroupError> {
        let mut bytes = Vec::new();
        let open = fs_err::File::open("/proc/thread-self/mountinfo")?;
        io::Read::read_to_end(&mut io::Read::take(open, to_u64(MOST)), &mut bytes)?;
        let mounts = String::from_utf8_lossy(&bytes);
        let all: Vec<PathBuf> = cgroup2_mounts(&mounts).collect();
        // The last one mounted at a place is the one that is seen.
        if all.iter().any(|place| place == Path::new(ROOT)) {
            return Ok(Self::at(ROOT));
        }
        match all.into_iter().next() {
            Some(elsewhere) => Err(CgroupError::Elsewhere(elsewhere)),
            None => Err(CgroupError::NotMounted),
        }
    }

    /// The cgroups below a folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cgroup of a service: `system.slice/NAME.service`, or the same in another slice.
    pub fn service(&self, service: &ServiceName) -> Result<Found, CgroupError> {
        let unit = format!("{service}.service");
        let usual = format!("system.slice/{unit}");
        if let Some(found) = self.number(&usual) {
            return Ok(found);
        }
        let mut open = vec![(String::new(), 0)];
        let mut looked = 0;
        while let Some((folder, depth)) = open.pop() {
            looked += 1;
            if looked > MOST_FOLDERS {
                break;
            }
            let below = |name: &str| match folder.as_str() {
                "" => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            if let Some(found) = self.number(&below(&unit)) {
                return Ok(found);
            }
            if depth < DEEPEST {
                let slices = self.slices(&folder)?;
                open.extend(slices.iter().map(|slice| (below(slice), depth + 1)));
            }
        }
        Err(CgroupError::Absent(service.clone()))
    }

    /// The cgroup of each service that a rule of the profile names, and the services that have none now.
    pub fn services(
        &self,
        profile: &Profile,
    ) -> Result<(BTreeMap<ServiceName, Found>, Vec<ServiceName>), CgroupError> {
        let (mut found, mut absent) = (BTreeMap::new(), Vec::new());
        for service in named(profile) {
            match self.service(&service) {
                Ok(cgroup) => {
                    found.insert(service, cgroup);
                }
                Err(CgroupError::Absent(service)) => absent.push(service),
                Err(error) => return Err(error),
            }
        }
        Ok((found, absent))
    }

    fn number(&self, path: &str) -> Option<Found> {
        let about = fs_err::metadata(self.root.join(path)).ok()?;
        let path = CgroupPath::new(path).ok()?;
        about.is_dir().then(|| Found {
            path,
            number: about.ino(),
        })
    }

    /// The slices in a folder, in order. A folder that went away has none.
    fn slices(&self, folder: &str) -> Result<Vec<String>, CgroupError> {
        let entries = match fs_err::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut slices: Vec<String> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| Path::new(name).extension() == Some("slice".as_ref()))
            .take(MOST_FOLDERS)
            .collect();
        slices.sort();
        Ok(slices)
    }
}

/// The services that rules of a profile name, each once.
pub fn named(profile: &Profile) -> Vec<ServiceName> {
    let mut services: Vec<ServiceName> = Vec::new();
    for service in profile
        .firewall
        .outward
        .iter()
        .filter_map(|rule| rule.service.as_ref())
    {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    services
}

/// Tells when a service got another cgroup, so that rules about it must be loaded again.
#[derive(Debug)]
pub struct Watch {
    cgroups: Cgroups,
    services: Vec<ServiceName>,
    known: BTreeMap<String, Found>,
    events: OwnedFd,
}

impl Watch {
    /// Watches the services; what they have now is what the rules are taken to know.
    pub fn new(cgroups: Cgroups, services: Vec<ServiceName>) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let events = inotify::init(flags)?;
        let mut watch = Self {
            cgroups,
            services,
            known: BTreeMap::new(),
            events,
        };
        watch.watch_slices();
        watch.known = watch.now();
        Ok(watch)
    }

    /// Waits until a service has got a cgroup or another one, at most so long. Whether it has.
    ///
    /// A service that merely stopped changes nothing: its rules hold for nobody.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.events, PollFlags::IN)];
        let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
        match poll(&mut descriptors, Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        self.drain();
        Ok(self.has_changed())
    }

    /// Whether a service has another cgroup than when this was asked last.
    pub fn has_changed(&mut self) -> bool {
        self.watch_slices();
        let now = self.now();
        let changed = now
            .iter()
            .any(|(name, found)| self.known.get(name) != Some(found));
        self.known.extend(now);
        changed
    }

    fn now(&self) -> BTreeMap<String, Found> {
        let found = |service: &ServiceName| {
            let found = self.cgroups.service(service).ok()?;
            Some((service.to_string(), found))
        };
        self.services.iter().filter_map(found).collect()
    }

    /// A new cgroup shows in the folder above it. Folders that are watched already stay so.
    fn watch_slices(&self) {
        let mut folders = vec![String::new(), "system.slice".to_owned()];
        folders.extend(self.known.values().filter_map(|found| {
            let (above, _) = found.path.as_str().rsplit_once('/')?;
            Some(above.to_owned())
        }));
        for folder in folders {
            let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::ONLYDIR;
            // What is not there is found by the next look, at the latest when the wait ends.
            let _absent = inotify::add_watch(&self.events, self.cgroups.root.join(folder), what);
        }
    }

    /// What the events say is seen better by looking.
    fn drain(&self) {
        let mut buffer = [0; 4_096];
        while matches!(rustix::io::read(&self.events, &mut buffer), Ok(length) if length > 0) {}
    }
}

/// Where cgroup2 is mounted (proc(5), mountinfo: the fifth field is the place, the one behind the `-` is the type).
fn cgroup2_mounts(mounts: &str) -> impl Iterator<Item = PathBuf> + '_ {
    mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        (kind.split(' ').next() == Some("cgroup2")).then_some(())?;
        let mut fields = place.split(' ');
        // A mount of a part of the tree shows other names than the kernel knows.
        (fields.nth(3) == Some("/")).then_some(())?;
        fields.next().map(PathBuf::from)
    })
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn cgroup2_is_found_among_the_mounts() {
        let mounts = "\
            24 29 0:22 / /proc rw,nosuid shared:5 - proc proc rw\n\
            33 32 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
            34 32 0:30 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu\n\
            35 32 0:29 /part /mnt rw - cgroup2 cgroup2 rw\n\
            x\n";
        let found: Vec<_> = cgroup2_mounts(mounts).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn a_service_is_found_in_its_slice() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "system.slice/camera.service",
            "system.slice/system-net.slice/vpn.service",
            "acme.slice/acme-av.slice/mixer.service",
        ] {
            fs_err::create_dir_all(root.path().join(path)).unwrap();
        }
        let cgroups = Cgroups::at(root.path());
        let path = |service| {
            let found = cgroups.service(&name(service));
            found.map(|found| found.path.as_str().to_owned())
        };
        assert_eq!(path("camera").unwrap(), "system.slice/camera.service");
        let nested = "system.slice/system-net.slice/vpn.service";
        assert_eq!(path("vpn").unwrap(), nested);
        let other = "acme.slice/acme-av.slice/mixer.service";
        assert_eq!(path("mixer").unwrap(), other);
        assert!(matches!(path("sound"), Err(CgroupError::Absent(_))));
    }

    #[test]
    fn a_service_that_starts_anew_is_noticed_and_one_that_stops_is_not() {
        let root = tempfile::tempdir().unwrap();
        let camera = root.path().join("system.slice/camera.service");
        fs_err::create_dir_all(root.path().join("system.slice")).unwrap();
        let services = vec![name("camera")];
        let mut watch = Watch::new(Cgroups::at(root.path()), services).unwrap();
        assert!(!watch.wait(Duration::from_millis(20)).unwrap());
        fs_err::create_dir(&camera).unwrap();
        let before = std::time::Instant::now();
        assert!(watch.wait(Duration::from_secs(10)).unwrap());
        assert!(
            before.elapsed() < Duration::from_secs(5),
            "only when the wait ended"
        );
        assert!(!watch.wait(Duration::from_millis(20)).unwrap());
        fs_err::remove_dir(&camera).unwrap();
        assert!(!watch.wait(Duration::from_millis(20)).unwrap());
        // A file in between, so that the number of the folder is not given out again at once.
        fs_err::write(root.path().join("system.slice/other"), "").unwrap();
        fs_err::create_dir(&camera).unwrap();
        assert!(watch.wait(Duration::from_secs(10)).unwrap());
    }
}
