//! The [`Store`] on a server: `PostgreSQL` 15 or newer, one table.
//!
//! A thread of its own runs the connections; callers wait for it on a channel, so they may stand inside a runtime or outside.

mod address;
mod commit;
mod prepare;
mod tls;

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

use self::address::{address, place};
use self::tls::Tls;
use crate::store::{
    Batch, EachEntry, Entry, Scan, Scrub, Store, StoreError, Table, after_prefix, bounds,
};

/// So many connections at most; one commits, others read.
const CONNECTIONS: usize = 4;
/// A server that does not answer for so long is not there. Longer than any of the times of [`SESSION`].
const PATIENCE: Duration = Duration::from_mins(1);
/// For a connection, with the handshakes.
const CONNECT: Duration = Duration::from_secs(10);
/// What a snapshot fetches at once.
const PIECE: usize = 500;

/// Every access is by key: a plan that reads the whole table is never the right one, whatever the statistics say. What a
/// commit acknowledges is on the server's disk.
const SESSION: &str = "
    SET client_min_messages = warning;
    SET statement_timeout = '30s';
    SET lock_timeout = '20s';
    SET idle_in_transaction_session_timeout = '30s';
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Where the database is, and how to get in.
pub struct PostgresSettings<'a> {
    /// `postgres://USER@HOST:PORT/DATABASE`, without a password. A `HOST` that begins with `%2F` is the directory of a socket.
    pub url: &'a str,
    /// The password, if the server asks for one.
    pub password: Option<&'a str>,
    /// Certificates (PEM) of the authorities that may have signed the server's; those of the system otherwise.
    pub authorities: Option<&'a [u8]>,
}

impl fmt::Debug for PostgresSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresSettings")
    }
}

/// A `PostgreSQL` database: one table of tables, keys and values, committed on the server's disk.
pub struct Postgres {
    shared: Arc<Shared>,
    /// There until the value is dropped.
    runtime: Option<Runtime>,
}

/// What the connections share.
struct Shared {
    /// Names the database without user and password.
    place: String,
    config: Config,
    tls: Tls,
    idle: Mutex<Vec<Session>>,
    room: Semaphore,
}

/// An open connection.
struct Session {
    client: Client,
    /// The key of the row in which it leaves the mark of its last commit.
    id: Random,
}

type Random = [u8; 16];

fn random() -> io::Result<Random> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// What a statement is given.
enum Argument {
    Text(&'static str),
    Name(String),
    Bytes(Vec<u8>),
    Number(i64),
}

impl Argument {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Text(text) => (text, Type::TEXT),
            Self::Name(text) => (text, Type::TEXT),
            Self::Bytes(bytes) => (bytes, Type::BYTEA),
            Self::Number(number) => (number, Type::INT8),
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", self.shared.place)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Waiting for it is forbidden inside a runtime. Nobody is left who waits for an answer.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Postgres {
    /// Opens the store in a database; makes its tables if they are not there.
    pub fn open(settings: &PostgresSettings<'_>) -> Result<Self, StoreError> {
        let refused = |place: &str, why: &dyn fmt::Display| StoreError::Failed {
            file: place.to_owned(),
            doing: "use this address of a database",
            source: why.to_string().into(),
        };
        let (mut config, tcp) =
            address(settings.url).map_err(|why| refused("postgres://…", &why))?;
        let place = place(&config);
        config
            .application_name("stockade")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(PATIENCE)
            .keepalives_idle(Duration::from_secs(30))
            // Where several servers are named, the one that takes writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if tcp {
                SslMode::Require
            } else {
                SslMode::Disable
            });
        if let Some(password) = settings.password {
            config.password(password);
        }
        let tls = if tcp {
            Tls::verified(settings.authorities).map_err(|why| refused(&place, &why))?
        } else {
            Tls::none()
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| refused(&place, &error))?;
        let store = Self {
            shared: Arc::new(Shared {
                place,
                config,
                tls,
                idle: Mutex::default(),
                room: Semaphore::new(CONNECTIONS),
            }),
            runtime: Some(runtime),
        };
        let shared = Arc::clone(&store.shared);
        store.wait(async move { shared.prepare().await })?;
        Ok(store)
    }

    /// Says what is wrong with an address, if something is.
    pub fn check(url: &str) -> Result<(), String> {
        address(url).map(drop)
    }

    /// What comes of `work`, which the thread of the connections does.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = |why: &'static str| self.shared.refused("reach the database", why);
        let Some(runtime) = &self.runtime else {
            return Err(gone("the store is closed"));
        };
        let (answer, asked) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Whoever asked is gone: nobody wants the answer.
            drop(answer.send(tokio::time::timeout(PATIENCE, work).await));
        });
        asked
            .recv()
            .map_err(|_| gone("its thread ended"))?
            .unwrap_or_else(|_| Err(gone("it does not answer")))
    }

    fn rows(
        &self,
        doing: &'static str,
        sql: String,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Row>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.wait(async move { shared.read(doing, &sql, &arguments).await })
    }

    fn unreadable(&self) -> impl Fn(tokio_postgres::Error) -> StoreError {
        |error| self.shared.failed("read a row", &error)
    }
}

