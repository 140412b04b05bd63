//! `stockade vault backup`, and `restore`

use std::path::Path;

use anyhow::{Context as _, ensure};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::args::vault::{Backup, Restore};
use crate::commands::field;
use crate::out::Out;
use crate::server;

pub(super) async fn run(out: Out, admin: &Admin, json: bool, asked: &Backup) -> anyhow::Result<()> {
    let file = &asked.file;
    ensure!(
        !file.exists(),
        "{} is there already: a backup overwrites nothing",
        file.display()
    );
    let mut unfinished = file.clone().into_os_string();
    unfinished.push(".unfinished");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut to = options.open(&unfinished)?;
    let fetched = admin.download("/api/v1/vault/backup", &mut to).await;
    let fetched = fetched.and_then(|bytes| Ok((bytes, to.sync_all()?)));
    let (bytes, ()) = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            // What there is of it is of no use.
            drop(fs_err::remove_file(&unfinished));
            return Err(error.context(format!("no backup was made in {}", file.display())));
        }
    };
    fs_err::rename(&unfinished, file)?;
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    fs_err::File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    let keys = admin.get("/api/v1/vault/keys").await?;
    out.line(&if json {
        json!({ "file": file, "bytes": bytes, "epoch": keys["epoch"], "root": keys["root"] })
            .to_string()
    } else {
        text(file, bytes, &keys)
    });
    Ok(())
}

fn text(file: &Path, bytes: u64, keys: &Value) -> String {
    format!(
        "{bytes} bytes in {}, sealed.\n\
         It holds no key. To restore it, keep beside it, and not in the same place:\n  \
         the root key      {}\n  \
         the keyring       vault/keyring in the data directory, as it is now (epoch {})\n  \
         the vault's log   vault/log and vault/log.key in the data directory, its newest state\n  \
         the authority     ca/, and the other folders of the data directory\n\
         An erasure or `stockade vault rotate-keys` begins a new epoch. Then this backup cannot be read any more: make a new one, and \
         replace the copy of the keyring by the new one. An old copy of both would keep what was erased.",
        file.display(),
        field(keys, "root"),
        field(keys, "epoch"),
    )
}

pub(super) fn restore(out: Out, data: &Path, json: bool, asked: &Restore) -> anyhow::Result<()> {
    let mut file = fs_err::File::open(&asked.file)?;
    let restored = server::restore(data, asked.config.as_deref(), &mut file, asked.accept_older)
        .with_context(|| format!("{} was not restored", asked.file.display()))?;
    if json {
        out.line(&serde_json::to_string(&restored)?);
        return Ok(());
    }
    let mut told = format!(
        "{} entries restored, {} devices in the vault.\n\
         The registry is of that moment too: what was revoked, quarantined or taken back since (devices, tokens) is as it was then. \
         Look it over: stockade up, then stockade device list, stockade token list.",
        restored.entries, restored.subjects
    );
    if restored.unreadable > 0 {
        told = format!(
            "{told}\nThe keys of {} devices cannot be opened: `stockade vault fsck` names what cannot be read.",
            restored.unreadable
        );
    }
    for (action, count) in &restored.since {
        told = format!(
            "{told}\nThe log tells of {count} × {action} since: what came of it is not in this backup."
        );
    }
    out.line(&told);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_keep_beside_a_backup_is_said() {
        let keys = json!({ "epoch": 3, "root": "/etc/stockade/root.key" });
        insta::assert_snapshot!(text(Path::new("vault.backup"), 4096, &keys));
    }
}
