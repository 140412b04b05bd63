use super::*;
use crate::attack::{Xorshift, intersection};

const HOUR: u64 = 3_600;

fn settings() -> Settings {
    Settings {
        k: 5,
        spare: 2,
        l: 3,
        t: 0.6,
        delay: HOUR,
        rows_per_subject: 8,
        waiting: 100_000,
        subjects: 1_000,
        sticky: true,
        quasi: vec![
            Domain::Number {
                low: 0.0,
                high: 100.0,
            },
            Domain::Category(regions()),
        ],
        sensitive: vec![Sensitive {
            codes: 6,
            ordered: true,
        }],
    }
}

fn regions() -> crate::Hierarchy {
    let names = ["a1", "b1", "a2", "b2"];
    let column = crate::Column::new("region", crate::Role::Quasi, names);
    let rows: Vec<Vec<String>> = names
        .iter()
        .map(|name| vec![(*name).to_owned(), name.chars().take(1).collect()])
        .collect();
    crate::Hierarchy::of_rows(&column, &rows).unwrap()
}

/// A fleet in which each device sends in an hour with this chance, from about where it lives.
fn fleet(
    settings: Settings,
    hours: u64,
    devices: u32,
    sends: f64,
) -> (Stream, Vec<Emission>, Vec<(u32, u64)>) {
    let mut stream = Stream::new(settings, Vec::new()).unwrap();
    let mut random = Xorshift::new(8);
    let mut came = Vec::new();
    for hour in 0..hours {
        for device in 0..devices {
            if random.unit() > sends {
                continue;
            }
            let home = f64::from(device % 100);
            let at = hour * HOUR + u64::from(device) % HOUR;
            let tag = came.len() as u64;
            came.push((device, at));
            stream.handle_row(
                at,
                Row {
                    subject: device,
                    quasi: vec![
                        Cell::Number((home + random.unit() * 5.0).min(100.0)),
                        Cell::Code(device % 4),
                    ],
                    sensitive: vec![code(random.below(6))],
                    tag,
                },
            );
        }
    }
    stream.finish();
    let emissions = std::iter::from_fn(|| stream.poll_emission()).collect();
    (stream, emissions, came)
}

/// What each emission is to somebody who lays all of them over one another.
fn smallest_crowd(emissions: &[Emission], devices: usize) -> u32 {
    let releases: Vec<Vec<Option<u32>>> = emissions
        .iter()
        .map(|emission| {
            let mut classes = vec![None; devices];
            for row in &emission.rows {
                classes[place(row.subject)] = Some(0);
            }
            classes
        })
        .collect();
    let released = intersection::candidates(&releases).into_iter();
    released.filter(|crowd| *crowd > 0).min().unwrap()
}

#[test]
fn what_leaves_is_of_k_subjects_diverse_covered_and_each_row_is_accounted_for() {
    let (stream, emissions, came) = fleet(settings(), 12, 200, 0.9);
    let mut left = BTreeSet::new();
    for emission in &emissions {
        let subjects: BTreeSet<u32> = emission.rows.iter().map(|row| row.subject).collect();
        assert!(subjects.len() >= 5 && code(subjects.len()) == emission.subjects);
        let Span::Number(low, high) = emission.spans[0] else {
            panic!("no interval")
        };
        for row in &emission.rows {
            assert!(left.insert(row.tag), "released twice");
            assert_eq!(came[usize::try_from(row.tag).unwrap()].0, row.subject);
            let home = f64::from(row.subject % 100);
            assert!(low <= home + 5.0 && home <= high);
        }
    }
    let tally = *stream.tally();
    assert_eq!(tally.taken, came.len() as u64);
    assert_eq!(tally.released, left.len() as u64);
    assert_eq!(tally.released + tally.suppressed(), tally.taken);
    assert!(tally.released > tally.taken / 2, "{tally:?}");
    assert!(tally.mean_loss() < 0.4, "{tally:?}");
    let again = fleet(settings(), 12, 200, 0.9);
    assert_eq!(emissions, again.1, "the same rows give the same emissions");
}

