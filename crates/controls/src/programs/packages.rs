//! Which packages are installed, by the databases of dpkg, opkg and apk; rpm's can only be named.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Host, HostPath, PackageManager, Unseen};

/// The largest database that is read, the most packages, and the most bytes of lists of files.
const MOST_BYTES: usize = 32 << 20;
const MOST_PACKAGES: usize = 50_000;
const MOST_LISTS: usize = 64 << 20;

const DPKG: &str = "/var/lib/dpkg/status";
/// Images without a package manager keep a file for each package here.
const DPKG_PARTS: &str = "/var/lib/dpkg/status.d";
const OPKG: [(&str, &str); 2] = [
    ("/usr/lib/opkg/status", "/usr/lib/opkg/info"),
    ("/var/lib/opkg/status", "/var/lib/opkg/info"),
];
/// The packages of `OpenWrt`'s read-only image.
const OPENWRT_IMAGE: &str = "/rom/usr/lib/opkg/status";
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const RPM: [(&str, &str); 4] = [
    ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "SQLite"),
    ("/var/lib/rpm/rpmdb.sqlite", "SQLite"),
    ("/var/lib/rpm/Packages.db", "ndb"),
    ("/var/lib/rpm/Packages", "Berkeley DB"),
];
/// What Alpine's base system is made of (its package `alpine-base`), and `OpenWrt`'s where no read-only image tells.
const ALPINE_BASE: [&str; 8] = [
    "alpine-base",
    "alpine-baselayout",
    "alpine-keys",
    "alpine-release",
    "apk-tools",
    "busybox",
    "libc-utils",
    "openrc",
];
const OPENWRT_BASE: [&str; 4] = ["base-files", "busybox", "libc", "opkg"];

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// Its version, as the database has it.
    pub version: String,
    /// The source that it was built from, and that one's version where it is another: dpkg's `Source`, apk's origin.
    pub source: Option<(String, Option<String>)>,
    /// What it was built for.
    pub architecture: String,
    /// Its licence, where the database has it.
    pub licence: String,
    /// It is of the base system by itself, not only because something of it needs it.
    pub(super) base: bool,
    /// What it needs: each entry is met by any of its names.
    pub(super) needs: Vec<Vec<String>>,
    /// Other names that it goes by.
    provides: Vec<String>,
    /// Its files, where the database has them.
    files: Vec<HostPath>,
}

/// What is installed.
#[derive(Debug)]
pub struct Installed {
    /// Whose database it is.
    pub manager: PackageManager,
    /// The packages by name.
    pub all: BTreeMap<String, Package>,
    by_name: BTreeMap<String, Vec<String>>,
    lists: Option<HostPath>,
}

/// Reads the database of whichever manager is there.
pub fn read(host: &dyn Host) -> Result<Installed, Unseen> {
    let file = |path: &'static str| match host.read(&HostPath::of(path), MOST_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    };
    if let Some(bytes) = file(DPKG)? {
        let lists = Some(HostPath::of("/var/lib/dpkg/info"));
        return Installed::of(PackageManager::Dpkg, stanzas(&bytes)?, lists);
    }
    let parts = match host.list(&HostPath::of(DPKG_PARTS)) {
        Ok(names) => names,
        Err(Unseen::Absent) => Vec::new(),
        Err(why) => return Err(why),
    };
    if !parts.is_empty() {
        let mut all = BTreeMap::new();
        for (name, _) in parts
            .iter()
            .filter(|(name, _)| !name.ends_with(b".md5sums"))
        {
            let path = HostPath::of(DPKG_PARTS).join(name);
            let path = path.map_err(|why| Unseen::Damaged(why.to_string()))?;
            // There is no `Status:` in them: what is there is installed.
            let text = [
                b"Status: install ok installed\n".as_slice(),
                &host.read(&path, MOST_BYTES)?,
            ]
            .concat();
            all.extend(stanzas(&text)?);
        }
        return Installed::of(PackageManager::Dpkg, all, None);
    }
    for (path, lists) in OPKG {
        if let Some(bytes) = file(path)? {
            let mut all = stanzas(&bytes)?;
            let image = file(OPENWRT_IMAGE)?
                .map(|bytes| stanzas(&bytes))
                .transpose()?;
            for (name, package) in &mut all {
                package.base |= match &image {
                    Some(image) => image.contains_key(name),
                    None => OPENWRT_BASE.contains(&name.as_str()),
                };
            }
            return Installed::of(PackageManager::Opkg, all, Some(HostPath::of(lists)));
        }
    }
    for path in APK {
        if let Some(bytes) = file(path)? {
            return Installed::of(PackageManager::Apk, alpine(&bytes)?, None);
        }
    }
    for (path, form) in RPM {
        if host.entry(&HostPath::of(path)).is_ok() {
            return Err(Unseen::Failed(format!(
                "{path} is a database of rpm ({form}), which is not read here"
            )));
        }
    }
    Err(Unseen::Absent)
}

