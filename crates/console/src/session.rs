//! Sessions: a random token in a cookie, its hash in the store, and an end.

use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Scan, Store, Table};
use time::{Duration, OffsetDateTime};

use crate::admin::{Admin, AdminError, Standing};
use stockade_web::secret::Token;

const TABLE: Table = Table::new("console.sessions");

/// A session nobody used for this long is over.
pub const IDLE: Duration = Duration::minutes(30);
/// A session is over after this time, used or not.
pub const ABSOLUTE: Duration = Duration::hours(12);
/// How exactly the last use is kept: each note of it is a write to the disk.
const NOTED: Duration = Duration::minutes(1);
/// Sessions at once; the oldest ends when there would be more.
const MAX_SESSIONS: usize = 32;

/// The cookie's name. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain` (RFC 6265bis section 4.1.3.2).
pub const COOKIE: &str = "__Host-stockade";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    generation: u64,
    created_unix: i64,
    seen_unix: i64,
}

/// Somebody who is logged in, perhaps with a password that must be changed first.
pub(crate) struct Session {
    token: Token,
    pub(crate) standing: Standing,
}

/// A form or request that does not carry the secret of the session it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

/// The request was made by a page of this session. Only [`Session::check`] makes one.
#[must_use]
#[derive(Debug)]
pub(crate) struct Genuine(());

impl Session {
    /// Starts a session for somebody whose password was right, and clears away those that are over.
    pub(crate) fn start(
        store: &dyn Store,
        standing: Standing,
        now: OffsetDateTime,
    ) -> Result<Self, AdminError> {
        let token = Token::random()?;
        let unix = now.unix_timestamp();
        let mut batch = Batch::new();
        let mut alive = Vec::new();
        for (key, value) in store.scan(TABLE, Scan::all())? {
            match serde_json::from_slice::<Record>(&value) {
                Ok(record) if lives(&record, standing, now) => {
                    alive.push((record.created_unix, key));
                }
                _ => drop(batch.delete(TABLE, key)),
            }
        }
        alive.sort();
        let surplus = (alive.len() + 1).saturating_sub(MAX_SESSIONS);
        for (_, key) in alive.into_iter().take(surplus) {
            batch.delete(TABLE, key);
        }
        let record = Record {
            v: 1,
            generation: standing.generation,
            created_unix: unix,
            seen_unix: unix,
        };
        put(&mut batch, &token, &record)?;
        store.commit(batch)?;
        Ok(Self { token, standing })
    }

