//! Each question answered with and without one subject that does what it can: it moves the sums no further than the noise
//! is for.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test, of small numbers"
)]

use std::collections::BTreeMap;

use crate::noise::Reach;
use crate::plan::{Measure, Plan};
use crate::tally::{Given, Tally};
use crate::{Contribution, DataSet, Epsilon, Field, Question};

#[expect(dead_code, reason = "nothing is damaged here")]
#[path = "../../../fuzz/random.rs"]
mod random;

use self::random::Random;

/// Three days.
const TIME: &str = "from 2026-09-20 to 2026-09-23";
const START: i64 = 1_789_862_400;
const QUESTIONS: [&str; 12] = [
    "count",
    "count subjects",
    "count subjects by region per 6h",
    "count subjects by town per 1d",
    "sum kwh",
    "sum kwh by region per 1h",
    "sum kwh by town per 5h",
    "mean kwh by region",
    "mean kwh per 7h",
    "histogram kwh by 0.3 by region",
    "count by town where kwh > -1",
    "sum tiny per 90min",
];

fn meters() -> DataSet {
    let ranged = |low: &str, high: &str| Field {
        range: low.parse().ok().zip(high.parse().ok()),
        ..Field::default()
    };
    let region = Field {
        values: Some(["north", "south"].map(str::to_owned).into()),
        ..Field::default()
    };
    let fields = [
        ("kwh", ranged("-2.5", "7.123456")),
        ("tiny", ranged("0", "0.000003")),
        ("region", region),
        ("town", Field::default()),
    ];
    DataSet {
        fields: fields.map(|(name, field)| (name.to_owned(), field)).into(),
        contribution: Contribution {
            per: 7_200,
            records: 3,
        },
    }
}

struct Row {
    subject: u32,
    at: i64,
    fields: BTreeMap<&'static str, Given<'static>>,
}

fn row(random: &mut Random, subject: u32) -> Row {
    const TOWNS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    const NUMBERS: [f64; 6] = [-1e300, -2.5, 0.000_001_4, 3.3, 7.2, f64::INFINITY];
    let pick = |random: &mut Random| NUMBERS[random.below(NUMBERS.len())];
    let fields = [
        ("kwh", Given::Number(pick(random))),
        ("tiny", Given::Number(pick(random))),
        (
            "region",
            Given::Text(["north", "south", "west"][random.below(3)]),
        ),
        ("town", Given::Text(TOWNS[random.below(8)])),
    ];
    let seconds = i64::try_from(random.below(300_000)).expect("small") - 20_000;
    Row {
        subject,
        at: START + seconds,
        fields: fields.into(),
    }
}

/// The numbers of each cell before the noise, by the group's name.
fn sums(plan: &Plan, rows: &[&Row]) -> Vec<BTreeMap<(u32, String, u32), i128>> {
    let mut tally = Tally::new(plan);
    for row in rows {
        tally.add(row.subject, row.at, &|name| row.fields.get(name).copied());
    }
    let name = |group: u32| {
        let found = tally.names.iter().find(|(_, it)| **it == group);
        found.map_or_else(String::new, |(name, _)| name.clone())
    };
    let mut numbers = vec![BTreeMap::new(), BTreeMap::new()];
    for ((slot, group, bin), sums) in &tally.cells {
        let place = (*slot, name(*group), *bin);
        let of = match &plan.measure {
            Measure::Sum(of) | Measure::Mean(of) => Some(of),
            _ => None,
        };
        let first = of.map_or(sums.count, |of| of.on_grid(sums.sum).expect("fits"));
        numbers[0].insert(place.clone(), first);
        numbers[1].insert(place, sums.count);
    }
    numbers
}

fn moved(
    with: &BTreeMap<(u32, String, u32), i128>,
    without: &BTreeMap<(u32, String, u32), i128>,
) -> Reach {
    let mut all: Vec<_> = with.keys().chain(without.keys()).collect();
    all.sort();
    all.dedup();
    let of = |cells: &BTreeMap<_, i128>, place| cells.get(place).copied().unwrap_or_default();
    let moves: Vec<u128> = all
        .into_iter()
        .map(|place| of(with, place).abs_diff(of(without, place)))
        .collect();
    Reach {
        sum: moves.iter().sum(),
        squares: moves.iter().map(|it| it.pow(2)).sum(),
    }
}

#[test]
fn one_subject_moves_the_sums_no_further_than_the_noise_is_for() {
    let mut random = Random(8);
    for asked in QUESTIONS {
        let question = Question::parse(&format!("{asked} {TIME}")).expect(asked);
        let epsilon = Epsilon::from_millionths(100_000).expect("an epsilon");
        let mut plan = Plan::new(&question, &meters(), epsilon, START).expect(asked);
        let open = asked.contains("town");
        let reaches = plan.reaches(open).expect(asked);
        let mut furthest = 0.0_f64;
        for wild in [3, 40, 400] {
            for _ in 0..8 {
                let mut rows: Vec<Row> = (0..60).map(|at| row(&mut random, at % 12)).collect();
                rows.extend((0..wild).map(|_| row(&mut random, 99)));
                // In any order.
                for at in 0..rows.len() {
                    let other = random.below(rows.len());
                    rows.swap(at, other);
                }
                let all: Vec<&Row> = rows.iter().collect();
                let others: Vec<&Row> = rows.iter().filter(|row| row.subject != 99).collect();
                let (with, without) = (sums(&plan, &all), sums(&plan, &others));
                for ((with, without), reach) in with.iter().zip(&without).zip(&reaches) {
                    let moved = moved(with, without);
                    assert!(
                        moved.sum <= reach.sum && moved.squares <= reach.squares,
                        "{asked}: {moved:?} is beyond {reach:?}"
                    );
                    #[expect(
                        clippy::cast_precision_loss,
                        clippy::as_conversions,
                        reason = "a share"
                    )]
                    let share = moved.sum as f64 / reach.sum as f64;
                    furthest = furthest.max(share);
                }
            }
        }
        assert!(
            furthest > 0.1,
            "{asked}: the subject moved {furthest} of what it could"
        );
    }
}
