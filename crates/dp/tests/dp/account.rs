//! What answers cost together.

use stockade_dp::{Account, Epsilon};

use crate::plan;

/// So many answers to the same kind of question.
fn together(question: &str, epsilon: &str, many: usize) -> Epsilon {
    let cost = plan(question, epsilon).cost();
    let account = (0..many).try_fold(Account::default(), |account, _| account.and(cost));
    account.expect("an account").spent()
}

fn epsilon(text: &str) -> Epsilon {
    text.parse().expect("an epsilon")
}

#[test]
fn a_few_answers_cost_the_sum_and_many_cost_less() {
    assert_eq!(together("count", "0.1", 1), epsilon("0.1"));
    assert_eq!(together("count", "0.1", 10), epsilon("1"));
    // ρ = 1000 · 0.01² / 2 = 0.05.
    let many = together("count", "0.01", 1_000);
    assert!(many < epsilon("2"), "{many}, where the sum is 10");
    assert!(many > epsilon("1.5"), "{many}");
}

#[test]
fn no_answer_costs_more_than_was_allowed() {
    for question in [
        "count",
        "count subjects",
        "sum kwh",
        "mean kwh by region",
        "mean kwh by town",
        "histogram kwh by 0.5",
        "quantile 0.9 of kwh",
        "mean kwh per 1h",
        "mean kwh by town per 1d",
        "count subjects by region per 1h",
    ] {
        for allowed in ["0.01", "0.1", "0.333333", "1", "10"] {
            let cost = plan(question, allowed).cost().alone().expect("a cost");
            assert!(
                cost <= epsilon(allowed),
                "{question} at {allowed} costs {cost}"
            );
            assert!(
                cost.millionths() * 2 > epsilon(allowed).millionths(),
                "{question} at {allowed} uses {cost} only"
            );
        }
    }
}

#[test]
fn an_account_grows_with_every_answer_and_survives_being_written() {
    let mut account = Account::default();
    assert_eq!(account.spent().millionths(), 0);
    for question in ["count", "mean kwh per 1h", "mean kwh by town"]
        .iter()
        .cycle()
        .take(60)
    {
        let after = account
            .and(plan(question, "0.05").cost())
            .expect("an account");
        assert!(after.spent() > account.spent(), "{question} was free");
        account = after;
    }
    let written = serde_json::to_string(&account).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Account>(&written).expect("an account"),
        account
    );
}

#[test]
fn searches_for_groups_end_before_the_delta_does() {
    let cost = plan("count by town", "0.001").cost();
    let mut account = Account::default();
    let mut answers = 0;
    while let Some(after) = account.and(cost) {
        (account, answers) = (after, answers + 1);
    }
    assert_eq!(answers, 50);
}
