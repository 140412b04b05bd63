//! `stockade profile learn`

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use stockade_controls::firewall::learn::{
    Class, Header, Judged, Learned, Observation, Observer, judge, learn,
};
use stockade_host::capture::{Capture, CaptureOptions, Wanted};
use stockade_profile::{HostName, LinkAddress};
use stockade_wire::capture::Decoder;

use crate::args::learn::Learn;
use crate::commands::counted;
use crate::out::{self, Out, table};
use crate::run::FOUND;

/// How long to wait for a frame before looking whether to stop.
const TURN: Duration = Duration::from_millis(250);
/// How much of a capture is read at a time.
const PIECE: usize = 65_536;

/// What was watched, and what a person should know about it.
struct Watched {
    observation: Observation,
    remarks: Vec<String>,
}

/// Makes a profile of what a device did.
pub(crate) async fn run(out: Out, as_json: bool, asked: &Learn) -> anyhow::Result<ExitCode> {
    let mut watched = Vec::new();
    for path in &asked.captures {
        watched.push(read(path, asked.device)?);
    }
    if let Some(interface) = &asked.interface {
        watched.push(watch(interface, asked).await?);
    }
    let mut remarks: Vec<String> = watched
        .iter_mut()
        .flat_map(|it| it.remarks.split_off(0))
        .collect();
    let seen = observations(watched, asked.device)?;
    let header = Header {
        manufacturer: asked.manufacturer.clone(),
        model: asked.model.clone(),
    };
    let learned = learn(&header, &seen)?;
    let mut tested = None;
    if !asked.test.is_empty() {
        let mut second = Vec::new();
        for path in &asked.test {
            let mut read = read(path, asked.device)?;
            remarks.append(&mut read.remarks);
            second.push(read);
        }
        let second = observations(second, asked.device)?;
        tested = Some(judge(&learned.profile, &second, &seen));
    }
    let text = learned.to_toml();
    if let Some(output) = &asked.output {
        fs_err::write(output, &text)?;
    }
    if as_json {
        out.line(&as_value(&learned, tested.as_ref(), &remarks, &text).to_string());
    } else {
        let mut report = report(&learned, &seen, &remarks);
        if let Some(judged) = &tested {
            report.extend(told(judged, &asked.test));
        }
        if let Some(output) = &asked.output {
            report.push(format!("{} is the profile", output.display()));
            out.line(&report.join("\n"));
        } else {
            out::aside(&report.join("\n"));
            out.line(text.trim_end());
        }
    }
    Ok(match tested {
        Some(judged) if !judged.refused.is_empty() => ExitCode::from(FOUND),
        Some(_) | None => ExitCode::SUCCESS,
    })
}

/// What the device did in a capture; one that can not be read to its end is an error, for nobody knows what is missing.
fn read(path: &Path, device: LinkAddress) -> anyhow::Result<Watched> {
    let (name, mut input): (_, Box<dyn Read>) = if path == Path::new("-") {
        (
            "standard input".to_owned(),
            Box::new(std::io::stdin().lock()),
        )
    } else {
        (
            path.display().to_string(),
            Box::new(fs_err::File::open(path)?),
        )
    };
    let broken = || format!("{name} can not be read");
    let mut observer = Observer::new(device);
    let mut decoder = Decoder::default();
    let mut piece = vec![0; PIECE];
    loop {
        let count = match input.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(broken),
        };
        decoder.push(piece.get(..count).unwrap_or_default());
        while let Some(frame) = decoder.next_frame().with_context(broken)? {
            observer.frame(&frame);
        }
        if count == 0 {
            break;
        }
    }
    let mut remarks = Vec::new();
    if let Some(at) = decoder.finish().with_context(broken)? {
        remarks.push(format!(
            "{name} ends within a frame, at byte {at}: what follows is missing"
        ));
    }
    Ok(watched(&name, observer.finish(), remarks))
}

