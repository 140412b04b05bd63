//! Data that nobody here wrote: recall and false matches, printed and asserted.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use stockade_advisories::{Component, Scheme};

use super::{Place, package};

/// How much is found of what is there, and how much of what is not.
#[derive(Default)]
struct Tally {
    right: usize,
    missed: Vec<String>,
    wrong: Vec<String>,
    fine: usize,
}

impl Tally {
    fn count(&mut self, affected: bool, is_found: bool, name: impl Fn() -> String) {
        match (affected, is_found) {
            (true, true) => self.right += 1,
            (true, false) => self.missed.push(name()),
            (false, true) => self.wrong.push(name()),
            (false, false) => self.fine += 1,
        }
    }

    fn told(&self, what: &str) {
        println!(
            "{what}: {} of {} found; {} false in {} that are fine",
            self.right,
            self.right + self.missed.len(),
            self.wrong.len(),
            self.wrong.len() + self.fine
        );
        assert_eq!(self.missed, [""; 0], "{what}");
        assert_eq!(self.wrong, [""; 0], "{what}");
        assert!(self.right > 0 && self.fine > 0, "{what}: both were asked");
    }
}

/// A changelog of Debian's: version, and the CVEs that the entry names, newest first.
fn changelog(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut all: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') && line.contains(" (") && line.contains("urgency=") {
            let version = line.split(" (").nth(1).unwrap().split(')').next().unwrap();
            all.push((version.to_owned(), BTreeSet::new()));
        } else if let Some((_, cves)) = all.last_mut() {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                // `CVE-2026-1234-name-of-a-patch` is named, too.
                let parts: Vec<&str> = word.split('-').take(3).collect();
                let digits = |it: &&&str| it.len() >= 4 && it.bytes().all(|b| b.is_ascii_digit());
                if word.starts_with("CVE-") && parts.iter().skip(1).filter(digits).count() == 2 {
                    cves.insert(parts.join("-"));
                }
            }
        }
    }
    all
}

type Entries = Vec<(String, BTreeSet<String>)>;

/// The changelogs of the packages of this machine that name a CVE, by source; as many as take seconds.
fn changelogs() -> BTreeMap<String, Entries> {
    let mut all = BTreeMap::new();
    let folders = fs_err::read_dir("/usr/share/doc").into_iter().flatten();
    for folder in folders {
        let Ok(bytes) = fs_err::read(folder.unwrap().path().join("changelog.Debian.gz")) else {
            continue;
        };
        let mut text = Vec::new();
        let mut from = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        if from.read_to_end(&mut text).is_err() {
            continue;
        }
        let text = String::from_utf8_lossy(&text);
        let source = text.split(" (").next().unwrap().to_owned();
        let entries = changelog(&text);
        if entries.iter().any(|(_, cves)| !cves.is_empty()) {
            all.entry(source).or_insert(entries);
        }
    }
    all.into_iter().take(25).collect()
}

