//! Topics with a place for the device's id.

use std::fmt;
use std::str::FromStr;

use crate::fault::{Malformed, nearest, quote};
use crate::read::Text;

const DEVICE: &str = "${device}";
/// Leaves room for the id in a topic of at most 65,535 bytes (MQTT-4.7.3-3) and for a reader to see it whole.
const MAX_BYTES: usize = 512;
const MAX_LEVELS: usize = 32;
/// The first level of the topics that the gateway itself uses.
const RESERVED: &str = "stockade";

/// A topic or a topic filter in which `${device}` stands for the device's id.
///
/// It is well formed (MQTT 5 §4.7), begins with no `$`, and covers nothing below `stockade/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicTemplate(Box<str>);

impl TopicTemplate {
    /// Checks a filter, as a subscription has it: `+` and `#` are allowed.
    pub fn filter(text: &str) -> Result<Self, Malformed> {
        whole(text)?;
        let levels: Vec<&str> = text.split('/').collect();
        if levels.len() > MAX_LEVELS {
            return Err(Malformed::new(format!(
                "a topic has at most {MAX_LEVELS} levels"
            )));
        }
        first(levels.first().copied().unwrap_or_default())?;
        let last = levels.len().saturating_sub(1);
        levels
            .iter()
            .enumerate()
            .try_for_each(|(index, level)| check_level(level, index == last))?;
        Ok(Self(text.into()))
    }

    /// Checks a topic to publish to: one without wildcards (MQTT-3.3.2-2).
    pub fn name(text: &str) -> Result<Self, Malformed> {
        let template = Self::filter(text)?;
        if template.has_wildcards() {
            let wrong = Malformed::new("a topic to publish to has no `+` and no `#`");
            return Err(wrong.help("write one [[comms.publish]] for each topic"));
        }
        Ok(template)
    }

    /// The template as the profile has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic or filter of one device.
    pub fn expand(&self, device: &str) -> String {
        self.0.replace(DEVICE, device)
    }

    /// Whether the device's id is part of it: what it expands to is one device's alone.
    pub fn names_device(&self) -> bool {
        self.0.contains(DEVICE)
    }

    /// Whether a level is `+` or `#`.
    pub fn has_wildcards(&self) -> bool {
        self.0.split('/').any(|level| matches!(level, "+" | "#"))
    }
}

fn whole(text: &str) -> Result<(), Malformed> {
    if text.is_empty() {
        return Err(Malformed::new("a topic can not be empty"));
    }
    if text.len() > MAX_BYTES {
        return Err(Malformed::new(format!(
            "a topic has at most {MAX_BYTES} bytes"
        )));
    }
    // MQTT-4.7.3-2 forbids NUL; MQTT 5 §1.5.4 warns of the other control characters and of non-characters.
    let bad = |c: char| c.is_control() || (u32::from(c) & 0xfffe) == 0xfffe;
    if text
        .chars()
        .any(|c| bad(c) || matches!(u32::from(c), 0xfdd0..=0xfdef))
    {
        return Err(Malformed::new(
            "a topic has no control characters and no non-characters",
        ));
    }
    Ok(())
}

fn first(level: &str) -> Result<(), Malformed> {
    match level {
        RESERVED => {
            let wrong = Malformed::new("topics below `stockade/` are the gateway's own");
            Err(wrong.help("choose another first level, for example the model"))
        }
        "+" | "#" => {
            let wrong =
                format!("`{level}` as the first level would cover the gateway's own topics");
            Err(Malformed::new(wrong).help("name the first level"))
        }
        // MQTT 5 §4.7.2: such topics are the server's.
        level if level.starts_with('$') && !level.starts_with("${") => {
            let wrong = Malformed::new("a topic can not begin with `$`");
            Err(wrong.help("such topics belong to the server"))
        }
        _ => Ok(()),
    }
}

fn check_level(level: &str, last: bool) -> Result<(), Malformed> {
    match level {
        "#" if last => return Ok(()),
        "#" => {
            let wrong = Malformed::new("`#` can only be the last level");
            return Err(wrong.help("`+` stands for one level in the middle"));
        }
        "+" | DEVICE => return Ok(()),
        _ => (),
    }
    if level.contains(['+', '#']) {
        let wrong = format!("a wildcard must fill its level: `{}`", quote(level));
        return Err(Malformed::new(wrong).help("for example `a/+/b` or `a/#`"));
    }
    placeholders(level)
}

/// A placeholder fills its level: half a level would let an id reach into a neighbour's topics.
fn placeholders(level: &str) -> Result<(), Malformed> {
    let Some((_, rest)) = level.split_once("${") else {
        return Ok(());
    };
    let Some((name, _)) = rest.split_once('}') else {
        return Err(Malformed::new("`${` without its `}`").help("the only one is `${device}`"));
    };
    if name == "device" {
        let wrong = format!("`${{device}}` must fill its level: `{}`", quote(level));
        return Err(Malformed::new(wrong).help("for example `cam-2/${device}/motion`"));
    }
    let wrong = Malformed::new(format!("unknown placeholder `${{{}}}`", quote(name)));
    Err(match nearest(name, ["device"]) {
        Some(_) => wrong.help("did you mean `${device}`?"),
        None => wrong.help("the only one is `${device}`"),
    })
}

impl FromStr for TopicTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::filter(text)
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for TopicTemplate {}
