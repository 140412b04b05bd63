//! Learned on half of the set-ups of real devices, tested on the other half.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails as the test does, and the table is for people"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_controls::firewall::learn::{
    Class, Count, Header, Learned, Observation, Observer, judge, learn,
};
use stockade_profile::{LinkAddress, Manufacturer, ModelName};
use stockade_wire::capture::Reader;

/// Captures of real devices (Miettinen et al., arXiv 1611.04880), which are not ours to hand on.
fn data(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(folder);
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// `Setup-C-10-STA.pcap` comes after `Setup-C-9-STA.pcap`.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut captures = entries(folder);
    captures.retain(|path| path.extension().is_some_and(|it| it == "pcap"));
    captures.sort_by_key(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut parts = name.split('-').skip(1);
        let who = parts.next().unwrap_or_default().to_owned();
        let number: u32 = parts.next().and_then(|it| it.parse().ok()).unwrap_or(0);
        (who, number)
    });
    captures
}

fn observe(device: LinkAddress, path: &Path) -> Observation {
    let bytes = fs_err::read(path).unwrap();
    let mut observer = Observer::new(device);
    for frame in Reader::new(&bytes) {
        observer.frame(&frame.unwrap());
    }
    observer.finish()
}

fn header(name: &str) -> Header {
    Header {
        manufacturer: Manufacturer::new("Unknown").unwrap(),
        model: ModelName::new(&name.to_ascii_lowercase()).unwrap(),
    }
}

/// How many flows of a class, over all devices.
type Sums = BTreeMap<Class, (u64, u64)>;

/// Outbound flows, when names have only the addresses that the test half gave them: captures that begin after the answer.
#[derive(Default)]
struct Strict(u64, u64);

/// Learns from every second capture and tests on the others; what may not be is pushed to `faults`.
fn halves(
    folder: &Path,
    first: usize,
    (sums, strict): (&mut Sums, &mut Strict),
    faults: &mut Vec<String>,
) {
    let name = folder.file_name().unwrap().to_string_lossy();
    let mac = fs_err::read_to_string(folder.join("_iotdevice-mac.txt")).unwrap();
    let device: LinkAddress = mac.trim().parse().unwrap();
    let captures = captures(folder);
    let started = Instant::now();
    let half = |skip: usize| -> Vec<Observation> {
        let half = captures.iter().skip(skip).step_by(2);
        half.map(|path| observe(device, path)).collect()
    };
    let train = half(first);
    let learned = learn(&header(&name), &train).unwrap();
    let took = started.elapsed();
    let test = half(1 - first);
    let judged = judge(&learned.profile, &test, &train);
    let alone = judge(&learned.profile, &test, &[]);
    let alone = alone
        .classes
        .get(&Class::Outbound)
        .copied()
        .unwrap_or_default();
    *strict = Strict(strict.0 + alone.allowed, strict.1 + alone.flows);
    let once = learned.rules.iter();
    let once = once.filter(|rule| rule.seen.once(learned.captures)).count();
    print!("{name:<18}{:>6}{once:>6}", learned.rules.len());
    for class in Class::ALL {
        let count = judged.classes.get(&class).copied().unwrap_or_default();
        let sum = sums.entry(class).or_default();
        *sum = (sum.0 + count.allowed, sum.1 + count.flows);
        print!(
            "{:>8}/{:<5}{:>6}",
            count.allowed,
            count.flows,
            percent(count)
        );
    }
    println!("{:>7}", took.as_millis());
    for refused in &judged.refused {
        println!("    refused: {}", refused.flow);
    }
    if took >= Duration::from_secs(1) {
        faults.push(format!("{name}: learning took {} ms", took.as_millis()));
    }
    faults.extend(unsound(&name, &learned, &train));
}

fn percent(count: Count) -> String {
    let mille = count.per_mille();
    format!("{}.{}%", mille / 10, mille % 10)
}

/// A wildcard, text that is not the profile, or a flow that was learned from and is refused.
fn unsound(name: &str, learned: &Learned, train: &[Observation]) -> Vec<String> {
    let text = learned.to_toml();
    let checked = stockade_profile::check(&text);
    let wild = |line: &&str| {
        ["\"any\"", "\"1-65535\"", "/0\""]
            .iter()
            .any(|it| line.ends_with(it))
    };
    let mut found: Vec<String> = text.lines().filter(wild).map(str::to_owned).collect();
    found.extend(checked.faults.iter().map(|fault| fault.message.clone()));
    if checked.profile.as_ref() != Some(&learned.profile) {
        found.push("the text is not the profile".to_owned());
    }
    let own = judge(&learned.profile, train, &[]);
    let refused = own.refused.iter().map(|refused| refused.flow.to_string());
    let left_out = |flow: &String| learned.left_out.iter().any(|it| it.starts_with(flow));
    let refused = refused.filter(|flow| !left_out(flow));
    found.extend(refused.map(|flow| format!("refuses what it learned: {flow}")));
    found
        .into_iter()
        .map(|fault| format!("{name}: {fault}"))
        .collect()
}

fn table(first: usize) {
    let Some(folder) = data("pcap") else {
        return;
    };
    let heads = ["outbound", "inbound", "multicast"].map(|head| format!("{head:>20}"));
    println!(
        "{:<18}{:>6}{:>6}{}{:>7}",
        "device",
        "rules",
        "once",
        heads.concat(),
        "ms"
    );
    let (mut sums, mut strict, mut faults) = (Sums::new(), Strict::default(), Vec::new());
    for folder in entries(&folder).iter().filter(|it| it.is_dir()) {
        halves(folder, first, (&mut sums, &mut strict), &mut faults);
    }
    print!("{:<30}", "all");
    for (class, (allowed, flows)) in sums {
        let count = Count { flows, allowed };
        print!("{allowed:>8}/{flows:<5}{:>6}", percent(count));
        if count.per_mille() < 990 {
            faults.push(format!("{}: {}", class.as_str(), percent(count)));
        }
    }
    println!();
    println!(
        "outbound, by the answers in the test half alone: {} of {}",
        strict.0, strict.1
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_half_of_the_set_ups_taught_allows_the_other_half() {
    table(0);
}

#[test]
fn what_the_other_half_taught_allows_the_first() {
    table(1);
}

#[test]
fn every_station_of_every_capture_can_be_learned() {
    let Some(folder) = data("pcap-protocols") else {
        return;
    };
    let (mut stations, mut faults) = (0, Vec::new());
    for path in entries(&folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let nobody = observe(LinkAddress::new([2, 0, 0, 0, 0, 1]), &path);
        for station in nobody.stations().iter().take(4) {
            let observed = [observe(*station, &path)];
            let learned = learn(&header("device"), &observed).unwrap();
            faults.extend(unsound(&format!("{name} {station}"), &learned, &observed));
            stations += 1;
        }
    }
    println!("{stations} stations learned");
    assert!(stations > 30);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
