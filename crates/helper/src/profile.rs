//! The signed profile: which one is in force, and what may take its place.

mod floor;

use std::path::PathBuf;

use stockade_api::events::Came;
use stockade_api::helper::{Answer, Refusal, Refused, Weight};
use stockade_profile::{Verified, VerifyError, may_replace, verify};

use self::floor::Floor;
use crate::ask::worth_noting;
use crate::device::Device;
use crate::events::By;
use crate::files;
use crate::refusal::{failed, refused};

impl Device {
    fn profile_file(&self) -> PathBuf {
        self.places.helper_state().join("profile.cose")
    }

    /// Reads the profile that is installed. Its signature is checked at each start: a key that root took away counts no more.
    /// So is its version: a file from before that was put back is no profile.
    pub(crate) fn load_profile(&self) {
        let read = files::read(&self.profile_file());
        let known = read.map_err(|why| failed(&why)).and_then(|bytes| {
            let verified = bytes.map(|bytes| self.verified(&bytes)).transpose()?;
            if let Some(verified) = &verified {
                let floor = self.not_below_floor(verified)?;
                self.raise_floor(verified, floor.as_ref())?;
            }
            Ok(verified.map(Verified::into_profile))
        });
        match known {
            Ok(Some(profile)) => self.set_profile(profile),
            Ok(None) => (),
            Err(why) => self.trouble("profile", &why.why),
        }
    }

    fn verified(&self, signed: &[u8]) -> Result<Verified, Refused> {
        let verified = verify(signed, &self.trusted()?).map_err(|why| {
            let next = match why {
                VerifyError::UnknownKey(_) => "who may sign is in /etc/stockade/trust",
                _ => "",
            };
            refused(Refusal::Signature, why.to_string(), next)
        })?;
        let model = verified.profile().device.model.to_string();
        if model != self.settings.model {
            return Err(refused(
                Refusal::Signature,
                format!(
                    "this profile is for the model `{model}`, and this device is a `{}`",
                    self.settings.model
                ),
                "",
            ));
        }
        Ok(verified)
    }

    /// The floor of today, which this profile may not be below.
    fn not_below_floor(&self, verified: &Verified) -> Result<Option<Floor>, Refused> {
        let path = floor::file(&self.places.helper_state());
        let floor = floor::read(&path, &self.settings.model, &self.trusted()?).map_err(|why| {
            let next = format!(
                "as root, remove {}: versions begin anew then",
                path.display()
            );
            refused(Refusal::Failed, stockade_host::chain(&why), next)
        })?;
        if let Some(floor) = &floor {
            floor
                .bears(verified.profile())
                .map_err(|why| refused(Refusal::Stale, why.to_string(), ""))?;
        }
        Ok(floor)
    }

    /// From now on no older profile is taken: that is on disk before this one is in force.
    fn raise_floor(&self, verified: &Verified, before: Option<&Floor>) -> Result<(), Refused> {
        let floor = Floor::of(verified);
        if before == Some(&floor) {
            return Ok(());
        }
        let path = floor::file(&self.places.helper_state());
        files::put_json(&path, &floor).map_err(|why| failed(&why))
    }

    /// Tells the gateway that this profile need not come again; what failed for another reason may.
    pub(crate) fn note_refused_profile(&self, signed: &[u8], why: &Refused, by: By) {
        if worth_noting(why.kind) {
            let (name, says) = (Came::name(signed), why.why.clone());
            self.note_came(&Came::Profile { name, says }, by);
        }
    }

    /// Takes a signed profile: on disk first, then in force.
    pub(crate) fn install_profile(&self, signed: &[u8], by: By) -> Result<Answer, Refused> {
        let verified = self.verified(signed)?;
        let _work = self.work()?;
        let version = verified.profile().device.version;
        let installed = self.profile();
        if let Some(installed) = &installed {
            may_replace(installed, verified.profile())
                .map_err(|why| refused(Refusal::Stale, why.to_string(), ""))?;
        }
        let floor = self.not_below_floor(&verified)?;
        let known = installed.is_some_and(|it| it.device.version == version);
        if !known {
            files::put(&self.profile_file(), signed).map_err(|why| failed(&why))?;
            self.raise_floor(&verified, floor.as_ref())?;
            self.set_profile(verified.into_profile());
            self.mended("profile");
            let says = format!("The profile is now version {version}");
            self.note(Weight::Change, by, "profile", &says);
        }
        let trial = match self.settle_firewall() {
            Ok(trial) => trial,
            Err(why) => {
                self.trouble("firewall", &why.why);
                None
            }
        };
        Ok(Answer::Installed {
            version,
            known,
            trial,
        })
    }
}
