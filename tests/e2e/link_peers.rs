//! A constrained device of other makers, aiocoap with lakers, at the real gateway: enrolled, served, refused, over UDP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, peer_script, root, succeed, without};

/// For one line of a peer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const READING: &str = r#"{"celsius":21}"#;

/// What may be without the tests failing.
fn peers_are_missing() -> bool {
    without(&["openssl", "python3", "aiocoap"])
}

/// A gateway that knows the model, and listens at one place however often it starts.
fn gateway() -> Result<Gateway> {
    let mut gateway = Gateway::start()?;
    gateway.install(&root().join("tests/profiles/leaf.toml"))?;
    let (config, coap) = (
        gateway.folder().join("stockade.toml"),
        gateway.address("coap")?,
    );
    let text = fs_err::read_to_string(&config)?;
    let fixed = text.replace("coap = \"127.0.0.1:0\"", &format!("coap = \"{coap}\""));
    ensure!(fixed != text, "the configuration has no `coap`: {text}");
    fs_err::write(config, fixed)?;
    gateway.stop()?;
    gateway.up()?;
    Ok(gateway)
}

/// A key of openssl's: its file, and that of its public half.
fn key(folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    let [key, public] = ["key", "public"].map(|kind| folder.join(format!("{name}.{kind}.pem")));
    let mut made = Command::new("openssl");
    made.args([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ]);
    succeed(made.arg(&key))?;
    let mut read = Command::new("openssl");
    read.args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out");
    succeed(read.arg(&public))?;
    Ok((key, public))
}

/// A device that was added: its key, and what its firmware would be built with.
struct Added {
    key: PathBuf,
    provision: PathBuf,
}

fn add(gateway: &Gateway, id: &str) -> Result<Added> {
    let (key, public) = key(gateway.folder(), id)?;
    let provision = gateway.folder().join(format!("{id}.provision"));
    let mut command = gateway.command(&["device", "add", "--model", "leaf", id, "--constrained"]);
    succeed(
        command
            .arg("--key")
            .arg(public)
            .arg("--provision")
            .arg(&provision),
    )?;
    Ok(Added { key, provision })
}

/// The device, running; it ends with the test.
struct Device {
    child: Child,
    input: ChildStdin,
    said: mpsc::Receiver<String>,
}

