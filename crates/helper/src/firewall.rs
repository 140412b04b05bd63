//! The firewall of the profile that is installed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use stockade_api::helper::{Admission, Refusal, Refused, Weight};
use stockade_controls::engine::{FirewallState, HostPath};
use stockade_controls::firewall::names::may_stand_for;
use stockade_host::admit::{self, Admit as _};
use stockade_host::apply::Rules;
use stockade_host::firewall::{Firewall, FirewallError, How, Names, Settled, Wanted, standing};
use stockade_host::surroundings::Told;
use stockade_profile::{Endpoint, HostName, Profile};

use crate::device::Device;
use crate::events::By;
use crate::refusal::{failed, refused};

/// How long the agent has to reach the gateway under new rules.
const TRIAL: Duration = Duration::from_mins(5);
/// As many addresses as are admitted at once.
const MOST_ADMITTED: usize = 256;
/// The longest time for which an address is admitted, in seconds.
const LONGEST: u64 = 24 * 60 * 60;

impl Device {
    pub(crate) fn rules(&self) -> Result<Firewall, FirewallError> {
        Firewall::at(&self.places.firewall_state())
    }

    /// Sees to it that the rules in force are those of the profile; seconds for which they are on trial, if they are.
    pub(crate) fn settle_firewall(&self) -> Result<Option<u64>, Refused> {
        let isolated = self.is_isolated();
        let enforced = |profile: Arc<Profile>| {
            if isolated {
                self.isolated(&profile)
            } else {
                profile
            }
        };
        let Some(profile) = self.profile().map(enforced) else {
            return Ok(None);
        };
        let wrong = |why: FirewallError| failed(&why);
        let firewall = self.rules().map_err(wrong)?;
        let status = firewall.status().map_err(wrong)?;
        let version = profile.device.version;
        let of = |record: &stockade_host::firewall::Record| {
            let read = stockade_profile::check(&record.profile).profile;
            read.is_some_and(|it| it == *profile)
        };
        if let Settled::Trial { left } = status.settled
            && status.pending.as_ref().is_some_and(of)
        {
            return Ok(Some(left.as_secs()));
        }
        if status.confirmed.as_ref().is_some_and(of) {
            firewall.refresh().map_err(wrong)?;
            self.mended("firewall");
            return Ok(None);
        }
        let wanted = Wanted {
            text: profile.to_toml(),
            profile: (*profile).clone(),
            told: self.told()?,
            session: None,
        };
        // What isolates must not be taken back by itself, whoever is reached or not.
        let how = if isolated {
            How::AtOnce
        } else {
            How::Trial(TRIAL)
        };
        let applied = firewall.apply(&wanted, how).map_err(wrong)?;
        self.forget_look();
        self.mended("firewall");
        if isolated {
            return Ok(None);
        }
        let says = format!(
            "The firewall has the rules of profile version {version}, on trial until the gateway is reached"
        );
        self.note(Weight::Change, By::Helper, "firewall", &says);
        Ok(applied.trial.map(|it| it.as_secs()))
    }

    fn told(&self) -> Result<Told, Refused> {
        let gateway: Vec<IpAddr> = match self.settings.gateway.parse() {
            Ok(address) => vec![address],
            Err(_) => self
                .hands
                .resolve(&self.settings.gateway)
                .map_err(|why| failed(&why))?,
        };
        Ok(Told {
            gateway,
            forwarder: self.settings.forwarder,
            agent: Some(self.arguments.agent.0),
            ..Told::default()
        })
    }

    /// The gateway was reached: rules on trial hold for good, and those that were taken back get another trial.
    pub(crate) fn connected(&self) -> Result<(), Refused> {
        self.update_reached();
        self.keep_network()?;
        let _work = self.work()?;
        let firewall = self.rules().map_err(|why| failed(&why))?;
        let status = firewall.status().map_err(|why| failed(&why))?;
        let window = status
            .pending
            .as_ref()
            .is_some_and(|it| it.told.upnp.is_some());
        if matches!(status.settled, Settled::Trial { .. }) && !window {
            firewall.confirm().map_err(|why| failed(&why))?;
            self.forget_look();
            self.note(
                Weight::Change,
                By::Agent,
                "firewall",
                "The gateway was reached: the firewall's rules hold for good",
            );
        } else if !window {
            self.settle_firewall()?;
        }
        Ok(())
    }

