//! Verdicts on what was found.

use std::collections::BTreeMap;

use stockade_controls::engine::{
    Confidence, Evidence, Finding, Outcome, Remedy, Rule, UnixSeconds, Verdict,
};

use crate::component::Kind;
use crate::db::days_ago;
use crate::matching::{Checked, Known, Vulnerable, some_of};
use crate::rules;
use crate::vex::Standing;

/// The rules about known vulnerabilities, in the order of a report.
pub const RULES: &[&Rule] = rules::ALL;

/// How old data may be before that is a finding.
pub const DAYS: u64 = 30;
/// The most vulnerabilities that one finding has as evidence, the worst first.
const MOST: usize = 200;

/// Verdicts where nothing was asked: never an all-clear. `why` is what is missing, or who did not want it.
pub fn not_run(why: &str, wanted: bool) -> Vec<Outcome> {
    let outcome = |rule: &'static Rule| {
        let why = format!("not run: {why}");
        let verdict = if wanted {
            Verdict::CannotTell(why, Vec::new())
        } else {
            Verdict::DoesNotApply(why)
        };
        Outcome { rule, verdict }
    };
    RULES.iter().map(|rule| outcome(rule)).collect()
}

/// Verdicts on an inventory that was held against data.
pub fn judge(checked: &Checked, now: UnixSeconds, days: u64) -> Vec<Outcome> {
    let all = &checked.vulnerable;
    let known = all
        .iter()
        .filter_map(|it| finding(it, &rules::KNOWN, |_| true));
    let exploited = |it: &Known| it.exploited.is_some();
    let used = all
        .iter()
        .filter_map(|it| finding(it, &rules::EXPLOITED, exploited));
    vec![
        outcome(&rules::KNOWN, checked, known.collect()),
        exploits(checked, used.collect()),
        end_of_life(checked, now),
        data(checked, now, days),
    ]
}

fn outcome(rule: &'static Rule, checked: &Checked, findings: Vec<Finding>) -> Outcome {
    let unchecked = checked.unchecked.iter();
    let unchecked: Vec<String> = unchecked
        .map(|(what, why)| format!("{what}: {why}"))
        .collect();
    let verdict = if !unchecked.is_empty() {
        Verdict::CannotTell(format!("not checked: {}", unchecked.join("; ")), findings)
    } else if !findings.is_empty() {
        Verdict::Broken(findings)
    } else if checked.checked == 0 {
        Verdict::CannotTell("no software was recognised".to_owned(), findings)
    } else {
        Verdict::Passed(looked_at(checked))
    };
    Outcome { rule, verdict }
}

fn exploits(checked: &Checked, findings: Vec<Finding>) -> Outcome {
    let rule = &rules::EXPLOITED;
    let has = checked.sources.iter().any(|it| it.form == "kev");
    if !has {
        let why = "not run: no list of exploited vulnerabilities (KEV) was imported";
        let verdict = Verdict::DoesNotApply(why.to_owned());
        return Outcome { rule, verdict };
    }
    outcome(rule, checked, findings)
}

fn looked_at(checked: &Checked) -> String {
    let asked = checked
        .asked
        .iter()
        .map(|(name, day)| format!("{name} of {day}"));
    let asked: Vec<String> = asked.collect();
    let silenced = checked.vulnerable.iter().flat_map(|it| &it.known);
    let silenced = silenced.filter(|it| it.is_silenced()).count();
    let vex = match silenced {
        0 => String::new(),
        count => format!("; {count} that do no harm here, by VEX"),
    };
    let count = match checked.checked {
        1 => "one component".to_owned(),
        count => format!("{count} components"),
    };
    format!("{count}, by {}{vex}", asked.join(", "))
}

/// One finding for what is there of one source, if any of its vulnerabilities counts.
fn finding(
    of: &Vulnerable,
    rule: &'static Rule,
    counts: impl Fn(&Known) -> bool,
) -> Option<Finding> {
    let counts = |it: &&Known| counts(it) && !it.is_silenced();
    let mut known: Vec<&Known> = of.known.iter().filter(counts).collect();
    // The worst first.
    known.sort_by(|a, b| {
        let tenths = |it: &Known| it.score.as_ref().map(|it| it.tenths);
        let key = |it: &Known| (it.exploited.is_some(), it.severity, tenths(it), it.likely);
        key(b).cmp(&key(a)).then_with(|| a.cve.cmp(&b.cve))
    });
    Some(Finding {
        rule,
        // Two versions of one library in an image are two findings.
        subject: format!("{} {}", of.name.escape_debug(), of.version.escape_debug()),
        what: what(of, &known),
        // What is exploited is critical, whatever its score.
        severity: known.iter().map(|it| it.severity).max()?,
        confidence: known.iter().map(|it| it.confidence).max()?,
        evidence: evidence(of, &known),
        remedy: Remedy::Person(advice(of, &known)),
    })
}

fn what(of: &Vulnerable, known: &[&Known]) -> String {
    let names: Vec<&str> = known.iter().take(3).map(|it| it.cve.as_str()).collect();
    let more = match known.len().saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = match known.len() {
        1 => "a known vulnerability".to_owned(),
        count => format!("{count} known vulnerabilities"),
    };
    let (name, version) = (of.name.escape_debug(), of.version.escape_debug());
    format!("{name} {version} has {count}: {}{more}", names.join(", "))
}