impl Device {
    fn start(gateway: &Gateway, added: &Added) -> Result<Self> {
        let mut child = peer_script("link_device.py")?
            .arg(gateway.address("coap")?.to_string())
            .arg(&added.provision)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (says, said) = mpsc::sync_channel(100);
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::result::Result::ok) {
                if says.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, said })
    }

    fn line(&self) -> Result<String> {
        self.said
            .recv_timeout(PATIENCE)
            .context("the device says nothing")
    }

    /// Tells it something, and gives what it answers.
    fn tell(&mut self, what: &str) -> Result<String> {
        writeln!(self.input, "{what}")?;
        let said = self.line()?;
        stockade_e2e::tools::say(&format!("{what}: {said}"));
        Ok(said)
    }

    fn session(&mut self, key: &Path, how: &str) -> Result<String> {
        self.tell(&format!("session {} {how}", key.display()))
    }

    fn post(&mut self, topic: &str, payload: &str) -> Result<String> {
        self.tell(&format!("ask POST {topic} {payload}"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The readings that the vault keeps, once there are so many.
fn readings(gateway: &Gateway, expected: usize) -> Result<()> {
    eventually("the vault keeps the readings", PATIENCE, || {
        let kept = gateway.json(&[
            "vault",
            "query",
            "--schema",
            "reading",
            "--purpose",
            "operation",
        ])?;
        let kept = kept["records"].as_array().map_or(0, Vec::len);
        ensure!(kept <= expected, "the vault keeps {kept}, not {expected}");
        Ok((kept == expected).then_some(()))
    })
}

/// What the gateway says to a datagram of nobody it knows.
fn raw(gateway: SocketAddr, datagram: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(datagram, gateway)?;
    let mut answer = [0; 1_500];
    let length = socket.recv(&mut answer)?;
    Ok(answer[..length].to_vec())
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    Ok(pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16))
        .collect::<std::result::Result<_, _>>()?)
}

#[test]
fn it_enrols_by_value_and_its_readings_reach_the_vault() -> Result<()> {
    if peers_are_missing() {
        return Ok(());
    }
    let gateway = gateway()?;
    let added = add(&gateway, "fern")?;
    assert_eq!(gateway.state("fern")?, "pending");
    let mut device = Device::start(&gateway, &added)?;
    // message_1 of aiocoap has an item that is not critical (CRED_BY_VALUE); message_4 answers message_3.
    assert_eq!(device.session(&added.key, "by-value explicit")?, "ok");
    assert_eq!(gateway.state("fern")?, "active");
    assert_eq!(device.post("reading", READING)?, "2.04");
    assert_eq!(device.post("leaf/fern/reading", READING)?, "2.04");
    // From now on by its name, message_3 travelling with the first request.
    assert_eq!(device.session(&added.key, "by-key-id combined")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    readings(&gateway, 3)?;

    assert_eq!(device.post("reading", &"x".repeat(129))?, "4.13");
    // In blocks (RFC 7959).
    assert_eq!(device.post("reading", &"x".repeat(3_000))?, "4.13");
    assert_eq!(device.post("secrets", READING)?, "4.03");
    assert_eq!(device.tell("ask GET secrets")?, "4.03");
    assert_eq!(device.tell("ask DELETE reading")?, "4.05");
    gateway.event("the topic that was refused", |event| {
        event
            .to_string()
            .contains("publishes to `leaf/fern/secrets`")
    })?;

    let directory = device.tell("ask GET .well-known/core")?;
    for link in [
        r#"</reading>;rt="stockade.publish";max="128""#,
        r#"</command>;rt="stockade.subscribe";obs"#,
        r#"</grants>;ct="60""#,
    ] {
        assert!(directory.contains(link), "{directory}");
    }
    // [time, epoch, grants], of which there are none.
    let grants = device.tell("ask GET grants")?;
    let bundle = unhex(grants.strip_prefix("2.05 ").context("no content")?)?;
    assert!(
        matches!(bundle[..], [0x83, 0x1a, _, _, _, _, _, 0x80]),
        "{grants}"
    );
    readings(&gateway, 3)
}

#[test]
fn commands_arrive_by_observation_and_wait_for_a_device_that_sleeps() -> Result<()> {
    if peers_are_missing() {
        return Ok(());
    }
    let gateway = gateway()?;
    let added = add(&gateway, "fern")?;
    let publish = |payload| gateway.cli(&["publish", "leaf/fern/command", payload]);
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-value combined")?, "ok");
    assert_eq!(device.tell("observe command")?, "2.05");
    for command in ["water", "rest"] {
        publish(command)?;
        assert_eq!(device.line()?, format!("notified {command}"));
    }
    // Both were acknowledged: nothing waits.
    assert_eq!(device.tell("ask GET command")?, "2.05");
    drop(device);
    publish("wake up")?;
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-key-id explicit")?, "ok");
    assert_eq!(device.tell("ask GET command")?, "2.05 wake up");
    Ok(())
}

#[test]
fn whoever_is_not_that_device_is_refused_and_nothing_is_done_twice() -> Result<()> {
    if peers_are_missing() {
        return Ok(());
    }
    let gateway = gateway()?;
    let (added, coap) = (add(&gateway, "fern")?, gateway.address("coap")?);
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-value explicit")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    let request = unhex(&device.tell("sent")?)?;

    // The same datagram again is the same message; as another message, from anywhere, it is a replay.
    let mut replayed = request.clone();
    replayed[3] ^= 0xff;
    let token = &request[4..4 + usize::from(request[0] & 0xf)];
    let refused = [
        &[0x60 | request[0] & 0xf, 0x81],
        &replayed[2..4],
        token,
        &[0xd0, 1],
    ]
    .concat();
    for datagram in [&request, &replayed] {
        let refused = [&refused[..2], &datagram[2..4], &refused[4..]].concat();
        assert_eq!(raw(coap, datagram)?, refused);
    }
    // Without protection: 4.01, and no word more.
    let plain = [&[0x40, 1, 0, 1, 0xb7][..], b"reading"].concat();
    assert_eq!(raw(coap, &plain)?, [0x60, 0x81, 0, 1, 0xd0, 1]);
    // A critical item of message_1 that nobody knows (RFC 9528, section 3.8).
    assert_eq!(device.tell("critical")?, "4.00 \u{1}grefused");

    // Another key: by the device's name, then by value; a stranger that shows the right name and its own key.
    let (stranger, _) = key(gateway.folder(), "stranger")?;
    for how in ["by-key-id explicit", "by-value explicit"] {
        assert_eq!(device.session(&stranger, how)?, "refused 4.00");
    }
    gateway.event("the stranger", |event| {
        event.to_string().contains("holds a key that no device has")
    })?;
    // The session there was is still the device's.
    assert_eq!(device.post("reading", READING)?, "2.04");
    readings(&gateway, 2)
}

#[test]
fn after_a_restart_of_either_side_a_new_session_serves() -> Result<()> {
    if peers_are_missing() {
        return Ok(());
    }
    let mut gateway = gateway()?;
    let added = add(&gateway, "fern")?;
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-value combined")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    // The device knows nothing any more, and is at another port.
    drop(device);
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-key-id combined")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    gateway.kill()?;
    gateway.up()?;
    assert_eq!(device.post("reading", READING)?, "unprotected 4.01");
    assert_eq!(device.session(&added.key, "by-key-id explicit")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    readings(&gateway, 3)
}

#[test]
fn quarantine_leaves_what_mends_it_and_revocation_nothing() -> Result<()> {
    if peers_are_missing() {
        return Ok(());
    }
    let gateway = gateway()?;
    let added = add(&gateway, "fern")?;
    let mut device = Device::start(&gateway, &added)?;
    assert_eq!(device.session(&added.key, "by-value combined")?, "ok");
    assert_eq!(device.post("reading", READING)?, "2.04");
    gateway.cli(&["device", "quarantine", "fern"])?;
    assert_eq!(device.post("reading", READING)?, "4.03");
    assert_eq!(device.tell("ask GET stockade/fern/repair")?, "2.05");
    gateway.cli(&["device", "release", "fern"])?;
    assert_eq!(device.post("reading", READING)?, "2.04");
    gateway.cli(&["device", "revoke", "fern"])?;
    assert_eq!(device.post("reading", READING)?, "unprotected 4.01");
    for how in ["by-key-id explicit", "by-value explicit"] {
        assert_eq!(device.session(&added.key, how)?, "refused 4.00");
    }
    readings(&gateway, 2)
}
