//! A clock that is wrong: at the start, and while the gateway runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{finish, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::Five;

/// Where Debian's `faketime` keeps what it preloads.
fn library() -> Result<PathBuf> {
    let found = fs_err::read_dir("/usr/lib")?
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|path| path.exists());
    found.context("faketime is there, but its library is not")
}

/// The gateway's clock, which the test sets by a file.
fn set(file: &Path, offset: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs_err::write(&new, offset)?;
    fs_err::rename(&new, file)?;
    Ok(())
}

fn with_clock(command: &mut Command, library: &Path, file: &Path) {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Whether the device comes in. It keeps the true time, so it does not trust a gateway that is far off.
fn comes_in(device: &Device) -> bool {
    Connection::resume(device, &device.id, Five(true)).is_ok()
}

#[test]
fn a_wrong_clock_is_named_lets_nobody_in_and_is_forgotten_once_set() -> Result<()> {
    if without(&["openssl", "curl", "faketime"]) {
        return Ok(());
    }
    let library = library()?;
    let mut gateway = Gateway::prepared("")?;
    let clock = gateway.folder().join("clock");
    set(&clock, "+0d")?;
    gateway.up_with(|command| with_clock(command, &library, &clock))?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    let (mut live, _) = Connection::resume(&device, "porch/live", Five(true))?;

    set(&clock, "+60d")?;
    gateway.event("the live session ends with its certificate", |event| {
        event["device"] == "porch" && event["reason"].to_string().contains("certificate ended")
    })?;
    let ended = (0..20).any(|_| live.packet(Duration::from_millis(100)).is_err());
    assert!(ended, "a session outlived its certificate");
    assert!(!comes_in(&device));
    for wrong in ["-60d", "-20000d", "+4000d"] {
        set(&clock, wrong)?;
        assert!(!comes_in(&device), "{wrong}");
        gateway.cli(&["device", "list"])?;
    }
    set(&clock, "+0d")?;
    assert!(comes_in(&device), "right again, and still shut");
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    gateway.stop()?;

    // At the start: before the CA, and after it.
    let config = gateway.folder().join("stockade.toml").display().to_string();
    for (wrong, words) in [("-60d", "set the clock"), ("+8000d", "the CA expired")] {
        set(&clock, wrong)?;
        let mut command = gateway.command(&["up", "--config", &config]);
        with_clock(&mut command, &library, &clock);
        let output = finish(&mut command, Duration::from_secs(30))?;
        let said = text(&output);
        ensure!(output.status.code() == Some(2), "{wrong}: {said}");
        ensure!(said.contains(words), "{wrong}: {said}");
    }
    gateway.up()?;
    let device = Device {
        port: gateway.address("mqtt")?.port(),
        ..device
    };
    assert!(comes_in(&device), "started with the right clock, and shut");
    gateway.stop()
}
