//! Private keys, wherever they stand: in files of their own, in scripts, inside programs. What is in them is never kept: a hash of
//! the public half tells whether two are the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stockade_controls::engine::rules;

use crate::report::hex;
pub(super) use crate::report::sha256 as hash;

rules! {
    Credentials "credentials";
    PRIVATE_KEY = "private-key", High, "No private key is part of an image",
        "All devices have the key then: whoever buys one of them, or has the image, is every other one.",
        "Have each device make its own key when it first starts, and take this one out of the image.",
        ["EN 303 645 5.4-3", "EN 303 645 5.4-4", "CRA I.I(2)(d)", "NISTIR 8425 data protection", "ISVS 2.2"];
    KNOWN_KEY = "known-key", Critical, "No key is one that everybody has",
        "The private half of the key is published: whoever looks for it can sign, or log in, as the maker.",
        "Take the key out, and make one that nobody else has.",
        ["EN 303 645 5.4-3", "EN 303 645 5.4-4", "CRA I.I(2)(d)", "ISVS 2.2"];
    CERTIFICATE = "certificate", Medium, "Certificates of the device are good for now, and strong",
        "Who is asked to believe an expired or weak certificate learns to believe any.",
        "Issue it anew: RSA of 2048 bits or more, or P-256; SHA-256; and no key of a certification authority in the image.",
        ["EN 303 645 5.5-1", "EN 303 645 5.4-4", "CRA I.I(2)(e)"];
    SECRET = "secret", High, "No password or token of a service is part of an image",
        "All devices have it then, and whoever reads one image has the maker's cloud or the owner's network.",
        "Give each device a secret of its own when it is enrolled, and withdraw this one.",
        ["EN 303 645 5.4-3", "EN 303 645 5.1-1", "CRA I.I(2)(d)", "ISVS 2.2"];
    HASH = "hard-coded-hash", High, "No program or script has a password built in",
        "The same password opens every device, and no user can change it.",
        "Have the device ask for a password when it is set up; keep its hash in /etc/shadow.",
        ["EN 303 645 5.1-1", "EN 303 645 5.4-3", "CRA I.I(2)(d)", "ISVS 2.1.1"];
    AUTHORIZED = "authorized-in-image", High, "No image brings keys that open its accounts",
        "The holder of one private key gets into every device of the model, and nobody can see that he may.",
        "Remove the file; have the owner add his own key.",
        ["EN 303 645 5.1-1", "EN 303 645 5.6-1", "CRA I.I(2)(d)"];
    OPEN_SERVICE = "open-service", High, "No service is set up to let everybody in",
        "Whoever reaches the port reads and writes what the device has, or is root on it.",
        "Ask for a name and a password or a certificate, or switch the service off.",
        ["EN 303 645 5.1-1", "EN 303 645 5.5-5", "EN 303 645 5.6-1", "CRA I.I(2)(d)"];
}

/// The longest text of a key that is read.
const MOST: usize = 32 << 10;
/// SHA-256 of public keys whose private half is published, and where: `known-keys.txt` says how it was made.
const KNOWN: &str = include_str!("known-keys.txt");

/// A private key that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Where it begins.
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// What kind, in words.
    pub(super) kind: &'static str,
    /// Whether a password is asked for it.
    pub(super) encrypted: bool,
    /// SHA-256 of the public half (`SubjectPublicKeyInfo`), if it is written beside the private one.
    pub(super) public: Option<[u8; 32]>,
}

/// How private keys begin in DER (X.690): from the version on, which an algorithm or a number of a usual length follows.
pub(super) const DER: [&[u8]; 11] = [
    // PKCS#8 (RFC 5958): RSA, EC on P-256, P-384, P-521, Ed25519.
    b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82",
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04",
    b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00",
    b"\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
    // PKCS#1 (RFC 8017 A.1.2): a modulus of 512, 1024, 2048, 3072, 4096 bits.
    b"\x02\x01\x00\x02\x41\x00",
    b"\x02\x01\x00\x02\x81\x81\x00",
    b"\x02\x01\x00\x02\x82\x01\x01\x00",
    b"\x02\x01\x00\x02\x82\x01\x81\x00",
    b"\x02\x01\x00\x02\x82\x02\x01\x00",
    // SEC 1 (RFC 5915): 256 and 384 bits.
    b"\x02\x01\x01\x04\x20",
    b"\x02\x01\x01\x04\x30",
];