#[test]
fn nobody_waits_longer_than_the_delay() {
    let mut stream = Stream::new(settings(), Vec::new()).unwrap();
    for subject in 0..40 {
        stream.handle_row(
            u64::from(subject),
            Row {
                subject,
                quasi: vec![Cell::Number(1.0), Cell::Code(0)],
                sensitive: vec![subject % 6],
                tag: 0,
            },
        );
    }
    assert_eq!(stream.poll_time(), Some(HOUR));
    stream.handle_time(HOUR - 1);
    assert_eq!(stream.poll_emission(), None);
    stream.handle_time(HOUR);
    let emission = stream.poll_emission().unwrap();
    assert_eq!(
        emission.spans,
        [Span::Number(1.0, 1.0), Span::Name("a1".to_owned())]
    );
    assert_eq!(stream.poll_emission(), None, "all alike are not cut");
    assert_eq!(stream.tally().released, 40);
}

#[test]
fn laid_over_one_another_releases_leave_k_and_without_sticky_groups_they_do_not() {
    let (_, sticky, _) = fleet(settings(), 30, 200, 0.9);
    assert!(sticky.len() > 50);
    assert!(smallest_crowd(&sticky, 200) >= 5);
    let loose = Settings {
        sticky: false,
        ..settings()
    };
    let (_, loose, _) = fleet(loose, 30, 200, 0.9);
    assert!(smallest_crowd(&loose, 200) < 5);
}

#[test]
fn groups_of_earlier_releases_go_on_and_too_few_of_one_are_suppressed() {
    let group = Group {
        members: (0..6).collect(),
        core: (0..5).collect(),
    };
    let mut stream = Stream::new(settings(), vec![group]).unwrap();
    let row = |subject, value| Row {
        subject,
        quasi: vec![Cell::Number(1.0), Cell::Code(0)],
        sensitive: vec![value],
        tag: 0,
    };
    for subject in (0..3).chain([5]) {
        stream.handle_row(0, row(subject, subject));
    }
    stream.handle_time(HOUR);
    assert_eq!((stream.poll_emission(), stream.tally().thin), (None, 4));
    for subject in 0..6 {
        stream.handle_row(HOUR, row(subject, subject));
    }
    stream.handle_time(2 * HOUR);
    assert_eq!(stream.poll_emission().unwrap().subjects, 6);
    for subject in 0..6 {
        stream.handle_row(2 * HOUR, row(subject, 1));
    }
    stream.finish();
    assert_eq!((stream.poll_emission(), stream.tally().alike), (None, 6));
    assert_eq!(stream.silent(), 0);
}

#[test]
fn what_is_not_of_the_shape_or_too_much_is_counted_and_nothing_grows() {
    let mut stream = Stream::new(
        Settings {
            waiting: 10,
            subjects: 4,
            rows_per_subject: 3,
            ..settings()
        },
        Vec::new(),
    )
    .unwrap();
    let row = |subject, number, region, value| Row {
        subject,
        quasi: vec![Cell::Number(number), Cell::Code(region)],
        sensitive: vec![value],
        tag: 0,
    };
    for bad in [
        row(0, f64::NAN, 0, 0),
        row(0, 101.0, 0, 0),
        row(0, 1.0, 4, 0),
        row(0, 1.0, 0, 6),
        Row {
            quasi: vec![Cell::Code(0), Cell::Number(0.0)],
            ..row(0, 1.0, 0, 0)
        },
        Row {
            sensitive: Vec::new(),
            ..row(0, 1.0, 0, 0)
        },
    ] {
        stream.handle_row(0, bad);
    }
    assert_eq!(stream.tally().shapeless, 6);
    stream.handle_row(0, row(u32::MAX, 1.0, 0, 0));
    for n in 0..20 {
        stream.handle_row(0, row(n % 4, 1.0, 0, 0));
    }
    let tally = *stream.tally();
    assert_eq!((tally.full, tally.crowded, stream.waiting), (1 + 10, 0, 10));
    stream.handle_row(HOUR, row(0, 1.0, 0, 0));
    assert_eq!((stream.tally().few, stream.waiting), (10, 1));
}

#[test]
fn settings_that_protect_nobody_are_refused() {
    let refused = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Stream::new(settings, Vec::new()).unwrap_err()
    };
    assert_eq!(refused(|s| s.k = 1), SettingsFault::K(1));
    assert_eq!(refused(|s| s.t = f64::NAN), SettingsFault::T);
    assert_eq!(refused(|s| s.delay = 0), SettingsFault::Zero("the delay"));
    assert_eq!(
        refused(|s| s.quasi[0] = Domain::Number {
            low: 1.0,
            high: 1.0
        }),
        SettingsFault::Range(0)
    );
    let twice = vec![
        Group {
            members: (0..5).collect(),
            core: BTreeSet::new(),
        };
        2
    ];
    assert_eq!(
        Stream::new(settings(), twice).unwrap_err(),
        SettingsFault::Group
    );
}
