//! Releases of a vault with data in it: what passes, what is refused, what is remembered, and what the log tells.

use stockade_vault::{
    Access, Action, Count, Formulas, Outcome, ReleaseAsk, ReleaseError, Role, VaultError,
};
use tempfile::TempDir;

use super::place::{NOW, Place, now, open, record, subject};

const HOME: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.home]
device = { use = "pseudonym", scope = "dataset" }
time = { use = "generalise", to = "1h" }
region = { use = "keep", role = "quasi", hierarchy = { "8001" = ["zurich"], "8002" = ["zurich"], "1201" = ["geneva"], "1202" = ["geneva"] } }
rooms = { use = "keep", role = "quasi", range = [1, 12] }
heating = { use = "keep", role = "sensitive" }
kwh = { use = "keep", role = "ROLE", range = [0, 50] }
[vault.home]
release = { k = 10, l = 2, t = "0.5", suppress = "10%" }
"#;

/// 240 homes, four records each over four days.
fn homes(dir: &TempDir, role_of_kwh: &str) -> Place {
    let place = open(dir.path());
    place
        .profiles
        .put("cam-2", &HOME.replace("ROLE", role_of_kwh));
    for home in 0..240_u32 {
        let region = ["8001", "8002", "1201", "1202"][home as usize % 4];
        let heating = ["gas", "oil", "wood"][home as usize / 4 % 3];
        for day in 0..4 {
            let kwh = f64::from(home % 60) * 0.5 + f64::from(day) * 0.01;
            let payload = format!(
                r#"{{"region": "{region}", "rooms": {}, "heating": "{heating}", "kwh": {kwh}}}"#,
                2 + home / 8 % 6
            );
            let device = format!("home-{home}");
            let mut record = record(&device, "home", payload.as_bytes());
            record.at_unix_ms = (NOW - i64::from(day) * 86_400) * 1_000;
            place.append(&record);
        }
    }
    place.settle();
    assert_eq!(place.ingest().stored, 960);
    place
}

fn who(role: Role) -> Access {
    Access {
        who: "ada".to_owned(),
        role,
        purpose: None,
    }
}

fn ask() -> ReleaseAsk {
    ReleaseAsk {
        schema: "home".to_owned(),
        ..ReleaseAsk::default()
    }
}

#[test]
fn a_release_is_of_k_devices_each_remembered_logged_and_shown_as_it_is_told() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "direct");
    let release = place
        .vault
        .release(&who(Role::Operator), &ask(), now())
        .unwrap();
    assert_eq!(release.refused, [""; 0]);
    assert_eq!(
        (release.product, release.number),
        ("anonymised release", Some(1))
    );
    assert!(
        release.k > 10 && release.after.k.number() >= release.k as usize,
        "{release:?}"
    );
    assert_eq!(release.columns, ["heating", "region", "rooms"]);
    assert_eq!(release.rows.len() + release.alone.number(), 240);
    assert!(
        release.omitted.contains(&"time".to_owned()) && release.omitted.contains(&"kwh".to_owned())
    );
    assert_eq!(
        release.csv(Formulas::Defused).lines().count(),
        release.rows.len() + 1
    );

    let entries = place.vault.log().entries(0, 10).unwrap();
    let (_, entry) = entries.last().unwrap();
    assert_eq!(
        (entry.action, entry.outcome),
        (Action::Release, Outcome::Done)
    );
    assert_eq!(entry.dataset.as_deref(), Some("home"));
    assert_eq!(entry.facts["release"], 1);

    // The same again tells nothing new, so nobody is left out for it.
    let again = place
        .vault
        .release(&who(Role::Operator), &ask(), now())
        .unwrap();
    assert_eq!(
        (again.number, again.earlier, again.overlaid),
        (Some(2), 1, Count::Exact(0))
    );
    assert!(again.crowd.is_some_and(|crowd| crowd.number() >= 10));
    assert_eq!(again.rows, release.rows);
    // Another cut of the same homes is held against both.
    let finer = ReleaseAsk {
        local: true,
        ..ask()
    };
    let other = place
        .vault
        .release(&who(Role::Operator), &finer, now())
        .unwrap();
    assert!(other.refused.is_empty() || other.number.is_none());
    let crowd = other.crowd.map(Count::number);
    assert!(crowd.is_none_or(|crowd| crowd >= 10), "{other:?}");
}

