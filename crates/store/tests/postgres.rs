//! `PostgreSQL` behind the seam, on servers of the tests' own.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stockade_store::suite::{self, Checked, Cluster, Place};
use stockade_store::{Batch, Postgres, PostgresSettings, Scan, Sqlite, Store, StoreError, Table};
use tempfile::TempDir;

const TABLE: Table = Table::new("test");
/// Where the process of another gateway counts.
const PLACE: &str = "STOCKADE_TEST_STORE";

fn settings(url: &str) -> PostgresSettings<'_> {
    PostgresSettings {
        url,
        password: None,
        authorities: None,
    }
}

fn open(url: &str) -> Postgres {
    Postgres::open(&settings(url)).expect("a store")
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Why the store at an address cannot be opened.
fn refused(url: &str) -> StoreError {
    Postgres::open(&settings(url)).expect_err("refused")
}

/// The whole text of an error.
fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Not a test by itself: the other process.
#[test]
#[ignore = "the child process of the tests below"]
fn child() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let store: Box<dyn Store> = if place.starts_with("postgres:") {
        Box::new(open(&place))
    } else {
        Box::new(Sqlite::open(Path::new(&place)).unwrap())
    };
    suite::count_up(&*store, 100).unwrap();
}

fn counting(place: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--exact", "child", "--ignored"])
        .env(PLACE, place)
        .stdout(Stdio::null())
        .spawn()
}

fn two_processes_count(place: &str, store: &dyn Store) -> Checked {
    let (mut one, mut two) = (counting(place)?, counting(place)?);
    suite::count_up(store, 100)?;
    assert!(one.wait()?.success() && two.wait()?.success());
    suite::counted(store, 300)
}

#[test]
fn two_processes_count_on_the_embedded_store() -> Checked {
    let dir = TempDir::new()?;
    let path = dir.path().join("state.db");
    let store = Sqlite::open(&path)?;
    two_processes_count(&path.display().to_string(), &store)
}

#[test]
fn postgresql_is_a_store() -> Checked {
    // In memory: it is processes that are killed here, and the disk has others to serve.
    let dir = TempDir::new_in("/dev/shm")?;
    let Some(cluster) = Cluster::start(dir.path())? else {
        return Ok(());
    };
    let cluster = Arc::new(cluster);
    suite::store(&|| -> Place<dyn Store> {
        let url = cluster.fresh().unwrap();
        Box::new(move || Box::new(open(&url)))
    })?;
    let url = cluster.fresh()?;
    two_processes_count(&url, &open(&url))?;
    a_commit_that_is_cut_off_happens_once_or_not_at_all(&cluster)?;
    can_be_called_inside_a_runtime(&url)?;
    refuses_what_is_not_its_own(&cluster)?;
    errors_quote_no_values(&cluster)
}

fn a_commit_that_is_cut_off_happens_once_or_not_at_all(cluster: &Cluster) -> Checked {
    let url = cluster.fresh()?;
    let enough = Arc::new(AtomicBool::new(false));
    let counting = std::thread::spawn({
        let (store, enough) = (open(&url), Arc::clone(&enough));
        move || {
            let mut counted = 0;
            while !enough.load(Ordering::Relaxed) {
                suite::count_up(&store, 10).map_err(|error| told(&error))?;
                counted += 10;
            }
            Ok::<_, String>(counted)
        }
    });
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'stockade' AND datname = current_database()";
    let mut cuts = 0;
    while cuts < 8 && !counting.is_finished() {
        cuts += cluster.sql(database(&url), cut)?.trim().parse::<u32>()?;
    }
    enough.store(true, Ordering::Relaxed);
    let counted = counting.join().map_err(|_| "it panicked")??;
    // What was done twice would be counted twice; what was lost would be missing.
    suite::counted(&open(&url), counted)
}

fn can_be_called_inside_a_runtime(url: &str) -> Checked {
    let store = open(url);
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(async move {
            assert_eq!(store.get(TABLE, b"k")?, None);
            drop(store);
            Ok(())
        })
}

