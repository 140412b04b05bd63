//! What somebody has decided to live with: a file with the reason and the last day of each.

use serde::Deserialize;
use time::{Date, OffsetDateTime};

use stockade_controls::engine::Standard;

use crate::report::{GAP, IdleWaiver, Report, Waived};
use crate::rules;

/// The rule of waivers that are about what could not be audited.
const NOT_AUDITED: &str = "not-audited";

/// Waivers, read strictly.
#[derive(Debug, Default)]
pub struct Waivers {
    all: Vec<Waiver>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    form: u32,
    #[serde(default)]
    waiver: Vec<Waiver>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Waiver {
    rule: String,
    subject: Option<String>,
    path: Option<String>,
    reason: String,
    expires: toml::value::Datetime,
}

/// Why a file of waivers is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadWaivers {
    /// It is no such file.
    #[error(transparent)]
    Damaged(#[from] toml::de::Error),
    /// What it says cannot be.
    #[error("waiver {0}: {1}")]
    Wrong(usize, String),
    /// It is of another version of the form.
    #[error("form {0} is not known: write `form = 1`")]
    Form(u32),
}

impl Waivers {
    /// Reads `waivers.toml`.
    pub fn parse(text: &str) -> Result<Self, BadWaivers> {
        let file: File = toml::from_str(text)?;
        if file.form != 1 {
            return Err(BadWaivers::Form(file.form));
        }
        for (number, waiver) in file.waiver.iter().enumerate() {
            waiver
                .check()
                .map_err(|why| BadWaivers::Wrong(number + 1, why))?;
        }
        Ok(Self { all: file.waiver })
    }
}

impl Waiver {
    fn check(&self) -> Result<(), String> {
        let known = self.rule == NOT_AUDITED || rules::all().any(|rule| rule.id == self.rule);
        if !known {
            return Err(format!(
                "there is no rule {:?}: `stockade audit rules` lists them",
                self.rule
            ));
        }
        if self.subject.is_none() && self.path.is_none() {
            return Err("say what it is about: `subject`, `path` or both; `*` is all".to_owned());
        }
        if self.rule == NOT_AUDITED && self.subject.is_some() {
            return Err("what is not audited has a `path` only".to_owned());
        }
        if self.reason.trim().is_empty() {
            return Err("a waiver needs a reason".to_owned());
        }
        self.last_day().map(drop)
    }

    /// The last day on which it holds.
    fn last_day(&self) -> Result<Date, String> {
        let no_day = || "`expires` is a day, as in `expires = 2027-01-31`".to_owned();
        let (Some(day), None, None) = (self.expires.date, self.expires.time, self.expires.offset)
        else {
            return Err(no_day());
        };
        let month = time::Month::try_from(day.month).map_err(|_| no_day())?;
        Date::from_calendar_date(i32::from(day.year), month, day.day).map_err(|_| no_day())
    }

    fn about(&self) -> String {
        let both = [self.subject.as_deref(), self.path.as_deref()];
        both.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether it is about this subject and one of these places.
    fn is_about(&self, subject: Option<&str>, mut places: impl Iterator<Item = String>) -> bool {
        let of_subject = match (&self.subject, subject) {
            (None, _) => true,
            (Some(pattern), Some(subject)) => fits(pattern, subject),
            (Some(_), None) => false,
        };
        of_subject
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| places.any(|place| fits(pattern, &place)))
    }
}

impl Report {
    /// Marks what is waived today, and tells of waivers that are over or waive nothing.
    pub fn waive(&mut self, waivers: &Waivers, now: OffsetDateTime) {
        for waiver in &waivers.all {
            let Ok(last) = waiver.last_day() else {
                continue;
            };
            let over = now.date() > last;
            let waived = Waived {
                reason: waiver.reason.trim().to_owned(),
                expires: last.to_string(),
            };
            let fitting = self.fitting(waiver);
            let idle = match (over, fitting.is_empty()) {
                (true, _) => Some(format!("over since {last}")),
                (false, true) => Some("nothing of this was found".to_owned()),
                (false, false) => None,
            };
            if let Some(why) = idle {
                self.idle_waivers.push(IdleWaiver {
                    rule: waiver.rule.clone(),
                    about: waiver.about(),
                    why,
                });
                continue;
            }
            for slot in fitting {
                *slot = Some(waived.clone());
            }
        }
        self.read_on();
        self.settle();
    }