#[test]
fn an_analyst_is_told_no_exact_number_of_devices_by_risk_dry_run_refusal_or_error() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "quasi");
    let analyst = who(Role::Analyst);
    let dry = ReleaseAsk {
        dry_run: true,
        ..ask()
    };
    let told = |risk| serde_json::to_value(risk).unwrap();
    let risk = place.vault.risk(&analyst, &ask(), now()).unwrap();
    assert!(risk.rounded);
    let risk = told(risk);
    assert_eq!(risk["stored"]["subjects"], 240);
    assert_eq!(risk["stored"]["k"], "fewer than 10");
    assert_eq!(risk["stored"].get("sizes"), None);
    let trial = place.vault.release(&analyst, &dry, now()).unwrap();
    assert!(trial.rounded && trial.rows.is_empty());
    assert_eq!(
        serde_json::to_value(&trial).unwrap()["after"]["unique"],
        "fewer than 10"
    );

    // Two homes fewer, one in each of the days that are asked for: nobody sees them go.
    for home in ["home-3", "home-4"] {
        place
            .vault
            .erase(
                &who(Role::Operator),
                &subject(home),
                false,
                || Ok(None),
                now(),
            )
            .unwrap();
    }
    let after = told(place.vault.risk(&analyst, &ask(), now()).unwrap());
    for number in [
        "subjects",
        "classes",
        "k",
        "unique",
        "average-risk",
        "highest-risk",
    ] {
        assert_eq!(after["stored"][number], risk["stored"][number], "{number}");
    }
    assert_eq!(after["linkage"], risk["linkage"]);
    let exact = place
        .vault
        .risk(&who(Role::Auditor), &ask(), now())
        .unwrap();
    assert_eq!(
        (exact.rounded, exact.stored.subjects),
        (false, Count::Exact(238))
    );

    // A k of one's own counts in steps: 238 homes are 235 to it.
    let with_k = |access: &Access, k| {
        let ask = ReleaseAsk {
            k: Some(k),
            suppress: Some(0.0),
            ..dry.clone()
        };
        place.vault.release(access, &ask, now())
    };
    assert_eq!(with_k(&analyst, 231).unwrap().goal.k, 235);
    let error = with_k(&analyst, 236).unwrap_err().to_string();
    assert!(
        error.starts_with("there is no such release: ") && !error.contains(char::is_numeric),
        "{error}"
    );
    let exact = with_k(&who(Role::Operator), 239).unwrap_err().to_string();
    assert!(exact.contains("it has 238 subjects"), "{exact}");
}

#[test]
fn an_analyst_is_told_of_one_device_in_a_time_as_of_none_and_that_it_was_asked_is_in_the_log() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "quasi");
    let analyst = who(Role::Analyst);
    let hour = 3_600;
    let mut late = record(
        "home-7",
        "home",
        br#"{"region": "8001", "rooms": 3, "kwh": 1}"#,
    );
    late.at_unix_ms = (NOW + 2 * hour) * 1_000;
    place.append(&late);
    place.settle();
    assert_eq!(place.ingest().stored, 1);
    let since = |from: i64| {
        let ask = ReleaseAsk {
            from: Some(time::OffsetDateTime::from_unix_timestamp(from).unwrap()),
            ..ask()
        };
        let few = place.vault.risk(&analyst, &ask, now()).unwrap_err();
        let entries = place.vault.log().entries(0, 1_000).unwrap();
        let (_, entry) = entries.last().unwrap();
        assert_eq!(
            (entry.action, entry.outcome, entry.reason.as_deref()),
            (Action::Risk, Outcome::Refused, Some("few"))
        );
        few.to_string()
    };
    assert_eq!(since(NOW + hour), since(NOW + 9 * hour));
    assert_eq!(
        since(NOW + hour),
        "fewer than 10 devices sent a record of `home` in that time"
    );
}

