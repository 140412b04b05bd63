//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use crate::digest::Algorithm;
use crate::log::EventLog;
use crate::{ima, quote, reference};

/// Any bytes as an event log: whatever is read can be replayed and told.
pub fn event_log(data: &[u8]) {
    let Ok(log) = EventLog::read(data) else {
        return;
    };
    for algorithm in Algorithm::ALL {
        for value in log.replay(algorithm).values() {
            assert_eq!(value.len(), algorithm.size(), "a register is a digest");
        }
    }
    for event in &log.events {
        assert!(event.component().len() < 2000, "what is told is short");
    }
    let _: crate::log::Registers = log.registers();
}

/// Any bytes as a list of measured files, in bytes and as text.
pub fn ima_log(data: &[u8]) {
    if let Ok(entries) = ima::read(data) {
        ima::replay(&entries, ima::REGISTER, Algorithm::Sha256);
    }
    if let Ok(entries) = ima::read_text(&String::from_utf8_lossy(data)) {
        assert!(entries.iter().all(ima::is_whole), "the text tells all");
    }
}

/// Any bytes as a quote, as the public area of a key that attests, and as an endorsement key's.
pub fn quote(data: &[u8]) {
    if let Some((_, quoted)) = quote::parse(data) {
        assert!(quoted.pcrs.len() <= 32, "no more registers than there are");
    }
    if let Ok(key) = quote::ak_public(data) {
        assert_eq!(key.name.len(), 34, "a name is a digest with its number");
    }
    drop(crate::credential::make(data, &[0; 34], &[1; 32], &[2; 32]));
}

/// Any bytes as a unified kernel image.
pub fn uki(data: &[u8]) {
    if let Ok(reference) = reference::Reference::of_uki("model", "1", data) {
        assert_eq!(reference.registers.len(), 1, "one register is measured to");
    }
}
