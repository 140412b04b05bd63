//! The vault's log and who may read it: verified from outside by two programs, one of them not ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::Gateway;
use stockade_e2e::tools::{finish, peer_script, stockade, succeed, text, without};
use stockade_vault::{Access, Action, Entry, Log, Role};
use time::OffsetDateTime;

const PATIENCE: Duration = Duration::from_secs(20);

/// A log with so many entries, made by the program's own library: who asked is `who`.
fn log(vault: &Path, count: u64, who: &str) -> Result<Log> {
    let log = Log::open(vault, None)?;
    let access = Access {
        who: who.to_owned(),
        role: Role::Analyst,
        purpose: Some("maintenance".to_owned()),
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..count / 16 {
                        let entry = Entry::new(OffsetDateTime::UNIX_EPOCH, &access, Action::Query);
                        let _receipt = log.append(&entry)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        writers.into_iter().try_for_each(|it| {
            it.join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))?
        })
    })?;
    Ok(log)
}

/// What both verifiers say of a folder: verified, or what differs.
fn judged(folder: &Path, key: &str, old: Option<&Path>) -> Result<[Result<String, String>; 2]> {
    let mut ours = Command::new(stockade()?);
    ours.args(["vault", "verify-log", "--key", key]).arg(folder);
    let mut theirs = peer_script("verify_log.py")?;
    theirs.arg(folder).arg(key);
    if let Some(old) = old {
        ours.arg("--old").arg(old);
        theirs.arg(old);
    }
    Ok([ours, theirs].map(|mut command| {
        let output = finish(&mut command, PATIENCE).map_err(|error| error.to_string())?;
        let said = text(&output);
        if output.status.success() {
            Ok(said)
        } else {
            Err(said)
        }
    }))
}

fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                // The socket is none.
                found.insert(path.clone(), fs_err::read(&path)?);
            }
        }
    }
    Ok(found)
}

#[test]
fn one_bit_in_any_file_a_cut_a_fork_and_an_old_copy_are_found_by_both_verifiers() -> Result<()> {
    if without(&["python3", "aiocoap"]) {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let (vault, folder) = (place.path().join("vault"), place.path().join("vault/log"));
    fs_err::create_dir(&vault)?;
    let old_copy = place.path().join("old");
    let first = log(&vault, 320, "ana")?;
    let key = first.public_key();
    drop(first);
    succeed(Command::new("cp").arg("-r").arg(&folder).arg(&old_copy))?;
    drop(log(&vault, 320, "ana")?);
    let older = old_copy.join("checkpoint");
    for said in judged(&folder, &key, Some(&older))? {
        let said = said.map_err(anyhow::Error::msg)?;
        ensure!(said.starts_with("verified: 640 entries"), "{said}");
    }

    let all = files(&folder)?;
    assert_eq!(all.len(), 8);
    for (path, bytes) in &all {
        for at in [0, bytes.len() / 2] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            fs_err::write(path, other)?;
            for said in judged(&folder, &key, None)? {
                let said = said
                    .err()
                    .with_context(|| format!("{}: bit in byte {at}", path.display()))?;
                ensure!(said.contains("NOT VERIFIED"), "{said}");
            }
        }
        fs_err::write(path, &bytes[..bytes.len() - 1])?;
        for said in judged(&folder, &key, None)? {
            said.err()
                .with_context(|| format!("{} cut short", path.display()))?;
        }
        fs_err::write(path, bytes)?;
    }

    // The backup is a whole log; only who kept the newer checkpoint sees that it is old.
    let newer = folder.join("checkpoint");
    for said in judged(&old_copy, &key, None)? {
        said.map_err(anyhow::Error::msg)?;
    }
    for said in judged(&old_copy, &key, Some(&newer))? {
        said.err().context("an old copy")?;
    }
    // As long, with the same key, and another history.
    let forked = place.path().join("forked");
    fs_err::create_dir(&forked)?;
    fs_err::copy(vault.join("log.key"), forked.join("log.key"))?;
    drop(log(&forked, 640, "eve")?);
    for said in judged(&forked.join("log"), &key, None)? {
        said.map_err(anyhow::Error::msg)?;
    }
    for said in judged(&forked.join("log"), &key, Some(&older))? {
        said.err().context("a fork")?;
    }
    Ok(())
}

