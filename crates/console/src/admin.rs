//! The administrator's password: how it starts, how it is checked, what it may be.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use stockade_store::{Batch, Store, StoreError, Table};
use time::OffsetDateTime;
use zeroize::{Zeroize as _, Zeroizing};

use stockade_web::secret::NoRandomness;

const TABLE: Table = Table::new("console.admin");
const KEY: &[u8] = b"password";

/// Fewest characters of a password (NIST SP 800-63B section 3.1.1.2 asks for 8 at least; this one guards a fleet).
pub const MIN_LENGTH: usize = 12;
/// Most characters of a password that are looked at.
pub const MAX_LENGTH: usize = 200;

/// Argon2id (RFC 9106) with 46 MiB and two passes: above what OWASP asks for, and still
/// within reach of a small gateway. No more than two run at once.
const MEMORY_KIB: u32 = 46 * 1024;
const PASSES: u32 = 2;

/// Something about the administrator could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store failed.
    #[error("cannot keep the administrator's password")]
    Store(#[from] StoreError),
    /// The random source failed.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// What is stored is not what this version writes.
    #[error("the stored administrator record cannot be read: run `stockade admin reset-password`")]
    Unreadable,
    /// The hash function refused, a bug of ours.
    #[error("argon2 failed: {0}")]
    Hash(String),
}

/// A new password that is not good enough, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Fewer characters than needed.
    #[error("The new password needs at least 12 characters.")]
    Short,
    /// More characters than are looked at.
    #[error("The new password may have 200 characters at most.")]
    Long,
    /// An attacker would guess it soon.
    #[error("The new password is easy to guess{0} Four or five unrelated words make a good one.")]
    Guessable(String),
    /// The same as before.
    #[error("The new password must differ from the current one.")]
    Same,
}

/// A password as somebody typed it: not printable, wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.bytes().ct_eq(other.bytes()).into()
    }

    fn too_long(&self) -> bool {
        self.0.len() > MAX_LENGTH * 4 || self.0.chars().count() > MAX_LENGTH
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The password of the first log-in, shown once to whoever started the gateway.
#[expect(
    missing_debug_implementations,
    reason = "a secret is not printed by accident"
)]
pub struct OneTimePassword(Zeroizing<String>);

impl OneTimePassword {
    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// 100 random bits, in an alphabet without look-alikes (Crockford's base 32).
    fn random() -> Result<Self, NoRandomness> {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut bytes = Zeroizing::new([0_u8; 20]);
        rand::fill(bytes.as_mut()).map_err(|_unspecified| NoRandomness)?;
        // Never grows beyond its capacity: no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(23));
        for (i, byte) in bytes.iter().enumerate() {
            if i > 0 && i % 5 == 0 {
                text.push('-');
            }
            let letter = ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'0');
            text.push(char::from(letter));
        }
        Ok(Self(text))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    /// PHC string.
    hash: String,
    /// Printed by the program, to be replaced at the first log-in.
    one_time: bool,
    /// Sessions of another generation are over.
    generation: u64,
    changed_unix: i64,
}

/// The administrator as far as sessions need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) one_time: bool,
    pub(crate) generation: u64,
}

/// The one administrator of the console. All calls block.
#[derive(Debug)]
pub struct Admin;

