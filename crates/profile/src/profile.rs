//! The whole profile, and what must hold across its sections.

use std::collections::BTreeMap;

use crate::fault::{Faulted, Faults, Malformed};
use crate::mud::Mud;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::{
    Boot, Comms, Credentials, DataSetUse, Device, Firewall, Mac, Ports, Privileges, Programs,
    Protocols, Schema, SchemaName, Tamper, Updates, Upnp, check,
};

/// The version of the notation that this crate reads and writes.
const SCHEMA: u64 = 1;

/// What one model of device is for; what it does not say is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which model it is for.
    pub device: Device,
    /// How it communicates.
    pub comms: Comms,
    /// Which protocols protect connections.
    pub protocols: Protocols,
    /// Universal Plug and Play.
    pub upnp: Upnp,
    /// Who may be reached, and who may reach the device.
    pub firewall: Firewall,
    /// What its MUD file says of itself, if the profile comes from one or becomes one.
    pub mud: Option<Mud>,
    /// What is asked of the way it starts.
    pub boot: Boot,
    /// Who may log in, and how.
    pub credentials: Credentials,
    /// What runs with all rights.
    pub privileges: Privileges,
    /// What is installed and what runs.
    pub programs: Programs,
    /// Where updates come from; without it there are none.
    pub updates: Option<Updates>,
    /// Mandatory access control; without it none is asked for.
    pub mac: Option<Mac>,
    /// The physical ways in and out.
    pub ports: Ports,
    /// How it notices that it is opened.
    pub tamper: Tamper,
    /// What is stored of what it publishes.
    pub data: BTreeMap<SchemaName, Schema>,
    /// What the stored data may be used for; [`Profile::usage`] has what is not said.
    pub vault: BTreeMap<SchemaName, DataSetUse>,
}

impl Profile {
    /// A profile that allows nothing.
    pub fn of(device: Device) -> Self {
        Self {
            device,
            comms: Comms::default(),
            protocols: Protocols::default(),
            upnp: Upnp::default(),
            firewall: Firewall::default(),
            mud: None,
            boot: Boot::default(),
            credentials: Credentials::default(),
            privileges: Privileges::default(),
            programs: Programs::default(),
            updates: None,
            mac: None,
            ports: Ports::default(),
            tamper: Tamper::default(),
            data: BTreeMap::new(),
            vault: BTreeMap::new(),
        }
    }

    /// What a data set's stored data may be used for; strict where the profile does not say.
    pub fn usage(&self, schema: &str) -> DataSetUse {
        self.vault.get(schema).cloned().unwrap_or_default()
    }
}

impl Form for Profile {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let schema = keys.required::<u64>("schema", "1");
        // Another schema may have other keys: their faults would mislead.
        if let Ok(schema) = schema
            && schema != SCHEMA
        {
            let wrong = Malformed::new(format!("this reads schema {SCHEMA}, not {schema}"));
            return Err(keys.error("schema", wrong));
        }
        let device = keys.required("device", "{ model = \"cam-2\", ... }");
        let comms = keys.or_default("comms");
        let protocols = keys.or_default("protocols");
        let upnp = keys.or_default("upnp");
        let firewall = keys.or_default("firewall");
        let mud = keys.optional("mud");
        let boot = keys.or_default("boot");
        let credentials = keys.or_default("credentials");
        let privileges = keys.or_default("privileges");
        let programs = keys.or_default("programs");
        let updates = keys.optional("updates");
        let mac = keys.optional("mac");
        let ports = keys.or_default("ports");
        let tamper = keys.or_default("tamper");
        let data = keys.or_default("data");
        let vault = keys.or_default("vault");
        let across = check::across(node, faults);
        keys.finish()?;
        schema?;
        across?;
        Ok(Self {
            device: device?,
            comms: comms?,
            protocols: protocols?,
            upnp: upnp?,
            firewall: firewall?,
            mud: mud?,
            boot: boot?,
            credentials: credentials?,
            privileges: privileges?,
            programs: programs?,
            updates: updates?,
            mac: mac?,
            ports: ports?,
            tamper: tamper?,
            data: data?,
            vault: vault?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("schema", &SCHEMA)
            .put("device", &self.device)
            .unless_default("comms", &self.comms)
            .unless_default("protocols", &self.protocols)
            .unless_default("upnp", &self.upnp)
            .unless_default("firewall", &self.firewall)
            .some("mud", self.mud.as_ref())
            .unless_default("boot", &self.boot)
            .unless_default("credentials", &self.credentials)
            .unless_default("privileges", &self.privileges)
            .unless_default("programs", &self.programs)
            .some("updates", self.updates.as_ref())
            .some("mac", self.mac.as_ref())
            .unless_default("ports", &self.ports)
            .unless_default("tamper", &self.tamper)
            .unless_default("data", &self.data)
            .unless_default("vault", &self.vault)
            .done()
    }
}
