//! A stream over a vault with a real journal and store: what leaves, when, with whom, and what a restart and an erasure do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use stockade_anonymity::attack::{Xorshift, intersection};
use stockade_profile::{Profile, parse};
use stockade_store::telemetry::Record;
use stockade_store::{Bus, Journal, JournalOptions, Sqlite, Store, Stream as On, Table, suite};
use tempfile::TempDir;

use super::super::read::read;
use super::kept::MEMBERS;
use super::*;
use crate::vault::Profiles;
use crate::{Keys, Outcome, ReleaseAsk, Role, RootPlace, SealedBus, Subject};

/// The sensitive field says whose a row is, so that the attack can be judged. It is not what the attacker sees by.
const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "meter-1"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.home]
time = { use = "generalise", to = "1h" }
rooms = { use = "keep", role = "quasi", range = [0, 100] }
region = { use = "keep", role = "quasi", hierarchy = { a1 = ["a"], a2 = ["a"], b1 = ["b"] } }
who = { use = "keep", role = "sensitive" }
kwh = { use = "keep", role = "sensitive", range = [0, 16] }
note = { use = "keep", role = "free" }
[vault.home]
release = { k = K, l = 3, t = "1", delay = "1min" }
retention = "1d"
[data.bare]
note = { use = "keep" }
"#;
const DELAY: i64 = 60;
/// 2026-09-21 14:13:20 UTC.
const START: i64 = 1_790_000_000;

#[derive(Debug)]
struct Installed(Arc<Profile>);

impl Profiles for Installed {
    fn profile(&self, _model: &str) -> Option<Arc<Profile>> {
        Some(Arc::clone(&self.0))
    }
}

struct Place {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    vault: Vault,
}

fn open(dir: &Path, k: u32) -> Place {
    let journal = Journal::open(&dir.join("journal"), JournalOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.join("state.db")).unwrap());
    let profile = parse(&PROFILE.replace("k = K", &format!("k = {k}"))).unwrap();
    let profiles: Arc<dyn Profiles> = Arc::new(Installed(Arc::new(profile)));
    let root = RootPlace::File(dir.join("root.key"));
    let keys = Arc::new(Keys::open(Arc::clone(&store), root, dir).unwrap());
    let bus: Arc<dyn Bus> = Arc::new(
        SealedBus::open(
            Arc::new(journal),
            Arc::clone(&store),
            Arc::clone(&keys),
            Arc::clone(&profiles),
        )
        .unwrap(),
    );
    let vault = Vault::open(Arc::clone(&store), Arc::clone(&bus), keys, dir, profiles).unwrap();
    Place { bus, store, vault }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
}

fn who(role: Role) -> Access {
    Access {
        who: "ada".to_owned(),
        role,
        purpose: None,
    }
}

impl Place {
    /// One record of each of these devices, stored at this time.
    fn send(&self, devices: impl IntoIterator<Item = u32>, seconds: i64) {
        for device in devices {
            let rooms = f64::from(device) + 0.25;
            let region = ["a1", "a2", "b1"][usize::try_from(device % 3).unwrap()];
            let payload = format!(
                r#"{{"rooms": {rooms}, "region": "{region}", "who": "d{device}", "kwh": {}.5, "note": "n{device}"}}"#,
                device % 16
            );
            self.put("home", device, payload.as_bytes());
        }
        suite::wait(&*self.bus, self.bus.last()).unwrap();
        self.vault.ingest_available(at(seconds)).unwrap();
    }

    fn put(&self, schema: &str, device: u32, payload: &[u8]) {
        let device = format!("device-{device}");
        let record = Record {
            v: 1,
            device: device.as_str().into(),
            model: "meter-1".into(),
            profile_version: 1,
            schema: schema.into(),
            topic: "t".into(),
            at_unix_ms: START * 1_000,
            payload: payload.into(),
        };
        let prepared = self.bus.prepare(&record).unwrap();
        self.bus.append(On::Telemetry, &prepared).unwrap();
    }

    /// With something stored, so that there is a data set.
    fn on(&self) {
        self.send([0], -1);
        let operator = who(Role::Operator);
        let status = self.vault.switch_stream(&operator, "home", true, at(0));
        assert!(status.unwrap().on);
    }

