//! What was learned, as a profile's text and as words.

use std::fmt::Write as _;

use stockade_profile::{
    Class as DeviceClass, Direction, Endpoint, Inward, Malformed, Manufacturer, ModelName, Outward,
    Profile, Traffic,
};

use super::rules::{Learned, Rule, Seen, Station};

/// What a profile says besides its rules.
#[derive(Debug, Clone)]
pub struct Header {
    /// Who makes the device.
    pub manufacturer: Manufacturer,
    /// The model's name.
    pub model: ModelName,
}

/// Why nothing could be learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// Something that we made is refused by the profile's own rules: a fault of ours.
    #[error("a learned rule is not sound: {}", .0.message)]
    Ours(Malformed),
    /// More rules than a profile may have.
    #[error(
        "{rules} rules are more than a profile may have ({why}); does the device scan? Learn from other captures"
    )]
    TooMany {
        /// How many rules were made.
        rules: usize,
        /// What the profile's reader says.
        why: String,
    },
    /// The profile without rules can not be read: a fault of ours.
    #[error("the empty profile is not sound")]
    Empty,
}

/// A profile that says nothing; its header is then replaced.
const EMPTY: &str = "schema = 1\n[device]\nmanufacturer = \"unknown\"\nmodel = \"unknown\"\nversion = 1\n\
    class = \"agentless\"\n";

impl Header {
    pub(super) fn profile(&self) -> Result<Profile, LearnError> {
        let mut profile = stockade_profile::parse(EMPTY).map_err(|_| LearnError::Empty)?;
        profile.device.manufacturer = self.manufacturer.clone();
        profile.device.model = self.model.clone();
        profile.device.class = DeviceClass::Agentless;
        Ok(profile)
    }
}

impl Learned {
    /// The profile as text; comments say how often each rule was needed.
    pub fn to_toml(&self) -> String {
        let mut bare = self.profile.clone();
        bare.firewall = stockade_profile::Firewall::default();
        let mut text = format!(
            "# Learned from {}. Read it before you trust it: what the device did while it was watched\n\
             # is allowed from now on, and nothing else.\n",
            plural(self.captures, "capture")
        );
        text.push_str(&bare.to_toml());
        for rule in &self.rules {
            text.push('\n');
            rule.write(&mut text, self.captures);
        }
        text
    }
}

impl Rule {
    /// The rule as a sentence about the device.
    pub fn words(&self) -> String {
        match (&self.station, self.direction) {
            (Station::Host(from, traffic), Direction::In) => Inward {
                from: from.clone(),
                traffic: *traffic,
            }
            .spoken(),
            (Station::Host(to, traffic), Direction::Out) => Outward {
                to: to.clone(),
                traffic: *traffic,
                service: None,
            }
            .spoken(),
            (Station::Frame(frame), _) => frame.spoken(),
        }
    }

    /// The rule as it stands in a profile, behind a comment.
    fn write(&self, text: &mut String, captures: usize) {
        // Writing to a string does not fail.
        let _written = match &self.station {
            Station::Host(endpoint, traffic) => host(text, self, endpoint, traffic, captures),
            Station::Frame(frame) => frame_text(text, frame, self.seen, captures),
        };
    }
}

fn host(
    text: &mut String,
    rule: &Rule,
    endpoint: &Endpoint,
    traffic: &Traffic,
    captures: usize,
) -> std::fmt::Result {
    let (table, key) = match rule.direction {
        Direction::In => ("in", "from"),
        Direction::Out => ("out", "to"),
    };
    writeln!(text, "{}", comment(rule.seen, captures, "flow"))?;
    match rule.of_ports {
        None => {}
        Some(0 | 1) => writeln!(
            text,
            "# whoever asks chooses the port: the range is where systems take them from"
        )?,
        Some(count) => writeln!(
            text,
            "# {count} ports seen, others each time: the range is where systems take them from"
        )?,
    }
    writeln!(text, "[[firewall.{table}]]")?;
    writeln!(text, "{key} = \"{endpoint}\"")?;
    writeln!(text, "protocol = \"{}\"", traffic.protocol)?;
    for (key, port) in [("port", traffic.port), ("source-port", traffic.source_port)] {
        if let Some(port) = port {
            let quote = if port.first() == port.last() {
                ""
            } else {
                "\""
            };
            writeln!(text, "{key} = {quote}{port}{quote}")?;
        }
    }
    if let Some(family) = traffic.family {
        writeln!(text, "family = \"{family}\"")?;
    }
    if let Some(icmp) = traffic.icmp {
        writeln!(text, "icmp-type = {}", icmp.kind)?;
        if let Some(code) = icmp.code {
            writeln!(text, "icmp-code = {code}")?;
        }
    }
    Ok(())
}

fn frame_text(
    text: &mut String,
    frame: &stockade_profile::Frame,
    seen: Seen,
    captures: usize,
) -> std::fmt::Result {
    let direction = match frame.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    writeln!(text, "{}", comment(seen, captures, "frame"))?;
    writeln!(text, "[[firewall.frame]]")?;
    writeln!(text, "direction = \"{direction}\"")?;
    writeln!(text, "ethertype = {}", frame.ethertype)
}

fn comment(seen: Seen, captures: usize, what: &str) -> String {
    let count = plural(usize::try_from(seen.flows).unwrap_or(usize::MAX), what);
    match captures {
        _ if seen.once(captures) && seen.flows <= 1 => {
            "# Seen once: is it what the device is for?".to_owned()
        }
        2.. if seen.once(captures) => {
            format!("# Seen in one capture of {captures} ({count}): is it what the device is for?")
        }
        2.. => format!("# {count} in {} of {captures} captures", seen.captures),
        _ => format!("# {count}"),
    }
}

/// A count with its noun.
fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
