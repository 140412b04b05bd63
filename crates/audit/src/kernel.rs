//! How the kernel was configured: found in kernels (`CONFIG_IKCONFIG`) and beside them, and judged.
//!
//! What is asked for follows the kernel's own `kernel/configs/hardening.config` and the recommendations of the Kernel
//! Self-Protection Project, as far as they cost nothing that a device needs.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

mod rules;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use stockade_controls::engine::{Confidence, Finding, Outcome, Rule, Verdict};

use wanted::{WANTED, Wanted};

/// What stands before a configuration in a kernel, which is gzip (`kernel/configs.c`).
pub(crate) const EMBEDDED: &[u8] = b"IKCFG_ST\x1f\x8b";
/// The longest configuration in bytes; those of distributions have 300,000.
const MOST: usize = 4 << 20;
/// The most settings that a finding names.
const MOST_NAMED: usize = 20;

/// The rules, in the order of a report.
pub(crate) fn rules() -> &'static [&'static Rule] {
    rules::ALL
}

/// A kernel's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Where it was found.
    pub(crate) place: String,
    /// As the kernel calls it: `x86`, `arm64`, `mips`.
    architecture: String,
    /// `6.1.119`, and the first two numbers of it.
    release: String,
    version: (u32, u32),
    /// What is on, or has a value; those that are judged only.
    settings: BTreeMap<&'static str, String>,
}

/// The configuration that a file is, or that its bytes behind [`EMBEDDED`] are.
pub(crate) fn read(content: &[u8], place: &str) -> Option<Kernel> {
    let head = content.get(..content.len().min(400))?;
    let head = head
        .starts_with(b"#")
        .then(|| String::from_utf8_lossy(head))?;
    // `# Linux/arm64 5.10.0 Kernel Configuration`; before 2.6.38 `# Linux kernel version: 2.6.36`.
    let new = head.lines().find_map(|line| {
        let line = line.strip_prefix("# Linux/")?;
        line.strip_suffix(" Kernel Configuration")?.split_once(' ')
    });
    let old = || {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("# Linux kernel version: "));
        line.map(|release| ("", release))
    };
    let (architecture, release) = new.or_else(old)?;
    let mut numbers = release
        .split(|it: char| !it.is_ascii_digit())
        .map_while(|it| it.parse().ok());
    let version = (numbers.next()?, numbers.next().unwrap_or(0));
    let text = String::from_utf8_lossy(content.get(..content.len().min(MOST))?);
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        let line = line
            .strip_prefix("CONFIG_")
            .and_then(|line| line.split_once('='));
        let Some((name, value)) = line else {
            continue;
        };
        if let Some(name) = wanted::known(name) {
            settings.insert(name, value.chars().take(100).collect());
        }
    }
    Some(Kernel {
        place: place.to_owned(),
        architecture: architecture.to_owned(),
        release: release.chars().take(60).collect(),
        version,
        settings,
    })
}

/// The configuration in a kernel, of which [`EMBEDDED`] is at a place.
pub(crate) fn embedded(content: &[u8], at: usize, place: &str) -> Option<Kernel> {
    let packed = content.get(at.checked_add(8)?..)?;
    let most = u64::try_from(MOST).unwrap_or(u64::MAX);
    let mut reader = flate2::read::GzDecoder::new(packed).take(most);
    // What does not begin as one is not unpacked; what is cut off or broken is not judged as if it were whole.
    let mut text = vec![0; 512];
    reader.read_exact(&mut text).ok()?;
    read(&text, place)?;
    reader.read_to_end(&mut text).ok()?;
    read(&text, &format!("{place} at {at:#x}"))
}

/// Judges all that were found.
pub(crate) fn judge(kernels: &[Kernel]) -> Vec<Outcome> {
    let outcome = |rule: &'static Rule| {
        if kernels.is_empty() {
            let why = "no configuration of a kernel was found, in it or beside it";
            return Verdict::DoesNotApply(why.to_owned());
        }
        let mut findings: Vec<Finding> = Vec::new();
        for kernel in kernels {
            let finding = kernel.finding(rule);
            // The same is often found in a kernel and beside it.
            let new = |it: &Finding| {
                findings
                    .iter()
                    .all(|other| (&other.subject, &other.what) != (&it.subject, &it.what))
            };
            findings.extend(finding.filter(new));
        }
        if findings.is_empty() {
            let releases: BTreeSet<_> = kernels.iter().map(|it| it.release.as_str()).collect();
            let releases: Vec<_> = releases.into_iter().collect();
            return Verdict::Passed(format!("kernel {}", releases.join(", ")));
        }
        Verdict::Broken(findings)
    };
    let rules = rules::ALL.iter();
    rules
        .map(|rule| Outcome {
            rule,
            verdict: outcome(rule),
        })
        .collect()
}

impl Kernel {
    fn finding(&self, rule: &'static Rule) -> Option<Finding> {
        let mine = WANTED
            .iter()
            .filter(|it| it.rule.id == rule.id && self.concerns(it));
        let wrong: Vec<&Wanted> = mine.clone().filter(|it| !self.meets(it)).collect();
        let worst = wrong.first()?;
        let (of, count) = (mine.count(), wrong.len());
        let subject = format!("kernel {}", self.release);
        let what = format!(
            "{count} of {of} settings of {subject} are not as they should be: {}",
            worst.why
        );
        let mut finding = Finding::of(rule, subject, what);
        finding.confidence = Confidence::Medium;
        for it in wrong.iter().take(MOST_NAMED) {
            let name = it.names.first().copied().unwrap_or_default();
            let seen = match self.settings.get(name) {
                Some(value) => format!("CONFIG_{name}={value}: {}", it.why),
                None => format!("CONFIG_{name} is not set: {}", it.why),
            };
            finding = finding.seen(self.place.as_str(), seen);
        }
        Some(finding)
    }

    /// Whether a kernel of this version and architecture has the setting at all.
    fn concerns(&self, wanted: &Wanted) -> bool {
        let here = wanted.architectures.is_empty()
            || wanted.architectures.contains(&self.architecture.as_str());
        here && wanted.versions.contains(&self.version)
    }

    fn meets(&self, wanted: &Wanted) -> bool {
        let mut values = wanted.names.iter().filter_map(|name| self.value(name));
        let idle = |name: &&str| self.value(name).is_none();
        if wanted.unless.iter().any(idle) {
            return true;
        }
        match wanted.least {
            Some(least) => values.any(|it| it.parse().is_ok_and(|it: u64| it >= least)),
            None => values.any(|it| it == "y" || it == "m") == wanted.on,
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