    /// Opens the firewall for addresses of names that the profile names, and of no others.
    pub(crate) fn admit(
        &self,
        put: &[Admission],
        gone: &[(String, IpAddr)],
    ) -> Result<(), Refused> {
        let profile = self.need_profile()?;
        if put.len().saturating_add(gone.len()) > MOST_ADMITTED {
            return Err(refused(Refusal::Profile, "too many addresses at once", ""));
        }
        let inward = profile.firewall.inward.iter().map(|it| &it.from);
        let outward = profile.firewall.outward.iter().map(|it| &it.to);
        let named: Vec<&Endpoint> = inward.chain(outward).collect();
        let known = |text: &str| -> Result<HostName, Refused> {
            let name = text.parse::<HostName>().ok();
            let is_named = |name: &HostName| named.contains(&&Endpoint::Host(name.clone()));
            name.filter(is_named).ok_or_else(|| {
                let why = format!("the profile says nothing of `{}`", text.escape_debug());
                refused(Refusal::Profile, why, "")
            })
        };
        let put: Vec<admit::Admission> = put
            .iter()
            .map(|it| {
                Ok(admit::Admission {
                    name: stands(known(&it.name)?, it.address)?,
                    address: it.address,
                    keep: Duration::from_secs(it.keep.min(LONGEST)),
                })
            })
            .collect::<Result<_, Refused>>()?;
        let gone: Vec<(HostName, IpAddr)> = gone
            .iter()
            .map(|(name, address)| Ok((known(name)?, *address)))
            .collect::<Result<_, Refused>>()?;
        Names::open(&self.places.firewall_state())
            .map_err(|why| failed(&why))?
            .admit(&put, &gone)
            .map_err(|why| failed(&why))
    }

    /// Seconds for which rules are still on trial, a window of `UPnP` apart.
    pub(crate) fn trial(&self) -> Option<u64> {
        let status = self.rules().ok()?.status().ok()?;
        let window = status
            .pending
            .as_ref()
            .is_some_and(|it| it.told.upnp.is_some());
        match status.settled {
            Settled::Trial { left } if !window => Some(left.as_secs()),
            _ => None,
        }
    }
}

/// The name, if it may stand for the address. The forwarder asks the same, but it is the agent's.
fn stands(name: HostName, address: IpAddr) -> Result<HostName, Refused> {
    if may_stand_for(&name, address) {
        return Ok(name);
    }
    let why = format!("the public name {name} points inside, to {address}");
    Err(refused(Refusal::Profile, why, ""))
}

/// The step of a plan that brings the firewall into force.
pub(crate) struct Step(pub(crate) Arc<Device>);

impl Rules for Step {
    fn in_force(&mut self) -> bool {
        let version = self.0.profile().map(|it| it.device.version);
        let state = standing(&self.0.places.firewall_state());
        matches!(state, Ok(FirewallState::InForce { version: it, .. }) if Some(it) == version)
    }

    fn apply(&mut self) -> Result<(), String> {
        self.0.settle_firewall().map(|_| ()).map_err(|why| why.why)
    }

    fn take_back(&mut self) -> Result<(), String> {
        if self.0.is_isolated() {
            return Err("the device is isolated, as its case was opened".to_owned());
        }
        let undone = self.0.rules().and_then(|firewall| firewall.undo());
        undone.map(|_| ()).map_err(|why| why.to_string())
    }

    fn set(&mut self, path: &HostPath, value: &str) -> Option<Result<(), String>> {
        Some(self.0.set(path, value).map_err(|why| why.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_opens_nothing_inside() {
        let opens = |name: &str, address: &str| {
            stands(name.parse().unwrap(), address.parse().unwrap()).is_ok()
        };
        for address in ["8.8.8.8", "2620:fe::fe"] {
            assert!(opens("update.example.com", address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.251",
            "ff02::fb",
        ] {
            assert!(!opens("update.example.com", address), "{address}");
            assert!(!opens("nas.home.arpa", address), "{address}");
        }
        for address in ["10.0.0.7", "192.168.1.1", "fd00::1"] {
            assert!(!opens("update.example.com", address), "{address}");
            assert!(opens("nas.home.arpa", address), "{address}");
        }
    }
}
