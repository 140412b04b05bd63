//! Software held against advisories.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use stockade_controls::engine::{Confidence, Severity};

use crate::advisory::{Advisory, Affected, Answer};
use crate::component::{Component, Kind};
use crate::db::{Db, DbError, Row, Source};
use crate::ecosystem::{Question, questions};
use crate::inventory::Inventory;
use crate::read::{CPE, word};
use crate::score::Score;
use crate::vex::{Claim, Standing};

/// A vulnerability of something that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name: a CVE's where it has one.
    pub cve: String,
    /// What says so.
    pub advisories: BTreeSet<String>,
    /// The lowest version above the one that is there which is not affected; none if there is none yet.
    pub fixed: Option<String>,
    /// One line about it; empty if nobody wrote one.
    pub summary: String,
    /// How bad it is.
    pub severity: Severity,
    /// Its score, where somebody gave one.
    pub score: Option<Score>,
    /// Since when it is known to be used, and whether by ransomware (KEV).
    pub exploited: Option<(String, bool)>,
    /// How likely it is to be used within thirty days, and the part of all that are less likely, in millionths (EPSS).
    pub likely: Option<(u32, u32)>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What is said of it in the VEX documents that were given.
    pub claim: Option<Claim>,
}

impl Known {
    /// Whether somebody who was given a say says that it does no harm here.
    pub fn is_silenced(&self) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|claim| matches!(claim.standing, Standing::NotAffected | Standing::Fixed))
    }
}

/// Software with vulnerabilities: packages of one source together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vulnerable {
    /// The source's name, or the software's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What is there of it.
    pub components: Vec<Component>,
    /// Its vulnerabilities, by name.
    pub known: Vec<Known>,
}

/// What became of holding an inventory against the data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What has vulnerabilities.
    pub vulnerable: Vec<Vulnerable>,
    /// How many components were asked for.
    pub checked: usize,
    /// What could not be asked for, and why.
    pub unchecked: Vec<(String, String)>,
    /// The data that was asked, with the newest day of each.
    pub asked: BTreeMap<String, String>,
    /// Everything that was imported.
    pub sources: Vec<Source>,
    /// Each distribution that is there, and until when it is supported; the second is none where no data knows the release.
    pub support: Vec<(String, Option<String>)>,
    /// Claims of VEX documents that speak of nothing that is there.
    pub unused: usize,
}

/// The most names of components that a sentence has.
const NAMED: usize = 5;

/// Holds what is there against what is known.
pub fn check(db: &Db, inventory: &Inventory, claims: &[Claim]) -> Result<Checked, DbError> {
    let known = db.ecosystems()?;
    let mut all = Checked {
        sources: db.sources()?,
        ..Checked::default()
    };
    let mut found: BTreeMap<(Kind, &str, &str), Vulnerable> = BTreeMap::new();
    let mut silent: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut scores = Scores::default();
    let mut answers: BTreeMap<Vec<Question>, (Vec<Known>, Option<String>)> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for component in &inventory.components {
        if is_text(component) {
            all.checked = all.checked.saturating_add(1);
            continue;
        }
        let (name, version) = component.spoken();
        let wrong = match questions(component, &known) {
            Err(why) => Some(why),
            Ok(questions) => {
                // Packages of one source are one question.
                if !answers.contains_key(&questions) {
                    let answer = ask(db, &questions, &mut scores)?;
                    answers.insert(questions.clone(), answer);
                }
                let (vulnerabilities, wrong) = answers.get(&questions).cloned().unwrap_or_default();
                for question in questions {
                    let newest = known.get(&question.ecosystem).cloned().unwrap_or_default();
                    all.asked.insert(question.ecosystem, newest);
                }
                let of = found
                    .entry((component.kind, name, version))
                    .or_insert_with(|| Vulnerable {
                        name: name.to_owned(),
                        version: version.to_owned(),
                        components: Vec::new(),
                        known: Vec::new(),
                    });
                of.components.push(component.clone());
                for mut it in vulnerabilities {
                    it.claim = claims
                        .iter()
                        .enumerate()
                        .rfind(|(_, claim)| claim.speaks_of(&it, component))
                        .map(|(at, claim)| {
                            used.insert(at);
                            claim.clone()
                        });
                    merge(&mut of.known, it);
                }
                wrong
            }
        };
        match wrong {
            Some(why) => silent.entry(why).or_default().push(&component.name),
            None => all.checked = all.checked.saturating_add(1),
        }
    }
    all.unused = claims.len().saturating_sub(used.len());
    all.unchecked = silent
        .into_iter()
        .map(|(why, names)| (some_of(&names), why))
        .collect();
    all.unchecked.extend(inventory.unread.iter().cloned());
    all.vulnerable = found
        .into_values()
        .filter(|it| !it.known.is_empty())
        .collect();
    all.vulnerable
        .sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    all.support = support(db, inventory)?;
    Ok(all)
}

