//! `[ports]`: the physical ways in and out.

use std::fmt;
use std::str::FromStr;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Keys, Node, Text, Value, Writer};
use crate::text::{choice, name, system_name};
use crate::words::{Words, listed, ticked};

choice! {
    /// Whether something may be plugged in.
    Permission: "a permission" {
        /// It may not.
        Deny = "deny",
        /// It may.
        Allow = "allow",
    }
}

choice! {
    /// Whether something works.
    Switch: "a position of a switch" {
        /// It does not.
        Off = "off",
        /// It does.
        On = "on",
    }
}

choice! {
    /// A kind of radio.
    Radio: "a kind of radio" {
        /// IEEE 802.11.
        Wifi = "wifi",
        /// Bluetooth, classic and Low Energy.
        Bluetooth = "bluetooth",
        /// IEEE 802.15.4: Zigbee, Thread.
        Ieee802154 = "802.15.4",
        /// Near-field communication and RFID.
        Nfc = "nfc",
        /// 2G to 5G.
        Cellular = "cellular",
        /// `LoRa`.
        Lora = "lora",
    }
}

name! {
    /// A network interface of the device's system.
    InterfaceName: "a network interface", interface
}

/// Fits the kernel's IFNAMSIZ of 16 with its terminator.
fn interface(what: &str, text: &str) -> Result<(), Malformed> {
    if text.len() > 15 {
        return Err(Malformed::new(format!("{what} has at most 15 bytes")));
    }
    system_name(what, text)
}

/// The physical ways in and out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// USB.
    pub usb: Usb,
    /// A console on a serial line.
    pub serial_console: Switch,
    /// Debug ports: JTAG, SWD, the kernel's debugger.
    pub debug: Switch,
    /// SD cards and other storage that is plugged in while the device runs.
    pub storage: Permission,
    /// The interfaces that may be up; any other is taken down.
    pub network: Vec<InterfaceName>,
    /// The radios that may send.
    pub radios: Vec<Radio>,
}

/// USB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usb {
    /// For what the list does not name.
    pub default: Permission,
    /// What may be plugged in.
    pub allow: Vec<UsbId>,
}

/// A class of USB devices, or one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsbId {
    /// A base class (USB-IF defined class codes).
    Class(u8),
    /// A product of a vendor.
    Product {
        /// The vendor's number.
        vendor: u16,
        /// The product's number.
        product: u16,
    },
}

impl FromStr for UsbId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let wrong = Malformed::new(format!("`{}` names no USB device", quote(text)));
            wrong.help("a class \"class:09\" or a product \"046d:0825\", in hexadecimal")
        };
        let number = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain
                .then(|| u16::from_str_radix(text, 16).ok())
                .flatten()
                .ok_or_else(wrong)
        };
        match text.split_once(':').ok_or_else(wrong)? {
            ("class", class) => {
                let class = u8::try_from(number(class, 2)?).map_err(|_| wrong())?;
                Ok(Self::Class(class))
            }
            (vendor, product) => Ok(Self::Product {
                vendor: number(vendor, 4)?,
                product: number(product, 4)?,
            }),
        }
    }
}

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "class:{class:02x}"),
            Self::Product { vendor, product } => write!(f, "{vendor:04x}:{product:04x}"),
        }
    }
}

impl Text for UsbId {}

impl Default for Usb {
    fn default() -> Self {
        Self {
            default: Permission::Deny,
            allow: Vec::new(),
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            usb: Usb::default(),
            serial_console: Switch::Off,
            debug: Switch::Off,
            storage: Permission::Deny,
            network: Vec::new(),
            radios: Vec::new(),
        }
    }
}

impl Form for Ports {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let usb = keys.or_default("usb");
        let serial_console = keys.or("serial-console", Switch::Off);
        let debug = keys.or("debug", Switch::Off);
        let storage = keys.or("storage", Permission::Deny);
        let network = keys.or_default("network");
        let radios = keys.or_default("radios");
        keys.finish()?;
        Ok(Self {
            usb: usb?,
            serial_console: serial_console?,
            debug: debug?,
            storage: storage?,
            network: network?,
            radios: radios?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("usb", &self.usb)
            .unless("serial-console", &self.serial_console, &Switch::Off)
            .unless("debug", &self.debug, &Switch::Off)
            .unless("storage", &self.storage, &Permission::Deny)
            .unless_default("network", &self.network)
            .unless_default("radios", &self.radios)
            .done()
    }
}

impl Form for Usb {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let default = keys.or("default", Permission::Deny);
        let allow = keys.or_default::<Vec<UsbId>>("allow");
        if let (Ok(Permission::Allow), Ok([_, ..])) = (default, allow.as_deref()) {
            let wrong = Malformed::new("every USB device is allowed, so this list does nothing");
            keys.warn("allow", wrong.help("write `default = \"deny\"`"));
        }
        keys.finish()?;
        Ok(Self {
            default: default?,
            allow: allow?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless("default", &self.default, &Permission::Deny)
            .unless_default("allow", &self.allow)
            .done()
    }
}

impl Ports {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        const CONTROL: Control = Control::Ports;
        let usb = match (self.usb.default, self.usb.allow.as_slice()) {
            (Permission::Allow, _) => "USB: everything may be plugged in".to_owned(),
            (Permission::Deny, []) => "USB: nothing may be plugged in".to_owned(),
            (Permission::Deny, allow) => {
                let allowed = listed(allow, |id| match id {
                    UsbId::Class(class) => format!("devices of class {class:02x}"),
                    product @ UsbId::Product { .. } => format!("the product {product}"),
                });
                format!("USB: only {allowed} may be plugged in")
            }
        };
        words.say(CONTROL, usb);
        words.say(CONTROL, format!("serial console: {}", self.serial_console));
        words.say(CONTROL, format!("debug ports: {}", self.debug));
        let storage = match self.storage {
            Permission::Deny => "no storage may be plugged in",
            Permission::Allow => "storage may be plugged in",
        };
        words.say(CONTROL, storage);
        let network = match self.network.as_slice() {
            [] => "uses no network interface".to_owned(),
            interfaces => format!("uses the network only by {}", listed(interfaces, ticked)),
        };
        words.say(CONTROL, network);
        let radios = match self.radios.as_slice() {
            [] => "radios: off".to_owned(),
            radios => format!("radios: only {}", listed(radios, Radio::to_string)),
        };
        words.say(CONTROL, radios);
    }
}
