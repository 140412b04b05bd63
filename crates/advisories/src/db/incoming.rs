//! What comes in: records by name, the newer one counts; lists as a whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{list_of, signed, today};
use crate::advisory::Advisory;
use crate::read::{Form, List};

/// One input on its way in.
pub(crate) struct Incoming<'a> {
    connection: &'a Connection,
    ecosystems: BTreeMap<String, i64>,
    /// By form: the source's id, the newest day, and how many records came; by ecosystem the newest day.
    sources: BTreeMap<Form, Begun>,
    pub(crate) older: u64,
    now: u64,
    name: String,
}

#[derive(Default)]
struct Begun {
    id: i64,
    newest: String,
    records: u64,
    coverage: BTreeMap<String, String>,
}

/// A record of the same name that is there.
struct Before {
    id: i64,
    source: i64,
    modified: String,
    first: i64,
    count: i64,
}

impl Before {
    /// Makes room for a newer one of a source.
    fn leave(&self, connection: &Connection, source: i64) -> rusqlite::Result<()> {
        let end = self.first.saturating_add(self.count);
        let mut delete =
            connection.prepare_cached("DELETE FROM affected WHERE id >= ?1 AND id < ?2")?;
        delete.execute([self.first, end])?;
        let mut delete = connection.prepare_cached("DELETE FROM record WHERE id = ?1")?;
        delete.execute([self.id])?;
        let mut update = connection
            .prepare_cached("UPDATE source SET records = records - 1 WHERE id = ?1 AND id <> ?2")?;
        update.execute([self.source, source])?;
        Ok(())
    }
}

/// A record made ready to be put in.
pub(crate) struct Ready {
    form: Form,
    id: String,
    modified: String,
    body: String,
    /// Ecosystem, name, body.
    affected: Vec<(String, String, String)>,
}

