//! Questions and answers of services over TCP that do not speak text.

use stockade_wire::bytes::Bytes;

use crate::text::told;

/// The name that brokers see; no device of anybody has it, so nobody's session is taken over.
const CLIENT: &[u8] = b"stockade-audit";

/// MQTT CONNECT without a user (MQTT 3.1.1 §3.1, MQTT 5.0 §3.1).
pub(crate) fn mqtt_connect(v5: bool) -> Vec<u8> {
    let version = if v5 { 5 } else { 4 };
    // A clean start, and ten seconds between signs of life.
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 10];
    if v5 {
        body.push(0);
    }
    body.extend([0, u8::try_from(CLIENT.len()).unwrap_or_default()]);
    body.extend_from_slice(CLIENT);
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap_or_default()];
    packet.append(&mut body);
    packet
}

/// MQTT DISCONNECT (MQTT 3.1.1 §3.14).
pub(crate) const MQTT_DISCONNECT: [u8; 2] = [0xe0, 0];

/// The same with a user and a password.
pub(crate) fn mqtt_login(user: &str, password: &str) -> Vec<u8> {
    let mut packet = mqtt_connect(false);
    // User name and password flags (MQTT 3.1.1 §3.1.2.3).
    if let Some(flags) = packet.get_mut(9) {
        *flags |= 0xc0;
    }
    for text in [user, password] {
        packet.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend_from_slice(text.as_bytes());
    }
    let length = packet.len().saturating_sub(2);
    if let Some(place) = packet.get_mut(1) {
        *place = u8::try_from(length).unwrap_or(0x7f);
    }
    packet
}

/// The code of a CONNACK (MQTT 3.1.1 §3.2, MQTT 5.0 §3.2): 0 lets the client in.
pub fn mqtt_connack(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [0x20, 2, 0 | 1, code @ 0..=5, ..] => Some(*code),
        // RFC-like length of one byte: a longer CONNACK than 127 bytes is none that refuses.
        [0x20, 2..=0x7f, 0 | 1, code, ..] if *code == 0 || *code >= 0x80 => Some(*code),
        [0x20, 0x80..=0xff, 1..=0x7f, 0 | 1, 0, ..] => Some(0),
        _ => None,
    }
}

/// Modbus: "Read Device Identification", the basic part (Modbus Application Protocol 1.1b3 §6.21).
pub(crate) const MODBUS: [u8; 11] = [0x53, 0x74, 0, 0, 0, 5, 1, 0x2b, 0x0e, 1, 0];

/// What a Modbus device says of itself; empty if it does not want to, none if this is no Modbus.
pub fn modbus(bytes: &[u8]) -> Option<String> {
    let mut rest = Bytes(bytes);
    let same = rest.array()? == [0x53, 0x74, 0, 0];
    let length = usize::from(rest.u16()?);
    let mut body = Bytes(rest.take(length)?);
    let (_unit, function) = (body.u8()?, body.u8()?);
    if !same || function & 0x7f != 0x2b {
        return None;
    }
    let mut objects = || {
        // MEI type, code, conformity, more, next.
        body.take(5)?;
        let count = body.u8()?;
        let mut said = Vec::new();
        for _ in 0..count {
            let (_id, length) = (body.u8()?, body.u8()?);
            said.push(told(body.take(length.into())?));
        }
        Some(said.join(" "))
    };
    Some(if function == 0x2b {
        objects().unwrap_or_default()
    } else {
        String::new()
    })
}

/// ADB: CNXN (AOSP, `packages/modules/adb/protocol.txt`).
pub(crate) fn adb_connect() -> Vec<u8> {
    let data = b"host::\0";
    let sum: u32 = data.iter().map(|byte| u32::from(*byte)).sum();
    let command = u32::from_le_bytes(*b"CNXN");
    let length = u32::try_from(data.len()).unwrap_or_default();
    let words = [command, 0x0100_0000, 4096, length, sum, !command];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    packet.extend_from_slice(data);
    packet
}

/// What ADB answers: whether it lets anybody in, and what it says. None if this is no ADB.
pub fn adb(bytes: &[u8]) -> Option<(bool, String)> {
    let (header, data) = bytes.split_at_checked(24)?;
    let (command, rest) = header.split_first_chunk::<4>()?;
    let magic = rest.last_chunk::<4>()?;
    if u32::from_le_bytes(*magic) != !u32::from_le_bytes(*command) {
        return None;
    }
    match command {
        b"CNXN" => Some((true, told(data))),
        b"AUTH" | b"STLS" => Some((false, "wants a key".to_owned())),
        _ => None,
    }
}

/// RDP: the request of a connection (MS-RDPBCGR §2.2.1.1), with TLS and `CredSSP`.
pub(crate) const RDP: [u8; 19] = [3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];

/// Whether this is the confirmation of a connection (MS-RDPBCGR §2.2.1.2).
pub fn is_rdp(bytes: &[u8]) -> bool {
    matches!(bytes, [3, 0, 0, 11..=19, _, 0xd0, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connack_says_who_is_let_in() {
        assert_eq!(mqtt_connack(&[0x20, 2, 0, 0]), Some(0));
        assert_eq!(mqtt_connack(&[0x20, 2, 0, 5]), Some(5));
        assert_eq!(mqtt_connack(&[0x20, 3, 0, 0x87, 0]), Some(0x87));
        assert_eq!(
            mqtt_connack(&[0x20, 9, 0, 0, 6, 0x22, 0, 10, 0x21, 0, 20]),
            Some(0)
        );
        assert_eq!(mqtt_connack(&[0x20, 3, 0, 7, 0]), None);
        assert_eq!(mqtt_connack(b"HTTP/1.1"), None);
        for packet in [
            mqtt_connect(false),
            mqtt_connect(true),
            mqtt_login("a", "b"),
        ] {
            assert_eq!(usize::from(packet[1]), packet.len() - 2);
        }
    }

    #[test]
    fn modbus_says_who_it_is_or_that_it_will_not() {
        let mut answer = vec![0x53, 0x74, 0, 0, 0, 17, 1, 0x2b, 0x0e, 1, 1, 0, 0, 2];
        answer.extend(b"\x00\x03ABC\x01\x02DE");
        answer[5] = u8::try_from(answer.len() - 6).expect("short");
        assert_eq!(modbus(&answer).as_deref(), Some("ABC DE"));
        assert_eq!(
            modbus(&[0x53, 0x74, 0, 0, 0, 3, 1, 0xab, 1]).as_deref(),
            Some("")
        );
        assert_eq!(modbus(&[0x53, 0x75, 0, 0, 0, 3, 1, 0xab, 1]), None);
        assert_eq!(modbus(b"HTTP/1.1 400 Bad Request"), None);
    }

    #[test]
    fn adb_lets_in_or_asks_for_a_key() {
        let reply = adb_connect();
        assert_eq!(adb(&reply), Some((true, "host::".to_owned())));
        let mut auth = reply.clone();
        auth[..4].copy_from_slice(b"AUTH");
        assert_eq!(adb(&auth), None, "the magic does not fit");
        let magic = !u32::from_le_bytes(*b"AUTH");
        auth[20..24].copy_from_slice(&magic.to_le_bytes());
        assert_eq!(adb(&auth).map(|it| it.0), Some(false));
    }
}
