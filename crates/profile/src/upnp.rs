//! `[upnp]`: whether the device's page may offer to switch it on.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed};
use crate::net::{PortRange, Transport};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::units::spoken;
use crate::words::Words;

/// Universal Plug and Play; it is off until the owner switches it on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upnp {
    /// Whether the page may offer to switch it on.
    pub allow_enable: bool,
    /// After how long it goes off by itself; always there if it may be switched on.
    pub max_duration: Option<Duration>,
    /// The mappings that it may ask the router for.
    pub mappings: Vec<Mapping>,
}

/// A way in through the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The transport.
    pub protocol: Transport,
    /// The router's ports, one of which may be taken.
    pub external_ports: PortRange,
    /// The device's port.
    pub internal_port: NonZeroU16,
}

const DURATIONS: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24);

impl Form for Upnp {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let allow_enable = keys.or("allow-enable", false);
        let max_duration = keys.optional("max-duration").and_then(|duration| {
            duration
                .map(|it| keys.within("max-duration", Ok(it), &DURATIONS))
                .transpose()
        });
        let mappings = keys.or_default::<Vec<Mapping>>("mapping");
        let mut bounded = Ok(());
        match (allow_enable, &max_duration, &mappings) {
            (Ok(true), Ok(None), _) => {
                let wrong = Malformed::new("`allow-enable = true` needs `max-duration`");
                let help = "say when it goes off by itself: `max-duration = \"1h\"`";
                bounded = Err(keys.error("allow-enable", wrong.help(help)));
            }
            (Ok(false), Ok(duration), Ok(mappings))
                if duration.is_some() || !mappings.is_empty() =>
            {
                let wrong =
                    Malformed::new("UPnP is never on, so the rest of this section does nothing");
                keys.warn(
                    "allow-enable",
                    wrong.help("remove it, or write `allow-enable = true`"),
                );
            }
            _ => (),
        }
        keys.finish()?;
        bounded?;
        Ok(Self {
            allow_enable: allow_enable?,
            max_duration: max_duration?,
            mappings: mappings?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("allow-enable", &self.allow_enable)
            .some("max-duration", self.max_duration.as_ref())
            .unless_default("mapping", &self.mappings)
            .done()
    }
}

impl Form for Mapping {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let protocol = keys.required("protocol", "\"tcp\"");
        let external_ports = keys.required("external-ports", "\"40000-40010\"");
        let internal_port = keys.required("internal-port", "443");
        keys.finish()?;
        Ok(Self {
            protocol: protocol?,
            external_ports: external_ports?,
            internal_port: internal_port?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("protocol", &self.protocol)
            .put("external-ports", &self.external_ports)
            .put("internal-port", &self.internal_port)
            .done()
    }
}

impl Upnp {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        match self.max_duration.filter(|_| self.allow_enable) {
            Some(limit) => {
                let limit = spoken(limit);
                let text =
                    format!("UPnP: off; its page may offer to switch it on for up to {limit}");
                words.say(Control::Upnp, text);
            }
            None => words.say(Control::Upnp, "UPnP: off, and can not be switched on"),
        }
        for mapping in self.mappings.iter().filter(|_| self.allow_enable) {
            let (protocol, port) = (mapping.protocol, mapping.internal_port);
            let outside = mapping.external_ports.spoken();
            let text = format!(
                "while UPnP is on, may open {protocol} {outside} of the router to its port {port}"
            );
            words.say(Control::Upnp, text);
        }
    }
}
