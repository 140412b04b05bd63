//! Rules about logging in by SSH: OpenSSH and dropbear.

use stockade_profile::{ServiceName, Ssh};

use crate::engine::{
    Action, Case, Finding, Host, HostPath, Judged, Remedy, ServiceChange, Stage, Step, Unseen,
};

use crate::services;

use super::accounts::{self, Accounts};
use super::sshd::{self, Line};
use super::{dropbear, rules};

/// What sshd has to be told: keyword as written, what holds if nothing is said, what is right (the first is what we set).
const SETTINGS: [(&str, &str, &[&str]); 5] = [
    ("PasswordAuthentication", "yes", &["no"]),
    ("KbdInteractiveAuthentication", "yes", &["no"]),
    ("PermitEmptyPasswords", "no", &["no"]),
    (
        "PermitRootLogin",
        "prohibit-password",
        &[
            "prohibit-password",
            "without-password",
            "forced-commands-only",
            "no",
        ],
    ),
    ("HostbasedAuthentication", "no", &["no"]),
];
/// Keywords whose value is a list of algorithms.
const LISTS: [&str; 6] = [
    "ciphers",
    "macs",
    "kexalgorithms",
    "hostkeyalgorithms",
    "pubkeyacceptedalgorithms",
    "casignaturealgorithms",
];

/// Whether this is the name of an algorithm that is broken or too short (RFC 8758, RFC 9142).
pub fn is_weak(algorithm: &str) -> bool {
    let parts = [
        "cbc",
        "arcfour",
        "3des",
        "blowfish",
        "cast128",
        "hmac-md5",
        "-96",
        "ripemd",
        "group1-sha1",
        "group-exchange-sha1",
        "group14-sha1",
        "ssh-dss",
    ];
    let whole = [
        "ssh-rsa",
        "ssh-rsa-cert-v01@openssh.com",
        "none",
        "umac-64@openssh.com",
        "hmac-sha1",
    ];
    parts.iter().any(|part| algorithm.contains(part)) || whole.contains(&algorithm)
}

/// Judges the servers that are there.
pub(super) fn judge(case: &Case<'_>, accounts: Option<&Accounts>, ways: bool, judged: &mut Judged) {
    let openssh = first_there(
        case.host,
        &[
            "/usr/sbin/sshd",
            "/sbin/sshd",
            "/usr/local/sbin/sshd",
            "/usr/bin/sshd",
        ],
    );
    let dropbear = first_there(
        case.host,
        &[
            "/usr/sbin/dropbear",
            "/sbin/dropbear",
            "/usr/bin/dropbear",
            "/usr/local/sbin/dropbear",
        ],
    );
    if openssh.is_none() && dropbear.is_none() {
        for rule in [&rules::SSH_OFF, &rules::SSH_PASSWORDS, &rules::SSH_WEAK] {
            judged.does_not_apply(rule, "there is no SSH server");
        }
        return;
    }
    off(case, judged);
    if case.profile.credentials.ssh == Ssh::Off {
        judged.does_not_apply(
            &rules::SSH_PASSWORDS,
            "the profile has SSH off: see `ssh-off`",
        );
    } else {
        let risk = risk(case.host, accounts);
        let keep = Keep { risk, ways };
        let (mut findings, mut unseen) = (Vec::new(), None);
        if openssh.is_some() {
            match sshd::read(case.host) {
                Ok(lines) => findings.extend(openssh_passwords(case.host, &lines, &keep)),
                Err(Unseen::Absent) => findings.extend(openssh_passwords(case.host, &[], &keep)),
                Err(why) => unseen = Some(format!("{}: {why}", sshd::MAIN)),
            }
        }
        if dropbear.is_some() {
            match dropbear::passwords(case.host, &keep) {
                Ok(found) => findings.extend(found),
                Err(why) => unseen = Some(format!("dropbear: {why}")),
            }
        }
        match unseen {
            Some(why) => judged.cannot_tell(&rules::SSH_PASSWORDS, why, findings),
            None => judged.judged(
                &rules::SSH_PASSWORDS,
                "the SSH server's configuration",
                findings,
            ),
        }
    }
    match openssh.map(|_| sshd::read(case.host)) {
        Some(Ok(lines)) => {
            let findings = lines
                .iter()
                .filter_map(|line| weak(line, service_of_openssh(case.host)))
                .collect();
            judged.judged(
                &rules::SSH_WEAK,
                format!("{} settings of sshd", lines.len()),
                findings,
            );
        }
        Some(Err(Unseen::Absent)) | None => {
            judged.judged(&rules::SSH_WEAK, "the server's own choice", Vec::new());
        }
        Some(Err(why)) => judged.unseen(&rules::SSH_WEAK, sshd::MAIN, &why),
    }
}

/// Servers of SSH, by the names of their services.
const SERVICES: [&str; 5] = ["ssh", "sshd", "dropbear", "openssh", "openssh-server"];

