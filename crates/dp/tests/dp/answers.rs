//! Answers are near the truth where many take part, and say how near.

use crate::{NOW, Row, Seeded, answer, plan, row};

const HOUR: i64 = 3_600;

/// 2,000 meters, a record an hour for a day: those of the north use 1 kWh, those of the south 3 kWh.
fn day() -> Vec<Row> {
    let start = NOW - NOW.rem_euclid(86_400);
    let mut rows = Vec::new();
    for subject in 0..2_000_u32 {
        let (region, kwh) = if subject % 4 == 0 {
            ("south", 3.0)
        } else {
            ("north", 1.0)
        };
        for hour in 0..24 {
            rows.push(row(subject, start + hour * HOUR, kwh, region));
        }
    }
    rows
}

const TODAY: &str = "from 2026-09-21 to 2026-09-22";

/// Each number is so close to the truth.
fn near(question: &str, truths: &[f64], close: f64) {
    let plan = plan(&format!("{question} {TODAY}"), "1");
    let answer = answer(&plan, &day(), &mut Seeded(7));
    let values: Vec<f64> = answer.cells.iter().filter_map(|cell| cell.value).collect();
    assert_eq!(values.len(), truths.len(), "{answer:#?}");
    for (cell, truth) in answer.cells.iter().zip(truths) {
        let value = cell.value.expect("a value");
        assert!(
            (value - truth).abs() <= close,
            "{question}: {value}, not {truth}"
        );
    }
}

#[test]
fn counts_sums_and_means_are_near_the_truth() {
    near("count", &[48_000.0], 1_000.0);
    near("count subjects", &[2_000.0], 30.0);
    near("count subjects by region", &[1_500.0, 500.0], 30.0);
    near("sum kwh", &[72_000.0], 5_000.0);
    near("mean kwh", &[1.5], 0.1);
    near("mean kwh by region", &[1.0, 3.0], 0.2);
    near("sum kwh where region != north", &[36_000.0], 5_000.0);
    near("count where kwh > 2", &[12_000.0], 1_000.0);
}

#[test]
fn histograms_quantiles_and_times_are_near_the_truth() {
    near(
        "histogram kwh by 1",
        &[0.0, 36_000.0, 0.0, 12_000.0, 0.0],
        1_000.0,
    );
    near("quantile 0.5 of kwh", &[1.0], 0.01);
    near("quantile 0.9 of kwh", &[3.0], 0.01);
    near("mean kwh per 6h", &[1.5; 4], 0.4);
}

#[test]
fn groups_that_many_are_in_are_found_without_a_list() {
    near("mean kwh by town", &[1.0, 3.0], 0.5);
}

#[test]
fn a_mean_of_too_few_is_not_told() {
    let plan = plan(&format!("mean kwh {TODAY}"), "1");
    let answer = answer(&plan, &[row(1, NOW, 2.0, "north")], &mut Seeded(7));
    assert_eq!(answer.cells[0].value, None);
}

#[test]
fn error_bars_hold_as_often_as_they_say() {
    for question in ["count", "sum kwh", "mean kwh", "count subjects per 1h"] {
        let plan = plan(&format!("{question} {TODAY}"), "0.5");
        let rows: Vec<Row> = (0..400)
            .map(|subject| row(subject, NOW - HOUR, 2.0, "north"))
            .collect();
        let truth = match question {
            "sum kwh" => 800.0,
            "mean kwh" => 2.0,
            _ => 400.0,
        };
        let mut random = Seeded(5);
        let asked = 200_u32;
        let held = (0..asked)
            .filter(|_| {
                let answer = answer(&plan, &rows, &mut random);
                let cell = if question.ends_with("1h") {
                    answer.cells[13].clone()
                } else {
                    answer.cells[0].clone()
                };
                cell.low.is_none_or(|low| low <= truth)
                    && cell.high.is_none_or(|high| truth <= high)
            })
            .count();
        assert!(held >= 183, "{question}: {held} of {asked}");
    }
}

#[test]
fn an_answer_says_what_it_promises() {
    let mut shown = String::new();
    for question in [
        "mean kwh by region",
        "count by town per 1h",
        "quantile 0.9 of kwh",
    ] {
        let statement = plan(&format!("{question} {TODAY}"), "0.2").statement();
        let json = serde_json::to_string_pretty(&statement).expect("JSON");
        shown = format!("{shown}{question}\n{json}\n");
    }
    insta::assert_snapshot!(shown);
}
