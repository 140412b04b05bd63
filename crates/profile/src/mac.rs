//! `[mac]`: mandatory access control.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::programs::ServiceName;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::choice;
use crate::units::spoken;
use crate::words::{Words, listed, ticked};

choice! {
    /// The system that confines programs.
    MacSystem: "a system for mandatory access control" {
        /// `AppArmor`.
        AppArmor = "apparmor",
        /// `SELinux`.
        SeLinux = "selinux",
        /// grsecurity's RBAC.
        Grsecurity = "grsecurity",
    }
}

/// Mandatory access control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mac {
    /// The system that confines.
    pub system: MacSystem,
    /// The services that it confines.
    pub confine: Vec<ServiceName>,
    /// How long a service is watched at its work before it is confined to what it did.
    pub learn: Duration,
}

/// A day: what a service does once a day was seen.
const LEARN: Duration = Duration::from_hours(24);
const TIMES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(30 * 24);

impl Form for Mac {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let system = keys.required("system", "\"apparmor\"");
        let confine = keys.some("confine", "[\"camera\"]");
        let learn = keys.or("learn", LEARN);
        let learn = keys.within("learn", learn, &TIMES);
        keys.finish()?;
        Ok(Self {
            system: system?,
            confine: confine?,
            learn: learn?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("system", &self.system)
            .put("confine", &self.confine)
            .unless("learn", &self.learn, &LEARN)
            .done()
    }
}

pub(crate) fn words(mac: Option<&Mac>, words: &mut Words<'_>) {
    let Some(Mac {
        system,
        confine,
        learn,
    }) = mac
    else {
        return words.say(Control::Mac, "nothing is asked of mandatory access control");
    };
    let name = match system {
        MacSystem::AppArmor => "AppArmor",
        MacSystem::SeLinux => "SELinux",
        MacSystem::Grsecurity => "grsecurity",
    };
    let confined = listed(confine, ticked);
    words.say(
        Control::Mac,
        format!(
            "{name} confines {confined} to what it was seen to do in {}",
            spoken(*learn)
        ),
    );
}