    fn tick(&self, seconds: i64) {
        assert!(!self.vault.go_on_streaming(at(seconds)).unwrap());
    }

    fn rows(&self) -> Vec<StreamRow> {
        let (mut rows, mut after) = (Vec::new(), 0);
        loop {
            let analyst = who(Role::Analyst);
            let page = self.vault.read_stream(&analyst, "home", (after, 7), at(0));
            let page = page.unwrap();
            if page.rows.is_empty() {
                return rows;
            }
            after = page.next;
            rows.extend(page.rows);
        }
    }

    fn status(&self) -> StreamStatus {
        let all = self.vault.release_streams(&who(Role::Auditor), at(0));
        all.unwrap().remove(0)
    }

    fn count(&self, table: Table) -> usize {
        self.store.scan(table, Scan::all()).unwrap().len()
    }
}

/// Whose rows look alike and left at one time.
fn classes(rows: &[StreamRow]) -> BTreeMap<(String, String, String), BTreeSet<u32>> {
    let mut classes: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
    for row in rows {
        let cell = |name: &str| row.fields[name].clone();
        let class = (row.released.clone(), cell("rooms"), cell("region"));
        let device = cell("who").trim_start_matches('d').parse().unwrap();
        assert!(classes.entry(class).or_default().insert(device));
    }
    classes
}

/// The fewest that a device stands among when everything that left is laid over one another.
fn smallest_crowd(rows: &[StreamRow], devices: usize) -> u32 {
    let releases: Vec<Vec<Option<u32>>> = classes(rows)
        .into_values()
        .map(|members| {
            (0..devices)
                .map(|it| members.contains(&u32::try_from(it).unwrap()).then_some(0))
                .collect()
        })
        .collect();
    let crowds = intersection::candidates(&releases).into_iter();
    crowds.filter(|crowd| *crowd > 0).min().unwrap()
}

/// A fleet of which each device sends with this chance in each round.
fn fleet(place: &Place, random: &mut Xorshift, rounds: std::ops::Range<i64>, sends: f64) {
    for round in rounds {
        let devices: Vec<u32> = (0..40).filter(|_| random.unit() < sends).collect();
        place.send(devices, round * DELAY);
        place.tick(round * DELAY);
        place.tick(round * DELAY + DELAY - 1);
    }
}

#[test]
fn rows_leave_within_the_delay_with_k_others_numbered_and_all_are_accounted_for() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path(), 5);
    place.on();
    let (mut waits, mut read) = (BTreeMap::new(), 0);
    for second in (1..400).step_by(5) {
        place.send(
            (0..24).filter(|device| (second / 5 + i64::from(*device)) % 4 == 0),
            second,
        );
        for device in (0..24).filter(|device| (second / 5 + i64::from(*device)) % 4 == 0) {
            waits.entry(device).or_insert(second);
        }
        place.tick(second);
        let rows = place.rows();
        for row in &rows[read..] {
            let device: u32 = row.fields["who"].trim_start_matches('d').parse().unwrap();
            let since = waits.remove(&device).unwrap();
            assert!(second - since <= DELAY, "{device}: {since} to {second}");
        }
        read = rows.len();
    }
    let rows = place.rows();
    assert!(rows.len() > 100, "{}", rows.len());
    assert!(rows.iter().map(|row| row.number).eq(1..=rows.len() as u64));
    assert!(classes(&rows).values().all(|class| class.len() >= 5));
    let names: Vec<&String> = rows[0].fields.keys().collect();
    assert_eq!(names, ["kwh", "region", "rooms", "who"]);
    for row in &rows {
        let device: f64 = row.fields["who"].trim_start_matches('d').parse().unwrap();
        let (low, high) = row.fields["rooms"].split_once("..").unwrap();
        let (low, high): (f64, f64) = (low.parse().unwrap(), high.parse().unwrap());
        assert!(low <= device + 0.25 && device + 0.25 <= high && low < high);
        let step = device % 16.0;
        assert_eq!(row.fields["kwh"], format!("{step}..{}", step + 1.0));
    }
    let status = place.status();
    assert_eq!(status.columns, ["region", "rooms", "kwh", "who"]);
    assert_eq!(status.omitted, ["note", "time"]);
    let counts = status.counts;
    assert_eq!(counts.released, rows.len() as u64);
    assert_eq!(
        counts.taken,
        counts.released + counts.suppressed() + status.waiting
    );
    // A release of all at once is held against the groups.
    let ask = ReleaseAsk {
        schema: "home".to_owned(),
        suppress: Some(0.05),
        dry_run: true,
        ..ReleaseAsk::default()
    };
    let release = place.vault.release(&who(Role::Operator), &ask, at(400));
    assert_eq!(release.unwrap().earlier, 1);
}

