//! What a device says of itself, for the page, the table and the API.

use std::sync::Arc;

use serde::Serialize;
use stockade_controls::engine::{PROTOCOLS, ProtocolVerdict, Severity, Standard};
use stockade_gateway::evidence::{Kept, NotAsked, Taken, Wish, Wrong};
use stockade_gateway::name::DeviceId;
use time::{Duration, OffsetDateTime};

use crate::http::Problem;
use crate::state::{ConsoleState, Shared};
use crate::view::Moment;

/// A device's clock that is off by more than this is told.
const OFF: Duration = Duration::minutes(5);

/// How a device stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// Something is wrong.
    Wrong,
    /// Nothing is known to be wrong, something cannot be judged.
    Unclear,
    /// All that is judged is in order.
    Good,
    /// The device sends no evidence.
    None,
}

impl Word {
    pub(crate) const ALL: [Self; 4] = [Self::Wrong, Self::Unclear, Self::Good, Self::None];

    /// As it stands in addresses and style classes.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Unclear => "unclear",
            Self::Good => "good",
            Self::None => "none",
        }
    }

    /// The look of its badge.
    pub(crate) const fn badge(self) -> &'static str {
        match self {
            Self::Wrong => "revoked",
            Self::Unclear => "quarantined",
            Self::Good => "active",
            Self::None => "pending",
        }
    }

    /// For people.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Wrong => "something is wrong",
            Self::Unclear => "not all can be judged",
            Self::Good => "in order",
            Self::None => "no evidence",
        }
    }

    fn of(kept: &Kept) -> Self {
        match kept.verdicts.iter().max() {
            _ if kept.last.is_none() => Self::None,
            Some(ProtocolVerdict::Wrong) => Self::Wrong,
            Some(ProtocolVerdict::CannotTell) => Self::Unclear,
            _ => Self::Good,
        }
    }
}

/// One of the seven protocols on a device.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Protocol {
    pub(crate) name: &'static str,
    pub(crate) verdict: ProtocolVerdict,
    pub(crate) rules: Vec<Rule>,
}

impl Protocol {
    /// The verdict, for people.
    pub(crate) const fn words(&self) -> &'static str {
        match self.verdict {
            ProtocolVerdict::Good => "in order",
            ProtocolVerdict::NotJudged => "not judged on the device",
            ProtocolVerdict::CannotTell => "cannot be judged",
            ProtocolVerdict::Wrong => "something is wrong",
        }
    }

    /// The verdict, for style.
    pub(crate) const fn class(&self) -> &'static str {
        match self.verdict {
            ProtocolVerdict::Good => "active",
            ProtocolVerdict::NotJudged => "pending",
            ProtocolVerdict::CannotTell => "quarantined",
            ProtocolVerdict::Wrong => "revoked",
        }
    }
}

/// A rule that does not hold.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rule {
    pub(crate) rule: String,
    pub(crate) state: Standard,
    pub(crate) severity: Option<Severity>,
    pub(crate) count: u32,
    pub(crate) says: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

impl Rule {
    fn of((rule, wrong): (&String, &Wrong)) -> Self {
        Self {
            rule: rule.clone(),
            state: wrong.state,
            severity: wrong.severity,
            count: wrong.count,
            says: wrong.says.clone(),
            since: wrong.since,
        }
    }

    /// How bad it is, for people.
    pub(crate) fn weight(&self) -> String {
        match self.severity {
            Some(severity) => severity.to_string(),
            None => "cannot be judged".to_owned(),
        }
    }

    pub(crate) fn since(&self) -> Moment {
        Moment::new(self.since, self.since)
    }
}

/// A command that waits.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waits {
    pub(crate) number: u64,
    pub(crate) what: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) issued: OffsetDateTime,
}

/// A command that the device took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Command {
    pub(crate) number: u64,
    pub(crate) what: &'static str,
    /// Whether it was carried out; none as long as the device does not say.
    pub(crate) done: Option<bool>,
    /// What was done, or why not.
    pub(crate) says: String,
}

impl Command {
    fn of(taken: &Taken) -> Self {
        let told = taken.outcome.as_ref();
        Self {
            number: taken.number,
            what: taken.words(),
            done: told.map(|it| it.done),
            says: told.map(|it| it.says.clone()).unwrap_or_default(),
        }
    }

    /// What came of it, for people.
    pub(crate) fn outcome(&self) -> String {
        match self.done {
            Some(true) => format!("carried out ({})", self.says),
            Some(false) => format!("not carried out: {}", self.says),
            None => "taken; the device did not say what came of it".to_owned(),
        }
    }
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Posture {
    pub(crate) posture: Word,
    pub(crate) protocols: Vec<Protocol>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) came: Option<OffsetDateTime>,
    pub(crate) number: u64,
    /// Whether it answers a question of the gateway.
    pub(crate) fresh: bool,
    pub(crate) agent: String,
    /// The version of the profile that the device goes by, and the one that is installed.
    pub(crate) profile_version: u64,
    pub(crate) profile_installed: Option<u64>,
    /// By how many seconds the device's clock is off, where that is much.
    pub(crate) clock_off: Option<i64>,
    /// Why the device will not have the profile that is installed.
    pub(crate) profile_refused: Option<String>,
    pub(crate) waiting: Vec<Waits>,
    /// The last ones, the newest first.
    pub(crate) commands: Vec<Command>,
    pub(crate) events_lost: u64,
}

impl Posture {
    pub(crate) fn came(&self, now: OffsetDateTime) -> Option<Moment> {
        self.came.map(|came| Moment::new(came, now))
    }

    /// The version that the device is to get, if it has an older one.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.profile_installed
            .filter(|it| *it > self.profile_version)
    }
}

