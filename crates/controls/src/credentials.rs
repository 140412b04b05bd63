//! `credentials`: who can get in, and whether what lets them in is theirs alone.

mod accounts;
mod crypt;
mod defaults;
mod des;
mod dropbear;
mod keys;
mod passwords;
mod rules;
mod ssh;
mod sshd;
mod tokens;

use stockade_profile::Control;

use crate::engine::{Case, Check, Judged, Rule, Unseen};

pub use crypt::{Hash, new_hash};
pub use defaults::{guesses, most_usual};
pub use ssh::is_weak;
pub use tokens::{TOKENS, names_secret, token};

/// The rule against passwords that devices are shipped with, for who asks from outside.
pub static DEFAULT_PASSWORD: &Rule = &rules::DEFAULT;
/// The rule against log-ins without a password.
pub static EMPTY_PASSWORD: &Rule = &rules::EMPTY;
/// The rule about broken algorithms of SSH.
pub static SSH_ALGORITHMS: &Rule = &rules::SSH_WEAK;
/// The rule that host keys are strong and a device's own.
pub static HOST_KEYS: &Rule = &rules::HOST_KEYS;
/// The rule that SSH is off unless the profile switches it on.
pub static SSH_OFF: &Rule = &rules::SSH_OFF;

/// The control `credentials`.
#[derive(Debug)]
pub struct Credentials;

impl Check for Credentials {
    fn control(&self) -> Control {
        Control::Credentials
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let accounts = accounts::read(case.host);
        let ways = accounts
            .as_ref()
            .is_ok_and(|accounts| passwords::ways_in(case, accounts));
        match &accounts {
            Ok(accounts) => passwords::judge(case, accounts, ways, &mut judged),
            Err(why) => no_accounts(why, &mut judged),
        }
        let accounts = accounts.as_ref().ok();
        ssh::judge(case, accounts, ways, &mut judged);
        keys::judge(case, accounts, &mut judged);
        tokens::judge(case, accounts, &mut judged);
        judged
    }
}

/// Without accounts nothing about them can be judged.
fn no_accounts(why: &Unseen, judged: &mut Judged) {
    for rule in [
        &rules::EMPTY,
        &rules::DEFAULT,
        &rules::SHARED,
        &rules::LOGINS,
        &rules::WEAK_HASH,
        &rules::IN_THE_OPEN,
        &rules::UID0,
    ] {
        judged.unseen(rule, "/etc/passwd", why);
    }
}

/// Any bytes as the files that this control reads.
pub(crate) fn fuzz(data: &[u8]) {
    let half = data.len().div_euclid(2);
    let (passwd, shadow) = data.split_at(half);
    if let Ok(accounts) = accounts::parse(passwd, shadow, None) {
        for account in &accounts.all {
            if let Some(hash) = account.hash()
                && hash.microseconds().is_some_and(|it| it < 1000)
            {
                hash.fits(b"admin");
            }
        }
    }
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        sshd::setting(line);
    }
    tokens::secrets(&text);
    keys::private_key(data);
}

#[cfg(test)]
mod tests {
    use stockade_profile::Profile;

    /// A profile with these further lines.
    pub(super) fn profile(more: &str) -> Profile {
        let text = format!(
            "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n{more}"
        );
        stockade_profile::parse(&text).expect("a profile")
    }
}
