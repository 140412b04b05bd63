//! What others say of answers about many: `OpenDP` of the noise, dp-accounting of what answers cost together.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use stockade_dp::{
    Account, Contribution, Cost, DataSet, Field, Plan, Question, Random, SampleError, gaussian,
    laplace,
};
use stockade_e2e::tools::{say, without};

/// The library's own randomness: this test asks about what is shipped.
struct System;

impl Random for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SampleError> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| SampleError::NoRandomness)
    }
}

/// So many draws of each.
const DRAWS: u32 = 20_000;

/// Pearson's statistic of two samples, in deviations from what it is where both have one distribution.
fn apart(ours: &BTreeMap<i128, f64>, theirs: &BTreeMap<i128, f64>) -> f64 {
    let (mut statistic, mut cells) = (0.0_f64, -1.0_f64);
    let (mut rest_ours, mut rest_theirs) = (0.0_f64, 0.0_f64);
    for value in -100..=100 {
        let ours = ours.get(&value).copied().unwrap_or_default();
        let theirs = theirs.get(&value).copied().unwrap_or_default();
        if ours + theirs >= 20.0 {
            statistic += (ours - theirs).powi(2) / (ours + theirs);
            cells += 1.0;
        } else {
            rest_ours += ours;
            rest_theirs += theirs;
        }
    }
    if rest_ours + rest_theirs > 0.0 {
        statistic += f64::powi(rest_ours - rest_theirs, 2) / (rest_ours + rest_theirs);
        cells += 1.0;
    }
    (statistic - cells) / f64::sqrt(2.0 * cells)
}

fn counted(
    mut draw: impl FnMut() -> Result<i128, SampleError>,
) -> Result<BTreeMap<i128, f64>, SampleError> {
    let mut seen = BTreeMap::new();
    for _ in 0..DRAWS {
        *seen.entry(draw()?).or_default() += 1.0;
    }
    Ok(seen)
}

#[test]
fn opendp_draws_the_same_noise() -> Result<()> {
    if without(&["python3", "pycanon"]) {
        return Ok(());
    }
    let said = super::judge(&["draws", &DRAWS.to_string(), "3.5", "4"])?;
    let theirs = |name: &str| -> Result<BTreeMap<i128, f64>> {
        let draws = said[name].as_object().context("draws")?;
        let pairs = draws
            .iter()
            .map(|(value, count)| Ok((value.parse()?, count.as_f64().context("a count")?)));
        pairs.collect()
    };
    let (laplaces, gaussians) = (theirs("laplace")?, theirs("gaussian")?);
    let ours = counted(|| laplace(&mut System, 7, 2))?;
    let far = apart(&ours, &laplaces);
    assert!(far < 5.0, "Laplace: {far} deviations apart");
    let ours = counted(|| gaussian(&mut System, 16, 1))?;
    let far = apart(&ours, &gaussians);
    assert!(far < 5.0, "Gaussian: {far} deviations apart");
    let unlike = apart(&ours, &laplaces);
    assert!(unlike > 20.0, "what is unlike is {unlike} deviations apart");
    Ok(())
}

fn cost(question: &str, price: &str) -> Result<Cost> {
    let kwh = Field {
        range: "0".parse().ok().zip("5".parse().ok()),
        ..Field::default()
    };
    let set = DataSet {
        fields: [("kwh".to_owned(), kwh)].into(),
        contribution: Contribution {
            per: 86_400,
            records: 96,
        },
    };
    let price = price.parse().map_err(anyhow::Error::msg)?;
    let question = Question::parse(question)?;
    Ok(Plan::new(&question, &set, price, 1_790_000_000)?.cost())
}

/// The parts of a price, so many times: what kind of noise, and the epsilon of each.
fn events(cost: Cost, times: u32) -> Result<Vec<Value>> {
    let cost = serde_json::to_value(cost)?;
    let number = |name: &str| cost[name].as_f64().context("a number");
    let (pure, squares) = (number("pure")? / 1e6, number("pure_squared")? / 1e12);
    let gaussian = number("gaussian_squared")? / 1e12;
    let mut events = Vec::new();
    if pure > 0.0 {
        // Equal parts: their sum and the sum of their squares say how many.
        events.push(json!([
            "laplace",
            squares / pure,
            f64::round(pure * pure / squares) * f64::from(times)
        ]));
    }
    if gaussian > 0.0 {
        // One release of the same ρ.
        events.push(json!(["gaussian", gaussian.sqrt(), times]));
    }
    Ok(events)
}

#[test]
fn dp_accounting_says_that_answers_cost_no_more_than_our_account() -> Result<()> {
    if without(&["python3", "pycanon"]) {
        return Ok(());
    }
    for asked in [
        &[("count", "0.01", 1_000)][..],
        &[("mean kwh", "0.1", 5)],
        &[("mean kwh per 1h", "0.2", 20)],
        &[("count", "0.02", 100), ("count per 1h", "0.3", 10)],
    ] {
        let mut account = Account::default();
        let mut all = Vec::new();
        let mut sum = 0.0;
        for (question, price, times) in asked {
            let cost = cost(question, price)?;
            for _ in 0..*times {
                account = account.and(cost).context("an account")?;
            }
            sum += f64::from(*times) * price.parse::<f64>()?;
            all.extend(events(cost, *times)?);
        }
        let said = super::judge(&["account", &Value::from(all).to_string(), "1e-8"])?;
        let ours = f64::from(account.spent());
        let (exact, concentrated) = (
            said["exact"].as_f64().context("a number")?,
            said["concentrated"].as_f64().context("a number")?,
        );
        say(&format!(
            "{asked:?}: ours {ours}, dp-accounting {said}, plain sum {sum}"
        ));
        assert!(
            exact <= ours * 1.000_1,
            "{asked:?}: {exact} is more than {ours}"
        );
        let best = concentrated.min(sum);
        assert!(
            ours <= best * 1.01,
            "{asked:?}: {ours}, but {best} would do"
        );
    }
    Ok(())
}
