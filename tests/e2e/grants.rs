//! Grants between devices with certificates, and labels of devices without, judged by programs that are not ours.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::tools::{eventually, peer_script, succeed, without};
use stockade_e2e::{Device, Gateway};

const ASKER: &str = r#"schema = 1
[device]
manufacturer = "Acme"
model = "asker"
version = 1
class = "linux"
[[comms.peer]]
model = "asked"
scope = ["siren.sound"]
"#;

fn install(gateway: &Gateway, name: &str, text: &str) -> Result<()> {
    let path = gateway.folder().join(name);
    fs_err::write(&path, text)?;
    gateway.install(&path)
}

fn fetch(gateway: &Gateway, device: &Device, to: &str) -> Result<()> {
    let url = format!(
        "https://{}/.well-known/stockade/grants",
        gateway.address("est")?
    );
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--cacert"]).arg(&device.ca);
    curl.arg("--cert")
        .arg(&device.certificate)
        .arg("--key")
        .arg(&device.key);
    curl.args(["-o", to, &url]).current_dir(gateway.folder());
    succeed(&mut curl).map(drop)
}

/// The certificate that the asker proves to own, as openssl's server sees it in mutual TLS.
fn met(gateway: &Gateway, asked: &Device, asker: &Device) -> Result<String> {
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-naccept",
            "1",
            "-tls1_3",
            "-Verify",
            "1",
        ])
        .arg("-verify_return_error")
        .arg("-CAfile")
        .arg(&asked.ca)
        .arg("-cert")
        .arg(&asked.certificate)
        .arg("-key")
        .arg(&asked.key)
        .stdin(Stdio::piped())
        .stdout(fs_err::File::create(gateway.folder().join("server.log"))?.into_file())
        .spawn()?;
    let said = || fs_err::read_to_string(gateway.folder().join("server.log"));
    let port = eventually("openssl listens", Duration::from_secs(20), || {
        let said = said()?;
        let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT "));
        Ok(line
            .and_then(|line| line.rsplit_once(':'))
            .map(|(_, port)| port.to_owned()))
    })?;
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_quiet", "-tls1_3", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-cert")
        .arg(&asker.certificate)
        .arg("-key")
        .arg(&asker.key)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut words = client.stdin.take().context("no input")?;
    words.write_all(b"may I?\nQ\n")?;
    let end = "-----END CERTIFICATE-----\n";
    let pem = eventually("the peer's certificate", Duration::from_secs(20), || {
        let said = said()?;
        let from = said.find("-----BEGIN CERTIFICATE-----");
        let to = said.find(end).map(|at| at + end.len());
        Ok(from
            .zip(to)
            .and_then(|(from, to)| said.get(from..to).map(str::to_owned)))
    });
    drop(words);
    client.kill()?;
    client.wait()?;
    server.kill()?;
    server.wait()?;
    pem
}

