//! How fast `Store::commit` is with batches like the vault's: blocks of 256 records, in groups of 1,000 records, each durable.
//! `cargo run --release -p stockade-store --example store_rate [DIR]`; beside `PostgreSQL`, plain COPY as the limit.
#![expect(
    clippy::print_stdout,
    reason = "the result of a measurement goes to the terminal"
)]

use std::error::Error;
use std::time::Instant;

use stockade_store::suite::Cluster;
use stockade_store::{Batch, Postgres, PostgresSettings, Sqlite, Store, Table};

const BLOCKS: Table = Table::new("vault.blocks");
const INDEX: Table = Table::new("vault.by-subject");
const POSITION: Table = Table::new("vault.position");
/// A sealed record: of 150 bytes, as the journal's measurement has them.
const RECORD: usize = 150;
const GROUP: u32 = 1_000;
const IN_A_BLOCK: u32 = 256;
const GROUPS: u32 = 500;

/// Bytes that cannot be compressed.
fn noise(state: &mut u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Keys and values of the blocks of one group.
fn group(number: u32, state: &mut u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..GROUP.div_ceil(IN_A_BLOCK))
        .map(|block| {
            let first = u64::from(number * GROUP + block * IN_A_BLOCK);
            let records = IN_A_BLOCK.min(GROUP - block * IN_A_BLOCK);
            let key = [b"climate\0".as_slice(), &first.to_be_bytes()].concat();
            let length = usize::try_from(records).unwrap_or_default() * RECORD;
            (key, noise(state, length))
        })
        .collect()
}

fn measure(name: &str, store: &dyn Store, group_of: u32) -> Result<(), Box<dyn Error>> {
    let mut state = 1;
    let mut groups: Vec<Vec<_>> = Vec::new();
    for number in 0..GROUPS {
        if number % group_of == 0 {
            groups.push(Vec::new());
        }
        if let Some(last) = groups.last_mut() {
            last.extend(group(number, &mut state));
        }
    }
    let start = Instant::now();
    let mut position = None;
    for (number, blocks) in (0_u64..).zip(groups) {
        let mut batch = Batch::new();
        match position {
            None => batch.require_absent(POSITION, *b"at"),
            Some(at) => batch.require_equals(POSITION, *b"at", at),
        };
        position = Some(number.to_be_bytes());
        batch.put(POSITION, *b"at", number.to_be_bytes());
        for (key, value) in blocks {
            let subject = noise(&mut state, 16);
            batch.put(INDEX, [subject, key.clone()].concat(), *b"");
            batch.put(BLOCKS, key, value);
        }
        store.commit(batch)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let records = f64::from(GROUPS * GROUP);
    println!(
        "{name}, {} records a commit: {:.0} records/s, {:.1} MB/s",
        group_of * GROUP,
        records / seconds,
        records * f64::from(u32::try_from(RECORD)?) / seconds / 1e6
    );
    Ok(())
}

/// The same blocks by COPY in binary from files, one transaction for each group: what the server takes at most.
fn copy(cluster: &Cluster, dir: &std::path::Path, group_of: u32) -> Result<(), Box<dyn Error>> {
    cluster.sql(
        "postgres",
        "DROP TABLE IF EXISTS copied; CREATE TABLE copied (tbl text COLLATE \"C\", key bytea, value bytea, PRIMARY KEY (tbl, key));
         ALTER TABLE copied ALTER COLUMN value SET STORAGE EXTERNAL",
    )?;
    let mut state = 1;
    let mut script = String::new();
    for first in (0..GROUPS).step_by(usize::try_from(group_of)?) {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for number in first..first + group_of {
            for (key, value) in group(number, &mut state) {
                bytes.extend_from_slice(&3_i16.to_be_bytes());
                for field in [BLOCKS.as_str().as_bytes(), &key, &value] {
                    bytes.extend_from_slice(&i32::try_from(field.len())?.to_be_bytes());
                    bytes.extend_from_slice(field);
                }
            }
        }
        bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        let file = dir.join(format!("{first}.copy"));
        fs_err::write(&file, bytes)?;
        script = format!(
            "{script}COPY copied FROM '{}' (FORMAT binary);\n",
            file.display()
        );
    }
    let file = dir.join("copy.sql");
    fs_err::write(&file, script)?;
    let start = Instant::now();
    let done = std::process::Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
        ])
        .arg(dir)
        .arg("-f")
        .arg(&file)
        .status()?;
    let seconds = start.elapsed().as_secs_f64();
    if !done.success() {
        return Err("psql failed".into());
    }
    println!(
        "plain COPY (binary, from the server's files, no index of subjects), {} records a transaction: {:.0} records/s",
        group_of * GROUP,
        f64::from(GROUPS * GROUP) / seconds
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => tempfile::TempDir::new_in(dir)?,
        None => tempfile::TempDir::new()?,
    };
    for group_of in [1, 10] {
        let file = dir.path().join(format!("state-{group_of}.sqlite"));
        measure("SQLite", &Sqlite::open(&file)?, group_of)?;
    }
    let server = dir.path().join("server");
    fs_err::create_dir(&server)?;
    fs_err::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let Some(cluster) = Cluster::start(&server)? else {
        return Ok(());
    };
    for group_of in [1, 10] {
        let url = cluster.fresh()?;
        let store = Postgres::open(&PostgresSettings {
            url: &url,
            password: None,
            authorities: None,
        })?;
        measure("PostgreSQL", &store, group_of)?;
        copy(&cluster, &server, group_of)?;
    }
    Ok(())
}
