//! `stockade vault restore`: while the gateway is stopped.

use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use stockade_store::DataDir;
use stockade_vault::{Empty, Keys, Log, Restored};
use time::OffsetDateTime;

use super::{database, kept};
use crate::up;

/// Puts a backup into the data directory's store, which must be empty.
pub(crate) fn restore(
    data: &Path,
    config: Option<&Path>,
    file: &mut (impl Read + Seek),
    accept_older: bool,
) -> anyhow::Result<Restored> {
    let config = up::read_config(data, config)?;
    let data = DataDir::open(data)?;
    database::same_as_before(&config, &data)?;
    let vault = data.subdir("vault")?;
    anyhow::ensure!(
        vault.join("keyring").exists(),
        "{} is missing: nothing in a backup can be read without it; put its newest copy there first, with the log (vault/log, \
         vault/log.key)",
        vault.join("keyring").display()
    );
    let store = database::open(&config, &data, true)?;
    let root = kept::root_key(&config, &vault)?;
    let keys = Keys::open(Arc::clone(&store), root, &vault)?;
    let log = Log::open(&vault, keys.log_seen())?;
    let into = Empty {
        store: &*store,
        keys: &keys,
        log: &log,
    };
    let restored = stockade_vault::restore(into, file, accept_older, OffsetDateTime::now_utc())?;
    keys.remember_log(log.head().0, log.head().1)?;
    Ok(restored)
}
