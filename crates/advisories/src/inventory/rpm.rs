//! The database of rpm, in each of its three forms: `SQLite`, ndb, and the hash of Berkeley DB that it had until 2020.
//!
//! Own readers: what is read was written by a stranger, and the crate `rpmdb` indexes by what it says.

mod berkeley;
mod ndb;
mod sqlite;

use stockade_controls::engine::{Host, HostPath, Unseen};
use stockade_controls::programs::Package;

use super::Inventory;
use crate::component::{Component, Kind};

/// Where it may be; the first folder that has one counts.
const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// The most bytes of all headers together, by the length of the file: none is there twice.
const MOST_PACKAGES: usize = 50_000;

/// Takes one header after another.
type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Unseen>;
/// Finds the headers in a file.
type Headers = fn(&[u8], Each<'_>) -> Result<(), Unseen>;

const FORMS: [(&str, Headers); 3] = [
    ("rpmdb.sqlite", sqlite::headers),
    ("Packages.db", ndb::headers),
    ("Packages", berkeley::headers),
];

pub(super) fn read(host: &dyn Host, all: &mut Inventory) {
    for folder in FOLDERS {
        let mut found = false;
        for (name, headers) in FORMS {
            let Ok(path) = HostPath::of(folder).join(name.as_bytes()) else {
                continue;
            };
            let Some(bytes) = all.file(host, &path) else {
                continue;
            };
            found = true;
            let place = path.to_string();
            let read = packages(&bytes, headers, &mut |name, package| {
                let of = all.distribution.as_ref();
                let component = Component::package(Kind::Rpm, of, (name, package), &place);
                all.components.push(component);
            });
            if let Err(why) = read {
                all.unread.push((place.clone(), why.to_string()));
            }
            // What was not written into the database yet is in a file beside it.
            let beside = [path.as_bytes(), b"-wal"].concat();
            let beside = HostPath::from_bytes(&beside).map(|path| host.entry(&path));
            if matches!(beside, Ok(Ok(entry)) if entry.size != 0) {
                let why = "a write-ahead log, which is not read, stands beside it".to_owned();
                all.unread.push((place, why));
            }
        }
        if found {
            return;
        }
    }
}

/// All packages of a database.
fn packages(
    file: &[u8],
    headers: Headers,
    take: &mut dyn FnMut(&str, &Package),
) -> Result<(), Unseen> {
    let (mut count, mut bytes) = (0_usize, 0_usize);
    headers(file, &mut |header| {
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(header.len());
        if count > MOST_PACKAGES || bytes > file.len() {
            return Err(Unseen::TooMuch(MOST_PACKAGES));
        }
        let (name, package) = package(header)?;
        // A key that signatures are checked by is kept as a package, too.
        if name != "gpg-pubkey" {
            take(&name, &package);
        }
        Ok(())
    })
}

/// The tags that are of use (rpm's `rpmtag.h`).
const NAME: u64 = 1000;
const VERSION: u64 = 1001;
const RELEASE: u64 = 1002;
const EPOCH: u64 = 1003;
const LICENCE: u64 = 1014;
const ARCHITECTURE: u64 = 1022;
const SOURCE: u64 = 1044;

/// A header (rpm's `docs/manual/format_header.md`): how many entries, how many bytes; the entries; the bytes.
fn package(header: &[u8]) -> Result<(String, Package), Unseen> {
    let entries = size(number(header, 0, 4, true)?);
    let index = header.get(8..).unwrap_or_default();
    let (index, data) = index
        .split_at_checked(entries.saturating_mul(16))
        .ok_or_else(short)?;
    let (mut name, mut version, mut release, mut source) = Default::default();
    let mut epoch = 0;
    let mut package = Package::default();
    for entry in index.chunks_exact(16) {
        let (tag, kind) = (number(entry, 0, 4, true)?, number(entry, 4, 4, true)?);
        let at = size(number(entry, 8, 4, true)?);
        let wanted = match (tag, kind) {
            (NAME, 6) => &mut name,
            (VERSION, 6) => &mut version,
            (RELEASE, 6) => &mut release,
            (SOURCE, 6) => &mut source,
            (LICENCE, 6 | 9) => &mut package.licence,
            (ARCHITECTURE, 6) => &mut package.architecture,
            (EPOCH, 4) => {
                epoch = number(data, at, 4, true)?;
                continue;
            }
            _ => continue,
        };
        let text = data.get(at..).ok_or_else(short)?;
        let end = text.iter().position(|byte| *byte == 0).ok_or_else(short)?;
        *wanted = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned();
    }
    if name.is_empty() || version.is_empty() || release.is_empty() {
        return Err(Unseen::Damaged(
            "a package without name or version".to_owned(),
        ));
    }
    let with_epoch = |version: String| match epoch {
        0 => version,
        epoch => format!("{epoch}:{version}"),
    };
    // `bash-5.1.8-6.el9.src.rpm`: neither version nor release has a `-`. The epoch is that of the source.
    let source = source
        .strip_suffix(".src.rpm")
        .or_else(|| source.strip_suffix(".nosrc.rpm"));
    package.source = source.and_then(|source| {
        let (rest, release) = source.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some((
            name.to_owned(),
            Some(with_epoch(format!("{version}-{release}"))),
        ))
    });
    package.version = with_epoch(format!("{version}-{release}"));
    Ok((name, package))
}

/// A number of so many bytes at a place, eight at most.
fn number(bytes: &[u8], at: usize, length: usize, big: bool) -> Result<u64, Unseen> {
    let bytes = stretch(bytes, at, length)?;
    let add = |sum: u64, byte: &u8| sum.wrapping_shl(8) | u64::from(*byte);
    Ok(if big {
        bytes.iter().fold(0, add)
    } else {
        bytes.iter().rev().fold(0, add)
    })
}

fn stretch(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], Unseen> {
    let rest = bytes.get(at..).ok_or_else(short)?;
    rest.get(..length).ok_or_else(short)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn short() -> Unseen {
    Unseen::Damaged("it ends early, or leads out of itself".to_owned())
}

/// Any bytes as each form, and as a header.
pub(super) fn fuzz(data: &[u8]) {
    for (_, headers) in FORMS {
        let _ = packages(data, headers, &mut |_, _| ());
    }
    let _ = package(data);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(file: &[u8], headers: Headers) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        let take = &mut |name: &str, package: &Package| {
            let source = package
                .source
                .clone()
                .map(|(name, version)| format!("{name} {version:?}"));
            let source = source.unwrap_or_default();
            all.push((name.to_owned(), package.version.clone(), source));
        };
        packages(file, headers, take).expect("packages");
        all.sort();
        all
    }

    #[test]
    fn each_form_has_the_packages_that_were_put_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/inventory_file");
        for ((_, headers), name) in FORMS.into_iter().zip(["sqlite", "ndb", "berkeley"]) {
            let file = fs_err::read(folder.join(name)).expect("the corpus");
            let told = told(&file, headers);
            let told: Vec<_> = told
                .iter()
                .map(|(a, b, c)| [a, b, c].map(String::as_str))
                .collect();
            let source = r#"openthing Some("2:3.5.1-4.el9")"#;
            let plain = r#"plain Some("1.0~rc1-1")"#;
            let expected = [
                ["openthing", "2:3.5.1-4.el9", source],
                ["openthing-libs", "2:3.5.1-4.el9", source],
                ["plain", "1.0~rc1-1", plain],
            ];
            assert_eq!(told, expected, "{name}");
            // What is cut off is missed, wherever it is cut.
            for length in 0..file.len() {
                let cut = packages(&file[..length], headers, &mut |_, _| ());
                assert!(cut.is_err(), "{name} {length}");
            }
        }
    }

    /// Databases of distributions, where the variable says: their names are those of the forms.
    #[test]
    fn databases_of_distributions_are_read() {
        let Some(folder) = std::env::var_os("STOCKADE_RPM") else {
            println!("skipped: STOCKADE_RPM names no folder of databases");
            return;
        };
        for file in fs_err::read_dir(Path::new(&folder)).expect("a folder") {
            let path = file.expect("a file").path();
            let named = |(name, _): &&(&str, Headers)| path.to_string_lossy().ends_with(*name);
            let headers = FORMS.iter().find(named).expect("a form").1;
            let told = told(&fs_err::read(&path).expect("a file"), headers);
            println!("{}: {} {:?}", path.display(), told.len(), told.first());
            assert!(!told.is_empty());
        }
    }
}
