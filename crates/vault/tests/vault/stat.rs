//! Aggregates of a vault with data in it: who may ask, what it costs all of them, and what the log tells.

use stockade_vault::{Access, Action, Ask, Outcome, Refused, Role, StatError, VaultError};
use tempfile::TempDir;
use time::Duration;

use super::place::{NOW, Place, now, open, record};

const METER: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.meter]
time = { use = "generalise", to = "15min" }
kwh = { use = "keep", range = [0, 5] }
region = { use = "keep", hierarchy = { north = ["ch"], south = ["ch"] } }
owner = { use = "drop" }
[vault.meter]
contribution = { per = "1d", records = 4 }
budget = { epsilon = "10", per = "7d" }
"#;

const MEANS: &str = "mean kwh by region from 2026-09-21 to 2026-09-22";

/// 60 meters in the north at 1 kWh and 60 in the south at 3 kWh, four records each; and one that sends thousands of kWh.
fn meters(dir: &TempDir) -> Place {
    let place = open(dir.path());
    place.profiles.put("cam-2", METER);
    for meter in 0..121 {
        let (region, kwh) = [("north", 1.0), ("south", 3.0)][meter % 2];
        let kwh = if meter == 120 { 9_999.0 } else { kwh };
        for quarter in 0..4 {
            let payload = format!(r#"{{"kwh": {kwh}, "region": "{region}", "owner": "ann"}}"#);
            let device = format!("meter-{meter}");
            let mut record = record(&device, "meter", payload.as_bytes());
            record.at_unix_ms = (NOW - quarter * 900) * 1_000;
            place.append(&record);
        }
    }
    place.settle();
    assert_eq!(place.ingest().stored, 484);
    place
}

fn who(who: &str, role: Role) -> Access {
    Access {
        who: who.to_owned(),
        role,
        purpose: None,
    }
}

fn ask(question: &str, price: &str) -> Ask {
    Ask {
        schema: "meter".to_owned(),
        question: question.to_owned(),
        epsilon: Some(price.parse().expect("a price")),
        again: false,
    }
}

#[test]
fn who_gets_noise_gets_no_exact_totals_and_asks_for_no_device_by_its_name() {
    let dir = TempDir::new().expect("a directory");
    let place = meters(&dir);
    let ada = who("ada", Role::Analyst);
    assert!(ada.may(Action::Counters, &[]).is_err());
    assert!(place.vault.releases(&ada, "meter", now()).is_err());
    assert_eq!(place.vault.budgets(&ada, now()).expect("budgets").len(), 1);

    place.profiles.put(
        "cam-2",
        &METER.replace("[vault.meter]", "[vault.meter]\npurposes = [\"repair\"]"),
    );
    let ada = Access {
        purpose: Some("repair".to_owned()),
        ..ada
    };
    let mut query = super::place::of("meter");
    assert!(place.vault.query(&ada, &query, now()).is_ok());
    query.subject = Some(super::place::subject("meter-1"));
    let refused = place.vault.query(&ada, &query, now());
    assert!(
        matches!(refused, Err(VaultError::Refused(Refused::Named { .. }))),
        "{refused:?}"
    );
    let entries = place.vault.log().entries(0, 100).expect("a log");
    let last = &entries.last().expect("an entry").1;
    assert_eq!(last.reason.as_deref(), Some("named"));
    assert_eq!((last.outcome, &last.subject), (Outcome::Refused, &None));
    let operator = Access {
        role: Role::Operator,
        ..ada
    };
    let page = place.vault.query(&operator, &query, now()).expect("a page");
    assert_eq!(page.records.len(), 4);
}

#[test]
fn what_is_asked_is_answered_near_the_truth_and_the_same_again_is_free() {
    let dir = TempDir::new().expect("a directory");
    let place = meters(&dir);
    let ada = who("ada", Role::Analyst);
    let told = place.vault.stat(&ada, &ask(MEANS, "5"), now());
    let told = told.expect("an answer");
    let means: Vec<f64> = told.answer.cells.iter().filter_map(|it| it.value).collect();
    assert!(
        (means[0] - 1.0).abs() < 0.4 && (means[1] - 3.0).abs() < 0.4,
        "{means:?}"
    );
    assert_eq!(told.budget.left.to_string(), "5");

    // Averaging what is asked again and again gains nothing: it is the same answer, for anybody, also after a restart.
    drop(place);
    let place = open(dir.path());
    place.profiles.put("cam-2", METER);
    let bob = who("bob", Role::Operator);
    for _ in 0..20 {
        let again = place
            .vault
            .stat(&bob, &ask(&MEANS.replace(' ', "  "), "5"), now());
        let again = again.expect("an answer");
        assert!(again.again);
        assert_eq!(again.answer, told.answer);
        assert_eq!(again.budget, told.budget);
    }
    // Who wants another must pay.
    let mut paid = ask(MEANS, "5");
    paid.again = true;
    let other = place.vault.stat(&bob, &paid, now()).expect("an answer");
    assert_ne!(other.answer.cells, told.answer.cells);
    assert_eq!(other.budget.left.to_string(), "0");
}

#[test]
fn many_analysts_exhaust_one_budget_together_and_the_log_tells_of_each() {
    let dir = TempDir::new().expect("a directory");
    let place = meters(&dir);
    let mut paid = 0;
    for analyst in 0..12 {
        let access = who(&format!("analyst-{analyst}"), Role::Analyst);
        let asked = ask(
            &format!("count where kwh > {}", f64::from(analyst) / 10.0),
            "1",
        );
        match place.vault.stat(&access, &asked, now()) {
            Ok(_) => paid += 1,
            Err(StatError::Exhausted { budget, .. }) => assert_eq!(budget.answers, 10),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(paid, 10, "the budget is 10, and each asked once for 1");
    let auditor = who("eve", Role::Auditor);
    let budgets = place.vault.budgets(&auditor, now()).expect("budgets");
    assert_eq!((budgets[0].answers, budgets[0].refused), (10, 2));

    let entries = place.vault.log().entries(0, 100).expect("entries");
    let told: Vec<_> = entries
        .iter()
        .filter(|(_, entry)| entry.action == Action::Stat)
        .map(|(_, entry)| (entry.who.as_str(), entry.outcome, entry.budget.as_deref()))
        .collect();
    assert_eq!(told[9], ("analyst-9", Outcome::Done, Some("1")));
    assert_eq!(told[10], ("analyst-10", Outcome::Refused, None));
    assert_eq!(told.len(), 12);
    let week = now() + Duration::days(7);
    assert!(
        place
            .vault
            .stat(&who("ada", Role::Analyst), &ask("sum kwh", "1"), week)
            .is_ok()
    );
}

#[test]
fn who_may_not_is_refused_and_so_is_what_cannot_be_asked() {
    let dir = TempDir::new().expect("a directory");
    let place = meters(&dir);
    let auditor = who("eve", Role::Auditor);
    let refused = place.vault.stat(&auditor, &ask("count", "1"), now());
    assert!(matches!(
        refused,
        Err(StatError::Vault(VaultError::Refused(Refused::Role { .. })))
    ));
    let ada = who("ada", Role::Analyst);
    let wrong = |asked: Ask| {
        let wrong = place.vault.stat(&ada, &asked, now());
        wrong.expect_err("refused").to_string()
    };
    insta::assert_snapshot!(wrong(ask("mean owner", "1")), @"at column 6: `owner` is never stored; possible: the fields are: kwh, region, time");
    insta::assert_snapshot!(wrong(ask("average kwh", "1")), @"at column 1: `average` is no question; possible: `count`, `count subjects`, `sum FIELD`, `mean FIELD`, `histogram FIELD by STEP` or `quantile 0.9 of FIELD`");
    insta::assert_snapshot!(wrong(ask("count", "0.0001")), @"an answer costs from 0.001 to 10; name a price in between");
    let mut elsewhere = ask("count", "1");
    elsewhere.schema = "nothing".to_owned();
    insta::assert_snapshot!(wrong(elsewhere), @"there is no data set `nothing`; there is meter");
    let budgets = place.vault.budgets(&ada, now()).expect("budgets");
    assert_eq!(
        budgets[0].spent.to_string(),
        "0",
        "none of that cost anything"
    );
}
