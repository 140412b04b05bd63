//! Security updates of Debian's packages: what is installed against what apt's lists offer.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::comms::certificate::days;
use crate::engine::{Host, HostPath, UnixSeconds, Unseen};

const STATUS: &str = "/var/lib/dpkg/status";
const LISTS: &str = "/var/lib/apt/lists";
/// The largest list that is read, and how many.
const MOST: usize = 32 << 20;
const MOST_LISTS: usize = 64;

/// A version of Debian's (deb-version(7)), in the order of dpkg.
#[derive(Debug, Clone, Eq)]
pub struct Version<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    /// Reads a version; none if it is not one.
    pub fn read(text: &'a str) -> Option<Self> {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let epoch = Some(epoch).filter(|it| digits(it))?.parse().ok()?;
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (rest, ""),
        };
        let allowed = |text: &str, more: &[u8]| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let fits = upstream.starts_with(|c: char| c.is_ascii_digit())
            && allowed(upstream, b".+~-:")
            && allowed(revision, b".+~");
        fits.then_some(Self {
            epoch,
            upstream,
            revision,
        })
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| parts(self.upstream, other.upstream))
            .then_with(|| parts(self.revision, other.revision))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// deb-version(7), sorting: what are no digits and what are digits, in turn. A tilde comes before the end, letters before the rest.
fn parts(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0_i32,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => (*byte).into(),
        Some(byte) => i32::from(*byte).saturating_add(256),
    };
    let text = |side: &[u8]| side.first().is_some_and(|byte| !byte.is_ascii_digit());
    while !left.is_empty() || !right.is_empty() {
        while text(left) || text(right) {
            let order = weight(left.first()).cmp(&weight(right.first()));
            if order != Ordering::Equal {
                return order;
            }
            left = left.get(1..).unwrap_or_default();
            right = right.get(1..).unwrap_or_default();
        }
        let (a, b) = (number(&mut left), number(&mut right));
        let order = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the digits from the front, without zeros before them.
fn number<'a>(side: &mut &'a [u8]) -> &'a [u8] {
    let end = side.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = side.split_at(end.unwrap_or(side.len()));
    *side = rest;
    let first = digits.iter().position(|byte| *byte != b'0');
    digits
        .get(first.unwrap_or(digits.len())..)
        .unwrap_or_default()
}

/// A security update that waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    pub(super) package: String,
    pub(super) installed: String,
    pub(super) offered: String,
}

/// What apt's lists of security updates say.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Each list's file, and when the archive made it.
    pub(super) made: Vec<(String, Result<UnixSeconds, Unseen>)>,
    pub(super) waiting: BTreeSet<Waiting>,
    /// What could not be judged, as half sentences.
    pub(super) unknown: Vec<String>,
}

/// The packages of which a security update waits, by name.
pub fn waiting(host: &dyn Host) -> Result<BTreeSet<String>, Unseen> {
    Ok(lists(host)?
        .waiting
        .into_iter()
        .map(|it| it.package)
        .collect())
}

/// Compares what is installed with all lists of security updates. Absent: dpkg is not here.
pub(super) fn lists(host: &dyn Host) -> Result<Lists, Unseen> {
    let status = host.read(&HostPath::of(STATUS), MOST)?;
    let mut installed = BTreeMap::new();
    stanzas(&status, |stanza| {
        let state = stanza.status.split(' ').nth(2);
        if state.is_some_and(|it| !matches!(it, "not-installed" | "config-files")) {
            let key = (stanza.package.to_owned(), stanza.architecture.to_owned());
            installed.insert(key, stanza.version.to_owned());
        }
    });
    let mut all = Lists::default();
    let names = match host.list(&HostPath::of(LISTS)) {
        Err(Unseen::Absent) => return Ok(all),
        names => names?,
    };
    let names = names
        .iter()
        .filter_map(|(name, _)| std::str::from_utf8(name).ok());
    let names: Vec<&str> = names
        .filter(|name| name.contains("security") && name.contains("_Packages"))
        .collect();
    if names.len() > MOST_LISTS {
        return Err(Unseen::TooMuch(MOST_LISTS));
    }
    for name in names {
        let path = at(name)?;
        all.made.push((name.to_owned(), made(host, name)));
        if !name.ends_with("_Packages") {
            let why = "it is compressed, and such lists are not read here (`Acquire::GzipIndexes \"false\";` in apt.conf)";
            all.unknown.push(format!("{path}: {why}"));
            continue;
        }
        let list = host.read(&path, MOST)?;
        stanzas(&list, |offer| compare(&installed, offer, &mut all));
    }
    Ok(all)
}

fn compare(installed: &BTreeMap<(String, String), String>, offer: &Stanza<'_>, all: &mut Lists) {
    // What is for all architectures may have been for one before, and the other way round.
    let of = installed.range((offer.package.to_owned(), String::new())..);
    let of = of.take_while(|((package, _), _)| package == offer.package);
    let fits = |has: &str| has == offer.architecture || has == "all" || offer.architecture == "all";
    for ((package, _), has) in of.filter(|((_, architecture), _)| fits(architecture)) {
        match (Version::read(has), Version::read(offer.version)) {
            (Some(old), Some(new)) if new > old => {
                all.waiting.insert(Waiting {
                    package: package.clone(),
                    installed: has.clone(),
                    offered: offer.version.to_owned(),
                });
            }
            (Some(_), Some(_)) => (),
            _ => {
                let versions = format!(
                    "{} and {}",
                    has.escape_debug(),
                    offer.version.escape_debug()
                );
                all.unknown.push(format!(
                    "the versions of {}: {versions}",
                    package.escape_debug()
                ));
            }
        }
    }
}

