//! What the treatments promise, on examples and on anything.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stockade_profile::{Profile, Schema, Scope, parse};
use stockade_vault::{Dropped, Fields, Pseudonyms, Treated, Value, VaultKey, decode, treat};
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

fn key() -> VaultKey {
    VaultKey::create(TempDir::new().expect("a directory").path()).expect("a key")
}

fn pseudonyms() -> Pseudonyms {
    key().pseudonyms("cam-2", "motion").expect("keys")
}

fn treated(fields: &str, json: &str) -> Treated {
    treat(
        &schema(fields),
        decode(json.as_bytes()).expect("a payload"),
        &pseudonyms(),
    )
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

#[test]
fn a_pseudonym_holds_within_its_scope_and_nowhere_else() {
    let key = key();
    let of = |model: &str, schema: &str, scope, field: &str, value: &str| {
        let pseudonyms = key.pseudonyms(model, schema).unwrap();
        pseudonyms
            .of(scope, field, &Value::Text(value.to_owned()))
            .unwrap()
    };
    let same = |scope, other: (&str, &str)| {
        of("cam-2", "motion", scope, "device", "porch")
            == of(other.0, other.1, scope, "device", "porch")
    };
    for (scope, in_data_set, in_model, in_fleet) in [
        (Scope::Dataset, true, false, false),
        (Scope::Model, true, true, false),
        (Scope::Fleet, true, true, true),
    ] {
        assert_eq!(same(scope, ("cam-2", "motion")), in_data_set);
        assert_eq!(same(scope, ("cam-2", "health")), in_model);
        assert_eq!(same(scope, ("siren-1", "motion")), in_fleet);
    }
    let all: BTreeSet<_> = [Scope::Dataset, Scope::Model, Scope::Fleet]
        .map(|scope| of("cam-2", "motion", scope, "device", "porch"))
        .into_iter()
        .chain([
            of("cam-2", "motion", Scope::Dataset, "device", "garden"),
            of("cam-2", "motion", Scope::Dataset, "owner", "porch"),
            // Names that run together must not meet.
            of("cam-2motion", "", Scope::Dataset, "device", "porch"),
            of("cam-", "2motion", Scope::Dataset, "device", "porch"),
        ])
        .collect();
    assert_eq!(all.len(), 7);
    assert!(
        all.iter()
            .all(|pseudonym| pseudonym.len() == 32 && !pseudonym.contains("porch"))
    );
    let others = pseudonyms()
        .of(Scope::Fleet, "device", &Value::Text("porch".into()))
        .unwrap();
    assert!(!all.contains(&others), "another vault, another pseudonym");
}

#[test]
fn values_of_different_kinds_have_different_pseudonyms() {
    let pseudonyms = pseudonyms();
    let of = |value| pseudonyms.of(Scope::Dataset, "x", &value);
    let all: BTreeSet<_> = [
        Value::Text("1".into()),
        Value::Integer(1),
        Value::Bytes(b"1".to_vec()),
        Value::Bool(true),
        Value::Float(1.5),
    ]
    .map(|value| of(value).unwrap())
    .into();
    assert_eq!(all.len(), 5);
    assert_eq!(of(Value::Float(0.0)), of(Value::Float(-0.0)));
    assert_eq!(
        (
            of(Value::Null),
            of(Value::List(vec![])),
            of(Value::Map(Fields::new()))
        ),
        (None, None, None)
    );
}

#[test]
fn a_vector_made_by_other_code() {
    // Python: hkdf and hmac of its standard library, over key 00 01 .. 1f.
    let dir = TempDir::new().unwrap();
    drop(VaultKey::create(dir.path()).unwrap());
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    fs_err::write(
        VaultKey::path(dir.path()),
        format!("stockade vault pseudonym key 1\n{hex}\n"),
    )
    .unwrap();
    let key = VaultKey::load(dir.path()).unwrap().unwrap();
    let pseudonyms = key.pseudonyms("cam-2", "motion").unwrap();
    let porch = Value::Text("porch".into());
    assert_eq!(
        pseudonyms.of(Scope::Dataset, "device", &porch).unwrap(),
        "1ab7802138c1c181abe0bbb91f11f526"
    );
    assert_eq!(
        pseudonyms.of(Scope::Fleet, "device", &porch).unwrap(),
        "6e6afcdbc539a375917dce626a09941b"
    );
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
            "clip"
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
        let (schema, pseudonyms) = (schema(ALL), pseudonyms());
        let treated = treat(&schema, fields.clone(), &pseudonyms);
        let names: BTreeSet<_> =
            treated.fields.keys().chain(treated.dropped.iter().map(|(name, _)| name)).collect();
        prop_assert_eq!(names, fields.keys().collect::<BTreeSet<_>>());
        for (name, value) in &treated.fields {
            prop_assert!(schema.contains_key(name.as_str()), "{} is not named", name);
            prop_assert!(name != "clip" && name != "owner-email");
            let mut out = Vec::new();
            leaves(value, &mut out);
            if name == "device" {
                // A pseudonym is nothing of what went in.
                prop_assert!(out.iter().all(|leaf| fields.get("device") != Some(leaf)));
            }
        }
        prop_assert_eq!(treat(&schema, fields, &pseudonyms), treated, "the same again");
    }

    #[test]
    fn a_rounded_time_is_not_later_and_within_the_step(seconds in -60_000_000_000_i64..90_000_000_000, step in 1_u32..1_000_000) {
        let field = format!(r#"time = {{ use = "generalise", to = "{step}s" }}"#);
        let fields = Fields::from([("time".to_owned(), Value::Integer(seconds.into()))]);
        let treated = treat(&schema(&field), fields, &pseudonyms());
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
        let treated = treat(&schema(&field), fields, &pseudonyms());
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
            let treated = treat(&schema, fields, &pseudonyms());
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
