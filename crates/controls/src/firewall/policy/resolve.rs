//! From a profile to what it means here.

use core::net::IpAddr;

use stockade_profile::{
    Direction, Endpoint, HostName, ModelName, PortRange, Profile, Protocol, Rate, ServiceName,
    Traffic,
};

use super::builtin::{builtins, hosts, link_local, rule};
use super::{Allow, Fronted, Peer, Policy, RuleId, Service, Side, Unmet, Window};
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
            model: Some(profile.device.model.clone()),
            allow: builtins(around, side),
            frames: Vec::new(),
            unmet: Vec::new(),
            forwarded: around.forwarder.is_some(),
            direct: Vec::new(),
            window: (side == Side::Device)
                .then(|| Window::of(profile, around))
                .flatten(),
            fronted: match side {
                Side::Device => Fronted::of(profile, around),
                Side::Guard => Fronted::default(),
            },
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

    /// What a device in quarantine may do: have an address, and reach what it is mended by.
    ///
    /// `repair` are TCP ports of the gateway; a profile adds the source of its updates.
    pub fn quarantine(profile: Option<&Profile>, around: &Surroundings, repair: &[u16]) -> Self {
        let model = profile.map(|profile| profile.device.model.clone());
        let mut policy = Self::bare(model, around).without_pings();
        for port in repair {
            policy.gateway_port(
                around,
                *port,
                "repair",
                "may reach the gateway to be mended",
            );
        }
        let source = profile.and_then(|profile| profile.updates.as_ref());
        if let (Some(updates), true) = (source, around.forwarder.is_some())
            && let Some((host, port)) = host_and_port(updates.source.as_str())
        {
            let why = format!("may fetch updates from `{host}`");
            let traffic = tcp(port);
            policy
                .allow
                .push(own_rule("updates", Peer::Name(host), traffic, why));
        }
        policy
    }

    /// What a device that nobody knows may do: have an address, and read the console's notice.
    pub fn unknown(around: &Surroundings, notice: u16) -> Self {
        let mut policy = Self::bare(None, around).without_pings();
        policy.gateway_port(around, notice, "notice", "may read the console's notice");
        policy.forwarded = false;
        policy
    }

    fn without_pings(mut self) -> Self {
        let pings = RuleId::Builtin("echo");
        self.allow.retain(|allow| allow.id != pings);
        self
    }

    fn bare(model: Option<ModelName>, around: &Surroundings) -> Self {
        Self {
            model,
            allow: builtins(around, Side::Guard),
            frames: Vec::new(),
            unmet: Vec::new(),
            forwarded: around.forwarder.is_some(),
            direct: Vec::new(),
            window: None,
            fronted: Fronted::default(),
        }
    }

    fn gateway_port(&mut self, around: &Surroundings, port: u16, name: &'static str, why: &str) {
        if !around.gateway.is_empty() {
            let peer = Peer::Networks(hosts(&around.gateway));
            self.allow
                .push(own_rule(name, peer, tcp(port), why.to_owned()));
        }
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

/// The group of the profile's own manufacturer: by the host of its MUD URL (RFC 8520 §8), without one by name.
fn maker(profile: &Profile) -> Group {
    let url = profile.mud.as_ref().and_then(|mud| mud.url.as_ref());
    match url.and_then(|url| host_and_port(url.as_str())) {
        Some((host, _)) => Group::Authority(host),
        None => Group::Maker(Maker::from(&profile.device.manufacturer)),
    }
}

/// The groups that a device with this profile is in.
pub fn groups_of(profile: &Profile) -> Vec<Group> {
    let url = profile.mud.as_ref().and_then(|mud| mud.url.as_ref());
    let url = url.map(|url| Group::Mud(Url::from(url)));
    let model = Group::Model(profile.device.model.clone());
    [model, maker(profile)].into_iter().chain(url).collect()
}

/// A flow out, by a rule of ours.
fn own_rule(name: &'static str, peer: Peer, traffic: Traffic, why: String) -> Allow {
    Allow {
        why,
        ..rule(name, Direction::Out, peer, traffic)
    }
}

fn tcp(port: u16) -> Traffic {
    Traffic {
        protocol: Protocol::Tcp,
        port: PortRange::new(port, port),
        source_port: None,
        family: None,
        icmp: None,
        rate: None,
    }
}

/// The host of a checked https address, if it is a name, and its port (RFC 9110 §4.2.2).
fn host_and_port(url: &str) -> Option<(HostName, u16)> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 443),
    };
    Some((host.parse().ok()?, port))
}

/// The kernel's buckets refill at least once a week.
fn fits_a_bucket(rate: Rate) -> bool {
    const WEEK: u64 = 7 * 86_400;
    u64::from(rate.count).saturating_mul(WEEK) >= rate.per.as_secs()
}