fn at(name: &str) -> Result<HostPath, Unseen> {
    let path = HostPath::of(LISTS).join(name.as_bytes());
    path.map_err(|why| Unseen::Damaged(why.to_string()))
}

/// When the archive made the list of this name: `Date:` of the file that signs it. A copy that is held back says so by that, too.
fn made(host: &dyn Host, list: &str) -> Result<UnixSeconds, Unseen> {
    let (place, suite) = list
        .split_once("_dists_")
        .ok_or_else(|| Unseen::Damaged("no name of a list".to_owned()))?;
    let suite = suite.split('_').next().unwrap_or_default();
    let mut why = Unseen::Absent;
    for name in ["InRelease", "Release"] {
        match host.read(&at(&format!("{place}_dists_{suite}_{name}"))?, MOST) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let date = text.lines().find_map(|line| line.strip_prefix("Date:"));
                let date = date.and_then(moment);
                return date.ok_or_else(|| Unseen::Damaged(format!("{name} has no date")));
            }
            Err(unseen) => why = unseen,
        }
    }
    Err(why)
}

/// A date of a Release file: `Sat, 21 Nov 2026 20:12:33 UTC`.
fn moment(text: &str) -> Option<UnixSeconds> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_ascii_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|it| *it == month)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|it| it.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !matches!(words.next()?, "UTC" | "GMT" | "+0000")
        || !(1..=31).contains(&day)
        || !(1970..=9999).contains(&year)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let month = u64::try_from(month).ok()?.checked_add(1)?;
    let hours = days(year, month, day)?.checked_mul(24)?.checked_add(hour)?;
    let minutes = hours.checked_mul(60)?.checked_add(minute)?;
    minutes.checked_mul(60)?.checked_add(second)
}

/// What is wanted of a stanza of deb-control(5).
#[derive(Debug, Default)]
struct Stanza<'a> {
    package: &'a str,
    version: &'a str,
    architecture: &'a str,
    status: &'a str,
}

fn stanzas(bytes: &[u8], mut each: impl FnMut(&Stanza<'_>)) {
    let mut stanza = Stanza::default();
    let lines = bytes.split(|byte| *byte == b'\n');
    // One empty line more ends the last one.
    for line in lines.chain(std::iter::once(b"".as_slice())) {
        // Descriptions may be in any encoding; what is wanted is ASCII.
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if line.trim().is_empty() {
            if !stanza.package.is_empty() && !stanza.version.is_empty() {
                each(&stanza);
            }
            stanza = Stanza::default();
        } else if let Some((key, value)) = line.split_once(':') {
            let field = match key {
                "Package" => &mut stanza.package,
                "Version" => &mut stanza.version,
                "Architecture" => &mut stanza.architecture,
                "Status" => &mut stanza.status,
                _ => continue,
            };
            *field = value.trim();
        }
    }
}

pub(super) fn fuzz(text: &str) {
    stanzas(text.as_bytes(), |_| ());
    let _when = moment(text);
    let mut versions = text.lines().filter_map(Version::read);
    if let (Some(a), Some(b), Some(c)) = (versions.next(), versions.next(), versions.next()) {
        assert_eq!(a.cmp(&b), b.cmp(&a).reverse(), "an order");
        assert!(!(a < b && b < c) || a < c, "an order");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn dpkg(left: &str, operator: &str, right: &str) -> Option<bool> {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["--compare-versions", left, operator, right]);
        Some(dpkg.status().ok()?.success())
    }

    proptest! {
        // Each asks a process.
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn versions_are_ordered_as_dpkg_orders_them(
            left in "([0-2]:)?[0-9]{1,2}[a0.+~-]{0,4}(-[0a+~.]{1,3})?",
            right in "([0-2]:)?[0-9]{1,2}[a0.+~-]{0,4}(-[0a+~.]{1,3})?",
        ) {
            let (Some(ours), Some(theirs)) = (Version::read(&left), Version::read(&right)) else {
                return Ok(());
            };
            let operator = match ours.cmp(&theirs) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            // Elsewhere there is no dpkg to ask; the table below holds everywhere.
            prop_assert_ne!(dpkg(&left, operator, &right), Some(false), "{} {} {}", left, operator, right);
        }
    }

    #[test]
    fn versions_are_ordered_as_debians_manual_says() {
        let sorted = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~rc1-1",
            "1.0-1~deb12u1",
            "1.0-1",
            "1.0-1+deb12u9",
            "1.0-1+deb12u10",
            "1.0-1.1",
            "1.0.0-1",
            "1.10-1",
            "1:0.1",
        ];
        for pair in sorted.windows(2) {
            let [old, new] = pair else { continue };
            assert!(Version::read(old) < Version::read(new), "{old} {new}");
        }
        assert_eq!(
            Version::read("1.0-1").cmp(&Version::read("0:1.00-01")),
            Ordering::Equal
        );
        for wrong in [
            "",
            "a",
            "1-",
            "x:1",
            ":1",
            "1 2",
            "-1",
            "1_2",
            "99999999999999999999:1",
        ] {
            assert_eq!(Version::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_read_as_date_says() {
        assert_eq!(
            moment(" Sat, 21 Nov 2026 20:12:33 UTC"),
            Some(1_795_291_953)
        );
        assert_eq!(moment(" Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        for wrong in [
            "",
            "Sat, 21 Nov 2026 20:12:33 CET",
            "Sat, 32 Nov 2026 20:12:33 UTC",
            "Sat, 21 nov 2026 1 UTC",
        ] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }
}
