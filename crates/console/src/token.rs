//! API tokens: random, shown once, kept as a hash, for one role and a time.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use stockade_vault::{Access, Role};
use stockade_web::secret::Token;
use time::{Duration, OffsetDateTime};

use crate::admin::AdminError;
use crate::gate::bearer;

/// Tokens by the hash of what was shown.
const TABLE: Table = Table::new("console.tokens");
/// That hash by the token's name.
const NAMES: Table = Table::new("console.token-names");

/// What a token begins with, so that whoever finds one knows what it is.
const MARK: &str = "stockade_";
/// Tokens at once.
const MOST: usize = 1_000;
/// Longest life of a token.
pub(crate) const MAX_DAYS: u16 = 366;
const MAX_NAME: usize = 64;
/// Names that the log has for others.
const TAKEN: [&str; 4] = [ADMINISTRATOR, SOCKET, "vault", "subject"];

/// Who logged in at the console, as the log names them.
pub(crate) const ADMINISTRATOR: &str = "admin";
/// Who came over the Unix socket.
pub(crate) const SOCKET: &str = "admin-socket";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    name: String,
    role: Role,
    created_unix: i64,
    expires_unix: i64,
}

/// A token as it is listed.
#[derive(Serialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// `subject:DEVICE`, and the others by their names.
    pub(crate) role: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) expires: OffsetDateTime,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdded {
    #[error("`{0}` is no name for a token")]
    Name(String),
    #[error("there is a token `{0}` already")]
    Exists(String),
    #[error("there are {MOST} tokens already")]
    Full,
    #[error(transparent)]
    Failed(#[from] AdminError),
}

impl From<StoreError> for NotAdded {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes a token; its text is shown now, and never again. Those that are over are cleared away.
pub(crate) fn add(
    store: &dyn Store,
    name: &str,
    role: Role,
    days: u16,
    now: OffsetDateTime,
) -> Result<(String, OffsetDateTime), NotAdded> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) || TAKEN.contains(&name) {
        return Err(NotAdded::Name(name.to_owned()));
    }
    let mut batch = Batch::new();
    let mut alive = 0;
    for (key, record) in records(store)? {
        match record {
            Some(record) if lives(&record, now) => alive += 1,
            Some(record) => {
                batch.delete(TABLE, key).delete(NAMES, record.name);
            }
            None => {
                batch.delete(TABLE, key);
            }
        }
    }
    if !batch.is_empty() {
        store.commit(std::mem::take(&mut batch))?;
    }
    if alive >= MOST {
        return Err(NotAdded::Full);
    }
    let token = Token::random().map_err(AdminError::from)?;
    let expires = now + Duration::days(i64::from(days.clamp(1, MAX_DAYS)));
    let record = Record {
        v: 1,
        name: name.to_owned(),
        role,
        created_unix: now.unix_timestamp(),
        expires_unix: expires.unix_timestamp(),
    };
    let value = serde_json::to_vec(&record).map_err(|_fault| AdminError::Unreadable)?;
    batch
        .require_absent(NAMES, name)
        .put(NAMES, name, token.stored_key())
        .put(TABLE, token.stored_key(), value);
    match store.commit(batch) {
        Ok(()) => Ok((format!("{MARK}{}", token.text()), expires)),
        Err(StoreError::Conflict { .. }) => Err(NotAdded::Exists(name.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Who has this token, if it lives. It is looked up by its hash: how long that takes tells nothing of a secret, as nobody
/// can choose a hash.
pub(crate) fn find(
    store: &dyn Store,
    text: &str,
    now: OffsetDateTime,
) -> Result<Option<Access>, AdminError> {
    let Some(token) = parse(text) else {
        return Ok(None);
    };
    let value = store.get(TABLE, &token.stored_key())?;
    Ok(value.and_then(|value| opened(&value, now)))
}

/// Reads what somebody shows.
fn parse(text: &str) -> Option<Token> {
    text.strip_prefix(MARK).and_then(Token::parse)
}

/// Whose token this record is of, if it lives.
fn opened(value: &[u8], now: OffsetDateTime) -> Option<Access> {
    let record: Record = serde_json::from_slice(value).ok()?;
    lives(&record, now).then_some(Access {
        who: record.name,
        role: record.role,
        purpose: None,
    })
}

/// All that live, by name.
pub(crate) fn list(store: &dyn Store, now: OffsetDateTime) -> Result<Vec<Listed>, AdminError> {
    let at = |unix| OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut listed: Vec<_> = records(store)?
        .into_iter()
        .filter_map(|(_, record)| record)
        .filter(|record| lives(record, now))
        .map(|record| Listed {
            role: match &record.role {
                Role::Subject(subject) => format!("subject:{}", subject.device),
                other => other.name().to_string(),
            },
            name: record.name,
            created: at(record.created_unix),
            expires: at(record.expires_unix),
        })
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// Takes a token back at once; the role it had. None if there is none of this name.
pub(crate) fn revoke(store: &dyn Store, name: &str) -> Result<Option<Role>, AdminError> {
    let Some(hash) = store.get(NAMES, name.as_bytes())? else {
        return Ok(None);
    };
    let record = store.get(TABLE, &hash)?.unwrap_or_default();
    let mut batch = Batch::new();
    batch.delete(NAMES, name).delete(TABLE, hash);
    store.commit(batch)?;
    let record: Record =
        serde_json::from_slice(&record).map_err(|_fault| AdminError::Unreadable)?;
    Ok(Some(record.role))
}

type Found = Vec<(Vec<u8>, Option<Record>)>;

fn records(store: &dyn Store) -> Result<Found, AdminError> {
    let found = store.scan(TABLE, Scan::all())?;
    Ok(found
        .into_iter()
        .map(|(key, value)| (key, serde_json::from_slice(&value).ok()))
        .collect())
}

fn lives(record: &Record, now: OffsetDateTime) -> bool {
    // A clock that stepped back makes no token older than it was made.
    record.v == 1
        && (record.created_unix.saturating_sub(300)..record.expires_unix)
            .contains(&now.unix_timestamp())
}

/// The body of the fuzz target `access_token`: requests' `Authorization`, a value a line; after a line of three dashes, what the
/// store has of a token.
pub(crate) fn fuzz(data: &[u8]) {
    let dashes = data.windows(5).position(|window| window == b"\n---\n");
    let (shown, stored) = match dashes.and_then(|at| data.split_at_checked(at)) {
        Some((shown, stored)) => (shown, stored.get(5..).unwrap_or_default()),
        None => (data, &b""[..]),
    };
    let mut headers = HeaderMap::new();
    let values: Vec<_> = shown
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .take(8)
        .collect();
    for value in &values {
        headers.append(header::AUTHORIZATION, value.clone());
    }
    let text = bearer(&headers);
    // Which of two would count is nobody's guess.
    assert!(text.is_none() || values.len() == 1, "{values:?}");
    if let Some(token) = text.and_then(parse) {
        // A token is written in one way only.
        let whole = format!("{MARK}{}", token.text());
        assert_eq!(text, Some(whole.as_str()), "another text opens the same");
    }
    if let Ok(record) = serde_json::from_slice::<Record>(stored) {
        let again = serde_json::to_vec(&record).ok();
        let again = again.and_then(|value| serde_json::from_slice::<Record>(&value).ok());
        assert!(again.is_some_and(|again| again.name == record.name && again.role == record.role));
        let (created, over) = (record.created_unix, record.expires_unix);
        for unix in [i64::MIN, created, over, 0, 1_800_000_000, i64::MAX] {
            let Ok(now) = OffsetDateTime::from_unix_timestamp(unix) else {
                continue;
            };
            if let Some(access) = opened(stored, now) {
                assert!(unix < over && created.saturating_sub(300) <= unix);
                assert_eq!(
                    (access.who.as_str(), &access.role),
                    (&*record.name, &record.role)
                );
            }
        }
    } else {
        assert!(opened(stored, OffsetDateTime::UNIX_EPOCH).is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::store;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 12:00 UTC);

    #[test]
    fn a_token_opens_until_it_is_over_or_taken_back() {
        let (store, _dir) = store();
        let (text, expires) = add(&*store, "ana", Role::Analyst, 30, NOW).unwrap();
        assert_eq!(expires, NOW + Duration::days(30));
        let find = |at| find(&*store, &text, at).unwrap();
        let access = find(NOW).unwrap();
        assert_eq!((access.who.as_str(), access.role), ("ana", Role::Analyst));
        assert!(find(expires - Duration::SECOND).is_some());
        assert!(find(expires).is_none());
        assert!(find(NOW - Duration::days(1)).is_none());
        assert_eq!(revoke(&*store, "ana").unwrap(), Some(Role::Analyst));
        assert!(find(NOW).is_none());
        assert_eq!(revoke(&*store, "ana").unwrap(), None);
    }

    #[test]
    fn the_store_holds_no_token_that_opens() {
        let (store, _dir) = store();
        let (text, _) = add(&*store, "ana", Role::Analyst, 30, NOW).unwrap();
        let secret = text.strip_prefix(MARK).unwrap();
        for table in [TABLE, NAMES] {
            for (key, value) in store.scan(table, Scan::all()).unwrap() {
                for bytes in [key, value] {
                    let held = String::from_utf8_lossy(&bytes).into_owned();
                    assert!(!held.contains(secret));
                    let stolen = format!("{MARK}{}", {
                        use base64::Engine as _;
                        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes)
                    });
                    assert!(find(&*store, &stolen, NOW).unwrap().is_none());
                }
            }
        }
        for wrong in [
            "",
            secret,
            "stockade_",
            &text.to_uppercase(),
            &format!("{text}A"),
        ] {
            assert!(find(&*store, wrong, NOW).unwrap().is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_of_one_token_until_that_is_over() {
        let (store, _dir) = store();
        add(&*store, "ana", Role::Analyst, 1, NOW).unwrap();
        let again = |at| add(&*store, "ana", Role::Operator, 1, at);
        assert!(matches!(again(NOW), Err(NotAdded::Exists(_))));
        again(NOW + Duration::days(1)).unwrap();
        for bad in ["", "admin", "vault", "Ana", "a b", "a/b", &"a".repeat(65)] {
            let refused = add(&*store, bad, Role::Analyst, 1, NOW);
            assert!(matches!(refused, Err(NotAdded::Name(_))), "{bad}");
        }
    }

    #[test]
    fn tokens_are_listed_by_name_without_their_secrets() {
        let (store, _dir) = store();
        let porch = Role::Subject(stockade_vault::Subject {
            model: "cam-2".to_owned(),
            device: "porch".to_owned(),
        });
        add(&*store, "porch-owner", porch, 7, NOW).unwrap();
        add(&*store, "ana", Role::Analyst, 30, NOW).unwrap();
        let listed = serde_json::to_string(&list(&*store, NOW).unwrap()).unwrap();
        insta::assert_snapshot!(
            listed,
            @r#"[{"name":"ana","role":"analyst","created":"2026-11-23T12:00:00Z","expires":"2026-12-23T12:00:00Z"},{"name":"porch-owner","role":"subject:porch","created":"2026-11-23T12:00:00Z","expires":"2026-11-30T12:00:00Z"}]"#
        );
        let later = NOW + Duration::days(8);
        assert_eq!(list(&*store, later).unwrap().len(), 1);
    }
}
