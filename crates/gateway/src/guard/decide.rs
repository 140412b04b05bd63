//! What an operator and the gateway's registry say, and what follows.

use std::net::IpAddr;
use std::sync::Arc;

use stockade_profile::{LinkAddress, ModelName, Profile, may_replace};
use time::OffsetDateTime;

use super::core::{Action, Core, Installed, MAX_DEVICES, tell};
use super::device::{Binding, By, Device, Origin, Role, Why};
use super::request::{Add, Reason, Refusal, RegistryId};
use crate::events::Outcome;

/// What a decision leads to, or why it is not taken.
type Decided = Result<Vec<Action>, Refusal>;

impl Core {
    fn known(&self, mac: LinkAddress) -> Result<&Device, Refusal> {
        self.device(mac).ok_or_else(|| {
            Refusal::new(format!("{mac} was never seen on the LAN"))
                .help("`stockade guard list` shows who was; `stockade guard add` adds one before it comes")
        })
    }

    /// An operator says what a device is.
    pub fn add(&mut self, add: &Add, now: OffsetDateTime) -> Decided {
        let mac = add.mac;
        if mac.bytes()[0] & 1 == 1 || mac == self.standing.mac {
            return Err(Refusal::new(format!("{mac} is no device's address")));
        }
        if let Some(model) = &add.model
            && !self.models.contains_key(model)
        {
            return Err(Refusal::new(format!("there is no profile of the model `{model}`"))
                .help("`stockade guard install PROFILE.toml` first; `stockade guard models` lists them"));
        }
        for address in &add.addresses {
            self.may_be_given(mac, *address)?;
        }
        if let Some(device) = &add.device
            && let Some(other) = self
                .devices
                .values()
                .find(|d| d.mac != mac && d.device.as_deref() == Some(device.as_str()))
        {
            return Err(Refusal::new(format!(
                "{} is {device}",
                other.mac,
                device = device.as_str()
            ))
            .help(format!("`stockade guard remove {}` first", other.mac)));
        }
        if !self.devices.contains_key(&mac) {
            if self.devices.len() >= MAX_DEVICES {
                return Err(Refusal::new(format!(
                    "{MAX_DEVICES} devices are known already"
                )));
            }
            self.devices.insert(mac, Device::new(mac, now));
        }
        let role = match (&add.model, add.trusted) {
            (Some(model), _) => Some(Role::Model {
                model: model.clone(),
            }),
            (None, true) => Some(Role::Trusted),
            (None, false) => None,
        };
        let mut actions = Vec::new();
        // An address that was learned for another device by a claim or a lease is the operator's to give.
        for address in &add.addresses {
            if let Some(&owner) = self.owners.get(address)
                && owner != mac
            {
                self.change(owner, &mut actions, |device| {
                    device.addresses.retain(|b| b.address != *address);
                });
            }
        }
        self.change(mac, &mut actions, |device| {
            if let Some(role) = role {
                device.role = role;
                device.origin = Origin::Hand;
            }
            if let Some(id) = &add.device {
                device.device = Some(id.as_str().to_owned());
            }
            for &address in &add.addresses {
                device.addresses.retain(|b| b.address != address);
                device.addresses.push(Binding {
                    address,
                    by: By::Hand,
                    seen: now,
                });
            }
        });
        if !actions.contains(&Action::Save(mac)) {
            actions.push(Action::Save(mac));
        }
        let what = self.devices[&mac].role.as_str();
        tell(
            &mut actions,
            Outcome::Changed,
            Some(mac),
            format!("is {what} from now on, an operator says"),
        );
        Ok(actions)
    }

    fn may_be_given(&self, mac: LinkAddress, address: IpAddr) -> Result<(), Refusal> {
        if self.standing.own.contains(&address) {
            return Err(Refusal::new(format!(
                "{address} is the gateway's own address"
            )));
        }
        let on_lan = self.standing.lan.iter().any(|net| net.contains(address));
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !on_lan && !link_local {
            return Err(Refusal::new(format!("{address} is in no network of the LAN"))
                .help("a device's address is in a network of the guarded interface: `stockade guard status`"));
        }
        match self.owners.get(&address) {
            Some(owner)
                if *owner != mac
                    && self.device(*owner).is_some_and(|device| {
                        let mut all = device.addresses.iter();
                        all.any(|b| b.address == address && b.by == By::Hand)
                    }) =>
            {
                Err(Refusal::new(format!("{address} was given to {owner}"))
                    .help(format!("`stockade guard remove {owner}` first")))
            }
            _ => Ok(()),
        }
    }

    /// Takes back all that was said of a device.
    pub fn remove(&mut self, mac: LinkAddress) -> Decided {
        self.known(mac)?;
        let mut actions = Vec::new();
        self.forget(mac, &mut actions);
        tell(
            &mut actions,
            Outcome::Changed,
            Some(mac),
            "is unknown again, an operator says".to_owned(),
        );
        Ok(actions)
    }

