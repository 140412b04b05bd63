//! From the bus to an answer, with the embedded journal and store.

mod backup;
mod blocks;
mod place;
mod readers;
mod release;
mod stat;
mod stolen;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stockade_store::telemetry::Record;
use stockade_store::{Bus as _, Seq, Stream};
use stockade_vault::{Ingested, Query, Value};
use tempfile::TempDir;
use time::{Duration as Span, OffsetDateTime};

use self::place::{NOW, Place, now, of, open, record, subject};

#[test]
fn what_a_device_sends_comes_out_treated() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    let payload = br#"{"location": {"lat": 47.3769, "lon": 8.5417}, "confidence": 0.9, "owner-email": "a@example.org",
                       "clip": "c2VjcmV0", "heart-rate": 71, "device": "somebody-else"}"#;
    place.send(&record("porch", "motion", payload));
    assert_eq!(
        place.ingest(),
        Ingested {
            stored: 1,
            ..Ingested::default()
        }
    );
    assert_eq!(place.ingest(), Ingested::default(), "each message once");

    let mut records = place.all(&of("motion"));
    let pseudonym = records[0]
        .fields
        .insert("device".to_owned(), Value::Text("(pseudonym)".into()));
    // The gateway says who sent it, not the payload.
    place.send(&record("porch", "motion", br#"{"confidence": 1}"#));
    place.ingest();
    let again = place.all(&of("motion"))[1].fields.remove("device");
    assert_eq!(again, pseudonym);
    insta::assert_snapshot!(serde_json::to_string_pretty(&records).unwrap(), @r#"
    [
      {
        "number": 1,
        "schema": "motion",
        "stored": "2026-09-21",
        "fields": {
          "confidence": 0.9,
          "device": "(pseudonym)",
          "location": {
            "lat": 47.377893,
            "lon": 8.544535
          },
          "time": "2026-09-21T14:13:00Z"
        },
        "withheld": [
          "clip"
        ]
      }
    ]
    "#);

    insta::assert_snapshot!(serde_json::to_string_pretty(&place.vault.counters()).unwrap(), @r#"
    {
      "motion": {
        "stored": 2,
        "refused": {},
        "unnamed": {
          "heart-rate": 1
        },
        "dropped": {
          "owner-email": 1
        },
        "wrong_shape": {},
        "sealed": {
          "clip": 1
        }
      }
    }
    "#);
}

#[test]
fn what_cannot_be_treated_is_refused_counted_and_does_not_block_the_stream() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    place.journal.append(Stream::Telemetry, b"rubbish").unwrap();
    let clear = record("a", "bare", br#"{"number": 1}"#).encode();
    place.journal.append(Stream::Telemetry, &clear).unwrap();
    let refused = place.bus.append(Stream::Telemetry, &clear).unwrap_err();
    insta::assert_snapshot!(refused, @"the journal takes no records: what devices send cannot be sealed: telemetry that was not treated is not taken");
    place.send(&Record {
        model: "unknown".into(),
        ..record("a", "motion", b"{}")
    });
    place.send(&record("a", "no-such", b"{}"));
    place.send(&record("a", "motion", b"motion!"));
    place.send(&record(
        "a",
        "motion",
        br#"{"confidence": 1, "confidence": 2}"#,
    ));
    place.send(&record("a", "bare", br#"{"other": 1}"#));
    place.send(&record("a", "bare", br#"{"number": 1}"#));
    assert_eq!(
        place.ingest(),
        Ingested {
            stored: 1,
            refused: 7,
            repeated: 0,
        }
    );
    let refused: BTreeMap<_, _> = place
        .vault
        .counters()
        .into_iter()
        .map(|(schema, counters)| (schema, counters.refused))
        .collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&refused).unwrap(), @r#"
    {
      "(unknown)": {
        "changed on the bus, or its key is gone": 2,
        "unknown data set": 1,
        "unknown model": 1
      },
      "bare": {
        "no field left to store": 1
      },
      "motion": {
        "malformed, or beyond the limits": 1,
        "neither a JSON object nor a CBOR map": 1
      }
    }
    "#);
}

#[test]
fn counters_by_name_cannot_be_filled_by_a_device() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    for number in 0..100 {
        let payload =
            format!(r#"{{"number": 1, "field-{number}": 1, "Alice Smith <a@example.org>": 1}}"#);
        place.append(&record("a", "bare", payload.as_bytes()));
    }
    place.settle();
    assert_eq!(place.ingest().stored, 100);
    let unnamed = &place.vault.counters()["bare"].unnamed;
    assert_eq!(
        (unnamed.len(), unnamed["(others)"], unnamed["field-0"]),
        (64, 100 + 37, 1)
    );
    assert!(unnamed.keys().all(|name| !name.contains("Alice")));
}

/// Thirty minutes of two devices.
fn half_an_hour(dir: &Path) -> Place {
    let place = open(dir);
    for number in 0..30_i64 {
        let mut record = record(
            if number % 3 == 0 { "porch" } else { "garden" },
            "motion",
            br#"{"confidence": 1}"#,
        );
        record.at_unix_ms += number * 60_000;
        place.append(&record);
        let other = format!(r#"{{"number": {number}}}"#);
        place.append(&self::record("porch", "bare", other.as_bytes()));
    }
    place.settle();
    assert_eq!(place.ingest().stored, 60);
    place
}

#[test]
fn queries_select_by_device_and_time() {
    let dir = TempDir::new().unwrap();
    let place = half_an_hour(dir.path());
    let all = of("motion");
    let count = |query: &Query| place.page(query).records.len();
    assert_eq!(count(&all), 30);
    let of_porch = Query {
        subject: Some(subject("porch")),
        ..all.clone()
    };
    assert_eq!(count(&of_porch), 10);
    assert_eq!(
        count(&Query {
            subject: Some(subject("attic")),
            ..all.clone()
        }),
        0
    );

    let start = OffsetDateTime::from_unix_timestamp(NOW - NOW % 60).unwrap();
    let between = Query {
        from: Some(start + Span::minutes(5)),
        to: Some(start + Span::minutes(10)),
        ..all.clone()
    };
    assert_eq!(count(&between), 5);
    // Without a time nothing can be said of when.
    assert_eq!(
        count(&Query {
            schema: "bare".into(),
            ..between
        }),
        0
    );
    assert_eq!(place.page(&of("no-such")).records, []);
}

#[test]
fn a_query_goes_on_where_it_stopped() {
    let dir = TempDir::new().unwrap();
    let place = half_an_hour(dir.path());
    let of_porch = Query {
        subject: Some(subject("porch")),
        ..of("motion")
    };
    for newest_first in [false, true] {
        let mut query = Query {
            limit: 4,
            newest_first,
            ..of_porch.clone()
        };
        let mut numbers = Vec::new();
        loop {
            let page = place.page(&query);
            assert!(page.records.len() <= 4);
            numbers.extend(page.records.iter().map(|record| record.number));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let mut ordered = numbers.clone();
        ordered.sort_unstable();
        ordered.dedup();
        if newest_first {
            ordered.reverse();
        }
        assert_eq!((numbers.len(), &numbers), (10, &ordered));
    }
}

#[test]
fn the_day_of_storing_is_no_finer_than_the_time() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    place.send(&record("a", "bare", br#"{"number": 1}"#));
    place.ingest();
    assert_eq!(place.all(&of("bare"))[0].stored, "2026-09-21");
}

#[test]
fn a_journal_that_begins_anew_is_taken_from_its_start() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    for _ in 0..3 {
        place.send(&record("a", "bare", br#"{"number": 1}"#));
    }
    place.ingest();
    drop(place);
    fs_err::remove_dir_all(dir.path().join("journal")).unwrap();
    let place = open(dir.path());
    place.send(&record("a", "bare", br#"{"number": 2}"#));
    assert_eq!(place.ingest().stored, 1);
    assert_eq!(
        place.all(&of("bare")).len(),
        4,
        "and nothing stored is written over"
    );
}

#[test]
fn treated_telemetry_frees_the_journal() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    let payload = format!(r#"{{"number": "{}"}}"#, "y".repeat(1_000));
    for _ in 0..100 {
        place.send(&record("a", "bare", payload.as_bytes()));
    }
    let segments = || {
        fs_err::read_dir(dir.path().join("journal"))
            .unwrap()
            .count()
    };
    assert!(segments() > 3);
    place.ingest();
    assert_eq!(segments(), 1);
    assert!(
        place
            .bus
            .read(Stream::Sessions, Seq::ZERO, 1)
            .unwrap()
            .is_empty()
    );
}

const DIR: &str = "STOCKADE_TEST_VAULT";

/// Not a test by itself: the process that gets killed. It numbers its messages on from what is stored.
#[test]
#[ignore = "the child process of the test below"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let place = open(Path::new(&dir));
    place.ingest();
    let first = place
        .vault
        .counters()
        .get("bare")
        .map_or(0, |counters| counters.stored);
    for number in first.. {
        let payload = format!(r#"{{"number": {number}}}"#);
        place.append(&record("a", "bare", payload.as_bytes()));
        if number % 50 == 0 {
            place.settle();
            place.ingest();
        }
        if number % 500 == 0 {
            place.vault.tidy(now()).unwrap();
        }
    }
}

#[test]
fn each_message_is_stored_exactly_once_over_kill_9() {
    let dir = TempDir::new().unwrap();
    for round in 0..15_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::park_timeout(Duration::from_millis(80 + round * 17 % 100));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let place = open(dir.path());
    place.ingest();
    let numbers: Vec<_> = place
        .all(&of("bare"))
        .into_iter()
        .map(|mut record| record.fields.remove("number"))
        .collect();
    let wanted: Vec<_> = (0..numbers.len())
        .map(|number| Some(Value::Integer(i128::try_from(number).unwrap())))
        .collect();
    assert_eq!(numbers, wanted, "none lost, none twice, in order");
    assert!(
        numbers.len() > 10,
        "the rounds did some work: {}",
        numbers.len()
    );
    assert_eq!(place.vault.counters()["bare"].stored, numbers.len() as u64);
}