impl Installed {
    fn of(
        manager: PackageManager,
        all: BTreeMap<String, Package>,
        lists: Option<HostPath>,
    ) -> Result<Self, Unseen> {
        if all.len() > MOST_PACKAGES {
            return Err(Unseen::TooMuch(MOST_PACKAGES));
        }
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, package) in &all {
            for other in std::iter::once(name).chain(&package.provides) {
                by_name.entry(other.clone()).or_default().push(name.clone());
            }
        }
        Ok(Self {
            manager,
            all,
            by_name,
            lists,
        })
    }

    /// The packages that go by this name.
    fn called(&self, name: &str) -> impl Iterator<Item = &String> {
        self.by_name.get(name).into_iter().flatten()
    }

    /// What a package needs, as far as it is installed.
    pub(super) fn needs(&self, name: &str) -> BTreeSet<&String> {
        let needs = self.all.get(name).into_iter().flat_map(|it| &it.needs);
        needs.flatten().flat_map(|it| self.called(it)).collect()
    }

    /// These packages and all that they need.
    pub(super) fn with_needs<'a>(&self, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let mut open: Vec<String> = names.flat_map(|it| self.called(it)).cloned().collect();
        let mut all = BTreeSet::new();
        while let Some(name) = open.pop() {
            if all.insert(name.clone()) {
                open.extend(self.needs(&name).into_iter().cloned());
            }
        }
        all
    }

    /// The base system: what is of it by itself, with all that this needs.
    pub(super) fn base(&self) -> BTreeSet<String> {
        let by_itself = self.all.iter().filter(|(_, package)| package.base);
        self.with_needs(by_itself.map(|(name, _)| name.as_str()))
    }

    /// Which of these files belong to which package; what belongs to none is not in it.
    pub(super) fn owners(
        &self,
        host: &dyn Host,
        wanted: &BTreeSet<HostPath>,
    ) -> Result<BTreeMap<HostPath, String>, Unseen> {
        let mut owners = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(owners);
        }
        for (name, package) in &self.all {
            for path in package.files.iter().filter(|path| wanted.contains(*path)) {
                owners.insert(path.clone(), name.clone());
            }
        }
        let Some(lists) = &self.lists else {
            return Ok(owners);
        };
        let mut bytes = 0_usize;
        for (file, entry) in host.list(lists)? {
            let Some(name) = file.strip_suffix(b".list") else {
                continue;
            };
            bytes = bytes.saturating_add(usize::try_from(entry.size).unwrap_or(usize::MAX));
            if bytes > MOST_LISTS {
                return Err(Unseen::TooMuch(MOST_LISTS));
            }
            // `libc6:amd64.list`
            let name = String::from_utf8_lossy(
                name.split(|byte| *byte == b':').next().unwrap_or_default(),
            )
            .into_owned();
            let path = lists
                .join(&file)
                .map_err(|why| Unseen::Damaged(why.to_string()))?;
            let text = host.read(&path, MOST_BYTES)?;
            for line in text.split(|byte| *byte == b'\n') {
                // opkg writes the version behind a tab in some builds.
                let line = line.split(|byte| *byte == b'\t').next().unwrap_or_default();
                for path in alike(line).into_iter().filter(|path| wanted.contains(path)) {
                    owners.insert(path, name.clone());
                }
            }
        }
        Ok(owners)
    }
}

