//! How the firewall stands, for whoever judges it: nothing is changed, not even tidied up.

use std::path::Path;

use stockade_controls::engine::{FirewallState, Unseen};
use stockade_controls::firewall::check::{Difference, differences};
use stockade_controls::firewall::compile::Slot as Place;

use super::state::{Record, Slot, State};
use super::{Firewall, FirewallError, remembered, rules, settle};
use crate::netlink::NetlinkError;
use crate::nft::NftError;

/// The most differences that are told.
const MOST_TOLD: usize = 10;

/// How the firewall that remembers in this folder stands.
pub fn standing(folder: &Path) -> Result<FirewallState, Unseen> {
    match Firewall::at(folder).and_then(|firewall| firewall.stands()) {
        Ok(state) => Ok(state),
        Err(FirewallError::Foreign(why)) => Ok(FirewallState::Differs(vec![why.to_string()])),
        Err(FirewallError::Nft(why @ (NftError::NotInstalled | NftError::Kernel { .. }))) => {
            Ok(FirewallState::Impossible(why.to_string()))
        }
        Err(
            FirewallError::Nft(NftError::NotAllowed)
            | FirewallError::Netlink(NetlinkError::NotAllowed { .. }),
        ) => Err(Unseen::Denied),
        Err(why) => Err(Unseen::Failed(why.to_string())),
    }
}

impl Firewall {
    fn stands(&self) -> Result<FirewallState, FirewallError> {
        let held = super::kernel::read(&self.nft)?;
        // Taking the folder would make it.
        let state = self
            .folder
            .exists()
            .then(|| State::take(&self.folder))
            .transpose()?;
        let read = |slot| state.as_ref().map_or(Ok(None), |state| state.read(slot));
        let on_trial = if rules::is_trial(&held) {
            settle::time_left(&held)?
        } else {
            None
        };
        let (slot, held) = match (rules::is_trial(&held), on_trial) {
            (true, Some(_)) => (Slot::Pending, settle::new_side(&held)),
            (true, None) => (Slot::Confirmed, settle::old_side(&held)),
            (false, _) => (Slot::Confirmed, held),
        };
        let record: Option<Record> = read(slot)?;
        let Some(record) = record else {
            return Ok(if held.tables.is_empty() {
                FirewallState::None
            } else {
                FirewallState::Differs(vec![
                    "there are rules of ours, and no profile is remembered".to_owned(),
                ])
            });
        };
        if held.tables.is_empty() {
            return Ok(FirewallState::None);
        }
        let plan = remembered(&record, Place::of(&held))?;
        let told = differences(&plan.ruleset, &held);
        if !told.is_empty() {
            let told = told.iter().take(MOST_TOLD).map(Difference::to_string);
            return Ok(FirewallState::Differs(told.collect()));
        }
        let model = plan
            .policy
            .model
            .map_or_else(String::new, |model| model.to_string());
        Ok(FirewallState::InForce {
            model,
            version: version(&record),
            trial: on_trial.map(|left| left.as_secs()),
        })
    }
}

/// The version of the profile that was remembered; it was read once already.
fn version(record: &Record) -> u64 {
    let profile = stockade_profile::check(&record.profile).profile;
    profile.map_or(0, |profile| profile.device.version)
}
