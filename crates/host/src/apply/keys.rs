//! New SSH host keys, by the programs of the SSH server that is there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stockade_controls::engine::{Host, HostPath};
use zeroize::Zeroizing;

use super::act::Wanted;
use super::error::StepError;
use crate::program::{find, succeed};

/// A slow device needs minutes for an RSA key.
const PATIENCE: Duration = Duration::from_mins(10);
/// The kinds that are made anew; what else is there (DSA) is removed.
const KINDS: [&str; 3] = ["rsa", "ecdsa", "ed25519"];

/// What the keys of a directory are replaced by. They are made in the folder of the applier, by this machine's program: an
/// image's own is not trusted, and may be for another processor.
pub(crate) fn anew(
    host: &dyn Host,
    directory: &HostPath,
    scratch: &Path,
) -> Result<Vec<Wanted>, StepError> {
    let names = host
        .list(directory)
        .map_err(|why| StepError::other(format!("{directory}: {why}")))?;
    let mut wanted = Vec::new();
    for (name, entry) in names {
        let path = directory.join(&name).map_err(StepError::other)?;
        let text = String::from_utf8_lossy(&name).into_owned();
        let openssh = text
            .strip_prefix("ssh_host_")
            .and_then(|it| it.strip_suffix("_key"));
        let dropbear = text
            .strip_prefix("dropbear_")
            .and_then(|it| it.strip_suffix("_host_key"));
        let Some(kind) = openssh.or(dropbear) else {
            continue;
        };
        let public = directory
            .join(format!("{text}.pub").as_bytes())
            .map_err(StepError::other)?;
        let has_public = host.entry(&public).is_ok();
        if !KINDS.contains(&kind) {
            wanted.push(Wanted::Gone { path });
            if has_public {
                wanted.push(Wanted::Gone { path: public });
            }
            continue;
        }
        let file = scratch.join(&text);
        let mut command;
        if openssh.is_some() {
            command = Command::new(find("ssh-keygen")?);
            command
                .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
                .arg(&file);
        } else {
            command = Command::new(find("dropbearkey")?);
            command.args(["-t", kind, "-f"]).arg(&file);
        }
        succeed(command, PATIENCE)?;
        let owner = (entry.owner, entry.group);
        wanted.push(taken(&file, path, 0o600, owner)?);
        if has_public {
            wanted.push(taken(&file.with_extension("pub"), public, 0o644, owner)?);
        }
    }
    if wanted.is_empty() {
        return Err(StepError::other(format!(
            "{directory} has no SSH host keys"
        )));
    }
    Ok(wanted)
}

fn taken(file: &Path, path: HostPath, mode: u32, owner: (u32, u32)) -> Result<Wanted, StepError> {
    let content = fs_err::read(file).map_err(StepError::other)?;
    Ok(Wanted::Content {
        path,
        content: Zeroizing::new(content),
        about: Some((mode, owner)),
    })
}
