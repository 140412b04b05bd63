//! The controls: what a profile has one section for.

use crate::text::choice;

choice! {
    /// One control of a profile; the section of the same name says what it asks for.
    Control: "a control" {
        /// Secure communications.
        Comms = "comms",
        /// Up-to-date protocols only.
        Protocols = "protocols",
        /// Universal Plug and Play, off unless the owner switches it on.
        Upnp = "upnp",
        /// The firewall in the device.
        Firewall = "firewall",
        /// Protected boot.
        Boot = "boot",
        /// Management of credentials.
        Credentials = "credentials",
        /// No more privilege than needed.
        Privileges = "privileges",
        /// No unnecessary programs.
        Programs = "programs",
        /// Updates in time.
        Updates = "updates",
        /// Mandatory access control.
        Mac = "mac",
        /// Protection of stored data.
        Data = "data",
        /// Input and output ports.
        Ports = "ports",
        /// The enclosure.
        Tamper = "tamper",
    }
}
