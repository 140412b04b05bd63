//! The answer of a comparison, in words.

use std::fmt;

use stockade_profile::Direction;

use super::super::decide::{Because, Decision, Probe, State};
use super::super::eval::{EvalError, Place};
use super::super::nft::Ruleset;

/// Whether the rules decide as the policy does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// For every packet.
    Same {
        /// How many classes of packets were compared.
        classes: u64,
    },
    /// Not for this packet, and maybe not for others.
    Differs(Box<CounterExample>),
    /// It could not be told, so it is not taken to be so.
    Unjudged(String),
}

/// A packet for which the rules decide otherwise than the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterExample {
    /// The packet, seen from the device.
    pub probe: Probe,
    /// What the packet is, beyond that.
    pub also: Vec<String>,
    /// What the policy says.
    pub expected: Decision,
    /// What the rules do.
    pub got: Got,
    /// The chain of the rule that did it, and the rule as nft writes it.
    pub by: Option<(String, String)>,
}

/// What rules do to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// It passes.
    Passes,
    /// It is sent to this port of this host.
    Redirected(u16),
    /// It is dropped.
    Dropped,
}

impl From<EvalError> for Verdict {
    fn from(error: EvalError) -> Self {
        Self::Unjudged(error.to_string())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same { classes } => {
                write!(
                    f,
                    "the same decision for all packets ({classes} classes compared)"
                )
            }
            Self::Differs(example) => example.fmt(f),
            Self::Unjudged(why) => write!(f, "could not be judged: {why}"),
        }
    }
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probe = &self.probe;
        let (to, way) = match probe.direction {
            Direction::In => ("from", "in"),
            Direction::Out => ("to", "out"),
        };
        let state = match probe.state {
            State::New => "opens a flow",
            State::Established => "is of an open flow",
            State::Related => "is about an open flow",
            State::Invalid => "fits no flow",
            State::Untracked => "is not tracked",
        };
        write!(
            f,
            "a packet that comes {way}, {to} {}, protocol {}",
            probe.peer, probe.protocol
        )?;
        match probe.icmp {
            Some((kind, code)) => write!(f, ", type {kind}, code {code}")?,
            None if probe.source_port != 0 || probe.destination_port != 0 => write!(
                f,
                ", from port {} to port {}",
                probe.source_port, probe.destination_port
            )?,
            None => {}
        }
        write!(f, ", and {state}")?;
        if let Some(service) = &probe.service {
            write!(f, ", sent by the service {service}")?;
        }
        for also in &self.also {
            write!(f, ", {also}")?;
        }
        match self.expected {
            Decision::Allowed(Because::Rule(id)) => write!(f, ": the profile lets it pass ({id})")?,
            Decision::Allowed(_) => f.write_str(": the profile lets it pass")?,
            Decision::Forwarded => f.write_str(": it is a question for our DNS forwarder")?,
            Decision::Refused(reason) => write!(f, ": the profile refuses it ({reason})")?,
        }
        match self.got {
            Got::Passes => f.write_str(", the kernel lets it pass")?,
            Got::Redirected(port) => write!(f, ", the kernel sends it to port {port}")?,
            Got::Dropped => f.write_str(", the kernel drops it")?,
        }
        match &self.by {
            Some((chain, rule)) => write!(f, " by `{rule}` in {chain}"),
            None => f.write_str(": nothing is hooked in for it"),
        }
    }
}

/// A place as people find it: the chain, and the rule or the chain's end.
pub(super) fn spoken(ruleset: &Ruleset, place: &Place) -> (String, String) {
    let tables = ruleset.tables.iter();
    let mut chains = tables
        .filter(|table| table.name == place.table)
        .filter_map(|table| Some((table, table.chain(place.chain.as_str())?)));
    let Some((table, chain)) = chains.next() else {
        return (place.chain.to_string(), String::new());
    };
    let rule = place.rule.and_then(|rule| chain.rules.get(rule));
    let rule = rule.map_or_else(|| "the chain's end".to_owned(), ToString::to_string);
    (
        format!("{} {} {}", table.family, table.name, chain.name),
        rule,
    )
}
