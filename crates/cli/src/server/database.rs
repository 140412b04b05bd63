//! Where the state is kept: a file in the data directory, or a database that belongs to this directory and to no other.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use stockade_store::{
    Batch, DataDir, Postgres, PostgresSettings, Sqlite, Store, StoreError, Table,
};
use zeroize::Zeroizing;

use super::kept::{CA_FOR_DEVICES, STORE};
use crate::config::{Config, Storage};

/// The number that tells which database belongs to this directory, in the directory.
const NUMBER: &str = "database.id";
/// The same number, in the database.
const OWNER: Table = Table::new("store.owner");
const KEY: &[u8] = b"data directory";

/// What [`open`] needs of the data directory, if a gateway ran on it once.
pub(super) const fn part(config: &Config) -> (&'static str, &'static str) {
    if config.storage.database.is_some() {
        (NUMBER, "which database the state is in")
    } else {
        (STORE, "the registry and what the vault stored")
    }
}

/// Refuses to start on another state than the one this directory had. Before anything is looked for.
pub(super) fn same_as_before(config: &Config, data: &DataDir) -> anyhow::Result<()> {
    if config.storage.database.is_some() {
        ensure!(
            !data.join(STORE).exists(),
            "{} is there: the state of this directory is in that file, and not in PostgreSQL; remove [storage] database from \
             stockade.toml, or start with a new directory",
            data.join(STORE).display()
        );
    } else {
        ensure!(
            !data.join(NUMBER).exists(),
            "the state of {} is in PostgreSQL: name it in stockade.toml, [storage] database",
            data.path().display()
        );
    }
    Ok(())
}

/// Opens the state. A new database in the place of one that was lost is taken only for what is `restored` into it.
pub(super) fn open(
    config: &Config,
    data: &DataDir,
    restored: bool,
) -> anyhow::Result<Arc<dyn Store>> {
    let Some(url) = &config.storage.database else {
        return Ok(Arc::new(Sqlite::open(&data.join(STORE))?));
    };
    let store = connect(&config.storage, url)?;
    claim(&store, data, restored)?;
    Ok(Arc::new(store))
}

fn connect(storage: &Storage, url: &str) -> anyhow::Result<Postgres> {
    let password = storage.database_password.as_deref().map(secret);
    let password = password
        .transpose()
        .context("in stockade.toml, [storage] database-password")?;
    let authorities = storage.database_authorities.as_deref().map(fs_err::read);
    let authorities = authorities
        .transpose()
        .context("in stockade.toml, [storage] database-authorities")?;
    Ok(Postgres::open(&PostgresSettings {
        url,
        password: password.as_ref().map(|text| text.trim_ascii()),
        authorities: authorities.as_deref(),
    })?)
}

/// The content of a file that only we may read.
fn secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mode = fs_err::metadata(path)?.mode();
    if mode & 0o077 != 0 {
        anyhow::bail!(
            "{}: others can read the password; chmod 600",
            path.display()
        );
    }
    Ok(Zeroizing::new(fs_err::read_to_string(path)?))
}

/// Makes an empty database the one of this directory; refuses any other than its own: what the directory holds (journal, keys,
/// log) and what the database holds belong together, and one process has both.
fn claim(store: &Postgres, data: &DataDir, restored: bool) -> anyhow::Result<()> {
    let file = data.join(NUMBER);
    let here = match fs_err::read(&file) {
        Ok(number) => Some(number),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let there = store.get(OWNER, KEY)?;
    let number = match (here, there) {
        (Some(here), Some(there)) if here == there => return Ok(()),
        (_, Some(_)) => anyhow::bail!(
            "{store:?} belongs to another data directory than {}; use that one, or a database of its own for this one",
            data.path().display()
        ),
        // Or a first start that was cut short before the database knew.
        (Some(here), None) if restored || !data.join(CA_FOR_DEVICES).exists() => here,
        (Some(_), None) => anyhow::bail!(
            "{store:?} is not the database that {} was used with, or lost what was in it: restore it from a backup",
            data.path().display()
        ),
        (None, None) => {
            let mut number = [0; 16];
            rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
            let text = format!("{:032x}", u128::from_be_bytes(number));
            let unfinished = data.join("database.id.tmp");
            fs_err::write(&unfinished, &text)?;
            fs_err::File::open(&unfinished)?.sync_all()?;
            fs_err::rename(unfinished, &file)?;
            fs_err::File::open(data.path())?.sync_all()?;
            text.into_bytes()
        }
    };
    let mut batch = Batch::new();
    batch.require_absent(OWNER, KEY).put(OWNER, KEY, number);
    match store.commit(batch) {
        Err(StoreError::Conflict { .. }) => {
            anyhow::bail!("{store:?} was just taken by another gateway")
        }
        done => Ok(done?),
    }
}
