//! `[firewall]`: who may be reached, and who may reach the device.

use crate::fault::{Faulted, Faults, Malformed};
use crate::net::{Endpoint, PortRange, Transport};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::words::Words;
use crate::{Control, Rate};

/// The firewall; what no rule allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// Connections that others may open to the device.
    pub inward: Vec<Inward>,
    /// Connections that the device may open.
    pub outward: Vec<Outward>,
}

/// A connection that others may open to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inward {
    /// Who may.
    pub from: Endpoint,
    /// The transport.
    pub protocol: Transport,
    /// The device's port.
    pub port: PortRange,
    /// How many new connections.
    pub rate: Option<Rate>,
}

/// A connection that the device may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// Where to.
    pub to: Endpoint,
    /// The transport.
    pub protocol: Transport,
    /// The other end's port.
    pub port: PortRange,
    /// How many new connections.
    pub rate: Option<Rate>,
}

impl Form for Firewall {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let inward = keys.or_default("in");
        let inward = keys.distinct("in", inward, |a: &Inward, b| {
            (&a.from, a.protocol, a.port) == (&b.from, b.protocol, b.port)
        });
        let outward = keys.or_default("out");
        let outward = keys.distinct("out", outward, |a: &Outward, b| {
            (&a.to, a.protocol, a.port) == (&b.to, b.protocol, b.port)
        });
        keys.finish()?;
        Ok(Self {
            inward: inward?,
            outward: outward?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("in", &self.inward)
            .unless_default("out", &self.outward)
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
        let protocol = keys.required("protocol", "\"tcp\"");
        let port = keys.required("port", "443");
        let rate = keys.optional("rate");
        keys.finish()?;
        Ok(Self {
            from: from?,
            protocol: protocol?,
            port: port?,
            rate: rate?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("from", &self.from)
            .put("protocol", &self.protocol)
            .put("port", &self.port)
            .some("rate", self.rate.as_ref())
            .done()
    }
}

impl Form for Outward {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let to = keys.required("to", "\"gateway\"");
        if let Ok(to) = &to {
            warn_of_everyone(&keys, "to", to);
        }
        let protocol = keys.required("protocol", "\"tcp\"");
        let port = keys.required("port", "8883");
        let rate = keys.optional("rate");
        keys.finish()?;
        Ok(Self {
            to: to?,
            protocol: protocol?,
            port: port?,
            rate: rate?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("to", &self.to)
            .put("protocol", &self.protocol)
            .put("port", &self.port)
            .some("rate", self.rate.as_ref())
            .done()
    }
}

fn warn_of_everyone(keys: &Keys<'_>, key: &str, endpoint: &Endpoint) {
    if let Endpoint::Network(network) = endpoint
        && network.prefix() == 0
    {
        let wrong = Malformed::new(format!("`{network}` is the whole internet"));
        keys.warn(
            key,
            wrong.help("name the hosts or the networks that are needed"),
        );
    }
}

impl Firewall {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        const CONTROL: Control = Control::Firewall;
        let rate = |rate: Option<Rate>| {
            rate.map(|rate| format!(", {} at most", rate.spoken()))
                .unwrap_or_default()
        };
        if self.inward.is_empty() {
            words.say(CONTROL, "may be reached from nowhere");
        }
        for rule in &self.inward {
            let (from, limit) = (rule.from.spoken(), rate(rule.rate));
            let (protocol, port) = (rule.protocol, rule.port.spoken());
            let text = format!("may be reached from {from} on {protocol} {port}{limit}");
            words.say(CONTROL, text);
        }
        if self.outward.is_empty() {
            words.say(CONTROL, "may connect to nothing");
        }
        for rule in &self.outward {
            let (to, limit) = (rule.to.spoken(), rate(rule.rate));
            let (protocol, port) = (rule.protocol, rule.port.spoken());
            words.say(
                CONTROL,
                format!("may connect to {to} on {protocol} {port}{limit}"),
            );
        }
    }
}
