//! USB devices: what they say of themselves, and what becomes of them.

use std::collections::BTreeSet;

use stockade_profile::{Permission, Ports, UsbRule};

use crate::engine::{Host, HostPath, Unseen};

/// Where the kernel shows them.
pub const DEVICES: &str = "/sys/bus/usb/devices";
/// Mass storage (USB-IF defined class codes).
pub const STORAGE: u8 = 0x08;
/// More than the kernel shows of a device: its own descriptor and 8 configurations of 64 KiB (`linux/usb/ch9.h`, `USB_MAXCONFIG`).
const MOST: usize = 1024 * 1024;
/// The longest text of a device that is shown, in characters.
const SHOWN: usize = 64;

/// Gives the content of a file of a device's directory, if it is not longer than that.
pub type Read<'a> = &'a dyn Fn(&str, usize) -> Result<Vec<u8>, Unseen>;

/// A USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbDevice {
    /// Where, as the kernel names it: the bus and the ports on the way, `1-1.2`.
    pub port: String,
    /// The serial number that it tells.
    pub serial: Option<String>,
    /// The name that it tells, fit to be shown.
    pub name: String,
    /// Whether the kernel uses it.
    pub authorized: bool,
    /// What its descriptors say; why they make no sense.
    pub descriptors: Result<Descriptors, Nonsense>,
}

/// What a device says of itself, over all its configurations and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    /// The vendor's and the product's number.
    pub product: (u16, u16),
    /// The class of the device as a whole.
    pub class: u8,
    /// The number and the class of each interface.
    pub interfaces: BTreeSet<(u8, u8)>,
}

/// Descriptors that make no sense: what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its descriptors make no sense: {0}")]
pub struct Nonsense(&'static str);

/// What becomes of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbVerdict {
    /// What may be used of it.
    pub fate: Fate,
    /// Why, as half a sentence.
    pub why: String,
}

/// What may be used of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// All of it.
    Allowed,
    /// The interfaces of these numbers.
    Partly(BTreeSet<u8>),
    /// Nothing.
    Denied,
}

impl UsbDevice {
    /// Reads a device; `read` gives the content of a file of its directory.
    pub fn read(port: &str, read: Read<'_>) -> Result<Self, Unseen> {
        let text = |name| match read(name, MOST) {
            Ok(bytes) => Ok(Some(
                String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned(),
            )),
            Err(Unseen::Absent) => Ok(None),
            Err(why) => Err(why),
        };
        let names = [text("manufacturer")?, text("product")?];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Ok(Self {
            port: port.to_owned(),
            serial: text("serial")?,
            name: name.escape_debug().take(SHOWN).collect(),
            authorized: read("authorized", MOST)?.trim_ascii_end() != b"0",
            descriptors: Descriptors::parse(&read("descriptors", MOST)?),
        })
    }

    /// What it is, for a person: numbers, name and classes.
    pub fn what(&self) -> String {
        let Ok(told) = &self.descriptors else {
            return format!("`{}`", self.name);
        };
        let (vendor, product) = told.product;
        let classes: BTreeSet<String> = told
            .interfaces
            .iter()
            .map(|(_, class)| format!("{class:02x}"))
            .collect();
        let classes = classes.into_iter().collect::<Vec<_>>().join(", ");
        format!(
            "{vendor:04x}:{product:04x} `{}` of class {classes}",
            self.name
        )
    }
}