#[test]
fn a_cosignature_of_anothers_making_is_asked_for_and_checked() -> Result<()> {
    if without(&["python3", "aiocoap"]) {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let log = log(place.path(), 16, "ana")?;
    let folder = place.path().join("log");
    let verify = |witness: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(stockade()?);
        command
            .args([
                "vault",
                "verify-log",
                "--key",
                &log.public_key(),
                "--witness",
                witness,
            ])
            .arg(&folder);
        let output = finish(&mut command, PATIENCE)?;
        Ok((output.status.code(), text(&output)))
    };
    let plain = fs_err::read(folder.join("checkpoint"))?;
    let cosign = |time: &str| -> Result<String> {
        let mut command = peer_script("witness_log.py")?;
        command.arg(folder.join("checkpoint")).arg(time);
        Ok(succeed(&mut command)?.trim().to_owned())
    };
    let witness = cosign("1795370400")?;
    let (code, said) = verify(&witness)?;
    assert_eq!(code, Some(0), "{said}");
    ensure!(
        said.contains("seen by witness.example at 2026-11-22T18:00:00Z"),
        "{said}"
    );
    fs_err::write(folder.join("checkpoint"), plain)?;
    let (code, said) = verify(&witness)?;
    assert_eq!(code, Some(1), "{said}");
    ensure!(
        said.contains("checkpoint is not signed by witness.example"),
        "{said}"
    );
    Ok(())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn tokens_open_what_their_role_may_and_the_log_is_verified_over_https() -> Result<()> {
    let gateway = Gateway::start()?;
    let at = |name: &str| gateway.folder().join(name);
    let token = |name: &str, role: &str| -> Result<String> {
        let said =
            succeed(&mut gateway.command(&["--json", "token", "add", name, "--role", role]))?;
        let told: Value = serde_json::from_str(&said)?;
        let text = told["token"].as_str().context("no token")?.to_owned();
        fs_err::write(at(name), &text)?;
        Ok(text)
    };
    let mut secrets = vec![token("ana", "analyst")?, token("rev", "auditor")?];
    secrets.push(token("opal", "operator")?);
    let url = format!("https://{}", gateway.address("console")?);
    let ca = gateway.data().join("ca.pem");
    let remote = |name: &str, arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(stockade()?);
        command.current_dir(gateway.folder());
        command.args(["--remote", &url, "--token-file", name, "--ca"]);
        let output = finish(command.arg(&ca).args(arguments), PATIENCE)?;
        Ok((output.status.code(), text(&output)))
    };
    assert_eq!(remote("opal", &["device", "list"])?.0, Some(0));
    for (name, arguments) in [
        ("ana", &["device", "list"][..]),
        ("rev", &["device", "list"]),
        ("ana", &["vault", "log"]),
        (
            "rev",
            &["vault", "query", "--schema", "x", "--purpose", "y"],
        ),
        ("ana", &["token", "list"]),
        ("rev", &["token", "add", "eve", "--role", "operator"]),
    ] {
        let (code, said) = remote(name, arguments)?;
        ensure!(
            code == Some(2) && said.contains("may not do this"),
            "{name} {arguments:?}: {code:?} {said}"
        );
    }
    let (code, key) = remote("rev", &["vault", "log", "--key"])?;
    assert_eq!(code, Some(0), "{key}");
    let kept = at("kept").display().to_string();
    let verify = ["vault", "verify-log", "--key", key.trim(), "--keep", &kept];
    let (code, said) = remote("rev", &verify)?;
    ensure!(
        code == Some(0) && said.starts_with("verified: "),
        "{code:?} {said}"
    );
    // What was refused is in the log, and the log goes on from the checkpoint that was kept.
    let (code, said) = remote("rev", &["vault", "log"])?;
    ensure!(
        code == Some(0) && said.contains("refused: role") && said.contains("ana"),
        "{said}"
    );
    assert_eq!(remote("ana", &["vault", "log"])?.0, Some(2));
    let again = ["vault", "verify-log", "--key", key.trim(), "--old", &kept];
    let (code, said) = remote("rev", &again)?;
    ensure!(
        code == Some(0) && said.contains("are as they were"),
        "{code:?} {said}"
    );
    // Taken back is taken back at once.
    succeed(&mut gateway.command(&["token", "revoke", "opal"]))?;
    let (code, said) = remote("opal", &["device", "list"])?;
    ensure!(
        code == Some(2) && said.contains("this is no token"),
        "{said}"
    );
    // Another CA is not believed.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    fs_err::write(at("other.pem"), other.cert.pem())?;
    let mut command = Command::new(stockade()?);
    command.current_dir(gateway.folder());
    command.args([
        "--remote",
        &url,
        "--token-file",
        "rev",
        "--ca",
        "other.pem",
        "vault",
        "log",
    ]);
    let output = finish(&mut command, PATIENCE)?;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    for (path, bytes) in files(&gateway.data())? {
        let bytes = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            let secret = secret.trim_start_matches("stockade_");
            ensure!(!bytes.contains(secret), "a token is in {}", path.display());
        }
    }
    Ok(())
}
