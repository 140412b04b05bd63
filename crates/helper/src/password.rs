//! The administrator's password: argon2id, and tries that become slower, also across restarts.

mod tries;

use std::io;
use std::path::{Path, PathBuf};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use stockade_api::Secret;
use stockade_api::helper::{Refusal, Refused, Tried};
use stockade_controls::engine::UnixSeconds;
use zeroize::Zeroizing;

use self::tries::{Count, Tries};
use crate::files;
use crate::refusal::{failed, refused};

/// OWASP's second choice of parameters, for 12 MiB: small devices have little memory. It is free again after each try.
const MEMORY: u32 = 12 * 1024;
const PASSES: u32 = 3;
/// The shortest password, in characters, and the longest, in bytes.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// Characters of a first password that nobody mistakes for another, on a label.
const LETTERS: &[u8; 32] = b"23456789abcdefghjkmnpqrstuvwxyz-";
/// Letters of a first password: 31 kinds each, so almost 99 bits.
const FIRST: usize = 20;

/// What is kept of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    form: u32,
    /// In PHC form; none before the first one is made: nobody can log in then.
    hash: Option<String>,
    /// Whether it is the one from the label.
    first: bool,
    /// Wrong ones since the last right one, of all sources.
    wrong: u32,
    /// When the last wrong one was.
    at: UnixSeconds,
}

/// Looks after the password.
#[derive(Debug)]
pub(crate) struct Keeper {
    file: PathBuf,
    kept: Kept,
    tries: Tries,
}

/// The password was right.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) struct Right {
    /// Whether it is the one from the label, with which nothing but a change may be done.
    pub(crate) first: bool,
}

impl Keeper {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join("password.json");
        let none = Kept {
            form: 1,
            hash: None,
            first: true,
            wrong: 0,
            at: 0,
        };
        let kept = files::read_json(&file)?.unwrap_or(none);
        let tries = Tries::open(folder)?;
        Ok(Self { file, kept, tries })
    }

    pub(crate) fn must_change(&self) -> bool {
        self.kept.first
    }

    /// Whether it is the password. Each try is on disk before it is looked at.
    pub(crate) fn check(&mut self, tried: &Tried, now: UnixSeconds) -> Result<Right, Refused> {
        let Some(hash) = self.kept.hash.clone() else {
            return Err(refused(
                Refusal::Password,
                "no password was set on this device yet",
                "on the device, as root: `stockade device reset-password`",
            ));
        };
        self.tries.not_after(now)?;
        if now < self.kept.at {
            // The clock went back: the wait begins anew, and does not last for years.
            self.store(Kept {
                at: now,
                ..self.kept.clone()
            })?;
        }
        let mut all = Count {
            wrong: self.kept.wrong,
            at: self.kept.at,
        };
        let wait = self.tries.wait(tried.from, all, now);
        if wait > 0 {
            let why = format!("too many wrong passwords: wait {wait} seconds");
            return Err(refused(Refusal::Wait(wait), why, ""));
        }
        if self.tries.count(tried.from, now)? {
            all.count(now);
            self.store(Kept {
                wrong: all.wrong,
                at: all.at,
                ..self.kept.clone()
            })?;
        }
        if !matches(&tried.secret, &hash) {
            return Err(refused(Refusal::Password, "the password is wrong", ""));
        }
        self.store(Kept {
            wrong: 0,
            ..self.kept.clone()
        })?;
        self.tries.right(tried.from, now)?;
        Ok(Right {
            first: self.kept.first,
        })
    }

    /// Another password, after the one until now was shown.
    pub(crate) fn change(
        &mut self,
        old: &Tried,
        new: &Secret,
        now: UnixSeconds,
    ) -> Result<(), Refused> {
        let _right = self.check(old, now)?;
        let weak = |why: &str| Err(refused(Refusal::Password, why, ""));
        let text = new.expose();
        let mut kinds: Vec<char> = text.chars().collect();
        kinds.sort_unstable();
        kinds.dedup();
        if text.chars().count() < SHORTEST || text.len() > LONGEST {
            return weak("the new password needs 12 characters or more");
        }
        if kinds.len() < 5 {
            return weak("the new password repeats few characters: choose another");
        }
        if text == old.secret.expose() {
            return weak("the new password is the one until now");
        }
        self.set(new, false)
    }

    /// A new random one, which has to be changed.
    pub(crate) fn reset(&mut self) -> Result<Secret, Refused> {
        let mut text = Zeroizing::new(String::with_capacity(FIRST + FIRST / 5));
        while text.len() < FIRST + FIRST / 5 - 1 {
            if text.len() % 6 == 5 {
                text.push('-');
                continue;
            }
            let [byte] = random::<1>()?;
            // 31 letters of 32: the last one is the hyphen, which divides.
            match LETTERS.get(usize::from(byte & 31)) {
                Some(b'-') | None => (),
                Some(letter) => text.push(char::from(*letter)),
            }
        }
        let password = Secret::from(text.to_string());
        self.set(&password, true)?;
        self.tries.forget()?;
        Ok(password)
    }

    fn set(&mut self, password: &Secret, first: bool) -> Result<(), Refused> {
        let salt = random::<16>()?;
        let hash = hasher()
            .and_then(|hasher| {
                hasher
                    .hash_password_with_salt(password.expose().as_bytes(), &salt)
                    .ok()
            })
            .ok_or_else(|| refused(Refusal::Failed, "the password could not be hashed", ""))?;
        self.store(Kept {
            form: 1,
            hash: Some(hash.to_string()),
            first,
            wrong: 0,
            at: 0,
        })
    }

    fn store(&mut self, kept: Kept) -> Result<(), Refused> {
        files::put_json(&self.file, &kept).map_err(|why| failed(&why))?;
        self.kept = kept;
        Ok(())
    }
}

