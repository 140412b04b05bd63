//! `[updates]`: where updates come from, and how soon.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::net::HttpsUrl;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::units::spoken;
use crate::words::Words;

/// Where updates come from, and how soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// Where the device looks for updates.
    pub source: HttpsUrl,
    /// A device that has not looked for this long is in breach.
    pub max_age: Duration,
    /// Within this time a security update must be applied.
    pub security_within: Duration,
}

const TIMES: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(366 * 24);

impl Form for Updates {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let source = keys.required("source", "\"https://updates.example.org/cam-2\"");
        let max_age = keys.required("max-age", "\"30d\"");
        let max_age = keys.within("max-age", max_age, &TIMES);
        let security_within = keys.required("security-within", "\"72h\"");
        let security_within = keys.within("security-within", security_within, &TIMES);
        keys.finish()?;
        Ok(Self {
            source: source?,
            max_age: max_age?,
            security_within: security_within?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("source", &self.source)
            .put("max-age", &self.max_age)
            .put("security-within", &self.security_within)
            .done()
    }
}

pub(crate) fn words(updates: Option<&Updates>, words: &mut Words<'_>) {
    const CONTROL: Control = Control::Updates;
    let Some(updates) = updates else {
        return words.say(CONTROL, "takes no updates");
    };
    words.say(
        CONTROL,
        format!("takes updates from `{}` only", updates.source),
    );
    let (age, within) = (spoken(updates.max_age), spoken(updates.security_within));
    words.say(
        CONTROL,
        format!("must look for updates at least every {age}"),
    );
    words.say(
        CONTROL,
        format!("must apply a security update within {within}"),
    );
}
