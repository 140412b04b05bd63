//! `[mac]`: mandatory access control.

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::programs::ServiceName;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::choice;
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
}

impl Form for Mac {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let system = keys.required("system", "\"apparmor\"");
        let confine = keys.some("confine", "[\"camera\"]");
        keys.finish()?;
        Ok(Self {
            system: system?,
            confine: confine?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("system", &self.system)
            .put("confine", &self.confine)
            .done()
    }
}

pub(crate) fn words(mac: Option<&Mac>, words: &mut Words<'_>) {
    let Some(Mac { system, confine }) = mac else {
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
        format!("{name} confines {confined} to what it needs"),
    );
}