impl Descriptors {
    /// Reads the file `descriptors` of a device: its own descriptor, then each configuration with all that belongs to it
    /// (USB 2.0 §9.5, §9.6).
    pub fn parse(bytes: &[u8]) -> Result<Self, Nonsense> {
        const DEVICE: [u8; 2] = [18, 1];
        const CONFIGURATION: [u8; 2] = [9, 2];
        const INTERFACE: u8 = 4;
        let (device, mut rest) = bytes
            .split_first_chunk::<18>()
            .filter(|(device, _)| device.starts_with(&DEVICE))
            .ok_or(Nonsense("there is none of the device"))?;
        let [_, _, _, _, class, _, _, _, v0, v1, p0, p1, ..] = *device;
        let mut interfaces = BTreeSet::new();
        while !rest.is_empty() {
            let whole = match rest {
                [9, 2, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
                _ => return Err(Nonsense("a configuration does not begin as one")),
            };
            let cut = rest.split_at_checked(whole.max(CONFIGURATION.len()));
            let (mut inside, others) =
                cut.ok_or(Nonsense("a configuration is shorter than it says"))?;
            rest = others;
            while let [length, kind, ..] = *inside {
                let cut = inside.split_at_checked(usize::from(length).max(2));
                let (one, after) =
                    cut.ok_or(Nonsense("a descriptor is longer than its configuration"))?;
                if length < 2 {
                    return Err(Nonsense("a descriptor has no length"));
                }
                if kind == INTERFACE {
                    let [_, _, number, _, _, class, ..] = *one else {
                        return Err(Nonsense("an interface is too short"));
                    };
                    interfaces.insert((number, class));
                }
                inside = after;
            }
            if !inside.is_empty() {
                return Err(Nonsense("a byte is left over"));
            }
        }
        Ok(Self {
            product: (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([p0, p1])),
            class,
            interfaces,
        })
    }

    /// The classes by which a driver could take it as a whole: 00 says "see the interfaces", ef only groups them.
    fn whole(&self) -> Option<u8> {
        (!matches!(self.class, 0x00 | 0xef)).then_some(self.class)
    }
}

/// What becomes of a device by a profile: an interface is allowed if all words of one entry are true of it, and a device by all
/// of its interfaces.
pub fn decide(ports: &Ports, device: &UsbDevice) -> UsbVerdict {
    let denied = |why: String| UsbVerdict {
        fate: Fate::Denied,
        why,
    };
    let told = match &device.descriptors {
        Ok(told) => told,
        Err(why) => return denied(why.to_string()),
    };
    let (mut by, mut against) = (BTreeSet::new(), BTreeSet::new());
    let mut may = |class: u8| {
        if class == STORAGE && ports.storage == Permission::Deny {
            against.insert("storage may not be plugged in".to_owned());
            return false;
        }
        let rule = ports
            .usb
            .allow
            .iter()
            .find(|rule| is_true(rule, device, told, class));
        match (rule, ports.usb.default) {
            (Some(rule), _) => by.insert(format!("`{rule}`")),
            (None, Permission::Allow) => by.insert("the default".to_owned()),
            (None, Permission::Deny) => {
                against.insert(format!("no entry allows its class {class:02x}"));
                return false;
            }
        };
        true
    };
    let whole = told.whole().is_none_or(&mut may);
    let mut allowed: BTreeSet<u8> = told.interfaces.iter().map(|(number, _)| *number).collect();
    for (number, class) in &told.interfaces {
        if !may(*class) {
            allowed.remove(number);
        }
    }
    let joined = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(", ");
    if told.interfaces.is_empty() {
        return denied("it has no interface".to_owned());
    }
    if against.is_empty() {
        return UsbVerdict {
            fate: Fate::Allowed,
            why: format!("allowed by {}", joined(by)),
        };
    }
    if !whole || allowed.is_empty() {
        return denied(joined(against));
    }
    let numbers: BTreeSet<String> = allowed.iter().map(|it| format!("interface {it}")).collect();
    UsbVerdict {
        why: format!(
            "only {}, by {}: {}",
            joined(numbers),
            joined(by),
            joined(against)
        ),
        fate: Fate::Partly(allowed),
    }
}

fn is_true(rule: &UsbRule, device: &UsbDevice, told: &Descriptors, class: u8) -> bool {
    rule.product.is_none_or(|it| it == told.product)
        && rule.class.is_none_or(|it| it == class)
        && rule
            .serial
            .as_ref()
            .is_none_or(|it| device.serial.as_deref() == Some(it.as_str()))
        && rule
            .port
            .as_ref()
            .is_none_or(|it| it.as_str() == device.port)
}

/// Whether a name in [`DEVICES`] is one of a device: not of a controller (`usb1`), nor of an interface (`1-1:1.0`).
pub fn is_device(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit()) && name.contains('-') && !name.contains(':')
}

/// The names in [`DEVICES`]; none on a machine without USB.
pub(super) fn names(host: &dyn Host) -> Result<Vec<String>, Unseen> {
    let names = match host.list(&HostPath::of(DEVICES)) {
        Err(Unseen::Absent) => return Ok(Vec::new()),
        names => names?,
    };
    let names = names
        .into_iter()
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned());
    Ok(names.collect())
}

/// All devices, as a host shows them.
pub(super) fn devices(host: &dyn Host, names: &[String]) -> Result<Vec<UsbDevice>, Unseen> {
    let mut all = Vec::new();
    for port in names.iter().filter(|name| is_device(name)) {
        let read = |name: &str, most| host.read(&below(port, name)?, most);
        match UsbDevice::read(port, &read) {
            // Unplugged meanwhile.
            Err(Unseen::Absent) => (),
            device => all.push(device?),
        }
    }
    Ok(all)
}

/// A file of a device.
pub(super) fn below(port: &str, name: &str) -> Result<HostPath, Unseen> {
    let path = format!("{DEVICES}/{port}/{name}");
    HostPath::from_bytes(path.as_bytes()).map_err(|why| Unseen::Damaged(why.to_string()))
}

/// Takes the data as descriptors: whatever they say can be judged, and nothing that is not there is allowed.
pub(crate) fn fuzz(data: &[u8]) {
    let device = UsbDevice {
        port: "1-1".to_owned(),
        serial: None,
        name: String::new(),
        authorized: false,
        descriptors: Descriptors::parse(data),
    };
    let mut ports = Ports::default();
    assert_eq!(
        decide(&ports, &device).fate,
        Fate::Denied,
        "nothing is allowed"
    );
    ports.usb.default = Permission::Allow;
    let told = device
        .descriptors
        .as_ref()
        .map(|told| told.interfaces.clone());
    if let Fate::Partly(numbers) = decide(&ports, &device).fate {
        let there = |number| {
            told.as_ref()
                .is_ok_and(|all| all.iter().any(|(it, _)| *it == number))
        };
        assert!(numbers.into_iter().all(there), "what is allowed is there");
    }
}

#[cfg(test)]
pub(super) mod tests;
