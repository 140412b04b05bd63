//! A disk that is full, and data that is damaged or not all there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{eventually, finish, say, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::{self, Five};

/// A small disk, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs_err::create_dir_all(at)?;
        let options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self(at.to_owned())));
        }
        say("skipped: mounting a small disk needs root");
        Ok(None)
    }

    /// Takes all the room there is.
    fn fill(&self) -> Result<PathBuf> {
        let ballast = self.0.join("demo");
        fs_err::create_dir_all(&ballast)?;
        let ballast = ballast.join("ballast");
        let mut size = 1 << 20;
        let mut content = Vec::new();
        while size > 0 {
            content.resize(content.len() + size, 1);
            if fs_err::write(&ballast, &content).is_err() {
                content.truncate(content.len() - size);
                size /= 2;
            }
        }
        Ok(ballast)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// What became of a message at `QoS` 1.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// With this reason code (§3.4.2.1).
    Refused(u8),
    Closed,
    Silence,
}

fn publish(connection: &mut Connection, five: Five, number: u16) -> Fate {
    publish_within(Duration::from_secs(20), connection, five, number)
}

fn publish_within(
    patience: Duration,
    connection: &mut Connection,
    five: Five,
    number: u16,
) -> Fate {
    let mut packet = Vec::new();
    // More than what may be left of the file's last page.
    let payload = number.to_be_bytes().repeat(2_000);
    wire::publish(
        five,
        "probe/porch/report",
        Some(number),
        &payload,
        &mut packet,
    );
    if connection.send(&packet).is_err() {
        return Fate::Closed;
    }
    match connection.packet(patience) {
        Err(_) => Fate::Closed,
        Ok(None) => Fate::Silence,
        Ok(Some((_, body))) => match body.get(2) {
            None | Some(0x00 | 0x10) => Fate::Acknowledged,
            Some(&code) => Fate::Refused(code),
        },
    }
}

#[test]
fn a_full_disk_means_refusing_and_room_means_going_on() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::prepared("")?;
    let Some(disk) = SmallDisk::mount(&gateway.data())? else {
        return Ok(());
    };
    gateway.up()?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let (device, reader) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "yard")?,
    );
    let (mut kept, _) = Connection::resume(&reader, "yard", Five(true))?;
    kept.subscribe("probe/+/report", 1)?;
    drop(kept);
    let open =
        |slot: &str, five| Ok::<_, anyhow::Error>(Connection::resume(&device, slot, five)?.0);
    let mut first = open("porch/a", Five(true))?;
    let (mut new, mut old) = (open("porch/b", Five(true))?, open("porch/c", Five(false))?);
    let mut acknowledged = Vec::new();
    ensure!(
        publish(&mut new, Five(true), 1) == Fate::Acknowledged,
        "room, and no PUBACK"
    );
    acknowledged.push(1);

    let ballast = disk.fill()?;
    // The one that meets the end of the disk waits for room; those after it are told.
    let met = publish_within(Duration::from_secs(2), &mut first, Five(true), 2);
    ensure!(
        met == Fate::Silence || met == Fate::Refused(0x97),
        "{met:?}"
    );
    assert_eq!(
        publish(&mut new, Five(true), 3),
        Fate::Refused(0x97),
        "quota exceeded (§3.4.2.1)"
    );
    assert_eq!(
        publish(&mut old, Five(false), 4),
        Fate::Closed,
        "3.1.1 has no word for it"
    );
    gateway.event("an alarm for the journal", |event| {
        event["outcome"] == "alarm" && event["reason"].to_string().contains("the disk is full")
    })?;
    let refused = finish(
        &mut gateway.command(&["device", "add", "--model", "probe", "late"]),
        Duration::from_secs(30),
    )?;
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(!gateway.cli(&["device", "list"])?.contains("late"));
    rights_are_taken_all_the_same(&gateway)?;

    fs_err::remove_file(ballast)?;
    eventually("it goes on by itself", Duration::from_secs(30), || {
        let fate = publish_within(Duration::from_secs(2), &mut new, Five(true), 5);
        Ok((fate == Fate::Acknowledged).then_some(()))
    })?;
    gateway.event("the registry is written", |event| {
        event["reason"]
            .to_string()
            .contains("written to disk again")
    })?;
    gateway.cli(&["device", "add", "--model", "probe", "late"])?;
    gateway.kill()?;
    gateway.up()?;
    assert_eq!(
        gateway.state("yard")?,
        "revoked",
        "the revocation was written"
    );
    assert_eq!(gateway.state("late")?, "pending");
    let after = Device {
        port: gateway.address("mqtt")?.port(),
        ..device
    };
    Connection::resume(&after, "porch", Five(true))?;
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    it_is_said_at_the_start_too(gateway, &disk)
}

