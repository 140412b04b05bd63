//! `cargo xtask bench audit`: audits of images, hosts and advisories, beside what others do for the same, in the same run.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::agent::lab;
use super::agent::process::{Cost, cost_of};
use super::brokers::stockade;
use super::{folder, machine};
use crate::command::{capture, cargo, program, succeed, target};
use crate::{out, prepare};

/// What the bench runs, beside our own.
const PROGRAMS: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
    ("mksquashfs", "squashfs-tools"),
    ("openssl", "openssl"),
];
/// How often each is done; the fastest counts, as other work only ever slows it down.
const ROUNDS: usize = 5;
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records in a bulk of advisories.
const RECORDS: usize = 5_000;

/// Builds, measures and prints.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode> {
    if !arguments.is_empty() {
        bail!("`bench audit` takes no arguments");
    }
    ensure!(
        capture(program("id").arg("-u"))?.trim() == "0",
        "a root directory with its owners needs root"
    );
    for (name, package) in PROGRAMS {
        ensure!(
            prepare::installed(name),
            "{name} is not installed: `apt-get install {package}`"
        );
    }
    let build = |what: &[&str]| {
        let words = [&["build", "--release", "--locked"], what].concat();
        succeed(&mut cargo(&words))
    };
    build(&["-p", "stockade-cli"])?;
    build(&["-p", "stockade-probe", "--example", "tls_versions"])?;
    out::line(&format!("\n{}", machine("auditor and server")));
    let folder = folder().join("audit");
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    fs_err::create_dir_all(&folder)?;
    hosts(&folder)?;
    images(&folder)?;
    advisories(&folder)?;
    fs_err::remove_dir_all(&folder)?;
    Ok(ExitCode::SUCCESS)
}

/// The cheapest of some rounds.
fn best(rounds: usize, command: &Command) -> Result<Cost> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(cost_of(command)?);
    }
    let least = |a: &Cost, b: &Cost| a.wall.total_cmp(&b.wall);
    all.into_iter().min_by(least).context("no round")
}

/// One line of a table: what, how long, how much processor, how much memory.
fn row(name: &str, cost: &Cost, more: &str) -> Vec<String> {
    let mib = cost.peak / 1024;
    vec![
        name.to_owned(),
        format!("{:.3}", cost.wall),
        format!("{:.3}", cost.cpu),
        mib.to_string(),
        more.to_owned(),
    ]
}

fn head(what: &str, more: &str) -> Vec<String> {
    [what, "wall, s", "CPU, s", "peak, MiB", more]
        .map(str::to_owned)
        .to_vec()
}

