//! Reference values: what the registers of a model in a version hold when nothing was changed, and what differs when they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, hex, unhex};
use crate::log::EventLog;
use crate::uki::{self, UkiError};

/// The version of the form.
pub const FORM: u32 = 1;
/// The most differences that are told of one register.
const MOST_TOLD: usize = 16;
/// What systemd extends its register by as the start goes on (systemd-pcrphase.service(8)): no log of the firmware tells it.
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];

/// A SHA-256; as text its hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        unhex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or("not a SHA-256 in hexadecimal digits")
    }
}

/// What was measured in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measured {
    /// What the register was extended by.
    pub digest: Digest,
    /// What it was, in words.
    pub component: String,
}

/// What one register holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// Its value.
    pub value: Digest,
    /// What led to it; empty where no log tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Measured>,
}

/// What the registers of a model in a version hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reference {
    /// The version of this form: [`FORM`].
    pub form: u32,
    /// The model.
    pub model: String,
    /// The version of its system.
    pub version: String,
    /// By register.
    pub registers: BTreeMap<u8, Register>,
}

/// What differs from the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Difference {
    /// The register.
    pub pcr: u8,
    /// What was changed: "kernel command line"; the register itself where nobody can tell.
    pub component: String,
    /// What is wrong with it, as one sentence.
    pub says: String,
}

/// A register whose value is not known can not be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value of register {0} is not known")]
pub struct Unknown(pub u8);

impl Reference {
    /// What a device that is known to be good has in these registers; their values must have been proved by a quote.
    pub fn of_log(
        model: &str,
        version: &str,
        log: &EventLog<'_>,
        values: &BTreeMap<u8, [u8; 32]>,
        wanted: impl IntoIterator<Item = u8>,
    ) -> Result<Self, Unknown> {
        let register = |pcr: u8| {
            let value = *values.get(&pcr).ok_or(Unknown(pcr))?;
            let events = if explains(log, pcr, &value) {
                measured(log, pcr)
            } else {
                Vec::new()
            };
            let value = Digest(value);
            Ok((pcr, Register { value, events }))
        };
        Ok(Self {
            form: FORM,
            model: model.to_owned(),
            version: version.to_owned(),
            registers: wanted.into_iter().map(register).collect::<Result<_, _>>()?,
        })
    }

    /// What a device that starts this unified kernel image has in register 11, before the first phase of systemd.
    pub fn of_uki(model: &str, version: &str, image: &[u8]) -> Result<Self, UkiError> {
        let mut events = Vec::new();
        let mut value = vec![0; 32];
        for section in uki::measured(image)? {
            for digest in section.digests() {
                value = Algorithm::Sha256.extend(&value, &digest);
                events.extend(sha256(&digest).map(|digest| Measured {
                    digest,
                    component: section.component.clone(),
                }));
            }
        }
        let value = Digest(value.try_into().unwrap_or_default());
        Ok(Self {
            form: FORM,
            model: model.to_owned(),
            version: version.to_owned(),
            registers: BTreeMap::from([(uki::REGISTER, Register { value, events })]),
        })
    }
}

/// What differs from the reference in these registers; their values must have been proved by a quote, the log needs no proof.
///
/// A register without a reference value differs: nobody said what is right.
pub fn compare(
    reference: &Reference,
    log: &EventLog<'_>,
    values: &BTreeMap<u8, [u8; 32]>,
    wanted: impl IntoIterator<Item = u8>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for pcr in wanted {
        let mut differs = |says: &str| {
            differences.push(Difference {
                pcr,
                component: format!("register {pcr}"),
                says: format!("register {pcr} {says}"),
            });
        };
        let Some(register) = reference.registers.get(&pcr) else {
            differs("has no reference value");
            continue;
        };
        let Some(value) = values.get(&pcr) else {
            differs("is not in the evidence");
            continue;
        };
        if *value == register.value.0 {
            continue;
        }
        if register.events.is_empty() {
            differs("is not what the reference says, which does not tell what led to it");
        } else if explains(log, pcr, value) {
            differences.extend(changes(pcr, &register.events, &measured(log, pcr)));
        } else {
            differs("is not what the reference says, and the event log does not explain it");
        }
    }
    differences
}

fn sha256(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}

/// What a log says of one register.
fn measured(log: &EventLog<'_>, pcr: u8) -> Vec<Measured> {
    let events = log.extends().filter(|event| event.pcr == pcr);
    let measured = events.filter_map(|event| {
        Some(Measured {
            digest: sha256(event.digest(Algorithm::Sha256)?)?,
            component: event.component(),
        })
    });
    measured.collect()
}

/// Whether a log leads to the value of a register; in systemd's, the phases of the start may have followed.
fn explains(log: &EventLog<'_>, pcr: u8, value: &[u8; 32]) -> bool {
    let replayed = log.replay(Algorithm::Sha256).remove(&pcr);
    let replayed = replayed.unwrap_or_else(|| log.start(pcr, Algorithm::Sha256));
    replayed == value || (pcr == uki::REGISTER && phases(&replayed, value))
}

/// Whether some phases, one after the other, lead from one value to another.
fn phases(from: &[u8], to: &[u8; 32]) -> bool {
    (0..PHASES.len()).any(|first| {
        let mut value = from.to_vec();
        PHASES.iter().skip(first).any(|phase| {
            let digest = Algorithm::Sha256.digest(phase.as_bytes());
            value = Algorithm::Sha256.extend(&value, &digest);
            value == to
        })
    })
}

/// What a component is, without the text that may be the very change.
fn kind(measured: &Measured) -> &str {
    let component = measured.component.split('`').next();
    component.unwrap_or_default().trim_end()
}

/// What was measured instead of what should have been.
fn changes(pcr: u8, should: &[Measured], is: &[Measured]) -> Vec<Difference> {
    let surplus = |all: &[Measured], known: &[Measured]| {
        let mut left: BTreeMap<Digest, usize> = BTreeMap::new();
        for it in known {
            let count = left.entry(it.digest).or_default();
            *count = count.saturating_add(1);
        }
        let unknown = all.iter().filter(|it| {
            let count = left.entry(it.digest).or_default();
            let missing = *count == 0;
            *count = count.saturating_sub(1);
            missing
        });
        unknown.cloned().collect::<Vec<_>>()
    };
    let (gone, mut new) = (surplus(should, is), surplus(is, should));
    let mut said = BTreeSet::new();
    for was in &gone {
        let now = new.iter().position(|it| kind(it) == kind(was));
        let says = match now.map(|at| new.remove(at)) {
            Some(now) if now.component != was.component => {
                format!("{}, and should be: {}", now.component, was.component)
            }
            Some(_) => format!("{} was changed", was.component),
            None => format!("{} is missing", was.component),
        };
        said.insert((kind(was).to_owned(), says));
    }
    for it in &new {
        let says = format!("{} should not be there", it.component);
        said.insert((kind(it).to_owned(), says));
    }
    // The same parts: in the same order only a phase differs, which explained the value.
    let digests = |all: &[Measured]| all.iter().map(|it| it.digest).collect::<Vec<_>>();
    if said.is_empty() && digests(should) != digests(is) {
        let says = "its parts were measured in another order".to_owned();
        said.insert((format!("register {pcr}"), says));
    }
    let told = said.into_iter().take(MOST_TOLD);
    told.map(|(component, says)| Difference {
        pcr,
        component,
        says,
    })
    .collect()
}
