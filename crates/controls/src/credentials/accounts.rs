//! Who there is, and how each can log in: passwd(5), shadow(5), group(5) and authorized keys.

use stockade_profile::AccountName;

use crate::engine::{Host, HostPath, Kind, Unseen};

use super::crypt::Hash;

/// The largest of these files that is read.
const MOST_BYTES: usize = 4 << 20;
/// The most accounts.
const MOST_ACCOUNTS: usize = 20_000;
/// The shells that end at once, by their last name.
const NO_SHELLS: [&str; 8] = [
    "nologin",
    "false",
    "true",
    "sync",
    "halt",
    "shutdown",
    "reboot",
    "git-shell",
];

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) home: Option<HostPath>,
    pub(crate) shell: String,
    /// The line of `/etc/passwd` that it stands in.
    pub(crate) line: usize,
    pub(super) password: Password,
    /// Where the password field stands: `/etc/shadow:3`.
    pub(super) place: String,
    /// The password stands where everybody can read it.
    pub(super) in_the_open: bool,
}

/// A password field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Password {
    /// No password is asked for.
    None,
    /// No password ever fits.
    Locked,
    /// This hash.
    Hash(String),
    /// It stands in a file that can not be read.
    Unseen,
}

impl Password {
    fn of(field: &str) -> Self {
        match field {
            "" => Self::None,
            field if Hash::of(field).is_some() => Self::Hash(field.to_owned()),
            _ => Self::Locked,
        }
    }
}

impl Account {
    /// Whether it has a shell in which something can be done.
    pub(super) fn has_shell(&self) -> bool {
        let name = self.shell.rsplit('/').next().unwrap_or_default();
        !NO_SHELLS.contains(&name)
    }

    /// Its hash, if a password can fit.
    pub(super) fn hash(&self) -> Option<Hash<'_>> {
        match &self.password {
            Password::Hash(text) => Hash::of(text),
            Password::None | Password::Locked | Password::Unseen => None,
        }
    }

    /// Its name as actions take it; none if it is a name that nothing here can handle.
    pub(super) fn checked_name(&self) -> Option<AccountName> {
        self.name.parse().ok()
    }

    /// As findings call it.
    pub(super) fn subject(&self) -> String {
        format!("account {}", self.name)
    }
}

/// What of the accounts could be seen.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) all: Vec<Account>,
    /// Why the passwords can not be judged, if they can not.
    pub(super) shadow: Option<Unseen>,
}

/// Reads the accounts.
pub(crate) fn read(host: &dyn Host) -> Result<Accounts, Unseen> {
    let passwd = host.read(&HostPath::of("/etc/passwd"), MOST_BYTES)?;
    let shadow = host.read(&HostPath::of("/etc/shadow"), MOST_BYTES);
    let (shadow, unseen) = match shadow {
        Ok(bytes) => (bytes, None),
        // No shadow file: what passwd says is all there is.
        Err(Unseen::Absent) => (Vec::new(), None),
        Err(why) => (Vec::new(), Some(why)),
    };
    parse(&passwd, &shadow, unseen)
}

/// Judges by what the files say, line by line; a line that is none is passed over, as the C library does.
pub(super) fn parse(
    passwd: &[u8],
    shadow: &[u8],
    unseen: Option<Unseen>,
) -> Result<Accounts, Unseen> {
    let shadow_text = String::from_utf8_lossy(shadow);
    let mut secrets = std::collections::BTreeMap::new();
    for (line, text) in (1_usize..).zip(shadow_text.lines()) {
        let mut fields = text.split(':');
        if let (Some(name), Some(secret)) = (fields.next(), fields.next()) {
            secrets.entry(name).or_insert((line, secret));
        }
    }
    let mut all = Vec::new();
    for (line, text) in (1_usize..).zip(String::from_utf8_lossy(passwd).lines()) {
        let fields: Vec<&str> = text.split(':').collect();
        let &[name, secret, user, group, _, home, shell] = fields.as_slice() else {
            continue;
        };
        let (Ok(user), Ok(group)) = (user.parse(), group.parse()) else {
            continue;
        };
        if name.is_empty() || name.starts_with(['#', '+', '-']) {
            continue;
        }
        if all.len() == MOST_ACCOUNTS {
            return Err(Unseen::TooMuch(MOST_ACCOUNTS));
        }
        let (password, place) = match (secret, secrets.get(name), &unseen) {
            ("x", _, Some(_)) => (Password::Unseen, "/etc/shadow".to_owned()),
            ("x", Some((line, secret)), None) => {
                (Password::of(secret), format!("/etc/shadow:{line}"))
            }
            (secret, _, _) => (Password::of(secret), format!("/etc/passwd:{line}")),
        };
        all.push(Account {
            name: name.to_owned(),
            user,
            group,
            home: HostPath::from_bytes(home.trim_end_matches('/').as_bytes()).ok(),
            shell: shell.trim().to_owned(),
            line,
            in_the_open: secret != "x",
            password,
            place,
        });
    }
    Ok(Accounts {
        all,
        shadow: unseen,
    })
}

/// The files of authorized keys in an account's home, and for dropbear root's in `/etc`, that hold a key.
pub(super) fn authorized_keys(host: &dyn Host, account: &Account) -> Vec<HostPath> {
    let mut files = Vec::new();
    let home = account.home.iter();
    for name in ["/.ssh/authorized_keys", "/.ssh/authorized_keys2"] {
        let path = home
            .clone()
            .filter(|home| **home != HostPath::root())
            .map(|home| [home.as_bytes(), name.as_bytes()].concat());
        files.extend(path.filter_map(|path| HostPath::from_bytes(&path).ok()));
    }
    files.push(
        HostPath::of("/etc/ssh/authorized_keys")
            .join(account.name.as_bytes())
            .unwrap_or_else(|_| HostPath::root()),
    );
    if account.user == 0 {
        files.push(HostPath::of("/etc/dropbear/authorized_keys"));
    }
    files.retain(|path| {
        let file = host.entry(path).is_ok_and(|it| it.kind != Kind::Directory);
        let holds_a_key = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes);
            text.lines()
                .map(str::trim)
                .any(|line| !line.is_empty() && !line.starts_with('#'))
        };
        file && host.read(path, 1 << 20).is_ok_and(holds_a_key)
    });
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_field_is_told_as_the_c_library_takes_it() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\nold:abxxcfbgXtb3o:7:7::/:\nnone::8:8::/:/bin/sh\n\
            gone:x:9:9::/:/bin/false\nshort:x:1\n+nis::::::\n";
        let shadow = b"root:$6$a$b:1::::::\nnone:!:1\nroot::1\n";
        let accounts = parse(passwd, shadow, None).expect("accounts").all;
        let told: Vec<_> = accounts
            .iter()
            .map(|it| (it.name.as_str(), &it.password, it.place.as_str()))
            .collect();
        let hash = |text: &str| Password::Hash(text.to_owned());
        assert_eq!(
            told,
            [
                ("root", &hash("$6$a$b"), "/etc/shadow:1"),
                ("old", &hash("abxxcfbgXtb3o"), "/etc/passwd:2"),
                ("none", &Password::None, "/etc/passwd:3"),
                ("gone", &Password::Locked, "/etc/passwd:4"),
            ]
        );
    }

    #[test]
    fn a_shadow_that_may_not_be_read_is_not_a_locked_account() {
        let accounts = parse(b"a:x:1:1::/:/bin/sh\n", b"", Some(Unseen::Denied)).expect("accounts");
        assert_eq!(accounts.all[0].password, Password::Unseen);
    }
}
