//! Rules about keys: host keys of SSH, private keys in files, keys that open accounts. What is in them is never kept.

use stockade_profile::Ssh;

use crate::engine::{
    Account as Change, Action, Case, Confidence, Entry, Finding, Host, HostPath, Judged, Kind,
    Severity, Stage, Standing, Step, Unseen,
};

use super::accounts::{self, Account, Accounts, Password};
use super::{rules, ssh};

/// Where host keys are, and how their names begin and end.
const HOST_KEYS: [(&str, &str, &str); 2] = [
    ("/etc/ssh", "ssh_host_", "_key"),
    ("/etc/dropbear", "dropbear_", "_host_key"),
];
/// `OpenWrt`'s read-only image, below what was written since.
const OPENWRT_IMAGE: &str = "/rom/etc/dropbear";
/// Made when a device first starts.
const FIRST_START: &str = "/etc/machine-id";
/// A key's file may be written a little before that.
const SLACK: u64 = 120;
/// The base64 of an RSA public key of 2048 bits has 372 characters.
const SHORTEST_RSA: usize = 350;
/// The most files whose beginning is looked at, and the longest.
const MOST_FILES: usize = 1000;
const MOST_BYTES: usize = 64 << 10;

/// Judges every rule about keys.
pub(super) fn judge(case: &Case<'_>, accounts: Option<&Accounts>, judged: &mut Judged) {
    host_keys(case, judged);
    private_keys(case, judged);
    match accounts {
        Some(accounts) => authorized(case, accounts, judged),
        None => judged.cannot_tell(
            &rules::AUTHORIZED,
            "the accounts can not be read",
            Vec::new(),
        ),
    }
}

fn host_keys(case: &Case<'_>, judged: &mut Judged) {
    let host = case.host;
    let first_start = host.entry(&HostPath::of(FIRST_START)).map(|it| it.modified);
    let (mut findings, mut count, mut unseen) = (Vec::new(), 0_usize, None);
    for (directory, begin, end) in HOST_KEYS {
        let directory = HostPath::of(directory);
        let names = match host.list(&directory) {
            Ok(names) => names,
            Err(Unseen::Absent) => continue,
            Err(why) => {
                unseen = Some(format!("{directory}: {why}"));
                continue;
            }
        };
        let keys: Vec<_> = names
            .iter()
            .filter_map(|(name, entry)| Some((str::from_utf8(name).ok()?, entry)))
            .filter(|(name, entry)| {
                name.starts_with(begin)
                    && name.ends_with(end)
                    && entry.kind == Kind::File
                    && entry.size > 0
            })
            .filter_map(|(name, entry)| Some((directory.join(name.as_bytes()).ok()?, entry)))
            .collect();
        count = count.saturating_add(keys.len());
        for (path, entry) in &keys {
            findings.extend(weak_key(host, path));
            if let Some((why, confidence)) =
                shipped(case, path, entry, first_start.as_ref().ok().copied())
            {
                let what = format!("the SSH host key {path} {why}: other devices have it too");
                let finding = Finding::of(&rules::HOST_KEYS, path.to_string(), what)
                    .seen(path.to_string(), why)
                    .with(rules::HOST_KEYS.severity, confidence);
                findings.push(finding.mended_by(new_host_keys(case, &directory, path)));
            }
        }
        if case.host.standing() == Standing::Live
            && !keys.is_empty()
            && first_start.is_err()
            && host.entry(&HostPath::of(OPENWRT_IMAGE)).is_err()
        {
            unseen = Some(format!(
                "{FIRST_START} does not tell when this device first started"
            ));
        }
    }
    match unseen {
        Some(why) => judged.cannot_tell(&rules::HOST_KEYS, why, findings),
        None if count == 0 => judged.does_not_apply(&rules::HOST_KEYS, "there is no SSH host key"),
        None => judged.judged(
            &rules::HOST_KEYS,
            format!("{count} SSH host keys"),
            findings,
        ),
    }
}

/// How a host key shows that it came with the image.
fn shipped(
    case: &Case<'_>,
    path: &HostPath,
    entry: &Entry,
    first_start: Option<u64>,
) -> Option<(&'static str, Confidence)> {
    if case.host.standing() == Standing::Offline {
        return Some(("is part of the image", Confidence::High));
    }
    let below = HostPath::of(OPENWRT_IMAGE).join(path.name()).ok();
    if below.is_some_and(|below| case.host.entry(&below).is_ok_and(|it| it.size > 0)) {
        return Some(("is part of the read-only image", Confidence::High));
    }
    let old = first_start.is_some_and(|first| entry.modified.saturating_add(SLACK) < first);
    old.then_some((
        "is older than this device's first start",
        Confidence::Medium,
    ))
}

