//! Version strings of stripped components: what a program or library says of itself. Never a file's name.

mod table;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::Inventory;
use crate::component::{Component, Kind};

/// The longest version, and the longest text with the kernel's.
const MOST_VERSION: usize = 40;
const MOST_BANNER: usize = 512;
/// The most that one file says of itself.
const MOST_FOUND: usize = 1000;
/// Texts have no NUL: what has none here is one, and what it says is said of others.
const START: usize = 4096;
/// What may stand behind a version.
const PLAIN: &[u8] = b"\0 \n\r()+-~,.<_";

/// How a component is known.
struct Known {
    name: &'static str,
    /// Vendor and product in a CPE.
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
    how: How,
    /// Also in the file; empty if nothing more is needed.
    witness: &'static [u8],
}

/// Where the version is.
enum How {
    /// Right behind the anchor, with one of these behind it.
    Behind(&'static [u8]),
    /// Right behind the anchor, which begins a text: not what others say of it.
    Begins,
    /// Right before the anchor, at the beginning of a text.
    Before,
    /// A text of its own, the only one of the file that is a version with so many dots that starts so.
    Alone {
        dots: usize,
        starts: &'static [&'static str],
    },
    /// The kernel's: Debian writes its own version at the end of the line.
    Kernel,
}

/// The anchors in the table's order, then the witnesses.
static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let anchors = table::TABLE.iter().map(|known| known.anchor);
    let witnesses = table::TABLE.iter().map(|known| known.witness);
    let witnesses = witnesses.filter(|it| !it.is_empty());
    AhoCorasick::new(anchors.chain(witnesses)).ok()
});

/// What a program, a library or a kernel says that it is, or has in it: low confidence, each version once, with its offset.
pub fn detect(place: &str, bytes: &[u8]) -> Vec<Component> {
    let found = found(bytes).into_iter().map(|(known, version, at)| {
        let place = format!("{place} at {at:#x}");
        let (vendor, product) = known.cpe;
        Component {
            cpe: Some((vendor.to_owned(), product.to_owned())),
            ..Component::detected(known.name, &version, place)
        }
    });
    found.collect()
}

impl Inventory {
    /// Adds what was detected in files: the same once, and without what a package manager knows in the same version.
    pub fn add_detected(&mut self, mut detected: Vec<Component>) {
        detected.sort();
        detected
            .dedup_by(|next, first| (&next.name, &next.version) == (&first.name, &first.version));
        detected.retain(|it| {
            let covers = |package: &Component| match package.kind {
                Kind::Detected => (&package.name, &package.version) == (&it.name, &it.version),
                _ => covers(package, &it.name, &it.version),
            };
            !self.components.iter().any(covers)
        });
        self.components.append(&mut detected);
    }
}

/// Whether a package is this component in this version: `python3.11` is python, `wpa` is `wpa_supplicant`.
fn covers(package: &Component, name: &str, version: &str) -> bool {
    let (source, source_version) = package.spoken();
    let named = |it: &str| it.starts_with(name) || (it.len() > 2 && name.starts_with(it));
    (named(&package.name) || named(source)) && source_version.contains(version)
}

/// Components, versions and offsets, each version of each once.
fn found(bytes: &[u8]) -> Vec<(&'static Known, String, usize)> {
    let start = bytes.get(..START.min(bytes.len())).unwrap_or_default();
    let Some(finder) = FINDER.as_ref().filter(|_| start.contains(&0)) else {
        return Vec::new();
    };
    let (mut found, mut witnesses) = (Vec::new(), BTreeSet::new());
    let (mut seen, mut alone) = (BTreeSet::new(), BTreeSet::new());
    for hit in finder.find_overlapping_iter(bytes) {
        let Some(known) = table::TABLE.get(hit.pattern().as_usize()) else {
            witnesses.insert(bytes.get(hit.range()).unwrap_or_default());
            continue;
        };
        if matches!(known.how, How::Alone { .. }) && !alone.insert(known.anchor) {
            continue;
        }
        if let Some(version) = known.version(bytes, hit.start(), hit.end())
            && found.len() < MOST_FOUND
            && seen.insert((known.name, known.witness, version.clone()))
        {
            found.push((known, version, hit.start()));
        }
    }
    found.retain(|(known, ..)| known.witness.is_empty() || witnesses.contains(known.witness));
    // `OpenSSH_9.2` stands beside `OpenSSH_9.2p1`.
    let all: BTreeSet<_> = found
        .iter()
        .map(|(known, version, _)| (known.name, version.clone()))
        .collect();
    found.retain(|(known, version, _)| {
        let longer = all.range((known.name, version.clone())..).nth(1);
        longer.is_none_or(|(name, it)| *name != known.name || !it.starts_with(version.as_str()))
    });
    found
}

