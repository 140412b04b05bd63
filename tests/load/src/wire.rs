//! The few packets a load needs, in both versions of the protocol.

use anyhow::{Result, bail, ensure};

/// CONNACK. Packet types (MQTT 5 §2.1.2) are the upper half of the first byte.
pub const CONNACK: u8 = 2;
/// PUBLISH.
pub const PUBLISH: u8 = 3;
/// PUBACK.
pub const PUBACK: u8 = 4;
/// PUBREC.
pub const PUBREC: u8 = 5;
/// PUBREL.
pub const PUBREL: u8 = 6;
/// PUBCOMP.
pub const PUBCOMP: u8 = 7;
/// SUBACK.
pub const SUBACK: u8 = 9;
/// DISCONNECT.
pub const DISCONNECT: u8 = 14;

/// MQTT 5, or 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Five(pub bool);

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut rest = body.len();
    loop {
        let [byte, ..] = (rest % 128).to_le_bytes();
        rest /= 128;
        out.push(if rest == 0 { byte } else { byte | 0x80 });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// CONNECT with a clean start and a keep-alive of ten minutes.
pub fn connect(five: Five, client_id: &str, out: &mut Vec<u8>) {
    // Receive Maximum 65,535 (§3.1.2.11.3): the window is ours to keep.
    connect_with(five, client_id, 0x02, &[0x21, 0xFF, 0xFF], out);
}

/// CONNECT that takes up the session an earlier one left, in MQTT 5 with a session that outlives us by an hour.
pub fn resume(five: Five, client_id: &str, out: &mut Vec<u8>) {
    connect_with(five, client_id, 0x00, &[0x11, 0, 0, 0x0E, 0x10], out);
}

fn connect_with(five: Five, client_id: &str, flags: u8, properties: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::new();
    text("MQTT", &mut body);
    body.extend_from_slice(&[if five.0 { 5 } else { 4 }, flags]);
    body.extend_from_slice(&600_u16.to_be_bytes());
    if five.0 {
        // Property lengths of these packets fit one byte.
        body.push(u8::try_from(properties.len()).unwrap_or(0));
        body.extend_from_slice(properties);
    }
    text(client_id, &mut body);
    packet(0x10, &body, out);
}

/// SUBSCRIBE to one filter, packet identifier 1.
pub fn subscribe(five: Five, filter: &str, qos: u8, out: &mut Vec<u8>) {
    let mut body = vec![0, 1];
    if five.0 {
        body.push(0);
    }
    text(filter, &mut body);
    body.push(qos);
    packet(0x82, &body, out);
}

/// PUBLISH at `QoS` 0 (identifier `None`) or 1.
pub fn publish(
    five: Five,
    topic: &str,
    identifier: Option<u16>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let first = if identifier.is_some() { 0x32 } else { 0x30 };
    publish_with(first, five, topic, identifier, payload, out);
}

/// PUBLISH at `QoS` 2, for the first time or again.
pub fn publish_twice_safe(
    five: Five,
    topic: &str,
    identifier: u16,
    again: bool,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let first = if again { 0x3C } else { 0x34 };
    publish_with(first, five, topic, Some(identifier), payload, out);
}

fn publish_with(
    first: u8,
    five: Five,
    topic: &str,
    identifier: Option<u16>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 8);
    text(topic, &mut body);
    if let Some(identifier) = identifier {
        body.extend_from_slice(&identifier.to_be_bytes());
    }
    if five.0 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(first, &body, out);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, success.
pub fn acknowledge(kind: u8, identifier: u16, out: &mut Vec<u8>) {
    // PUBREL alone has a reserved bit set (§3.6.1).
    let reserved = if kind == PUBREL { 0x02 } else { 0 };
    packet(kind << 4 | reserved, &identifier.to_be_bytes(), out);
}

/// The identifier of an acknowledgement, and whether it is one of success.
pub fn acknowledged(body: &[u8]) -> Result<(u16, bool)> {
    let [high, low, rest @ ..] = body else {
        bail!("a short acknowledgement")
    };
    Ok((
        u16::from_be_bytes([*high, *low]),
        rest.first().is_none_or(|code| *code < 0x80),
    ))
}

/// The first whole packet of `bytes`: its first byte, its body, and how many bytes it took.
pub fn next(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (mut length, mut shift) = (0_usize, 0_u32);
    for (at, &byte) in rest.iter().enumerate() {
        ensure!(at < 4, "a remaining length of more than four bytes");
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let start = at + 2;
            return Ok(bytes
                .get(start..start + length)
                .map(|body| (first, body, start + length)));
        }
    }
    Ok(None)
}

