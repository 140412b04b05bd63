//! How fast a streaming release is here: `cargo run --release -p stockade-anonymity --example stream_rate`.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::time::Instant;

use stockade_anonymity::attack::Xorshift;
use stockade_anonymity::stream::{Cell, Domain, Row, Sensitive, Settings, SettingsFault, Stream};

const ROWS: u32 = 1_000_000;
const DEVICES: usize = 10_000;

fn main() -> Result<(), SettingsFault> {
    let range = |high| Domain::Number { low: 0.0, high };
    let settings = Settings {
        k: 10,
        spare: 5,
        l: 3,
        t: 0.3,
        // Each device sends about ten times in it.
        delay: 100_000,
        rows_per_subject: 96,
        waiting: ROWS as usize,
        subjects: DEVICES,
        sticky: true,
        quasi: vec![range(100.0), range(180.0), range(24.0)],
        sensitive: vec![Sensitive {
            codes: 32,
            ordered: true,
        }],
    };
    let mut random = Xorshift::new(1);
    let rows: Vec<Row> = (0..ROWS)
        .map(|tag| {
            let subject = random.below(DEVICES) as u32;
            Row {
                subject,
                quasi: vec![
                    Cell::Number(f64::from(subject % 100)),
                    Cell::Number(f64::from(subject % 180)),
                    Cell::Number(24.0 * random.unit()),
                ],
                sensitive: vec![random.below(32) as u32],
                tag: u64::from(tag),
            }
        })
        .collect();
    let mut stream = Stream::new(settings, Vec::new())?;
    let (start, mut emissions, mut longest) = (Instant::now(), 0_u64, 0.0_f64);
    for (at, row) in (0..).zip(rows) {
        let turn = Instant::now();
        stream.handle_row(at, row);
        longest = longest.max(turn.elapsed().as_secs_f64());
        while stream.poll_emission().is_some() {
            emissions += 1;
        }
    }
    stream.finish();
    let rate = f64::from(ROWS) / start.elapsed().as_secs_f64();
    let tally = stream.tally();
    println!(
        "{rate:.0} rows/s of {DEVICES} devices, k = 10; longest turn {:.0} ms; {emissions} emissions, {} rows released with a mean loss of {:.2}, {} suppressed",
        longest * 1e3,
        tally.released,
        tally.mean_loss(),
        tally.suppressed()
    );
    Ok(())
}
