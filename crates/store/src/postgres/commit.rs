//! A batch as one transaction, and what became of it when the connection broke.
//!
//! Whoever requires something has the store to itself while it looks and changes, over all processes: an advisory lock,
//! exclusive for them and shared by those who require nothing. Nothing is tried in vain, as under `SERIALIZABLE`, where
//! neighbouring keys of a small table get in each other's way; and reading waits for nobody.
//!
//! Each commit leaves a random mark in its connection's row of a table: whether it is there tells what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::{CONNECT, Random, Session, Shared, broken, random};
use crate::store::{Batch, Need, Op, StoreError, Table};

/// The number of the lock, "Stockade" in ASCII: it is the database's own, and so are its numbers.
pub(super) const EVERYBODY: i64 = 0x5374_6f63_6b61_6465;
/// A batch is tried so often, if others are in its way or the connection broke before it was committed.
const TRIES: u32 = 5;
/// So many bytes go into one statement. The server takes less than a gigabyte.
const PIECE_BYTES: usize = 32 << 20;

/// How a try ended that did not fail.
enum Tried {
    Done,
    Refused(Table),
}

/// Why a try failed.
enum Failed {
    /// Nothing was changed.
    Before(Error),
    /// The answer to the commit did not come.
    During,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

/// The values that are required; `None`: the key must not be there.
type Wanted<'a> = Vec<Option<&'a [u8]>>;

/// The batch in columns. What is done to a key last is done.
#[derive(Default)]
struct Columns<'a> {
    required: (Vec<&'static str>, Vec<&'a [u8]>, Wanted<'a>),
    /// The tables of the requirements, in their order.
    tables: Vec<Table>,
    put: (Vec<&'static str>, Vec<&'a [u8]>, Vec<&'a [u8]>),
    deleted: (Vec<&'static str>, Vec<&'a [u8]>),
}

impl<'a> Columns<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        // In the order of keys: two batches that change the same ones take them in the same order.
        let mut changes: BTreeMap<(&str, &[u8]), Option<&[u8]>> = BTreeMap::new();
        for op in batch.ops() {
            match op {
                Op::Require(table, key, need) => {
                    columns.tables.push(*table);
                    columns.required.0.push(table.as_str());
                    columns.required.1.push(key);
                    columns.required.2.push(match need {
                        Need::Absent => None,
                        Need::Equals(value) => Some(value),
                    });
                }
                Op::Put(table, key, value) => {
                    changes.insert((table.as_str(), key), Some(value));
                }
                Op::Delete(table, key) => {
                    changes.insert((table.as_str(), key), None);
                }
            }
        }
        for ((table, key), value) in changes {
            if let Some(value) = value {
                columns.put.0.push(table);
                columns.put.1.push(key);
                columns.put.2.push(value);
            } else {
                columns.deleted.0.push(table);
                columns.deleted.1.push(key);
            }
        }
        columns
    }
}

impl Shared {
    pub(super) async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let _permit = self.room.acquire().await;
        let columns = Columns::of(batch);
        for left in (0..TRIES).rev() {
            let session = self.session().await?;
            let mark = random().map_err(|error| self.refused("get random bytes", error))?;
            match attempt(&session, mark, &columns).await {
                Ok(Tried::Done) => {
                    self.give_back(session);
                    return Ok(());
                }
                Ok(Tried::Refused(table)) => {
                    self.give_back(session);
                    return Err(StoreError::Conflict { table });
                }
                // Closing the connection takes back what it began.
                Err(Failed::Before(error)) if left > 0 && passing(&error) => {}
                Err(Failed::Before(error)) => return Err(self.failed("change a table", &error)),
                Err(Failed::During) => {
                    let id = session.id;
                    drop(session);
                    if self.happened(id, mark).await? {
                        return Ok(());
                    }
                }
            }
        }
        let why = "the connection breaks, or others are in the way, again and again";
        Err(self.refused("commit", why))
    }

    /// Whether a transaction left its mark, as soon as the server is back.
    ///
    /// Not asked by its number (`pg_xact_status`): after a crash a number that was lost is given out again.
    async fn happened(&self, id: Random, mark: Random) -> Result<bool, StoreError> {
        let until = Instant::now() + 2 * CONNECT;
        while Instant::now() < until {
            if let Ok(session) = self.connect().await {
                // One that failed goes with its connection: it may hold the lock.
                if let Ok(left) = left_mark(&session.client, id, mark).await {
                    self.give_back(session);
                    return Ok(left);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(self.unknown())
    }
}

async fn left_mark(client: &Client, id: Random, mark: Random) -> Result<bool, Error> {
    // Held by the transaction until it ended, even if its process has not noticed yet that we are gone.
    let (locked, unlocked) = (
        "SELECT pg_advisory_lock($1)",
        "SELECT pg_advisory_unlock($1)",
    );
    client.query_typed(locked, &number()).await?;
    let (id, mark) = (id.as_slice(), mark.as_slice());
    let arguments: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::BYTEA), (&mark, Type::BYTEA)];
    let asked = "SELECT 1 FROM stockade_commits WHERE session = $1 AND mark = $2";
    let found = client.query_typed_opt(asked, &arguments).await?;
    client.query_typed(unlocked, &number()).await?;
    Ok(found.is_some())
}