/// Where the profile has SSH off, no server starts or runs.
fn off(case: &Case<'_>, judged: &mut Judged) {
    if case.profile.credentials.ssh != Ssh::Off {
        return judged.does_not_apply(&rules::SSH_OFF, "the profile allows SSH with keys");
    }
    let all = match services::list(case.host) {
        Ok(all) => all,
        Err(why) => return judged.unseen(&rules::SSH_OFF, "the services", &why),
    };
    let on = all.iter().filter(|it| {
        let runs = it.runs() == Some(true);
        SERVICES.contains(&it.name.as_str()) && !it.masked && (it.enabled || runs)
    });
    let findings = on.map(|service| {
        let state = if service.runs() == Some(true) { "runs" } else { "is started at boot" };
        let what = format!("the SSH server `{}` {state}, and the profile has SSH off", service.name);
        let finding = Finding::of(&rules::SSH_OFF, format!("service {}", service.name), what)
            .seen(service.unit.to_string(), state);
        let Ok(name) = service.name.parse::<ServiceName>() else {
            return finding;
        };
        finding.mended_by(vec![Step::risky(
            Stage::Stop,
            Action::Service { name, change: ServiceChange::Mask },
            format!("Stop `{}` and keep it stopped", service.name),
            "Nobody can log in by SSH any more, whoever is logged in is cut off. The device's page and the console stay.",
        )])
    });
    judged.judged(
        &rules::SSH_OFF,
        format!("{} services", all.len()),
        findings.collect(),
    );
}

/// What taking passwords away could break.
pub(super) struct Keep {
    risk: String,
    ways: bool,
}

impl Keep {
    pub(super) fn mended(
        &self,
        finding: Finding,
        service: &str,
        edit: Action,
        says: String,
    ) -> Finding {
        if !self.ways {
            return Finding {
                remedy: Remedy::Person(
                    "No account has an SSH key and none that the profile names has a password: put a key into ~/.ssh/authorized_keys first.".to_owned(),
                ),
                ..finding
            };
        }
        let mut steps = vec![Step::risky(Stage::Change, edit, says, self.risk.clone())];
        steps.extend(reload(service));
        finding.mended_by(steps)
    }
}

pub(super) fn reload(service: &str) -> Option<Step> {
    let name: ServiceName = service.parse().ok()?;
    let says = format!("Make `{service}` read its configuration");
    let change = ServiceChange::Reload;
    Some(Step::safe(
        Stage::Restart,
        Action::Service { name, change },
        says,
    ))
}

fn risk(host: &dyn Host, accounts: Option<&Accounts>) -> String {
    let all = accounts.iter().flat_map(|it| &it.all);
    let keyed: Vec<_> = all
        .filter(|it| it.has_shell() && !accounts::authorized_keys(host, it).is_empty())
        .map(|it| format!("`{}`", it.name))
        .collect();
    if keyed.is_empty() {
        "No account has an SSH key: afterwards nobody can log in by SSH. The device's page and the console stay.".to_owned()
    } else {
        format!(
            "Whoever logs in by SSH with a password can not any more; the keys of {} go on working.",
            keyed.join(", ")
        )
    }
}

