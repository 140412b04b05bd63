//! Questions and answers of services over UDP.

use stockade_wire::bytes::Bytes;
use stockade_wire::dns::{INTERNET, Message, Question, kind};

use crate::text::told;

/// CoAP: GET `/.well-known/core`, confirmable (RFC 7252 §3, RFC 6690 §4).
pub(crate) const COAP: &[u8] = b"\x44\x01\x53\x74stck\xbb.well-known\x04core";

/// What a CoAP server answers: its code as `2.05`, and its links. None if this is no answer to the question.
pub fn coap(bytes: &[u8]) -> Option<(String, String)> {
    let mut rest = Bytes(bytes);
    let [first, code, _, _] = rest.array()?;
    // Version 1; an answer, or an empty acknowledgement or reset (RFC 7252 §3).
    let (class, detail) = (code >> 5, code & 0x1f);
    if first >> 6 != 1 || !matches!(class, 0 | 2 | 4 | 5) || (class == 0 && detail != 0) {
        return None;
    }
    let token = rest.take(usize::from(first & 0xf))?;
    let whole = class == 0 && bytes.get(2..4) == Some(b"\x53\x74");
    if token != b"stck" && !whole {
        return None;
    }
    let at = rest.0.iter().position(|byte| *byte == 0xff);
    let payload = at.and_then(|at| rest.0.get(at.checked_add(1)?..));
    Some((
        format!("{class}.{detail:02}"),
        told(payload.unwrap_or_default()),
    ))
}

/// SNMP: GET sysDescr.0 with the community `public` (RFC 1157 §4.1.2, RFC 3416 §4.2.1); the version is 0 for v1, 1 for v2c.
pub(crate) fn snmp_get(version: u8) -> Vec<u8> {
    let mut packet = vec![0x30, 0x29, 2, 1, version, 4, 6];
    packet.extend(b"public");
    packet.extend([0xa0, 0x1c, 2, 4, 0x53, 0x74, 0x63, 0x6b, 2, 1, 0, 2, 1, 0]);
    packet.extend([0x30, 0x0e, 0x30, 0x0c, 6, 8]);
    packet.extend([0x2b, 6, 1, 2, 1, 1, 1, 0, 5, 0]);
    packet
}

/// What an SNMP agent answers to the question: the description of the system. None if this is no such answer.
pub fn snmp(bytes: &[u8]) -> Option<String> {
    let (mut message, _) = value(&mut Bytes(bytes), 0x30)?;
    value(&mut message, 2)?;
    value(&mut message, 4)?;
    let (mut answer, _) = value(&mut message, 0xa2)?;
    let (id, _) = value(&mut answer, 2)?;
    if id.0 != b"\x53\x74\x63\x6b" {
        return None;
    }
    value(&mut answer, 2)?;
    value(&mut answer, 2)?;
    let (mut list, _) = value(&mut answer, 0x30)?;
    let (mut binding, _) = value(&mut list, 0x30)?;
    value(&mut binding, 6)?;
    // Any type: "no such object" is an answer, too.
    let said = value(&mut binding, 4).map(|(text, _)| told(text.0));
    Some(said.unwrap_or_default())
}

/// A value of BER with a definite length (X.690 §8.1), of this type, and its type.
fn value<'a>(rest: &mut Bytes<'a>, wanted: u8) -> Option<(Bytes<'a>, u8)> {
    let mut ahead = *rest;
    let (tag, first) = (ahead.u8()?, ahead.u8()?);
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81 => usize::from(ahead.u8()?),
        0x82 => usize::from(ahead.u16()?),
        _ => return None,
    };
    let content = Bytes(ahead.take(length)?);
    if tag != wanted {
        return None;
    }
    *rest = ahead;
    Some((content, tag))
}

/// TFTP: read a file that nobody has (RFC 1350 §5).
pub(crate) const TFTP: &[u8] = b"\x00\x01stockade-audit-7d1f\0octet\0";