fn evidence(of: &Vulnerable, known: &[&Known]) -> Vec<Evidence> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for it in &of.components {
        places.entry(&it.place).or_default().push(&it.name);
    }
    let seen = |(place, names): (&str, Vec<&str>)| {
        let names = some_of(&names);
        Evidence::at(
            place,
            format!("{} {}", names.escape_debug(), of.version.escape_debug()),
        )
    };
    let mut places = places.into_iter().map(seen);
    // Where it is, the worst, and where else it is.
    let mut all: Vec<Evidence> = places.next().into_iter().collect();
    let worst = known.iter().take(MOST);
    all.extend(worst.map(|it| Evidence::at(it.cve.clone(), spoken(it))));
    let left = known.len().saturating_sub(MOST);
    if left > 0 {
        let what = format!("{left} that are less bad are not listed here");
        all.push(Evidence::at("and more", what));
    }
    all.extend(places);
    all
}

fn advice(of: &Vulnerable, known: &[&Known]) -> String {
    let name = of.name.escape_debug();
    let left = known.iter().filter(|it| it.fixed.is_none()).count();
    let mut all = match (highest(known, of), left) {
        (Some(fix), 0) => format!("Update {name} to {} or later.", fix.escape_debug()),
        (Some(fix), left) => format!(
            "Update {name} to {} or later. For {left} of them no fixed version is known.",
            fix.escape_debug()
        ),
        (None, _) => "No fixed version is known: watch for one, and keep what it does out of reach until then.".to_owned(),
    };
    if known.iter().any(|it| it.confidence == Confidence::Low) {
        all.push_str(
            " Only its version tells: a fix that was brought back to this version is not seen.",
        );
    }
    all
}

/// The highest of the versions that mend.
fn highest(known: &[&Known], of: &Vulnerable) -> Option<String> {
    let scheme = match of.components.first()?.kind {
        Kind::Dpkg => crate::Scheme::Debian,
        Kind::Rpm => crate::Scheme::Rpm,
        Kind::Apk => crate::Scheme::Apk,
        Kind::Opkg | Kind::Detected | Kind::Listed => crate::Scheme::Generic,
    };
    let all = known.iter().filter_map(|it| it.fixed.clone());
    all.reduce(|a, b| match scheme.compare(&a, &b) {
        Some(std::cmp::Ordering::Less) => b,
        _ => a,
    })
}

/// What is known of a vulnerability, as half a sentence.
fn spoken(it: &Known) -> String {
    let mut all = vec![it.severity.to_string()];
    if let Some(score) = &it.score {
        all.push(format!("CVSS {} ({})", score.text(), score.vector));
    }
    if let Some((added, ransomware)) = &it.exploited {
        let by = if *ransomware {
            ", by ransomware too"
        } else {
            ""
        };
        all.push(format!("used in the wild, listed {added}{by}"));
    }
    if let Some((score, percentile)) = it.likely {
        let percent =
            |millionths: u32| format!("{}.{}", millionths / 10_000, millionths / 1_000 % 10);
        all.push(format!(
            "EPSS {} %, above {} % of all",
            percent(score),
            percent(percentile)
        ));
    }
    all.push(match &it.fixed {
        Some(fixed) => format!("fixed in {}", fixed.escape_debug()),
        None => "no fixed version known".to_owned(),
    });
    let advisories: Vec<&str> = it
        .advisories
        .iter()
        .map(String::as_str)
        .filter(|id| *id != it.cve)
        .collect();
    if !advisories.is_empty() {
        all.push(advisories.join(" "));
    }
    if let Some(claim) = it
        .claim
        .as_ref()
        .filter(|it| it.standing == Standing::Investigated)
    {
        all.push(format!("under investigation by {}", claim.by));
    }
    if !it.summary.is_empty() {
        all.push(it.summary.clone());
    }
    all.join("; ")
}

fn end_of_life(checked: &Checked, now: UnixSeconds) -> Outcome {
    let rule = &rules::END_OF_LIFE;
    let (mut findings, mut fine, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (name, until) in &checked.support {
        let Some(until) = until else {
            unknown.push(format!("{name} is not in the list of releases"));
            continue;
        };
        match days_ago(until, now) {
            Some(0) | None => fine.push(format!("{name} until {until}")),
            Some(days) => {
                let what =
                    format!("{name} is not supported any more since {until}, for {days} days");
                findings.push(
                    Finding::of(rule, name.clone(), what)
                        .seen("the list of releases", until.clone()),
                );
            }
        }
    }
    let verdict = if !unknown.is_empty() {
        Verdict::CannotTell(unknown.join("; "), findings)
    } else if !findings.is_empty() {
        Verdict::Broken(findings)
    } else if fine.is_empty() {
        Verdict::DoesNotApply(
            "not run: no list of this distribution's releases was imported".to_owned(),
        )
    } else {
        Verdict::Passed(fine.join(", "))
    };
    Outcome { rule, verdict }
}

fn data(checked: &Checked, now: UnixSeconds, most: u64) -> Outcome {
    let rule = &rules::DATA;
    let kev = checked.sources.iter().filter(|it| it.form == "kev");
    let kev = kev.map(|it| ("KEV".to_owned(), it.newest.clone()));
    let asked = checked.asked.clone().into_iter().chain(kev);
    let (mut findings, mut fine) = (Vec::new(), Vec::new());
    for (name, newest) in asked {
        let age = days_ago(&newest, now);
        if age.is_some_and(|age| age <= most) {
            fine.push(format!("{name} of {newest}"));
            continue;
        }
        let age = age.map_or_else(
            || "of no known day".to_owned(),
            |age| format!("{age} days old"),
        );
        let what = format!("the data of {name} is {age}: what was published since is not found");
        findings.push(Finding::of(rule, name, what).seen("the newest record", newest));
    }
    let verdict = if !findings.is_empty() {
        Verdict::Broken(findings)
    } else if fine.is_empty() {
        Verdict::DoesNotApply("not run: no data was asked".to_owned())
    } else {
        Verdict::Passed(fine.join(", "))
    };
    Outcome { rule, verdict }
}