#[test]
fn what_stays_with_a_home_is_found_again_and_refused_with_the_number() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "free");
    let release = place
        .vault
        .release(&who(Role::Operator), &ask(), now())
        .unwrap();
    assert_eq!((release.number, release.rows.len()), (None, 0));
    let found = release.linkage.unwrap();
    assert!(found.found > found.limit && found.limit < 0.05, "{found:?}");
    assert!(
        release.refused[0].starts_with("the linkage test found "),
        "{:?}",
        release.refused
    );
    let entries = place.vault.log().entries(0, 10).unwrap();
    let (_, entry) = entries.last().unwrap();
    assert_eq!(
        (entry.outcome, entry.reason.as_deref()),
        (Outcome::Refused, Some("gate"))
    );
    // Nothing left, so nothing is remembered.
    let dry = ReleaseAsk {
        dry_run: true,
        ..ask()
    };
    let dry = place
        .vault
        .release(&who(Role::Operator), &dry, now())
        .unwrap();
    assert_eq!(dry.earlier, 0);
}

#[test]
fn the_risk_of_what_is_stored_is_told_beside_what_a_release_makes_of_it() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "quasi");
    let risk = place
        .vault
        .risk(&who(Role::Auditor), &ask(), now())
        .unwrap();
    assert_eq!(risk.stored.subjects, Count::Exact(240));
    assert!(risk.singled_out > Some(0.9), "{risk:?}");
    assert!(risk.linkage.unwrap().found > 0.5);
    let released = risk.released.unwrap();
    assert!(released.after.k.number() >= 10 && released.rows.is_empty());
}

#[test]
fn laxer_than_the_profile_the_wrong_role_and_no_such_data_are_refused() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "direct");
    let refused = |change: fn(&mut ReleaseAsk)| {
        let mut ask = ask();
        change(&mut ask);
        place
            .vault
            .release(&who(Role::Operator), &ask, now())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(|ask| ask.k = Some(9)),
        "k 9 is laxer than the profile, which says 10"
    );
    assert_eq!(
        refused(|ask| ask.t = Some(0.6)),
        "t 0.6 is laxer than the profile, which says 0.5"
    );
    assert_eq!(
        refused(|ask| ask.t = Some(f64::NAN)),
        "t NaN is laxer than the profile, which says 0.5"
    );
    assert_eq!(
        refused(|ask| ask.schema = "none".into()),
        "there is no data set `none`; there is home"
    );
    assert_eq!(
        refused(|ask| ask.to = Some(time::OffsetDateTime::UNIX_EPOCH)),
        "no device sent a record of `home` in that time"
    );
    let unreachable = refused(|ask| ask.k = Some(241));
    assert!(
        unreachable.starts_with("there is no such release: "),
        "{unreachable}"
    );
    let auditor = place.vault.release(&who(Role::Auditor), &ask(), now());
    assert!(matches!(
        auditor,
        Err(ReleaseError::Vault(VaultError::Refused(_)))
    ));
}

#[test]
fn with_a_device_goes_what_the_ledger_has_of_it() {
    let dir = TempDir::new().unwrap();
    let place = homes(&dir, "direct");
    let first = place
        .vault
        .release(&who(Role::Operator), &ask(), now())
        .unwrap();
    let table = stockade_store::Table::new("vault.release-classes");
    let count = || {
        use stockade_store::Store as _;
        place
            .store
            .scan(table, stockade_store::Scan::all())
            .unwrap()
            .len()
    };
    assert_eq!(count(), first.rows.len());
    place
        .vault
        .erase(
            &who(Role::Operator),
            &subject("home-7"),
            false,
            || Ok(None),
            now(),
        )
        .unwrap();
    assert_eq!(count(), first.rows.len() - 1);
}
