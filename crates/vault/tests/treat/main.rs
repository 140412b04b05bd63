//! What the treatments promise, on examples and on anything.

mod attacks;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use stockade_profile::{Profile, ReaderName, Schema, parse};
use stockade_store::Sqlite;
use stockade_vault::{
    DataSetKeys, Dropped, Fields, Keys, ReaderKey, RootPlace, Treated, Treating, Value, decode,
    for_purpose, treat,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn profile(data: &str) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 1\nclass = \"linux\"\n[comms]\n\
         key = \"file\"\ncertificate-life = \"7d\"\n{data}"
    );
    parse(&text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn schema(fields: &str) -> Schema {
    profile(&format!("[data.motion]\n{fields}"))
        .data
        .remove("motion")
        .expect("the data set above")
}

fn vault() -> Keys {
    let dir = TempDir::new().expect("a directory");
    let store = Arc::new(Sqlite::open(&dir.path().join("state.sqlite")).expect("a store"));
    Keys::open(
        store,
        RootPlace::File(dir.path().join("root.key")),
        dir.path(),
    )
    .expect("keys")
}

static MOTION: LazyLock<DataSetKeys> =
    LazyLock::new(|| DataSetKeys::new(&vault(), "cam-2", "motion").expect("keys"));
static NOBODY: BTreeMap<ReaderName, ReaderKey> = BTreeMap::new();
/// Two subjects.
const PORCH: &[u8; 32] = &[1; 32];
const GARDEN: &[u8; 32] = &[2; 32];

const fn by<'a>(keys: &'a DataSetKeys, secret: &'a [u8; 32]) -> Treating<'a> {
    Treating {
        keys,
        secret,
        readers: &NOBODY,
        device: "porch",
        at: OffsetDateTime::UNIX_EPOCH,
    }
}

fn treated(fields: &str, json: &str) -> Treated {
    let fields_of = decode(json.as_bytes()).expect("a payload");
    treat(&schema(fields), fields_of, by(&MOTION, PORCH))
}

/// The stored field, as JSON.
fn stored(field: &str, json: &str) -> String {
    let name = field.split_whitespace().next().expect("a name");
    let treated = treated(field, json);
    match treated.fields.get(name) {
        Some(value) => serde_json::to_string(value).expect("a value"),
        None => format!("{:?}", treated.dropped),
    }
}

#[test]
fn each_field_is_treated_as_the_profile_says() {
    let fields = r#"
        confidence = { use = "keep" }
        owner-email = { use = "drop" }
        clip = { use = "seal", readers = ["owner"] }
        location = { use = "generalise", to = "1km" }
        level = { use = "generalise", to = "0.5" }
    "#;
    let payload = r#"{"confidence": [0.9, 1], "owner-email": "a@example.org", "clip": "AAAA", "location": "at home",
                      "level": 3.14, "heart-rate": 71}"#;
    let treated = treated(fields, payload);
    assert_eq!(
        serde_json::to_string(&treated.fields).unwrap(),
        r#"{"confidence":[0.9,1],"level":3.0}"#
    );
    let dropped = |name: &str, why| (name.to_owned(), why);
    assert_eq!(
        treated.dropped,
        [
            dropped("clip", Dropped::Sealed),
            dropped("heart-rate", Dropped::Unnamed),
            dropped("location", Dropped::WrongShape),
            dropped("owner-email", Dropped::ByProfile),
        ]
    );
}

