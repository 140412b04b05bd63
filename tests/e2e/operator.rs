//! The command line as an operator uses it: what it prints, and what it ends with.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, finish, root, stockade, succeed, text, without};

const PATIENCE: Duration = Duration::from_secs(20);

const FAULTY: &str = r#"schema = 1

[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linx"

[[comms.publish]]
tpoic = "cam-2/${device}/motion"
max-bytes = "512"

[protocols]
tls = ["1.1"]
"#;

/// What a command without a gateway prints, and the code it ends with.
fn alone(folder: &Path, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(stockade()?);
    command.current_dir(folder).args(arguments);
    let output = finish(&mut command, PATIENCE)?;
    let code = output.status.code().context("ended by a signal")?;
    Ok((code, text(&output)))
}

/// The same with a gateway.
fn with(gateway: &Gateway, arguments: &[&str]) -> Result<(i32, String)> {
    let output = finish(&mut gateway.command(arguments), PATIENCE)?;
    let code = output.status.code().context("ended by a signal")?;
    Ok((code, text(&output)))
}

/// The test profile, as another version with something replaced.
fn probe(gateway: &Gateway, version: u32, from: &str, to: &str) -> Result<String> {
    let text = fs_err::read_to_string(root().join("tests/profiles/probe.toml"))?;
    let text = text
        .replace("version = 1", &format!("version = {version}"))
        .replace(from, to);
    let file = format!("probe-{version}.toml");
    fs_err::write(gateway.folder().join(&file), text)?;
    Ok(file)
}

#[test]
fn profile_check_reports_every_fault_with_its_place_and_a_suggestion() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs_err::write(folder.path().join("faulty.toml"), FAULTY)?;
    let (code, said) = alone(folder.path(), &["profile", "check", "faulty.toml"])?;
    assert_eq!(code, 1, "{said}");
    insta::assert_snapshot!(said);
    let (code, said) = alone(
        folder.path(),
        &["--json", "profile", "check", "faulty.toml"],
    )?;
    let told: Value = serde_json::from_str(&said)?;
    assert_eq!(
        (code, told["faults"].as_array().map(Vec::len)),
        (1, Some(5))
    );
    let sound = root().join("profiles/cam-2.toml").display().to_string();
    let (code, said) = alone(folder.path(), &["profile", "check", &sound])?;
    assert_eq!(code, 0, "{said}");
    // One fault among several files is enough.
    let (code, _) = alone(folder.path(), &["profile", "check", &sound, "faulty.toml"])?;
    assert_eq!(code, 1);
    let (code, said) = alone(folder.path(), &["profile", "check", "absent.toml"])?;
    assert!(code == 2 && said.contains("absent.toml"), "{code}: {said}");
    Ok(())
}

/// One that keeps readable what names somebody; that it was taken is an event.
fn a_refused_policy_is_taken_on_the_operators_word_only(gateway: &Gateway) -> Result<()> {
    let version = || -> Result<Value> {
        Ok(gateway.json(&["profile", "list"])?["models"][0]["version"].clone())
    };
    let leaky = probe(
        gateway,
        4,
        "owner-email = { use = \"drop\" }",
        "owner-email = { use = \"keep\", role = \"direct\" }",
    )?;
    let (code, said) = with(gateway, &["profile", "install", &leaky])?;
    assert!(
        code == 2
            && said.contains("data.reading.owner-email: a direct identifier is stored readable")
            && said.contains("--allow-policy-findings"),
        "{code}: {said}"
    );
    assert_eq!(version()?, 2, "{said}");
    let add = ["device", "add", "--model", "probe", "porch"];
    gateway.cli(&add)?;
    gateway.cli(&["profile", "install", &leaky, "--allow-policy-findings"])?;
    assert_eq!(version()?, 4);
    let add = ["device", "add", "--model", "probe", "hall"];
    let (code, said) = with(gateway, &add)?;
    assert!(
        code == 2 && said.contains("data.reading.owner-email"),
        "{code}: {said}"
    );
    gateway.cli(&[&add[..], &["--allow-policy-findings"]].concat())?;
    for what in [
        "profile of probe version 4 was installed",
        "probe/hall was added",
    ] {
        gateway.event("the operator's word", |event| {
            let reason = event["reason"].as_str().unwrap_or_default();
            reason.starts_with(what) && reason.contains("its policy is refused")
        })?;
    }
    Ok(())
}

