//! Changes of accounts: `/etc/passwd` and `/etc/shadow`, under the lock that shadow-utils take.

use std::io;

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use stockade_controls::credentials::new_hash;
use stockade_controls::engine::{Account, HostPath};
use stockade_profile::AccountName;
use zeroize::Zeroizing;

use super::act::{Wanted, content, real};
use super::error::StepError;
use super::image::{self, Was};
use super::place::Root;

const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
/// lckpwdf(3).
const LOCK: &str = "/etc/.pwd.lock";
/// Shells that end at once; the first that is there is taken.
const NO_SHELL: [&str; 4] = [
    "/usr/sbin/nologin",
    "/sbin/nologin",
    "/bin/false",
    "/usr/bin/false",
];
/// Letters of a password: none that is mistaken for another. 32, so that each is worth five bits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 20 letters: 100 bits.
const LENGTH: usize = 20;

/// The lock of the password files; shadow-utils take the same before they look at them.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is held")] Option<std::fs::File>);

impl Lock {
    pub(crate) fn take(root: &Root) -> Result<Self, StepError> {
        let path = HostPath::of(LOCK);
        let take = || {
            let place = root.place(&path, false)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match place.open(flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
                    Ok(Self(Some(file)))
                }
                Err(why) => Err(why),
            }
        };
        take().map_err(|why: io::Error| {
            let busy = [Errno::ACCESS, Errno::AGAIN].map(|it| Some(it.raw_os_error()));
            if busy.contains(&why.raw_os_error()) {
                StepError::other("another program changes accounts now")
            } else {
                StepError::at(path.clone())(why)
            }
        })
    }
}

/// A new password of an account.
type Password = (AccountName, Zeroizing<String>);

/// What a change wants of the files.
pub(crate) fn change(
    root: &Root,
    name: &AccountName,
    change: Account,
) -> Result<(Vec<Wanted>, Option<Password>), StepError> {
    let (passwd_path, shadow_path) = (HostPath::of(PASSWD), HostPath::of(SHADOW));
    let passwd = content(root, &passwd_path)?;
    let mut shell = None;
    if change == Account::Disable {
        let there = |path: &&&str| {
            let path = HostPath::from_bytes(path.as_bytes());
            path.is_ok_and(|path| {
                !matches!(image::look(root, &path, None), Ok(Was::Absent) | Err(_))
            })
        };
        let found = NO_SHELL.iter().find(there);
        shell = Some(*found.ok_or_else(|| {
            StepError::other("there is no shell that ends at once: neither nologin nor false")
        })?);
    }
    let old = field(&passwd, name.as_str(), 1)
        .ok_or_else(|| StepError::other(format!("there is no account `{name}`")))?;
    // passwd(5): only without an `x` the password itself stands there.
    let in_shadow = old == b"x";
    let told = (change == Account::NewPassword)
        .then(password)
        .transpose()?;
    let new_field = |old: &[u8]| -> Result<Zeroizing<Vec<u8>>, StepError> {
        let new = match &told {
            Some(password) => hash(password)?,
            // A `!` before the hash locks the password, and is all that is taken away to unlock it (passwd(1)).
            None if old.starts_with(b"!") || old.starts_with(b"*") => old.to_vec(),
            None => [b"!", old].concat(),
        };
        Ok(Zeroizing::new(new))
    };
    let mut wanted = Vec::new();
    let mut new_passwd = passwd.clone();
    if in_shadow {
        let shadow = content(root, &shadow_path)?;
        let old = field(&shadow, name.as_str(), 1).ok_or_else(|| {
            StepError::other(format!("{SHADOW} has no line for the account `{name}`"))
        })?;
        wanted.push(Wanted::Content {
            path: real(root, &shadow_path)?,
            content: with_field(&shadow, name.as_str(), 1, &new_field(old)?),
            about: None,
        });
    } else {
        new_passwd = with_field(&passwd, name.as_str(), 1, &new_field(old)?);
    }
    if let Some(shell) = shell {
        let now = field(&new_passwd, name.as_str(), 6).unwrap_or_default();
        if !NO_SHELL.iter().any(|it| it.as_bytes() == now) {
            new_passwd = with_field(&new_passwd, name.as_str(), 6, shell.as_bytes());
        }
    }
    if new_passwd != passwd {
        wanted.push(Wanted::Content {
            path: real(root, &passwd_path)?,
            content: new_passwd,
            about: None,
        });
    }
    Ok((wanted, told.map(|password| (name.clone(), password))))
}

