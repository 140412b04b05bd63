//! The table, with each peer's number as a multiple of ours.

use super::measure::Measured;
use crate::out;

/// A row: its key, what it says, its unit, digits after the point, and whether more is better.
struct Row(&'static str, &'static str, &'static str, usize, bool);

const ROWS: [Row; 20] = [
    Row("connect cpu", "handshake + CONNECT, CPU", "ms", 2, false),
    Row("connects", "connects", "/s", 0, true),
    Row(
        "connects core",
        "connects, for each core of CPU",
        "/s",
        0,
        true,
    ),
    Row("q0 pairs", "QoS 0, 10 to 10", "msg/s", 0, true),
    Row("q0 pairs cpu", "  CPU a message", "µs", 1, false),
    Row("q0 fan-in", "QoS 0, 10 to 1", "msg/s", 0, true),
    Row("q0 fan-in cpu", "  CPU a message", "µs", 1, false),
    Row("q0 fan-out", "QoS 0, 1 to 10", "msg/s", 0, true),
    Row("q0 fan-out cpu", "  CPU a message", "µs", 1, false),
    Row("q1 pairs", "QoS 1, 10 to 10", "msg/s", 0, true),
    Row("q1 pairs cpu", "  CPU a message", "µs", 1, false),
    Row("q1 fan-in", "QoS 1, 10 to 1", "msg/s", 0, true),
    Row("q1 fan-in cpu", "  CPU a message", "µs", 1, false),
    Row("q1 fan-out", "QoS 1, 1 to 10", "msg/s", 0, true),
    Row("q1 fan-out cpu", "  CPU a message", "µs", 1, false),
    Row("p50", "delay at 5,000/s QoS 1, p50", "ms", 2, false),
    Row("p99", "delay at 5,000/s QoS 1, p99", "ms", 2, false),
    Row("idle 1000", "idle connection, of 1,000", "KiB", 1, false),
    Row("idle 10000", "idle connection, of 10,000", "KiB", 1, false),
    Row("revoke", "revoke to the last byte", "ms", 0, false),
];

/// Prints one column a broker, the ratio to the first in brackets: above 1, the first is better.
pub(super) fn print(results: &[Measured]) {
    let mut table = vec![vec![String::new(), "unit".to_owned()]];
    if let Some(head) = table.first_mut() {
        head.extend(results.iter().map(|result| result.name.clone()));
    }
    for row in &ROWS {
        let Row(key, text, unit, digits, _) = row;
        let mut cells = vec![(*text).to_owned(), (*unit).to_owned()];
        let first = results
            .first()
            .and_then(|result| result.numbers.get(key).copied());
        for (column, result) in results.iter().enumerate() {
            cells.push(match result.numbers.get(key) {
                None => "-".to_owned(),
                Some(number) if column == 0 => format!("{number:.digits$}"),
                Some(number) => format!("{number:.digits$}{}", advantage(row, first, *number)),
            });
        }
        table.push(cells);
    }
    out::line("");
    out::table(&table);
    if let Some(first) = results.first() {
        out::line(&format!(
            "\n  in brackets: how many times better {} does; below 1, worse",
            first.name
        ));
        out::line(
            "  TLS 1.3, mutual, P-256, MQTT 5, payloads of 128 bytes; a message is one delivery",
        );
    }
}

fn advantage(Row(.., more_is_better): &Row, first: Option<f64>, number: f64) -> String {
    let ratio = match first {
        Some(first) if first > 0.0 && number > 0.0 => {
            if *more_is_better {
                first / number
            } else {
                number / first
            }
        }
        _ => return String::new(),
    };
    format!(" ({ratio:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_above_one_where_the_first_is_better() {
        let more = Row("a", "", "", 0, true);
        let less = Row("a", "", "", 0, false);
        assert_eq!(advantage(&more, Some(200.0), 100.0), " (2.00)");
        assert_eq!(advantage(&less, Some(200.0), 100.0), " (0.50)");
        assert_eq!(advantage(&less, None, 100.0), "");
    }
}
