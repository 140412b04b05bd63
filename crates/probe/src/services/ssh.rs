//! What an SSH server says before anybody logs in (RFC 4253): its name, its algorithms, and its host key.
//!
//! Nothing is computed: the key that is sent for the exchange is a point of the curve that everybody knows, and the connection ends
//! with the server's answer, which has its host key in clear.

use stockade_wire::bytes::Bytes;

use crate::text::told;

/// How this side names itself (RFC 4253 §4.2).
pub(crate) const HELLO: &[u8] = b"SSH-2.0-stockade_audit\r\n";
/// The longest packet (RFC 4253 §6.1), and the most names of a list that are kept.
const LONGEST: usize = 35_000;
const MOST_NAMES: usize = 64;
const KEXINIT: u8 = 20;
const ECDH_INIT: u8 = 30;
const ECDH_REPLY: u8 = 31;
/// The key types whose strength a certificate of their name does not tell.
const RSA: [&str; 3] = ["rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"];
/// The exchanges that any 32 bytes take part in (RFC 8731 §3).
const CURVE: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];

/// What it offers, and its weakest key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ssh {
    /// Exchanges of keys.
    pub exchanges: Vec<String>,
    /// Types of host keys.
    pub host_keys: Vec<String>,
    /// Ciphers towards the client.
    pub ciphers: Vec<String>,
    /// Message authentication towards the client.
    pub macs: Vec<String>,
    /// The host key of RSA or DSA: its type and bits.
    pub key: Option<(String, usize)>,
}

/// Where the packets begin: behind the line with its name (RFC 4253 §4.2); none while that is not all there.
pub(crate) fn packets(bytes: &[u8]) -> Option<&[u8]> {
    let start = if bytes.starts_with(b"SSH-") {
        0
    } else {
        let at = bytes.windows(5).position(|it| it == b"\nSSH-")?;
        at.checked_add(1)?
    };
    let bytes = bytes.get(start..)?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    bytes.get(end.checked_add(1)?..)
}

/// The payload of the next packet, before anything is enciphered (RFC 4253 §6).
fn packet<'a>(rest: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let mut ahead = *rest;
    let length = usize::try_from(ahead.u32()?)
        .ok()
        .filter(|it| *it <= LONGEST)?;
    let mut body = Bytes(ahead.take(length)?);
    let padding = usize::from(body.u8()?);
    *rest = ahead;
    body.take(body.len().checked_sub(padding)?)
}

fn string<'a>(rest: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let length = rest.u32()?;
    rest.take(usize::try_from(length).ok()?)
}

/// A list of names (RFC 4251 §5).
fn names(rest: &mut Bytes<'_>) -> Option<Vec<String>> {
    let names = string(rest)?.split(|byte| *byte == b',');
    let names = names.filter(|it| !it.is_empty()).take(MOST_NAMES);
    Some(names.map(told).collect())
}

/// What a server offers, in the bytes behind its name (RFC 4253 §7.1); none while the packet is not all there.
pub fn offers(bytes: &[u8]) -> Option<Ssh> {
    let mut rest = Bytes(bytes);
    let mut payload = Bytes(packet(&mut rest)?);
    if payload.u8()? != KEXINIT {
        return None;
    }
    payload.take(16)?;
    let (exchanges, host_keys) = (names(&mut payload)?, names(&mut payload)?);
    let (_, ciphers) = (names(&mut payload)?, names(&mut payload)?);
    let (_, macs) = (names(&mut payload)?, names(&mut payload)?);
    Some(Ssh {
        exchanges,
        host_keys,
        ciphers,
        macs,
        key: None,
    })
}

