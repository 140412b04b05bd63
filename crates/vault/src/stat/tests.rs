//! The ledger: what is paid stays paid, whoever asks, whatever dies.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_lc_rs::hmac;
use stockade_dp::{Answer, Epsilon, Plan, Question};
use stockade_profile::{Profile, parse};
use stockade_store::{Batch, Scan, Sqlite, Store as _};
use time::{Duration, OffsetDateTime};

use super::facts::Facts;
use super::ledger::{ANSWERS, LEDGERS, Ledgers, Spent};
use crate::vault::VaultError;

/// Set where this program is started again, to ask by itself: the directory, a name, how often.
const CHILD: &str = "STOCKADE_TEST_ASKS";

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
[data.meter]
time = { use = "generalise", to = "15min" }
kwh = { use = "keep", range = [0, 5] }
region = { use = "keep", hierarchy = { north = ["ch"], south = ["ch"] } }
town = { use = "generalise", to = "level 1", hierarchy = { "8001" = ["zurich"], "8002" = ["zurich"], "3000" = ["bern"] } }
serial = { use = "pseudonym", scope = "dataset" }
spot = { use = "generalise", to = "1km" }
owner = { use = "drop" }
[vault.meter]
contribution = { per = "1d", records = 96 }
budget = { epsilon = "0.5", per = "7d" }
"#;

fn profile() -> Profile {
    parse(PROFILE).unwrap_or_else(|error| panic!("{error:?}"))
}

fn facts(profile: &Profile) -> Facts {
    Facts::of("meter", &profile.data["meter"], &profile.vault["meter"])
}

/// 2026-09-21 14:13:20 UTC.
fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a date")
}

fn open(dir: &Path) -> Sqlite {
    Sqlite::open(&dir.join("state.db")).expect("a store")
}

fn ledgers(store: &Sqlite) -> Ledgers<'_> {
    Ledgers::new(store, hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]))
}

fn plan(facts: &Facts, question: &str, price: &str) -> Plan {
    let question = Question::parse(question).expect("a question");
    let price: Epsilon = price.parse().expect("a price");
    Plan::new(&question, &facts.set, price, now().unix_timestamp()).expect("a plan")
}

/// An answer to pay for; what is in it does not matter to the ledger.
fn answer(plan: &Plan) -> Answer {
    Answer {
        question: plan.question().to_string(),
        cells: Vec::new(),
        statement: plan.statement(),
    }
}

/// Pays for a question; whether the budget did.
fn pay(store: &Sqlite, question: &str, price: &str, at: OffsetDateTime) -> bool {
    let facts = facts(&profile());
    let plan = plan(&facts, question, price);
    let ledgers = ledgers(store);
    let place = ledgers.place("meter", &plan.canonical());
    let spent = ledgers.spend(&facts, plan.cost(), &place, &answer(&plan), at);
    matches!(spent.expect("a ledger"), Spent::Paid(_))
}

#[test]
fn the_profile_says_what_can_be_asked_and_what_it_may_cost() {
    let facts = facts(&profile());
    insta::assert_debug_snapshot!(facts);
}

#[test]
fn what_was_spent_stays_spent_and_what_is_beyond_the_budget_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for hour in 0..5 {
        // Each time from the disk anew.
        let store = open(dir.path());
        assert!(pay(
            &store,
            &format!("count where kwh > {hour}"),
            "0.1",
            now()
        ));
    }
    let store = open(dir.path());
    assert!(!pay(&store, "count", "0.1", now()), "0.5 is spent");
    assert!(!pay(&store, "count", "0.001", now()));
    let budget = ledgers(&store)
        .budget(&facts(&profile()), now())
        .expect("a ledger");
    assert_eq!((budget.answers, budget.refused), (5, 2));
    assert_eq!(
        (budget.spent.millionths(), budget.left.millionths()),
        (500_000, 0)
    );
}

