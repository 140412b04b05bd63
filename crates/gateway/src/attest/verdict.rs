//! What is made of what a TPM says. Pure; it fails closed, and each step has its own words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_api::attest::{Attestation, Quote, Quoted, challenge};
use stockade_attest::log::EventLog;
use stockade_attest::quote::{ak_public, verify};
use stockade_attest::reference::{Reference, compare};
use time::OffsetDateTime;

use super::{Key, Standing, WINDOW, sentences};
use crate::events::printable;

/// The version of a system to which its maker gave none.
pub const NONE: &str = "-";
/// The most differences that are told.
const MOST: usize = 8;

/// What was made of what a TPM said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The TPM signed these registers, for this question.
    pub proved: bool,
    /// What is wrong, each a sentence; nothing if the device started as it should.
    pub wrong: Vec<String>,
    /// Whether the device is given time for it: it may be the operator's to do.
    pub time: bool,
}

/// One answer of a device, and what it is measured by.
pub(super) struct Case<'a> {
    pub(super) device: &'a str,
    pub(super) nonce: &'a str,
    pub(super) wanted: &'a [u8],
    pub(super) key: Option<&'a Key>,
    pub(super) reference: Option<&'a Reference>,
    /// Whether any version of the model has reference values.
    pub(super) others: bool,
    pub(super) version: &'a str,
    pub(super) now: OffsetDateTime,
}

impl Case<'_> {
    pub(super) fn judge(&self, attestation: Option<&Attestation>) -> Verdict {
        let wrong = |why: String| Verdict {
            wrong: vec![why],
            ..Verdict::default()
        };
        let quoted = match attestation {
            Some(Attestation::Quoted(quoted)) => quoted,
            Some(Attestation::Missing(why)) => {
                return wrong(format!("its start is not attested: {}", printable(why)));
            }
            None => return wrong("its evidence does not say how it started".to_owned()),
        };
        let public = match self.key {
            Some(Key {
                stands: Standing::Known { public, .. },
                ..
            }) => public,
            // An enrolment takes a moment.
            Some(key) if self.now - key.since < WINDOW => {
                return Verdict {
                    time: true,
                    ..wrong("its TPM has not been made known so far".to_owned())
                };
            }
            _ => {
                return wrong(format!(
                    "its TPM is not known: `stockade attest reset {}` lets it be made known",
                    self.device
                ));
            }
        };
        let values = match self.proved(&public.0, quoted) {
            Ok(values) => values,
            Err(why) => return wrong(format!("its TPM's word is not believed: {why}")),
        };
        let proved = Verdict {
            proved: true,
            ..Verdict::default()
        };
        let Some(reference) = self.reference else {
            let version = printable(self.version);
            return Verdict {
                wrong: vec![format!(
                    "there is no reference for version {version}: `stockade attest record` or `stockade attest reference`"
                )],
                // Nobody can say what is right of a model that is new here. Of another, the version may be made up.
                time: !self.others,
                ..proved
            };
        };
        let log = match EventLog::read(&quoted.log.0) {
            Ok(log) => log,
            Err(why) => {
                return Verdict {
                    wrong: vec![format!("its event log can not be read: {why}")],
                    ..Verdict::default()
                };
            }
        };
        let differences = compare(reference, &log, &values, self.wanted.iter().copied());
        Verdict {
            wrong: sentences(&differences).take(MOST).collect(),
            ..proved
        }
    }

    /// The registers' values, if the device's TPM signed them for this question.
    fn proved(&self, public: &[u8], quoted: &Quoted) -> Result<BTreeMap<u8, [u8; 32]>, String> {
        let key = ak_public(public).map_err(|why| why.to_string())?;
        let signature = quoted.quote.signature.0.as_slice().try_into();
        let signature = signature.map_err(|_| "the signature has a wrong length")?;
        let asked = challenge(self.nonce, self.device);
        let signed = verify(&quoted.quote.attest.0, signature, &key, &asked)
            .map_err(|why| why.to_string())?;
        if let Some(missing) = self.wanted.iter().find(|it| !signed.pcrs.contains(it)) {
            return Err(format!("it did not sign register {missing}"));
        }
        let told = values(&quoted.quote).ok_or("a register's value has a wrong length")?;
        signed.values(&told).map_err(|why| why.to_string())
    }
}

/// The registers' values as the device tells them.
pub(super) fn values(quote: &Quote) -> Option<BTreeMap<u8, [u8; 32]>> {
    let value = |(pcr, value): (&u8, &stockade_api::Blob)| {
        let value = value.0.as_slice().try_into().ok()?;
        Some((*pcr, value))
    };
    quote.registers.iter().map(value).collect()
}