#[test]
fn laid_over_one_another_rows_leave_k_also_over_restarts_and_without_sticky_groups_they_do_not() {
    let dir = TempDir::new().unwrap();
    let mut random = Xorshift::new(8);
    let mut place = open(dir.path(), 5);
    place.on();
    let mut members = 0;
    for part in 0..4_i64 {
        fleet(&place, &mut random, part * 4..part * 4 + 4, 0.97);
        // In the middle of a round: all wait when the process ends.
        let second = (part * 4 + 4) * DELAY - 1;
        place.send(0..40, second);
        place.tick(second);
        let (status, rows) = (place.status(), place.rows());
        drop(place);
        place = open(dir.path(), 5);
        assert_eq!(place.rows(), rows);
        place.tick(second);
        assert_eq!(place.status().counts, status.counts, "nothing twice");
        assert_eq!(place.status().waiting, status.waiting, "nothing lost");
        assert!(
            members == 0 || place.count(MEMBERS) == members,
            "nobody joins"
        );
        members = place.count(MEMBERS);
    }
    let rows = place.rows();
    assert_eq!(place.status().last, rows.len() as u64);
    assert!(rows.iter().map(|row| row.number).eq(1..=rows.len() as u64));
    assert!(classes(&rows).len() > 20);
    assert!(smallest_crowd(&rows, 40) >= 5);

    let dir = TempDir::new().unwrap();
    let place = open(dir.path(), 5);
    place.vault.streams().sticky = false;
    place.on();
    fleet(&place, &mut random, 0..16, 0.97);
    assert!(smallest_crowd(&place.rows(), 40) < 5, "the attack works");
}

#[test]
fn with_a_device_goes_its_place_in_a_group_and_what_waits_of_it() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path(), 5);
    place.on();
    place.send(0..16, 1);
    place.tick(1);
    place.tick(DELAY);
    assert_eq!((place.rows().len(), place.count(MEMBERS)), (16, 16));
    place.send(0..16, DELAY + 1);
    place.tick(DELAY + 1);
    let subject = Subject {
        model: "meter-1".to_owned(),
        device: "device-7".to_owned(),
    };
    let erased = place.vault.erase(
        &who(Role::Operator),
        &subject,
        false,
        || Ok(None),
        at(DELAY + 2),
    );
    assert!(erased.unwrap().found);
    assert_eq!(place.count(MEMBERS), 15);
    place.tick(2 * DELAY);
    let rows = place.rows();
    assert_eq!(rows.len(), 31);
    assert!(rows[16..].iter().all(|row| row.fields["who"] != "d7"));
    assert!(classes(&rows).values().all(|class| class.len() >= 5));
    assert_eq!((place.status().counts.gone, place.status().waiting), (1, 0));
    // Who comes back is a stranger, and joins nobody.
    place.send(0..16, 2 * DELAY + 1);
    place.tick(2 * DELAY + 1);
    place.tick(3 * DELAY);
    assert_eq!(place.rows().len(), 46);
    assert_eq!((place.count(MEMBERS), place.status().counts.few), (15, 1));
}

#[test]
fn with_a_k_too_high_nothing_leaves_and_the_log_tells_how_much_was_suppressed() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path(), 30);
    place.on();
    fleet(&place, &mut Xorshift::new(8), 0..3, 1.1);
    assert_eq!(place.rows(), []);
    let counts = place.status().counts;
    assert_eq!(
        (counts.taken, counts.few, counts.suppressed()),
        (120, 120, 120)
    );
    place.tick(3_600);
    place.tick(7_200);
    let entries = place.vault.log().entries(0, 100).unwrap();
    let of_stream: Vec<&Entry> = entries
        .iter()
        .map(|(_, entry)| entry)
        .filter(|entry| entry.action == Action::Stream)
        .collect();
    assert_eq!(
        of_stream.len(),
        2,
        "switched on, and one hour in which something happened"
    );
    assert_eq!(of_stream[0].object.as_deref(), Some("on"));
    assert_eq!(of_stream[1].dataset.as_deref(), Some("home"));
    assert_eq!(
        (
            of_stream[1].facts["suppressed"],
            of_stream[1].facts["released"]
        ),
        (120, 0)
    );
}