#[test]
fn a_signed_profile_is_taken_from_a_trusted_key_only_and_never_goes_back() -> Result<()> {
    // Relative to the file that names it, wherever the gateway is started.
    let mut gateway = Gateway::prepared("[gateway]\nprofile-keys = [\"maker.pem.pub\"]\n")?;
    for key in ["maker.pem", "other.pem"] {
        gateway.cli(&["profile", "keygen", key])?;
    }
    let (code, said) = with(&gateway, &["profile", "keygen", "maker.pem"])?;
    assert!(
        code == 2 && said.contains("maker.pem"),
        "a key was overwritten: {said}"
    );
    gateway.up()?;
    for version in [1, 2] {
        let file = probe(&gateway, version, "", "")?;
        gateway.cli(&["profile", "sign", &file, "--key", "maker.pem"])?;
    }
    let file = probe(&gateway, 3, "", "")?;
    gateway.cli(&["profile", "sign", &file, "--key", "other.pem"])?;

    let verify = |file: &str| {
        with(
            &gateway,
            &["profile", "verify", file, "--key", "maker.pem.pub"],
        )
    };
    let (code, said) = verify("probe-2.cose")?;
    assert!(
        code == 0 && said.contains("probe version 2"),
        "{code}: {said}"
    );
    let (code, said) = verify("probe-3.cose")?;
    assert!(
        code == 2 && said.contains("probe-3.cose is refused"),
        "{code}: {said}"
    );
    let mut changed = fs_err::read(gateway.folder().join("probe-2.cose"))?;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs_err::write(gateway.folder().join("changed.cose"), changed)?;
    let (code, said) = verify("changed.cose")?;
    assert!(
        code == 2 && said.contains("changed.cose is refused"),
        "{code}: {said}"
    );

    let version = || -> Result<Value> {
        Ok(gateway.json(&["profile", "list"])?["models"][0]["version"].clone())
    };
    gateway.cli(&["profile", "install", "probe-2.cose"])?;
    // Twice is no change.
    gateway.cli(&["profile", "install", "probe-2.cose"])?;
    for refused in [
        "probe-1.cose",
        "probe-1.toml",
        "probe-3.cose",
        "changed.cose",
    ] {
        let (code, said) = with(&gateway, &["profile", "install", refused])?;
        assert!(
            code == 2 && said.starts_with("error: "),
            "{refused}: {code}: {said}"
        );
        assert_eq!(version()?, 2, "{refused} was installed: {said}");
    }
    // The same number with another content is no new version either.
    let file = probe(&gateway, 2, "4096", "4097")?;
    let (code, said) = with(&gateway, &["profile", "install", &file])?;
    assert!(code == 2 && said.contains("version"), "{code}: {said}");
    a_refused_policy_is_taken_on_the_operators_word_only(&gateway)?;
    gateway.stop()?;
    gateway.up()?;
    let (code, said) = with(&gateway, &["profile", "install", "probe-1.cose"])?;
    assert!(
        code == 2 && said.contains("version"),
        "after a restart: {code}: {said}"
    );
    Ok(())
}

#[test]
fn an_authority_of_ones_own_is_imported_before_the_first_start() -> Result<()> {
    if without(&["openssl", "curl", "mosquitto_pub"]) {
        return Ok(());
    }
    let mut gateway = Gateway::prepared("")?;
    let make = |name: &str, extension: &str| {
        succeed(Command::new("openssl").current_dir(gateway.folder()).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Our own authority",
            "-addext",
            extension,
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ]))
    };
    make("leaf", "basicConstraints=critical,CA:FALSE")?;
    make("own", "basicConstraints=critical,CA:TRUE")?;
    let import = |certificate: &str, key: &str| {
        with(
            &gateway,
            &["ca", "import", "--certificate", certificate, "--key", key],
        )
    };
    let (code, said) = import("leaf.pem", "leaf.key")?;
    assert_eq!(
        code, 2,
        "a certificate that is no authority was taken: {said}"
    );
    let (code, said) = import("own.pem", "leaf.key")?;
    assert_eq!(code, 2, "a key of another certificate was taken: {said}");
    let (code, said) = import("own.pem", "own.key")?;
    assert_eq!(code, 0, "{said}");
    gateway.up()?;
    gateway.install(&root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    succeed(
        Command::new("openssl")
            .args(["verify", "-CAfile"])
            .arg(gateway.folder().join("own.pem"))
            .arg(&device.certificate),
    )?;
    let output = device.publish("mqttv5", "1", "probe/porch/report", "hi")?;
    assert!(output.status.success(), "{}", text(&output));
    gateway.stop()?;
    // A gateway that has an authority keeps it: its devices trust it.
    let output = finish(
        &mut gateway.command(&[
            "ca",
            "import",
            "--certificate",
            "own.pem",
            "--key",
            "own.key",
        ]),
        PATIENCE,
    )?;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    Ok(())
}