impl Ready {
    pub(crate) fn of(form: Form, advisory: &Advisory) -> Result<Self, serde_json::Error> {
        let kept = advisory.affected.iter().filter(|_| !advisory.withdrawn);
        let affected = kept.map(|it| {
            let body = serde_json::to_string(it)?;
            Ok((it.ecosystem.clone(), it.name.clone(), body))
        });
        Ok(Self {
            form,
            id: advisory.id.clone(),
            modified: advisory.modified.clone(),
            body: serde_json::to_string(advisory)?,
            affected: affected.collect::<Result<_, serde_json::Error>>()?,
        })
    }
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(connection: &'a Connection, name: &str, now: u64) -> rusqlite::Result<Self> {
        let mut query = connection.prepare("SELECT name, id FROM ecosystem")?;
        let ecosystems = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            connection,
            ecosystems: ecosystems.collect::<rusqlite::Result<_>>()?,
            sources: BTreeMap::new(),
            older: 0,
            now,
            name: name.to_owned(),
        })
    }

    fn source(&mut self, form: Form) -> rusqlite::Result<&mut Begun> {
        match self.sources.entry(form) {
            Entry::Occupied(it) => Ok(it.into_mut()),
            Entry::Vacant(it) => {
                self.connection.execute(
                    "INSERT INTO source (form, name, digest, imported, newest, records, bad) VALUES (?1, ?2, '', ?3, '', 0, 0)",
                    params![form.name(), self.name, signed(self.now)],
                )?;
                Ok(it.insert(Begun {
                    id: self.connection.last_insert_rowid(),
                    ..Begun::default()
                }))
            }
        }
    }

    /// Puts a record in, unless a newer one of that name is there.
    pub(crate) fn put(&mut self, record: &Ready) -> rusqlite::Result<()> {
        let connection = self.connection;
        let form = record.form.name();
        let mut query = connection.prepare_cached(
            "SELECT id, source, modified, first, count FROM record WHERE name = ?1 AND form = ?2",
        )?;
        let before = query
            .query_row(params![record.id, form], |row| {
                Ok(Before {
                    id: row.get(0)?,
                    source: row.get(1)?,
                    modified: row.get(2)?,
                    first: row.get(3)?,
                    count: row.get(4)?,
                })
            })
            .optional()?;
        let source = self.source(record.form)?;
        let of = source.id;
        // A day to come would make old data look new for good.
        let today = record.modified.get(..10).unwrap_or_default();
        if source.newest.as_str() < today {
            today.clone_into(&mut source.newest);
        }
        for (ecosystem, ..) in &record.affected {
            let newest = source.coverage.entry(ecosystem.clone()).or_default();
            if newest.as_str() < today {
                today.clone_into(newest);
            }
        }
        if let Some(before) = before {
            if before.modified > record.modified {
                self.older = self.older.saturating_add(1);
                return Ok(());
            }
            if before.source == of {
                source.records = source.records.saturating_sub(1);
            }
            before.leave(connection, of)?;
        }
        source.records = source.records.saturating_add(1);
        self.insert(of, record)
    }

    fn insert(&mut self, source: i64, record: &Ready) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut insert = connection.prepare_cached(
            "INSERT INTO record (source, form, name, modified, first, count, body) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)",
        )?;
        let count = i64::try_from(record.affected.len()).unwrap_or(0);
        let form = record.form.name();
        insert.execute(params![
            source,
            form,
            record.id,
            record.modified,
            count,
            record.body
        ])?;
        let id = connection.last_insert_rowid();
        let mut insert = connection.prepare_cached(
            "INSERT INTO affected (record, ecosystem, name, body) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let mut first = None;
        for (ecosystem, name, body) in &record.affected {
            let ecosystem = if let Some(id) = self.ecosystems.get(ecosystem) {
                *id
            } else {
                connection.execute("INSERT INTO ecosystem (name) VALUES (?1)", [ecosystem])?;
                let id = connection.last_insert_rowid();
                self.ecosystems.insert(ecosystem.clone(), id);
                id
            };
            insert.execute(params![id, ecosystem, name, body])?;
            first.get_or_insert_with(|| connection.last_insert_rowid());
        }
        if let Some(first) = first {
            let mut update =
                connection.prepare_cached("UPDATE record SET first = ?1 WHERE id = ?2")?;
            update.execute([first, id])?;
        }
        Ok(())
    }

    /// Puts a list in the place of the one before, unless that is newer; how many rows it has.
    pub(crate) fn replace(&mut self, list: &List, of: &str) -> rusqlite::Result<Option<u64>> {
        let connection = self.connection;
        let form = match list {
            List::Exploited(_) => Form::Kev,
            List::Likely(_) => Form::Epss,
            List::Supported(_) => Form::Support,
        };
        let of = of.get(..10).unwrap_or(of);
        let newest: Option<String> = connection.query_row(
            "SELECT max(newest) FROM source WHERE form = ?1",
            [form.name()],
            |row| row.get(0),
        )?;
        // Lists of several distributions stand side by side.
        let side_by_side = matches!(list, List::Supported(_));
        if !side_by_side && newest.is_some_and(|newest| newest.as_str() > of) {
            return Ok(None);
        }
        if !side_by_side {
            connection.execute("DELETE FROM source WHERE form = ?1", [form.name()])?;
            self.sources.remove(&form);
            if let Some(table) = list_of(form.name()) {
                connection.execute(&format!("DELETE FROM {table}"), [])?;
            }
        } else if !self.sources.contains_key(&form) {
            let mut delete =
                connection.prepare("DELETE FROM source WHERE form = ?1 AND name = ?2")?;
            delete.execute(params![form.name(), self.name])?;
        }
        let count = match list {
            List::Exploited(all) => {
                let mut put =
                    connection.prepare("INSERT OR REPLACE INTO exploited VALUES (?1, ?2, ?3)")?;
                for it in all {
                    put.execute(params![it.cve, it.added, it.ransomware])?;
                }
                all.len()
            }
            List::Likely(all) => {
                let mut put =
                    connection.prepare("INSERT OR REPLACE INTO likely VALUES (?1, ?2, ?3)")?;
                for it in all {
                    put.execute(params![it.cve, it.score, it.percentile])?;
                }
                all.len()
            }
            List::Supported(all) => {
                let mut put =
                    connection.prepare("INSERT OR REPLACE INTO supported VALUES (?1, ?2, ?3)")?;
                for it in all {
                    put.execute(params![it.distribution, it.version, it.until])?;
                }
                all.len()
            }
        };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let source = self.source(form)?;
        of.clone_into(&mut source.newest);
        source.records = source.records.saturating_add(count);
        Ok(Some(count))
    }

    /// Writes down what came: of which digest, and how much of it was bad.
    pub(crate) fn finish(self, digest: &str, bad: u64) -> rusqlite::Result<()> {
        let connection = self.connection;
        for (form, begun) in self.sources {
            let newest = begun.newest.min(today(self.now));
            let known: Option<i64> = connection
                .query_row(
                    "SELECT id FROM source WHERE form = ?1 AND digest = ?2 AND id <> ?3",
                    params![form.name(), digest, begun.id],
                    |row| row.get(0),
                )
                .optional()?;
            let id = known.unwrap_or(begun.id);
            if known.is_some() {
                // The same again: it stays what it was.
                connection.execute(
                    "UPDATE record SET source = ?1 WHERE source = ?2",
                    [id, begun.id],
                )?;
                connection.execute("DELETE FROM source WHERE id = ?1", [begun.id])?;
                connection.execute("DELETE FROM coverage WHERE source = ?1", [id])?;
            } else {
                connection.execute(
                    "UPDATE source SET digest = ?1, newest = ?2, bad = ?3 WHERE id = ?4",
                    params![digest, newest, signed(bad), id],
                )?;
            }
            connection.execute(
                "UPDATE source SET records = records + ?1 WHERE id = ?2",
                params![signed(begun.records), id],
            )?;
            for (ecosystem, newest) in begun.coverage {
                connection.execute(
                    "INSERT OR REPLACE INTO coverage VALUES (?1, ?2, ?3)",
                    params![id, ecosystem, newest.min(today(self.now))],
                )?;
            }
        }
        // What came again in newer data counts there; a source of which nothing is left is gone.
        connection.execute_batch(
            "DELETE FROM coverage WHERE source IN (SELECT id FROM source WHERE records <= 0 AND form IN ('osv', 'nvd', 'cve-5'));
             DELETE FROM source WHERE records <= 0 AND form IN ('osv', 'nvd', 'cve-5');",
        )
    }
}
