//! Rules about passwords of accounts.

use std::collections::BTreeMap;

use stockade_profile::Ssh;

use crate::engine::{
    Account as Change, Action, Case, Confidence, Finding, Judged, Remedy, Rule, Severity, Stage,
    Step,
};

use super::accounts::{self, Account, Accounts, Password};
use super::crypt::Hash;
use super::{defaults, rules};

/// How many microseconds of guessing one look may take, on one core of a PC.
const GUESSING: u64 = 400_000;

/// Whether somebody whom the profile lets in can still get in when every other account is locked. If it lets nobody in, nothing
/// is lost.
pub(super) fn ways_in(case: &Case<'_>, accounts: &Accounts) -> bool {
    let wanted = &case.profile.credentials;
    let keys = wanted.ssh == Ssh::KeysOnly;
    let named = |account: &Account| {
        let named = wanted.password_logins.iter();
        named.clone().any(|it| it.as_str() == account.name)
            && matches!(account.password, Password::Hash(_) | Password::None)
    };
    (!keys && wanted.password_logins.is_empty())
        || accounts.all.iter().any(|account| {
            account.has_shell()
                && (named(account)
                    || (keys && !accounts::authorized_keys(case.host, account).is_empty()))
        })
}

/// Judges every rule about passwords.
pub(super) fn judge(case: &Case<'_>, accounts: &Accounts, ways: bool, judged: &mut Judged) {
    let mender = Mender { case, ways };
    let count = format!("{} accounts", accounts.all.len());
    let known =
        |rule: &'static Rule, judged: &mut Judged, findings: Vec<Finding>| match &accounts.shadow {
            Some(why) => judged.cannot_tell(rule, format!("/etc/shadow: {why}"), findings),
            None => judged.judged(rule, count.clone(), findings),
        };
    known(&rules::EMPTY, judged, empty(&mender, accounts));
    known(&rules::WEAK_HASH, judged, weak(&mender, accounts));
    known(&rules::SHARED, judged, shared(&mender, accounts));
    known(&rules::LOGINS, judged, logins(&mender, accounts));
    judged.judged(
        &rules::IN_THE_OPEN,
        count.clone(),
        in_the_open(&mender, accounts),
    );
    judged.judged(&rules::UID0, count.clone(), twins(accounts));
    default(&mender, accounts, judged);
}

/// Says what mends an account's password.
struct Mender<'a> {
    case: &'a Case<'a>,
    /// Whether somebody can still get in when all accounts that the profile does not name are locked.
    ways: bool,
}

impl Mender<'_> {
    fn may_log_in(&self, account: &Account) -> bool {
        let allowed = &self.case.profile.credentials.password_logins;
        allowed.iter().any(|it| it.as_str() == account.name)
    }

    /// A new password if the profile lets the account have one, none if not.
    fn mended(&self, finding: Finding, account: &Account) -> Finding {
        let Some(name) = account.checked_name() else {
            return finding;
        };
        let who = &account.name;
        if self.may_log_in(account) {
            let action = Action::Account {
                name,
                change: Change::NewPassword,
            };
            return finding.mended_by(vec![Step::risky(
                Stage::Change,
                action,
                format!("Give `{who}` a new random password, told once"),
                format!("Whoever logs in as `{who}` needs the new password."),
            )]);
        }
        if !self.ways {
            return Finding {
                remedy: Remedy::Person(format!(
                    "`{who}` has the last way in: the profile names no account that can log in. Give an account that it names a password or an SSH key, then lock `{who}`."
                )),
                ..finding
            };
        }
        let action = Action::Account {
            name,
            change: Change::LockPassword,
        };
        finding.mended_by(vec![Step::risky(
            Stage::Change,
            action,
            format!("Lock the password of `{who}`"),
            format!("Nobody can log in as `{who}` with a password any more; keys go on working."),
        )])
    }
}