impl Admin {
    /// Makes a one-time password if there is no administrator yet.
    pub fn first_start(
        store: &dyn Store,
        now: OffsetDateTime,
    ) -> Result<Option<OneTimePassword>, AdminError> {
        if store.get(TABLE, KEY)?.is_some() {
            return Ok(None);
        }
        let password = OneTimePassword::random()?;
        let mut batch = Batch::new();
        batch.require_absent(TABLE, KEY);
        put(
            &mut batch,
            &Password::new(password.expose().to_owned()),
            true,
            1,
            now,
        )?;
        match store.commit(batch) {
            Ok(()) => Ok(Some(password)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the password by a one-time password, and ends all sessions. For whoever has the data
    /// directory: `stockade admin reset-password`.
    pub fn reset_password(
        store: &dyn Store,
        now: OffsetDateTime,
    ) -> Result<OneTimePassword, AdminError> {
        let generation = match load(store) {
            Ok(record) => record.map_or(0, |r| r.generation),
            // Sessions that another version wrote are of an unknown generation: start far from it.
            Err(AdminError::Unreadable) => now.unix_timestamp().unsigned_abs(),
            Err(error) => return Err(error),
        };
        let password = OneTimePassword::random()?;
        let mut batch = Batch::new();
        let typed = Password::new(password.expose().to_owned());
        put(&mut batch, &typed, true, generation.saturating_add(1), now)?;
        store.commit(batch)?;
        Ok(password)
    }

    pub(crate) fn standing(store: &dyn Store) -> Result<Option<Standing>, AdminError> {
        let record = load(store)?;
        Ok(record.map(|r| Standing {
            one_time: r.one_time,
            generation: r.generation,
        }))
    }

    /// Whether the password is right; takes as long if there is no administrator at all.
    pub(crate) fn verify(
        store: &dyn Store,
        password: &Password,
    ) -> Result<Option<Standing>, AdminError> {
        let record = load(store)?;
        let standing = record.as_ref().map(|r| Standing {
            one_time: r.one_time,
            generation: r.generation,
        });
        let stored = match &record {
            Some(record) => record.hash.as_str(),
            None => NOBODY.as_str(),
        };
        let hash = phc::PasswordHash::new(stored).map_err(|_fault| AdminError::Unreadable)?;
        // Too long a text is cut off, not refused early: the answer takes the same time.
        let typed = if password.too_long() {
            b""
        } else {
            password.bytes()
        };
        let right = Argon2::default().verify_password(typed, &hash).is_ok();
        Ok(standing.filter(|_| right && !typed.is_empty()))
    }

    /// Sets a password somebody chose. `old` was verified for `standing`.
    pub(crate) fn choose(
        store: &dyn Store,
        standing: Standing,
        old: &Password,
        new: &Password,
        now: OffsetDateTime,
    ) -> Result<Result<Standing, PasswordFault>, AdminError> {
        if old.same(new) {
            return Ok(Err(PasswordFault::Same));
        }
        if let Err(fault) = judge(new) {
            return Ok(Err(fault));
        }
        let Some(before) = store.get(TABLE, KEY)? else {
            return Err(AdminError::Unreadable);
        };
        let record: Record =
            serde_json::from_slice(&before).map_err(|_fault| AdminError::Unreadable)?;
        if record.generation != standing.generation {
            return Err(AdminError::Store(StoreError::Conflict { table: TABLE }));
        }
        let generation = standing.generation.saturating_add(1);
        let mut batch = Batch::new();
        batch.require_equals(TABLE, KEY, before);
        put(&mut batch, new, false, generation, now)?;
        store.commit(batch)?;
        Ok(Ok(Standing {
            one_time: false,
            generation,
        }))
    }
}

/// Against this a password is checked when there is no administrator.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let salt = [0_u8; 16];
    hasher()
        .and_then(|h| {
            h.hash_password_with_salt(b"nobody", &salt)
                .map_err(|e| AdminError::Hash(e.to_string()))
        })
        .map(|hash| hash.to_string())
        .unwrap_or_default()
});

fn hasher() -> Result<Argon2<'static>, AdminError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| AdminError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn load(store: &dyn Store) -> Result<Option<Record>, AdminError> {
    let Some(bytes) = store.get(TABLE, KEY)? else {
        return Ok(None);
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|_fault| AdminError::Unreadable)?;
    if record.v == 1 {
        Ok(Some(record))
    } else {
        Err(AdminError::Unreadable)
    }
}

fn put(
    batch: &mut Batch,
    password: &Password,
    one_time: bool,
    generation: u64,
    now: OffsetDateTime,
) -> Result<(), AdminError> {
    let mut salt = [0_u8; 16];
    rand::fill(&mut salt).map_err(|_unspecified| NoRandomness)?;
    let hash = hasher()?
        .hash_password_with_salt(password.bytes(), &salt)
        .map_err(|e| AdminError::Hash(e.to_string()))?
        .to_string();
    let record = Record {
        v: 1,
        hash,
        one_time,
        generation,
        changed_unix: now.unix_timestamp(),
    };
    let bytes = serde_json::to_vec(&record).map_err(|_fault| AdminError::Unreadable)?;
    batch.put(TABLE, KEY, bytes);
    Ok(())
}

/// Refuses what is short, long, common, or soon guessed.
fn judge(new: &Password) -> Result<(), PasswordFault> {
    if new.0.chars().count() < MIN_LENGTH {
        return Err(PasswordFault::Short);
    }
    if new.too_long() {
        return Err(PasswordFault::Long);
    }
    let estimate = zxcvbn::zxcvbn(
        &new.0,
        &["stockade", "admin", "administrator", "gateway", "console"],
    );
    if estimate.score() >= zxcvbn::Score::Three {
        return Ok(());
    }
    let why = estimate
        .feedback()
        .and_then(zxcvbn::feedback::Feedback::warning)
        .map(|warning| warning.to_string());
    Err(PasswordFault::Guessable(why.map_or_else(
        || ".".to_owned(),
        |why| format!(": {}", lower_first(&why)),
    )))
}

