//! What `stockade update` makes, read by the reference client of The Update Framework (python-tuf).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use stockade_e2e::tools::{finish, python, say, script, stockade, succeed, text};

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn maker(&self) -> PathBuf {
        self.dir.path().join("maker")
    }

    /// `stockade update` on the maker's folder.
    fn update(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(stockade()?);
        command
            .args(["update", verb])
            .arg(self.maker())
            .args(arguments);
        succeed(&mut command)
    }

    fn key(&self, name: &str) -> String {
        self.maker()
            .join("keys")
            .join(format!("{name}.pem"))
            .display()
            .to_string()
    }

    /// What the reference client says, with what it believed before.
    fn client(&self, repository: &Path, target: &str) -> Result<String> {
        let root = self.maker().join("repository/metadata/1.root.json");
        let mut client = script("tuf_client.py")?;
        client
            .arg(repository)
            .arg(root)
            .arg(self.dir.path().join("client"))
            .arg(target);
        Ok(text(&finish(&mut client, Duration::from_secs(30))?))
    }

    fn sees(&self, target: &str) -> Result<String> {
        self.client(&self.maker().join("repository"), target)
    }
}

fn no_client() -> bool {
    let there = python().is_ok_and(|python| {
        let imports = Command::new(python).args(["-c", "import tuf"]).output();
        imports.is_ok_and(|output| output.status.success())
    });
    if !there {
        say("skipped: python-tuf is not there (tests/requirements.txt)");
    }
    !there
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    succeed(Command::new("cp").arg("-r").arg(from).arg(to)).map(drop)
}

#[test]
fn the_reference_client_believes_what_enough_have_signed_and_follows_new_keys() -> Result<()> {
    if no_client() {
        return Ok(());
    }
    let world = World {
        dir: tempfile::tempdir()?,
    };
    world.update("init", &["--model", "cam-2"])?;
    let system = world.dir.path().join("system.img");
    fs_err::write(&system, "a system")?;
    let system = system.display().to_string();
    let first = world.update(
        "publish",
        &[
            &system,
            "--version",
            "12",
            "--security",
            "--key",
            &world.key("targets-1"),
        ],
    )?;
    ensure!(first.contains("1 signature is missing"), "{first}");
    ensure!(
        world.sees("cam-2-12.img")?.contains("none"),
        "one signature is too few"
    );
    let then = world.update("sign", &["--key", &world.key("targets-2")])?;
    ensure!(then.contains("published"), "{then}");
    let seen = world.sees("cam-2-12.img")?;
    ensure!(seen.starts_with("8 "), "{seen}");

    let old = world.dir.path().join("old");
    copy(&world.maker().join("repository"), &old)?;
    world.update(
        "rotate",
        &["--role", "targets", "--remove", "targets-1", "--add", "1"],
    )?;
    for key in ["root-1", "root-3"] {
        world.update("sign", &["--key", &world.key(key)])?;
    }
    for key in ["targets-2", "targets-4"] {
        world.update("sign", &["--key", &world.key(key)])?;
    }
    let status = world.update("status", &[])?;
    ensure!(
        status.contains("targets-2, targets-4") && !status.contains("draft"),
        "{status}"
    );
    ensure!(world.sees("cam-2-12.img")?.starts_with("8 "));
    let back = world.client(&old, "cam-2-12.img")?;
    ensure!(back.contains("Error"), "a repository rolled back: {back}");
    Ok(())
}

#[test]
fn the_reference_client_refuses_what_was_changed_or_signed_by_too_few() -> Result<()> {
    if no_client() {
        return Ok(());
    }
    let world = World {
        dir: tempfile::tempdir()?,
    };
    world.update("init", &["--model", "cam-2"])?;
    let system = world.dir.path().join("system.img");
    fs_err::write(&system, "a system")?;
    let keys = [world.key("targets-1"), world.key("targets-2")];
    let system = system.display().to_string();
    world.update(
        "publish",
        &[
            &system,
            "--version",
            "12",
            "--key",
            &keys[0],
            "--key",
            &keys[1],
        ],
    )?;
    let metadata = world.maker().join("repository/metadata");
    let targets = metadata.join("2.targets.json");
    let right = fs_err::read_to_string(&targets)?;
    for (from, to) in [
        ("\"version\": 12", "\"version\": 13"),
        ("\"length\": 8", "\"length\": 9"),
    ] {
        ensure!(right.contains(from), "{right}");
        fs_err::write(&targets, right.replace(from, to))?;
        let told = world.sees("cam-2-12.img")?;
        ensure!(told.contains("Error"), "{from}: {told}");
    }
    // One signature less.
    let mut one: serde_json::Value = serde_json::from_str(&right)?;
    one["signatures"].as_array_mut().map(Vec::pop);
    fs_err::write(&targets, one.to_string())?;
    let told = world.sees("cam-2-12.img")?;
    ensure!(told.contains("UnsignedMetadataError"), "{told}");
    let mut status = Command::new(stockade()?);
    let status = finish(
        status.args(["update", "status"]).arg(world.maker()),
        Duration::from_secs(30),
    )?;
    ensure!(
        status.status.code() == Some(1) && text(&status).contains("too few"),
        "{}",
        text(&status)
    );
    let refused = world.update("timestamp", &[]);
    ensure!(refused.is_err_and(|why| format!("{why:#}").contains("1 of the 2 keys")));
    fs_err::write(&targets, right)?;
    ensure!(world.sees("cam-2-12.img")?.starts_with("8 "));
    Ok(())
}
