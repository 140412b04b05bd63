//! What is kept of a device's evidence, and what waits for the device.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stockade_api::signed::{Command, Order};
use stockade_controls::engine::{PROTOCOLS, Posture, ProtocolVerdict, Severity, Standard};
use time::{Duration, OffsetDateTime};

use super::came::{RefusedProfile, Taken};
use crate::attest::Verdict;
use crate::events::printable;
use crate::name::DeviceId;

/// The version of the records' form.
pub(super) const FORMAT: u8 = 1;
/// Commands that may wait for one device.
const MOST_COMMANDS: usize = 16;
/// How long a device that has taken a question may need to answer it.
const ANSWER: Duration = Duration::minutes(10);
/// How long a command waits for its device.
const COMMAND_LIFE: Duration = Duration::days(7);

/// How a device stands by its last evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub(super) v: u8,
    /// The last evidence; none if the device never sent any.
    pub last: Option<Last>,
    /// Every rule that does not hold or cannot be judged.
    pub wrong: BTreeMap<String, Wrong>,
    /// How each of the seven protocols stands, in their order.
    pub verdicts: Vec<ProtocolVerdict>,
    /// How it started, by its TPM; none if it was not judged so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Start>,
    /// What the gateway asked to see, until it is answered.
    pub(super) asked: Option<Asked>,
    /// What waits for the device, in order.
    pub waiting: Vec<Waiting>,
    /// The last commands that it took, and what came of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Taken>,
    /// The profile that it will not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_profile: Option<RefusedProfile>,
    /// The number of the last command.
    pub(super) last_command: u64,
    /// Which log the device's events are of, and how many of it were told.
    pub(super) log: u64,
    pub(super) told: u64,
    /// Events that were lost on the device, by its own count.
    pub lost: u64,
    /// It was put into quarantine for what it says of itself.
    pub(super) held: bool,
    /// When an operator released it from that.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) released: Option<OffsetDateTime>,
    /// Its silence was told.
    pub(crate) silent: bool,
}

/// What the last evidence said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// Its number.
    pub number: u64,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub came: OffsetDateTime,
    /// When it was made, by the device's clock: seconds since 1970.
    pub at: u64,
    /// Whether it answered a question of the gateway, and so is not older than that.
    pub fresh: bool,
    /// The version of the profile that the device goes by.
    pub profile_version: u64,
    /// The version of the agent.
    pub agent: String,
    /// The version of the system that runs, if it has one.
    #[serde(default)]
    pub system: Option<String>,
}

/// How a device started, by its TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// What was made of it.
    pub verdict: Verdict,
    /// Since when it is not as it should be, or since when it is.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When it was said last.
    #[serde(with = "time::serde::rfc3339")]
    pub came: OffsetDateTime,
}

/// A rule that does not hold, or that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    /// How it stands.
    pub state: Standard,
    /// How bad it is, if something was found.
    pub severity: Option<Severity>,
    /// How many findings there are.
    pub count: u32,
    /// The first of them, or why it cannot be judged.
    pub says: String,
    /// Since when, by the gateway's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// A command that waits for its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Its number.
    pub number: u64,
    /// What is to be done.
    pub order: Order,
    /// When it was given.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Until when it is done.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// A question of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What the evidence has to have in it.
    pub(super) nonce: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
}

/// More commands wait than a device gets at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_COMMANDS} commands wait for the device already")]
pub struct TooManyWait;

