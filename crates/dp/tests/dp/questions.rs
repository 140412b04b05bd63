//! What can be asked, and what is said about the rest.

use std::fmt::Write as _;

use proptest::prelude::*;
use stockade_dp::{Plan, Question};

use crate::{NOW, meters};

#[test]
fn what_is_understood_is_written_in_one_form() {
    let mut shown = String::new();
    for asked in [
        "count",
        "count   subjects by region",
        "sum kwh where region=north and kwh>=0.5",
        "mean kwh by region",
        "mean kwh by town in \"old town\", harbour",
        "histogram kwh by 0.50",
        "quantile 0.9 of kwh",
        "mean kwh from 2026-09-01 to 2026-09-02T02:00:00+02:00 per 60min",
        "count where \"by\" = \"count\"",
    ] {
        let question = Question::parse(asked).expect(asked);
        writeln!(shown, "{asked}\n  {question}").expect("text");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_not_understood_is_pointed_at() {
    let mut shown = String::new();
    for asked in [
        "",
        "average kwh",
        "mean",
        "mean kwh group region",
        "mean kwh by",
        "mean kwh by region by region",
        "histogram kwh",
        "histogram kwh by 0",
        "quantile 90 of kwh",
        "count where region north",
        "count where region = \"north",
        "count where kwh < much",
        "count per 1fortnight",
        "count from yesterday to today",
        "count from 2026-09-02 to 2026-09-01",
        "count by region in north,, south",
        "!",
    ] {
        let error = Question::parse(asked).expect_err(asked);
        writeln!(shown, "{asked}\n{}^ {error}", " ".repeat(error.at)).expect("text");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_the_data_set_cannot_tell_is_said() {
    let mut shown = String::new();
    for asked in [
        "mean power",
        "mean town",
        "count by owner",
        "count where owner = ann",
        "quantile 0.5 of kwh by region",
        "count per 1s",
        "count by region per 1min from 2026-09-01 to 2026-09-20",
        "histogram kwh by 0.000001",
        "count from 1970-01-01 to 9999-12-31",
    ] {
        let question = Question::parse(asked).expect(asked);
        let epsilon = "0.1".parse().expect("an epsilon");
        let error = Plan::new(&question, &meters(), epsilon, NOW).expect_err(asked);
        writeln!(shown, "{asked}\n  [{}] {error}", error.word).expect("text");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_very_long_question_is_refused() {
    let error = Question::parse(&"count ".repeat(1_000)).expect_err("too long");
    assert_eq!(error.what, "the question is longer than 1000 bytes");
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in "[ a-z0-9\"=<>!,.:é-]{0,60}") {
        stockade_dp::fuzzing::vault_question(text.as_bytes());
    }
}
