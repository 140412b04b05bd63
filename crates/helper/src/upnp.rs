//! `UPnP`, as far as the owner may switch it on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use stockade_api::helper::{Answer, Refusal, Refused, Tried, Upnp, UpnpMapping, UpnpOffer, Weight};
use stockade_host::firewall::FirewallError;
use stockade_host::netlink::routes::Routes;
use stockade_host::nft::NftError;
use stockade_host::upnp::{self, Mapped, State, UpnpError, Wish};
use stockade_profile::InterfaceName;

use crate::device::Device;
use crate::events::By;
use crate::refusal::{failed, refused};

/// The most mappings of one window that are noted.
const MOST_NOTED: usize = 64;

impl Device {
    fn switch(&self) -> Result<upnp::Upnp, UpnpError> {
        let firewall = self.rules()?;
        upnp::Upnp::new(firewall, self.arguments.upnp)
    }

    /// How it stands; what came of it since the last look is noted.
    pub(crate) fn upnp_state(&self) -> Result<State, UpnpError> {
        let mut window = self.window();
        let state = self.switch()?.state()?;
        match (&state, window.as_mut()) {
            (State::On { mappings, .. }, Some(noted)) => {
                for says in new_mappings(mappings, noted) {
                    self.note(Weight::Change, By::Helper, "upnp-mapping", &says);
                }
            }
            (State::Off, Some(_)) => {
                *window = None;
                let says = "UPnP is off: its time was over";
                self.note(Weight::Change, By::Helper, "upnp-off", says);
            }
            (_, None) => (),
        }
        Ok(state)
    }

    /// Nothing of an earlier time is left.
    pub(crate) fn recover_upnp(&self) -> Result<(), Refused> {
        match self.switch().and_then(|switch| switch.close()) {
            Ok(Some(_)) => {
                let says = "UPnP is off: it ended with the helper";
                self.note(Weight::Change, By::Helper, "upnp-off", says);
                Ok(())
            }
            // Without nft there was never a window.
            Ok(None)
            | Err(
                UpnpError::Firewall(FirewallError::Nft(NftError::NotInstalled))
                | UpnpError::Nft(NftError::NotInstalled),
            ) => Ok(()),
            Err(why) => Err(failed(&why)),
        }
    }

    /// Switches it on: for who knows the password, as the profile allows, and on no other interface than one of the home.
    pub(crate) fn upnp_on(
        &self,
        password: &Tried,
        interface: &str,
        seconds: u64,
    ) -> Result<Answer, Refused> {
        self.owner(password)?;
        let profile = self.need_profile()?;
        let most = profile
            .upnp
            .max_duration
            .filter(|_| profile.upnp.allow_enable);
        let most = most.ok_or_else(|| {
            refused(
                Refusal::Profile,
                "the profile of this device does not allow UPnP",
                "",
            )
        })?;
        let time = Duration::from_secs(seconds);
        if time > most || seconds == 0 {
            let why = format!(
                "the profile allows UPnP for {} seconds at most",
                most.as_secs()
            );
            return Err(refused(Refusal::Profile, why, "choose a shorter time"));
        }
        let lan = interface.parse::<InterfaceName>().ok();
        let lan = lan.filter(|it| choices().iter().any(|known| known == it.as_str()));
        let lan = lan.ok_or_else(|| {
            let why = "UPnP can not be on at this interface: it is not there, or leads outside";
            refused(Refusal::Profile, why, "choose one that is offered")
        })?;
        let _work = self.work()?;
        let wish = Wish {
            lan,
            time,
            address: None,
        };
        let opened = self
            .switch()
            .and_then(|switch| switch.open(&wish, &mut |start| self.hands.start_upnp(start)));
        opened.map_err(|why| failed(&why))?;
        *self.window() = Some(BTreeSet::new());
        let says = format!("UPnP is on at {interface} for {seconds} seconds");
        self.note(Weight::Change, By::Owner, "upnp-on", &says);
        Ok(Answer::Upnp { seconds })
    }

