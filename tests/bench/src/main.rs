//! The firewall measured beside what others do, on the machine it runs on; `cargo xtask bench firewall` builds and runs it.
//!
//! It makes network namespaces of its own and needs root. Nothing outside of them is touched.

mod cables;
mod fleet;
mod flood;
mod guard;
mod kernel;
mod library;
mod report;
mod traffic;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::cables::Cables;
use crate::fleet::Fleet;
use crate::flood::Flow;
use crate::guard::Ours;
use crate::kernel::Cost;
use crate::report::{Row, table};
use crate::traffic::{Amount, Rates};

const USAGE: &str = "usage: stockade-bench [--quick] [--data DIR] [--keep FILE] [--take FILE]
  (DIR has mud/ and pcap/; our ruleset is kept in a file, or taken from one)";

/// A chain that refuses nothing; its rule turns connection tracking on, which every firewall with states has.
const EMPTY: &str = "table inet empty {
 chain forward {
  type filter hook forward priority 0; policy accept;
  ct state invalid drop
 }
}
";

/// The same with a DNS redirect as the guard has one: address translation costs each flow something, asked for or not.
const REDIRECT: &str = "table inet empty {
 chain dns {
  type nat hook prerouting priority -100; policy accept;
  iifname \"lan\" udp dport 53 redirect to :5355
 }
}
";

/// What was asked for.
struct Settings {
    devices: usize,
    amount: Amount,
    data: PathBuf,
    /// Where to leave our ruleset for those who want to look at it.
    keep: Option<PathBuf>,
    /// A ruleset to measure in place of ours: what such a change would bring.
    take: Option<PathBuf>,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut settings = Self {
            devices: 10_000,
            amount: Amount {
                flows: 150_000,
                packets: 300_000,
                rounds: 5,
            },
            data: stockade_e2e::tools::root().join("../shared/data"),
            keep: None,
            take: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), arguments.as_slice().first()) {
                ("--quick", _) => {
                    settings.devices = 1_000;
                    settings.amount = Amount {
                        flows: 30_000,
                        packets: 50_000,
                        rounds: 3,
                    };
                }
                ("--take", Some(file)) => {
                    settings.take = Some(PathBuf::from(file));
                    arguments.next();
                }
                ("--keep", Some(file)) => {
                    settings.keep = Some(PathBuf::from(file));
                    arguments.next();
                }
                ("--data", Some(folder)) => {
                    settings.data = PathBuf::from(folder);
                    arguments.next();
                }
                _ => bail!("{USAGE}"),
            }
        }
        Ok(settings)
    }
}

type Part = fn(&Rates) -> f64;

/// What is sent, and its rate.
const PARTS: [(&str, Part); 2] = [
    ("new UDP flows", |rates| rates.new),
    ("packets of open flows", |rates| rates.open),
];

/// What the rounds showed.
#[derive(Default)]
struct Seen {
    empty: Vec<Rates>,
    redirect: Vec<Rates>,
    ours: Vec<Rates>,
    loads: Vec<Cost>,
}

impl Seen {
    /// Ours, what is beside it, and ours in percent of that: the middle of the rounds.
    fn beside(&self, others: &[Rates], part: Part) -> (f64, f64, f64) {
        let of = |rates: &[Rates]| traffic::middle(rates.iter().map(part).collect());
        let shares = self.ours.iter().zip(others);
        let shares = shares.map(|(ours, other)| part(ours) / part(other) * 100.0);
        (
            of(&self.ours),
            of(others),
            traffic::middle(shares.collect()),
        )
    }

    fn rows(&self, linear: &Linear) -> Vec<Row> {
        let (time, memory) = self.load();
        let mut rows = vec![
            Row::new(
                "load",
                format!("{:.3} s", time.as_secs_f64()),
                &format!(
                    "{:.3} s one rule per device and rule ({})",
                    linear.cost.time.as_secs_f64(),
                    linear.rules
                ),
            )
            .aim("<= 0.3 s", time <= Duration::from_millis(300)),
            Row::new(
                "  memory of nft at most",
                format!("{:.1} MiB", mib(memory)),
                &format!("{:.1} MiB", mib(linear.cost.memory)),
            )
            .aim("<= 32 MB", memory * 1024 <= 32_000_000),
        ];
        for (what, part) in PARTS {
            let (ours, empty, share) = self.beside(&self.empty, part);
            let linear = part(&linear.rates);
            rows.push(
                Row::new(
                    what,
                    format!("{ours:.0}/s, {share:.0} %"),
                    &format!("{empty:.0}/s empty chain, {linear:.0}/s linear"),
                )
                .aim(">= 80 % of empty", share >= 80.0),
            );
            let (_, redirect, share) = self.beside(&self.redirect, part);
            rows.push(Row::new(
                "  beside as empty a chain and a DNS redirect",
                format!("{share:.0} %"),
                &format!("{redirect:.0}/s"),
            ));
        }
        rows
    }

