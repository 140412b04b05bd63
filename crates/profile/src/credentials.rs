//! `[credentials]`: who may log in, and how.

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{choice, name, system_name};
use crate::words::{Words, listed, ticked};

name! {
    /// An account of the device's system.
    AccountName: "an account", system_name
}

choice! {
    /// Whether and how one may log in by SSH.
    Ssh: "a way to log in by SSH" {
        /// Not at all.
        Off = "off",
        /// With a key; never with a password.
        KeysOnly = "keys-only",
    }
}

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The accounts that have a password; every other one is locked.
    pub password_logins: Vec<AccountName>,
    /// Logging in by SSH.
    pub ssh: Ssh,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            password_logins: Vec::new(),
            ssh: Ssh::Off,
        }
    }
}

impl Form for Credentials {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let password_logins = keys.or_default("password-logins");
        let ssh = keys.or("ssh", Ssh::Off);
        keys.finish()?;
        Ok(Self {
            password_logins: password_logins?,
            ssh: ssh?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("password-logins", &self.password_logins)
            .unless("ssh", &self.ssh, &Ssh::Off)
            .done()
    }
}

impl Credentials {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let accounts = match self.password_logins.as_slice() {
            [] => "nobody may log in with a password".to_owned(),
            accounts => format!(
                "only {} may log in with a password",
                listed(accounts, ticked)
            ),
        };
        words.say(Control::Credentials, accounts);
        let ssh = match self.ssh {
            Ssh::Off => "SSH: off",
            Ssh::KeysOnly => "SSH: with keys only",
        };
        words.say(Control::Credentials, ssh);
    }
}