#[test]
fn what_is_kept_has_no_fields_of_its_own() {
    let keep = r#"x = { use = "keep" }"#;
    assert_eq!(
        stored(keep, r#"{"x": [1, "a", null, true]}"#),
        r#"[1,"a",null,true]"#
    );
    for hidden in [
        r#"{"x": {"email": "a@b"}}"#,
        r#"{"x": [{"email": "a@b"}]}"#,
        r#"{"x": [["a@b"]]}"#,
    ] {
        assert_eq!(stored(keep, hidden), r#"[("x", WrongShape)]"#);
    }
}

#[test]
fn times_are_rounded_down_in_utc_whatever_form_they_come_in() {
    let minute = r#"time = { use = "generalise", to = "1min" }"#;
    for same in [
        r#""2026-09-21T14:13:20Z""#,
        r#""2026-09-21T16:13:59.999+02:00""#,
        "1790000000",
        "1790000000123",
        "1790000039.5",
    ] {
        assert_eq!(
            stored(minute, &format!(r#"{{"time": {same}}}"#)),
            r#""2026-09-21T14:13:00Z""#,
            "{same}"
        );
    }
    let day = r#"time = { use = "generalise", to = "1d" }"#;
    assert_eq!(
        stored(day, r#"{"time": 1790000000}"#),
        r#""2026-09-21T00:00:00Z""#
    );
    assert_eq!(
        stored(minute, r#"{"time": -1}"#),
        r#""1969-12-31T23:59:00Z""#
    );
    for wrong in [
        r#""yesterday""#,
        "true",
        "null",
        r#"{"at": 1}"#,
        "1e300",
        r#""2026-02-30T00:00:00Z""#,
    ] {
        assert_eq!(
            stored(minute, &format!(r#"{{"time": {wrong}}}"#)),
            r#"[("time", WrongShape)]"#,
            "{wrong}"
        );
    }
}

#[test]
fn numbers_are_rounded_down_to_the_step() {
    let level = |step: &str, number: &str| {
        stored(
            &format!(r#"level = {{ use = "generalise", to = "{step}" }}"#),
            &format!(r#"{{"level": {number}}}"#),
        )
    };
    assert_eq!(level("5", "17"), "15");
    assert_eq!(level("5", "-17"), "-20");
    assert_eq!(level("0.5", "17"), "17");
    assert_eq!(level("0.1", "0.3"), "0.3");
    assert_eq!(level("2.5", "7"), "5");
    assert_eq!(level("2.5", "3"), "2.5");
    assert_eq!(level("10", "18446744073709551615"), "18446744073709551610");
    // Its multiple is below what every format holds.
    assert_eq!(
        level("10", "-9223372036854775808"),
        r#"[("level", WrongShape)]"#
    );
    assert_eq!(level("5", r#""17""#), r#"[("level", WrongShape)]"#);
}

#[test]
fn a_place_becomes_the_middle_of_its_cell_and_nothing_else_of_it_stays() {
    let km = r#"location = { use = "generalise", to = "1km" }"#;
    let place = |json: &str| stored(km, &format!(r#"{{"location": {json}}}"#));
    let stored =
        place(r#"{"lat": 47.3769, "lon": 8.5417, "alt": 408, "street": "Bahnhofstrasse 1"}"#);
    assert_eq!(
        stored,
        place(r#"{"lat": 47.3771, "lon": 8.5419}"#),
        "neighbours share a cell"
    );
    assert!(
        !stored.contains("alt") && !stored.contains("street"),
        "{stored}"
    );
    assert_eq!(
        place(r#"{"lat": 0, "lon": 180}"#),
        place(r#"{"lat": 0, "lon": -180}"#),
        "the date line has two names"
    );
    for wrong in [
        r#"{"lat": 90.1, "lon": 0}"#,
        r#"{"lat": 0, "lon": 181}"#,
        r#"{"lat": 1}"#,
        "[47.3, 8.5]",
        r#""47,8""#,
    ] {
        assert_eq!(place(wrong), r#"[("location", WrongShape)]"#, "{wrong}");
    }
}

/// What the field `x` becomes.
fn one(treatment: &str, value: Value, by: Treating<'_>) -> Result<Value, Dropped> {
    let schema = schema(&format!("x = {treatment}"));
    let mut treated = treat(&schema, Fields::from([("x".to_owned(), value)]), by);
    treated
        .fields
        .remove("x")
        .ok_or_else(|| treated.dropped[0].1)
}

fn pseudonym(scope: &str, value: Value, by: Treating<'_>) -> String {
    let kept = one(
        &format!(r#"{{ use = "pseudonym", scope = {scope} }}"#),
        value,
        by,
    );
    let Ok(Value::Text(pseudonym)) = kept else {
        panic!("{kept:?}")
    };
    pseudonym
}

#[test]
fn a_pseudonym_holds_within_its_scope_and_for_one_subject() {
    let vault = vault();
    let keys = |model, schema| DataSetKeys::new(&vault, model, schema).unwrap();
    let here = keys("cam-2", "motion");
    let text = || Value::Text("porch".into());
    for (scope, in_data_set, in_model, in_fleet) in [
        (r#""device""#, true, true, false),
        (r#""dataset""#, true, false, false),
        (r#""purpose""#, true, false, false),
        (r#""model""#, true, true, false),
        (r#""fleet""#, true, true, true),
    ] {
        let of = |keys: &DataSetKeys, secret| pseudonym(scope, text(), by(keys, secret));
        let pseudonym = of(&here, PORCH);
        assert_eq!(
            pseudonym == of(&keys("cam-2", "motion"), PORCH),
            in_data_set
        );
        assert_eq!(pseudonym == of(&keys("cam-2", "health"), PORCH), in_model);
        assert_eq!(pseudonym == of(&keys("siren-1", "motion"), PORCH), in_fleet);
        assert_ne!(
            pseudonym,
            of(&here, GARDEN),
            "two subjects are never joined"
        );
        assert!(pseudonym.len() == 32 && !pseudonym.contains("porch"));
    }
    let other = DataSetKeys::new(&self::vault(), "cam-2", "motion").unwrap();
    assert_ne!(
        pseudonym(r#""fleet""#, text(), by(&here, PORCH)),
        pseudonym(r#""fleet""#, text(), by(&other, PORCH)),
        "another vault, another pseudonym"
    );
}

#[test]
fn a_pseudonym_of_a_window_ends_with_it() {
    let at = |seconds| Treating {
        at: OffsetDateTime::from_unix_timestamp(seconds).unwrap(),
        ..by(&MOTION, PORCH)
    };
    let of = |seconds| pseudonym(r#""window", window = "1d""#, Value::Integer(7), at(seconds));
    assert_eq!(of(0), of(86_399));
    assert_ne!(of(0), of(86_400));
    assert_ne!(of(0), of(-1));
}

#[test]
fn a_pseudonym_for_one_purpose_joins_neither_another_nor_what_is_stored() {
    let vault = vault();
    let stored = pseudonym(r#""purpose""#, Value::Integer(7), by(&MOTION, PORCH));
    let shown =
        |purpose: &[u8]| for_purpose(&vault.domain_key(&[b"purpose", purpose]).unwrap(), &stored);
    let all = BTreeSet::from([stored.clone(), shown(b"maintenance"), shown(b"research")]);
    assert_eq!(all.len(), 3);
    assert_eq!(shown(b"research"), shown(b"research"));
}

#[test]
fn values_of_different_kinds_have_different_pseudonyms() {
    let of = |value| {
        one(
            r#"{ use = "pseudonym", scope = "dataset" }"#,
            value,
            by(&MOTION, PORCH),
        )
    };
    let all: BTreeSet<_> = [
        Value::Text("1".into()),
        Value::Integer(1),
        Value::Bytes(b"1".to_vec()),
        Value::Bool(true),
        Value::Float(1.5),
    ]
    .map(|value| format!("{:?}", of(value).unwrap()))
    .into();
    assert_eq!(all.len(), 5);
    assert_eq!(of(Value::Float(0.0)), of(Value::Float(-0.0)));
    for nothing in [
        Value::Null,
        Value::List(vec![]),
        Value::Map(Fields::new()),
        Value::Float(f64::NAN),
    ] {
        assert_eq!(of(nothing), Err(Dropped::WrongShape));
    }
}

#[test]
fn a_format_is_preserved_and_undone_for_its_subject_only() {
    let phone = r#"{ use = "format-preserving", alphabet = "digits" }"#;
    let encrypted = |text: &str, secret| {
        one(phone, Value::Text(text.into()), by(&MOTION, secret)).map(|value| match value {
            Value::Text(text) => text,
            other => panic!("{other:?}"),
        })
    };
    let shown = encrypted("044 668-18.00", PORCH).unwrap();
    let shape: String = shown
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "000 000-00.00");
    assert_ne!(shown, "044 668-18.00");
    assert_ne!(encrypted("044 668-18.00", GARDEN).unwrap(), shown);
    let undone =
        |secret| MOTION.decrypt_format(secret, "x", stockade_profile::Alphabet::Digits, &shown);
    assert_eq!(undone(PORCH).unwrap(), "044 668-18.00");
    assert_ne!(undone(GARDEN).unwrap(), "044 668-18.00");
    // SP 800-38G r1: a million texts at least.
    for wrong in ["12345", "12a456", "", "１２３４５６", &"1".repeat(41)] {
        assert_eq!(encrypted(wrong, PORCH), Err(Dropped::WrongShape), "{wrong}");
    }
    let number = one(phone, Value::Integer(1_234_567), by(&MOTION, PORCH)).unwrap();
    assert!(matches!(number, Value::Text(text) if text.len() == 7));
}

#[test]
fn a_token_is_undone_for_its_subject_and_field_only() {
    let token = |value, secret| match one(r#"{ use = "token" }"#, value, by(&MOTION, secret)) {
        Ok(Value::Text(token)) => token,
        other => panic!("{other:?}"),
    };
    for value in [
        Value::Text("a@example.org".into()),
        Value::Text(String::new()),
        Value::Integer(-7),
        Value::Float(0.5),
        Value::Bytes(vec![0; 40]),
        Value::Bool(false),
    ] {
        let shown = token(value.clone(), PORCH);
        assert_eq!(
            shown,
            token(value.clone(), PORCH),
            "the same value, the same token"
        );
        assert_eq!(MOTION.detokenise(PORCH, "x", &shown), Some(value));
        assert_eq!(MOTION.detokenise(GARDEN, "x", &shown), None);
        assert_eq!(MOTION.detokenise(PORCH, "y", &shown), None);
        let mut forged = shown.into_bytes();
        forged[0] = if forged[0] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(MOTION.detokenise(PORCH, "x", &forged), None);
    }
    let lengths = ["a", "a@example.org", "somebody@example.org"]
        .map(|text| token(Value::Text(text.into()), PORCH).len());
    assert_eq!(lengths, [64; 3], "a token's length tells little");
}

#[test]
fn noise_stays_on_the_steps_and_is_as_wide_as_said() {
    let blurred = |epsilon: &str| {
        let treatment =
            format!(r#"{{ use = "noise", to = "0.5", epsilon = "{epsilon}", range = [0, 10] }}"#);
        let schema = schema(&format!("x = {treatment}"));
        let draw = |_| {
            let fields = Fields::from([("x".to_owned(), Value::Float(5.2))]);
            let treated = treat(&schema, fields, by(&MOTION, PORCH));
            let value = match treated.fields["x"] {
                Value::Integer(number) => f64::from(i32::try_from(number).unwrap()),
                Value::Float(number) => number,
                ref other => panic!("{other:?}"),
            };
            let halves = value * 2.0;
            assert!(
                (halves - halves.round()).abs() < 1e-9,
                "a multiple of 0.5: {value}"
            );
            value
        };
        let values: Vec<f64> = (0..2_000).map(draw).collect();
        let mean = values.iter().sum::<f64>() / 2_000.0;
        let spread = values.iter().map(|value| (value - 5.0).abs()).sum::<f64>() / 2_000.0;
        (mean, spread)
    };
    // The mean distance of discrete Laplace noise is about its scale: 20 steps of 0.5 over ε. Its mean of 2,000 draws is
    // off by less than six standard errors in all but one of a billion runs.
    for (epsilon, scale) in [("1", 10.0), ("10", 1.0)] {
        let (mean, spread) = blurred(epsilon);
        let error = 6.0 * scale * 2.0_f64.sqrt() / 2_000.0_f64.sqrt();
        assert!((mean - 5.0).abs() < error, "{mean}");
        assert!((spread / scale - 1.0).abs() < 0.2, "{spread}");
    }
    let noise = r#"{ use = "noise", to = "1", epsilon = "1", range = [0, 10] }"#;
    for wrong in [
        Value::Float(10.1),
        Value::Integer(-1),
        Value::Integer(i128::from(u64::MAX)),
        Value::Float(f64::NAN),
        Value::Text("5".into()),
        Value::List(vec![Value::Integer(5)]),
    ] {
        assert_eq!(
            one(noise, wrong, by(&MOTION, PORCH)),
            Err(Dropped::WrongShape)
        );
    }
}

#[test]
fn a_number_out_of_its_range_is_dropped_however_it_is_treated() {
    let within = r#"x = { use = "keep", range = ["-0.5", 10] }"#;
    for right in ["10", "-0.5", "0", "[1, 2.5]"] {
        assert_eq!(
            stored(within, &format!(r#"{{"x":{right}}}"#)),
            right.replace(' ', "")
        );
    }
    for wrong in [
        "10.000001",
        "-1",
        "1e300",
        "18446744073709551615",
        r#""5""#,
        "true",
        "null",
        "[1, 11]",
        "[[1]]",
    ] {
        assert_eq!(
            stored(within, &format!(r#"{{"x":{wrong}}}"#)),
            r#"[("x", WrongShape)]"#,
            "{wrong}"
        );
    }
    let rounded = r#"x = { use = "generalise", to = "5", range = [0, 10] }"#;
    assert_eq!(stored(rounded, r#"{"x":7}"#), "5");
    assert_eq!(stored(rounded, r#"{"x":11}"#), r#"[("x", WrongShape)]"#);
    for treatment in ["keep", "token"] {
        let of = format!(r#"{{ use = "{treatment}" }}"#);
        for number in [f64::NAN, f64::INFINITY] {
            let kept = one(&of, Value::Float(number), by(&MOTION, PORCH));
            assert_eq!(kept, Err(Dropped::WrongShape));
        }
    }
    for to in ["1min", "0.5"] {
        let of = format!(r#"{{ use = "generalise", to = "{to}" }}"#);
        let kept = one(&of, Value::Float(f64::NAN), by(&MOTION, PORCH));
        assert_eq!(kept, Err(Dropped::WrongShape));
    }
}

#[test]
fn a_value_joins_as_its_hierarchy_says_or_is_dropped() {
    let level = |level: u8, value: &str| {
        let field = format!(
            r#"x = {{ use = "generalise", to = "level {level}", hierarchy = {{ "8001" = ["zurich", "ch"], "8002" = ["zurich", "ch"], "69001" = ["lyon", "fr"] }} }}"#
        );
        stored(&field, &format!(r#"{{"x":{value}}}"#))
    };
    assert_eq!(level(1, "8001"), r#""zurich""#);
    assert_eq!(level(1, r#""8002""#), r#""zurich""#);
    assert_eq!(level(2, "69001"), r#""fr""#);
    for unknown in ["8003", r#""zurich""#, "8001.0", "null", "[8001]"] {
        assert_eq!(level(1, unknown), r#"[("x", WrongShape)]"#, "{unknown}");
    }
}

#[test]
fn what_can_not_be_read_is_not_repeated_in_the_error() {
    let secret = "correct-horse-battery";
    let deep = format!(r#"{{"x":{}"{secret}"{}}}"#, "[".repeat(60), "]".repeat(60));
    let many = |count: u32| {
        let named = (0..count).map(|number| format!(r#""{secret}-{number}":1"#));
        format!("{{{}}}", named.collect::<Vec<_>>().join(","))
    };
    for payload in [
        deep,
        many(30_000),
        many(1_000_000),
        format!(r#"{{"{secret}":1,"{secret}":2}}"#),
        format!(r#"{{"x":"{secret}""#),
        format!(r#"{{"x":{secret}}}"#),
        format!(r#"{{"x":"{secret}\ud800"}}"#),
        format!(r#"{{"x":1e999,"y":"{secret}"}}"#),
        format!(r#"{{"x":"{secret}"}} {secret}"#),
        format!(r#"{{1:"{secret}"}}"#),
        secret.to_owned(),
    ] {
        let error = decode(payload.as_bytes()).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("horse"), "{error}");
    }
    let mut cbor = Vec::new();
    ciborium::into_writer(&[(secret, secret)], &mut cbor).unwrap();
    for cut in 0..cbor.len() {
        if let Err(error) = decode(&cbor[..cut]) {
            assert!(!format!("{error} {error:?}").contains("horse"), "{error}");
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).prop_map(Value::Integer),
        prop::num::f64::NORMAL.prop_map(Value::Float),
        ".{0,20}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ((-95.0..95.0), (-185.0..185.0)).prop_map(|(lat, lon): (f64, f64)| {
            Value::Map(
                [
                    ("lat".to_owned(), Value::Float(lat)),
                    ("lon".to_owned(), Value::Float(lon)),
                ]
                .into(),
            )
        }),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn fields() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "device",
            "time",
            "location",
            "level",
            "confidence",
            "owner-email",
            "clip",
            "visitor",
            "badge",
            "account",
            "steps"
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,8}",
    ];
    prop::collection::btree_map(name, value(), 0..8)
}

const ALL: &str = r#"
    device = { use = "pseudonym", scope = "dataset" }
    time = { use = "generalise", to = "1min" }
    location = { use = "generalise", to = "1km" }
    level = { use = "generalise", to = "0.5" }
    confidence = { use = "keep" }
    owner-email = { use = "drop" }
    clip = { use = "seal", readers = ["owner"] }
    visitor = { use = "pseudonym", scope = "window", window = "1d" }
    badge = { use = "format-preserving", alphabet = "digits" }
    account = { use = "token" }
"#;

/// Every plain value in a value.
fn leaves(value: &Value, out: &mut Vec<Value>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| leaves(value, out)),
        Value::Map(fields) => fields.values().for_each(|value| leaves(value, out)),
        plain => out.push(plain.clone()),
    }
}

proptest! {
    #[test]
    fn nothing_unnamed_comes_out_and_every_field_is_accounted_for(fields in fields()) {
        let schema = schema(ALL);
        let treated = treat(&schema, fields.clone(), by(&MOTION, PORCH));
        let names: BTreeSet<_> =
            treated.fields.keys().chain(treated.dropped.iter().map(|(name, _)| name)).collect();
        prop_assert_eq!(names, fields.keys().collect::<BTreeSet<_>>());
        for (name, value) in &treated.fields {
            prop_assert!(schema.contains_key(name.as_str()), "{} is not named", name);
            prop_assert!(name != "clip" && name != "owner-email");
            let mut out = Vec::new();
            leaves(value, &mut out);
            if matches!(name.as_str(), "device" | "visitor" | "account") {
                // Nothing of what went in.
                prop_assert!(out.iter().all(|leaf| fields.get(name) != Some(leaf)));
            }
            if let ("account", Value::Text(token)) = (name.as_str(), value) {
                let undone = MOTION.detokenise(PORCH, "account", token);
                prop_assert_eq!(undone.as_ref(), fields.get(name));
            }
        }
        prop_assert_eq!(treat(&schema, fields, by(&MOTION, PORCH)), treated, "the same again");
    }

    #[test]
    fn a_rounded_time_is_not_later_and_within_the_step(seconds in -60_000_000_000_i64..90_000_000_000, step in 1_u32..1_000_000) {
        let field = format!(r#"time = {{ use = "generalise", to = "{step}s" }}"#);
        let fields = Fields::from([("time".to_owned(), Value::Integer(seconds.into()))]);
        let treated = treat(&schema(&field), fields, by(&MOTION, PORCH));
        let Some(Value::Text(text)) = treated.fields.get("time") else {
            prop_assert_eq!(treated.dropped, [("time".to_owned(), Dropped::WrongShape)]);
            let year = OffsetDateTime::from_unix_timestamp(seconds - i64::from(step)).map(OffsetDateTime::year);
            prop_assert!(year.is_ok_and(|year| year < 0), "only what has no four-digit year");
            return Ok(());
        };
        let rounded = OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp();
        prop_assert!(rounded <= seconds && seconds - rounded < i64::from(step));
        prop_assert_eq!(rounded.rem_euclid(step.into()), 0);
    }

    #[test]
    fn a_rounded_number_is_not_greater_and_within_the_step(number in -1e9..1e9_f64, millionths in 1_u32..100_000_000) {
        let step = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        let field = format!(r#"level = {{ use = "generalise", to = "{step}" }}"#);
        let fields = Fields::from([("level".to_owned(), Value::Float(number))]);
        let treated = treat(&schema(&field), fields, by(&MOTION, PORCH));
        let Some(Value::Float(rounded)) = treated.fields.get("level") else { panic!("{treated:?}") };
        let step = f64::from(millionths) / 1e6;
        prop_assert!(*rounded <= number + 1e-6 && number - rounded < step + 2e-6, "{} to {} is {}", number, step, rounded);
    }

    #[test]
    fn a_moved_place_stays_within_its_cell_and_the_cell_is_not_smaller_than_asked(
        lat in -90.0..=90.0_f64, lon in -180.0..=180.0_f64, metres in 10_u32..5_000_000,
    ) {
        let field = format!(r#"location = {{ use = "generalise", to = "{metres}m" }}"#);
        let schema = schema(&field);
        let place = |lat, lon| {
            let place = [("lat".to_owned(), Value::Float(lat)), ("lon".to_owned(), Value::Float(lon))];
            let fields = Fields::from([("location".to_owned(), Value::Map(place.into()))]);
            let treated = treat(&schema, fields, by(&MOTION, PORCH));
            let Some(Value::Map(place)) = treated.fields.get("location") else { panic!("{treated:?}") };
            match (&place["lat"], &place["lon"]) {
                (Value::Float(lat), Value::Float(lon)) => (*lat, *lon),
                other => panic!("{other:?}"),
            }
        };
        let (middle_lat, middle_lon) = place(lat, lon);
        prop_assert!(middle_lat.abs() <= 90.0 && middle_lon.abs() <= 180.0);
        // Micro-degrees are kept: finer than that, the middle may seem to lie in the next cell.
        if metres >= 100 {
            prop_assert_eq!(place(middle_lat, middle_lon), (middle_lat, middle_lon), "rounding again changes nothing");
        }
        // Half a band, and half a cell's width, are at least half of what was asked for unless the earth is smaller.
        let north_south = (lat - middle_lat).abs() * 111_132.95;
        prop_assert!(north_south <= f64::from(metres), "{} m", north_south);
    }

    #[test]
    fn what_is_written_as_cbor_or_json_is_read_back(fields in fields()) {
        let fields: Fields = fields.into_iter().collect();
        let mut cbor = Vec::new();
        ciborium::into_writer(&fields, &mut cbor).unwrap();
        prop_assert_eq!(decode(&cbor).unwrap(), fields.clone());
        let json = serde_json::to_vec(&fields).unwrap();
        let mut again = Vec::new();
        ciborium::into_writer(&decode(&json).unwrap(), &mut again).unwrap();
        // Bytes come back from JSON as their base64 text, and nothing else changes.
        let has_bytes = fields.values().any(|value| {
            let mut out = Vec::new();
            leaves(value, &mut out);
            out.iter().any(|leaf| matches!(leaf, Value::Bytes(_)))
        });
        if !has_bytes {
            prop_assert_eq!(decode(&json).unwrap(), fields);
        }
    }
}
