//! Versions, ciphers and certificates of TLS and DTLS servers of many makers, asked from outside: each row right, with few
//! connections, beside what sslscan and nmap say of the same servers in the same run.

#[path = "audit_services/lab.rs"]
#[expect(dead_code, reason = "the test of services uses the rest of it")]
mod lab;
#[path = "audit_tls/servers.rs"]
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{DEVICE, Lab};
use stockade_e2e::netlab::space::unable;
use stockade_e2e::tools::{finish, say, text};
use stockade_probe::line::{Line, Options, Spent};
use stockade_probe::tls::{Facts, Inventory, Verdict, What};
use stockade_probe::{dtls, tls};
use stockade_wire::tls::{Version, suites};

/// Versions in the order of the table, and what others call them.
const VERSIONS: [(Version, &str, &str); 6] = [
    (Version::Ssl2, "SSLv2", "SSLv2"),
    (Version::Ssl3, "SSLv3", "SSLv3"),
    (Version::Tls10, "TLSv1.0", "TLSv1.0"),
    (Version::Tls11, "TLSv1.1", "TLSv1.1"),
    (Version::Tls12, "TLSv1.2", "TLSv1.2"),
    (Version::Tls13, "TLSv1.3", "TLSv1.3"),
];

const NOT_RUN: &str = "not run";

fn line() -> Line {
    Line::new(Options {
        timeout: Duration::from_secs(5),
        ..Options::default()
    })
}

fn ask(port: u16, ciphers: bool) -> Result<(Facts, Spent)> {
    let line = line();
    let to: SocketAddr = format!("{DEVICE}:{port}").parse()?;
    let what = What {
        name: None,
        ciphers,
    };
    Ok((tls::probe(&line, to, &what), line.spent()))
}

/// One letter a version: offered, refused, not TLS, undetermined.
fn letters(facts: &Facts) -> String {
    let letter = |version: &Version| match facts.versions.get(version) {
        Some(Verdict::Offered { .. }) => 'y',
        Some(Verdict::Refused(_)) => '-',
        Some(Verdict::NotTls(_)) => 'p',
        Some(Verdict::Undetermined(_)) | None => '?',
    };
    VERSIONS
        .iter()
        .map(|(version, ..)| letter(version))
        .collect()
}

/// What sslscan says, in the same letters.
fn by_sslscan(port: u16) -> Result<String> {
    let mut command = Command::new("sslscan");
    command.args([
        "--no-colour",
        "--no-ciphersuites",
        "--no-fallback",
        "--no-renegotiation",
    ]);
    command.args([
        "--no-groups",
        "--no-compression",
        "--no-heartbleed",
        "--no-check-certificate",
    ]);
    let said = finish(
        command.arg(format!("{DEVICE}:{port}")),
        Duration::from_secs(30),
    )?;
    let said = text(&said);
    let letter = |name: &str| {
        let line = said
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        match line.and_then(|line| line.split_whitespace().nth(1)) {
            Some("enabled") => 'y',
            Some("disabled") => '-',
            _ => '?',
        }
    };
    Ok(VERSIONS.iter().map(|(_, name, _)| letter(name)).collect())
}

/// What nmap says of each port, in the same letters: it only tells what it has found. And the suites of TLS 1.2.
fn by_nmap(ports: &[u16]) -> Result<BTreeMap<u16, (String, BTreeSet<String>)>> {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let mut command = Command::new("nmap");
    command.args([
        "-Pn",
        "-n",
        "--script",
        "ssl-enum-ciphers,sslv2",
        "-p",
        &ports.join(","),
    ]);
    let said = text(&finish(command.arg(DEVICE), Duration::from_secs(50))?);
    let mut all = BTreeMap::new();
    for part in said.split("/tcp ").zip(said.split("/tcp ").skip(1)) {
        let (before, after) = part;
        let port = before
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok());
        let Some(port) = port else { continue };
        let has = |name: &str| {
            after.contains(&format!("{name}:")) || after.contains(&format!("{name} supported"))
        };
        let letters = VERSIONS
            .iter()
            .map(|(.., name)| if has(name) { 'y' } else { '-' });
        let newest = after.split("TLSv1.2:").nth(1).unwrap_or_default();
        let newest = newest.split("compressors").next().unwrap_or_default();
        let suites = newest
            .split_whitespace()
            .filter(|word| word.starts_with("TLS_"));
        all.insert(
            port,
            (letters.collect(), suites.map(str::to_owned).collect()),
        );
    }
    Ok(all)
}

