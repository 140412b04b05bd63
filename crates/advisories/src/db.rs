//! Where imported data is kept: one file, `SQLite` (decision 0225).

mod incoming;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

pub(crate) use incoming::{Incoming, Ready};

use crate::advisory::{Advisory, Affected};
use crate::read::day;

/// The form of the file, and a mark that it is ours.
const FORM: u32 = 1;
const OURS: u32 = 0x5374_6b41;

const TABLES: &str = "
CREATE TABLE source (id INTEGER PRIMARY KEY, form TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
  imported INTEGER NOT NULL, newest TEXT NOT NULL, records INTEGER NOT NULL, bad INTEGER NOT NULL);
CREATE TABLE record (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, form TEXT NOT NULL, name TEXT NOT NULL,
  modified TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX record_name ON record (name, form);
CREATE TABLE ecosystem (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE coverage (source INTEGER NOT NULL, ecosystem TEXT NOT NULL, newest TEXT NOT NULL, PRIMARY KEY (source, ecosystem)) WITHOUT ROWID;
CREATE TABLE affected (id INTEGER PRIMARY KEY, record INTEGER NOT NULL, ecosystem INTEGER NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE exploited (cve TEXT PRIMARY KEY, added TEXT NOT NULL, ransomware INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE likely (cve TEXT PRIMARY KEY, score INTEGER NOT NULL, percentile INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE supported (distribution TEXT NOT NULL, version TEXT NOT NULL, until TEXT NOT NULL, PRIMARY KEY (distribution, version)) WITHOUT ROWID;
";

/// The name of the file in its directory.
pub const FILE: &str = "advisories.db";

/// Why imported data cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// `SQLite` refused.
    #[error("{0}: {1}")]
    Sqlite(PathBuf, rusqlite::Error),
    /// A file could not be read or made.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is there, and is something else, or of a version that is not known.
    #[error("{0}: {1}")]
    Damaged(PathBuf, String),
    /// Nothing was imported.
    #[error("{0}: no data was imported there: `stockade audit db import PATH...`")]
    Nothing(PathBuf),
}

/// One input that was imported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Source {
    /// Its form: `osv`, `nvd`, `cve-5`, `kev`, `epss`, `support`.
    pub form: String,
    /// Its name, as it was given.
    pub name: String,
    /// SHA-256 of the file; of a directory, of the names and digests of all in it.
    pub digest: String,
    /// When it was imported, in seconds since 1970.
    pub imported: u64,
    /// The newest day that it tells of: `2026-08-21`.
    pub newest: String,
    /// How many of its records count: those that came again in newer data count there.
    pub records: u64,
    /// How many of its records could not be read.
    pub bad: u64,
}

/// Imported data, to be asked.
#[derive(Debug)]
pub struct Db {
    connection: Connection,
    path: PathBuf,
}

/// What the data has of one package: the advisory, and what it says of the package.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) advisory: Advisory,
    pub(crate) affected: Affected,
}

impl Db {
    /// Opens imported data to be asked.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        if !path.try_exists()? {
            return Err(DbError::Nothing(path.to_owned()));
        }
        // What a killed import left is taken back on opening, which only a writer may.
        let write = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, write)
            .or_else(|_| Connection::open_with_flags(path, read))
            .map_err(|why| DbError::Sqlite(path.to_owned(), why))?;
        let db = Self {
            connection,
            path: path.to_owned(),
        };
        db.ask(|it| {
            it.pragma_update(None, "trusted_schema", false)?;
            it.pragma_update(None, "query_only", true)
        })?;
        if !db.is_ours()? {
            return Err(DbError::Nothing(path.to_owned()));
        }
        Ok(db)
    }

    /// Opens it to be changed, and makes it where it is not there.
    pub(crate) fn change(path: &Path) -> Result<Self, DbError> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let connection =
            Connection::open(path).map_err(|why| DbError::Sqlite(path.to_owned(), why))?;
        let db = Self {
            connection,
            path: path.to_owned(),
        };
        let wait = std::time::Duration::from_secs(10);
        db.ask(|it| {
            it.busy_timeout(wait)?;
            it.pragma_update(None, "trusted_schema", false)?;
            it.pragma_update(None, "cache_size", -65_536)
        })?;
        if !db.is_ours()? {
            let empty: i64 = db.ask(|it| {
                it.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            })?;
            if empty != 0 {
                return Err(db.damaged("it is another program's database"));
            }
            db.ask(|it| {
                it.execute_batch(&format!(
                    "BEGIN; PRAGMA application_id={OURS}; PRAGMA user_version={FORM}; {TABLES} COMMIT;"
                ))
            })?;
        }
        Ok(db)
    }

    /// Whether there is data of ours in it; an empty file is not.
    fn is_ours(&self) -> Result<bool, DbError> {
        let pragma = |name: &str| {
            self.ask(|it| it.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u32>(0)))
        };
        match (pragma("application_id")?, pragma("user_version")?) {
            (OURS, FORM) => Ok(true),
            (OURS, other) => Err(self.damaged(&format!(
                "its form is {other}, and this program knows {FORM}"
            ))),
            (0, 0) => Ok(false),
            _ => Err(self.damaged("it is another program's database")),
        }
    }

    fn damaged(&self, why: &str) -> DbError {
        DbError::Damaged(self.path.clone(), why.to_owned())
    }

    pub(crate) fn ask<T>(
        &self,
        how: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DbError> {
        how(&self.connection).map_err(|why| DbError::Sqlite(self.path.clone(), why))
    }

    pub(crate) fn transaction<T>(
        &mut self,
        how: impl FnOnce(&Connection) -> Result<T, Stop>,
    ) -> Result<T, DbError> {
        let path = self.path.clone();
        let failed = |why| DbError::Sqlite(path.clone(), why);
        let transaction = self.connection.transaction().map_err(failed)?;
        match how(&transaction) {
            Ok(done) => transaction.commit().map(|()| done).map_err(failed),
            Err(Stop::Sqlite(why)) => Err(failed(why)),
            Err(Stop::Io(why)) => Err(why.into()),
        }
    }

    /// What was imported, in the order of forms and names.
    pub fn sources(&self) -> Result<Vec<Source>, DbError> {
        self.ask(|it| {
            let mut query = it.prepare(
                "SELECT form, name, digest, imported, newest, records, bad FROM source ORDER BY form, name, digest",
            )?;
            let rows = query.query_map([], |row| {
                Ok(Source {
                    form: row.get(0)?,
                    name: row.get(1)?,
                    digest: row.get(2)?,
                    imported: count(row, 3)?,
                    newest: row.get(4)?,
                    records: count(row, 5)?,
                    bad: count(row, 6)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The ecosystems that it has data of, each with the newest day.
    pub fn ecosystems(&self) -> Result<BTreeMap<String, String>, DbError> {
        self.ask(|it| {
            let mut query =
                it.prepare("SELECT ecosystem, max(newest) FROM coverage GROUP BY ecosystem")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Takes out what came by this name or digest; how many sources that were.
    pub fn remove(path: &Path, which: &str) -> Result<usize, DbError> {
        // Only to say that there is nothing.
        drop(Self::open(path)?);
        let mut db = Self::change(path)?;
        db.transaction(|it| {
            let mut query = it.prepare(
                "SELECT id, form FROM source WHERE name = ?1 OR digest = ?1 OR form = ?1",
            )?;
            let found = query.query_map([which], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let found: Vec<(i64, String)> = found.collect::<rusqlite::Result<_>>()?;
            for (id, form) in &found {
                it.execute(
                    "DELETE FROM affected WHERE record IN (SELECT id FROM record WHERE source = ?1)",
                    [id],
                )?;
                it.execute("DELETE FROM record WHERE source = ?1", [id])?;
                it.execute("DELETE FROM coverage WHERE source = ?1", [id])?;
                it.execute("DELETE FROM source WHERE id = ?1", [id])?;
                if let Some(list) = list_of(form) {
                    // Its rows do not say which file they are of.
                    it.execute(&format!("DELETE FROM {list}"), [])?;
                    it.execute("DELETE FROM source WHERE form = ?1", [form])?;
                }
            }
            Ok(found.len())
        })
    }

    /// What is known of a package in one of these ecosystems.
    pub(crate) fn rows(&self, ecosystem: &str, name: &str) -> Result<Vec<Row>, DbError> {
        let rows: Vec<(String, String, String)> = self.ask(|it| {
            let mut query = it.prepare_cached(
                "SELECT r.name, r.body, a.body FROM affected a JOIN record r ON r.id = a.record
                 JOIN ecosystem e ON e.id = a.ecosystem WHERE a.name = ?1 AND e.name = ?2 ORDER BY r.name, a.id",
            )?;
            let rows = query.query_map([name, ecosystem], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        })?;
        let read = |(id, record, affected): (String, String, String)| {
            let wrong = |why| self.damaged(&format!("the record {id}: {why}"));
            let mut advisory: Advisory = serde_json::from_str(&record).map_err(wrong)?;
            let mut affected: Affected = serde_json::from_str(&affected).map_err(wrong)?;
            ecosystem.clone_into(&mut affected.ecosystem);
            advisory.id = id;
            Ok(Row { advisory, affected })
        };
        rows.into_iter().map(read).collect()
    }

    /// The vectors that the records of a CVE itself have.
    pub(crate) fn vectors(&self, cve: &str) -> Result<Vec<String>, DbError> {
        let bodies: Vec<(String, String)> = self.ask(|it| {
            let mut query =
                it.prepare_cached("SELECT name, body FROM record WHERE name = ?1 ORDER BY form")?;
            query
                .query_map([cve], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let mut all = Vec::new();
        for (id, body) in bodies {
            let read: Result<Advisory, _> = serde_json::from_str(&body);
            all.extend(
                read.map_err(|why| self.damaged(&format!("the record {id}: {why}")))?
                    .vectors,
            );
        }
        Ok(all)
    }

    /// Since when a CVE is in KEV, and whether ransomware uses it.
    pub(crate) fn exploited(&self, cve: &str) -> Result<Option<(String, bool)>, DbError> {
        self.ask(|it| {
            let mut query =
                it.prepare_cached("SELECT added, ransomware FROM exploited WHERE cve = ?1")?;
            query
                .query_row([cve], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }

    /// EPSS: how likely, and the part that is less likely; in millionths.
    pub(crate) fn likely(&self, cve: &str) -> Result<Option<(u32, u32)>, DbError> {
        self.ask(|it| {
            let mut query =
                it.prepare_cached("SELECT score, percentile FROM likely WHERE cve = ?1")?;
            query
                .query_row([cve], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }

    /// Until which day a release of a distribution is supported, and whether anything is known of that distribution.
    pub(crate) fn supported(
        &self,
        distribution: &str,
        version: &str,
    ) -> Result<(Option<String>, bool), DbError> {
        self.ask(|it| {
            let until = it
                .query_row(
                    "SELECT until FROM supported WHERE distribution = ?1 AND version = ?2",
                    [distribution, version],
                    |row| row.get(0),
                )
                .optional()?;
            let known = it
                .query_row(
                    "SELECT 1 FROM supported WHERE distribution = ?1 LIMIT 1",
                    [distribution],
                    |_| Ok(()),
                )
                .optional()?;
            Ok((until, known.is_some()))
        })
    }
}

fn count(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The table of a list that is taken as a whole.
pub(crate) fn list_of(form: &str) -> Option<&'static str> {
    match form {
        "kev" => Some("exploited"),
        "epss" => Some("likely"),
        "support" => Some("supported"),
        _ => None,
    }
}

/// Why a change was taken back.
#[derive(Debug)]
pub(crate) enum Stop {
    Sqlite(rusqlite::Error),
    Io(std::io::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(why: rusqlite::Error) -> Self {
        Self::Sqlite(why)
    }
}

impl From<std::io::Error> for Stop {
    fn from(why: std::io::Error) -> Self {
        Self::Io(why)
    }
}

/// The day of a moment, as text.
pub(crate) fn today(now: u64) -> String {
    let at = i64::try_from(now)
        .ok()
        .and_then(|it| time::OffsetDateTime::from_unix_timestamp(it).ok());
    let format = time::macros::format_description!("[year]-[month]-[day]");
    at.and_then(|it| it.format(format).ok()).unwrap_or_default()
}

/// How many days a day is ago; none if it is none.
pub(crate) fn days_ago(text: &str, now: u64) -> Option<u64> {
    Some(now.saturating_sub(day(text)?) / 86_400)
}
