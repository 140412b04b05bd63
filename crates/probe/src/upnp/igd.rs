//! What a gateway does for anybody who asks (IGD 1.0 and 2.0, `WANIPConnection`).

use std::io::{ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr};

use super::{How, Place};
use crate::line::Line;
use crate::services::{exchange, request};
use crate::text::told;
use crate::xml;

/// The most mappings that are listed.
const MOST: u32 = 16;
/// Ports of the outside from which one is tried, for a minute.
const PORTS: std::ops::Range<u16> = 48_611..48_627;

/// A service that maps ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its type.
    pub kind: String,
    /// Where it is.
    pub place: String,
    /// The outside address that it tells anybody.
    pub outside: Option<String>,
    /// The mappings that it tells anybody: port, and where to.
    pub mappings: Vec<String>,
    /// Whether it maps a port to who asks; none where that was not tried.
    pub maps_to_asker: Option<bool>,
    /// Whether it maps a port to somebody else.
    pub maps_to_others: Option<bool>,
    /// Mappings that were made and could not be taken away; they end by themselves after a minute.
    pub left: Vec<u16>,
}

/// An action's answer: its arguments, or the error's number.
type Answered = std::result::Result<xml::Element, u16>;

struct Asker<'a> {
    line: &'a Line,
    kind: &'a str,
    place: &'a Place,
}

pub(super) fn ask(line: &Line, kind: &str, place: &Place, how: How) -> Result<Gateway> {
    let asker = Asker { line, kind, place };
    let mut gateway = Gateway {
        kind: kind.to_owned(),
        place: place.to_string(),
        outside: None,
        mappings: Vec::new(),
        maps_to_asker: None,
        maps_to_others: None,
        left: Vec::new(),
    };
    if kind.contains("FirewallControl") {
        if let Ok(answer) = asker.act("GetFirewallStatus", "")? {
            gateway.outside =
                text(&answer, "InboundPinholeAllowed").map(|it| format!("pinholes allowed: {it}"));
        }
        return Ok(gateway);
    }
    if let Ok(answer) = asker.act("GetExternalIPAddress", "")? {
        gateway.outside = text(&answer, "NewExternalIPAddress");
    }
    let mut taken = Vec::new();
    for index in 0..MOST {
        let argument = format!("<NewPortMappingIndex>{index}</NewPortMappingIndex>");
        let Ok(answer) = asker.act("GetGenericPortMappingEntry", &argument)? else {
            break;
        };
        let field = |name| text(&answer, name).unwrap_or_default();
        let outside = field("NewExternalPort");
        taken.push(outside.parse::<u16>().unwrap_or_default());
        let (protocol, to, port) = (
            field("NewProtocol"),
            field("NewInternalClient"),
            field("NewInternalPort"),
        );
        gateway
            .mappings
            .push(format!("{protocol} {outside} to {to}:{port}"));
    }
    if let (true, IpAddr::V4(own)) = (how.active, how.own) {
        let free = { PORTS }.find(|port| !taken.contains(port));
        if let Some(port) = free {
            gateway.maps_to_asker = Some(asker.map(port, own, &mut gateway.left)?);
            gateway.maps_to_others =
                Some(asker.map(port, neighbour(own, place), &mut gateway.left)?);
        }
    }
    Ok(gateway)
}

/// An address of the same network that is neither ours nor the gateway's.
fn neighbour(own: Ipv4Addr, place: &Place) -> Ipv4Addr {
    let [a, b, c, d] = own.octets();
    let mut others = (1..=254).map(|last| Ipv4Addr::new(a, b, c, last));
    others
        .find(|it| it.octets() != [a, b, c, d] && IpAddr::V4(*it) != place.to.ip())
        .unwrap_or(own)
}

impl Asker<'_> {
    /// Adds a mapping for a minute and takes it away again; whether it was added.
    fn map(&self, port: u16, to: Ipv4Addr, left: &mut Vec<u16>) -> Result<bool> {
        let name = format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort><NewProtocol>TCP</NewProtocol>"
        );
        let arguments = format!(
            "{name}<NewInternalPort>9</NewInternalPort><NewInternalClient>{to}</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>stockade-audit</NewPortMappingDescription><NewLeaseDuration>60</NewLeaseDuration>"
        );
        let added = self.act("AddPortMapping", &arguments)?.is_ok();
        if added && !matches!(self.act("DeletePortMapping", &name), Ok(Ok(_))) {
            left.push(port);
        }
        Ok(added)
    }

    /// Carries out an action (`UPnP` Device Architecture 2.0 §3.2).
    fn act(&self, action: &str, arguments: &str) -> Result<Answered> {
        let kind = self.kind;
        if kind.contains(['<', '>', '"', '&']) {
            return Ok(Err(401));
        }
        let body = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{kind}\">{arguments}\
             </u:{action}></s:Body></s:Envelope>"
        );
        let fields = format!(
            "Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{kind}#{action}\"\r\n"
        );
        let asked = request("POST", &self.place.path, self.place.to, &fields, &body);
        let (head, bytes) = match exchange(self.line, self.place.to, &asked) {
            Ok(answer) => answer,
            // It closes or talks nonsense: the action was not carried out.
            Err(why) if why.kind() == ErrorKind::TimedOut && self.line.is_over() => {
                return Err(why);
            }
            Err(_) => return Ok(Err(0)),
        };
        let Ok(document) = xml::read(&head.content(&bytes)) else {
            return Ok(Err(head.status));
        };
        Ok(if head.status == 200 {
            Ok(document)
        } else {
            let code = text(&document, "errorCode").and_then(|it| it.parse().ok());
            Err(code.unwrap_or(head.status))
        })
    }
}

fn text(document: &xml::Element, name: &str) -> Option<String> {
    let mut found = Vec::new();
    document.all(name, &mut found);
    let text = found.first()?.text.as_str();
    (!text.is_empty()).then(|| told(text.as_bytes()))
}
