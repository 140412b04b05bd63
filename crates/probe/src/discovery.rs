//! How devices are found on a local network: multicast DNS (RFC 6762) and WS-Discovery (OASIS, 2009).

use stockade_wire::dns::{Data, INTERNET, Message, Question, kind};

use crate::text::told;
use crate::xml;

/// The types of services that a host has (RFC 6763 §9), to be answered to the asker alone (RFC 6762 §5.4).
pub(crate) fn mdns_query() -> Option<Vec<u8>> {
    let message = Message {
        questions: vec![Question {
            name: "_services._dns-sd._udp.local".parse().ok()?,
            kind: kind::PTR,
            class: INTERNET | 0x8000,
        }],
        ..Message::default()
    };
    Some(message.write(512))
}

/// The names that a host answers with.
pub(crate) fn mdns(bytes: &[u8]) -> Option<String> {
    let message = Message::read(bytes).ok()?;
    if !message.response {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for record in message.answers.iter().chain(&message.additionals) {
        if let Data::Ptr(name) = &record.data {
            let name = told(name.to_string().as_bytes());
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort();
    names.truncate(8);
    Some(names.join(", "))
}

/// WS-Discovery's probe for anything (WS-Discovery 1.1 §5.2; devices speak its version of 2005).
pub(crate) fn wsd_probe() -> Vec<u8> {
    concat!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>",
        "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" ",
        "xmlns:w=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" ",
        "xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"><e:Header>",
        "<w:MessageID>uuid:73746f63-6b61-4465-8175-646974000001</w:MessageID>",
        "<w:To e:mustUnderstand=\"true\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>",
        "<w:Action e:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action>",
        "</e:Header><e:Body><d:Probe/></e:Body></e:Envelope>"
    )
    .as_bytes()
    .to_vec()
}

/// What a device says of itself to it: its types and addresses.
pub(crate) fn wsd(bytes: &[u8]) -> Option<String> {
    let document = xml::read(bytes).ok()?;
    let mut matches = Vec::new();
    document.all("ProbeMatch", &mut matches);
    let mut empty = Vec::new();
    document.all("ProbeMatches", &mut empty);
    if empty.is_empty() {
        return None;
    }
    let said = matches
        .iter()
        .flat_map(|it| [it.get("Types"), it.get("XAddrs")]);
    let said: Vec<&str> = said.flatten().collect();
    Some(told(said.join(" ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_wire::dns::Record;

    #[test]
    fn the_types_of_services_are_told() {
        let mut answer = Message::read(&mdns_query().expect("a query")).expect("a message");
        assert_eq!(mdns(&answer.write(512)), None, "a question is no answer");
        answer.response = true;
        answer.answers.push(Record {
            name: answer.questions[0].name.clone(),
            class: INTERNET,
            ttl: 10,
            data: Data::Ptr("_http._tcp.local".parse().expect("a name")),
        });
        let said = mdns(&answer.write(512)).expect("an answer");
        assert!(said.starts_with("_http._tcp.local"), "{said}");
    }

    #[test]
    fn a_match_of_a_probe_is_told_and_the_probe_is_none() {
        let answer = b"<s:Envelope xmlns:s='x'><s:Body><d:ProbeMatches xmlns:d='y'><d:ProbeMatch><d:Types>dn:NetworkVideoTransmitter</d:Types><d:XAddrs>http://192.0.2.7/onvif</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>";
        assert_eq!(
            wsd(answer).as_deref(),
            Some("dn:NetworkVideoTransmitter http://192.0.2.7/onvif")
        );
        assert_eq!(wsd(&wsd_probe()), None);
    }
}