    /// Who lives with every gap wants to know of the rest.
    fn read_on(&mut self) {
        let open = self.not_audited.iter().any(|it| it.waived.is_none());
        let rules = self.rules.iter_mut();
        for rule in rules.filter(|it| !open && it.state == Standard::CannotTell && it.note == GAP) {
            rule.state = if rule.findings.is_empty() {
                Standard::Passed
            } else {
                Standard::Broken
            };
            "without what is waived as not audited".clone_into(&mut rule.note);
        }
    }

    /// Where a waiver would be noted: everything that it is about.
    fn fitting(&mut self, waiver: &Waiver) -> Vec<&mut Option<Waived>> {
        if waiver.rule == NOT_AUDITED {
            let places = self.not_audited.iter_mut();
            return places
                .filter(|it| waiver.is_about(None, std::iter::once(it.place.clone())))
                .map(|it| &mut it.waived)
                .collect();
        }
        let of_rule = self.rules.iter_mut().filter(|it| it.id == waiver.rule);
        of_rule
            .flat_map(|rule| &mut rule.findings)
            .filter(|finding| {
                let places = finding.evidence.iter().map(|it| without_line(&it.place));
                waiver.is_about(Some(&finding.subject), places)
            })
            .map(|finding| &mut finding.waived)
            .collect()
    }
}

/// `/etc/shadow` of `/etc/shadow:3`.
fn without_line(place: &str) -> String {
    match place.rsplit_once(':') {
        Some((path, line)) if path.contains('/') && line.bytes().all(|it| it.is_ascii_digit()) => {
            path.to_owned()
        }
        _ => place.to_owned(),
    }
}

/// Whether a text fits a pattern in which `*` is anything and `?` any one character. Time: length of one times length of the other.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last star was, and how much of the text it took.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(at) {
        match (pattern.get(of), star) {
            (Some('*'), _) => {
                star = Some((of, at));
                of += 1;
            }
            (Some(it), _) if *it == '?' || it == letter => {
                at += 1;
                of += 1;
            }
            (_, Some((back, taken))) => {
                star = Some((back, taken + 1));
                at = taken + 1;
                of = back + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(of).all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_it_should_and_nothing_else() {
        for (pattern, text, fit) in [
            ("*", "", true),
            ("/opt/*", "/opt/a/b", true),
            ("/opt/*.so", "/opt/a.so.1", false),
            ("/opt/*.so*", "/opt/a.so.1", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("account root", "account root", true),
            ("account root", "account root2", false),
            ("*a*b", "xaxab", true),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn a_waiver_without_a_reason_a_day_or_a_known_rule_is_refused() {
        let refused = |text: &str| Waivers::parse(text).expect_err("refused").to_string();
        let waiver = |rest: &str| format!("form = 1\n[[waiver]]\n{rest}");
        assert_eq!(refused("form = 2"), "form 2 is not known: write `form = 1`");
        let whole = "rule = \"credentials/default-password\"\nsubject = \"account root\"\n";
        assert!(refused(&waiver(whole)).contains("missing field `reason`"));
        assert_eq!(
            refused(&waiver(&format!(
                "{whole}reason = \" \"\nexpires = 2027-01-31"
            ))),
            "waiver 1: a waiver needs a reason"
        );
        assert_eq!(
            refused(&waiver(&format!(
                "{whole}reason = \"x\"\nexpires = 12:00:00"
            ))),
            "waiver 1: `expires` is a day, as in `expires = 2027-01-31`"
        );
        assert!(
            refused(&waiver(
                "rule = \"credentials/nothing\"\nsubject = \"*\"\nreason = \"x\"\nexpires = 2027-01-31"
            ))
            .contains("there is no rule \"credentials/nothing\"")
        );
        assert!(refused(&waiver(&format!("{whole}until = 3"))).contains("unknown field"));
        assert!(
            Waivers::parse(&waiver(&format!(
                "{whole}reason = \"x\"\nexpires = 2027-01-31"
            )))
            .is_ok()
        );
    }
}
