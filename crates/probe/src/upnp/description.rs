//! Descriptions of devices (`UPnP` Device Architecture 2.0 §2.3).

use super::Place;
use crate::text::told;
use crate::xml::{self, Element};

/// The most services that are looked at.
const MOST: usize = 32;

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it says so.
    pub place: Place,
    /// The web server that says so.
    pub server: Option<String>,
    /// Its name, maker and model.
    pub says: String,
    /// What it gives away: which kind of thing, and what.
    pub leaks: Vec<(&'static str, String)>,
    /// Its services.
    pub services: Vec<Service>,
}

/// A service of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its type.
    pub kind: String,
    /// Where it is controlled, or why that place is not gone to.
    pub control: Result<Place, &'static str>,
    /// Where it takes subscriptions.
    pub events: Option<Result<Place, &'static str>>,
}

impl Service {
    /// Whether it opens ways in from outside (IGD 2.0).
    pub(super) fn maps_ports(&self) -> bool {
        [
            "WANIPConnection",
            "WANPPPConnection",
            "WANIPv6FirewallControl",
        ]
        .iter()
        .any(|name| self.kind.contains(&format!(":service:{name}:")))
    }
}

/// Reads a description.
pub fn read(bytes: &[u8], place: &Place) -> Result<Description, String> {
    let document = xml::read(bytes)?;
    // Another host as the base of all places is none that is followed.
    let base = match document.get("URLBase") {
        Some(url) => Place::read(url, place.to).unwrap_or_else(|_| place.clone()),
        None => place.clone(),
    };
    let mut devices = Vec::new();
    document.all("device", &mut devices);
    let device = devices.first().ok_or("it describes no device")?;
    let says = ["friendlyName", "manufacturer", "modelName", "modelNumber"];
    let says: Vec<&str> = says.iter().filter_map(|name| device.get(name)).collect();
    let mut services = Vec::new();
    document.all("service", &mut services);
    Ok(Description {
        place: place.clone(),
        server: None,
        says: told(says.join(", ").as_bytes()),
        leaks: devices.iter().take(MOST).flat_map(|it| leaks(it)).collect(),
        services: services
            .into_iter()
            .take(MOST)
            .map(|it| service(it, &base))
            .collect(),
    })
}

fn service(element: &Element, base: &Place) -> Service {
    Service {
        kind: told(element.get("serviceType").unwrap_or_default().as_bytes()),
        control: base.join(element.get("controlURL").unwrap_or_default()),
        events: element.get("eventSubURL").map(|url| base.join(url)),
    }
}

/// What tells one device from all others, and for good: by name, never the value itself.
fn leaks(device: &Element) -> Vec<(&'static str, String)> {
    let mut leaks = Vec::new();
    if let Some(serial) = device.get("serialNumber")
        && serial.len() > 3
        && serial.bytes().any(|it| it != b'0')
    {
        leaks.push(("a serial number", format!("{} characters", serial.len())));
    }
    // A version 1 UUID ends with the address of the network card (RFC 9562 §5.1); many makers put it there whatever the version.
    if let Some(name) = device.get("UDN") {
        let last = name.rsplit('-').next().unwrap_or_default();
        let is_mac = last.len() == 12
            && last.bytes().all(|it| it.is_ascii_hexdigit())
            && (name.split('-').nth(2).is_some_and(|it| it.starts_with('1'))
                || device.get("serialNumber").is_some_and(|it| {
                    let bare: String = it.chars().filter(char::is_ascii_hexdigit).collect();
                    bare.eq_ignore_ascii_case(last)
                }));
        if is_mac {
            leaks.push(("its hardware address, in its name", String::new()));
        }
    }
    leaks
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\">\
        <URLBase>http://198.51.100.9/</URLBase><device><friendlyName>Cam</friendlyName><modelName>M</modelName>\
        <serialNumber>02:00:00:00:ee:01</serialNumber><UDN>uuid:4d696e69-444c-164e-9d41-02000000ee01</UDN>\
        <serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>/ctl</controlURL><eventSubURL>http://198.51.100.9/evt</eventSubURL></service></serviceList></device></root>";

    #[test]
    fn services_and_what_is_given_away_are_found_and_other_hosts_are_not_followed() {
        let host = "192.0.2.7:80".parse().expect("an address");
        let place = Place::read("http://192.0.2.7:5000/r.xml", host).expect("a place");
        let found = read(TEXT.as_bytes(), &place).expect("a description");
        assert_eq!(found.says, "Cam, M");
        assert_eq!(found.leaks.len(), 2);
        let service = &found.services[0];
        assert!(service.maps_ports());
        let control = service.control.as_ref().expect("a place");
        assert_eq!(control.to_string(), "http://192.0.2.7:5000/ctl");
        assert_eq!(service.events, Some(Err("it leads to another host")));
    }
}