fn new_host_keys(case: &Case<'_>, directory: &HostPath, path: &HostPath) -> Vec<Step> {
    if case.host.standing() == Standing::Offline {
        let mut public = path.as_bytes().to_vec();
        public.extend_from_slice(b".pub");
        let public = HostPath::from_bytes(&public).ok();
        let public = public.filter(|it| case.host.entry(it).is_ok());
        let remove = |path: HostPath| {
            let says = format!("Remove {path} from the image");
            let risk = "The image has to make its host keys when it first starts (ssh-keygen -A, dropbear -R); SSH does not start without them.";
            Step::risky(Stage::Change, Action::Remove { path }, says, risk)
        };
        return std::iter::once(path.clone())
            .chain(public)
            .map(remove)
            .collect();
    }
    let says = format!("Make the host keys in {directory} anew");
    let risk = "Whoever connects by SSH is told once that the device's key changed.";
    let action = Action::SshHostKeys {
        directory: directory.clone(),
    };
    let service = if directory.name() == b"dropbear" {
        "dropbear"
    } else {
        ssh::service_of_openssh(case.host)
    };
    std::iter::once(Step::risky(Stage::Change, action, says, risk))
        .chain(ssh::reload(service))
        .collect()
}

/// A host key of a kind or length that can be broken (RFC 8270, RFC 9142).
fn weak_key(host: &dyn Host, path: &HostPath) -> Option<Finding> {
    let finding = |why: &str| {
        let what = format!("the SSH host key {path} is {why}");
        Finding::of(&rules::HOST_KEYS, path.to_string(), what)
            .seen(path.to_string(), why)
            .with(Severity::Medium, Confidence::High)
    };
    if path
        .name()
        .windows(5)
        .any(|it| it == b"_dsa_" || it == b"_dss_")
    {
        let remove = Action::Remove { path: path.clone() };
        let says = format!("Remove {path}; the other host keys stay");
        return Some(finding("a DSA key").mended_by(vec![Step::safe(Stage::Change, remove, says)]));
    }
    let public = HostPath::from_bytes(&[path.as_bytes(), b".pub"].concat()).ok()?;
    let text = host.read(&public, MOST_BYTES).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split_whitespace();
    let short =
        words.next() == Some("ssh-rsa") && words.next().is_some_and(|it| it.len() < SHORTEST_RSA);
    short.then(|| finding("an RSA key of less than 2048 bits"))
}

fn private_keys(case: &Case<'_>, judged: &mut Judged) {
    let inventory = match case.host.inventory() {
        Ok(inventory) => inventory,
        Err(why) => return judged.unseen(&rules::PRIVATE_KEYS, "the files", &why),
    };
    let open = inventory.notable.iter().filter(|it| {
        it.entry.kind == Kind::File && too_open(&it.entry) != 0 && !is_sample(&it.path)
    });
    let mut findings = Vec::new();
    let mut looked_at = 0_usize;
    for it in open {
        looked_at = looked_at.saturating_add(1);
        if looked_at > MOST_FILES {
            break;
        }
        let Ok(content) = case.host.read(&it.path, MOST_BYTES) else {
            continue;
        };
        let Some(kind) = private_key(&content) else {
            continue;
        };
        let path = &it.path;
        let what = format!("{path} is {kind} that others than its owner can read or write");
        let mode = it.entry.mode & !too_open(&it.entry);
        let action = Action::Mode {
            path: path.clone(),
            mode,
            owner: (it.entry.owner, it.entry.group),
        };
        findings.push(
            Finding::of(&rules::PRIVATE_KEYS, path.to_string(), what)
                .seen(
                    path.to_string(),
                    format!("mode {:04o}, {kind}", it.entry.mode),
                )
                .mended_by(vec![Step::risky(
                    Stage::Change,
                    action,
                    format!("Set the mode of {path} to {mode:04o}"),
                    "A program that runs as somebody else can not use this key any more.",
                )]),
        );
    }
    if looked_at > MOST_FILES {
        let why = format!("more than {MOST_FILES} files that may hold keys");
        return judged.cannot_tell(&rules::PRIVATE_KEYS, why, findings);
    }
    judged.judged(
        &rules::PRIVATE_KEYS,
        format!("{} files looked at", inventory.looked_at),
        findings,
    );
}