    /// The session of this cookie, if it lives. `touch` notes that it is being used.
    pub(crate) fn find(
        store: &dyn Store,
        cookie: &str,
        now: OffsetDateTime,
        touch: bool,
    ) -> Result<Option<Self>, AdminError> {
        let Some(token) = Token::parse(cookie) else {
            return Ok(None);
        };
        let Some(value) = store.get(TABLE, &token.stored_key())? else {
            return Ok(None);
        };
        let Some(standing) = Admin::standing(store)? else {
            return Ok(None);
        };
        let Ok(mut record) = serde_json::from_slice::<Record>(&value) else {
            return Ok(None);
        };
        if !lives(&record, standing, now) {
            return Ok(None);
        }
        if touch && now.unix_timestamp() - record.seen_unix >= NOTED.whole_seconds() {
            record.seen_unix = now.unix_timestamp();
            let mut batch = Batch::new();
            // Should it have ended meanwhile, it is not brought back.
            batch.require_equals(TABLE, token.stored_key(), value);
            put(&mut batch, &token, &record)?;
            match store.commit(batch) {
                Ok(()) | Err(stockade_store::StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Self { token, standing }))
    }

    /// Ends the session.
    pub(crate) fn end(&self, store: &dyn Store) -> Result<(), AdminError> {
        let mut batch = Batch::new();
        batch.delete(TABLE, self.token.stored_key());
        Ok(store.commit(batch)?)
    }

    /// The secret that forms of this session carry. It is derived from the cookie's token, so that it
    /// belongs to this session alone, and the token cannot be found from it.
    pub(crate) fn csrf(&self) -> String {
        self.token.derived(b"stockade console csrf v1").text()
    }

    /// Whether a request carries the secret of this session.
    pub(crate) fn check(&self, csrf: &str) -> Result<Genuine, Forged> {
        let sent = Token::parse(csrf).ok_or(Forged)?;
        if sent.same(&self.token.derived(b"stockade console csrf v1")) {
            Ok(Genuine(()))
        } else {
            Err(Forged)
        }
    }

    /// `Set-Cookie` that starts it in the browser.
    pub(crate) fn set_cookie(&self) -> String {
        format!(
            "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict",
            self.token.text()
        )
    }
}

/// `Set-Cookie` that makes the browser forget.
pub(crate) fn forget_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn lives(record: &Record, standing: Standing, now: OffsetDateTime) -> bool {
    let now = now.unix_timestamp();
    // A clock that stepped back by more than the idle time ends sessions too, rather than to stretch them.
    let within = |since: i64, most: Duration| {
        (-IDLE.whole_seconds()..most.whole_seconds()).contains(&(now - since))
    };
    record.v == 1
        && record.generation == standing.generation
        && within(record.seen_unix, IDLE)
        && within(record.created_unix, ABSOLUTE)
}

fn put(batch: &mut Batch, token: &Token, record: &Record) -> Result<(), AdminError> {
    let value = serde_json::to_vec(record).map_err(|_fault| AdminError::Unreadable)?;
    batch.put(TABLE, token.stored_key(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::test_support::store;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn cookie(session: &Session) -> String {
        session.token.text()
    }

    fn begin() -> (Arc<dyn Store>, tempfile::TempDir, Standing) {
        let (store, dir) = store();
        Admin::first_start(&*store, START).unwrap().unwrap();
        let standing = Admin::standing(&*store).unwrap().unwrap();
        (store, dir, standing)
    }

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_logged_out() {
        let (store, _dir, standing) = begin();
        let session = Session::start(&*store, standing, START).unwrap();
        let text = cookie(&session);
        let find = |at| {
            Session::find(&*store, &text, START + at, true)
                .unwrap()
                .is_some()
        };
        assert!(find(Duration::minutes(29)));
        assert!(find(Duration::minutes(58)));
        assert!(!find(Duration::minutes(58) + IDLE));
        let mut at = Duration::minutes(58);
        while at < ABSOLUTE {
            assert!(find(at), "{at}");
            at += Duration::minutes(20);
        }
        assert!(!find(ABSOLUTE));
        assert!(find(Duration::hours(11) + Duration::minutes(59)));
        session.end(&*store).unwrap();
        assert!(!find(Duration::hours(11) + Duration::minutes(59)));
    }

    #[test]
    fn looking_without_touching_does_not_lengthen_a_session() {
        let (store, _dir, standing) = begin();
        let text = cookie(&Session::start(&*store, standing, START).unwrap());
        let near = START + Duration::minutes(29);
        assert!(
            Session::find(&*store, &text, near, false)
                .unwrap()
                .is_some()
        );
        assert!(
            Session::find(&*store, &text, START + IDLE, false)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_changed_password_ends_every_session_of_before() {
        let (store, _dir, standing) = begin();
        let text = cookie(&Session::start(&*store, standing, START).unwrap());
        Admin::reset_password(&*store, START).unwrap();
        assert!(
            Session::find(&*store, &text, START, true)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_store_holds_no_token_that_a_cookie_could_carry() {
        let (store, _dir, standing) = begin();
        let session = Session::start(&*store, standing, START).unwrap();
        let (key, _) = store.scan(TABLE, Scan::all()).unwrap().remove(0);
        assert_eq!(key, session.token.stored_key());
        let stolen = {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&key)
        };
        assert!(
            Session::find(&*store, &stolen, START, true)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_secret_of_a_form_belongs_to_one_session() {
        let (store, _dir, standing) = begin();
        let a = Session::start(&*store, standing, START).unwrap();
        let b = Session::start(&*store, standing, START).unwrap();
        assert!(a.check(&a.csrf()).is_ok());
        for forged in [b.csrf(), String::new(), cookie(&a), "x".repeat(43)] {
            assert_eq!(a.check(&forged).unwrap_err(), Forged);
        }
    }

    #[test]
    fn there_are_never_more_sessions_than_the_limit() {
        let (store, _dir, standing) = begin();
        for n in 0..40 {
            Session::start(&*store, standing, START + Duration::seconds(n)).unwrap();
        }
        assert_eq!(store.scan(TABLE, Scan::all()).unwrap().len(), MAX_SESSIONS);
    }
}
