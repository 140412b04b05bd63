//! `[firewall]`: who may be reached, and who may reach the device.

mod traffic;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed};
use crate::net::{Endpoint, Network};
use crate::programs::ServiceName;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::words::Words;

pub use traffic::{Direction, EtherType, Family, Frame, IcmpKind, LinkAddress, Protocol, Traffic};

/// The firewall; what no rule allows is dropped.
///
/// A rule is about opening: which side may send the first packet of a flow. The packets of an open flow pass both ways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// Flows that others may open to the device.
    pub inward: Vec<Inward>,
    /// Flows that the device may open.
    pub outward: Vec<Outward>,
    /// Frames on the link that are neither IP nor ARP.
    pub frames: Vec<Frame>,
}

/// A flow that others may open to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inward {
    /// Who may.
    pub from: Endpoint,
    /// With which packets; the port is the device's.
    pub traffic: Traffic,
}

/// A flow that the device may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// Where to.
    pub to: Endpoint,
    /// With which packets; the port is the other end's.
    pub traffic: Traffic,
    /// The only service on the device that may; any program if absent.
    pub service: Option<ServiceName>,
}

impl Form for Firewall {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let inward = keys.or_default("in");
        let inward = keys.distinct("in", inward, |a: &Inward, b| {
            (&a.from, a.traffic.kind()) == (&b.from, b.traffic.kind())
        });
        let outward = keys.or_default("out");
        let outward = keys.distinct("out", outward, |a: &Outward, b| {
            (&a.to, a.traffic.kind(), &a.service) == (&b.to, b.traffic.kind(), &b.service)
        });
        let frames = keys.or_default("frame");
        keys.finish()?;
        Ok(Self {
            inward: inward?,
            outward: outward?,
            frames: frames?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("in", &self.inward)
            .unless_default("out", &self.outward)
            .unless_default("frame", &self.frames)
            .done()
    }
}

impl Form for Inward {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let from = keys.required("from", "\"local-network\"");
        if let Ok(from) = &from {
            warn_of_everyone(&keys, "from", from);
        }
        let traffic = Traffic::read(&mut keys, from.as_ref().ok(), "443");
        keys.finish()?;
        Ok(Self {
            from: from?,
            traffic: traffic?,
        })
    }

    fn write(&self) -> Value {
        let peer = Writer::default().put("from", &self.from);
        self.traffic.write(peer).done()
    }
}

impl Form for Outward {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let to = keys.required("to", "\"gateway\"");
        if let Ok(to) = &to {
            warn_of_everyone(&keys, "to", to);
        }
        let traffic = Traffic::read(&mut keys, to.as_ref().ok(), "8883");
        let service = keys.optional("service");
        keys.finish()?;
        Ok(Self {
            to: to?,
            traffic: traffic?,
            service: service?,
        })
    }

    fn write(&self) -> Value {
        let peer = Writer::default().put("to", &self.to);
        let rule = self.traffic.write(peer);
        rule.some("service", self.service.as_ref()).done()
    }
}

fn warn_of_everyone(keys: &Keys<'_>, key: &str, endpoint: &Endpoint) {
    let whole = |network: &Network| network.prefix() == 0;
    if *endpoint == Endpoint::Any || matches!(endpoint, Endpoint::Network(it) if whole(it)) {
        let wrong = Malformed::new(format!("`{endpoint}` is the whole internet"));
        keys.warn(
            key,
            wrong.help("name the hosts or the networks that are needed"),
        );
    }
}

impl Firewall {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        const CONTROL: Control = Control::Firewall;
        if self.inward.is_empty() {
            words.say(CONTROL, "may be reached from nowhere");
        }
        for rule in &self.inward {
            words.say(CONTROL, rule.spoken());
        }
        if self.outward.is_empty() {
            words.say(CONTROL, "may connect to nothing");
        }
        for rule in &self.outward {
            words.say(CONTROL, rule.spoken());
        }
        for frame in &self.frames {
            words.say(CONTROL, frame.spoken());
        }
    }
}

impl Inward {
    /// The rule as a sentence about the device: `may be reached from the local network on tcp port 443`.
    pub fn spoken(&self) -> String {
        let (from, traffic) = (self.from.spoken(), self.traffic.spoken());
        format!("may be reached from {from} on {traffic}")
    }
}

impl Outward {
    /// The rule as a sentence about the device: `may connect to the gateway on tcp port 8883`.
    pub fn spoken(&self) -> String {
        let (to, traffic) = (self.to.spoken(), self.traffic.spoken());
        let service = match &self.service {
            Some(service) => format!(", from its service `{service}` only"),
            None => String::new(),
        };
        format!("may connect to {to} on {traffic}{service}")
    }
}

impl Frame {
    /// The rule as a sentence about the device: `may send frames of the type 0x888e on its link`.
    pub fn spoken(&self) -> String {
        let Self {
            direction,
            ethertype,
            peer,
        } = self;
        let (does, side) = match direction {
            Direction::In => ("get", "from"),
            Direction::Out => ("send", "to"),
        };
        let peer = match peer {
            Some(LinkAddress::BROADCAST) => format!(" {side} all stations"),
            Some(peer) => format!(" {side} {peer}"),
            None => String::new(),
        };
        format!("may {does} frames of the type {ethertype} on its link{peer}")
    }
}
