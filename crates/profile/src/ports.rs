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
    pub allow: Vec<UsbRule>,
    /// Whether it is enforced.
    pub mode: UsbMode,
}

choice! {
    /// Whether what is said of USB is enforced.
    UsbMode: "a mode" {
        /// What is not allowed gets no driver.
        Enforce = "enforce",
        /// It is only told what would become of each device.
        Audit = "audit",
    }
}

/// Interfaces of USB devices: those of which every word here is true; there is one at least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UsbRule {
    /// The vendor's and the product's number.
    pub product: Option<(u16, u16)>,
    /// The base class of the interface (USB-IF defined class codes).
    pub class: Option<u8>,
    /// The serial number, as the device tells it.
    pub serial: Option<UsbSerial>,
    /// Where it is plugged in, as the kernel names it: the bus, and the ports on the way.
    pub port: Option<UsbPort>,
}

name! {
    /// The serial number of a USB device.
    UsbSerial: "a serial number", serial
}

name! {
    /// A port of a USB bus.
    UsbPort: "a USB port", port
}

/// A string descriptor has at most 126 characters (USB 2.0 §9.6.7).
fn serial(what: &str, text: &str) -> Result<(), Malformed> {
    if (1..=126).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let wrong = Malformed::new(format!("`{}` can not be {what}", quote(text)));
    Err(wrong.help("1 to 126 printable characters without blanks"))
}

/// The bus, and at most six ports (USB 2.0 §4.1.1: seven tiers with the root hub).
fn port(what: &str, text: &str) -> Result<(), Malformed> {
    let number = |text: &str| {
        text.parse::<u8>()
            .is_ok_and(|it| it.to_string() == text && it > 0)
    };
    let fits = text.split_once('-').is_some_and(|(bus, ports)| {
        number(bus) && ports.split('.').count() <= 6 && ports.split('.').all(number)
    });
    if fits {
        return Ok(());
    }
    let wrong = Malformed::new(format!("`{}` is not {what}", quote(text)));
    Err(wrong
        .help("the bus and the ports, as `lsusb -t` and the kernel's log have them: \"1-1.2\""))
}

impl FromStr for UsbRule {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut rule = Self::default();
        for word in text.split(' ') {
            let wrong = || {
                let wrong = Malformed::new(format!("`{}` names no USB device", quote(word)));
                wrong.help("a class \"class:09\", a product \"046d:0825\" (in hexadecimal), a serial number \"serial:4C53\", a port \"port:1-1.2\", or several of them with a blank between")
            };
            let number = |text: &str, digits: usize| {
                let plain =
                    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                plain
                    .then(|| u16::from_str_radix(text, 16).ok())
                    .flatten()
                    .ok_or_else(wrong)
            };
            let again = match word.split_once(':').ok_or_else(wrong)? {
                ("class", class) => {
                    let class = u8::try_from(number(class, 2)?).map_err(|_| wrong())?;
                    rule.class.replace(class).is_some()
                }
                ("serial", serial) => rule.serial.replace(serial.parse()?).is_some(),
                ("port", port) => rule.port.replace(port.parse()?).is_some(),
                (vendor, product) => {
                    let product = (number(vendor, 4)?, number(product, 4)?);
                    rule.product.replace(product).is_some()
                }
            };
            if again {
                let wrong = format!("`{}` has two words of one kind", quote(text));
                return Err(
                    Malformed::new(wrong).help("each device is of one: make it two entries")
                );
            }
        }
        Ok(rule)
    }
}

impl fmt::Display for UsbRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = self
            .product
            .map(|(vendor, product)| format!("{vendor:04x}:{product:04x}"));
        let class = self.class.map(|class| format!("class:{class:02x}"));
        let serial = self
            .serial
            .as_ref()
            .map(|serial| format!("serial:{serial}"));
        let port = self.port.as_ref().map(|port| format!("port:{port}"));
        let words: Vec<String> = [product, class, serial, port]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&words.join(" "))
    }
}

impl Text for UsbRule {}

impl Default for Usb {
    fn default() -> Self {
        Self {
            default: Permission::Deny,
            allow: Vec::new(),
            mode: UsbMode::Enforce,
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
        let allow = keys.or_default::<Vec<UsbRule>>("allow");
        let mode = keys.or("mode", UsbMode::Enforce);
        if let (Ok(Permission::Allow), Ok([_, ..])) = (default, allow.as_deref()) {
            let wrong = Malformed::new("every USB device is allowed, so this list does nothing");
            keys.warn("allow", wrong.help("write `default = \"deny\"`"));
        }
        keys.finish()?;
        Ok(Self {
            default: default?,
            allow: allow?,
            mode: mode?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless("default", &self.default, &Permission::Deny)
            .unless_default("allow", &self.allow)
            .unless("mode", &self.mode, &UsbMode::Enforce)
            .done()
    }
}

impl UsbRule {
    fn spoken(&self) -> String {
        let what = match (self.product, self.class) {
            (Some((vendor, product)), None) => format!("the product {vendor:04x}:{product:04x}"),
            (Some((vendor, product)), Some(class)) => {
                format!("what is of class {class:02x} in the product {vendor:04x}:{product:04x}")
            }
            (None, Some(class)) => format!("devices of class {class:02x}"),
            (None, None) => "any device".to_owned(),
        };
        let serial = self
            .serial
            .as_ref()
            .map(|serial| format!(" with the serial number `{serial}`"));
        let port = self.port.as_ref().map(|port| format!(" at port {port}"));
        [Some(what), serial, port].into_iter().flatten().collect()
    }
}

impl Ports {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        const CONTROL: Control = Control::Ports;
        let usb = match (self.usb.default, self.usb.allow.as_slice()) {
            (Permission::Allow, _) => "USB: everything may be plugged in".to_owned(),
            (Permission::Deny, []) => "USB: nothing may be plugged in".to_owned(),
            (Permission::Deny, allow) => {
                let allowed = listed(allow, UsbRule::spoken);
                format!("USB: only {allowed} may be plugged in")
            }
        };
        words.say(CONTROL, usb);
        if self.usb.mode == UsbMode::Audit {
            let says = "USB is not enforced: it is only told what would become of each device";
            words.say(CONTROL, says);
        }
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
