//! The other end of a firewall rule.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use super::{HostName, HttpsUrl, Network};
use crate::fault::{Malformed, nearest, quote};
use crate::read::Text;
use crate::text::{name, uri};
use crate::{Family, ModelName};

name! {
    /// The URI of a class of controllers (RFC 8520 §4.6); the operator's settings say which hosts are of it.
    ClassUri: "a class of controllers", uri
}

/// The other end of a firewall rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The device's gateway.
    Gateway,
    /// Every address of the networks that the device itself is in.
    LocalNetwork,
    /// A host by name, followed as its addresses change.
    Host(HostName),
    /// One address.
    Address(IpAddr),
    /// A network.
    Network(Network),
    /// Every device of another model.
    Model(ModelName),
    /// Every address there is.
    Any,
    /// Every device whose MUD URL has the same host as this one's.
    SameManufacturer,
    /// Every device whose MUD URL has this host (RFC 8520 §4.1).
    Manufacturer(HostName),
    /// The hosts of a class, as the operator's settings have it.
    Controller(ClassUri),
    /// The hosts that the operator made controllers of this model.
    MyController,
    /// Every device with this MUD URL.
    MudModel(HttpsUrl),
}

const ENDPOINT_HELP: &str = "gateway, local-network, a host name, an address, a network, model:<model>, \
    same-manufacturer, manufacturer:<host>, my-controller, controller:<uri>, mud:<https url> or any";

/// The words that are whole endpoints.
const WORDS: [(&str, Endpoint); 5] = [
    ("gateway", Endpoint::Gateway),
    ("local-network", Endpoint::LocalNetwork),
    ("any", Endpoint::Any),
    ("same-manufacturer", Endpoint::SameManufacturer),
    ("my-controller", Endpoint::MyController),
];

impl FromStr for Endpoint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::new("an endpoint can not be empty").help(ENDPOINT_HELP));
        }
        if let Some((_, endpoint)) = WORDS.into_iter().find(|(word, _)| *word == text) {
            return Ok(endpoint);
        }
        match text.split_once(':') {
            Some(("model", model)) => return ModelName::new(model).map(Self::Model),
            Some(("manufacturer", host)) => return host.parse().map(Self::Manufacturer),
            Some(("controller", uri)) => return ClassUri::new(uri).map(Self::Controller),
            Some(("mud", url)) => return url.parse().map(Self::MudModel),
            _ => (),
        }
        if text.contains('/') {
            return text.parse().map(Self::Network);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            if address.is_unspecified() {
                let wrong = Malformed::new(format!("{address} is nobody's address"));
                return Err(wrong.help(ENDPOINT_HELP));
            }
            return Ok(Self::Address(address));
        }
        if text.contains('.') {
            return text.parse().map(Self::Host);
        }
        let wrong = Malformed::new(format!("`{}` is not an endpoint", quote(text)));
        Err(match nearest(text, WORDS.iter().map(|(word, _)| *word)) {
            Some(word) => wrong.help(format!("did you mean \"{word}\"?")),
            None => wrong.help(ENDPOINT_HELP),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::LocalNetwork => f.write_str("local-network"),
            Self::Any => f.write_str("any"),
            Self::SameManufacturer => f.write_str("same-manufacturer"),
            Self::MyController => f.write_str("my-controller"),
            Self::Manufacturer(host) => write!(f, "manufacturer:{host}"),
            Self::Controller(uri) => write!(f, "controller:{uri}"),
            Self::MudModel(url) => write!(f, "mud:{url}"),
            Self::Host(host) => host.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Model(model) => write!(f, "model:{model}"),
        }
    }
}

impl Text for Endpoint {}

impl Endpoint {
    /// A network, or the one address that it is.
    pub(crate) fn of_network(network: Network) -> Self {
        let whole = if network.address().is_ipv4() { 32 } else { 128 };
        if network.prefix() == whole {
            Self::Address(network.address())
        } else {
            Self::Network(network)
        }
    }

    /// Its addresses as one network, if it says them.
    pub(crate) fn as_network(&self) -> Option<Network> {
        match self {
            Self::Network(network) => Some(*network),
            Self::Address(address) => {
                Network::around(*address, if address.is_ipv4() { 32 } else { 128 })
            }
            Self::Gateway
            | Self::LocalNetwork
            | Self::Host(_)
            | Self::Model(_)
            | Self::Any
            | Self::SameManufacturer
            | Self::Manufacturer(_)
            | Self::Controller(_)
            | Self::MyController
            | Self::MudModel(_) => None,
        }
    }

    /// The family of its addresses, if it says them.
    pub fn family(&self) -> Option<Family> {
        let address = self.as_network()?.address();
        Some(if address.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        })
    }

    /// Whether it is 255.255.255.255, every host on the link.
    pub(crate) fn is_limited_broadcast(&self) -> bool {
        *self == Self::Address(core::net::Ipv4Addr::BROADCAST.into())
    }

    /// Whether it is an address of many hosts at once, which no router passes on by itself.
    pub(crate) fn is_for_many(&self) -> bool {
        let group = |network: Network| {
            let least = if network.address().is_ipv4() { 4 } else { 8 };
            network.address().is_multicast() && network.prefix() >= least
        };
        self.is_limited_broadcast() || self.as_network().is_some_and(group)
    }

    /// For a sentence: `the local network`.
    pub(crate) fn spoken(&self) -> String {
        match self {
            Self::Gateway => "the gateway".to_owned(),
            Self::LocalNetwork => "the local network".to_owned(),
            Self::Host(host) => format!("`{host}`"),
            Self::Address(address) => format!("the address {address}"),
            Self::Network(network) if network.prefix() == 0 => "anywhere".to_owned(),
            Self::Network(network) => format!("the network {network}"),
            Self::Model(model) => format!("devices of the model `{model}`"),
            Self::Any => "anywhere".to_owned(),
            Self::SameManufacturer => "devices of the same manufacturer".to_owned(),
            Self::Manufacturer(host) => format!("devices of the manufacturer `{host}`"),
            Self::Controller(uri) => format!("the controllers `{uri}`"),
            Self::MyController => "the controllers of this model".to_owned(),
            Self::MudModel(url) => format!("devices described by `{url}`"),
        }
    }
}