/// The sentence, to be used within another.
fn lower_first(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::store;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn typed(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn the_first_start_makes_one_password_and_the_second_none() {
        let (store, _dir) = store();
        let first = Admin::first_start(&*store, NOW).unwrap().unwrap();
        assert_eq!(first.expose().len(), 23);
        assert!(Admin::first_start(&*store, NOW).unwrap().is_none());
        let standing = Admin::verify(&*store, &typed(first.expose()))
            .unwrap()
            .unwrap();
        assert!(standing.one_time);
        assert!(Admin::verify(&*store, &typed("wrong")).unwrap().is_none());
        assert!(Admin::verify(&*store, &typed("")).unwrap().is_none());
    }

    #[test]
    fn without_an_administrator_no_password_is_right() {
        let (store, _dir) = store();
        for text in ["nobody", "", "x"] {
            assert!(Admin::verify(&*store, &typed(text)).unwrap().is_none());
        }
    }

    #[test]
    fn the_store_holds_an_argon2id_hash_and_not_the_password() {
        let (store, _dir) = store();
        let first = Admin::first_start(&*store, NOW).unwrap().unwrap();
        let stored = String::from_utf8(store.get(TABLE, KEY).unwrap().unwrap()).unwrap();
        assert!(
            stored.contains("$argon2id$v=19$m=47104,t=2,p=1$"),
            "{stored}"
        );
        assert!(!stored.contains(first.expose()));
    }

    #[test]
    fn a_chosen_password_replaces_the_first_and_a_reset_replaces_that() {
        let (store, _dir) = store();
        let first = Admin::first_start(&*store, NOW).unwrap().unwrap();
        let old = typed(first.expose());
        let standing = Admin::verify(&*store, &old).unwrap().unwrap();
        let new = typed("walnut ferry quilt ember");
        let after = Admin::choose(&*store, standing, &old, &new, NOW)
            .unwrap()
            .unwrap();
        assert_eq!(
            after,
            Standing {
                one_time: false,
                generation: 2
            }
        );
        assert!(Admin::verify(&*store, &old).unwrap().is_none());
        assert_eq!(Admin::verify(&*store, &new).unwrap(), Some(after));
        // Whoever verified the password before it changed cannot change it any more.
        let late = Admin::choose(
            &*store,
            standing,
            &old,
            &typed("harbour pencil violet stone"),
            NOW,
        );
        assert!(matches!(
            late,
            Err(AdminError::Store(StoreError::Conflict { .. }))
        ));

        let reset = Admin::reset_password(&*store, NOW).unwrap();
        assert!(Admin::verify(&*store, &new).unwrap().is_none());
        let standing = Admin::verify(&*store, &typed(reset.expose()))
            .unwrap()
            .unwrap();
        assert_eq!(
            standing,
            Standing {
                one_time: true,
                generation: 3
            }
        );
    }

    #[test]
    fn passwords_that_are_soon_guessed_are_refused() {
        for weak in [
            "password1234",
            "Password12345!",
            "123456789012",
            "qwertyuiop12",
            "aaaaaaaaaaaaaaaa",
            "stockadestockade",
            "administrator1",
            "iloveyou1234",
        ] {
            assert!(
                matches!(judge(&typed(weak)), Err(PasswordFault::Guessable(_))),
                "{weak}"
            );
        }
        assert_eq!(judge(&typed("short")), Err(PasswordFault::Short));
        assert_eq!(
            judge(&typed(&"walnut ferry ".repeat(20))),
            Err(PasswordFault::Long)
        );
        assert_eq!(judge(&typed("walnut ferry quilt ember")), Ok(()));
    }

    #[test]
    fn a_record_of_another_version_is_refused_and_not_overwritten_but_by_a_reset() {
        let (store, _dir) = store();
        let mut batch = Batch::new();
        batch.put(
            TABLE,
            KEY,
            &br#"{"v":2,"hash":"x","one_time":false,"generation":9,"changed_unix":0}"#[..],
        );
        store.commit(batch).unwrap();
        assert!(matches!(
            Admin::verify(&*store, &typed("x")),
            Err(AdminError::Unreadable)
        ));
        assert!(Admin::first_start(&*store, NOW).unwrap().is_none());
        Admin::reset_password(&*store, NOW).unwrap();
    }
}
