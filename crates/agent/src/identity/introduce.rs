//! The device's TPM made known to the gateway, once an enrolment (`docs/attestation.md`).

use anyhow::bail;
use stockade_api::attest::{Introduction, Welcome};

use super::Identity;
use crate::enrol;

impl Identity {
    /// Has the gateway believe the TPM that holds the device's keys. Nothing to do if they are in no TPM, or if it is known.
    pub(super) async fn introduce(&self) -> anyhow::Result<()> {
        let Some(keys) = self.keys.endorsement()? else {
            return Ok(());
        };
        let Welcome::Credential(credential) = self.say(&Introduction::Keys(keys)).await? else {
            return Ok(());
        };
        let secret = self.keys.activate(credential)?;
        match self.say(&Introduction::Secret(secret)).await? {
            Welcome::Known => Ok(()),
            Welcome::Credential(_) => bail!("the gateway did not believe the TPM"),
        }
    }

    async fn say(&self, introduction: &Introduction) -> anyhow::Result<Welcome> {
        Ok(enrol::introduce(&self.est(), self.client()?, introduction).await?)
    }
}
