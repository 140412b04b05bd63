//! Sessions: a random token in a cookie, its hash in memory, and an end. They end with the process, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockade_web::secret::{NoRandomness, Token};
use tokio::time::Instant;

/// A session nobody used for this long is over.
pub const IDLE: Duration = Duration::from_mins(15);
/// A session is over after this time, used or not.
pub const ABSOLUTE: Duration = Duration::from_hours(4);
/// Sessions at once; the oldest ends when there would be more.
const MOST: usize = 8;
/// The cookie's name. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain` (RFC 6265bis section 4.1.3.2).
pub const COOKIE: &str = "__Host-stockade-device";
/// What the secret of forms is derived for.
const CSRF: &[u8] = b"stockade device page csrf v1";

/// What a session is known by here: not the token, which only the browser has.
pub(super) type Key = [u8; 32];

#[derive(Debug, Clone, Copy)]
struct Record {
    began: Instant,
    used: Instant,
    must_change: bool,
}

/// Who is logged in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<Key, Record>>);

/// Somebody who is logged in.
#[derive(Debug)]
pub(super) struct Session {
    token: Token,
    /// The first password must be changed before anything else.
    pub(super) must_change: bool,
}

/// The request was made by a page of this session. Only [`Session::check`] makes one.
#[must_use]
#[derive(Debug)]
pub(super) struct Genuine(());

impl Sessions {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a session for somebody whose password was right.
    pub(super) fn start(&self, must_change: bool) -> Result<Session, NoRandomness> {
        let token = Token::random()?;
        let now = Instant::now();
        let mut records = self.records();
        records.retain(|_, record| record.lives(now));
        while records.len() >= MOST {
            let oldest = records.iter().min_by_key(|(_, record)| record.began);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                break;
            };
            records.remove(&key);
        }
        let record = Record {
            began: now,
            used: now,
            must_change,
        };
        records.insert(token.stored_key(), record);
        Ok(Session { token, must_change })
    }

    /// The session of this cookie, if it lives; it is used by being found.
    pub(super) fn find(&self, cookie: &str) -> Option<Session> {
        let token = Token::parse(cookie)?;
        let now = Instant::now();
        let mut records = self.records();
        let record = records.get_mut(&token.stored_key())?;
        if !record.lives(now) {
            records.remove(&token.stored_key());
            return None;
        }
        record.used = now;
        let must_change = record.must_change;
        Some(Session { token, must_change })
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session) {
        self.records().remove(&session.key());
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        self.records().clear();
    }
}

impl Record {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE && now.duration_since(self.began) < ABSOLUTE
    }
}

impl Session {
    /// What it is known by here.
    pub(super) fn key(&self) -> Key {
        self.token.stored_key()
    }

    /// The secret that forms of this session carry: it belongs to it alone, and does not give the token away.
    pub(super) fn csrf(&self) -> String {
        self.token.derived(CSRF).text()
    }

    /// Whether a form carries the secret of this session.
    pub(super) fn check(&self, sent: &str) -> Option<Genuine> {
        let sent = Token::parse(sent)?;
        sent.same(&self.token.derived(CSRF)).then_some(Genuine(()))
    }

    /// `Set-Cookie` that starts it in the browser.
    pub(super) fn cookie(&self) -> String {
        let token = self.token.text();
        format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict")
    }
}

/// `Set-Cookie` that makes the browser forget.
pub(super) fn forget() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn token(session: &Session) -> String {
        session.token.text()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_idle_when_old_and_when_logged_out() {
        let almost = IDLE.saturating_sub(Duration::from_secs(1));
        let sessions = Sessions::default();
        let text = token(&sessions.start(false).unwrap());
        for _ in 0..16 {
            advance(almost).await;
            assert!(sessions.find(&text).is_some());
        }
        advance(almost).await;
        assert!(sessions.find(&text).is_none(), "used, but old");

        let text = token(&sessions.start(false).unwrap());
        advance(IDLE).await;
        assert!(sessions.find(&text).is_none(), "idle");

        let session = sessions.start(false).unwrap();
        sessions.end(&session);
        assert!(sessions.find(&token(&session)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_and_a_form_belongs_to_one_session() {
        let sessions = Sessions::default();
        let mut begun = Vec::new();
        for _ in 0..=MOST {
            begun.push(sessions.start(false).unwrap());
            advance(Duration::from_secs(1)).await;
        }
        let alive: Vec<bool> = begun
            .iter()
            .map(|it| sessions.find(&token(it)).is_some())
            .collect();
        assert_eq!(alive, [&[false][..], &[true; MOST]].concat());
        assert!(begun[1].check(&begun[1].csrf()).is_some());
        assert!(begun[1].check(&begun[2].csrf()).is_none());
        assert!(begun[1].check(&token(&begun[1])).is_none());
    }
}
