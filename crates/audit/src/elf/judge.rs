//! What the facts about all files of an image break.

use std::collections::BTreeMap;

use stockade_controls::engine::{Confidence, Finding, Outcome, Rule, Severity, Verdict};

use super::rules::{CANARY, CODE, FORTIFY, JUMPS, MODULES, PIE, RELRO, SEARCH, STACK};
use super::{Elf, Relro, What};

/// The most files that a finding names.
const MOST: usize = 10;

/// A file, and how it was built.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// Where it is.
    pub(crate) place: String,
    /// Its permission bits.
    pub(crate) mode: u32,
    pub(crate) elf: Elf,
}

impl Built {
    /// Whether it gets rights that who starts it has not.
    fn raised(&self) -> bool {
        self.mode & 0o6000 != 0
    }

    fn program(&self) -> bool {
        matches!(self.elf.what, What::Program { .. })
    }
}

/// A rule: what breaks it in words, and in a file.
type Test = (&'static Rule, &'static str, fn(&Elf) -> Option<String>);

const TESTS: [Test; 8] = [
    (&STACK, "a stack that can be run", |elf| {
        elf.stack_runs.then(|| "executable stack".to_owned())
    }),
    (
        &SEARCH,
        "a path for libraries where others may put them",
        |elf| {
            let mut paths = elf.search.iter().flat_map(|it| it.split(':'));
            let bad = paths.find(|it| !is_safe(it))?;
            Some(format!("looks in `{}`", bad.escape_debug()))
        },
    ),
    (
        &PIE,
        "a program that always lies in one place of memory",
        |elf| match elf.what {
            What::Program {
                anywhere: false,
                whole,
            } => {
                let how = if whole {
                    ", with its libraries in it"
                } else {
                    ""
                };
                Some(format!("no PIE{how}"))
            }
            _ => None,
        },
    ),
    (&CANARY, "no canaries on the stack", |elf| {
        (elf.canary == Some(false)).then(|| "no __stack_chk_fail".to_owned())
    }),
    (
        &RELRO,
        "tables of addresses that can be written",
        |elf| match elf.relro {
            Relro::None => Some("no RELRO".to_owned()),
            Relro::Partial => Some("partial RELRO".to_owned()),
            Relro::Full => None,
        },
    ),
    (&FORTIFY, "copies without checks of lengths", |elf| {
        let (checked, could) = elf.fortified;
        let bad = checked == 0 && could > 0 && !elf.plain_libc;
        bad.then(|| format!("{could} functions of the C library without a check"))
    }),
    (&CODE, "code that is changed when it is loaded", |elf| {
        elf.code_changes.then(|| "TEXTREL".to_owned())
    }),
    (&JUMPS, "no guards of jumps", |elf| {
        (elf.guarded == Some(false)).then(|| "neither CFI nor BTI and PAC nor CET".to_owned())
    }),
];

/// Judges them, rule by rule; `unread` says why not all files could be looked at.
pub(crate) fn judge(all: &[Built], unread: Option<&str>) -> Vec<Outcome> {
    let mut found = BTreeMap::new();
    for finding in findings(all) {
        found.insert(finding.rule.id, finding);
    }
    let outcome = |rule: &'static Rule| {
        let finding = found.get(rule.id).cloned();
        let modules = rule.id == MODULES.id;
        let count = all.iter().filter(|it| match it.elf.what {
            What::Module { .. } => modules,
            // Some processors have no guards.
            _ if rule.id == JUMPS.id => it.elf.guarded.is_some(),
            What::Program { .. } | What::Library => !modules,
            What::Other => false,
        });
        let verdict = match (unread, finding, count.count()) {
            (Some(why), finding, _) => Verdict::CannotTell(why.to_owned(), Vec::from_iter(finding)),
            (None, Some(finding), _) => Verdict::Broken(vec![finding]),
            (None, None, 0) => Verdict::DoesNotApply("there are none".to_owned()),
            (None, None, count) => Verdict::Passed(format!("{count} files")),
        };
        Outcome { rule, verdict }
    };
    super::rules().iter().map(|rule| outcome(rule)).collect()
}

/// One finding a rule, which tells how many there are and names those that matter most.
fn findings(all: &[Built]) -> Vec<Finding> {
    let machine = machine(all);
    let runs: Vec<&Built> = all.iter().filter(|it| runs(it, machine)).collect();
    let mut findings = Vec::new();
    for (rule, what, bad) in TESTS {
        let found = runs.iter().filter_map(|it| Some((*it, bad(&it.elf)?)));
        findings.extend(finding(rule, what, runs.len(), found.collect()));
    }
    let modules = all.iter().filter_map(|it| match &it.elf.what {
        What::Module { signed, version } => Some((it, *signed, version)),
        _ => None,
    });
    let count = modules.clone().count();
    let unsigned = modules
        .filter(|(_, signed, _)| !signed)
        .map(|(it, _, version)| (it, format!("not signed; for {version}")));
    let what = "a kernel module without a signature";
    findings.extend(finding(&MODULES, what, count, unsigned.collect()));
    findings
}

/// The processor that most of the programs are for; what is for others is firmware of parts of the device.
fn machine(all: &[Built]) -> Option<u16> {
    let mut counts = BTreeMap::new();
    for it in all.iter().filter(|it| it.elf.what != What::Other) {
        let count: &mut u64 = counts.entry(it.elf.machine).or_default();
        *count = count.saturating_add(1);
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(machine, _)| machine)
}

/// Whether it runs in this system.
fn runs(built: &Built, machine: Option<u16>) -> bool {
    // x86-64 runs i386, AArch64 runs ARM.
    let same = Some(built.elf.machine) == machine
        || matches!(
            (built.elf.machine, machine),
            (3, Some(62)) | (40, Some(183))
        );
    same && matches!(built.elf.what, What::Program { .. } | What::Library)
        && !built.place.contains("/firmware/")
}

/// Whether nobody but root can put a library there.
fn is_safe(path: &str) -> bool {
    const OPEN: [&str; 7] = [
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/home",
        "/run/user",
        "/mnt",
        "/media",
    ];
    // Beside the program, or where root alone writes.
    let own = path == "$ORIGIN" || path.starts_with("$ORIGIN/") || path.starts_with("${ORIGIN}");
    let open = |it: &str| path == it || path.starts_with(&format!("{it}/"));
    own || (path.starts_with('/') && !OPEN.iter().any(|it| open(it)))
}

fn finding(
    rule: &'static Rule,
    what: &str,
    of: usize,
    mut found: Vec<(&Built, String)>,
) -> Option<Finding> {
    // Those with more rights first, programs before libraries.
    found.sort_by_key(|(it, _)| (!it.raised(), !it.program()));
    let (first, _) = found.first()?;
    let (first, count) = (&first.place, found.len());
    let raised = found.iter().filter(|(it, _)| it.raised()).count();
    let more = match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more of {of} files"),
    };
    let rights = match raised {
        0 => String::new(),
        raised => format!("; {raised} with rights that who starts it has not"),
    };
    let text = format!("{what}: {first}{more}{rights}");
    let mut finding = Finding::of(rule, "programs", text);
    if raised > 0 && finding.severity == Severity::Medium {
        finding.severity = Severity::High;
    }
    // Small programs have nothing to check.
    if rule.id == CANARY.id || rule.id == FORTIFY.id {
        finding.confidence = Confidence::Medium;
    }
    for (it, seen) in found.iter().take(MOST) {
        finding = finding.seen(it.place.as_str(), seen.as_str());
    }
    Some(finding)
}