fn empty(mender: &Mender<'_>, accounts: &Accounts) -> Vec<Finding> {
    let empty = accounts
        .all
        .iter()
        .filter(|it| it.password == Password::None);
    let findings = empty.map(|account| {
        let what = format!(
            "account `{}` has no password: anybody may log in",
            account.name
        );
        let finding = Finding::of(&rules::EMPTY, account.subject(), what)
            .seen(&account.place, "an empty password field");
        let finding = if account.has_shell() {
            finding
        } else {
            finding.with(Severity::Medium, Confidence::High)
        };
        mender.mended(finding, account)
    });
    findings.collect()
}

fn weak(mender: &Mender<'_>, accounts: &Accounts) -> Vec<Finding> {
    let weak = accounts.all.iter().filter_map(|account| {
        let weakness = account.hash()?.weakness()?;
        let what = format!(
            "the password of `{}` is kept as {weakness}: whoever gets the file finds it in hours",
            account.name
        );
        let finding =
            Finding::of(&rules::WEAK_HASH, account.subject(), what).seen(&account.place, weakness);
        Some(mender.mended(finding, account))
    });
    weak.collect()
}

fn shared(mender: &Mender<'_>, accounts: &Accounts) -> Vec<Finding> {
    let mut by_hash: BTreeMap<&str, Vec<&Account>> = BTreeMap::new();
    for account in &accounts.all {
        if let Password::Hash(text) = &account.password {
            by_hash.entry(text).or_default().push(account);
        }
    }
    let mut findings = Vec::new();
    for holders in by_hash.values() {
        for account in holders {
            let finding = |what| Finding::of(&rules::SHARED, account.subject(), what);
            let found = if holders.len() > 1 {
                let others = holders.iter().filter(|it| it.name != account.name);
                let others: Vec<_> = others.map(|it| format!("`{}`", it.name)).collect();
                let what = format!(
                    "`{}` has the same password as {}: the hashes are equal",
                    account.name,
                    others.join(", ")
                );
                finding(what).seen(&account.place, "the same hash, with the same salt")
            } else if account.hash().is_some_and(|hash| hash.unsalted()) {
                let what = format!(
                    "the password of `{}` is kept without salt: it was made for many devices",
                    account.name
                );
                finding(what).seen(&account.place, "a hash without salt")
            } else {
                continue;
            };
            findings.push(mender.mended(found, account));
        }
    }
    findings
}

fn logins(mender: &Mender<'_>, accounts: &Accounts) -> Vec<Finding> {
    let others = accounts.all.iter().filter(|account| {
        matches!(account.password, Password::Hash(_)) && !mender.may_log_in(account)
    });
    let findings = others.map(|account| {
        let what = format!(
            "account `{}` has a password, and the profile does not name it",
            account.name
        );
        let finding = Finding::of(&rules::LOGINS, account.subject(), what)
            .seen(&account.place, "a password hash");
        mender.mended(finding, account)
    });
    findings.collect()
}

fn in_the_open(mender: &Mender<'_>, accounts: &Accounts) -> Vec<Finding> {
    let open = accounts
        .all
        .iter()
        .filter(|it| it.in_the_open && it.hash().is_some());
    let findings = open.map(|account| {
        let what = format!(
            "the password hash of `{}` stands in /etc/passwd, which everybody can read",
            account.name
        );
        let finding = Finding::of(&rules::IN_THE_OPEN, account.subject(), what)
            .seen(&account.place, "a password hash");
        mender.mended(finding, account)
    });
    findings.collect()
}

