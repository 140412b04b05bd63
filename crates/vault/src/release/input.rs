//! The same on a file of values, for who wants to try: no vault, no ledger.

use std::collections::BTreeMap;

use serde::Deserialize;
use stockade_anonymity::csv::{CsvFault, records};
use stockade_anonymity::fold::{Fold, Given, Rows, Told, When};
use stockade_anonymity::gate;
use stockade_anonymity::{Diversity, Goal, Role};
use stockade_profile::ReleaseGoal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Precision, Release, ReleaseAsk, ReleaseError, Risk, recoding, risk};

/// What the columns of a file are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Roles {
    /// The column that says whose a row is; without it each row is somebody else's.
    pub subject: Option<String>,
    /// The column that says when it was (RFC 3339).
    pub time: Option<String>,
    /// All others that may be in a release.
    pub columns: BTreeMap<String, ColumnRole>,
}

/// What one column is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ColumnRole {
    /// To somebody who looks for a person.
    pub role: InputRole,
    /// A file with what each value becomes, a line a value.
    pub hierarchy: Option<String>,
}

/// A role, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputRole {
    /// Names somebody; not released.
    Direct,
    /// Known to others.
    Quasi,
    /// What is to be learned of nobody.
    Sensitive,
    /// Neither.
    Free,
}

/// A file, and what is to become of it.
#[derive(Debug)]
pub struct Input<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The values (RFC 4180).
    pub csv: &'a [u8],
    /// What its columns are.
    pub roles: &'a Roles,
    /// The files that the roles name.
    pub hierarchies: &'a BTreeMap<String, Vec<u8>>,
}

impl Input<'_> {
    /// What a release of it would be, with the rows if it passes. Nothing is remembered.
    pub fn release(&self, ask: &ReleaseAsk) -> Result<Release, ReleaseError> {
        let (rows, omitted) = self.rows()?;
        let goal = goal(ask);
        let judged = gate::judge(&rows, &goal, recoding(ask.local), &[])?;
        let mut release =
            Release::of(self.name, &goal, &judged, Precision::Exact).with(&judged.release);
        release.omitted = omitted;
        Ok(release)
    }

    /// How exposed the people in it are.
    pub fn risk(&self, ask: &ReleaseAsk) -> Result<Risk, ReleaseError> {
        let (rows, omitted) = self.rows()?;
        // It is theirs, and they have it before them.
        let how = (recoding(ask.local), Precision::Exact);
        let mut risk = risk(self.name, &rows, &goal(ask), how, &[]);
        risk.omitted = omitted;
        Ok(risk)
    }

    fn rows(&self) -> Result<(Rows, Vec<String>), ReleaseError> {
        let lines = records(self.csv)?;
        let (head, lines) = lines.split_first().ok_or(CsvFault::Empty)?;
        let place = |name: &String| {
            let place = head.iter().position(|column| *column == name.as_str());
            place.ok_or_else(|| CsvFault::Column(name.clone()))
        };
        let subject = self.roles.subject.as_ref().map(place).transpose()?;
        let time = self.roles.time.as_ref().map(place).transpose()?;
        let mut told = BTreeMap::new();
        let mut columns = Vec::new();
        for (name, column) in &self.roles.columns {
            let is_text = column.hierarchy.is_some();
            columns.push((place(name)?, name, is_text));
            told.insert(name.clone(), self.tell(column)?);
        }
        let used = |at: &usize| columns.iter().any(|(column, ..)| column == at);
        let omitted = (0..head.len()).filter(|at| !used(at));
        let omitted = omitted
            .filter_map(|at| head.get(at).map(ToString::to_string))
            .collect();

        let at = |line: usize, text: &str| {
            let at = OffsetDateTime::parse(text, &Rfc3339);
            at.map_err(|_| ReleaseError::Time(line + 2))
        };
        let times: Vec<OffsetDateTime> = match time {
            None => Vec::new(),
            Some(time) => {
                let texts = lines
                    .iter()
                    .enumerate()
                    .filter_map(|(n, line)| Some((n, line.get(time)?)));
                texts
                    .map(|(n, text)| at(n, text))
                    .collect::<Result<_, _>>()?
            }
        };
        let span = times
            .iter()
            .min()
            .zip(times.iter().max())
            .filter(|(first, last)| first < last);
        let half = span.map(|(first, last)| *first + (*last - *first) / 2);
        let mut fold = Fold::new(told);
        let mut subjects: BTreeMap<&str, u32> = BTreeMap::new();
        for (n, line) in lines.iter().enumerate() {
            let number = match subject.and_then(|subject| line.get(subject)) {
                Some(who) => {
                    let next = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
                    *subjects.entry(who).or_insert(next)
                }
                None => u32::try_from(n).unwrap_or(u32::MAX),
            };
            fold.subject(number)?;
            let is_known = half.zip(times.get(n)).is_some_and(|(half, at)| *at <= half);
            let when = if is_known { When::Known } else { When::Later };
            for (column, name, is_text) in &columns {
                let Some(text) = line.get(*column).filter(|text| !text.is_empty()) else {
                    continue;
                };
                let given = match text.parse() {
                    Ok(number) if !is_text => Given::Number(number),
                    _ => Given::Text(text),
                };
                fold.add(number, when, name, given)?;
            }
        }
        Ok((fold.finish()?, omitted))
    }

    fn tell(&self, column: &ColumnRole) -> Result<Told, ReleaseError> {
        let hierarchy = match &column.hierarchy {
            None => None,
            Some(file) => {
                let bytes = self.hierarchies.get(file).map_or(&[][..], Vec::as_slice);
                let own = |line: Vec<std::borrow::Cow<'_, str>>| {
                    line.into_iter().map(String::from).collect()
                };
                Some(records(bytes)?.into_iter().map(own).collect())
            }
        };
        Ok(Told {
            role: match column.role {
                InputRole::Direct => Role::Direct,
                InputRole::Quasi => Role::Quasi,
                InputRole::Sensitive => Role::Sensitive,
                InputRole::Free => Role::Free,
            },
            hierarchy,
        })
    }
}

/// No profile says anything of a file: what is asked, and what a profile says that says nothing.
fn goal(ask: &ReleaseAsk) -> Goal {
    let strict = ReleaseGoal::default();
    Goal {
        k: ask.k.unwrap_or(strict.k),
        l: Some(Diversity::Distinct(ask.l.unwrap_or(strict.l))),
        t: Some(ask.t.unwrap_or_else(|| strict.t.to_f64())),
        suppress: ask
            .suppress
            .unwrap_or_else(|| f64::from(strict.suppress.parts()) / 100.0),
    }
}