    /// Switches it off; nobody needs to prove anything for that.
    pub(crate) fn upnp_off(&self, by: By) -> Result<Answer, Refused> {
        let _work = self.work()?;
        let mut window = self.window();
        let closed = self.switch().and_then(|switch| switch.close());
        let cut = closed.map_err(|why| failed(&why))?;
        if window.take().is_some() || cut.is_some() {
            self.note(Weight::Change, by, "upnp-off", "UPnP is off");
        }
        Ok(Answer::Done)
    }

    pub(crate) fn upnp_now(&self) -> Option<Upnp> {
        let Ok(State::On {
            left,
            place,
            mappings,
            ..
        }) = self.upnp_state()
        else {
            return None;
        };
        let mappings = mappings.into_iter().map(|it| UpnpMapping {
            protocol: transport(it.protocol).to_owned(),
            external: it.external_port,
            internal: (IpAddr::V4(it.owner), it.internal_port),
        });
        Some(Upnp {
            interface: place.lan,
            seconds: left.as_secs(),
            mappings: mappings.collect(),
        })
    }

    /// What it could be switched on for.
    pub(crate) fn upnp_offer(&self) -> Option<UpnpOffer> {
        let profile = self.profile()?;
        let most = profile
            .upnp
            .max_duration
            .filter(|_| profile.upnp.allow_enable)?;
        let possible = profile.upnp.mappings.iter().map(|it| {
            format!(
                "A device of your home may open {} port {} to the internet, for its own port {}",
                it.protocol, it.external_ports, it.internal_port
            )
        });
        Some(UpnpOffer {
            interfaces: choices(),
            most: most.as_secs(),
            possible: possible.collect(),
        })
    }
}

/// Sentences for mappings that are not noted yet; a crowd of them must not push everything else out of the log.
fn new_mappings(mappings: &[Mapped], noted: &mut BTreeSet<Mapped>) -> Vec<String> {
    let mut says = Vec::new();
    for it in mappings {
        if noted.len() > MOST_NOTED || !noted.insert(*it) {
            continue;
        }
        says.push(if noted.len() > MOST_NOTED {
            "UPnP: further mappings are not listed".to_owned()
        } else {
            format!(
                "UPnP: {} has {} port {} of the outside led to its port {}",
                it.owner,
                transport(it.protocol),
                it.external_port,
                it.internal_port
            )
        });
    }
    says
}

fn transport(protocol: u8) -> &'static str {
    if protocol == 17 { "udp" } else { "tcp" }
}

/// The interfaces that do not lead outside.
fn choices() -> Vec<String> {
    let read = || {
        let mut routes = Routes::open().ok()?;
        let out: Vec<Option<u32>> = routes
            .routes()
            .ok()?
            .into_iter()
            .filter(|route| route.prefix == 0)
            .map(|route| route.index)
            .collect();
        let links = routes.links().ok()?.into_iter();
        let inside = links.filter(|it| it.up && !it.loopback && !out.contains(&Some(it.index)));
        Some(inside.map(|it| it.name).collect())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_mapping_is_noted_once_and_a_crowd_of_them_is_cut_short() {
        let mapped = |port| Mapped {
            protocol: 17,
            external_port: port,
            owner: Ipv4Addr::new(192, 168, 1, 5),
            internal_port: 80,
        };
        let mut noted = BTreeSet::new();
        let says = "UPnP: 192.168.1.5 has udp port 7 of the outside led to its port 80";
        assert_eq!(new_mappings(&[mapped(7)], &mut noted), [says]);
        assert_eq!(new_mappings(&[mapped(7)], &mut noted), [""; 0]);
        let crowd: Vec<Mapped> = (1_000..2_000).map(mapped).collect();
        let said = new_mappings(&crowd, &mut noted);
        assert_eq!(said.len(), MOST_NOTED);
        assert!(said.last().is_some_and(|it| it.contains("not listed")));
        assert_eq!(new_mappings(&crowd, &mut noted), [""; 0]);
    }
}