#[test]
fn who_may_not_and_what_makes_no_stream_is_refused_and_off_is_off() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path(), 5);
    let switch = |role, schema, on| {
        let status = place.vault.switch_stream(&who(role), schema, on, at(0));
        status.map_err(|error| error.to_string())
    };
    assert_eq!(
        switch(Role::Operator, "home", true).unwrap_err(),
        "there is no data set `home`; there is none: no device has sent a record yet"
    );
    place.put("bare", 0, br#"{"note": "x"}"#);
    place.on();
    for role in [Role::Analyst, Role::Auditor] {
        assert!(
            switch(role, "home", false)
                .unwrap_err()
                .ends_with("may not switch streams of releases")
        );
    }
    let entries = place.vault.log().entries(0, 100).unwrap();
    assert_eq!(entries.last().unwrap().1.outcome, Outcome::Refused);
    assert_eq!(
        switch(Role::Operator, "bare", true).unwrap_err(),
        "the profile makes no stream of `bare`: the number of quasi-identifiers is 0"
    );
    let read = place
        .vault
        .read_stream(&who(Role::Auditor), "home", (0, 1), at(0));
    assert!(read.is_err());
    let read = place
        .vault
        .read_stream(&who(Role::Analyst), "bare", (0, 1), at(0));
    assert_eq!(read.unwrap_err().to_string(), "`bare` has no stream");

    place.send(0..16, 1);
    place.tick(1);
    place.tick(DELAY);
    place.send(0..16, DELAY + 1);
    place.tick(DELAY + 1);
    let off = switch(Role::Operator, "home", false).unwrap();
    assert_eq!(
        (off.on, off.waiting, off.counts.gone, off.last),
        (false, 0, 16, 16)
    );
    place.send(0..16, DELAY + 2);
    place.tick(3 * DELAY);
    assert_eq!(place.rows().len(), 16);
    // What came in between is not taken; the groups are those of before.
    assert!(switch(Role::Operator, "home", true).unwrap().on);
    place.send(0..16, 4 * DELAY);
    place.tick(4 * DELAY);
    place.tick(5 * DELAY);
    assert_eq!((place.rows().len(), place.count(MEMBERS)), (32, 16));
    // Rows are kept as long as records are.
    place.tick(86_400 + 2 * 3_600);
    assert_eq!((place.rows(), place.status().last), (Vec::new(), 32));
}

#[test]
fn a_restart_does_not_forget_who_missed_an_emission() {
    let dir = TempDir::new().unwrap();
    let mut place = open(dir.path(), 5);
    place.on();
    // The first two make the group of eight one of six; of these only three send in the last round.
    for (round, devices) in [(1, 0..8), (2, 0..6), (3, 3..8)] {
        place.send(devices, round * DELAY);
        place.tick(round * DELAY);
        place.tick(round * DELAY + DELAY - 1);
        drop(place);
        place = open(dir.path(), 5);
    }
    let status = place.status();
    assert_eq!((place.rows().len(), place.count(MEMBERS)), (14, 8));
    assert_eq!((status.counts.thin, status.waiting), (5, 0));
    // To a release of one row a device, those six stand among each other, and the others among all of the group.
    let ask = ReleaseAsk {
        schema: "home".to_owned(),
        dry_run: true,
        ..ReleaseAsk::default()
    };
    let reading = read(&place.vault, &ask, &who(Role::Operator)).unwrap();
    let classes = reading.subjects;
    let classes = place.vault.stream_classes("home", &classes).unwrap();
    let counts: Vec<usize> = classes
        .iter()
        .map(|it| it.iter().flatten().count())
        .collect();
    assert_eq!(counts, [6, 8]);
}