/// The first of these names, and how many more there are.
pub(crate) fn some_of(names: &[&str]) -> String {
    let first = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn support(db: &Db, inventory: &Inventory) -> Result<Vec<(String, Option<String>)>, DbError> {
    let of = inventory.components.iter().map(|it| &it.distribution);
    let of: BTreeSet<_> = of.chain([&inventory.distribution]).flatten().collect();
    let mut all = Vec::new();
    for it in of {
        let (until, known) = db.supported(&it.id, &it.version)?;
        if known {
            all.push((format!("{} {}", it.id, it.version), until));
        }
    }
    Ok(all)
}

/// Headers and manuals of a kernel: they have its name and version, and nothing of it that runs.
fn is_text(component: &Component) -> bool {
    const NAMES: [&str; 8] = [
        "linux-libc-dev",
        "linux-headers",
        "linux-kbuild",
        "linux-doc",
        "linux-source",
        "kernel-headers",
        "kernel-devel",
        "kernel-doc",
    ];
    let package = !matches!(component.kind, Kind::Detected | Kind::Listed);
    package && NAMES.iter().any(|it| component.name.starts_with(it))
}

/// A second telling of a vulnerability adds what the first does not say; how it stands is as bad as the worse of them, and one that is
/// not silenced counts.
fn merge(all: &mut Vec<Known>, it: Known) {
    let Some(there) = all.iter_mut().find(|there| there.cve == it.cve) else {
        let at = all.partition_point(|there| there.cve < it.cve);
        return all.insert(at, it);
    };
    if there.is_silenced() && !it.is_silenced() {
        there.claim = it.claim;
    }
    there.advisories.extend(it.advisories);
    there.severity = there.severity.max(it.severity);
    there.confidence = there.confidence.max(it.confidence);
    there.score = there.score.take().max(it.score);
    there.fixed = there.fixed.take().or(it.fixed);
    if there.summary.is_empty() {
        there.summary = it.summary;
    }
}

/// What the data says of a vulnerability by itself; asked once.
#[derive(Default)]
struct Scores(BTreeMap<String, About>);

struct About {
    vectors: Vec<String>,
    exploited: Option<(String, bool)>,
    likely: Option<(u32, u32)>,
}

impl Scores {
    fn of(&mut self, db: &Db, cve: &str) -> Result<&About, DbError> {
        Ok(match self.0.entry(cve.to_owned()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(About {
                vectors: db.vectors(cve)?,
                exploited: db.exploited(cve)?,
                likely: db.likely(cve)?,
            }),
        })
    }
}

/// All vulnerabilities that the answers to these questions name, and why it cannot be told, wholly or in part.
fn ask(
    db: &Db,
    questions: &[Question],
    scores: &mut Scores,
) -> Result<(Vec<Known>, Option<String>), DbError> {
    let (mut all, mut wrong, mut rows) = (Vec::new(), None, 0_usize);
    for question in questions {
        let mut told = db.rows(&question.ecosystem, &question.name)?;
        rows = rows.saturating_add(told.len());
        of_this_stream(&mut told, &question.version);
        for row in told {
            match row.affected.asks(&question.version, question.scheme) {
                Answer::Not => (),
                Answer::Unknown => {
                    wrong = Some(format!(
                        "a version that cannot be compared with that of {}",
                        row.advisory.id
                    ));
                }
                Answer::Affected(fixed) => {
                    for cve in &row.advisory.cves {
                        let about = scores.of(db, cve)?;
                        let it = known(cve, (&row.advisory, &row.affected), fixed.clone(), about);
                        let confidence = question.confidence;
                        merge(&mut all, Known { confidence, ..it });
                    }
                }
            }
        }
    }
    let by_name = questions.iter().all(|it| it.confidence == Confidence::Low);
    if rows == 0 && by_name {
        // A distribution tells of all its packages; of a name by itself nothing may be known at all.
        wrong = Some("software that no imported data names".to_owned());
    }
    Ok((all, wrong))
}

/// A module's fix (RHEL 8 and 9) says nothing of a package that is of none. Where one advisory mends several streams of a module, the one
/// that a version is of is the one that it has most in common with.
fn of_this_stream(rows: &mut Vec<Row>, version: &str) {
    let is_module = |it: &str| it.contains(".module");
    let alike = |row: &Row| {
        let mut events = row.affected.ranges.iter().flat_map(|it| &it.events);
        let fix = events.find(|(_, it)| is_module(it)).map(|(_, it)| it)?;
        let parts = |it: &str| -> Vec<String> {
            it.split(['.', ':', '-']).map(ToOwned::to_owned).collect()
        };
        let pairs = parts(fix).into_iter().zip(parts(version));
        Some(pairs.take_while(|(a, b)| a == b).count())
    };
    if !is_module(version) {
        return rows.retain(|row| alike(row).is_none());
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows.iter() {
        let of = most.entry(row.advisory.id.clone()).or_default();
        *of = alike(row).unwrap_or_default().max(*of);
    }
    rows.retain(|row| alike(row).is_none_or(|it| most.get(&row.advisory.id) == Some(&it)));
}

fn known(
    cve: &str,
    (advisory, affected): (&Advisory, &Affected),
    fixed: Option<String>,
    about: &About,
) -> Known {
    // An advisory about several vulnerabilities does not say whose its vectors are.
    let own = advisory.vectors.iter().filter(|_| advisory.cves.len() == 1);
    let score = Score::of(affected.vectors.iter().chain(own).chain(&about.vectors));
    let urgency = word(&affected.urgency).filter(|_| affected.ecosystem != CPE);
    let severity = if about.exploited.is_some() {
        Severity::Critical
    } else if affected.urgency.eq_ignore_ascii_case("unimportant") {
        Severity::Low
    } else {
        let scored = score.as_ref().map(Score::severity);
        let said = scored.or_else(|| word(&advisory.word)).or(urgency);
        said.unwrap_or(Severity::Medium)
    };
    Known {
        cve: cve.to_owned(),
        advisories: BTreeSet::from([advisory.id.clone()]),
        fixed,
        summary: advisory.summary.clone(),
        severity,
        score,
        exploited: about.exploited.clone(),
        likely: about.likely,
        confidence: Confidence::Low,
        claim: None,
    }
}