/// A file's path, and the same below `/usr`: where `/bin` and `/lib` are links to it, databases say either.
fn alike(line: &[u8]) -> Vec<HostPath> {
    let other = match line.strip_prefix(b"/usr") {
        Some(rest) => rest.to_vec(),
        None => [b"/usr", line].concat(),
    };
    [line, &other]
        .into_iter()
        .filter_map(|it| HostPath::from_bytes(it).ok())
        .collect()
}

/// The stanzas of dpkg and opkg (deb-control(5)): the packages that are installed.
pub fn stanzas(bytes: &[u8]) -> Result<BTreeMap<String, Package>, Unseen> {
    let mut all = BTreeMap::new();
    let (mut name, mut package, mut installed) = (String::new(), Package::default(), false);
    // One empty line more ends the last stanza.
    for line in bytes
        .split(|byte| *byte == b'\n')
        .chain(std::iter::once(b"".as_slice()))
    {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            if installed && !name.is_empty() {
                all.insert(std::mem::take(&mut name), std::mem::take(&mut package));
            }
            if all.len() > MOST_PACKAGES {
                return Err(Unseen::TooMuch(MOST_PACKAGES));
            }
            (name, package, installed) = (String::new(), Package::default(), false);
            continue;
        }
        let Some((key, value)) = line
            .split_once(':')
            .filter(|(key, _)| !key.starts_with(' '))
        else {
            continue;
        };
        let value = value.trim();
        match key {
            "Package" => value.clone_into(&mut name),
            "Version" => value.clone_into(&mut package.version),
            "Architecture" => value.clone_into(&mut package.architecture),
            "License" => value.clone_into(&mut package.licence),
            "Source" => package.source = Some(source(value)),
            "Status" => {
                installed = value
                    .split(' ')
                    .nth(2)
                    .is_some_and(|it| !matches!(it, "not-installed" | "config-files"));
            }
            "Essential" => package.base |= value == "yes",
            "Priority" => package.base |= matches!(value, "required" | "important"),
            "Depends" | "Pre-Depends" => package.needs.extend(
                value
                    .split(',')
                    .map(|need| need.split('|').map(bare).collect()),
            ),
            "Provides" => package.provides.extend(value.split(',').map(bare)),
            _ => (),
        }
    }
    Ok(all)
}

/// `glibc (2.36-9)`: the name, and the version where it is another than the package's (deb-control(5), Source).
fn source(value: &str) -> (String, Option<String>) {
    match value.split_once('(') {
        Some((name, version)) => {
            let version = version.trim_end_matches(')').trim();
            (name.trim().to_owned(), Some(version.to_owned()))
        }
        None => (value.to_owned(), None),
    }
}

/// `libc6:any (>= 2.36)` is `libc6`.
fn bare(need: &str) -> String {
    let name = need
        .trim()
        .split(|c: char| c.is_whitespace() || matches!(c, ':' | '(' | '['))
        .next();
    name.unwrap_or_default().to_owned()
}

