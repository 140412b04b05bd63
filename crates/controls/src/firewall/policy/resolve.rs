//! From a profile to what it means here.

use core::net::IpAddr;

use stockade_profile::{Direction, Endpoint, Profile, Rate, ServiceName, Traffic};

use super::builtin::{builtins, hosts, link_local};
use super::{Allow, Peer, Policy, RuleId, Service, Side, Unmet};
use crate::firewall::surroundings::{Group, Maker, Surroundings, Url};

/// The classes of controllers that need no setting (RFC 8520 §17.7), and the one that real files use beside them.
const DNS: &str = "urn:ietf:params:mud:dns";
const GATEWAY: &str = "urn:ietf:params:mud:gateway";

impl Policy {
    /// What the profile's firewall means in these surroundings.
    ///
    /// A rule that can not hold here (a controller nobody named, a service with no cgroup) allows nothing and is told in
    /// [`Policy::unmet`].
    pub fn of(profile: &Profile, around: &Surroundings, side: Side) -> Self {
        let mut policy = Self {
            model: profile.device.model.clone(),
            allow: builtins(around, side),
            frames: Vec::new(),
            unmet: Vec::new(),
            forwarded: around.forwarder.is_some(),
            direct: Vec::new(),
        };
        let place = Place {
            profile,
            around,
            side,
        };
        for (index, rule) in profile.firewall.inward.iter().enumerate() {
            let id = RuleId::In(index.saturating_add(1));
            let allow = place.allow(id, Direction::In, (&rule.from, &rule.traffic), None);
            policy.take(allow, id, rule.spoken());
        }
        for (index, rule) in profile.firewall.outward.iter().enumerate() {
            let id = RuleId::Out(index.saturating_add(1));
            let service = rule.service.as_ref();
            let allow = place.allow(id, Direction::Out, (&rule.to, &rule.traffic), service);
            policy.take(allow, id, rule.spoken());
        }
        for (index, frame) in profile.firewall.frames.iter().enumerate() {
            let id = RuleId::Frame(index.saturating_add(1));
            policy.frames.push((id, *frame));
        }
        policy.direct = policy.named_resolvers();
        policy
    }

    fn take(&mut self, allow: Result<Allow, String>, id: RuleId, rule: String) {
        match allow {
            Ok(allow) => self.allow.push(Allow { why: rule, ..allow }),
            Err(why) => self.unmet.push(Unmet { id, why, rule }),
        }
    }
}

/// Whose rules, and where.
struct Place<'p> {
    profile: &'p Profile,
    around: &'p Surroundings,
    side: Side,
}

impl Place<'_> {
    fn allow(
        &self,
        id: RuleId,
        direction: Direction,
        (endpoint, traffic): (&Endpoint, &Traffic),
        service: Option<&ServiceName>,
    ) -> Result<Allow, String> {
        if let Some(rate) = traffic.rate
            && !fits_a_bucket(rate)
        {
            return Err("a rate below one a week can not be kept".to_owned());
        }
        Ok(Allow {
            id,
            direction,
            peer: self.peer(endpoint)?,
            traffic: *traffic,
            // At the gateway nobody knows which program sent a packet: the device itself enforces it.
            service: match (service, self.side) {
                (Some(service), Side::Device) => Some(self.service(service)?),
                (Some(_), Side::Guard) | (None, _) => None,
            },
            on_link: false,
            mark: None,
            literal: matches!(endpoint, Endpoint::Address(_) | Endpoint::Network(_)),
            why: String::new(),
        })
    }

    fn service(&self, name: &ServiceName) -> Result<Service, String> {
        let cgroup = self.around.services.get(name);
        let cgroup = cgroup.ok_or_else(|| {
            format!("the service `{name}` has no cgroup here: start it, then apply the rules again")
        })?;
        Ok(Service {
            name: name.clone(),
            cgroup: cgroup.clone(),
        })
    }

    fn peer(&self, endpoint: &Endpoint) -> Result<Peer, String> {
        let around = self.around;
        match endpoint {
            Endpoint::Any => Ok(Peer::Any),
            Endpoint::Gateway => self.gateway(),
            Endpoint::LocalNetwork => Ok(Peer::Networks(
                around.local.iter().copied().chain(link_local()).collect(),
            )),
            Endpoint::Address(address) => Ok(Peer::Networks(hosts(&[*address]))),
            Endpoint::Network(network) => Ok(Peer::Networks(vec![*network])),
            Endpoint::Host(_) if around.forwarder.is_none() => {
                Err("no DNS forwarder runs here, so the name has no addresses".to_owned())
            }
            Endpoint::Host(host) => Ok(Peer::Name(host.clone())),
            Endpoint::Controller(uri) => match around.controllers.get(uri) {
                Some(hosts) => known(hosts, || format!("nobody is named as `{uri}`")),
                None if uri.as_str() == GATEWAY => self.gateway(),
                None if uri.as_str() == DNS => {
                    known(&around.resolvers, || "no DNS resolver is known".to_owned())
                }
                None => Err(format!(
                    "nobody is named as `{uri}`: the settings say who it is"
                )),
            },
            Endpoint::MyController => known(&around.my_controllers, || {
                "no controller of this model is named: the settings say who it is".to_owned()
            }),
            Endpoint::Model(model) => self.group(Group::Model(model.clone())),
            Endpoint::Manufacturer(host) => self.group(Group::Authority(host.clone())),
            Endpoint::MudModel(url) => self.group(Group::Mud(Url::from(url))),
            Endpoint::SameManufacturer => self.group(maker(self.profile)),
        }
    }

    fn gateway(&self) -> Result<Peer, String> {
        known(&self.around.gateway, || {
            "the gateway's address is not known".to_owned()
        })
    }

    /// A device can not tell a model by its address: it is told who is one, or nobody is.
    fn group(&self, group: Group) -> Result<Peer, String> {
        match (self.side, self.around.members.get(&group)) {
            (Side::Guard, _) => Ok(Peer::Group(group)),
            (Side::Device, members) => known(members.map_or(&[], Vec::as_slice), || {
                format!("no address of {group} is known here")
            }),
        }
    }
}

fn known(addresses: &[IpAddr], otherwise: impl FnOnce() -> String) -> Result<Peer, String> {
    if addresses.is_empty() {
        Err(otherwise())
    } else {
        Ok(Peer::Networks(hosts(addresses)))
    }
}

/// The group of the profile's own manufacturer.
fn maker(profile: &Profile) -> Group {
    Group::Maker(Maker::from(&profile.device.manufacturer))
}

/// The groups that a device with this profile is in.
pub fn groups_of(profile: &Profile) -> Vec<Group> {
    vec![Group::Model(profile.device.model.clone()), maker(profile)]
}

/// The kernel's buckets refill at least once a week.
fn fits_a_bucket(rate: Rate) -> bool {
    const WEEK: u64 = 7 * 86_400;
    u64::from(rate.count).saturating_mul(WEEK) >= rate.per.as_secs()
}