/// A key in PEM (RFC 7468), whose `-----BEGIN ` was seen at `at`. Also inside a string of a program's source, with `\n` for line ends.
pub(super) fn pem(content: &[u8], at: usize) -> Option<Key> {
    const BEGIN: &str = "-----BEGIN ";
    let rest = content.get(at..)?;
    let text = rest.get(..rest.len().min(MOST))?;
    let text = text.utf8_chunks().next()?.valid();
    let (label, rest) = text.strip_prefix(BEGIN)?.split_once("-----")?;
    let kind = match label {
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => "a private key (PKCS#8)",
        "RSA PRIVATE KEY" => "a private RSA key",
        "EC PRIVATE KEY" => "a private EC key",
        "DSA PRIVATE KEY" => "a private DSA key",
        "OPENSSH PRIVATE KEY" => "a private key of SSH",
        "PGP PRIVATE KEY BLOCK" => "a private key of OpenPGP",
        _ => return None,
    };
    let (body, after) = rest.split_once("-----END ")?;
    let end = at.checked_add(text.len().checked_sub(after.len())?)?;
    let mut encrypted = label.starts_with("ENCRYPTED");
    let mut dense = String::new();
    for line in body.replace("\\r", "").replace("\\n", "\n").lines() {
        // What joins the strings of a program's source.
        let joins = |c: char| c.is_whitespace() || "\"'\\,;".contains(c);
        let line = line.trim_matches(joins);
        if line == "+" {
            continue;
        }
        if line.contains(':') {
            encrypted |= line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
        } else if !line.starts_with('=') {
            dense.push_str(line);
        }
    }
    let der = STANDARD.decode(dense.trim_end_matches('=').as_bytes());
    let der = der.or_else(|_| STANDARD.decode(&dense)).ok();
    let der = der.filter(|der| der.len() >= 32)?;
    let public = match label {
        "OPENSSH PRIVATE KEY" => {
            let (locked, public) = openssh(&der)?;
            encrypted |= locked;
            public
        }
        _ if encrypted || label.starts_with("PGP") => None,
        _ if der.first() != Some(&SEQUENCE) => return None,
        _ => public_of(&der),
    };
    Some(Key {
        at,
        end,
        kind,
        encrypted,
        public,
    })
}

/// The hash of a public key in PEM (`-----BEGIN PUBLIC KEY-----`), which was seen at `at`.
pub(super) fn public_pem(content: &[u8], at: usize) -> Option<[u8; 32]> {
    let rest = content.get(at..content.len().min(at.saturating_add(MOST)))?;
    let body = rest.strip_prefix(b"-----BEGIN PUBLIC KEY-----")?;
    let body = body.utf8_chunks().next()?.valid();
    let (body, _) = body.split_once("-----END ")?;
    let dense: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some(hash(&STANDARD.decode(dense).ok()?))
}

/// A key in DER, of which one of [`DER`] was seen at `at`: whole, or it is none.
pub(super) fn der(content: &[u8], at: usize) -> Option<Key> {
    // The head of the sequence is of two, three or four bytes.
    [4_usize, 3, 2].into_iter().find_map(|head| {
        let start = at.checked_sub(head)?;
        let rest = content.get(start..)?;
        let (tag, inner, _) = element(rest)?;
        let whole = rest.len().checked_sub(head)? >= inner.len() && tag == SEQUENCE;
        let begins = std::ptr::eq(inner.as_ptr(), rest.get(head..)?.as_ptr());
        let public = public_of(rest.get(..head.checked_add(inner.len())?)?);
        let sound = whole && begins && (public.is_some() || plain(inner));
        let end = at.checked_add(inner.len())?;
        sound.then_some(Key {
            at: start,
            end,
            kind: "a private key (DER)",
            encrypted: false,
            public,
        })
    })
}

/// Whether a key of which the public half is not written has nothing but elements in it: a number in a program has not.
fn plain(mut inner: &[u8]) -> bool {
    while !inner.is_empty() {
        match element(inner) {
            Some((_, _, rest)) => inner = rest,
            None => return false,
        }
    }
    true
}