fn first_there(host: &dyn Host, paths: &[&'static str]) -> Option<&'static str> {
    let mut paths = paths.iter();
    paths
        .find(|path| host.entry(&HostPath::of(path)).is_ok())
        .copied()
}

/// Debian calls the service `ssh`, everybody else `sshd`.
pub(super) fn service_of_openssh(host: &dyn Host) -> &'static str {
    let debian = [
        "/lib/systemd/system/ssh.service",
        "/usr/lib/systemd/system/ssh.service",
        "/etc/init.d/ssh",
    ];
    if first_there(host, &debian).is_some() {
        "ssh"
    } else {
        "sshd"
    }
}

fn openssh_passwords(host: &dyn Host, lines: &[Line], keep: &Keep) -> Vec<Finding> {
    let mut findings = Vec::new();
    let service = service_of_openssh(host);
    for (keyword, default, right) in SETTINGS {
        let of_it = lines.iter().filter(|line| {
            let alias = line.keyword == "challengeresponseauthentication"
                && keyword == "KbdInteractiveAuthentication";
            line.keyword.eq_ignore_ascii_case(keyword) || alias
        });
        let wrong = |value: &str| !right.iter().any(|it| it.eq_ignore_ascii_case(value));
        let first = of_it.clone().find(|line| !line.conditional);
        if first.is_none() && wrong(default) {
            let what = format!(
                "sshd lets people in with a password: `{keyword}` is not set, and `{default}` without it"
            );
            let finding = Finding::of(&rules::SSH_PASSWORDS, format!("sshd {keyword}"), what)
                .seen(sshd::MAIN, "nothing is said");
            let set = format!("{keyword} {}", right.first().copied().unwrap_or_default());
            let edit = insert(host, keyword, &set);
            findings.push(keep.mended(
                finding,
                service,
                edit,
                format!("Set `{set}` in {}", sshd::MAIN),
            ));
        }
        let conditional = of_it.clone().filter(|line| line.conditional);
        for line in first
            .into_iter()
            .chain(conditional)
            .filter(|line| wrong(&line.value))
        {
            let place = line.place();
            let what = format!(
                "sshd lets people in with less than a key: `{keyword} {}`",
                line.value
            );
            let subject = if line.conditional {
                format!("sshd {keyword} {}", line.path)
            } else {
                format!("sshd {keyword}")
            };
            let finding =
                Finding::of(&rules::SSH_PASSWORDS, subject, what).seen(&place, line.text.trim());
            let set = format!("{keyword} {}", right.first().copied().unwrap_or_default());
            let edit = exchange(line, &set);
            findings.push(keep.mended(finding, service, edit, format!("Set `{set}` in {place}")));
        }
    }
    findings
}

/// Exchanges a line, keeping how far it is indented.
fn exchange(line: &Line, set: &str) -> Action {
    let indent: String = line
        .text
        .chars()
        .take_while(|c| c.is_whitespace())
        .collect();
    Action::Edit {
        path: line.path.clone(),
        replace: vec![(line.text.clone(), vec![format!("{indent}{set}")])],
        append: Vec::new(),
    }
}

/// Sets what is not set: in place of the comment that shows it, else before the first line that stands there only once and that
/// no other step exchanges. What comes first counts, and no `Match` block stands above.
fn insert(host: &dyn Host, keyword: &str, set: &str) -> Action {
    let path = HostPath::of(sshd::MAIN);
    let bytes = host.read(&path, 1 << 20).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let once = |line: &&str| text.lines().filter(|it| it == line).count() == 1;
    let says = |line: &str, word: &str| {
        let said = line.trim_start().trim_start_matches('#');
        let said = said.split(|c: char| c.is_whitespace() || c == '=').next();
        said.is_some_and(|said| said.eq_ignore_ascii_case(word))
    };
    let conditional = text
        .lines()
        .position(|line| !line.trim_start().starts_with('#') && says(line, "match"));
    let top = || text.lines().take(conditional.unwrap_or(usize::MAX));
    let shown = top().find(|line| line.starts_with('#') && says(line, keyword) && once(line));
    let set = set.to_owned();
    let before = |line: &str| vec![(line.to_owned(), vec![set.clone(), line.to_owned()])];
    let kept = |line: &&str| {
        let keywords = SETTINGS.iter().map(|(word, ..)| *word).chain(LISTS);
        let mut others = keywords.chain(["ChallengeResponseAuthentication", "Protocol"]);
        once(line) && !others.any(|word| says(line, word))
    };
    let (replace, append) = match (shown, conditional) {
        (Some(line), _) => (vec![(line.to_owned(), vec![set])], Vec::new()),
        (None, Some(at)) => {
            let mut lines = text.lines().take(at.saturating_add(1));
            // If another step takes the line, this one waits for the next plan.
            let found = lines
                .clone()
                .find(kept)
                .or_else(|| lines.clone().find(once));
            let line = found.or_else(|| lines.next());
            (line.map(before).unwrap_or_default(), Vec::new())
        }
        (None, None) => match text.lines().find(kept) {
            Some(line) => (before(line), Vec::new()),
            None => (Vec::new(), vec![set]),
        },
    };
    Action::Edit {
        path,
        replace,
        append,
    }
}

fn weak(line: &Line, service: &str) -> Option<Finding> {
    let (old, rest): (Vec<&str>, Vec<&str>) = if line.keyword == "protocol" {
        (
            line.value
                .split(',')
                .filter(|it| it.trim() == "1")
                .collect(),
            Vec::new(),
        )
    } else if LISTS.contains(&line.keyword.as_str()) && !line.value.starts_with('-') {
        let value = line.value.trim_start_matches(['+', '^']);
        value.split(',').map(str::trim).partition(|it| is_weak(it))
    } else {
        return None;
    };
    if old.is_empty() {
        return None;
    }
    let keyword = line.text.split_whitespace().next().unwrap_or_default();
    let what = format!(
        "sshd accepts algorithms that are broken: {} in `{keyword}`",
        old.join(", ")
    );
    let finding = Finding::of(&rules::SSH_WEAK, format!("sshd {}", line.keyword), what)
        .seen(line.place(), line.text.trim());
    let sign: String = line
        .value
        .chars()
        .take(1)
        .filter(|c| matches!(c, '+' | '^'))
        .collect();
    let (kept, says) = if rest.is_empty() {
        (
            Vec::new(),
            format!(
                "Remove `{keyword}` from {}: what sshd chooses itself is right",
                line.place()
            ),
        )
    } else {
        (
            vec![format!("{keyword} {sign}{}", rest.join(","))],
            format!(
                "Take {} from `{keyword}` in {}",
                old.join(", "),
                line.place()
            ),
        )
    };
    let edit = Action::Edit {
        path: line.path.clone(),
        replace: vec![(line.text.clone(), kept)],
        append: Vec::new(),
    };
    let mut steps = vec![Step::risky(
        Stage::Change,
        edit,
        says,
        "Very old SSH programs can not connect any more.",
    )];
    steps.extend(reload(service));
    Some(finding.mended_by(steps))
}
