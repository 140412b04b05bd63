//! Attacks that must fail, and that succeed where the protection is left out.

use std::collections::BTreeSet;

use stockade_dp::{Noise, Random as _};

use crate::{NOW, Row, Seeded, answer, plan, row};

/// 32 bits of chance as a number from 0 up to 1.
fn chance(random: &mut Seeded) -> f64 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes).expect("random");
    f64::from(u32::from_le_bytes(bytes)) / 2.0_f64.powi(32)
}

/// Laplace noise as it must not be drawn: the inverse of its distribution, in floating point.
fn naive(random: &mut Seeded) -> f64 {
    let side = if chance(random) < 0.5 { -1.0 } else { 1.0 };
    side * -(1.0 - chance(random)).ln() * 2.0
}

/// Whether `output` could be `secret` plus naive noise: whether the noise's doubles reach it at all (Mironov, 2012).
fn reachable(output: f64, secret: f64) -> bool {
    let noise = output - secret;
    // Which draw would have given it, and does it?
    let draw = 1.0 - (-noise.abs() / 2.0).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 2^32"
    )]
    let nearest = (draw * 2.0_f64.powi(32)).round() as u64;
    (nearest.saturating_sub(2)..=nearest + 2).any(|draw| {
        #[expect(clippy::cast_precision_loss, reason = "at most 2^32")]
        let noise = -(1.0 - draw as f64 / 2.0_f64.powi(32)).ln() * 2.0;
        [secret + noise, secret - noise]
            .iter()
            .any(|it| it.to_bits() == output.to_bits())
    })
}

#[test]
fn the_bits_of_naive_noise_tell_the_secret_and_ours_do_not() {
    let mut random = Seeded(1);
    let told = (0..1_000)
        .filter(|_| {
            let output = 1.0 + naive(&mut random);
            reachable(output, 1.0) && !reachable(output, 0.0)
        })
        .count();
    assert!(told > 700, "naive noise tells in {told} of 1000 answers");

    // Ours: whatever comes out, it can come out of the neighbour too. All outputs near the middle are reached from both.
    let noise = Noise::Laplace { over: 2, under: 1 };
    let mut outputs = |secret: i128| -> BTreeSet<i128> {
        let draws = (0..20_000).map(|_| secret + noise.draw(&mut random).expect("drawn"));
        draws.filter(|it| it.abs() <= 8).collect()
    };
    let (zero, one) = (outputs(0), outputs(1));
    assert_eq!(zero, one);
    assert_eq!(zero.len(), 17);
}

/// The exact binomial bounds, roughly: a share that is seen so often is no further away with 99.9 %.
fn lower(seen: f64, of: f64) -> f64 {
    let share = seen / of;
    (share - 3.3 * (share * (1.0 - share) / of).sqrt() - 3.3 / of).max(0.0)
}

fn upper(seen: f64, of: f64) -> f64 {
    let share = seen / of;
    share + 3.3 * (share * (1.0 - share) / of).sqrt() + 3.3 / of
}

/// What can be proven of the epsilon of two distributions, from samples of both: the best of all events `output >= x`.
fn audited(with: &[f64], without: &[f64]) -> f64 {
    let count = |samples: &[f64], from: f64| {
        let count = samples.iter().filter(|it| **it >= from).count();
        f64::from(u32::try_from(count).expect("few"))
    };
    let of = f64::from(u32::try_from(with.len()).expect("few"));
    let mut thresholds: Vec<f64> = with.to_vec();
    thresholds.sort_by(f64::total_cmp);
    let each = thresholds.len() / 50;
    thresholds
        .iter()
        .step_by(each)
        .map(|from| (lower(count(with, *from), of) / upper(count(without, *from), of)).ln())
        .fold(0.0, f64::max)
}

const SAMPLES: usize = 1_000;
const TODAY: &str = "from 2026-09-21 to 2026-09-22";

/// 20 quiet meters, and perhaps one that does all it can to be seen: `loud` records far beyond its range.
fn neighbours(loud: i64) -> (Vec<Row>, Vec<Row>) {
    let without: Vec<Row> = (0..20)
        .map(|subject| row(subject, NOW, 1.0, "north"))
        .collect();
    let mut with = without.clone();
    with.extend((0..loud).map(|record| row(99, NOW - record, 1e12, "north")));
    (with, without)
}

fn audit(question: &str, epsilon: &str) -> f64 {
    let plan = plan(&format!("{question} {TODAY}"), epsilon);
    let (with, without) = neighbours(300);
    let mut random = Seeded(11);
    let mut sample = |rows: &[Row]| -> Vec<f64> {
        (0..SAMPLES)
            .map(|_| {
                let answer = answer(&plan, rows, &mut random);
                answer.cells[0].value.unwrap_or(-1.0)
            })
            .collect()
    };
    audited(&sample(&with), &sample(&without))
}

#[test]
fn no_subject_moves_an_answer_more_than_epsilon_says() {
    for (question, epsilon, claimed) in [
        ("count", "1", 1.0),
        ("count subjects", "1", 1.0),
        ("sum kwh", "1", 1.0),
        ("quantile 0.5 of kwh", "10", 10.0),
    ] {
        let proven = audit(question, epsilon);
        assert!(
            proven <= claimed,
            "{question}: {proven} is proven, {claimed} is claimed"
        );
        assert!(
            proven > 0.2,
            "{question}: {proven}, the audit sees nothing at all"
        );
    }
}

#[test]
fn without_its_bound_a_subject_is_seen() {
    // The same 300 records as 4 subjects: the bound of 96 records a day no longer holds for what one person sends.
    let plan = plan(&format!("count {TODAY}"), "1");
    let (_, without) = neighbours(0);
    let mut with = without.clone();
    with.extend((0..384).map(|record| {
        row(
            99 + u32::try_from(record / 96).expect("few"),
            NOW - record,
            1.0,
            "north",
        )
    }));
    let mut random = Seeded(11);
    let mut sample = |rows: &[Row]| -> Vec<f64> {
        let draw = |_| {
            answer(&plan, rows, &mut random).cells[0]
                .value
                .expect("a count")
        };
        (0..SAMPLES).map(draw).collect()
    };
    let proven = audited(&sample(&with), &sample(&without));
    assert!(
        proven > 1.5,
        "the bound is off and only {proven} is proven: the test above would not see it either"
    );
}

#[test]
fn a_rare_group_is_not_shown_by_its_presence() {
    let plan = plan(&format!("count by town {TODAY}"), "1");
    let mut rows: Vec<Row> = (0..500)
        .map(|subject| row(subject, NOW, 1.0, "city"))
        .collect();
    rows.push(row(999, NOW, 1.0, "hermitage"));
    let mut random = Seeded(3);
    for _ in 0..200 {
        let answer = answer(&plan, &rows, &mut random);
        let groups: Vec<_> = answer
            .cells
            .iter()
            .filter_map(|it| it.group.as_deref())
            .collect();
        assert_eq!(groups, ["city"]);
    }
}

#[test]
fn an_empty_group_of_a_closed_list_is_shown_like_any_other() {
    let plan = plan(&format!("count by region {TODAY}"), "1");
    let answer = answer(&plan, &[row(1, NOW, 1.0, "north")], &mut Seeded(3));
    let groups: Vec<_> = answer
        .cells
        .iter()
        .filter_map(|it| it.group.as_deref())
        .collect();
    assert_eq!(groups, ["north", "south"]);
}
