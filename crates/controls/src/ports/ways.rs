//! Network interfaces and radios.

use stockade_profile::{Ports, Radio};

use super::rules::{NETWORK, RADIOS};
use super::{names, set, text};
use crate::engine::{Case, Finding, Host, Judged, Stage, Unseen};

const NET: &str = "/sys/class/net";
const RFKILL: &str = "/sys/class/rfkill";
/// `IFF_UP` (netdevice(7)).
const UP: u32 = 1;

/// Where the kernel shows radios of each kind.
const CLASSES: [(Radio, &str); 5] = [
    (Radio::Wifi, "/sys/class/ieee80211"),
    (Radio::Bluetooth, "/sys/class/bluetooth"),
    (Radio::Ieee802154, "/sys/class/ieee802154"),
    (Radio::Nfc, "/sys/class/nfc"),
    (Radio::Cellular, "/sys/class/wwan"),
];

/// A network interface or a radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which kind of radio; none for a network interface.
    pub radio: Option<Radio>,
    /// Its name.
    pub name: String,
    /// Whether it is up, or may send.
    pub open: bool,
    /// Whether the profile names it.
    pub allowed: bool,
    /// The file and the value that shut it, and what the file has now; none if the kernel has no switch for it.
    pub shut: Option<(String, String, String)>,
}

/// All network interfaces but the one to itself.
pub fn interfaces(host: &dyn Host, ports: &Ports) -> Result<Vec<Way>, Unseen> {
    let mut all = Vec::new();
    for name in names(host, NET)?.into_iter().filter(|name| name != "lo") {
        let path = format!("{NET}/{name}/flags");
        // `bonding_masters` is a file among them.
        let Some(flags) = text(host, &path)? else {
            continue;
        };
        let number = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
        let number = number.map_err(|_| Unseen::Damaged(format!("{path} is `{flags}`")))?;
        all.push(Way {
            radio: None,
            open: number & UP != 0,
            allowed: ports.network.iter().any(|it| it.as_str() == name),
            shut: Some((path, format!("{:#x}", number & !UP), flags)),
            name,
        });
    }
    Ok(all)
}

/// All radios that the kernel knows: by their switches (rfkill), and those that have none by their class.
pub fn radios(host: &dyn Host, ports: &Ports) -> Result<Vec<Way>, Unseen> {
    let mut all: Vec<Way> = Vec::new();
    for switch in names(host, RFKILL)? {
        let read = |name: &str| text(host, &format!("{RFKILL}/{switch}/{name}"));
        let radio = match read("type")?.as_deref() {
            Some("wlan") => Radio::Wifi,
            Some("bluetooth") => Radio::Bluetooth,
            Some("nfc") => Radio::Nfc,
            Some("wwan") => Radio::Cellular,
            // A receiver of satellites, and what no device has any more.
            _ => continue,
        };
        let (soft, hard) = (read("soft")?.unwrap_or_default(), read("hard")?);
        let path = format!("{RFKILL}/{switch}/soft");
        all.push(Way {
            radio: Some(radio),
            name: read("name")?.unwrap_or(switch),
            open: soft != "1" && hard.as_deref() != Some("1"),
            allowed: ports.radios.contains(&radio),
            shut: Some((path, "1".to_owned(), soft)),
        });
    }
    for (radio, class) in CLASSES {
        let switched = all.iter().any(|it| it.radio == Some(radio));
        for name in names(host, class)?.into_iter().filter(|_| !switched) {
            all.push(Way {
                radio: Some(radio),
                name,
                open: true,
                allowed: ports.radios.contains(&radio),
                shut: None,
            });
        }
    }
    Ok(all)
}

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    let ports = &case.profile.ports;
    let wrong = |ways: &[Way]| -> Vec<Finding> {
        ways.iter()
            .filter(|it| it.open && !it.allowed)
            .map(finding)
            .collect()
    };
    match interfaces(case.host, ports) {
        Ok(all) => judged.judged(&NETWORK, format!("{} interfaces", all.len()), wrong(&all)),
        Err(why) => judged.unseen(&NETWORK, "the network interfaces", &why),
    }
    match radios(case.host, ports) {
        Ok(all) => judged.judged(&RADIOS, format!("{} radios", all.len()), wrong(&all)),
        Err(why) => judged.unseen(&RADIOS, "the radios", &why),
    }
}

fn finding(way: &Way) -> Finding {
    let name = &way.name;
    let (rule, subject, what, says, risk) = match way.radio {
        None => (
            &NETWORK,
            format!("interface {name}"),
            format!("the network interface {name} is up, and the profile does not name it"),
            format!("Take the network interface {name} down"),
            "what is reached through it can not be reached any more",
        ),
        Some(radio) => (
            &RADIOS,
            format!("{radio} {name}"),
            format!("the radio {name} ({radio}) may send, and the profile does not name its kind"),
            format!("Switch the radio {name} ({radio}) off"),
            "what is connected by it can not be reached any more",
        ),
    };
    let finding = Finding::of(rule, subject, what);
    match &way.shut {
        Some((path, value, is)) => {
            let step = set(Stage::Stop, path, value, says, Some(risk));
            finding.seen(path, is).mended_by(step.into_iter().collect())
        }
        None => finding.seen(name, "has no switch that the kernel knows"),
    }
}
