//! Starting, stopping, and starting where it makes no sense.

use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, finish, text, without};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn ctrl_c_stops_it_cleanly_and_a_second_up_finds_everything() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    gateway.enrol("probe", "porch")?;
    let before = gateway.json(&["ca", "show"])?["ca_fingerprint"].clone();
    assert!(before.is_string(), "no fingerprint");
    gateway.stop()?;
    gateway.up()?;
    assert_eq!(gateway.json(&["ca", "show"])?["ca_fingerprint"], before);
    assert!(gateway.cli(&["device", "list"])?.contains("porch"));
    gateway.stop()
}

#[test]
fn a_data_directory_in_use_is_refused_and_the_error_says_by_whom() -> Result<()> {
    let gateway = Gateway::start()?;
    let config = gateway.folder().join("stockade.toml").display().to_string();
    let output = finish(&mut gateway.command(&["up", "--config", &config]), PATIENCE)?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&gateway.process().to_string()),
        "the error does not name the process: {said}"
    );
    Ok(())
}

#[test]
fn a_data_directory_of_a_newer_version_is_refused_and_left_as_it_is() -> Result<()> {
    let mut gateway = Gateway::start()?;
    gateway.stop()?;
    let format = gateway.data().join("FORMAT");
    let newer = fs_err::read_to_string(&format)?.replacen('1', "999", 1);
    fs_err::write(&format, &newer)?;
    let config = gateway.folder().join("stockade.toml").display().to_string();
    let output = finish(&mut gateway.command(&["up", "--config", &config]), PATIENCE)?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("has format 999"), "{said}");
    assert_eq!(fs_err::read_to_string(&format)?, newer);
    Ok(())
}

#[test]
fn a_port_in_use_is_refused_by_number() -> Result<()> {
    let gateway = Gateway::start()?;
    let port = gateway.address("mqtt")?.port();
    let config = gateway.folder().join("second.toml");
    let listen = format!(
        "[listen]\nmqtt = \"127.0.0.1:{port}\"\nest = \"127.0.0.1:0\"\nconsole = \"127.0.0.1:0\"\ncoap = \"127.0.0.1:0\"\n"
    );
    fs_err::write(&config, format!("schema = 1\n\n{listen}"))?;
    let data = gateway.folder().join("second");
    let mut command = std::process::Command::new(stockade_e2e::tools::stockade()?);
    command
        .arg("--data")
        .arg(data)
        .args(["up", "--config"])
        .arg(config);
    let output = finish(&mut command, PATIENCE)?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&port.to_string()),
        "the error does not name the port: {said}"
    );
    Ok(())
}

#[test]
fn a_typo_in_the_configuration_is_refused_with_its_place_and_a_suggestion() -> Result<()> {
    let gateway = Gateway::start()?;
    let config = gateway.folder().join("typo.toml");
    fs_err::write(&config, "schema = 1\n\n[listen]\nmqqt = \"127.0.0.1:0\"\n")?;
    let output = finish(gateway.command(&["config", "check"]).arg(&config), PATIENCE)?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["typo.toml", "4", "mqqt", "mqtt"] {
        assert!(said.contains(part), "`{part}` is not said: {said}");
    }
    Ok(())
}

#[test]
fn what_it_keeps_is_readable_by_its_user_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = Gateway::start()?;
    let mode = fs_err::metadata(gateway.data())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the data directory has mode {mode:o}");
    let mut secrets = 0;
    let mut open = vec![gateway.data()];
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            let mode = fs_err::symlink_metadata(&path)?.permissions().mode();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.ends_with("vault/log") {
                // For whoever verifies it: it says nothing of a person.
            } else if path.is_dir() {
                open.push(path);
            } else if ![".pem", ".pub", "FORMAT", ".json"]
                .iter()
                .any(|open| name.ends_with(open))
            {
                // Whatever is not meant to be handed out, even if somebody opens the directory later.
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
                secrets += 1;
            }
        }
    }
    assert!(
        secrets >= 4,
        "keys, state, journal and socket: only {secrets} were seen"
    );
    Ok(())
}

#[test]
fn a_port_in_use_leaves_nothing_half_started_and_no_password_unseen() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    for face in ["mqtt", "est", "console"] {
        let mut gateway = Gateway::prepared("")?;
        let config = gateway.folder().join("taken.toml");
        let listen = ["mqtt", "est", "console"].map(|name| {
            let port = if name == face { port } else { 0 };
            format!("{name} = \"127.0.0.1:{port}\"\n")
        });
        fs_err::write(
            &config,
            format!(
                "schema = 1\n[listen]\ncoap = \"127.0.0.1:0\"\n{}",
                listen.concat()
            ),
        )?;
        let output = finish(gateway.command(&["up", "--config"]).arg(&config), PATIENCE)?;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{face}: {said}");
        assert!(said.contains(&format!("[listen] {face}")), "{said}");
        assert!(!said.contains("one-time password"), "{said}");
        // The first start that succeeds is the first start.
        gateway.up()?;
        eventually("its first password", PATIENCE, || {
            let said = gateway.said();
            Ok(said.contains("one-time password").then_some(()))
        })
        .with_context(|| face)?;
        gateway.stop()?;
    }
    Ok(())
}
