//! What is measured of each broker.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::brokers::{Broker, stockade};
use super::load;
use crate::command::capture;
use crate::out;

/// How much is measured.
#[derive(Debug)]
pub(super) struct Plan {
    /// For each row; 0: none but the idle ones.
    seconds: u64,
    idle: Vec<usize>,
}

impl Plan {
    pub(super) fn full() -> Self {
        Self {
            seconds: 5,
            idle: vec![1_000, 10_000],
        }
    }

    pub(super) fn idle() -> Self {
        Self {
            seconds: 0,
            idle: vec![1_000, 10_000],
        }
    }

    pub(super) fn quick() -> Self {
        Self {
            seconds: 2,
            idle: vec![1_000],
        }
    }
}

/// One broker's numbers, by the name of the row they belong in.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) numbers: BTreeMap<&'static str, f64>,
}

const SHAPES: [(&str, &str, [&str; 4]); 3] = [
    (
        "pairs",
        "10",
        ["q0 pairs", "q0 pairs cpu", "q1 pairs", "q1 pairs cpu"],
    ),
    (
        "fan-in",
        "10",
        ["q0 fan-in", "q0 fan-in cpu", "q1 fan-in", "q1 fan-in cpu"],
    ),
    (
        "fan-out",
        "10",
        [
            "q0 fan-out",
            "q0 fan-out cpu",
            "q1 fan-out",
            "q1 fan-out cpu",
        ],
    ),
];

/// Measures everything of one broker; what fails is said and left empty.
pub(super) fn all(plan: &Plan, broker: &Broker, devices: &Path, name: &str) -> Measured {
    let mut measured = Measured {
        name: name.to_owned(),
        numbers: BTreeMap::new(),
    };
    let seconds = format!("secs={}", plan.seconds);
    // Memory first: what a broker keeps of a flood would be counted otherwise.
    for &count in &plan.idle {
        let row = if count >= 10_000 {
            "idle 10000"
        } else {
            "idle 1000"
        };
        let (n, separator) = (
            format!("n={count}"),
            format!("separator={}", broker.separator),
        );
        measured.run(
            broker,
            devices,
            &["idle", &n, &separator],
            &[("kib_each", row)],
        );
    }
    if plan.seconds == 0 {
        return measured;
    }
    measured.run(
        broker,
        devices,
        &["handshake", &seconds],
        &[
            ("cpu_ms", "connect cpu"),
            ("per_second", "connects"),
            ("per_core_second", "connects core"),
        ],
    );
    for (shape, width, [q0, q0_cpu, q1, q1_cpu]) in SHAPES {
        let (shape, width) = (format!("shape={shape}"), format!("width={width}"));
        for (qos, rate, cpu) in [("qos=0", q0, q0_cpu), ("qos=1", q1, q1_cpu)] {
            let mode = ["flow", &shape, &width, qos, &seconds];
            measured.run(
                broker,
                devices,
                &mode,
                &[("delivered_per_second", rate), ("cpu_us", cpu)],
            );
        }
    }
    let steady = [
        "flow",
        "shape=pairs",
        "width=50",
        "qos=1",
        "rate=100",
        &seconds,
    ];
    measured.run(
        broker,
        devices,
        &steady,
        &[("p50_ms", "p50"), ("p99_ms", "p99")],
    );
    measured
}

/// Revokes one device that is being sent a steady stream.
pub(super) fn revoke(measured: &mut Measured, broker: &Broker, folder: &Path) {
    let command = format!(
        "run={} --data {} device revoke {{id}}",
        stockade(),
        folder.join("data").display()
    );
    let fields = [("last_byte_ms", "revoke")];
    measured.run(
        broker,
        &folder.join("devices"),
        &["revoke", &command],
        &fields,
    );
}

impl Measured {
    fn run(
        &mut self,
        broker: &Broker,
        devices: &Path,
        mode: &[&str],
        fields: &[(&str, &'static str)],
    ) {
        match one(broker, devices, mode) {
            Ok(report) => {
                out::line(&format!("{}: {report}", mode.join(" ")));
                for (field, row) in fields {
                    if let Some(number) = report[*field].as_f64() {
                        self.numbers.insert(row, number);
                    }
                }
            }
            Err(error) => out::problem(&format!(
                "{}: {} failed: {error:#}",
                self.name,
                mode.join(" ")
            )),
        }
    }
}

fn one(broker: &Broker, devices: &Path, mode: &[&str]) -> Result<Value> {
    let mut command = load();
    command.args(mode).arg(format!("ids={}", devices.display()));
    command
        .arg(format!("port={}", broker.port))
        .arg(format!("pid={}", broker.process()));
    let text = capture(&mut command)?;
    serde_json::from_str(&text).context("the load generator printed no JSON")
}
