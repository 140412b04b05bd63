//! Single rules of a MUD file as JSON.

use super::GATEWAY;
use super::flow::Opening;
use super::json::Json;
use super::section::TlsRule;
use crate::{Direction, Endpoint, Family, Frame, PortRange, Protocol};

/// One rule of a list; `opener` is who opens what it belongs to.
pub(crate) fn ace(
    name: &str,
    direction: Direction,
    opener: Direction,
    opening: &Opening,
    family: Family,
    tls: Option<&TlsRule>,
) -> Json {
    let mut matches = Vec::new();
    let mut internet = Vec::new();
    match end(&opening.peer, direction, family) {
        End::None => (),
        End::Group(key, value) => {
            let group = Json::Object(vec![(key.to_owned(), value)]);
            matches.push(("ietf-mud:mud".to_owned(), group));
        }
        End::Field(key, value) => internet.push((key, Json::text(value))),
    }
    if let Some(number) = opening.protocol.number() {
        internet.push(("protocol".to_owned(), Json::number(number)));
    }
    if !internet.is_empty() {
        matches.push((family.to_string(), Json::Object(internet)));
    }
    if let (Some(to), Some(from)) = (opening.to, opening.from) {
        let mut fields = Vec::new();
        if opening.protocol == Protocol::Tcp {
            let opener = match opener {
                Direction::Out => "from-device",
                Direction::In => "to-device",
            };
            fields.push((
                "ietf-mud:direction-initiated".to_owned(),
                Json::text(opener),
            ));
        }
        for (key, range) in [("destination-port", to), ("source-port", from)] {
            if range != PortRange::ANY {
                fields.push((key.to_owned(), ports(range)));
            }
        }
        matches.push((opening.protocol.to_string(), Json::Object(fields)));
    }
    if let Some(icmp) = opening.icmp {
        let mut fields = vec![("type".to_owned(), Json::number(icmp.kind))];
        fields.extend(
            icmp.code
                .map(|code| ("code".to_owned(), Json::number(code))),
        );
        matches.push(("icmp".to_owned(), Json::Object(fields)));
    }
    if let Some(tls) = tls {
        matches.extend(tls.profiles.json().entries().iter().cloned());
    }
    accept(name, Json::Object(matches))
}

fn accept(name: &str, matches: Json) -> Json {
    let actions = Json::object([("forwarding", Json::text("accept"))]);
    Json::object([
        ("name", Json::text(name)),
        ("matches", matches),
        ("actions", actions),
    ])
}

pub(crate) fn frame_ace(name: &str, frame: &Frame) -> Json {
    let mut fields = vec![(
        "ethertype".to_owned(),
        Json::text(frame.ethertype.to_string()),
    )];
    if let Some(peer) = frame.peer {
        let key = match frame.direction {
            Direction::Out => "destination-mac-address",
            Direction::In => "source-mac-address",
        };
        fields.push((key.to_owned(), Json::text(peer.to_string())));
    }
    accept(name, Json::object([("eth", Json::Object(fields))]))
}

/// How MUD says the other end.
enum End {
    None,
    /// A node of `ietf-mud:mud` (RFC 8520 §4.1 to §4.7).
    Group(&'static str, Json),
    /// A field of the IP header.
    Field(String, String),
}

fn end(peer: &Endpoint, direction: Direction, family: Family) -> End {
    let empty = || Json::List(vec![Json::Null]);
    let (short, long) = match direction {
        Direction::Out => ("dst", "destination"),
        Direction::In => ("src", "source"),
    };
    let network = |text: String| End::Field(format!("{long}-{family}-network"), text);
    match peer {
        Endpoint::Any => End::None,
        Endpoint::Gateway => End::Group("controller", Json::text(GATEWAY)),
        Endpoint::LocalNetwork => End::Group("local-networks", empty()),
        Endpoint::MyController => End::Group("my-controller", empty()),
        Endpoint::SameManufacturer => End::Group("same-manufacturer", empty()),
        Endpoint::Manufacturer(host) => End::Group("manufacturer", Json::text(host.as_str())),
        Endpoint::Controller(class) => End::Group("controller", Json::text(class.as_str())),
        Endpoint::MudModel(url) => End::Group("model", Json::text(url.as_str())),
        // Refused before it comes here.
        Endpoint::Model(model) => End::Group("model", Json::text(model.as_str())),
        Endpoint::Host(host) => {
            let key = format!("ietf-acldns:{short}-dnsname");
            End::Field(key, host.to_string())
        }
        Endpoint::Network(range) => network(range.to_string()),
        Endpoint::Address(address) => {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            network(format!("{address}/{whole}"))
        }
    }
}

fn ports(range: PortRange) -> Json {
    if range.first() == range.last() {
        return Json::object([
            ("operator", Json::text("eq")),
            ("port", Json::number(range.first())),
        ]);
    }
    // RFC 8519 §4.2: a range has no operator.
    Json::object([
        ("lower-port", Json::number(range.first())),
        ("upper-port", Json::number(range.last())),
    ])
}