/// What a CONNACK grants: how many QoS 1 messages may be unacknowledged.
pub fn granted(five: Five, body: &[u8]) -> Result<usize> {
    let [_, code, rest @ ..] = body else {
        bail!("a short CONNACK")
    };
    ensure!(
        *code == 0,
        "the broker refused the connection with code {code:#04x}"
    );
    let mut maximum = 65_535;
    if five.0 {
        // Properties of a fixed length are stepped over; the ones with text come after in every broker met so far.
        let mut properties = rest.get(1..).unwrap_or_default();
        while let [name, tail @ ..] = properties {
            let skip = match name {
                0x21 => {
                    if let [high, low, ..] = tail {
                        maximum = usize::from(u16::from_be_bytes([*high, *low]));
                    }
                    2
                }
                0x22 | 0x13 => 2,
                0x11 | 0x27 => 4,
                0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
                // Text: two bytes of length, then as many more.
                0x12 | 0x1A | 0x1C | 0x1F | 0x15 => match tail {
                    [high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])),
                    _ => break,
                },
                _ => break,
            };
            properties = tail.get(skip..).unwrap_or_default();
        }
    }
    Ok(maximum)
}

/// Topic, identifier (QoS 1 only) and payload of a PUBLISH.
pub fn published(five: Five, first: u8, body: &[u8]) -> Result<(Option<u16>, &[u8])> {
    let [high, low, rest @ ..] = body else {
        bail!("a short PUBLISH")
    };
    let mut rest = rest
        .get(usize::from(u16::from_be_bytes([*high, *low]))..)
        .unwrap_or_default();
    let mut identifier = None;
    if first & 0x06 != 0 {
        let [high, low, tail @ ..] = rest else {
            bail!("a short PUBLISH")
        };
        identifier = Some(u16::from_be_bytes([*high, *low]));
        rest = tail;
    }
    if five.0 {
        // Property lengths of these messages fit one byte.
        let [length, tail @ ..] = rest else {
            bail!("a short PUBLISH")
        };
        rest = tail.get(usize::from(*length)..).unwrap_or_default();
    }
    Ok((identifier, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for five in [Five(false), Five(true)] {
            let mut bytes = Vec::new();
            publish(five, "a/b", Some(7), &[1; 200], &mut bytes);
            let (first, body, taken) = next(&bytes).unwrap().unwrap();
            assert_eq!((first >> 4, taken), (PUBLISH, bytes.len()));
            assert_eq!(
                published(five, first, body).unwrap(),
                (Some(7), &[1; 200][..])
            );
            assert!(next(&bytes[..bytes.len() - 1]).unwrap().is_none());
        }
    }

    #[test]
    fn the_receive_maximum_of_a_connack_is_found_behind_other_properties() {
        let body = [0, 0, 10, 0x22, 0, 10, 0x12, 0, 1, b'x', 0x21, 0, 20];
        assert_eq!(granted(Five(true), &body).unwrap(), 20);
        assert_eq!(granted(Five(false), &[0, 0]).unwrap(), 65_535);
        assert!(granted(Five(true), &[0, 0x87, 0]).is_err());
    }
}
