//! Python packages that the tests need, by exact version and digest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{root, succeed, target};
use crate::out;

/// The Python environment that holds the pinned tools and clients.
pub(crate) fn environment() -> PathBuf {
    target().join("test-venv")
}

/// Makes the environment and installs the pinned list, unless that very list is in place.
pub(crate) fn python(environment: &Path, list: &Path) -> Result<()> {
    let wanted = fs_err::read_to_string(list)?;
    let name = list.parent().and_then(Path::file_name).unwrap_or_default();
    let stamp = environment.join(name).with_extension("installed");
    if fs_err::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    out::line(&format!(
        "will install the packages of {} from PyPI, by digest, into {}",
        list.display(),
        environment.display()
    ));
    if !environment.join("bin/python").exists() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(environment),
        )?;
    }
    succeed(
        Command::new(environment.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "-r",
            ])
            .arg(list),
    )?;
    fs_err::write(&stamp, wanted).context("cannot note what is installed")
}

/// Puts the packages of `tests/NAME.txt` where `PYTHONPATH` finds them, unless that very list is in place.
pub(crate) fn libraries(name: &str) -> Result<()> {
    let list = root().join(format!("tests/{name}.txt"));
    let wanted = fs_err::read_to_string(&list)?;
    let folder = target().join(format!("labs/python-{name}-1"));
    let stamp = format!("{name}.installed");
    if fs_err::read_to_string(folder.join(&stamp)).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    out::line(&format!(
        "will put the packages of {} from PyPI, by digest, into {}",
        list.display(),
        folder.display()
    ));
    let part = folder.with_extension("part");
    if part.exists() {
        fs_err::remove_dir_all(&part)?;
    }
    succeed(
        Command::new(environment().join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args([
                "--disable-pip-version-check",
                "--require-hashes",
                "--target",
            ])
            .arg(&part)
            .arg("--requirement")
            .arg(&list),
    )?;
    fs_err::write(part.join(stamp), wanted)?;
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    Ok(fs_err::rename(part, folder)?)
}