#[test]
fn debians_changelogs_are_found_again_for_every_version_that_ever_was() {
    let logs = changelogs();
    if logs.len() < 5 {
        println!(
            "skipped: {} Debian changelogs here that name a CVE",
            logs.len()
        );
        return;
    }
    // The entry that names a CVE mends it: a record for each. Those named twice (mended again) are left out.
    let (mut records, mut truth) = (Vec::new(), Vec::new());
    for (source, entries) in &logs {
        let mut named: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for (at, (_, cves)) in entries.iter().enumerate() {
            for cve in cves {
                named.entry(cve).or_default().push(at);
            }
        }
        for (cve, at) in named {
            if let [at] = at.as_slice() {
                let fixed = &entries[*at].0;
                records.push(json!({"id": format!("DEBIAN-{cve}-{source}"), "aliases": [cve], "modified": "2026-11-20T00:00:00Z",
                    "affected": [{"package": {"ecosystem": "Debian:12", "name": source},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}]}));
                truth.push((source, cve, *at, fixed));
            }
        }
    }
    let place = Place::new();
    let path = place.write("a.json", json!(records).to_string());
    assert_eq!(place.import(&path).named, []);
    // The newest versions that ever were, as if they were installed, under a name that is not the source's.
    let versions = |source: &String| logs[source].iter().enumerate().take(12);
    let installed: Vec<Component> = logs
        .keys()
        .flat_map(|source| {
            let name = format!("{source}-bin");
            versions(source)
                .map(move |(_, (version, _))| package("debian 12", &name, version, source))
        })
        .collect();
    let count = installed.len();
    let checked = place.check(installed);
    let mut found = BTreeSet::new();
    for it in &checked.vulnerable {
        for known in &it.known {
            found.insert((it.name.as_str(), it.version.as_str(), known.cve.as_str()));
        }
    }
    let (mut tally, mut apart) = (Tally::default(), 0);
    for (source, cve, fixed_at, fixed) in truth {
        for (at, (version, _)) in versions(source) {
            // An upload may have a lower version than one before it (to an older release): the order of entries says nothing of it.
            let order = Scheme::Debian.compare(version, fixed);
            if order.is_some_and(Ordering::is_ge) != (at <= fixed_at) {
                apart += 1;
                continue;
            }
            let is_found = found.contains(&(source.as_str(), version.as_str(), cve.as_str()));
            tally.count(at > fixed_at, is_found, || {
                format!("{source} {version} {cve}")
            });
        }
    }
    println!(
        "{} sources, {} records, {count} versions; {apart} pairs that the changelog has in another order are left out",
        logs.len(),
        records.len()
    );
    assert!(apart * 20 < tally.right + tally.fine, "few are left out");
    tally.told("Debian changelogs");
}

/// Collections of records that are too large to be here: each below a folder of the data that lies beside the repository.
fn collection(name: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/advisories");
    let folder = std::env::var_os("STOCKADE_TEST_ADVISORIES")
        .map_or(beside, PathBuf::from)
        .join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not there", folder.display());
    None
}

fn records(folder: &std::path::Path, all: &mut Vec<Value>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            records(&path, all);
        } else if path.extension().is_some_and(|it| it == "json") {
            all.push(serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap());
        }
    }
}

/// Advisory, package, version, and whether it is affected.
type Asked = (String, String, String, bool);

/// Asks of each row of OSV records: the version that mends is fine, one just before it is not.
fn both_sides(
    all: &[Value],
    (wanted, every): (&str, usize),
    make: impl Fn(&str, &str) -> Component,
    before: impl Fn(&str) -> Option<String>,
) -> (Vec<Component>, Vec<Asked>) {
    let (mut components, mut truth, mut count) = (Vec::new(), Vec::new(), 0_usize);
    for record in all {
        let id = record["id"].as_str().unwrap();
        for affected in record["affected"].as_array().unwrap() {
            if !affected["package"]["ecosystem"]
                .as_str()
                .unwrap()
                .starts_with(wanted)
            {
                continue;
            }
            let name = affected["package"]["name"].as_str().unwrap();
            // Headers of a kernel are not asked for; and every so many are enough, and take seconds.
            if name.starts_with("kernel-") {
                continue;
            }
            count += 1;
            if count % every != 0 {
                continue;
            }
            let events = affected["ranges"][0]["events"].as_array().unwrap();
            let [introduced, fixed] = events.as_slice() else {
                continue;
            };
            let (Some("0"), Some(fixed)) =
                (introduced["introduced"].as_str(), fixed["fixed"].as_str())
            else {
                continue;
            };
            components.push(make(name, fixed));
            truth.push((id.to_owned(), name.to_owned(), fixed.to_owned(), false));
            if let Some(old) = before(fixed) {
                components.push(make(name, &old));
                truth.push((id.to_owned(), name.to_owned(), old, true));
            }
        }
    }
    components.sort();
    components.dedup();
    (components, truth)
}

fn compare(checked: &stockade_advisories::Checked, truth: &[Asked]) -> Tally {
    let mut found = BTreeSet::new();
    for it in &checked.vulnerable {
        for component in &it.components {
            for advisory in it.known.iter().flat_map(|it| &it.advisories) {
                found.insert((
                    advisory.as_str(),
                    component.name.as_str(),
                    component.version.as_str(),
                ));
            }
        }
    }
    let mut tally = Tally::default();
    for (id, name, version, affected) in truth {
        let is_found = found.contains(&(id.as_str(), name.as_str(), version.as_str()));
        tally.count(*affected, is_found, || format!("{id} {name} {version}"));
    }
    tally
}