#[test]
fn json_is_printed_wherever_a_person_gets_a_table() -> Result<()> {
    let gateway = Gateway::with_probe()?;
    let profile = root()
        .join("tests/profiles/probe.toml")
        .display()
        .to_string();
    for (command, key) in [
        (&["device", "add", "--model", "probe", "porch"][..], "code"),
        (&["device", "code", "porch"], "code"),
        (&["device", "list"], "devices"),
        (&["device", "show", "porch"], "words"),
        (&["device", "quarantine", "porch"], "state"),
        (&["device", "release", "porch"], "state"),
        (&["device", "revoke", "porch"], "state"),
        (&["device", "remove", "porch"], "id"),
        (&["profile", "list"], "models"),
        (&["profile", "show", &profile], "words"),
        (&["profile", "check", &profile], "faults"),
        (
            &[
                "vault",
                "query",
                "--schema",
                "reading",
                "--purpose",
                "operation",
            ],
            "records",
        ),
        (&["events"], "events"),
        (&["ca", "show"], "ca_fingerprint"),
    ] {
        let told = gateway.json(command)?;
        assert!(!told[key].is_null(), "{command:?} has no `{key}`: {told}");
    }
    assert!(gateway.json(&["vault", "query"])?.is_object());
    Ok(())
}

#[test]
fn errors_name_the_culprit_and_the_next_step() -> Result<()> {
    let mut gateway = Gateway::with_probe()?;
    for (command, parts) in [
        (
            &["device", "add", "--model", "nosuch", "porch"][..],
            &["nosuch", "profile"][..],
        ),
        (
            &["device", "add", "--model", "probe", "A B"],
            &["A B", "a-z"],
        ),
        (&["device", "show", "nosuch"], &["nosuch"]),
        (&["device", "release", "nosuch"], &["nosuch"]),
        (&["profile", "install", "nosuch.toml"], &["nosuch.toml"]),
        (&["publish", "a/#", "x"], &["a/#"]),
        (
            &["vault", "query", "--schema", "reading", "--limit", "0"],
            &["limit"],
        ),
        (&["device", "lsit"], &["lsit", "list"]),
        (&["config", "check", "nosuch.toml"], &["nosuch.toml"]),
    ] {
        let (code, said) = with(&gateway, command)?;
        assert_eq!(code, 2, "{command:?}: {said}");
        for part in parts {
            assert!(
                said.contains(part),
                "{command:?} does not say `{part}`: {said}"
            );
        }
    }
    gateway.stop()?;
    let (code, said) = with(&gateway, &["device", "list"])?;
    assert!(
        code == 2 && said.contains("admin.sock") && said.contains("stockade up"),
        "{said}"
    );
    Ok(())
}

#[test]
fn completions_and_manual_pages_cover_every_command() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = alone(folder.path(), &["completions", shell])?;
        assert_eq!(code, 0, "{shell}");
        for word in ["quarantine", "keygen", "reset-password"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
        if shell == "bash" {
            let file = folder.path().join("completion");
            fs_err::write(&file, script)?;
            let ask = format!(
                "source {} && COMP_WORDS=(stockade device qu) COMP_CWORD=2 && _stockade stockade qu device && echo \"${{COMPREPLY[@]}}\"",
                file.display()
            );
            let answer = succeed(Command::new("bash").args(["-c", &ask]))?;
            assert_eq!(answer.trim(), "quarantine");
        }
    }
    let (code, said) = alone(folder.path(), &["man", "pages"])?;
    assert_eq!(code, 0, "{said}");
    for page in [
        "stockade.1",
        "stockade-up.1",
        "stockade-device-revoke.1",
        "stockade-vault-query.1",
    ] {
        let text = fs_err::read_to_string(folder.path().join("pages").join(page))?;
        assert!(
            text.contains(".TH ") && text.contains(".SH NAME"),
            "{page}: {text}"
        );
    }
    Ok(())
}

#[test]
fn the_log_can_have_a_line_of_json_for_every_event() -> Result<()> {
    if without(&["openssl", "curl", "mosquitto_pub"]) {
        return Ok(());
    }
    let gateway =
        Gateway::start_with("[log]\nlevel = \"warn,stockade::events=debug\"\nformat = \"json\"\n")?;
    gateway.install(&root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    device.publish("mqttv5", "1", "probe/hall/report", "not mine")?;
    let event = gateway.event("the refusal", |event| {
        event["outcome"] == "refused" && event["device"] == "porch"
    })?;
    let line = eventually("a line in the log", PATIENCE, || {
        let said = gateway.said();
        let lines = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["target"] == "stockade::events");
        Ok(lines.find(|line| line["fields"]["seq"] == event["seq"]))
    })?;
    let fields = &line["fields"];
    for (name, same) in [
        ("outcome", "outcome"),
        ("control", "control"),
        ("device", "device"),
        ("peer", "peer"),
        ("message", "reason"),
    ] {
        assert_eq!(fields[name], event[same], "{line}");
    }
    Ok(())
}