impl Known {
    fn version(&self, bytes: &[u8], from: usize, to: usize) -> Option<String> {
        let behind = bytes.get(to..)?;
        match self.how {
            How::Behind(_) | How::Begins => {
                let (after, begun) = match self.how {
                    How::Behind(after) => (after, false),
                    _ => (PLAIN, true),
                };
                let own = self.anchor.first().is_some_and(u8::is_ascii_alphanumeric);
                let before = from.checked_sub(1).and_then(|at| bytes.get(at));
                let begins = before.is_none_or(|before| {
                    // `xcurl/1` is not curl.
                    let apart = !own || !before.is_ascii_alphanumeric();
                    matches!(before, 0 | b'\n') || (apart && !begun)
                });
                let (version, length) = version(behind)?;
                let ends = behind.get(length).is_none_or(|it| after.contains(it));
                (begins && ends).then_some(version)
            }
            How::Before => {
                let before = bytes.get(..from)?;
                let text = before.rsplit(|byte| *byte == 0).next()?;
                let (version, length) = version(text)?;
                (length == text.len()).then_some(version)
            }
            How::Alone { dots, starts } => alone(bytes, dots, starts),
            How::Kernel => {
                let line = behind.get(..MOST_BANNER.min(behind.len()))?;
                let line = line.split(|byte| matches!(byte, 0 | b'\n')).next()?;
                let (own, _) = version(line)?;
                let of_debian = line.windows(8).position(|it| it == b" Debian ");
                let of_debian = of_debian.and_then(|at| version(line.get(at.checked_add(8)?..)?));
                Some(of_debian.map_or(own, |(version, _)| version))
            }
        }
    }
}

/// The version that begins these bytes, and its length: numbers with dots between them, then a letter or two with a number, or
/// `-rc1` and the like.
fn version(bytes: &[u8]) -> Option<(String, usize)> {
    let bytes = bytes.get(..MOST_VERSION.min(bytes.len()))?;
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|it| it.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    let mut dots = 0_usize;
    while end != 0 && bytes.get(end) == Some(&b'.') {
        let more = digits(end.saturating_add(1));
        if more == 0 {
            break;
        }
        end = end.saturating_add(1).saturating_add(more);
        dots = dots.saturating_add(1);
    }
    // A dot at least, and not all there is room for.
    if dots == 0 || end >= MOST_VERSION {
        return None;
    }
    let rest = bytes.get(end..).unwrap_or_default();
    let small = rest.iter().take_while(|it| it.is_ascii_lowercase()).count();
    if (1..=2).contains(&small) {
        let with_letters = end.saturating_add(small);
        end = with_letters.saturating_add(digits(with_letters));
    } else if let Some(word) = [&b"-rc"[..], b"-beta", b"-alpha", b"-pre", b"-P"]
        .into_iter()
        .find(|word| rest.starts_with(word))
    {
        let word_end = end.saturating_add(word.len());
        if digits(word_end) != 0 {
            end = word_end.saturating_add(digits(word_end));
        }
    }
    let text = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    Some((text, end))
}

/// The only text that is such a version; none if there are two.
fn alone(bytes: &[u8], dots: usize, starts: &[&str]) -> Option<String> {
    let mut only = None;
    for text in bytes.split(|byte| *byte == 0) {
        let text = text.strip_prefix(b"v").unwrap_or(text);
        if text.len() > MOST_VERSION || !text.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let Some((version, _)) = version(text).filter(|(_, length)| *length == text.len()) else {
            continue;
        };
        let so = starts.iter().any(|start| version.starts_with(start));
        let such = so && version.matches('.').count() == dots;
        if such && only.as_ref().is_some_and(|only| *only != version) {
            return None;
        }
        if such {
            only = Some(version);
        }
    }
    only
}

