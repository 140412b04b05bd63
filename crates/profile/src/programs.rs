//! `[programs]`: what is installed and what runs.

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{name, system_name};
use crate::words::{Words, listed, ticked};

name! {
    /// A service of the device's system.
    ServiceName: "a service", system_name
}

name! {
    /// A package of the device's system.
    PackageName: "a package", system_name
}

/// What is installed and what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Programs {
    /// The packages that may be installed.
    pub packages: Vec<PackageName>,
    /// The services that may run.
    pub services: Vec<ServiceName>,
}

impl Form for Programs {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let packages = keys.or_default("packages");
        let services = keys.or_default("services");
        keys.finish()?;
        Ok(Self {
            packages: packages?,
            services: services?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("packages", &self.packages)
            .unless_default("services", &self.services)
            .done()
    }
}

impl Programs {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let packages = match self.packages.as_slice() {
            [] => "may have no packages installed".to_owned(),
            packages => format!("may have only {} installed", listed(packages, ticked)),
        };
        words.say(Control::Programs, packages);
        let services = match self.services.as_slice() {
            [] => "may run no services".to_owned(),
            services => format!("may run only {}", listed(services, ticked)),
        };
        words.say(Control::Programs, services);
    }
}