#[test]
fn every_version_that_servers_of_many_makers_offer_is_known_by_few_connections() -> Result<()> {
    if unable(&servers::PROGRAMS) {
        return Ok(());
    }
    let old = servers::old_node();
    let mut lab = Lab::new()?;
    let rows = servers::start(&mut lab, old)?;
    // Java lets nmap wait for twenty seconds.
    let ports = rows.iter().map(|row| row.port);
    let ports: Vec<u16> = ports.filter(|port| *port != servers::JAVA).collect();
    lab.on_auditor(|| {
        let nmap = match by_nmap(&ports) {
            Ok(all) => all,
            Err(why) => {
                say(&format!("nmap could not be asked: {why:#}"));
                BTreeMap::new()
            }
        };
        say("ssl2 ssl3 1.0 1.1 1.2 1.3: y offered, - refused, p plain text, ? undetermined; ! is wrong");
        let mut wrong = Vec::new();
        for row in &rows {
            let line = line();
            let facts = tls::versions(&line, format!("{DEVICE}:{}", row.port).parse()?, None);
            let (ours, spent) = (letters(&facts), line.spent());
            let (facts, all) = ask(row.port, false)?;
            let mark = |theirs: &str| {
                let wrong = theirs != row.truth && theirs != NOT_RUN;
                format!("{theirs}{}", if wrong { '!' } else { ' ' })
            };
            let nmap = nmap.get(&row.port).map_or(NOT_RUN, |(it, _)| it.as_str());
            let (name, sslscan) = (row.name, by_sslscan(row.port)?);
            say(&format!(
                "{name:32} truth {} ours {} sslscan {} nmap {}  {} connections, {} segments; with ciphers and certificate {}, {}",
                row.truth,
                mark(&ours),
                mark(&sslscan),
                mark(nmap),
                spent.connections,
                spent.segments,
                all.connections,
                all.segments,
            ));
            if ours != row.truth {
                wrong.push(format!("{name}: {ours}, and it is {}: {facts:?}", row.truth));
            }
            if row.few && (spent.connections > 6 || spent.segments > 60) {
                wrong.push(format!("{name}: {spent:?} for the versions"));
            }
            if let Some(weak) = row.weak
                && facts.ciphers.values().any(|it| matches!(it.weak, tls::Accepts::Yes(_))) != weak
            {
                wrong.push(format!("{name}: weak ciphers: {:?}", facts.ciphers));
            }
            if row.certificate != facts.certificates.is_ok() {
                wrong.push(format!("{name}: certificate: {:?}", facts.certificates));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        inventory(&nmap)
    })
}

/// The suites of a server with nearly all there are: no fewer than nmap finds.
fn inventory(nmap: &BTreeMap<u16, (String, BTreeSet<String>)>) -> Result<()> {
    let (facts, spent) = ask(servers::ALL_SUITES, true)?;
    let count = |version| {
        facts
            .inventory
            .get(&version)
            .map_or(0, |it: &Inventory| it.suites.len())
    };
    let new = facts
        .inventory
        .get(&Version::Tls12)
        .context("suites of TLS 1.2")?;
    ensure!(new.incomplete.is_none(), "{new:?}");
    let ours: BTreeSet<&str> = new
        .suites
        .iter()
        .filter_map(|it| suites::name(*it))
        .collect();
    let theirs = nmap.get(&servers::ALL_SUITES).map(|(_, suites)| suites);
    say(&format!(
        "suites of TLS 1.2: ours {}, nmap {}; of TLS 1.3 {}, in {} connections",
        ours.len(),
        theirs.map_or(0, BTreeSet::len),
        count(Version::Tls13),
        spent.connections,
    ));
    let missed = theirs
        .into_iter()
        .flatten()
        .filter(|it| !ours.contains(it.as_str()));
    let missed: Vec<&String> = missed.collect();
    ensure!(missed.is_empty(), "nmap found {missed:?}, too");
    // One connection for each suite, and one more for each version.
    let suites: usize = facts.inventory.values().map(|it| it.suites.len()).sum();
    ensure!(
        spent.connections <= u64::try_from(suites + 4 + 6 + 6)?,
        "{spent:?} for {suites}"
    );
    Ok(())
}

#[test]
fn every_version_of_dtls_that_servers_offer_is_known_by_their_hello() -> Result<()> {
    if unable(&["openssl", "gnutls-serv", "ss"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let rows = servers::start_datagrams(&mut lab)?;
    lab.on_auditor(|| {
        for (name, port, truth, certificate) in rows {
            let line = line();
            let facts = dtls::probe(&line, format!("{DEVICE}:{port}").parse()?, None);
            let spent = line.spent();
            say(&format!(
                "{name}: {:?}, {} datagrams",
                facts.versions, spent.datagrams
            ));
            let offered: Vec<Version> = facts.offered().collect();
            ensure!(offered == truth, "{name}: {facts:?}");
            let unclear = |it: &Verdict| matches!(it, Verdict::Undetermined(_));
            ensure!(!facts.versions.values().any(unclear), "{name}: {facts:?}");
            ensure!(
                facts.certificates.is_ok() == certificate,
                "{name}: {facts:?}"
            );
            ensure!(
                spent.connections == 0 && spent.datagrams <= 24,
                "{name}: {spent:?}"
            );
        }
        // Nothing listens: never an all-clear.
        let facts = dtls::probe(&line(), format!("{DEVICE}:4499").parse()?, None);
        let unclear = |it: &Verdict| matches!(it, Verdict::Undetermined(_));
        ensure!(facts.versions.values().all(unclear), "{facts:?}");
        Ok(())
    })?;
    // And as part of a whole look at the device, where CoAP over DTLS has its port.
    let facts = lab.audit(DEVICE, &lab::options())?;
    let coaps = facts.dtls.iter().find(|(port, _)| *port == 5684);
    let (_, coaps) = coaps.context("CoAP over DTLS")?;
    ensure!(coaps.offered().count() == 2, "{coaps:?}");
    Ok(())
}
