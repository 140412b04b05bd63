//! Places that devices stand in, and profiles for them.

use stockade_controls::firewall::nft::CgroupPath;
use stockade_controls::firewall::surroundings::{Surroundings, UpnpWindow};

fn all<T>(texts: &[&str]) -> Vec<T>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
{
    let read = texts.iter().map(|text| text.parse());
    read.map(|value| value.expect("it can be read")).collect()
}

/// A network where everything is known.
pub(crate) fn home() -> Surroundings {
    Surroundings {
        own: all(&["192.168.7.10", "fd07::10", "fe80::10"]),
        gateway: all(&["192.168.7.1", "fd07::1", "fe80::1"]),
        gateway_link: "02:00:00:00:00:01".parse().ok(),
        local: all(&["192.168.7.0/24", "fd07::/64"]),
        resolvers: all(&["192.168.7.1"]),
        forwarder: Some(5353),
        my_controllers: all(&["192.168.7.20"]),
        services: [(
            "camera".parse().expect("a name"),
            CgroupPath::new("system.slice/camera.service").expect("a path"),
        )]
        .into(),
        ..Surroundings::default()
    }
}

/// The agent is there, and its owner has `UPnP` on.
pub(crate) fn open() -> Surroundings {
    Surroundings {
        own: all(&["192.168.7.1", "198.51.100.7"]),
        local: all(&["192.168.7.0/24"]),
        forwarder: Some(5353),
        agent: Some(911),
        upnp: Some(UpnpWindow {
            lan: "lan0".parse().expect("a name"),
            outside: "ext0".parse().expect("a name"),
            networks: all(&["192.168.7.0/24"]),
            control: 61_000,
            user: 912,
        }),
        ..Surroundings::default()
    }
}

/// A network of which next to nothing is known.
pub(crate) fn bare() -> Surroundings {
    Surroundings {
        own: all(&["10.0.0.5"]),
        gateway: all(&["10.0.0.1"]),
        local: all(&["10.0.0.0/8"]),
        ..Surroundings::default()
    }
}

/// Something of everything.
pub(crate) const RICH: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "rich-1"
version = 1
class = "linux"

[[firewall.out]]
to = "gateway"
protocol = "tcp"
port = 8883

[[firewall.out]]
to = "time.acme.example"
protocol = "udp"
port = 123
source-port = 123

[[firewall.out]]
to = "update.acme.example"
protocol = "tcp"
port = 443
service = "camera"

[[firewall.out]]
to = "8.8.8.8"
protocol = "udp"
port = 53

[[firewall.out]]
to = "any"
protocol = "tcp"
port = "8000-8999"

[[firewall.out]]
to = "any"
protocol = "udp"
port = 443

[[firewall.out]]
to = "239.255.255.250"
protocol = "udp"
port = 1900

[[firewall.out]]
to = "224.0.0.22"
protocol = "igmp"

[[firewall.out]]
to = "198.51.100.0/24"
protocol = "ip:47"

[[firewall.out]]
to = "my-controller"
protocol = "any"

[[firewall.in]]
from = "local-network"
protocol = "tcp"
port = "443-444"
rate = "20/s"

[[firewall.in]]
from = "2001:db8::/32"
protocol = "icmpv6"
icmp-type = 128

[[firewall.in]]
from = "any"
protocol = "udp"
port = 5683
family = "ipv6"
"#;

/// One rule.
pub(crate) const POOR: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "poor-1"
version = 1
class = "linux"

[[firewall.out]]
to = "gateway"
protocol = "tcp"
port = 8883
"#;

/// A device that may ask for two mappings, and has a plain service behind a TLS front.
pub(crate) const MAPPED: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "mapped-1"
version = 1
class = "linux"

[[protocols.front]]
listen = 443
to = "127.0.0.1:8080"

[upnp]
allow-enable = true
max-duration = "1h"

[[upnp.mapping]]
protocol = "tcp"
external-ports = "40000-40003"
internal-port = 443

[[upnp.mapping]]
protocol = "udp"
external-ports = "50000"
internal-port = 5683

[[firewall.out]]
to = "any"
protocol = "tcp"
port = "8000-9999"

[[firewall.in]]
from = "local-network"
protocol = "tcp"
port = "8000-8999"
"#;