impl Store for Postgres {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT value FROM stockade_kv WHERE tbl = $1 AND key = $2".to_owned();
        let arguments = vec![
            Argument::Text(table.as_str()),
            Argument::Bytes(key.to_owned()),
        ];
        let rows = self.rows("read a key", sql, arguments)?;
        let value = rows.first().map(|row| row.try_get(0)).transpose();
        value.map_err(self.unreadable())
    }

    fn scan(&self, table: Table, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        let Some((low, high)) = bounds(&scan) else {
            return Ok(Vec::new());
        };
        let mut sql = "SELECT key, value FROM stockade_kv WHERE tbl = $1".to_owned();
        let mut arguments = vec![Argument::Text(table.as_str())];
        for (bound, inclusive, exclusive) in [(low, ">=", ">"), (high, "<=", "<")] {
            let (comparison, key) = match bound {
                Bound::Included(key) => (inclusive, key),
                Bound::Excluded(key) => (exclusive, key),
                Bound::Unbounded => continue,
            };
            arguments.push(Argument::Bytes(key));
            sql = format!("{sql} AND key {comparison} ${}", arguments.len());
        }
        arguments.push(Argument::Number(
            i64::try_from(scan.limit).unwrap_or(i64::MAX),
        ));
        let direction = if scan.reverse { "DESC" } else { "ASC" };
        sql = format!("{sql} ORDER BY key {direction} LIMIT ${}", arguments.len());
        let rows = self.rows("scan a table", sql, arguments)?;
        let entry = |row: Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let entries: Result<_, _> = rows.into_iter().map(entry).collect();
        entries.map_err(self.unreadable())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // Earlier than `wait` would give up: what it knows then is that nobody knows.
        let late = PATIENCE.saturating_sub(CONNECT);
        self.wait(async move {
            let done = tokio::time::timeout(late, shared.commit(&batch)).await;
            done.unwrap_or_else(|_| Err(shared.unknown()))
        })
    }

    fn snapshot(&self, prefix: &str, each: &mut EachEntry<'_>) -> Result<(), StoreError> {
        const DOING: &str = "show all entries of one moment";
        let mut sql =
            "DECLARE entries NO SCROLL CURSOR FOR SELECT tbl, key, value FROM stockade_kv WHERE tbl >= $1"
                .to_owned();
        let mut arguments = vec![Argument::Name(prefix.to_owned())];
        if let Some(high) =
            after_prefix(prefix.as_bytes()).and_then(|it| String::from_utf8(it).ok())
        {
            arguments.push(Argument::Name(high));
            sql.push_str(" AND tbl < $2");
        }
        sql.push_str(" ORDER BY tbl, key");
        let shared = Arc::clone(&self.shared);
        // A connection of its own: others must not wait for whoever looks.
        let mut session = self.wait(async move {
            let session = shared.connect().await?;
            let client = &session.client;
            let begun = async {
                client
                    .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '10min'")
                    .await?;
                let arguments: Vec<_> = arguments.iter().map(Argument::typed).collect();
                client.query_typed(&sql, &arguments).await
            };
            begun.await.map_err(|error| shared.failed(DOING, &error))?;
            Ok(session)
        })?;
        loop {
            let shared = Arc::clone(&self.shared);
            let rows;
            (session, rows) = self.wait(async move {
                let sql = format!("FETCH {PIECE} FROM entries");
                match session.client.query_typed(&sql, &[]).await {
                    Ok(rows) => Ok((session, rows)),
                    Err(error) => Err(shared.failed(DOING, &error)),
                }
            })?;
            for row in &rows {
                let entry = (|| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))();
                let (table, key, value) = entry.map_err(self.unreadable())?;
                if each(table, key, value).is_break() {
                    return Ok(());
                }
            }
            if rows.len() < PIECE {
                return Ok(());
            }
        }
    }

    fn scrub(&self) -> Result<Scrub, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.wait(async move {
            let session = shared.session().await?;
            // It makes room and promises nothing: a table too large for the time we give it keeps nobody from going on.
            match session.client.batch_execute("VACUUM stockade_kv").await {
                Ok(()) => shared.give_back(session),
                Err(error) => {
                    let error = shared.failed("clean up its table", &error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "deleted rows keep their room"
                    );
                }
            }
            Ok(Scrub::Never)
        })
    }
}