/// A server that ends with the bench.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to do about one that is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn hosts(folder: &Path) -> Result<()> {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    succeed(
        program("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
            ])
            .args(["-subj", "/CN=bench", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null()),
    )?;
    let ours = target().join("release/examples/tls_versions");
    for (name, words) in [
        ("TLS 1.2 and 1.3", &["-min_protocol", "TLSv1.2"][..]),
        (
            "TLS 1.0 to 1.3",
            &["-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0"],
        ),
    ] {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = format!("127.0.0.1:{port}");
        let mut server = program("openssl");
        server
            .args(["s_server", "-quiet", "-accept", &at, "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate)
            .args(words);
        let quiet = server.stdin(Stdio::piped()).stdout(Stdio::null());
        let _server = Server(quiet.stderr(Stdio::null()).spawn()?);
        let start = Instant::now();
        while TcpStream::connect(&at).is_err() {
            ensure!(
                start.elapsed() < PATIENCE,
                "openssl s_server does not start"
            );
        }
        let said: Value = serde_json::from_str(&capture(program(&text(&ours)).arg(&at))?)?;
        let mut rows = vec![head(&format!("versions of a server with {name}"), "spent")];
        rows.push(row(
            "stockade, versions",
            &best(ROUNDS, program(&text(&ours)).arg(&at))?,
            &format!(
                "{} connections, {} segments: {}",
                said["connections"], said["segments"], said["offered"]
            ),
        ));
        let whole = ["audit", "host", &at, "--output", "json"];
        let whole = best(ROUNDS, program(&stockade()).args(whole))?;
        rows.push(row("stockade audit host, everything", &whole, ""));
        if prepare::installed("sslscan") {
            let versions = [
                "--no-ciphersuites",
                "--no-groups",
                "--no-renegotiation",
                "--no-compression",
                "--no-heartbleed",
                "--no-fallback",
                "--no-check-certificate",
                "--no-cipher-details",
            ];
            let least = best(ROUNDS, program("sslscan").args(versions).arg(&at))?;
            rows.push(row("sslscan, versions", &least, ""));
            let all = best(ROUNDS, program("sslscan").arg(&at))?;
            rows.push(row("sslscan, everything", &all, ""));
        } else {
            out::line("sslscan is not installed (`apt-get install sslscan`): measured without it");
        }
        out::line("");
        out::table(&rows);
    }
    Ok(())
}

fn images(folder: &Path) -> Result<()> {
    let root = lab()?;
    let size = capture(program("du").arg("-sm").arg(&root))?;
    let size = size
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    let (ext4, squashfs) = (folder.join("root.ext4"), folder.join("root.squashfs"));
    succeed(
        program("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .args([&root, &ext4])
            .arg("1G"),
    )?;
    succeed(program("mksquashfs").args([&root, &squashfs]).args([
        "-comp",
        "xz",
        "-quiet",
        "-no-progress",
    ]))?;
    let longest = "find \"$0\" -xdev -type f -printf '%s %P\\n' | sort -n | tail -1";
    let longest = capture(program("sh").args(["-c", longest]).arg(&root))?;
    let mut rows = vec![head(&format!("Debian's root, {size} MB"), "")];
    for (name, path) in [
        ("stockade, the directory", &root),
        ("stockade, as ext4", &ext4),
        ("stockade, as SquashFS (xz)", &squashfs),
    ] {
        let mut command = program(&stockade());
        command.args(["audit", "image"]).arg(path);
        command.args(["--no-vulnerabilities", "--output", "json"]);
        let report: Value = serde_json::from_str(&capture_any(&mut command)?)?;
        let rules = report["rules"].as_array().map_or(0, Vec::len);
        let cost = best(ROUNDS, &command)?;
        rows.push(row(name, &cost, &format!("{rules} rules")));
    }
    if prepare::installed("lynis") {
        rows.push(row("lynis, in the directory", &lynis(folder, &root)?, ""));
    }
    if prepare::installed("checksec") {
        let mut command = program("checksec");
        command.arg(format!("--dir={}", root.join("usr/bin").display()));
        rows.push(row("checksec, its /usr/bin", &cost_of(&command)?, ""));
    }
    out::line("");
    out::table(&rows);
    out::line(&format!("its longest file: {}", longest.trim()));
    Ok(())
}

/// What a program prints, whatever its exit code says of the findings.
fn capture_any(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Lynis can not look into a directory (`--rootdir` looks at the machine all the same): it runs inside a copy.
fn lynis(folder: &Path, root: &Path) -> Result<Cost> {
    let copy = folder.join("copy");
    let script =
        r#"cp -a "$1" "$2" && cp -a --parents /usr/share/lynis /usr/sbin/lynis /etc/lynis "$2""#;
    succeed(
        program("sh")
            .args(["-c", script, "copy"])
            .args([root, &copy]),
    )?;
    let mut command = program("chroot");
    command
        .arg(&copy)
        .args(["/usr/sbin/lynis", "audit", "system"]);
    cost_of(command.args(["--quick", "--quiet", "--no-colors"]))
}

fn advisories(folder: &Path) -> Result<()> {
    let records = folder.join("osv");
    fs_err::create_dir_all(&records)?;
    for number in 0..RECORDS {
        let id = format!("BENCH-2026-{number}");
        // As long and as deep as those of a distribution: a dozen packages each.
        let affected: Vec<Value> = (0..12)
            .map(|package| {
                json!({
                    "package": { "ecosystem": "Debian:12", "name": format!("package-{}", (number * 7 + package) % 3000) },
                    "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": format!("{}.{package}-1", number % 17) }] }],
                })
            })
            .collect();
        let record = json!({
            "schema_version": "1.7.0",
            "id": id,
            "published": "2026-01-01T00:00:00Z",
            "modified": "2026-08-21T00:00:00Z",
            "upstream": [format!("CVE-2026-{number}")],
            "summary": "A record as long as many are",
            "details": "What happens, how it happens and what to do about it. ".repeat(20),
            "affected": affected,
            "references": [{ "type": "ADVISORY", "url": format!("https://example.invalid/{id}") }],
        });
        let mut file = fs_err::File::create(records.join(format!("{id}.json")))?;
        file.write_all(record.to_string().as_bytes())?;
    }
    let db = folder.join("advisories.db");
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        if db.exists() {
            fs_err::remove_file(&db)?;
        }
        let mut ours = program(&stockade());
        ours.args(["audit", "db", "import"]).arg(&records);
        all.push(cost_of(ours.arg("--db").arg(&db))?);
    }
    let least = |a: &Cost, b: &Cost| a.wall.total_cmp(&b.wall);
    let ours = all.into_iter().min_by(least).context("no round")?;
    let script = "import json, pathlib, sys\nfor p in pathlib.Path(sys.argv[1]).iterdir(): json.loads(p.read_bytes())";
    let python = best(
        ROUNDS,
        program("python3").args(["-c", script]).arg(&records),
    )?;
    let mut rows = vec![head(&format!("{RECORDS} OSV records, a file each"), "")];
    rows.push(row("stockade audit db import", &ours, ""));
    rows.push(row("Python reads the JSON, no more", &python, ""));
    out::line("");
    out::table(&rows);
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
