//! What was seen of USB devices before: one that lies or flaps is kept out whatever an entry says.

use std::collections::BTreeMap;

use super::usb::{Descriptors, UsbDevice};

/// How many devices and ports are remembered.
const MOST: usize = 256;
/// How often a device may come at one port, within how many seconds.
const TIMES: usize = 5;
const WITHIN: u64 = 30;

/// Which device it says that it is.
type Identity = ((u16, u16), Option<String>);

/// The devices that came.
#[derive(Debug, Default)]
pub struct UsbMemory {
    known: BTreeMap<Identity, Descriptors>,
    came: BTreeMap<String, Vec<u64>>,
}

impl UsbMemory {
    /// A device came, at a time in seconds: why it is not to be trusted, if so. What makes the memory full is not trusted either.
    pub fn came(&mut self, device: &UsbDevice, now: u64) -> Option<String> {
        let known = self.came.contains_key(&device.port);
        if !known && self.came.len() >= MOST {
            self.came
                .retain(|_, times| times.iter().any(|at| at.saturating_add(WITHIN) > now));
            if self.came.len() >= MOST {
                return Some("too many devices come and go".to_owned());
            }
        }
        let times = self.came.entry(device.port.clone()).or_default();
        times.retain(|at| at.saturating_add(WITHIN) > now);
        // No more than that is ever kept.
        times.truncate(TIMES);
        times.insert(0, now);
        if times.len() > TIMES {
            return Some(format!(
                "it came more than {TIMES} times within {WITHIN} seconds"
            ));
        }
        self.lies(device)
    }

    /// Whether it has other descriptors than the device had that it says it is.
    pub fn lies(&mut self, device: &UsbDevice) -> Option<String> {
        let told = device.descriptors.as_ref().ok()?;
        let identity = (told.product, device.serial.clone());
        match self.known.get(&identity) {
            Some(before) if before != told => {
                Some("it had other descriptors when it came before".to_owned())
            }
            Some(_) => None,
            None if self.known.len() >= MOST => {
                Some("too many different devices came since the start".to_owned())
            }
            None => {
                self.known.insert(identity, told.clone());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::usb::tests::descriptors;
    use super::*;

    fn device(port: &str, serial: &str, class: u8) -> UsbDevice {
        UsbDevice {
            port: port.to_owned(),
            serial: Some(serial.to_owned()),
            name: String::new(),
            authorized: false,
            descriptors: Descriptors::parse(&descriptors((1, 2), 0, &[(0, class)])),
        }
    }

    #[test]
    fn a_device_that_comes_back_as_another_one_is_a_liar_at_every_port() {
        let mut memory = UsbMemory::default();
        assert_eq!(memory.came(&device("1-1", "A", 8), 0), None);
        assert!(memory.came(&device("1-1", "A", 3), 100).is_some());
        assert!(memory.came(&device("2-4", "A", 3), 200).is_some());
        assert_eq!(memory.came(&device("1-1", "B", 3), 300), None);
        assert_eq!(memory.came(&device("1-1", "A", 8), 400), None);
    }

    #[test]
    fn a_device_that_flaps_is_kept_out_until_it_is_quiet() {
        let mut memory = UsbMemory::default();
        let mut comes = |now| memory.came(&device("1-1", "A", 3), now).is_none();
        assert!((0..5).all(&mut comes));
        assert!(!comes(5) && !comes(20));
        assert!(comes(60));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut memory = UsbMemory::default();
        for number in 0..2_000_u64 {
            let name = number.to_string();
            let _trust = memory.came(&device(&format!("1-{number}"), &name, 3), number / 100);
        }
        assert!(memory.known.len() <= MOST && memory.came.len() <= MOST);
        assert!(memory.came(&device("1-1", "new", 3), 10_000).is_some());
    }
}
