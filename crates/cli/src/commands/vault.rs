//! `stockade vault …`

mod backup;
mod erase;
mod export;
mod fsck;
mod log;
mod policy;
mod query;
mod reader;
mod release;
mod risk;
mod rotate_keys;
mod stat;
mod stream;
mod verify_log;

use std::path::Path;
use std::process::ExitCode;

use crate::admin::Admin;
use crate::args::vault::Vault;
use crate::out::Out;

pub(crate) async fn run(
    out: Out,
    (admin, data): (&Admin, &Path),
    json: bool,
    command: &Vault,
) -> anyhow::Result<ExitCode> {
    match command {
        Vault::Query(asked) => query::run(out, admin, json, asked).await?,
        Vault::Stat(asked) => stat::run(out, admin, json, asked).await?,
        Vault::Release(asked) => return release::run(out, admin, json, asked).await,
        Vault::Stream(asked) => stream::run(out, admin, json, asked).await?,
        Vault::Risk(asked) => risk::run(out, admin, json, asked).await?,
        Vault::Policy(asked) => return policy::run(out, json, asked),
        Vault::Erase(asked) => erase::run(out, admin, json, asked).await?,
        Vault::Export(asked) => return export::run(out, admin, asked).await,
        Vault::RotateKeys(asked) => rotate_keys::run(out, admin, json, asked).await?,
        Vault::Reader(asked) => reader::run(out, admin, json, asked).await?,
        Vault::Reveal(asked) => return reader::reveal(out, admin, json, asked).await,
        Vault::Log(asked) => log::run(out, admin, json, asked).await?,
        Vault::Backup(asked) => backup::run(out, admin, json, asked).await?,
        Vault::Restore(asked) => backup::restore(out, data, json, asked)?,
        Vault::Fsck(asked) => return fsck::run(out, admin, json, asked).await,
        Vault::VerifyLog(asked) => return verify_log::run(out, (admin, data), json, asked),
    }
    Ok(ExitCode::SUCCESS)
}