/// The account's line as it was, and all others as they are now: for taking back when others changed since.
pub(crate) fn merged(before: &[u8], now: &[u8], name: &str) -> Zeroizing<Vec<u8>> {
    let old = line(before, name);
    let lines = now.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(|it| {
        if is_of(it, name) {
            old.unwrap_or(it)
        } else {
            it
        }
    });
    Zeroizing::new(lines.collect::<Vec<_>>().concat())
}

fn is_of(line: &[u8], name: &str) -> bool {
    line.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.starts_with(b":"))
}

fn line<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
        .find(|line| is_of(line, name))
}

fn field<'a>(text: &'a [u8], name: &str, number: usize) -> Option<&'a [u8]> {
    let line = line(text, name)?;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.split(|byte| *byte == b':').nth(number)
}

fn with_field(text: &[u8], name: &str, number: usize, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut all = Zeroizing::new(Vec::with_capacity(text.len() + value.len()));
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !is_of(line, name) {
            all.extend_from_slice(line);
            continue;
        }
        let (bare, end) = match line.strip_suffix(b"\n") {
            Some(bare) => (bare, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut fields: Vec<&[u8]> = bare.split(|byte| *byte == b':').collect();
        if let Some(field) = fields.get_mut(number) {
            *field = value;
        }
        all.extend_from_slice(&fields.join(&b':'));
        all.extend_from_slice(end);
    }
    all
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, StepError> {
    let mut bytes = Zeroizing::new([0; N]);
    match getrandom(bytes.as_mut_slice(), GetRandomFlags::empty()) {
        Ok(length) if length == N => Ok(bytes),
        Ok(_) => Err(StepError::other("the kernel gave too little randomness")),
        Err(errno) => Err(StepError::other(errno)),
    }
}

fn password() -> Result<Zeroizing<String>, StepError> {
    let mut password = Zeroizing::new(String::with_capacity(LENGTH));
    for byte in random::<LENGTH>()?.iter() {
        let letter = LETTERS.get(usize::from(byte % 32)).copied();
        password.push(char::from(letter.unwrap_or(b'x')));
    }
    Ok(password)
}

/// sha512crypt, which every libc for Linux that is in use can check (crypt(5)).
fn hash(password: &str) -> Result<Vec<u8>, StepError> {
    let salt = random::<12>()?;
    Ok(new_hash(password.as_bytes(), *salt).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHADOW: &[u8] = b"root:$6$a:1::::::\nguest::2::::::\nguests:x:3\n";

    #[test]
    fn one_field_of_one_account_changes_and_nothing_else() {
        let changed = with_field(SHADOW, "guest", 1, b"!");
        assert_eq!(
            &changed[..],
            b"root:$6$a:1::::::\nguest:!:2::::::\nguests:x:3\n"
        );
        assert_eq!(field(&changed, "guest", 1), Some(&b"!"[..]));
    }

    #[test]
    fn what_others_changed_since_is_kept_when_one_account_is_taken_back() {
        let now = b"root:$6$b:9::::::\nguest:!:2::::::\nnew:*:4\n";
        assert_eq!(
            &merged(SHADOW, now, "guest")[..],
            b"root:$6$b:9::::::\nguest::2::::::\nnew:*:4\n"
        );
    }

    #[test]
    fn a_new_password_is_long_and_its_hash_is_checked_by_others() {
        let (first, second) = (password().expect("one"), password().expect("two"));
        assert_ne!(first, second);
        assert_eq!(first.len(), LENGTH);
        let hashed = String::from_utf8(hash(&first).expect("a hash")).expect("text");
        // openssl is another implementation of it.
        let salt = hashed.split('$').nth_back(1).expect("a salt");
        let rounds = hashed.contains("rounds=");
        assert!(!rounds || hashed.contains("rounds=5000"), "{hashed}");
        let said = std::process::Command::new("openssl")
            .args(["passwd", "-6", "-salt", salt, &first])
            .output();
        match said {
            Ok(said) => {
                let said = String::from_utf8(said.stdout).expect("text");
                assert_eq!(said.trim(), hashed.replace("rounds=5000$", ""));
            }
            Err(why) => println!("skipped: no openssl: {why}"),
        }
    }
}