#[test]
fn a_device_with_a_certificate_shows_a_grant_and_only_its_own_key_makes_it_good() -> Result<()> {
    if without(&["openssl", "curl", "python3", "aiocoap"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    install(&gateway, "asker.toml", ASKER)?;
    let (head, _) = ASKER.split_once("[[").context("no peer")?;
    install(
        &gateway,
        "asked.toml",
        &head.replace("\"asker\"", "\"asked\""),
    )?;
    let asker = gateway.enrol("asker", "porch")?;
    let asked = gateway.enrol("asked", "hall")?;
    fetch(&gateway, &asker, "bundle.cbor")?;
    let mut judge = peer_script("grants.py")?;
    judge.current_dir(gateway.folder());
    let said = succeed(judge.args(["bundle.cbor", "grant.cbor", "authority.pem"]))?;
    assert_eq!(
        said.trim_end(),
        "asker/porch asked/hall [['/siren/sound', 7]] 1"
    );
    let key = fs_err::read_to_string(gateway.folder().join("authority.pem"))?;
    assert_eq!(gateway.cli(&["grant", "key"])?.trim_end(), key.trim_end());

    fs_err::write(
        gateway.folder().join("peer.pem"),
        met(&gateway, &asked, &asker)?,
    )?;
    let verify = |us: &str, peer: &str| {
        let arguments = [
            "grant",
            "verify",
            "--authority",
            "authority.pem",
            "--as",
            us,
            "--peer",
            peer,
            "grant.cbor",
        ];
        gateway.json(&arguments)
    };
    let good = verify("asked/hall", "peer.pem")?;
    assert_eq!(good["from"], "asker/porch");
    assert_eq!(good["scope"], serde_json::json!([["/siren/sound", 7]]));
    // Shown by somebody else, or to somebody else.
    let other = asked.certificate.to_string_lossy();
    let refused = verify("asked/hall", &other).map(drop).unwrap_err();
    assert!(
        format!("{refused:#}").contains("given to another key"),
        "{refused:#}"
    );
    let refused = verify("asked/cellar", "peer.pem").map(drop).unwrap_err();
    assert!(
        format!("{refused:#}").contains("for another device"),
        "{refused:#}"
    );

    // What was given so far is void; and who is in quarantine gets nothing.
    let told = gateway.json(&["grant", "revoke", "hall"])?;
    assert_eq!(told["epoch"].as_u64(), Some(2));
    gateway.cli(&["device", "quarantine", "porch"])?;
    let listed = gateway.json(&["grant", "list"])?;
    assert_eq!(listed["grants"], serde_json::json!([]));
    Ok(())
}

/// What a terminal shows of a QR code, as a picture: a full block is two light modules, one above the other.
fn picture(drawn: &str) -> Vec<u8> {
    const SCALE: usize = 4;
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for line in drawn.lines() {
        let half = |lit: &str| {
            line.chars()
                .map(|c| if lit.contains(c) { 255 } else { 0 })
                .collect()
        };
        rows.push(half("█▀"));
        rows.push(half("█▄"));
    }
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = format!("P5\n{} {}\n255\n", width * SCALE, rows.len() * SCALE).into_bytes();
    for row in &rows {
        let line: Vec<u8> = (0..width * SCALE)
            .map(|at| row.get(at / SCALE).copied().unwrap_or(255))
            .collect();
        for _ in 0..SCALE {
            out.extend(&line);
        }
    }
    out
}

#[test]
fn a_label_is_read_from_the_terminal_and_adds_the_device_elsewhere() -> Result<()> {
    if without(&["zbarimg"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    install(
        &gateway,
        "sensor.toml",
        &ASKER
            .replace("\"asker\"", "\"sensor\"")
            .replace("linux", "constrained"),
    )?;
    let add = [
        "device",
        "add",
        "--constrained",
        "--model",
        "sensor",
        "attic",
    ];
    let added =
        gateway.json(&[&add[..], &["--new-key", "attic.cbor", "--qr", "attic.svg"]].concat())?;
    let label = added["label"].as_str().context("no label")?;
    assert!(label.starts_with("stockade:1/sensor/attic/"), "{label}");
    let picture = picture(added["qr"].as_str().context("no code")?);
    fs_err::write(gateway.folder().join("label.pgm"), picture)?;
    let mut zbar = Command::new("zbarimg");
    zbar.current_dir(gateway.folder())
        .args(["-q", "--raw", "label.pgm"]);
    assert_eq!(succeed(&mut zbar)?.trim_end(), label);
    let svg = fs_err::read_to_string(gateway.folder().join("attic.svg"))?;
    assert!(svg.contains("<svg"));
    // A URI record of an NFC tag: its text is the label.
    let record = added["ndef"].as_str().context("no record")?;
    let uri = label
        .bytes()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(record, format!("d101{:02x}5500{uri}", label.len() + 1));
    assert_eq!(gateway.state("attic")?, "pending");
    // The key is in use here; a second gateway takes the label as it was read.
    let again = gateway.cli(&[
        "device",
        "add",
        "--constrained",
        "--model",
        "sensor",
        "--key",
        label,
        "cellar",
    ]);
    assert!(
        format!("{:#}", again.unwrap_err()).contains("attic"),
        "every device has a key of its own"
    );
    let other = Gateway::start()?;
    install(
        &other,
        "sensor.toml",
        &ASKER
            .replace("\"asker\"", "\"sensor\"")
            .replace("linux", "constrained"),
    )?;
    let taken = other.json(&[&add[..], &["--key", label, "--provision", "attic.cbor"]].concat())?;
    assert_eq!(taken["label"], label);
    Ok(())
}
