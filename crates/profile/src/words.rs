//! A profile in plain sentences, for the owner of a device.

use crate::check::INSIDE;
use crate::{Class, Control, Profile, TopicTemplate};

/// One sentence about a device, and the control that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The control.
    pub control: Control,
    /// The sentence, in lower case and without a full stop.
    pub text: String,
}

/// Gathers sentences.
#[derive(Debug)]
pub(crate) struct Words<'d> {
    device: Option<&'d str>,
    /// It speaks over the link, where keys are enough; with a certificate it may use TLS as well.
    pub(crate) constrained: bool,
    sentences: Vec<Sentence>,
}

impl Words<'_> {
    pub(crate) fn say(&mut self, control: Control, text: impl Into<String>) {
        self.sentences.push(Sentence {
            control,
            text: text.into(),
        });
    }

    pub(crate) fn topic(&self, topic: &TopicTemplate) -> String {
        match self.device {
            Some(device) => format!("`{}`", topic.expand(device)),
            None => format!("`{topic}`"),
        }
    }
}

impl Profile {
    /// The profile in sentences, control by control; `${device}` is filled in if the device is given.
    pub fn words(&self, device: Option<&str>) -> Vec<Sentence> {
        let mut words = Words {
            device,
            constrained: self.device.class == Class::Constrained,
            sentences: Vec::new(),
        };
        self.comms.words(&mut words);
        self.protocols.words(&mut words);
        self.upnp.words(&mut words);
        self.firewall.words(&mut words);
        self.credentials.words(&mut words);
        crate::updates::words(self.updates.as_ref(), &mut words);
        crate::data::words(&self.data, &self.vault, &mut words);
        if self.device.class == Class::Agentless {
            for control in INSIDE {
                words.say(
                    control,
                    "can not be held to this: nothing of ours runs in it",
                );
            }
        } else {
            self.boot.words(&mut words);
            self.privileges.words(&mut words);
            self.programs.words(&mut words);
            crate::mac::words(self.mac.as_ref(), &mut words);
            self.ports.words(&mut words);
            self.tamper.words(&mut words);
        }
        words.sentences.sort_by_key(|sentence| sentence.control);
        words.sentences
    }
}

/// `a, b and c`, each as `show` has it.
pub(crate) fn listed<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    match items {
        [] => "nothing".to_owned(),
        [one] => show(one),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(&show).collect();
            format!("{} and {}", head.join(", "), show(last))
        }
    }
}

/// In backticks, as `listed` wants it.
pub(crate) fn ticked<T: std::fmt::Display>(item: &T) -> String {
    format!("`{item}`")
}