fn hasher() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY, PASSES, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn matches(password: &Secret, hash: &str) -> bool {
    let parsed = PasswordHash::new(hash);
    parsed.is_ok_and(|parsed| {
        Argon2::default()
            .verify_password(password.expose().as_bytes(), &parsed)
            .is_ok()
    })
}

fn random<const N: usize>() -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)
        .map_err(|_| refused(Refusal::Failed, "the system gives no randomness", ""))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::tries::{FREE, MOST_WAIT};
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    fn tried(text: &str) -> Tried {
        Tried {
            secret: secret(text),
            from: None,
        }
    }

    fn kind<T>(result: Result<T, Refused>) -> Refusal {
        result.err().expect("refused").kind
    }

    #[test]
    fn the_first_password_is_random_opens_and_must_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(folder.path()).unwrap();
        assert_eq!(kind(keeper.check(&tried(""), 1)), Refusal::Password);
        let first = keeper.reset().unwrap();
        assert_eq!(first.expose().len(), 23, "four groups of five");
        assert!(keeper.check(&tried(first.expose()), 1).unwrap().first);
        for weak in ["short", "aaaaaaaaaaaaaaaaa", first.expose()] {
            let refused = keeper.change(&tried(first.expose()), &secret(weak), 1);
            assert_eq!(kind(refused), Refusal::Password, "{weak}");
        }
        let new = secret("correct horse battery");
        keeper.change(&tried(first.expose()), &new, 1).unwrap();
        let mut keeper = Keeper::open(folder.path()).unwrap();
        assert!(!keeper.check(&tried(new.expose()), 1).unwrap().first);
        assert_eq!(
            kind(keeper.check(&tried(first.expose()), 1)),
            Refusal::Password
        );
        let other = Keeper::open(folder.path()).unwrap().reset().unwrap();
        assert_ne!(other.expose(), first.expose());
    }

    #[test]
    fn tries_become_slower_whatever_restarts_and_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(folder.path()).unwrap();
        let right = tried(keeper.reset().unwrap().expose());
        for _ in 0..FREE {
            assert_eq!(
                kind(keeper.check(&tried("wrong"), 1_000)),
                Refusal::Password
            );
        }
        let mut keeper = Keeper::open(folder.path()).unwrap();
        assert_eq!(kind(keeper.check(&right, 1_000)), Refusal::Wait(1));
        assert_eq!(
            kind(keeper.check(&tried("wrong"), 1_001)),
            Refusal::Password
        );
        assert_eq!(kind(keeper.check(&right, 1_002)), Refusal::Wait(1));
        keeper.kept.wrong = 1_000;
        assert_eq!(
            kind(keeper.check(&right, 1_002)),
            Refusal::Wait(MOST_WAIT - 1)
        );
        // The clock goes back by a thousand seconds.
        assert_eq!(kind(keeper.check(&right, 2)), Refusal::Wait(MOST_WAIT));
        assert_eq!(kind(keeper.check(&right, 3)), Refusal::Wait(MOST_WAIT - 1));
        assert!(keeper.check(&right, 2 + MOST_WAIT).is_ok());
    }

    #[test]
    fn whoever_goes_on_guessing_keeps_the_owner_elsewhere_waiting_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(folder.path()).unwrap();
        let first = keeper.reset().unwrap();
        let from = |text: &str, from: &str| Tried {
            secret: secret(text),
            from: Some(from.parse().unwrap()),
        };
        let mut now = 1_000;
        for _ in 0..21 {
            let guess = keeper.check(&from("wrong", "192.0.2.66"), now);
            now += match kind(guess) {
                Refusal::Wait(wait) => wait,
                other => {
                    assert_eq!(other, Refusal::Password);
                    0
                }
            };
        }
        let wait = kind(keeper.check(&from("wrong", "192.0.2.66"), now));
        assert!(matches!(wait, Refusal::Wait(100..)), "{wait:?}");
        let mut keeper = Keeper::open(folder.path()).unwrap();
        let owner = |text: &str| from(text, "192.0.2.7");
        assert!(keeper.check(&owner(first.expose()), now).is_ok());
        // Known by now: not even a slip keeps the owner waiting for others.
        assert_eq!(kind(keeper.check(&owner("a slip"), now)), Refusal::Password);
        assert!(keeper.check(&owner(first.expose()), now).is_ok());
        let still = kind(keeper.check(&from("wrong", "192.0.2.66"), now));
        assert!(matches!(still, Refusal::Wait(_)), "{still:?}");
    }
}