    /// Takes the profile of the MUD file that a device announced.
    pub fn accept(&mut self, mac: LinkAddress, now: OffsetDateTime) -> Decided {
        let device = self.known(mac)?;
        let Some(mud) = device.mud.as_ref() else {
            return Err(
                Refusal::new(format!("{mac} announced no MUD file")).help(format!(
                    "`stockade guard add {mac} --model MODEL` gives it a profile by hand"
                )),
            );
        };
        let url = mud.url.clone();
        let mut actions = Vec::new();
        // A device that follows this file already: its file may have changed since.
        if matches!(&device.origin, Origin::Mud { url: of, .. } if *of == url) {
            self.renew(&url, now, &mut actions);
            return Ok(actions);
        }
        self.adopt(mac, now, &mut actions)
            .map_err(|why| Refusal::new(format!("{mac}: {why}")))?;
        Ok(actions)
    }

    /// An operator isolates a device.
    pub fn quarantine(
        &mut self,
        mac: LinkAddress,
        reason: &Reason,
        now: OffsetDateTime,
    ) -> Decided {
        self.known(mac)?;
        let mut actions = Vec::new();
        let why = Why {
            reason: reason.as_str().to_owned(),
            since: now,
        };
        self.change(mac, &mut actions, |device| {
            device.quarantine.get_or_insert(why);
        });
        tell(
            &mut actions,
            Outcome::Changed,
            Some(mac),
            format!("quarantined: {}", reason.as_str()),
        );
        Ok(actions)
    }

    /// Ends what an operator began.
    pub fn release(&mut self, mac: LinkAddress) -> Decided {
        let device = self.known(mac)?;
        if device.quarantine.is_none() {
            return Err(match (&device.gateway_quarantine, &device.device) {
                (Some(_), Some(id)) => Refusal::new(format!(
                    "{mac} is isolated because {id} is, in the registry"
                ))
                .help(format!("`stockade device release {id}`")),
                _ => Refusal::new(format!("{mac} is not quarantined")),
            });
        }
        let mut actions = Vec::new();
        self.change(mac, &mut actions, |device| device.quarantine = None);
        tell(
            &mut actions,
            Outcome::Changed,
            Some(mac),
            "released from quarantine".to_owned(),
        );
        Ok(actions)
    }

    /// The registry's decision about a device of its own; nothing, if no card is bound to it.
    pub fn gateway(
        &mut self,
        id: &RegistryId,
        isolated: Option<&Reason>,
        now: OffsetDateTime,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(mac) = self
            .devices
            .values()
            .find(|device| device.device.as_deref() == Some(id.as_str()))
            .map(|device| device.mac)
        else {
            return actions;
        };
        let before = self.devices[&mac].gateway_quarantine.is_some();
        if before == isolated.is_some() {
            return actions;
        }
        let why = isolated.map(|reason| Why {
            reason: reason.as_str().to_owned(),
            since: now,
        });
        self.change(mac, &mut actions, |device| device.gateway_quarantine = why);
        let text = match isolated {
            Some(reason) => format!("isolated with {}: {}", id.as_str(), reason.as_str()),
            None => format!("no longer isolated: {} is not", id.as_str()),
        };
        tell(&mut actions, Outcome::Changed, Some(mac), text);
        actions
    }

    /// An operator installs a profile.
    pub fn install(&mut self, profile: Profile, now: OffsetDateTime) -> Decided {
        let model = profile.device.model.clone();
        if let Some(there) = self.models.get(&model) {
            may_replace(&there.profile, &profile).map_err(|why| Refusal::new(why.to_string()))?;
            if *there.profile == profile {
                return Ok(Vec::new());
            }
        }
        let version = profile.device.version;
        self.models.insert(
            model.clone(),
            Installed {
                profile: Arc::new(profile),
                origin: Origin::Hand,
                at: now,
            },
        );
        let mut actions = vec![Action::SaveModel(model.clone()), Action::Load];
        tell(
            &mut actions,
            Outcome::Changed,
            None,
            format!("the profile of `{model}`, version {version}, is installed"),
        );
        Ok(actions)
    }

    /// An operator has a model forgotten.
    pub fn uninstall(&mut self, model: &ModelName) -> Decided {
        if !self.models.contains_key(model) {
            return Err(Refusal::new(format!(
                "there is no profile of the model `{model}`"
            )));
        }
        if let Some(device) = self
            .devices
            .values()
            .find(|d| d.role.model() == Some(model))
        {
            return Err(
                Refusal::new(format!("{} is of the model `{model}`", device.mac))
                    .help(format!("`stockade guard remove {}` first", device.mac)),
            );
        }
        self.models.remove(model);
        Ok(vec![Action::ForgetModel(model.clone()), Action::Load])
    }
}