/// apk's database (apk-v2: one letter, a colon, the value; an empty line ends a package).
pub fn alpine(bytes: &[u8]) -> Result<BTreeMap<String, Package>, Unseen> {
    let mut all = BTreeMap::new();
    let (mut name, mut package, mut folder) = (String::new(), Package::default(), Vec::new());
    for line in bytes
        .split(|byte| *byte == b'\n')
        .chain(std::iter::once(b"".as_slice()))
    {
        let Some((key, value)) = line.split_at_checked(2) else {
            if !name.is_empty() {
                package.base = ALPINE_BASE.contains(&name.as_str());
                all.insert(std::mem::take(&mut name), std::mem::take(&mut package));
            }
            if all.len() > MOST_PACKAGES {
                return Err(Unseen::TooMuch(MOST_PACKAGES));
            }
            continue;
        };
        let text = String::from_utf8_lossy(value);
        let words = || {
            text.split_whitespace().map(|it| {
                it.split(['=', '<', '>', '~'])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        match key {
            b"P:" => text.trim().clone_into(&mut name),
            b"V:" => text.trim().clone_into(&mut package.version),
            b"A:" => text.trim().clone_into(&mut package.architecture),
            b"L:" => text.trim().clone_into(&mut package.licence),
            b"o:" => package.source = Some((text.trim().to_owned(), None)),
            b"D:" => package
                .needs
                .extend(words().filter(|it| !it.starts_with('!')).map(|it| vec![it])),
            b"p:" => package.provides.extend(words()),
            b"F:" => folder = [b"/", value].concat(),
            b"R:" => {
                let path = [folder.as_slice(), b"/", value].concat();
                package
                    .files
                    .extend(HostPath::from_bytes(&path).ok().filter(worth_keeping));
            }
            _ => (),
        }
    }
    Ok(all)
}

/// Of all files only programs and start scripts are ever asked for.
fn worth_keeping(path: &HostPath) -> bool {
    let folder = path.parent();
    let folder = folder.as_bytes();
    folder.ends_with(b"bin") || folder.ends_with(b"/init.d") || folder.ends_with(b"/system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_followed_through_alternatives_other_names_and_loops() {
        let text = b"Package: a\nVersion: 1:2-3+b1\nSource: src (1:2-3)\nArchitecture: armhf\nStatus: install ok installed\nDepends: b (>= 1) | c, mta\n\n\
            Package: b\nStatus: install ok installed\nPre-Depends: a:any\n\n\
            Package: m\nStatus: install ok installed\nProvides: mta (= 2)\n\n\
            Package: gone\nStatus: deinstall ok config-files\n\n\
            Package: z\nEssential: yes\nStatus: install ok installed\nDescription: x\n Package: no\n";
        let all = stanzas(text).expect("packages");
        let installed = Installed::of(PackageManager::Dpkg, all, None).expect("packages");
        let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        assert_eq!(
            names(installed.with_needs(["a"].into_iter())),
            ["a", "b", "m"]
        );
        assert_eq!(names(installed.base()), ["z"]);
        assert!(!installed.all.contains_key("gone"));
        let a = &installed.all["a"];
        assert_eq!(
            (a.version.as_str(), a.architecture.as_str()),
            ("1:2-3+b1", "armhf")
        );
        assert_eq!(a.source, Some(("src".to_owned(), Some("1:2-3".to_owned()))));
    }

    #[test]
    fn apk_tells_names_needs_and_files() {
        let text = b"P:busybox\nV:1.37.0-r12\nA:x86_64\no:busybox-src\nL:GPL-2.0-only\nD:so:libc.musl-x86_64.so.1\np:cmd:sh=1 /bin/sh\nF:bin\nR:busybox\nZ:Q1\n\nP:musl\np:so:libc.musl-x86_64.so.1=1\n";
        let installed = Installed::of(PackageManager::Apk, alpine(text).expect("packages"), None)
            .expect("packages");
        assert_eq!(
            installed.base().into_iter().collect::<Vec<_>>(),
            ["busybox", "musl"]
        );
        let busybox = &installed.all["busybox"];
        assert_eq!(
            (busybox.version.as_str(), busybox.licence.as_str()),
            ("1.37.0-r12", "GPL-2.0-only")
        );
        assert_eq!(busybox.source, Some(("busybox-src".to_owned(), None)));
        assert_eq!(
            installed.all["busybox"].files,
            [HostPath::of("/bin/busybox")]
        );
    }

    #[test]
    fn a_million_lines_of_nothing_are_read_and_a_million_packages_are_too_many() {
        assert_eq!(
            stanzas(&b"\0\n".repeat(1_000_000)).expect("nothing").len(),
            0
        );
        let many = (0..60_000).fold(String::new(), |all, n| {
            all + &format!("Package: p{n}\nStatus: a b c\n\n")
        });
        assert_eq!(
            stanzas(many.as_bytes()),
            Err(Unseen::TooMuch(MOST_PACKAGES))
        );
    }
}