/// Those of `PuTTY` and of dropbear, which begin a file.
pub(super) fn whole_file(content: &[u8]) -> Option<Key> {
    if content.starts_with(b"PuTTY-User-Key-File-") {
        let head = content.get(..content.len().min(300)).unwrap_or_default();
        let text = String::from_utf8_lossy(head);
        let encrypted = text.lines().any(|line| {
            line.strip_prefix("Encryption:")
                .is_some_and(|it| it.trim() != "none")
        });
        let kind = "a private key of PuTTY";
        let end = content.len();
        return Some(Key {
            at: 0,
            end,
            kind,
            encrypted,
            public: None,
        });
    }
    let (name, _) = string(content)?;
    let dropbear = matches!(name, b"ssh-rsa" | b"ssh-dss" | b"ssh-ed25519")
        || name.starts_with(b"ecdsa-sha2-nistp");
    // A public key in this form is shorter than the private one and is written as text.
    dropbear.then(|| Key {
        at: 0,
        end: content.len(),
        kind: "a private key of dropbear",
        encrypted: false,
        public: ssh_public(content),
    })
}

/// The hash of a public key of SSH in text: `ssh-rsa AAAA…`.
pub(super) fn authorized(line: &str) -> Option<[u8; 32]> {
    let mut words = line.split_whitespace();
    let blob = words.find(|word| word.starts_with("AAAA"))?;
    ssh_public(&STANDARD.decode(blob).ok()?)
}

/// Where the private half of a key was published, by the hash of its public half.
pub(super) fn known(public: &[u8; 32]) -> Option<&'static str> {
    let hex = hex(public);
    let mut lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| line.strip_prefix(hex.as_str()).map(str::trim))
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTETS: u8 = 0x04;

/// The element that DER begins with (X.690 §8.1): its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let number = |n: usize, byte: &u8| n.wrapping_shl(8) | usize::from(*byte);
            (bytes.iter().fold(0, number), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == wanted).then_some((content, rest))
}

/// The hash of the public half of a private key in DER.
fn public_of(der: &[u8]) -> Option<[u8; 32]> {
    let (inner, _) = expect(der, SEQUENCE)?;
    let (version, rest) = expect(inner, INTEGER)?;
    let (tag, second, after) = element(rest)?;
    match (version, tag) {
        // PKCS#8: the algorithm, and the key in octets.
        ([0 | 1], SEQUENCE) => {
            let (key, _) = expect(after, OCTETS)?;
            let oid = expect(second, 0x06)?.0;
            if oid == RSA {
                return public_of(key);
            }
            if oid == EC {
                let point = ec_point(key)?;
                return Some(hash(&spki(
                    &[&tlv(0x06, oid), expect(second, 0x06)?.1].concat(),
                    point,
                )));
            }
            None
        }
        // PKCS#1: modulus and exponent.
        ([0], INTEGER) => {
            let (exponent, _) = expect(after, INTEGER)?;
            Some(rsa(second, exponent))
        }
        // SEC 1: the private number; the curve [0]; the point [1].
        ([1], OCTETS) => {
            let (curve, _) = expect(after, 0xa0)?;
            let algorithm = [tlv(0x06, EC), curve.to_vec()].concat();
            Some(hash(&spki(&algorithm, ec_point(der)?)))
        }
        _ => None,
    }
}

const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";