/// What a TFTP server answers: an error, or data. None if this is neither.
pub fn tftp(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0, 5, 0, 0..=8, text @ ..] => {
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(format!("error: {}", told(text)))
        }
        [0, 3, 0, 1, ..] => Some("gives a file that was made up".to_owned()),
        _ => None,
    }
}

/// NTP: a client's question (RFC 5905 §7.3), and "read variables" of the control protocol (RFC 9327 §2).
pub(crate) fn ntp() -> Vec<u8> {
    let mut packet = vec![0x23];
    packet.resize(40, 0);
    packet.extend(*b"stockade");
    packet
}
pub(crate) const NTP_CONTROL: [u8; 12] = [0x16, 2, 0x53, 0x74, 0, 0, 0, 0, 0, 0, 0, 0];

/// What an NTP server answers to a client: its stratum.
pub fn ntp_time(bytes: &[u8]) -> Option<u8> {
    match bytes {
        // RFC 5905 §8: the question's transmit time comes back as the origin time.
        [flags, stratum, ..] if flags & 7 == 4 && bytes.get(24..32) == Some(b"stockade") => {
            Some(*stratum)
        }
        _ => None,
    }
}

/// What an NTP server tells by the control protocol.
pub fn ntp_variables(bytes: &[u8]) -> Option<String> {
    match bytes {
        [flags, op, 0x53, 0x74, ..] if flags & 7 == 6 && op & 0x80 != 0 => {
            Some(told(bytes.get(12..).unwrap_or_default()))
        }
        _ => None,
    }
}

const DNS_ID: u16 = 0x5374;

/// DNS: an address of a name that can not be (RFC 6761 §6.4), asked with recursion; and the server's version (RFC 4892 §2), which it
/// tells without asking others, and whether it would.
pub(crate) fn dns_queries() -> [Option<Vec<u8>>; 2] {
    /// The class CHAOS (RFC 1035 §3.2.4).
    const CHAOS: u16 = 3;
    [
        question("version.bind", kind::TXT, CHAOS),
        question("stockade.invalid", kind::A, INTERNET),
    ]
}

/// The same over TCP: behind its length (RFC 1035 §4.2.2).
pub(crate) fn dns_over_tcp() -> Vec<u8> {
    let [query, _] = dns_queries();
    let query = query.unwrap_or_default();
    let length = u16::try_from(query.len()).unwrap_or_default();
    [&length.to_be_bytes(), query.as_slice()].concat()
}

/// What a DNS server answers over TCP.
pub fn dns_from_tcp(bytes: &[u8]) -> Option<(bool, u8)> {
    let mut rest = Bytes(bytes);
    let length = rest.u16()?;
    dns(rest.take(length.into())?)
}

fn question(name: &str, kind: u16, class: u16) -> Option<Vec<u8>> {
    let message = Message {
        id: DNS_ID,
        recursion_desired: true,
        questions: vec![Question {
            name: name.parse().ok()?,
            kind,
            class,
        }],
        ..Message::default()
    };
    Some(message.write(512))
}

/// What a DNS server answers: whether it asks others for us (RFC 1035 §4.1.1, RA), and its code.
pub fn dns(bytes: &[u8]) -> Option<(bool, u8)> {
    let message = Message::read(bytes).ok()?;
    (message.response && message.id == DNS_ID)
        .then_some((message.recursion_available, message.rcode))
}

/// NAT-PMP: the outside address (RFC 6886 §3.2), and PCP: ANNOUNCE (RFC 6887 §14.1).
pub(crate) const NAT_PMP: [u8; 2] = [0, 0];

/// A PCP request (RFC 6887 §7.1) from this address.
pub(crate) fn pcp_announce(own: std::net::IpAddr) -> Vec<u8> {
    let own = match own {
        std::net::IpAddr::V4(own) => own.to_ipv6_mapped(),
        std::net::IpAddr::V6(own) => own,
    };
    let mut packet = vec![2, 0, 0, 0, 0, 0, 0, 0];
    packet.extend(own.octets());
    packet
}