#[test]
fn almalinuxs_records_come_in_quickly_and_name_what_they_mend() {
    let Some(folder) = collection("AlmaLinux+osv-database/advisories") else {
        return;
    };
    let place = Place::new();
    let begun = std::time::Instant::now();
    let imported = place.import(&folder);
    println!("{} records in {:?}", imported.records, begun.elapsed());
    assert_eq!(imported.named, []);
    let mut all = Vec::new();
    records(&folder.join("almalinux9"), &mut all);
    // Bug fixes name no vulnerability.
    all.retain(|it| it["related"].as_array().is_some_and(|it| !it.is_empty()));
    let make = |name: &str, version: &str| package("almalinux 9.6", name, version, "");
    let before = |fixed: &str| Some(format!("{fixed}~"));
    let (components, truth) = both_sides(&all, ("AlmaLinux:9", 40), make, before);
    let begun = std::time::Instant::now();
    let checked = place.check(components);
    println!("{} components in {:?}", checked.checked, begun.elapsed());
    assert_eq!(checked.unchecked, []);
    compare(&checked, &truth).told("AlmaLinux 9");
    assert_eq!(checked.sources.len(), 1);
}

#[test]
fn bitnamis_records_name_upstream_versions() {
    let Some(folder) = collection("bitnami+vulndb/data") else {
        return;
    };
    let place = Place::new();
    assert_eq!(place.import(&folder).named, []);
    let mut all = Vec::new();
    for name in ["nginx", "redis", "openldap", "haproxy"] {
        records(&folder.join(name), &mut all);
    }
    let make = |name: &str, version: &str| Component::detected(name, version, "/bin/x");
    // What has a release of a distribution's in it is no version of theirs.
    let before = |fixed: &str| (!fixed.contains('-')).then(|| format!("{fixed}-rc0"));
    let (components, truth) = both_sides(&all, ("Bitnami", 1), make, before);
    compare(&place.check(components), &truth).told("Bitnami");
}

#[test]
fn openssls_records_name_its_letters() {
    let Some(folder) = collection("openssl+release-metadata/secjson") else {
        return;
    };
    let place = Place::new();
    let imported = place.import(&folder);
    // `statements.json` beside them is none.
    assert!(imported.bad <= 1, "{:?}", imported.named);
    let versions = ["1.0.2zc", "1.0.2zd", "1.1.1m", "1.1.1n", "3.0.1", "3.0.2"];
    let components = versions
        .map(|it| Component::detected("openssl", it, "/lib/x"))
        .to_vec();
    let checked = place.check(components);
    let has = |version: &str, cve: &str| {
        let of = checked.vulnerable.iter().find(|it| it.version == version);
        of.is_some_and(|it| it.known.iter().any(|it| it.cve == cve))
    };
    let found: Vec<bool> = versions.iter().map(|it| has(it, "CVE-2022-0778")).collect();
    assert_eq!(found, [true, false, true, false, true, false]);
    println!("{} OpenSSL records", imported.records);
}

#[test]
fn apks_own_pairs_are_ordered_as_apk_orders_them() {
    let Some(folder) = collection("alpinelinux+apk-tools/test/unit") else {
        return;
    };
    let text = fs_err::read_to_string(folder.join("version.data")).unwrap();
    let (mut asked, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        if let Some(none) = line.strip_prefix('!') {
            if Scheme::Apk.reads(none) {
                wrong.push(line);
            }
            continue;
        }
        let mut words = line.split('#').next().unwrap().split_whitespace();
        let (Some(left), Some(order), Some(right)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let theirs = match order {
            "<" => Ordering::Less,
            ">" => Ordering::Greater,
            "=" => Ordering::Equal,
            // Whether a version begins as another does.
            _ => continue,
        };
        // What is none of its kind is refused, not sorted.
        if let Some(ours) = Scheme::Apk.compare(left, right) {
            asked += 1;
            if ours != theirs {
                wrong.push(line);
            }
        }
    }
    println!("{asked} pairs of apk's");
    assert_eq!(wrong, [""; 0]);
    assert!(asked > 700);
}