fn kept(state: &ConsoleState, id: &str) -> Option<Arc<Kept>> {
    state.judge.as_ref()?.kept(&DeviceId::new(id).ok()?)
}

/// How a device stands, in one word.
pub(crate) fn word(state: &ConsoleState, id: &str) -> Word {
    kept(state, id).map_or(Word::None, |kept| Word::of(&kept))
}

/// How a device stands; none of one that never said anything of itself.
pub(crate) fn of(state: &ConsoleState, id: &str, installed: Option<u64>) -> Option<Posture> {
    let kept = kept(state, id)?;
    let last = kept.last.as_ref();
    let verdicts = kept.verdicts.iter().copied();
    let verdicts = verdicts.chain(std::iter::repeat(ProtocolVerdict::NotJudged));
    let protocols = PROTOCOLS
        .iter()
        .zip(verdicts)
        .map(|((name, controls), verdict)| {
            let of_it = |(rule, _): &(&String, &Wrong)| {
                let control = rule.split('/').next().unwrap_or_default();
                controls.iter().any(|it| it.as_str() == control)
            };
            Protocol {
                name,
                verdict,
                rules: kept.wrong.iter().filter(of_it).map(Rule::of).collect(),
            }
        });
    let off = last.map(|last| {
        let at = i64::try_from(last.at).unwrap_or(i64::MAX);
        at.saturating_sub(last.came.unix_timestamp())
    });
    Some(Posture {
        posture: Word::of(&kept),
        protocols: protocols.collect(),
        came: last.map(|last| last.came),
        number: last.map_or(0, |last| last.number),
        fresh: last.is_some_and(|last| last.fresh),
        agent: last.map(|last| last.agent.clone()).unwrap_or_default(),
        profile_version: last.map_or(0, |last| last.profile_version),
        profile_installed: installed,
        clock_off: off.filter(|off| off.unsigned_abs() > OFF.whole_seconds().unsigned_abs()),
        waiting: kept
            .waiting
            .iter()
            .map(|it| Waits {
                number: it.number,
                what: it.words(),
                issued: it.issued,
            })
            .collect(),
        profile_refused: kept
            .refused_profile
            .as_ref()
            .filter(|it| Some(it.version) == installed)
            .map(|it| it.says.clone()),
        commands: kept.taken.iter().rev().map(Command::of).collect(),
        events_lost: kept.lost,
    })
}

/// Commands are given elsewhere.
pub(crate) fn not_judged() -> Problem {
    Problem::conflict(
        "evidence is not judged in this process",
        "ask where the gateway runs",
    )
}

/// Why a device is not asked.
pub(crate) fn not_asked(error: NotAsked) -> Problem {
    let text = error.to_string();
    match error {
        NotAsked::NoAgent(_) => Problem::conflict(text, "install the agent: docs/install.md"),
        NotAsked::Full(_) => {
            Problem::conflict(text, "wait until the device has done some, or they expire")
        }
        NotAsked::Store(error) => Problem::ours("keep the command", &error),
        NotAsked::Randomness => Problem::ours("ask", &error),
    }
}

/// Has a device do something; the number of the command.
pub(crate) async fn wish(app: &Shared, id: &str, wish: Wish) -> Result<(DeviceId, u64), Problem> {
    let now = app.now();
    let id = crate::fleet::record(&app.state, id, now)?.name.id;
    let judge = app.state.judge.clone().ok_or_else(not_judged)?;
    app.blocking(move |_app| {
        let number = judge.wish(&id, wish, now).map_err(not_asked)?;
        tracing::info!(device = %id, ?wish, number, "console: the operator gave a command");
        Ok((id, number))
    })
    .await
}

#[cfg(test)]
mod tests {
    use askama::Template;

    use super::*;

    /// The part of the device's page that tells its posture.
    #[derive(Template)]
    #[template(path = "posture.html")]
    struct Part {
        id: &'static str,
        csrf: &'static str,
        posture: Option<Posture>,
        now: OffsetDateTime,
    }

    #[test]
    fn the_page_says_what_is_wrong_since_when_and_what_waits() {
        let start = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let rule = Rule {
            rule: "credentials/default-password".to_owned(),
            state: Standard::Broken,
            severity: Some(Severity::Critical),
            count: 2,
            says: "account `guest` has <b>the password</b> `guest`".to_owned(),
            since: start,
        };
        let protocol = |name, verdict, rules| Protocol {
            name,
            verdict,
            rules,
        };
        let posture = Posture {
            posture: Word::Wrong,
            protocols: vec![
                protocol("UPnP", ProtocolVerdict::Good, Vec::new()),
                protocol(
                    "Secure operating system",
                    ProtocolVerdict::Wrong,
                    vec![rule],
                ),
                protocol("Data in the cloud", ProtocolVerdict::NotJudged, Vec::new()),
            ],
            came: Some(start),
            number: 7,
            fresh: true,
            agent: "0.1.0".to_owned(),
            profile_version: 7,
            profile_installed: Some(8),
            clock_off: Some(-3600),
            waiting: vec![Waits {
                number: 9,
                what: "mend what is found",
                issued: start,
            }],
            profile_refused: Some("no key that is trusted has signed it".to_owned()),
            commands: [
                (8, Some(false), "nothing was applied"),
                (7, Some(true), "2 steps"),
                (6, None, ""),
            ]
            .map(|(number, done, says)| Command {
                number,
                what: "mend what is found",
                done,
                says: says.to_owned(),
            })
            .into(),
            events_lost: 3,
        };
        let part = |posture| Part {
            id: "porch",
            csrf: "c",
            posture,
            now: start + Duration::minutes(3),
        };
        insta::assert_snapshot!(part(Some(posture)).render().unwrap());
        assert!(part(None).render().unwrap().contains("never sent evidence"));
    }
}