/// What asks for the host key: our offer, and our part of the exchange in which the server sends it. None where the server has no
/// key whose length says anything, or no exchange that works without computing.
pub(crate) fn ask_key(offered: &Ssh) -> Option<Vec<u8>> {
    let first = |ours: &[&'static str], theirs: &[String]| {
        let mut ours = ours.iter().copied();
        ours.find(|name| theirs.iter().any(|it| it == name))
    };
    let exchange = first(&CURVE, &offered.exchanges)?;
    let key =
        first(&RSA, &offered.host_keys).or_else(|| first(&["ssh-dss"], &offered.host_keys))?;
    let cipher = offered.ciphers.first()?;
    // A cipher that authenticates by itself has no use for it; the list may not be empty for others.
    let mac = offered.macs.first().map_or("none", String::as_str);
    let mut offer = vec![KEXINIT];
    offer.extend([0x5a; 16]);
    for list in [
        exchange, key, cipher, cipher, mac, mac, "none", "none", "", "",
    ] {
        put(&mut offer, list.as_bytes());
    }
    offer.extend([0; 5]);
    let mut part = vec![ECDH_INIT];
    // The base point of Curve25519 (RFC 7748 §4.1).
    let mut point = [0; 32];
    if let Some(first) = point.first_mut() {
        *first = 9;
    }
    put(&mut part, &point);
    Some([wrapped(&offer), wrapped(&part)].concat())
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A packet of multiples of eight bytes, with four bytes of padding at least (RFC 4253 §6).
fn wrapped(payload: &[u8]) -> Vec<u8> {
    let over = payload
        .len()
        .saturating_add(5)
        .checked_rem(8)
        .unwrap_or_default();
    let padding = 8_usize.saturating_sub(over);
    let padding = if padding < 4 {
        padding.saturating_add(8)
    } else {
        padding
    };
    let length = payload.len().saturating_add(padding).saturating_add(1);
    let mut packet = Vec::with_capacity(length.saturating_add(4));
    packet.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    packet.push(u8::try_from(padding).unwrap_or_default());
    packet.extend_from_slice(payload);
    packet.resize(length.saturating_add(4), 0);
    packet
}

/// The host key in the server's packets (RFC 4253 §8, §6.6; RFC 5656 §4): its type and bits.
pub fn host_key(bytes: &[u8]) -> Option<(String, usize)> {
    let mut rest = Bytes(bytes);
    loop {
        let mut payload = Bytes(packet(&mut rest)?);
        if payload.u8()? != ECDH_REPLY {
            continue;
        }
        let mut key = Bytes(string(&mut payload)?);
        let kind = told(string(&mut key)?);
        // RSA: the exponent, then the modulus; DSA: its prime first.
        if kind == "ssh-rsa" {
            string(&mut key)?;
        } else if kind != "ssh-dss" {
            return None;
        }
        let number = string(&mut key)?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..)?;
        let unused = usize::try_from(number.first()?.leading_zeros()).ok()?;
        let bits = number.len().checked_mul(8)?.checked_sub(unused)?;
        return Some((kind, bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([0; 16]);
        for list in [
            "curve25519-sha256,diffie-hellman-group1-sha1",
            "ssh-rsa",
            "3des-cbc",
            "aes128-ctr,3des-cbc",
            "hmac-md5",
            "hmac-md5,hmac-sha2-256",
            "none",
            "none",
            "",
            "",
        ] {
            put(&mut payload, list.as_bytes());
        }
        payload.extend([0; 5]);
        wrapped(&payload)
    }

    #[test]
    fn what_a_server_offers_is_read_once_it_is_all_there() {
        let bytes = [b"SSH-2.0-x\r\n".to_vec(), offer()].concat();
        for cut in 0..bytes.len() {
            let some = packets(&bytes[..cut]).and_then(offers);
            assert_eq!(some, None, "{cut}");
        }
        let offered = packets(&bytes).and_then(offers).expect("an offer");
        assert_eq!(offered.ciphers, ["aes128-ctr", "3des-cbc"]);
        assert_eq!(offered.macs, ["hmac-md5", "hmac-sha2-256"]);
        let asked = ask_key(&offered).expect("a question");
        assert_eq!(asked.len() % 8, 0);
        let again = offers(&asked).expect("our own offer");
        assert_eq!(again.host_keys, ["ssh-rsa"]);
    }

    #[test]
    fn the_bits_of_a_key_are_those_of_its_modulus() {
        let mut key = Vec::new();
        put(&mut key, b"ssh-rsa");
        put(&mut key, &[1, 0, 1]);
        put(&mut key, &[&[0][..], &[0xff; 128]].concat());
        let mut reply = vec![ECDH_REPLY];
        put(&mut reply, &key);
        let bytes = [offer(), wrapped(&reply)].concat();
        assert_eq!(host_key(&bytes), Some(("ssh-rsa".to_owned(), 1024)));
    }
}