#[test]
fn a_budget_is_full_again_when_its_time_is_over_and_not_by_a_clock_turned_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(pay(&store, "count", "0.5", now()));
    for days in [-4_000, -8, -1, 0, 1, 6] {
        let at = now() + Duration::days(days);
        assert!(!pay(&store, "sum kwh", "0.1", at), "after {days} days");
    }
    assert!(pay(&store, "sum kwh", "0.5", now() + Duration::days(7)));
    let facts = facts(&profile());
    let place = ledgers(&store).place("meter", &plan(&facts, "count", "0.5").canonical());
    let old = ledgers(&store).answered(&place).expect("a ledger");
    assert!(old.is_none(), "the old budget's answers are free no more");
    assert!(!pay(&store, "count", "0.1", now() + Duration::days(-1)));
}

#[test]
fn an_answer_is_kept_as_it_was_given_and_where_nobody_reads_the_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(pay(&store, "count where town = zurich", "0.1", now()));
    let facts = facts(&profile());
    let plan = plan(&facts, "count   where town=zurich", "0.1");
    let place = ledgers(&store).place("meter", &plan.canonical());
    let (kept, at) = ledgers(&store)
        .answered(&place)
        .expect("a ledger")
        .expect("paid");
    assert_eq!((kept, at), (answer(&plan), now()));
    for table in [LEDGERS, ANSWERS] {
        for (key, row) in store.scan(table, Scan::all()).expect("rows") {
            let row = String::from_utf8_lossy(&[key, row].concat()).into_owned();
            assert!(!row.contains("zurich") && !row.contains("count"), "{row}");
        }
    }
}

#[test]
fn a_ledger_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(pay(&store, "count", "0.5", now()));
    let mut row = store
        .get(LEDGERS, b"meter")
        .expect("a store")
        .expect("a row");
    *row.last_mut().expect("bytes") ^= 1;
    let mut batch = Batch::new();
    batch.put(LEDGERS, "meter", row);
    store.commit(batch).expect("a store");
    let budget = ledgers(&store).budget(&facts(&profile()), now());
    assert!(
        matches!(budget, Err(VaultError::Damaged { .. })),
        "{budget:?}"
    );
}

/// Asks again and again in a process of its own, and says after each answer that it has it.
#[test]
fn child_asks_until_it_is_stopped() {
    let Ok(wanted) = std::env::var(CHILD) else {
        return;
    };
    let [dir, name, times] = wanted.split('|').collect::<Vec<_>>()[..] else {
        panic!("{wanted}");
    };
    let store = open(Path::new(dir));
    for time in 0..times.parse().expect("a number") {
        let question = format!("count where town = {name}{time}");
        println!(
            "\n{}",
            if pay(&store, &question, "0.02", now()) {
                "paid"
            } else {
                "refused"
            }
        );
    }
}

fn child(dir: &Path, name: &str, times: u32) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "stat::tests::child_asks_until_it_is_stopped",
            "--nocapture",
        ])
        .env(CHILD, format!("{}|{name}|{times}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

/// What the child said until its end, or until it said so much.
fn heard(child: &mut Child, most: usize) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines
        .map_while(Result::ok)
        .filter(|line| line == "paid" || line == "refused")
        .take(most)
        .collect()
}

#[test]
fn two_processes_share_a_budget_and_one_that_is_killed_got_nothing_unpaid() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let mut killed = child(dir.path(), "a", 1_000);
    let mut other = child(dir.path(), "b", 30);
    let got = heard(&mut killed, 5);
    killed.kill().expect("killed");
    killed.wait().expect("gone");
    let others = heard(&mut other, usize::MAX);
    assert!(other.wait().expect("ended").success());

    let store = open(dir.path());
    let budget = ledgers(&store)
        .budget(&facts(&profile()), now())
        .expect("a ledger");
    let count = |lines: &[String]| lines.iter().filter(|line| *line == "paid").count();
    let given = u64::try_from(count(&got) + count(&others)).expect("few");
    assert!(given >= 5, "{given}");
    // What the killed one still paid before it died, and did not hear of, is not counted here.
    assert!(
        budget.answers >= given,
        "{} paid, {given} given",
        budget.answers
    );
    let kept = store.scan(ANSWERS, Scan::all()).expect("rows").len();
    assert_eq!(budget.answers, u64::try_from(kept).expect("few"));
    assert!(budget.spent <= budget.epsilon);
    assert_eq!(
        others.last().map(String::as_str),
        Some("refused"),
        "both together were too much"
    );
}