fn refuses_what_is_not_its_own(cluster: &Cluster) -> Checked {
    let url = cluster.fresh()?;
    let name = database(&url);
    drop(open(&url));
    cluster.sql(name, "UPDATE stockade_format SET format = 2")?;
    let error = refused(&url);
    assert!(
        matches!(error, StoreError::Newer { found: 2, .. }),
        "{error}"
    );
    cluster.sql(name, "DROP TABLE stockade_format")?;
    let error = refused(&url);
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    let error = |url: &str| told(&refused(url));
    assert!(error("postgres://postgres:hunter2@db.example/x").contains("write that into a file"));
    assert!(!error("postgres://postgres:hunter2@db.example/x").contains("hunter2"));
    assert!(error("postgres://db.example/x?sslmode=disable").contains("by TLS only"));
    assert!(error("postgres://%2Ftmp,db.example/x").contains("name one kind"));
    assert!(error("postgres:///x").contains("no host"));
    assert!(error("mysql://x").contains("cannot use this address"));
    assert!(error(&cluster.url("nowhere")).contains("\"nowhere\" does not exist"));
    Ok(())
}

fn errors_quote_no_values(cluster: &Cluster) -> Checked {
    let url = cluster.fresh()?;
    let store = open(&url);
    let mut batch = Batch::new();
    // Longer than an index takes, and not to be compressed.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()
    });
    let key = [b"secret".to_vec(), noise.take(2_000).flatten().collect()].concat();
    batch.put(TABLE, key, *b"secret-value");
    let error = told(&store.commit(batch).expect_err("refused"));
    assert!(error.contains("index row"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    cluster.sql(
        database(&url),
        "ALTER TABLE stockade_kv ADD CHECK (value <> 'secret-value')",
    )?;
    let mut batch = Batch::new();
    batch.put(TABLE, *b"secret-device", *b"secret-value");
    let error = told(&store.commit(batch).expect_err("refused"));
    assert!(error.contains("check constraint"), "{error}");
    assert!(
        !error.contains("secret") && !error.contains("736563"),
        "{error}"
    );
    Ok(())
}

/// One writer counts up while the server is killed and started again: what it was told is there, and it goes on.
#[test]
fn after_a_crash_of_the_server_it_goes_on_and_nothing_acknowledged_is_lost() -> Checked {
    // In memory: it is processes that are killed here, and the disk has others to serve.
    let dir = TempDir::new_in("/dev/shm")?;
    let Some(cluster) = Cluster::start(dir.path())? else {
        return Ok(());
    };
    let mut cluster = cluster;
    let certificates = Certificates::lay_down(&cluster)?;
    let store = Arc::new(open(&cluster.fresh()?));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        let stop = Arc::clone(&stop);
        move || {
            for number in 0_u32.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let mut batch = Batch::new();
                batch.require_absent(TABLE, number.to_be_bytes()).put(
                    TABLE,
                    number.to_be_bytes(),
                    *b"x",
                );
                match store.commit(batch) {
                    Ok(()) => acknowledged.lock().unwrap().push(number),
                    // A commit that nobody acknowledged would be a conflict here: each number is tried once.
                    Err(StoreError::Conflict { .. }) => panic!("{number} was there"),
                    // While it is down.
                    Err(_) => {}
                }
            }
        }
    });
    let grows = |how: &str| {
        let before = acknowledged.lock().unwrap().len();
        for _ in 0..600 {
            if acknowledged.lock().unwrap().len() > before + 20 {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("nothing is written {how}");
    };
    for round in 0..2 {
        grows("at first");
        cluster.kill()?;
        if round == 0 {
            let error = told(&store.get(TABLE, b"k").unwrap_err());
            assert!(error.contains("connect to the database"), "{error}");
        }
        cluster.run()?;
        grows("after a crash");
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().map_err(|_| "the writer panicked")?;
    let found: Vec<u32> = store
        .scan(TABLE, Scan::all())?
        .into_iter()
        .map(|(key, _)| u32::from_be_bytes(key.try_into().unwrap()))
        .collect();
    let acknowledged = acknowledged.lock().map_err(|_| "the writer panicked")?;
    assert_eq!(found, *acknowledged, "what was answered is what is there");
    certificates.are_checked(&cluster)?;
    // Away for good: told in bounded time.
    cluster.kill()?;
    assert!(store.get(TABLE, b"k").is_err());
    let mut batch = Batch::new();
    batch.put(TABLE, *b"k", *b"lost");
    assert!(store.commit(batch).is_err(), "nowhere to put it");
    Ok(())
}

/// What the server shows itself by, over the network.
struct Certificates {
    authority: String,
    /// An address that its certificate is for, and one that it is not for.
    named: String,
    other: String,
}

impl Certificates {
    /// Has the server listen with TLS, and ask for a password, from its next start on.
    fn lay_down(cluster: &Cluster) -> Result<Self, Box<dyn std::error::Error>> {
        // Addresses of this machine that nobody else listens on.
        let [a, b, ..] = std::process::id().to_le_bytes();
        let (named, other) = (format!("127.83.{a}.{b}"), format!("127.84.{a}.{b}"));
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new([named.clone()])?.self_signed(&key)?;
        let (data, authority) = (cluster.data(), certificate.pem());
        for (name, text) in [
            ("server.crt", &authority),
            ("server.key", &key.serialize_pem()),
        ] {
            let path = data.join(name);
            fs_err::write(&path, text)?;
            fs_err::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
            chown(&path, Some(fs_err::metadata(&data)?.uid()), None)?;
        }
        cluster.sql(
            "postgres",
            "CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'hunter2'",
        )?;
        for setting in [
            format!("listen_addresses = '{named},{other}'"),
            "ssl = on".to_owned(),
        ] {
            cluster.sql("postgres", &format!("ALTER SYSTEM SET {setting}"))?;
        }
        fs_err::write(
            data.join("pg_hba.conf"),
            "local all all trust\nhostssl all all all scram-sha-256\n",
        )?;
        Ok(Self {
            authority,
            named,
            other,
        })
    }

    fn are_checked(&self, cluster: &Cluster) -> Checked {
        let name = database(&cluster.fresh()?).to_owned();
        let open = |host: &str, password, authorities| {
            let url = format!("postgres://guest@{host}/{name}");
            let opened = Postgres::open(&PostgresSettings {
                url: &url,
                password,
                authorities,
            });
            opened.map_err(|error| told(&error))
        };
        let (ours, password) = (Some(self.authority.as_bytes()), Some("hunter2"));
        let store = open(&self.named, password, ours)?;
        suite::count_up(&store, 2)?;
        let refused = |host, password, authorities, why: &str| {
            let error = open(host, password, authorities).expect_err("refused");
            assert!(error.contains(why), "{why}: {error}");
            assert!(!error.contains("hunter"), "{error}");
        };
        refused(&self.other, password, ours, "not valid for name");
        let stranger = rcgen::generate_simple_self_signed([self.named.clone()])?;
        let stranger = stranger.cert.pem();
        refused(
            &self.named,
            password,
            Some(stranger.as_bytes()),
            "certificate",
        );
        refused(
            &self.named,
            Some("hunter3"),
            ours,
            "password authentication failed",
        );
        refused(&self.named, None, ours, "password missing");
        refused(
            &self.named,
            password,
            Some(b"no certificate".as_slice()),
            "no certificate",
        );
        cluster.sql("postgres", "ALTER SYSTEM SET ssl = off")?;
        cluster.sql("postgres", "SELECT pg_reload_conf()")?;
        // It is told, and does it a moment later.
        for _ in 0..200 {
            if open(&self.named, password, ours).is_err() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        refused(&self.named, password, ours, "does not support TLS");
        suite::counted(&store, 2)
    }
}
