//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_vault::fuzzing;

targets! {
    vault_backup: 5, 500;
    vault_block: 10, 500;
    vault_decode: 20, 500;
    vault_keys: 5, 3_000;
    vault_log_entry: 5, 3_000;
    vault_treat: 5, 500;
}