impl Shared {
    /// A connection that is open, as far as this side knows.
    async fn session(&self) -> Result<Session, StoreError> {
        let idle = || {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
        };
        while let Some(session) = idle() {
            if !session.client.is_closed() {
                return Ok(session);
            }
        }
        self.connect().await
    }

    fn give_back(&self, session: Session) {
        if !session.client.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(session);
        }
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        let id = random().map_err(|error| self.refused("get random bytes", error))?;
        let connect = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            // It ends with its client. What breaks it, whoever uses it is told.
            tokio::spawn(async move { drop(connection.await) });
            client.batch_execute(SESSION).await?;
            Ok(Session { client, id })
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(connected) => {
                connected.map_err(|error| self.failed("connect to the database", &error))
            }
            Err(_) => Err(self.refused("connect to the database", "no answer in time")),
        }
    }

    /// The answer to a question, asked again if the connection turns out to be broken.
    async fn read(
        &self,
        doing: &'static str,
        sql: &str,
        arguments: &[Argument],
    ) -> Result<Vec<Row>, StoreError> {
        let _permit = self.room.acquire().await;
        let arguments: Vec<_> = arguments.iter().map(Argument::typed).collect();
        let mut again = true;
        loop {
            let session = self.session().await?;
            let answer = session.client.query_typed(sql, &arguments).await;
            match answer {
                Err(error) if again && broken(&error) => again = false,
                answer => {
                    self.give_back(session);
                    return answer.map_err(|error| self.failed(doing, &error));
                }
            }
        }
    }

    fn refused(
        &self,
        doing: &'static str,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Failed {
            file: self.place.clone(),
            doing,
            source: why.into(),
        }
    }

    fn unknown(&self) -> StoreError {
        StoreError::Unknown {
            file: self.place.clone(),
        }
    }

    /// What the server said, without the details: those quote keys and values.
    fn failed(&self, doing: &'static str, error: &tokio_postgres::Error) -> StoreError {
        let file = self.place.clone();
        if error.code() == Some(&SqlState::DISK_FULL) {
            return StoreError::Full { file };
        }
        let source = match error.as_db_error() {
            Some(told) => format!("{}: {}", told.code().code(), told.message()),
            None => match std::error::Error::source(error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        self.refused(doing, source)
    }
}

/// Whether it is the connection that failed, or the server that goes down or comes up.
fn broken(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Class 57: operator intervention; 57014 is our own statement_timeout.
        Some(code) => code.code().starts_with("57") && *code != SqlState::QUERY_CANCELED,
        None => true,
    }
}
