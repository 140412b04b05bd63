//! The embedded [`Store`]: one `SQLite` file.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, ffi, params,
    params_from_iter,
};

use crate::store::{
    Batch, EachEntry, Entry, Need, Op, Scan, Scrub, Store, StoreError, Table, after_prefix, bounds,
};

/// "Stck": tells our files from other databases.
const APPLICATION: i32 = 0x5374_636b;
/// The format written here.
const FORMAT: i64 = 1;
/// How long to wait for another process, such as a backup.
const BUSY: Duration = Duration::from_secs(5);

/// One `SQLite` file: write-ahead log, synced at each commit, deleted values overwritten.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    write: Mutex<Connection>,
    /// Reads do not wait for a commit's sync.
    read: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the store in the file at `path`; creates it, readable by this user only, if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |doing| move |source| failed(path, doing, source);
        create_private(path).map_err(|source| StoreError::Failed {
            file: path.display().to_string(),
            doing: "create the database",
            source: Box::new(source),
        })?;
        let mut write = Connection::open(path).map_err(failed("open the database"))?;
        configure(&write).map_err(failed("configure the database"))?;
        prepare(path, &mut write)?;
        let read = open_to_read(path).map_err(failed("open the database"))?;
        Ok(Self {
            path: path.to_owned(),
            write: Mutex::new(write),
            read: Mutex::new(read),
        })
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        // A panic drops the statement, and with it whatever was under way.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| failed(&self.path, doing, source)
    }
}

impl Store for Sqlite {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let connection = self.reader();
        value(&connection, table, key).map_err(self.failed("read a key"))
    }

    fn scan(&self, table: Table, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        let Some((low, high)) = bounds(&scan) else {
            return Ok(Vec::new());
        };
        let mut sql = "SELECT key, value FROM kv WHERE tbl = ?".to_owned();
        let mut arguments = vec![Value::Text(table.as_str().to_owned())];
        for (bound, inclusive, exclusive) in [
            (low, " AND key >= ?", " AND key > ?"),
            (high, " AND key <= ?", " AND key < ?"),
        ] {
            match bound {
                Bound::Included(key) => {
                    sql.push_str(inclusive);
                    arguments.push(Value::Blob(key));
                }
                Bound::Excluded(key) => {
                    sql.push_str(exclusive);
                    arguments.push(Value::Blob(key));
                }
                Bound::Unbounded => {}
            }
        }
        sql.push_str(if scan.reverse {
            " ORDER BY key DESC LIMIT ?"
        } else {
            " ORDER BY key LIMIT ?"
        });
        arguments.push(Value::Integer(
            i64::try_from(scan.limit).unwrap_or(i64::MAX),
        ));

        let connection = self.reader();
        let entries = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(arguments), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect()
        };
        entries().map_err(self.failed("scan a table"))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut connection = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        // The write lock from the start, so that nothing changes between the requirements and the changes.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(self.failed("begin a transaction"))?;
        match carry_out(&transaction, &batch).map_err(self.failed("change a table"))? {
            Some(table) => Err(StoreError::Conflict { table }),
            None => transaction.commit().map_err(self.failed("commit")),
        }
    }

    fn snapshot(&self, prefix: &str, each: &mut EachEntry<'_>) -> Result<(), StoreError> {
        // A connection of its own: what a reader holds open for long, others must not wait for.
        let failed = || self.failed("show all entries of one moment");
        let connection = open_to_read(&self.path).map_err(failed())?;
        let mut all = || -> rusqlite::Result<()> {
            let high = after_prefix(prefix.as_bytes()).and_then(|it| String::from_utf8(it).ok());
            let mut statement = connection.prepare(
                "SELECT tbl, key, value FROM kv WHERE tbl >= ?1 AND (?2 IS NULL OR tbl < ?2) ORDER BY tbl, key",
            )?;
            let mut rows = statement.query(params![prefix, high])?;
            while let Some(row) = rows.next()? {
                let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
                let bytes = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
                if each(text(0)?, bytes(1)?, bytes(2)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        all().map_err(failed())
    }

    fn scrub(&self) -> Result<Scrub, StoreError> {
        // Deleted values are overwritten as pages change (`secure_delete`); their old pages are in the log until it is emptied,
        // which no reader may be in the way of.
        let connection = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        let _reader = self.reader();
        let busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(self.failed("empty its log"))?;
        Ok(if busy { Scrub::Busy } else { Scrub::Done })
    }
}

/// Does the batch within `transaction`, or names the table of the first requirement that does not hold.
fn carry_out(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<Option<Table>> {
    for op in batch.ops() {
        if let Op::Require(table, key, need) = op {
            let found = value(transaction, *table, key)?;
            let holds = match need {
                Need::Absent => found.is_none(),
                Need::Equals(wanted) => found.as_ref() == Some(wanted),
            };
            if !holds {
                return Ok(Some(*table));
            }
        }
    }
    let mut put = transaction
        .prepare_cached("INSERT OR REPLACE INTO kv (tbl, key, value) VALUES (?, ?, ?)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM kv WHERE tbl = ? AND key = ?")?;
    for op in batch.ops() {
        match op {
            Op::Require(..) => {}
            Op::Put(table, key, value) => {
                put.execute(params![table.as_str(), key, value])?;
            }
            Op::Delete(table, key) => {
                delete.execute(params![table.as_str(), key])?;
            }
        }
    }
    Ok(None)
}

fn value(connection: &Connection, table: Table, key: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM kv WHERE tbl = ? AND key = ?")?;
    statement
        .query_row(params![table.as_str(), key], |row| row.get(0))
        .optional()
}

/// An empty file of mode 0600, unless there is one already: `SQLite` gives its side files the mode of the main one.
fn create_private(path: &Path) -> std::io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;

    fs_err::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    configure(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Text that comes from outside never becomes SQL here; this is for what is in the file itself.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")
}

/// Makes a new file ours; refuses one that is not, or that a newer version wrote.
fn prepare(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |source| failed(path, "prepare the database", source);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let pragma = |name| {
        transaction
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(failed)
    };
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let file = || path.display().to_string();
    if application == 0 && found == 0 && tables == 0 {
        transaction
            .execute_batch("CREATE TABLE kv (tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key)) STRICT, WITHOUT ROWID")
            .map_err(failed)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION)
            .map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", FORMAT)
            .map_err(failed)?;
    } else if application != i64::from(APPLICATION) {
        return Err(StoreError::Foreign { file: file() });
    } else if found > FORMAT {
        return Err(StoreError::Newer {
            file: file(),
            found,
            known: FORMAT,
        });
    }
    transaction.commit().map_err(failed)
}

fn failed(path: &Path, doing: &'static str, source: rusqlite::Error) -> StoreError {
    let file = path.display().to_string();
    // Without room for the file that readers and the writer share, SQLite speaks of input and output.
    let no_room = source
        .sqlite_error()
        .is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE);
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { file },
        _ if no_room => StoreError::Full { file },
        _ => StoreError::Failed {
            file,
            doing,
            source: Box::new(source),
        },
    }
}
