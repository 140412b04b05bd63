//! From data that comes in to what is said of a host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails as the test does, and says what it found"
)]

#[path = "advisories/bills.rs"]
mod bills;
#[path = "advisories/importing.rs"]
mod importing;
#[path = "advisories/matching.rs"]
mod matching;
#[path = "advisories/real.rs"]
mod real;

use std::path::{Path, PathBuf};

use stockade_advisories::{
    Checked, Component, Db, Distribution, Imported, Inventory, Kind, check, import,
};
use stockade_controls::programs::Package;

/// 2026-11-23
const NOW: u64 = 1_795_392_000;

/// A folder with data in it, and where it is imported to.
struct Place {
    folder: tempfile::TempDir,
    db: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("db/advisories.db");
        fs_err::create_dir(folder.path().join("in")).unwrap();
        Self { folder, db }
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.input().join(name);
        fs_err::write(&path, content).unwrap();
        path
    }

    fn import(&self, path: &Path) -> Imported {
        import(&self.db, &[path.to_owned()], NOW, &|_| ()).unwrap()
    }

    fn check(&self, components: Vec<Component>) -> Checked {
        let inventory = Inventory {
            components,
            ..Inventory::default()
        };
        check(&Db::open(&self.db).unwrap(), &inventory, &[]).unwrap()
    }
}

/// A package of a distribution: `debian 12`, its name, version, and source.
fn package(of: &str, name: &str, version: &str, source: &str) -> Component {
    let (id, release) = of.split_once(' ').unwrap();
    let distribution = Distribution {
        id: id.to_owned(),
        version: release.to_owned(),
    };
    let kind = match id {
        "debian" | "ubuntu" | "raspbian" => Kind::Dpkg,
        "alpine" | "wolfi" => Kind::Apk,
        "openwrt" => Kind::Opkg,
        _ => Kind::Rpm,
    };
    let mut package = Package::default();
    version.clone_into(&mut package.version);
    package.source = (!source.is_empty()).then(|| (source.to_owned(), None));
    Component::package(kind, Some(&distribution), (name, &package), "/db")
}

/// What was found: `name version: CVE, CVE`.
fn found(checked: &Checked) -> Vec<String> {
    let each = |it: &stockade_advisories::Vulnerable| {
        let cves: Vec<&str> = it.known.iter().map(|it| it.cve.as_str()).collect();
        format!("{} {}: {}", it.name, it.version, cves.join(", "))
    };
    checked.vulnerable.iter().map(each).collect()
}