    /// The fastest load, as the rest is the machine's noise; and the most memory.
    fn load(&self) -> (Duration, u64) {
        let times = self.loads.iter().map(|cost| cost.time);
        let memory = self.loads.iter().map(|cost| cost.memory);
        (
            times.min().unwrap_or_default(),
            memory.max().unwrap_or_default(),
        )
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((word, rest)) if word == kernel::CHILD => kernel::child(rest),
        _ => Settings::parse(&arguments).and_then(|settings| bench(&settings)),
    };
    match outcome {
        Ok(text) => {
            drop(writeln!(std::io::stdout(), "{text}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-bench: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn bench(settings: &Settings) -> Result<String> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces need root"
    );
    let fleet = Fleet::new(&settings.data.join("mud"), settings.devices)?;
    let folder = tempfile::tempdir()?;
    let cables = Cables::new()?;
    let mut rows = kernel_rows(&fleet, &cables, settings, folder.path())?;
    rows.extend(library::import(&settings.data.join("mud"))?);
    rows.extend(library::learning(&settings.data.join("pcap"))?);
    Ok(format!(
        "{} devices of {}\n\n{}",
        fleet.devices.len(),
        fleet.origin,
        table(&rows)
    ))
}

/// Loading, packets, reading back, and one more device.
fn kernel_rows(
    fleet: &Fleet,
    cables: &Cables,
    settings: &Settings,
    folder: &Path,
) -> Result<Vec<Row>> {
    let flows = fleet.flows();
    let open = flows.iter().take(traffic::OPEN);
    Cables::neighbours(open.map(|flow| (flow.from, flow.mac)))?;
    let mut ours = Ours::new(fleet)?;
    if let Some(file) = &settings.keep {
        fs_err::write(file, &ours.text)?;
    }
    if let Some(file) = &settings.take {
        ours.text = fs_err::read_to_string(file)?;
        ours.taken = true;
    }
    let mut seen = Seen::default();
    // By turns, so that a busy moment of the machine does not fall on one of them alone.
    for _ in 0..settings.amount.rounds {
        kernel::load_text(EMPTY)?;
        seen.empty
            .push(traffic::through(cables, &flows, settings.amount)?);
        kernel::load_text(REDIRECT)?;
        seen.redirect
            .push(traffic::through(cables, &flows, settings.amount)?);
        kernel::clear()?;
        seen.loads.push(ours.load(folder)?);
        ours.name(fleet)?;
        seen.ours
            .push(traffic::through(cables, &flows, settings.amount)?);
        kernel::clear()?;
    }
    ours.load(folder)?;
    let mut after = Vec::new();
    if settings.take.is_none() {
        after.push(ours.read_back()?);
    }
    after.push(adding(&ours, fleet, folder)?);
    kernel::clear()?;
    let linear = Linear::measure(fleet, cables, &flows, settings.amount, folder)?;

    let mut rows = vec![Row::new(
        "compile to nft's text",
        format!(
            "{:.0} ms, {} KiB",
            ms(ours.compiled),
            ours.text.len() / 1024
        ),
        "",
    )];
    rows.extend(seen.rows(&linear));
    rows.extend(after);
    Ok(rows)
}

/// One rule for each device and rule of its model.
struct Linear {
    rules: usize,
    cost: Cost,
    rates: Rates,
}

impl Linear {
    fn measure(
        fleet: &Fleet,
        cables: &Cables,
        flows: &[Flow],
        amount: Amount,
        folder: &Path,
    ) -> Result<Self> {
        let (text, rules) = fleet.linear()?;
        let file = folder.join("linear.nft");
        fs_err::write(&file, text)?;
        let cost = kernel::load(&file)?;
        // It is so slow that fewer packets say as much.
        let fewer = Amount {
            flows: amount.flows / 50,
            ..amount
        };
        let rates = traffic::through(cables, flows, fewer)?;
        kernel::clear()?;
        Ok(Self { rules, cost, rates })
    }
}

/// One more device, in three ways.
fn adding(ours: &Ours, fleet: &Fleet, folder: &Path) -> Result<Row> {
    const TIMES: usize = 50;
    let known = fleet.devices.len();
    let mut next = known..;
    let mut device = || {
        let number = next.next().unwrap_or(known);
        fleet::device(number, fleet.models.len())
    };
    let mut by_us = Vec::new();
    let mut by_nft = Vec::new();
    for _ in 0..TIMES {
        by_us.push(ms(ours.add(fleet, device()?)?));
        by_nft.push(ms(ours.add_by_nft(fleet, device()?)?));
    }
    let worst = by_us.iter().copied().fold(0.0, f64::max);
    let middle = traffic::middle(by_us);
    let reload = ours.reload(folder)?;
    Ok(Row::new(
        "add a device",
        format!("{middle:.2} ms, {worst:.2} at most"),
        &format!(
            "{:.1} ms nft add element, {:.0} ms and {:.0} MiB all anew over the old ones",
            traffic::middle(by_nft),
            ms(reload.time),
            mib(reload.memory)
        ),
    )
    .aim("<= 5 ms", middle <= 5.0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "KiB of a process are far below 2^53"
)]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
