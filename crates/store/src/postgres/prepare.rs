//! Our tables in a database, and whether they are ours.

use super::{Shared, commit};
use crate::store::StoreError;

/// The format written here.
const FORMAT: i64 = 1;

/// `EXTERNAL`: the values are sealed, and what is sealed cannot be compressed.
const CREATE: &str = "
    CREATE TABLE stockade_kv (
        tbl text COLLATE \"C\" NOT NULL, key bytea NOT NULL, value bytea NOT NULL, PRIMARY KEY (tbl, key));
    ALTER TABLE stockade_kv ALTER COLUMN value SET STORAGE EXTERNAL;
    CREATE TABLE stockade_commits (
        session bytea PRIMARY KEY, mark bytea NOT NULL, at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE stockade_format (format bigint NOT NULL);
    INSERT INTO stockade_format VALUES (1);";

impl Shared {
    /// Makes an empty database ours; refuses one that is not, that a newer version wrote, or that may lose what it acknowledged.
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        let session = self.session().await?;
        let client = &session.client;
        let failed = |error| self.failed("prepare the database", &error);
        let refused = |why: &'static str| self.refused("use this database", why);
        client.batch_execute("BEGIN").await.map_err(failed)?;
        // Two that start at once make the tables once.
        client
            .batch_execute(&format!(
                "SELECT pg_advisory_xact_lock({})",
                commit::EVERYBODY
            ))
            .await
            .map_err(failed)?;
        let asked =
            "SELECT current_setting('server_version_num')::bigint, current_setting('fsync'),
            to_regclass('stockade_kv') IS NOT NULL, to_regclass('stockade_format') IS NOT NULL";
        let row = client.query_typed_one(asked, &[]).await.map_err(failed)?;
        let about = (|| {
            Ok((
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
            ))
        })();
        let (version, fsync, values, format): (i64, &str, bool, bool) = about.map_err(failed)?;
        if version < 150_000 {
            return Err(refused("the server is older than PostgreSQL 15"));
        }
        if fsync != "on" {
            return Err(refused(
                "the server runs with fsync = off: it may lose what it said it has",
            ));
        }
        match (values, format) {
            (false, false) => client.batch_execute(CREATE).await.map_err(failed)?,
            (true, true) => {
                let asked = "SELECT coalesce(max(format), 0) FROM stockade_format";
                let row = client.query_typed_one(asked, &[]).await.map_err(failed)?;
                let found: i64 = row.try_get(0).map_err(failed)?;
                let file = self.place.clone();
                if found > FORMAT {
                    let known = FORMAT;
                    return Err(StoreError::Newer { file, found, known });
                } else if found < FORMAT {
                    return Err(StoreError::Foreign { file });
                }
            }
            _ => {
                let file = self.place.clone();
                return Err(StoreError::Foreign { file });
            }
        }
        // Of connections that are long gone.
        client
            .batch_execute(
                "DELETE FROM stockade_commits WHERE at < now() - interval '7 days'; COMMIT",
            )
            .await
            .map_err(failed)?;
        self.give_back(session);
        Ok(())
    }
}