/// The permission bits that a private key should not have: none for others, and for its group to read only, if it is a system's
/// group as `ssl-cert`.
fn too_open(entry: &Entry) -> u32 {
    let group_may_read =
        entry.group != entry.owner && entry.group != 0 && entry.group < 1000 && entry.group != 100;
    entry.mode & if group_may_read { 0o037 } else { 0o077 }
}

/// Keys of nobody, that documentation and tests bring along.
fn is_sample(path: &HostPath) -> bool {
    let text = path.to_string();
    let usr = text.starts_with("/usr/");
    usr && ["/doc/", "/test", "/example", "/sample", "/fixtures/"]
        .iter()
        .any(|part| text.contains(part))
}

/// What kind of private key this is, by how it begins.
pub(super) fn private_key(content: &[u8]) -> Option<&'static str> {
    let has = |what: &[u8]| content.windows(what.len()).any(|it| it == what);
    if has(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Some("a private key of SSH");
    }
    if has(b"-----BEGIN") && has(b"PRIVATE KEY-----") {
        return Some("a private key");
    }
    if content.starts_with(b"PuTTY-User-Key-File-") {
        return Some("a private key of PuTTY");
    }
    (content.starts_with(b"\0\0\0\x07ssh-") || content.starts_with(b"\0\0\0\x0bssh-ed25519"))
        .then_some("a private key of dropbear")
}

fn authorized(case: &Case<'_>, accounts: &Accounts, judged: &mut Judged) {
    let wanted = &case.profile.credentials;
    let mut findings = Vec::new();
    for account in &accounts.all {
        let files = accounts::authorized_keys(case.host, account);
        let named = wanted
            .password_logins
            .iter()
            .any(|it| it.as_str() == account.name);
        // Where the profile names no account, those of people are meant.
        let person =
            wanted.password_logins.is_empty() && (account.user == 0 || account.user >= 1000);
        let meant = wanted.ssh == Ssh::KeysOnly && (named || person);
        for path in files {
            if !meant && account.has_shell() {
                findings.push(unmeant(account, &path));
            } else {
                findings.extend(writable(case.host, account, &path));
            }
        }
    }
    judged.judged(
        &rules::AUTHORIZED,
        format!("{} accounts", accounts.all.len()),
        findings,
    );
}

fn unmeant(account: &Account, path: &HostPath) -> Finding {
    let who = &account.name;
    let locked = if account.password == Password::Locked {
        ", which has no password,"
    } else {
        ""
    };
    let what =
        format!("keys open the account `{who}`{locked} and the profile does not say that they may");
    let remove = Action::Remove { path: path.clone() };
    let mut steps = vec![Step::risky(
        Stage::Change,
        remove,
        format!("Remove {path}"),
        format!("Nobody can log in as `{who}` with a key any more."),
    )];
    if let Some(name) = account
        .checked_name()
        .filter(|_| account.user != 0 && account.user < 1000)
    {
        let action = Action::Account {
            name,
            change: Change::Disable,
        };
        steps.push(Step::safe(
            Stage::Change,
            action,
            format!("Lock `{who}` and take its shell"),
        ));
    }
    Finding::of(&rules::AUTHORIZED, account.subject(), what)
        .seen(path.to_string(), "authorized keys")
        .mended_by(steps)
}

/// A file of authorized keys into which others may write their own.
fn writable(host: &dyn Host, account: &Account, path: &HostPath) -> Option<Finding> {
    let entry = host.entry(path).ok()?;
    let stranger = entry.owner != account.user && entry.owner != 0;
    if entry.kind != Kind::File || (entry.mode & 0o022 == 0 && !stranger) {
        return None;
    }
    let mode = entry.mode & !0o022;
    let action = Action::Mode {
        path: path.clone(),
        mode,
        owner: (account.user, account.group),
    };
    let what = format!("others can write their own key into {path}");
    Some(
        Finding::of(&rules::AUTHORIZED, path.to_string(), what)
            .seen(
                path.to_string(),
                format!("mode {:04o}, user {}", entry.mode, entry.owner),
            )
            .mended_by(vec![Step::safe(
                Stage::Change,
                action,
                format!("Give {path} to `{}`, mode {mode:04o}", account.name),
            )]),
    )
}