/// What the device does on an interface, until the time is over or somebody ends it.
async fn watch(interface: &str, asked: &Learn) -> anyhow::Result<Watched> {
    let options = CaptureOptions {
        promiscuous: true,
        wanted: Wanted::All,
    };
    let capture = Capture::open(interface, options)?;
    out::aside(&format!(
        "watching {} on {interface}; Ctrl-C ends it",
        asked.device
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let until = Instant::now() + asked.watch;
    let (device, told) = (asked.device, Arc::clone(&stop));
    let watching = tokio::task::spawn_blocking(move || frames(capture, device, until, &told));
    let (mut watching, mut ended) = (watching, false);
    let (observation, lost) = loop {
        tokio::select! {
            done = &mut watching => break done??,
            _signal = tokio::signal::ctrl_c(), if !ended => {
                ended = true;
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    let mut remarks = Vec::new();
    if lost > 0 {
        remarks.push(format!(
            "{interface}: lost are frames that came faster than they could be read ({lost})"
        ));
    }
    Ok(watched(interface, observation, remarks))
}

fn frames(
    mut capture: Capture,
    device: LinkAddress,
    until: Instant,
    stop: &AtomicBool,
) -> anyhow::Result<(Observation, u32)> {
    let mut observer = Observer::new(device);
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        if let Some(frame) = capture.next_frame(TURN)? {
            observer.frame(&frame);
        }
    }
    Ok((observer.finish(), capture.lost()?))
}

fn watched(name: &str, observation: Observation, mut remarks: Vec<String>) -> Watched {
    let mut left_out = |number: u64, what: &str| {
        if number > 0 {
            remarks.push(format!("{name}: left out are {what} ({number})"));
        }
    };
    left_out(observation.unread, "frames that can not be understood");
    left_out(
        observation.redirects,
        "ICMP redirects, which are dropped for every device",
    );
    left_out(
        observation.transit,
        "packets that the device passed on between others",
    );
    left_out(observation.astray, "packets to or from 0.0.0.0");
    left_out(observation.left_out, "packets of more flows than are kept");
    Watched {
        observation,
        remarks,
    }
}

/// The observations, if the device is seen in any; else who is seen instead.
fn observations(watched: Vec<Watched>, device: LinkAddress) -> anyhow::Result<Vec<Observation>> {
    let seen: Vec<Observation> = watched.into_iter().map(|it| it.observation).collect();
    if seen.iter().all(|it| it.frames_seen == 0) {
        let mut stations: Vec<String> = Vec::new();
        for station in seen.iter().flat_map(|it| it.stations().iter().take(8)) {
            let station = station.to_string();
            if !stations.contains(&station) && stations.len() < 8 {
                stations.push(station);
            }
        }
        if stations.is_empty() {
            bail!(
                "no frame of {device} is seen, nor of any other station: capture on Ethernet or a bridge"
            );
        }
        bail!(
            "no frame of {device} is seen; those who send most are {}",
            stations.join(", ")
        );
    }
    Ok(seen)
}

fn report(learned: &Learned, seen: &[Observation], remarks: &[String]) -> Vec<String> {
    let flows: usize = seen.iter().map(|it| it.flows.len()).sum();
    let mut lines: Vec<String> = remarks.iter().map(|it| format!("note: {it}")).collect();
    lines.push(format!(
        "{} in {} became {}",
        counted(flows, "flow"),
        counted(learned.captures, "capture"),
        counted(learned.rules.len(), "rule")
    ));
    let once: Vec<_> = learned
        .rules
        .iter()
        .filter(|it| it.seen.once(learned.captures))
        .collect();
    if !once.is_empty() {
        lines.push("seen once only; take out what the device is not for:".to_owned());
        lines.extend(once.iter().map(|rule| format!("  {}", rule.words())));
    }
    if !learned.unused_names.is_empty() {
        lines.push(
            "asked for by name and never connected to; the names will be refused:".to_owned(),
        );
        lines.extend(learned.unused_names.iter().map(|name| format!("  {name}")));
    }
    if !learned.left_out.is_empty() {
        lines.push("no rule is made for:".to_owned());
        lines.extend(learned.left_out.iter().map(|it| format!("  {it}")));
    }
    lines
}

/// How much of other captures the profile would have allowed.
fn told(judged: &Judged, captures: &[PathBuf]) -> Vec<String> {
    let rows: Vec<Vec<String>> = Class::ALL
        .iter()
        .map(|class| {
            let count = judged.classes.get(class).copied().unwrap_or_default();
            let mille = count.per_mille();
            let share = match count.flows {
                0 => "-".to_owned(),
                _ => format!("{}.{} %", mille / 10, mille % 10),
            };
            let cells = [
                class.as_str().to_owned(),
                count.flows.to_string(),
                count.allowed.to_string(),
                share,
            ];
            cells.to_vec()
        })
        .collect();
    let mut lines = vec![table(&["CLASS", "FLOWS", "ALLOWED", "SHARE"], &rows)];
    for refused in &judged.refused {
        let capture = captures
            .get(refused.capture)
            .map_or_else(String::new, |it| it.display().to_string());
        lines.push(format!(
            "refused in {capture}: {} ({})",
            refused.flow, refused.reason
        ));
    }
    for name in judged.unknown_names.keys() {
        lines.push(format!("refused name: {name}"));
    }
    lines
}

fn as_value(learned: &Learned, tested: Option<&Judged>, remarks: &[String], text: &str) -> Value {
    let rules: Vec<Value> = learned
        .rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.words(),
                "flows": rule.seen.flows,
                "captures": rule.seen.captures,
                "once": rule.seen.once(learned.captures),
            })
        })
        .collect();
    let names: Vec<_> = learned.unused_names.iter().map(HostName::as_str).collect();
    json!({
        "profile": text,
        "captures": learned.captures,
        "rules": rules,
        "unused-names": names,
        "left-out": learned.left_out,
        "notes": remarks,
        "test": tested.map(test_value),
    })
}

fn test_value(judged: &Judged) -> Value {
    let class = |class: &Class| {
        let count = judged.classes.get(class).copied().unwrap_or_default();
        let counts = json!({ "flows": count.flows, "allowed": count.allowed });
        (class.as_str().to_owned(), counts)
    };
    let classes: serde_json::Map<String, Value> = Class::ALL.iter().map(class).collect();
    let refused: Vec<Value> = judged
        .refused
        .iter()
        .map(|it| json!({ "capture": it.capture, "flow": it.flow.to_string(), "reason": it.reason.to_string() }))
        .collect();
    let names: Vec<_> = judged.unknown_names.keys().map(HostName::as_str).collect();
    json!({ "classes": classes, "refused": refused, "refused-names": names })
}