/// The point in a key of SEC 1.
fn ec_point(der: &[u8]) -> Option<&[u8]> {
    let (mut rest, _) = expect(der, SEQUENCE)?;
    loop {
        let (tag, content, after) = element(rest)?;
        if tag == 0xa1 {
            return expect(content, BIT_STRING)?.0.strip_prefix(b"\0");
        }
        rest = after;
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> [u8; 32] {
    let number = |bytes: &[u8]| {
        let start = bytes
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(bytes.len());
        let bare = bytes.get(start..).unwrap_or_default();
        let sign: &[u8] = if bare.first().is_some_and(|byte| *byte < 0x80) {
            b""
        } else {
            b"\0"
        };
        tlv(INTEGER, &[sign, bare].concat())
    };
    let key = tlv(SEQUENCE, &[number(modulus), number(exponent)].concat());
    hash(&spki(
        &[tlv(0x06, RSA), b"\x05\x00".to_vec()].concat(),
        &key,
    ))
}

/// `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let key = tlv(BIT_STRING, &[b"\0", key].concat());
    tlv(SEQUENCE, &[tlv(SEQUENCE, algorithm), key].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [.., high, low] = length.to_be_bytes();
    let head = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

/// A string of SSH (RFC 4251 §5), and what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// OpenSSH's own form (PROTOCOL.key): whether it is encrypted, and its public half.
fn openssh(bytes: &[u8]) -> Option<(bool, Option<[u8; 32]>)> {
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (cipher, rest) = string(rest)?;
    let (_, rest) = string(rest)?;
    let (_, rest) = string(rest)?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (public, _) = string(rest)?;
    Some((cipher != b"none", ssh_public(public)))
}

/// The hash of a public key as SSH writes it (RFC 4253 §6.6, RFC 5656, RFC 8709).
fn ssh_public(blob: &[u8]) -> Option<[u8; 32]> {
    let (name, rest) = string(blob)?;
    let (first, rest) = string(rest)?;
    match name {
        b"ssh-rsa" => Some(rsa(string(rest)?.0, first)),
        b"ssh-ed25519" => {
            // dropbear puts the private half before it.
            let public = first.get(first.len().checked_sub(32)?..)?;
            Some(hash(&spki(&tlv(0x06, b"\x2b\x65\x70"), public)))
        }
        b"ecdsa-sha2-nistp256" => {
            let curve = tlv(0x06, b"\x2a\x86\x48\xce\x3d\x03\x01\x07");
            let algorithm = [tlv(0x06, EC), curve].concat();
            Some(hash(&spki(&algorithm, string(rest)?.0)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/audit_file/");
        fs_err::read(format!("{folder}{name}")).expect("it is committed")
    }

    fn in_der(content: &[u8]) -> Option<Key> {
        let places = |needle: &[u8]| content.windows(needle.len()).position(|it| it == needle);
        DER.iter()
            .filter_map(|needle| places(needle))
            .find_map(|at| der(content, at))
    }

    #[test]
    fn a_key_is_the_same_one_in_every_encoding() {
        let public = |key: Option<Key>| key.expect("a key").public.expect("its public half");
        let rsa = public(pem(&corpus("rsa.pem"), 0));
        assert_eq!(public(pem(&corpus("rsa1.pem"), 0)), rsa);
        assert_eq!(public(in_der(&corpus("rsa8.der"))), rsa);
        let ec = public(pem(&corpus("ec.pem"), 0));
        assert_eq!(public(in_der(&corpus("ec.der"))), ec);
        assert!(in_der(&corpus("ed.der")).expect("a key").public.is_none());
        assert!(pem(&corpus("locked"), 0).expect("a key").encrypted);
        assert!(
            whole_file(&corpus("dropbear"))
                .expect("a key")
                .public
                .is_some()
        );
        assert!(whole_file(&corpus("putty")).is_some());
        // What openssl says the public half of the key in the test's certificate is.
        let key = include_bytes!("../../tests/seeded/ca.key");
        let (_, certificate) =
            x509_parser::pem::parse_x509_pem(include_bytes!("../../tests/seeded/ca.pem"))
                .expect("PEM");
        let certificate = certificate.parse_x509().expect("a certificate");
        assert_eq!(public(pem(key, 0)), hash(certificate.public_key().raw));
    }

    #[test]
    fn published_keys_are_known_and_a_part_of_a_key_is_none() {
        let line = "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== v";
        let public = authorized(line).expect("a key");
        assert!(known(&public).expect("published").contains("vagrant"));
        assert_eq!(known(&[0; 32]), None);
        for name in ["rsa8.der", "ec.der", "ed.der"] {
            let whole = corpus(name);
            for end in 0..whole.len() {
                assert!(in_der(&whole[..end]).is_none(), "{name}: {end}");
            }
        }
        assert!(pem(b"-----BEGIN RSA PRIVATE KEY-----\0\0-----END", 0).is_none());
    }
}
