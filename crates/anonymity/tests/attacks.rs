//! Attacks: each succeeds on data that is not protected, and fails on what a release makes of it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use stockade_anonymity::attack::linkage::{self, Profiles, WEEK, link, week};
use stockade_anonymity::attack::unicity::unicity;
use stockade_anonymity::sample::Household;
use stockade_anonymity::stream::{Cell, Domain, Row, Settings, Span, Stream};

const HOMES: u32 = 500;

fn raw(of_week: u32) -> Profiles {
    let mut profiles = Profiles::new(WEEK);
    for home in 0..HOMES {
        profiles.push(&week(&Household::new(home).week(of_week)));
    }
    profiles
}

/// Mean, spread, median and highest decile; hours of morning, day, evening and night on working days.
const COLUMNS: [usize; 8] = [57, 58, 52, 56, 7, 12, 19, 3];

/// One row a home and week, released in groups of `k`: what the intervals say of each home, as seen by somebody who even knows
/// which row is whose.
fn released(of_week: u32, k: u32) -> Profiles {
    let mut stream = Stream::new(
        Settings {
            k,
            spare: k / 2,
            l: 1,
            t: 1.0,
            delay: 1,
            rows_per_subject: 1,
            waiting: 10_000,
            subjects: 10_000,
            sticky: true,
            quasi: vec![
                Domain::Number {
                    low: 0.0,
                    high: 50.0
                };
                COLUMNS.len()
            ],
            sensitive: Vec::new(),
        },
        Vec::new(),
    )
    .unwrap();
    for home in 0..HOMES {
        let profile = week(&Household::new(home).week(of_week));
        let quasi = COLUMNS.map(|column| Cell::Number(profile[column]));
        let row = Row {
            subject: home,
            quasi: quasi.to_vec(),
            sensitive: Vec::new(),
            tag: u64::from(home),
        };
        stream.handle_row(0, row);
    }
    stream.finish();
    assert_eq!(stream.tally().released, u64::from(HOMES));
    let mut rows = vec![[f64::NAN; WEEK]; usize::try_from(HOMES).unwrap()];
    while let Some(emission) = stream.poll_emission() {
        assert!(emission.subjects >= k);
        for (column, span) in COLUMNS.iter().zip(&emission.spans) {
            let Span::Number(low, high) = span else {
                panic!("no interval")
            };
            for row in &emission.rows {
                rows[usize::try_from(row.subject).unwrap()][*column] = f64::midpoint(*low, *high);
            }
        }
    }
    let mut profiles = Profiles::new(WEEK);
    for row in &rows {
        profiles.push(row);
    }
    profiles
}

#[test]
fn weekly_linkage_finds_rotated_pseudonyms_and_not_what_was_released_in_groups() {
    let known = raw(0);
    let rotated = link(&known, &raw(1)).unwrap();
    assert!(rotated.first > 0.3, "habits give homes away: {rotated:?}");
    let limit = linkage::limit(&rotated);
    assert!((0.02..=0.03).contains(&limit));
    let grouped = link(&known, &released(1, 10)).unwrap();
    assert!(grouped.first <= limit, "{grouped:?}");
    let mut alone = Profiles::new(WEEK);
    for home in 0..HOMES {
        let profile = week(&Household::new(home).week(1));
        let mut row = [f64::NAN; WEEK];
        for column in COLUMNS {
            row[column] = profile[column];
        }
        alone.push(&row);
    }
    let alone = link(&known, &alone).unwrap();
    assert!(
        alone.first > 2.0 * limit,
        "it is the groups that protect: {alone:?}"
    );
}

#[test]
fn four_points_single_out_ships_and_not_where_places_and_times_are_coarse() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/vault/ais_uscg_20220103.csv.gz");
    let Ok(file) = fs_err::File::open(file) else {
        eprintln!("skipped: ../shared/data/vault is not there");
        return;
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    let traces = |degrees: f64, hours: u64| -> Vec<Vec<u64>> {
        let mut traces: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut points: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [ship, at, lat, lon, ..] = fields.as_slice() else {
                continue;
            };
            let cell =
                |degree: &str| format!("{:.0}", (degree.parse::<f64>().unwrap() / degrees).round());
            let hour: u64 = at.get(11..13).unwrap().parse().unwrap();
            let next = u64::try_from(points.len()).unwrap();
            let point = *points
                .entry((cell(lat), cell(lon), hour / hours))
                .or_insert(next);
            traces.entry(ship).or_default().push(point);
        }
        traces.into_values().collect()
    };
    let fine = unicity(&traces(0.01, 1), 4, 1);
    assert!(
        fine.tried > 500 && (0.85..0.95).contains(&fine.share()),
        "{fine:?}"
    );
    // By region and day hardly any ship has as many points as could be known of it.
    let coarse = unicity(&traces(5.0, 24), 4, 1);
    assert!(coarse.unique < 10, "{coarse:?}");
}