fn number() -> [(&'static (dyn ToSql + Sync), Type); 1] {
    [(&EVERYBODY, Type::INT8)]
}

/// Whether another try may go better.
fn passing(error: &Error) -> bool {
    let in_the_way = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    broken(error) || error.code().is_some_and(|code| in_the_way.contains(code))
}

async fn attempt(session: &Session, mark: Random, columns: &Columns<'_>) -> Result<Tried, Failed> {
    let client = &session.client;
    let lock = if columns.tables.is_empty() {
        "SELECT pg_advisory_xact_lock_shared($1)"
    } else {
        "SELECT pg_advisory_xact_lock($1)"
    };
    let number = number();
    // One after the other, without waiting for the answers. Each statement sees what was committed when it began: the
    // lock is held by then.
    let (begun, locked, refused) = tokio::join!(
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        client.query_typed(lock, &number),
        refused(client, columns),
    );
    begun?;
    locked?;
    if let Some(table) = refused? {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Tried::Refused(table));
    }
    let (id, mark) = (session.id.as_slice(), mark.as_slice());
    let arguments: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::BYTEA), (&mark, Type::BYTEA)];
    let marks = "INSERT INTO stockade_commits (session, mark) VALUES ($1, $2)
        ON CONFLICT (session) DO UPDATE SET mark = excluded.mark, at = now()";
    let (marked, deleted, put) = tokio::join!(
        client.execute_typed(marks, &arguments),
        delete(client, columns),
        put(client, columns),
    );
    marked?;
    deleted?;
    put?;
    match client.batch_execute("COMMIT").await {
        Ok(()) => Ok(Tried::Done),
        Err(error) if broken(&error) => Err(Failed::During),
        Err(error) => Err(Failed::Before(error)),
    }
}

/// The table of the first requirement that does not hold.
async fn refused(client: &Client, columns: &Columns<'_>) -> Result<Option<Table>, Error> {
    if columns.tables.is_empty() {
        return Ok(None);
    }
    let (tables, keys, wanted) = &columns.required;
    let arguments: [(&(dyn ToSql + Sync), Type); 3] = [
        (tables, Type::TEXT_ARRAY),
        (keys, Type::BYTEA_ARRAY),
        (wanted, Type::BYTEA_ARRAY),
    ];
    // No value is NULL: that stands for a key that is not there, wanted or found.
    let asked = "SELECT min(need.number) FROM unnest($1, $2, $3) WITH ORDINALITY AS need(tbl, key, value, number)
        LEFT JOIN stockade_kv AS found ON found.tbl = need.tbl AND found.key = need.key
        WHERE found.value IS DISTINCT FROM need.value";
    let row = client.query_typed_one(asked, &arguments).await?;
    let first: Option<i64> = row.try_get(0)?;
    let index = first.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
    Ok(index.and_then(|index| columns.tables.get(index).copied()))
}

async fn delete(client: &Client, columns: &Columns<'_>) -> Result<(), Error> {
    let (tables, keys) = &columns.deleted;
    if tables.is_empty() {
        return Ok(());
    }
    let arguments: [(&(dyn ToSql + Sync), Type); 2] =
        [(tables, Type::TEXT_ARRAY), (keys, Type::BYTEA_ARRAY)];
    let sql = "DELETE FROM stockade_kv AS kv USING unnest($1, $2) AS gone(tbl, key)
        WHERE kv.tbl = gone.tbl AND kv.key = gone.key";
    client.execute_typed(sql, &arguments).await.map(drop)
}

async fn put(client: &Client, columns: &Columns<'_>) -> Result<(), Error> {
    let (mut tables, mut keys, mut values) = (
        columns.put.0.as_slice(),
        columns.put.1.as_slice(),
        columns.put.2.as_slice(),
    );
    while !tables.is_empty() {
        let mut bytes = 0_usize;
        let fits = keys.iter().zip(values).take_while(|(key, value)| {
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            bytes <= PIECE_BYTES
        });
        let count = fits.count().max(1).min(tables.len());
        let piece;
        (piece, tables) = tables.split_at(count);
        let (key, other_keys) = keys.split_at(count);
        let (value, other_values) = values.split_at(count);
        (keys, values) = (other_keys, other_values);
        let arguments: [(&(dyn ToSql + Sync), Type); 3] = [
            (&piece, Type::TEXT_ARRAY),
            (&key, Type::BYTEA_ARRAY),
            (&value, Type::BYTEA_ARRAY),
        ];
        let sql = "INSERT INTO stockade_kv (tbl, key, value) SELECT * FROM unnest($1, $2, $3)
            ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value";
        client.execute_typed(sql, &arguments).await?;
    }
    Ok(())
}