impl Kept {
    /// Takes a posture over: what does not hold, since when, and how the protocols stand.
    pub(super) fn judge(&mut self, posture: &Posture, now: OffsetDateTime) {
        let before = std::mem::take(&mut self.wrong);
        let stands = |state| !matches!(state, Standard::Passed | Standard::DoesNotApply);
        for rule in posture.rules.iter().filter(|rule| stands(rule.state)) {
            let name = printable(&rule.rule);
            // What was found stays found since then, also if the rule could not be judged in between: nobody's time begins anew.
            let same = |it: &&Wrong| it.state == rule.state || (it.count > 0 && rule.count > 0);
            let known = before.get(&name).filter(same);
            let wrong = Wrong {
                state: rule.state,
                severity: rule.severity,
                count: rule.count,
                says: rule
                    .says
                    .first()
                    .map(|says| printable(says))
                    .unwrap_or_default(),
                since: known.map_or(now, |known| known.since),
            };
            self.wrong.insert(name, wrong);
        }
        // A device says of every rule how it stands, also of one that does not apply any more. What was wrong and is absent cannot be
        // told, and holds on: until the device says something of it, or an operator who knew of it lets the device go.
        let judged: BTreeSet<_> = posture.rules.iter().map(|it| printable(&it.rule)).collect();
        for (name, mut wrong) in before {
            let let_go = self
                .released
                .is_some_and(|released| wrong.since <= released);
            if !let_go && !judged.contains(&name) {
                let found = wrong.state == Standard::Broken;
                wrong.count = wrong.count.max(found.into());
                wrong.state = Standard::CannotTell;
                self.wrong.insert(name, wrong);
            }
        }
        self.verdicts = PROTOCOLS
            .iter()
            .map(|(_, controls)| posture.verdict(controls))
            .collect();
    }

    /// Takes over what was made of the TPM's word: since when is as old as the last change between right and wrong.
    pub(super) fn started(&mut self, verdict: Verdict, came: OffsetDateTime) {
        let wrong = |it: &Verdict| !it.wrong.is_empty();
        let same = self.attested.as_ref();
        let same = same.filter(|it| wrong(&it.verdict) == wrong(&verdict));
        self.attested = Some(Start {
            since: same.map_or(came, |it| it.since),
            came,
            verdict,
        });
    }

    /// Has a command wait for the device, and says its number; the same one twice waits once.
    pub(super) fn wait_for(
        &mut self,
        order: Order,
        now: OffsetDateTime,
    ) -> Result<u64, TooManyWait> {
        self.waiting.retain(|it| it.expires > now);
        if let Some(same) = self.waiting.iter().find(|it| it.order == order) {
            return Ok(same.number);
        }
        if self.waiting.len() >= MOST_COMMANDS {
            return Err(TooManyWait);
        }
        // Above every number a device of this name may have seen, also if it was removed and added anew in between.
        let clock = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        self.last_command = clock.max(self.last_command.saturating_add(1));
        self.waiting.push(Waiting {
            number: self.last_command,
            order,
            issued: now,
            expires: now + COMMAND_LIFE,
        });
        Ok(self.last_command)
    }

    /// The question was answered.
    pub(super) fn answered(&mut self) {
        let question = |it: &Waiting| matches!(it.order, Order::AssessNow { .. });
        self.waiting.retain(|it| !question(it));
        self.asked = None;
    }

    /// Asks for evidence that has this in it, unless an answer can still come. The number of the command.
    pub(super) fn ask(&mut self, nonce: &str, now: OffsetDateTime) -> Result<u64, TooManyWait> {
        let waits = self
            .waiting
            .iter()
            .find(|it| it.expires > now && matches!(&it.order, Order::AssessNow { .. }));
        if let Some(waits) = waits {
            return Ok(waits.number);
        }
        if self
            .asked
            .as_ref()
            .is_some_and(|asked| now - asked.at < ANSWER)
        {
            return Ok(self.last_command);
        }
        let nonce = nonce.to_owned();
        let order = Order::AssessNow {
            nonce: nonce.clone(),
        };
        let number = self.wait_for(order, now)?;
        self.asked = Some(Asked { nonce, at: now });
        Ok(number)
    }
}

impl Waiting {
    /// The command as it is signed.
    pub(super) fn command(&self, device: &DeviceId) -> Command {
        let seconds = |at: OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or_default();
        Command {
            form: Command::FORM,
            device: device.to_string(),
            number: self.number,
            issued: seconds(self.issued),
            expires: seconds(self.expires),
            order: self.order.clone(),
        }
    }

    /// What it asks for, in a few words.
    pub fn words(&self) -> &'static str {
        words(&self.order)
    }
}

/// What an order asks for, in a few words.
pub fn words(order: &Order) -> &'static str {
    match order {
        Order::Apply => "mend what is found",
        Order::Undo => "take back what was applied last",
        Order::AssessNow { .. } => "look again and send evidence",
        Order::UpnpOff => "switch UPnP off",
        Order::Renew => "renew the certificate",
        Order::ClearTamper { .. } => "clear that its case was opened",
        Order::Update { .. } => "update the system",
    }
}
