//! `[privileges]`: what runs with all rights.

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::programs::ServiceName;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{absolute_path, name};
use crate::words::{Words, listed, ticked};

name! {
    /// An absolute path in the device.
    AbsolutePath: "an absolute path", absolute_path
}

/// What runs with all rights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Privileges {
    /// The services that run as root.
    pub root_services: Vec<ServiceName>,
    /// The programs that give the rights of their owner to whoever starts them.
    pub setuid: Vec<AbsolutePath>,
}

impl Form for Privileges {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let root_services = keys.or_default("root-services");
        let setuid = keys.or_default("setuid");
        keys.finish()?;
        Ok(Self {
            root_services: root_services?,
            setuid: setuid?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("root-services", &self.root_services)
            .unless_default("setuid", &self.setuid)
            .done()
    }
}

impl Privileges {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let services = match self.root_services.as_slice() {
            [] => "no service has all rights".to_owned(),
            services => format!(
                "of its services, only {} has all rights",
                listed(services, ticked)
            ),
        };
        words.say(Control::Privileges, services);
        let setuid = match self.setuid.as_slice() {
            [] => "no program lends its owner's rights".to_owned(),
            paths => format!("only {} lends its owner's rights", listed(paths, ticked)),
        };
        words.say(Control::Privileges, setuid);
    }
}
