//! How fast fields are treated here, on one core: `cargo run --release -p stockade-vault --example treat_rate`.
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use stockade_profile::{ReaderName, parse};
use stockade_store::Sqlite;
use stockade_vault::{DataSetKeys, Keys, ReaderKey, RootPlace, Treating, decode, treat};
use time::OffsetDateTime;

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[data.motion]
device = { use = "pseudonym", scope = "dataset" }
visitor = { use = "pseudonym", scope = "window", window = "1d" }
time = { use = "generalise", to = "1h" }
location = { use = "generalise", to = "1km" }
room = { use = "generalise", to = "level 1", hierarchy = { hall = ["entry"], attic = ["living"] } }
confidence = { use = "keep", range = [0, 1] }
owner-email = { use = "drop" }
[data.badge]
badge = { use = "format-preserving", alphabet = "digits" }
[data.account]
account = { use = "token" }
[data.steps]
steps = { use = "noise", to = "10", epsilon = "0.5", range = [0, 1000] }
[data.clip]
clip = { use = "seal", readers = ["owner"] }
"#;
const PAYLOAD: &[u8] = br#"{"device":"porch","visitor":"aa:bb:cc:dd:ee:ff","time":1790000000,"location":{"lat":47.3769,"lon":8.5417},"room":"hall","confidence":0.93,"owner-email":"a@example.org"}"#;
/// RFC 7748 §6.1, Bob's public key.
const READER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::TempDir::new()?;
    let store = Arc::new(Sqlite::open(&dir.path().join("state.sqlite"))?);
    let keys = Keys::open(
        store,
        RootPlace::File(dir.path().join("root.key")),
        dir.path(),
    )?;
    let keys = DataSetKeys::new(&keys, "cam-2", "motion")?;
    let profile = parse(PROFILE).map_err(|faults| format!("{} faults", faults.len()))?;
    let reader: ReaderName = "owner".parse()?;
    let readers = BTreeMap::from([(reader, ReaderKey::parse(READER)?)]);
    let by = Treating {
        keys: &keys,
        secret: &[7; 32],
        readers: &readers,
        device: "porch",
        at: OffsetDateTime::UNIX_EPOCH,
    };
    let rate = |schema: &str, payload: &[u8], times: u32| {
        let schema = profile.data.get(schema).ok_or("no data set")?;
        let fields = decode(payload)?;
        let start = Instant::now();
        for _ in 0..times {
            black_box(treat(black_box(schema), black_box(fields.clone()), by));
        }
        Ok::<_, Box<dyn Error>>(f64::from(times) / start.elapsed().as_secs_f64())
    };
    let all = rate("motion", PAYLOAD, 1_000_000)?;
    println!("{all:.0} records/s: seven fields, two of them pseudonyms");
    for (field, payload, times) in [
        (
            "badge",
            br#"{"badge":"1234-5678-9012-3456"}"#.as_slice(),
            300_000,
        ),
        ("account", br#"{"account":"a@example.org"}"#, 300_000),
        ("steps", br#"{"steps":512}"#, 100_000),
        ("clip", br#"{"clip":"AAAA"}"#, 5_000),
    ] {
        println!(
            "{:.0} records/s: one field, {field}",
            rate(field, payload, times)?
        );
    }
    Ok(())
}
