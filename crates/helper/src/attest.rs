//! How the device started, as its TPM says.

use stockade_api::Blob;
use stockade_api::attest::{Attestation, MOST_LOG, Quoted, challenge};
use stockade_api::keys;
use stockade_host::local::Channel;

use crate::device::Device;
use crate::evidence::PATIENCE;
use crate::files;

/// Where the kernel gives the firmware's event log.
const LOG: &str = "sys/kernel/security/tpm0/binary_bios_measurements";

impl Device {
    /// The registers that the profile names, signed for this nonce; none if it names none.
    pub(crate) fn attestation(&self, nonce: &str) -> Option<Attestation> {
        let registers: Vec<u8> = self.profile()?.boot.measured.iter().collect();
        if registers.is_empty() {
            return None;
        }
        // Never cut: what is missing would look like another start.
        Some(match self.quoted(nonce, registers) {
            Ok(quoted) => Attestation::Quoted(Box::new(quoted)),
            Err(why) => Attestation::Missing(why),
        })
    }

    fn quoted(&self, nonce: &str, registers: Vec<u8>) -> Result<Quoted, String> {
        let log = files::read(&self.places.root().join(LOG));
        let log = log.map_err(|why| why.to_string())?.unwrap_or_default();
        if log.len() > MOST_LOG {
            let length = log.len();
            return Err(format!(
                "the event log has {length} bytes, more than the {MOST_LOG} that are sent"
            ));
        }
        let asked = keys::Request::Quote {
            challenge: Blob(challenge(nonce, &self.settings.device).to_vec()),
            registers,
        };
        let away = |why| format!("the key process does not answer: {why}");
        let answered = Channel::connect(&self.places.keys_socket(), PATIENCE)
            .map_err(|why| away(why.to_string()))?
            .call(&asked)
            .map_err(|why| away(why.to_string()))?;
        match answered {
            keys::Answer::Quote(quote) => Ok(Quoted {
                quote,
                log: Blob(log),
            }),
            keys::Answer::Empty => Err("the device's keys are in no TPM".to_owned()),
            keys::Answer::Refused(why) => Err(why),
            _ => Err("the key process answered something else".to_owned()),
        }
    }
}