/// NAT-PMP: map a port for a minute, or take the mapping away with a lifetime of 0 (RFC 6886 §3.3, §3.4); TCP.
pub(crate) fn nat_pmp_map(port: u16, seconds: u32) -> Vec<u8> {
    let outside = if seconds == 0 { 0 } else { port };
    let mut packet = vec![0, 2, 0, 0];
    packet.extend(port.to_be_bytes());
    packet.extend(outside.to_be_bytes());
    packet.extend(seconds.to_be_bytes());
    packet
}

/// Whether it is mapped: the result is 0 (RFC 6886 §3.3).
pub(crate) fn nat_pmp_mapped(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0, 0x82, high, low, ..] if bytes.len() >= 16 => Some((*high, *low) == (0, 0)),
        [0, 0x82, ..] => Some(false),
        _ => None,
    }
}

/// What a gateway answers to one of them.
pub fn nat_pmp(bytes: &[u8]) -> Option<String> {
    match bytes {
        // RFC 6886 §3.5: 3 to 5 are refusals of one who speaks it.
        [0, 0x80, 0, 0, _, _, _, _, a, b, c, d] => Some(format!(
            "NAT-PMP, outside address {}",
            std::net::Ipv4Addr::new(*a, *b, *c, *d)
        )),
        [0, 0x80..=0x82, 0, code @ 1..=5, ..] => Some(format!("NAT-PMP, refuses with {code}")),
        [0, 0x81 | 0x82, 0, 0, _, _, _, _, _, _, high, low, ..] => {
            let port = u16::from_be_bytes([*high, *low]);
            Some(format!("NAT-PMP, mapped outside port {port}"))
        }
        [2, 0x80, _, code @ 0..=13, ..] if bytes.len() >= 24 => Some(format!("PCP, result {code}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coap_answers_to_the_question_only() {
        let answer = b"\x64\x45\x53\x74stck\xc1\x28\xff</temp>;rt=\"t\"";
        let (code, links) = coap(answer).expect("an answer");
        assert_eq!(
            (code.as_str(), links.as_str()),
            ("2.05", "</temp>;rt=\"t\"")
        );
        assert_eq!(coap(b"\x64\x45\x53\x74stcx\xff."), None);
        assert_eq!(coap(COAP), None, "a request is no answer");
        assert!(coap(b"\x70\x00\x53\x74").is_some(), "a reset is an answer");
        assert_eq!(coap(b"\x64\x45"), None);
    }

    #[test]
    fn snmp_says_what_the_system_is() {
        let asked = snmp_get(1);
        assert_eq!(usize::from(asked[1]), asked.len() - 2);
        let mut answer = asked.clone();
        answer[13] = 0xa2;
        answer.truncate(answer.len() - 2);
        answer.extend(b"\x04\x03abc");
        for at in [1, 14, 28, 30] {
            answer[at] += 3;
        }
        assert_eq!(snmp(&answer).as_deref(), Some("abc"));
        assert_eq!(snmp(&asked), None);
        for cut in 0..answer.len() {
            assert_eq!(snmp(&answer[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn other_answers_are_known_from_noise() {
        assert_eq!(
            tftp(b"\0\x05\0\x01File not found\0").as_deref(),
            Some("error: File not found")
        );
        assert_eq!(tftp(b"\0\x09"), None);
        let mut time = vec![0x24, 2];
        time.resize(24, 0);
        time.extend(b"stockade");
        time.resize(48, 0);
        assert_eq!(ntp_time(&time), Some(2));
        assert_eq!(ntp_time(&ntp()), None);
        assert_eq!(ntp_variables(&NTP_CONTROL), None);
        assert_eq!(
            dns_from_tcp(&dns_over_tcp()),
            None,
            "a question is no answer"
        );
        let mut answer = dns_over_tcp();
        answer[4] |= 0x80;
        answer[5] |= 0x80;
        assert_eq!(dns_from_tcp(&answer), Some((true, 0)));
        let said = nat_pmp(&[0, 128, 0, 0, 0, 0, 0, 9, 9, 9, 9, 1]);
        assert_eq!(said.as_deref(), Some("NAT-PMP, outside address 9.9.9.1"));
        assert_eq!(nat_pmp(&[2, 0]), None);
    }
}