/// Any bytes as a program.
pub(super) fn fuzz(data: &[u8]) {
    for component in detect("x", data) {
        assert!(
            component.version.len() <= MOST_VERSION,
            "a version is short"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(bytes: &[u8]) -> Vec<String> {
        let found = detect("f", bytes).into_iter();
        found
            .map(|it| format!("{} {} {}", it.name, it.version, it.place))
            .collect()
    }

    #[test]
    fn versions_are_read_where_the_sources_write_them() {
        let cases: &[(&[u8], &[&str])] = &[
            (
                b"\0BusyBox v1.36.1 (2023-07-27)\0",
                &["busybox 1.36.1 f at 0x1"],
            ),
            (
                b"\0OpenSSL 1.0.2zd  15 Mar 2022\0OPENSSLDIR: x\0",
                &["openssl 1.0.2zd f at 0x1"],
            ),
            (
                b"\0SSLv3 part of OpenSSL 1.0.1e-fips 11 Feb 2013",
                &["openssl 1.0.1e f at 0x6"],
            ),
            // Who was only built with it.
            (b"\0built with OpenSSL 3.0.2 15 Mar 2022\0", &[]),
            (
                b"\0SSH-2.0-dropbear_2022.83\0",
                &["dropbear 2022.83 f at 0x1"],
            ),
            (
                b"\0OpenSSH_6.6*\0OpenSSH_9.2p1 Debian-2\0",
                &["openssh 9.2p1 f at 0xe"],
            ),
            (b"\0hostapd v%s\n\x002.10\0", &["hostapd 2.10 f at 0x1"]),
            (b"\0hostapd v%s\n\x002.10\x002.9\0", &[]),
            (b"\0hostapd v2.11-devel\n\0", &["hostapd 2.11 f at 0x1"]),
            (b"\x001.0.8, 13-Jul-2019\0", &["bzip2 1.0.8 f at 0x6"]),
            (
                b"\0 deflate 1.2.13 Copyright 1995-2022 \0",
                &["zlib 1.2.13 f at 0x1"],
            ),
            (
                b"\0GNU C Library (x) stable release version 2.36.\0",
                &["glibc 2.36 f at 0x13"],
            ),
            (
                b"\0Linux version 5.10.176 (a@b) (gcc) #0 SMP\n\0",
                &["linux 5.10.176 f at 0x1"],
            ),
            (
                b"\0Linux version 6.1.0-37-armmp (x) #1 SMP Debian 6.1.140-1 (2025)\n\0",
                &["linux 6.1.140 f at 0x1"],
            ),
            (
                b"\0U-Boot 2021.07-rc2 (Aug 01 2021)\0",
                &["u-boot 2021.07-rc2 f at 0x1"],
            ),
            (b"\x00220 ready, dude (vsFTPd 1.1.0: beat me)\0", &[]),
            (b"\0xcurl/7.1.1 curl/8 curl/8.1\0", &["curl 8.1 f at 0x14"]),
            // A text about it.
            (b"BusyBox v1.36.1 (2023-07-27) is read", &[]),
            (b"\0PERL5LIB\0v5.36.0\0", &["perl 5.36.0 f at 0x1"]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(told(bytes), *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn each_row_of_the_table_finds_what_it_is_for() {
        for known in table::TABLE {
            let bytes = match known.how {
                How::Behind(after) => {
                    [b"\0", known.anchor, b"5.4.3", &after[..1], known.witness].concat()
                }
                How::Begins | How::Kernel => {
                    [b"\0", known.anchor, b"5.4.3 ", known.witness].concat()
                }
                How::Before => [b"\x005.4.3", known.anchor, known.witness].concat(),
                How::Alone { dots, starts } => {
                    let version = format!("{}4.4.4.4", starts[0]);
                    let version = version
                        .split('.')
                        .take(dots + 1)
                        .collect::<Vec<_>>()
                        .join(".");
                    let version = format!("\0{version}\0");
                    [b"\0", known.anchor, version.as_bytes()].concat()
                }
            };
            let found = detect("f", &bytes);
            assert!(
                found.iter().any(|it| it.name == known.name),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn what_a_package_manager_knows_is_not_told_twice() {
        let package = |name: &str, version: &str| Component {
            kind: Kind::Dpkg,
            ..Component::detected(name, version, "dpkg")
        };
        let mut all = Inventory {
            components: vec![
                package("libcurl4", "7.88.1-10"),
                package("wpa", "2:2.10-12"),
            ],
            ..Inventory::default()
        };
        all.add_detected(vec![
            Component::detected("libcurl", "7.88.1", "a"),
            Component::detected("libcurl", "7.1.0", "b"),
            Component::detected("libcurl", "7.1.0", "c"),
            Component::detected("wpa_supplicant", "2.10", "d"),
        ]);
        let told: Vec<_> = all
            .components
            .iter()
            .skip(2)
            .map(|it| it.place.as_str())
            .collect();
        assert_eq!(told, ["b"], "another version of the same library");
    }

    /// Unpacked packages of Debian, where the variable says, each in a folder of its name: what they say beside what dpkg says.
    #[test]
    fn packages_of_debian_say_what_they_are() {
        let Some(folder) = std::env::var_os("STOCKADE_DEBS") else {
            println!("skipped: STOCKADE_DEBS names no folder of unpacked packages");
            return;
        };
        for package in fs_err::read_dir(Path::new(&folder)).expect("a folder") {
            let package = package.expect("a folder").path();
            let (mut open, mut all) = (vec![package.clone()], Inventory::default());
            while let Some(path) = open.pop() {
                if path.is_symlink() {
                } else if path.is_dir() {
                    open.extend(
                        fs_err::read_dir(&path)
                            .expect("a folder")
                            .map(|it| it.expect("one").path()),
                    );
                } else if let Ok(bytes) = fs_err::read(&path) {
                    all.add_detected(detect("", &bytes));
                }
            }
            let told: Vec<_> = all
                .components
                .iter()
                .map(|it| format!("{} {}", it.name, it.version))
                .collect();
            println!("{}: {}", package.display(), told.join(", "));
            let names: BTreeSet<_> = all.components.iter().map(|it| &it.name).collect();
            assert_eq!(names.len(), told.len(), "none says two versions of itself");
        }
    }
}