/// Accounts with user id 0 beside the first.
fn twins(accounts: &Accounts) -> Vec<Finding> {
    let roots: Vec<_> = accounts.all.iter().filter(|it| it.user == 0).collect();
    let rightful = roots
        .iter()
        .find(|it| it.name == "root")
        .or_else(|| roots.first());
    let twins = roots.iter().filter(|it| Some(it) != rightful.as_ref());
    let findings = twins.map(|account| {
        let what = format!(
            "account `{}` has user id 0: it is root by another name",
            account.name
        );
        let finding = Finding::of(&rules::UID0, account.subject(), what)
            .seen(format!("/etc/passwd:{}", account.line), "user id 0");
        // What can be shut is shut; to be rid of it for good is for a person.
        let shut = account.password == Password::Locked && !account.has_shell();
        let name = account.checked_name();
        let Some(name) = name.filter(|_| account.name != "root" && !shut) else {
            return finding;
        };
        finding.mended_by(vec![Step::risky(
            Stage::Change,
            Action::Account {
                name,
                change: Change::Disable,
            },
            format!("Lock `{}` and take its shell", account.name),
            format!("Nobody can become root as `{}` any more.", account.name),
        )])
    });
    findings.collect()
}

/// What is tried on one account.
struct Trial<'a> {
    account: &'a Account,
    hash: Hash<'a>,
    /// Microseconds that one guess takes; none if none can be tried.
    each: Option<u64>,
    guesses: Vec<String>,
    tried: usize,
    known: bool,
}

/// Tries the defaults, the likeliest of each account first, until the time is used up.
fn default(mender: &Mender<'_>, accounts: &Accounts, judged: &mut Judged) {
    let hashed = accounts
        .all
        .iter()
        .filter_map(|account| Some((account, account.hash()?)));
    let mut trials: Vec<Trial<'_>> = hashed
        .map(|(account, hash)| Trial {
            account,
            each: hash.microseconds(),
            hash,
            guesses: defaults::guesses(&account.name, mender.case.profile),
            tried: 0,
            known: false,
        })
        .collect();
    guess(&mut trials);
    let (mut tried, mut all, mut untried, mut findings) =
        (0_usize, 0_usize, Vec::new(), Vec::new());
    for trial in &trials {
        let (account, name) = (trial.account, trial.hash.name());
        tried = tried.saturating_add(trial.tried);
        all = all.saturating_add(trial.guesses.len());
        if trial.tried == 0 {
            untried.push(format!("`{}` ({name})", account.name));
        }
        if trial.known {
            let what = format!(
                "account `{}` has a password that devices are shipped with",
                account.name
            );
            let finding = Finding::of(&rules::DEFAULT, account.subject(), what).seen(
                &account.place,
                format!("a known default fits the {name} hash"),
            );
            findings.push(mender.mended(finding, account));
        }
    }
    if let Some(why) = &accounts.shadow {
        judged.cannot_tell(&rules::DEFAULT, format!("/etc/shadow: {why}"), findings);
    } else if !untried.is_empty() {
        let why = format!(
            "no default could be tried on {}: the hash takes too long or is of a kind that is not known here",
            untried.join(", ")
        );
        judged.cannot_tell(&rules::DEFAULT, why, findings);
    } else {
        let looked_at = format!("{tried} of {all} guesses at {} accounts", trials.len());
        judged.judged(&rules::DEFAULT, looked_at, findings);
    }
}

/// Guesses at each account until one fits, the cheapest hash first; all get the same share of the time, and what one leaves of its
/// share is for those after it.
fn guess(trials: &mut [Trial<'_>]) {
    let mut order: Vec<&mut Trial<'_>> = trials.iter_mut().collect();
    order.sort_by_key(|trial| trial.each);
    let mut left = GUESSING;
    let mut waiting = u64::try_from(order.len()).unwrap_or(u64::MAX);
    for trial in order {
        let share = left.checked_div(waiting).unwrap_or(left);
        waiting = waiting.saturating_sub(1);
        let Some(each) = trial.each else { continue };
        // Its own name and the likeliest default, however slow the hash is.
        let mut share = share.max(each.saturating_mul(2)).min(left);
        for guess in &trial.guesses {
            let Some(rest) = share.checked_sub(each) else {
                break;
            };
            share = rest;
            left = left.saturating_sub(each);
            trial.tried = trial.tried.saturating_add(1);
            trial.known = trial.hash.fits(guess.as_bytes());
            if trial.known {
                break;
            }
        }
    }
}