/// In memory at once, and written as soon as that can be.
fn rights_are_taken_all_the_same(gateway: &Gateway) -> Result<()> {
    let revoke = ["device", "revoke", "yard"];
    let unwritten = finish(&mut gateway.command(&revoke), Duration::from_secs(30))?;
    assert_eq!(unwritten.status.code(), Some(2), "{}", text(&unwritten));
    assert_eq!(gateway.state("yard")?, "revoked");
    gateway
        .event("an alarm for the registry", |event| {
            event["reason"]
                .to_string()
                .contains("the registry cannot be written")
        })
        .map(drop)
}

fn it_is_said_at_the_start_too(mut gateway: Gateway, disk: &SmallDisk) -> Result<()> {
    gateway.stop()?;
    let ballast = disk.fill()?;
    let config = gateway.folder().join("stockade.toml").display().to_string();
    let output = finish(
        &mut gateway.command(&["up", "--config", &config]),
        Duration::from_secs(30),
    )?;
    assert!(
        text(&output).contains("room") || text(&output).contains("full"),
        "{}",
        text(&output)
    );
    fs_err::remove_file(ballast)?;
    gateway.up()?;
    assert_eq!(gateway.state("yard")?, "revoked");
    gateway.stop()
}

/// `up` on the directory as it is now: it must refuse, soon, with exit code 2, and say these words.
fn is_refused(gateway: &Gateway, what: &str, words: &[&str]) -> Result<()> {
    let config = gateway.folder().join("stockade.toml").display().to_string();
    let output = finish(
        &mut gateway.command(&["up", "--config", &config]),
        Duration::from_secs(30),
    )?;
    let said = text(&output);
    ensure!(output.status.code() == Some(2), "{what}: {said}");
    for word in words {
        ensure!(said.contains(word), "{what}: `{word}` is not said: {said}");
    }
    Ok(())
}

fn the_only_segment(gateway: &Gateway) -> Result<PathBuf> {
    let mut files = fs_err::read_dir(gateway.data().join("journal"))?;
    Ok(files.next().context("no segment")??.path())
}

#[test]
fn damage_is_named_with_its_place_and_nothing_is_overwritten() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let (mut connection, _) = Connection::resume(&device, "porch", Five(true))?;
    connection.subscribe("probe/+/report", 1)?;
    for number in 1..=30 {
        ensure!(publish(&mut connection, Five(true), number) != Fate::Closed);
        // A round trip each, so that each is a record of its own.
        let _delivered = connection.packet(Duration::from_millis(5))?;
    }
    drop(connection);
    gateway.stop()?;
    let segment = the_only_segment(&gateway)?;
    let whole = fs_err::read(&segment)?;

    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    fs_err::write(&segment, &damaged)?;
    let name = segment
        .file_name()
        .context("no name")?
        .to_string_lossy()
        .into_owned();
    is_refused(&gateway, "a damaged record", &[&name, "damaged at byte"])?;
    assert!(
        fs_err::read(&segment)? == damaged,
        "the journal was changed"
    );

    // A torn end is what a power cut leaves.
    fs_err::write(&segment, [&whole[..], &[0x5A; 700]].concat())?;
    gateway.up()?;
    gateway.stop()?;

    let state = gateway.data().join("state.sqlite");
    let sound = fs_err::read(&state)?;
    fs_err::write(&state, [0x5A; 8_192])?;
    is_refused(
        &gateway,
        "a damaged database",
        &["state.sqlite", "not a database"],
    )?;
    fs_err::write(&state, &sound)?;

    for (part, words) in [
        ("state.sqlite", "the registry"),
        ("journal", "sessions and messages"),
        ("ca", "the CA's key"),
        ("ca/ca.key", "the CA's key"),
        ("ca/ca.pem", "the CA's certificate"),
        ("vault/keyring", "keyring is missing"),
        ("vault/root.key", "root key is missing"),
    ] {
        let (path, aside) = (gateway.data().join(part), gateway.folder().join("aside"));
        fs_err::rename(&path, &aside)?;
        is_refused(&gateway, part, &[words])?;
        // What stands there now is an empty directory at most.
        drop(fs_err::remove_dir(&path));
        fs_err::rename(&aside, &path)?;
    }
    let format = gateway.data().join("FORMAT");
    let ours = fs_err::read(&format)?;
    let newer = "stockade data directory\nformat 99\nwritten by stockade 9.9.9\n";
    fs_err::write(&format, newer)?;
    is_refused(&gateway, "a newer format", &["99", "stockade 9.9.9"])?;
    fs_err::write(&format, ours)?;
    gateway.up()?;
    assert_eq!(gateway.state("porch")?, "active", "all is as it was");
    gateway.stop()
}
