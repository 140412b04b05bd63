//! `[boot]`: what is asked of the way the device starts.

use std::fmt;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Keys, Node, Value, Writer, mistyped, plain, twice};
use crate::text::choice;
use crate::units::digits;
use crate::words::Words;

choice! {
    /// How much is asked of a protection.
    Demand: "a demand" {
        /// Without it the device is in breach.
        Required = "required",
        /// Its state is shown, and that is all.
        Reported = "reported",
    }
}

/// What is asked of the way the device starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boot {
    /// Only signed code is started.
    pub secure_boot: Option<Demand>,
    /// The registers of the TPM that evidence must match.
    pub measured: PcrSet,
    /// The root file system is checked as it is read.
    pub verity: Option<Demand>,
    /// The running kernel can not be changed, not even by root.
    pub lockdown: Option<Demand>,
    /// The kernel loads signed modules only.
    pub module_signatures: Option<Demand>,
    /// The boot loader takes no commands from whoever is at the device.
    pub bootloader_locked: Option<Demand>,
}

/// A set of platform configuration registers, 0 to 23 (TCG PC Client Platform TPM Profile).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcrSet(u32);

impl PcrSet {
    const LAST: u8 = 23;

    /// Whether a register is in the set.
    pub fn contains(self, pcr: u8) -> bool {
        self.0 & bit(pcr) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The registers, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=Self::LAST).filter(move |&pcr| self.contains(pcr))
    }

    /// The set as runs of neighbours.
    fn runs(self) -> Vec<(u8, u8)> {
        let mut runs: Vec<(u8, u8)> = Vec::new();
        for pcr in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(pcr) => *last = pcr,
                _ => runs.push((pcr, pcr)),
            }
        }
        runs
    }
}

/// A register that a TPM does not have is left out.
impl FromIterator<u8> for PcrSet {
    fn from_iter<I: IntoIterator<Item = u8>>(registers: I) -> Self {
        let known = registers.into_iter().filter(|&pcr| pcr <= Self::LAST);
        Self(known.fold(0, |set, pcr| set | bit(pcr)))
    }
}

fn bit(pcr: u8) -> u32 {
    1_u32.checked_shl(pcr.into()).unwrap_or_default()
}

impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.runs();
        let shown = runs.iter().map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        });
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

impl Form for PcrSet {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let Value::List(nodes) = &node.value else {
            return Err(mistyped(node, "a list", faults));
        };
        let mut set = Self::default();
        let mut outcome = Ok(());
        for node in nodes {
            let run = match &node.value {
                Value::Integer(number) => register(*number).map(|pcr| (pcr, pcr)),
                Value::Text(text) => run(text),
                Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                    outcome = Err(mistyped(node, "a register or a range of registers", faults));
                    continue;
                }
            };
            match run {
                Err(wrong) => outcome = Err(faults.error(node.at, wrong)),
                Ok((first, last)) if (first..=last).any(|pcr| set.contains(pcr)) => {
                    outcome = Err(twice(node.at, faults));
                }
                Ok((first, last)) => (first..=last).for_each(|pcr| set.0 |= bit(pcr)),
            }
        }
        outcome.map(|()| set)
    }

    fn write(&self) -> Value {
        let runs = self.runs().into_iter().map(|(first, last)| {
            plain(if first == last {
                Value::Integer(first.into())
            } else {
                Value::Text(format!("{first}-{last}"))
            })
        });
        Value::List(runs.collect())
    }
}

fn register(number: i64) -> Result<u8, Malformed> {
    u8::try_from(number)
        .ok()
        .filter(|&pcr| pcr <= PcrSet::LAST)
        .ok_or_else(|| {
            Malformed::new(format!("{number} is not a register of a TPM")).help("they are 0 to 23")
        })
}

fn run(text: &str) -> Result<(u8, u8), Malformed> {
    let wrong = || {
        let wrong = Malformed::new(format!("`{}` is not a range of registers", quote(text)));
        wrong.help("for example \"0-7\"")
    };
    let end = |text: &str| {
        let number = digits(text.trim()).and_then(|number| i64::try_from(number).ok());
        number.ok_or_else(wrong).and_then(register)
    };
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (end(first)?, end(last)?);
    if first > last {
        Err(wrong())
    } else {
        Ok((first, last))
    }
}

impl Form for Boot {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let secure_boot = keys.optional("secure-boot");
        let measured = keys.or_default("measured");
        let verity = keys.optional("verity");
        let lockdown = keys.optional("lockdown");
        let module_signatures = keys.optional("module-signatures");
        let bootloader_locked = keys.optional("bootloader-locked");
        keys.finish()?;
        Ok(Self {
            secure_boot: secure_boot?,
            measured: measured?,
            verity: verity?,
            lockdown: lockdown?,
            module_signatures: module_signatures?,
            bootloader_locked: bootloader_locked?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .some("secure-boot", self.secure_boot.as_ref())
            .unless_default("measured", &self.measured)
            .some("verity", self.verity.as_ref())
            .some("lockdown", self.lockdown.as_ref())
            .some("module-signatures", self.module_signatures.as_ref())
            .some("bootloader-locked", self.bootloader_locked.as_ref())
            .done()
    }
}

impl Boot {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let mut say = |demand, must: &str, shows: &str| match demand {
            Some(Demand::Required) => words.say(Control::Boot, must),
            Some(Demand::Reported) => words.say(Control::Boot, shows),
            None => (),
        };
        say(
            self.secure_boot,
            "must start signed code only",
            "shows whether it starts signed code only",
        );
        say(
            self.verity,
            "must check its system's files as it reads them",
            "shows whether it checks its system's files as it reads them",
        );
        say(
            self.lockdown,
            "must keep its running kernel from being changed",
            "shows whether it keeps its running kernel from being changed",
        );
        say(
            self.module_signatures,
            "must load signed kernel modules only",
            "shows whether it loads signed kernel modules only",
        );
        say(
            self.bootloader_locked,
            "must have a boot loader that takes no commands",
            "shows whether its boot loader takes commands",
        );
        if !self.measured.is_empty() {
            let text = format!(
                "must prove what it started by its TPM's registers {}",
                self.measured
            );
            words.say(Control::Boot, text);
        }
        if *self == Self::default() {
            words.say(Control::Boot, "nothing is asked of the way it starts");
        }
    }
}
