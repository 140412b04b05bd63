//! The cipher suites there are, and what is wrong with many of them.
//!
//! `suites.txt` is IANA's registry "TLS Cipher Suites" as tls-parser 0.12.2 carries it, without values that only signal
//! something, and with those that were used without IANA: Netscape's for FIPS, the drafts of `ChaCha20`, GOST's first.

/// All, by number.
const LIST: &str = include_str!("suites.txt");

/// Every suite with its name, by number.
pub fn all() -> impl Iterator<Item = (u16, &'static str)> {
    LIST.lines().filter_map(|line| {
        let (number, name) = line.split_once(' ')?;
        Some((u16::from_str_radix(number, 16).ok()?, name))
    })
}

/// A suite's name; none if nobody has named it.
pub fn name(number: u16) -> Option<&'static str> {
    all().find(|(its, _)| *its == number).map(|(_, name)| name)
}

/// Whether a suite is for TLS 1.3, which names no key exchange (RFC 8446 §B.4).
pub fn is_new(name: &str) -> bool {
    !name.contains("_WITH_")
}

/// Why nobody may use a suite any longer, if so (RFC 7465, RFC 9325 §4.1, RFC 8996).
pub fn weak(name: &str) -> Option<&'static str> {
    const WEAK: [(&str, &str); 10] = [
        ("_NULL", "no encryption"),
        // RFC 9150: integrity alone.
        ("TLS_SHA", "no encryption"),
        ("EXPORT", "keys of 56 bits or fewer"),
        ("_anon_", "nobody is authenticated"),
        ("RC4", "RC4"),
        ("3DES", "3DES, blocks of 64 bits"),
        ("_DES", "DES, keys of 56 bits"),
        ("RC2", "RC2"),
        ("IDEA", "IDEA, blocks of 64 bits"),
        ("SEED", "SEED"),
    ];
    let found = WEAK.iter().find(|(part, _)| name.contains(part));
    let found = found.map(|(_, why)| *why);
    found.or_else(|| name.ends_with("_MD5").then_some("MD5"))
}

/// What a suite that is not weak does worse than it can be done (RFC 9325 §4.1, §4.2).
pub fn dated(name: &str) -> Option<&'static str> {
    const STATIC: [&str; 4] = ["TLS_RSA_", "TLS_DH_", "TLS_ECDH_", "TLS_KRB5_"];
    let fixed = STATIC.iter().any(|start| name.starts_with(start));
    match (fixed, name.contains("_CBC_")) {
        (true, _) => Some("no forward secrecy"),
        (false, true) => Some("CBC"),
        (false, false) => None,
    }
}

/// What a question offers that has only the version to be refused for, the best first; the full list is for those that refuse it.
pub const USUAL: [u16; 82] = [
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc0ac, 0xc0ae, // ECDHE with AEAD
    0x009e, 0x009f, 0xccaa, 0xc09e, 0xc0a2, // DHE with AEAD
    0xc009, 0xc013, 0xc00a, 0xc014, 0xc023, 0xc027, 0xc024, 0xc028, // ECDHE with CBC
    0x0033, 0x0039, 0x0067, 0x006b, 0x0032, 0x0038, // DHE with CBC
    0x009c, 0x009d, 0xc09c, 0xc0a0, 0x002f, 0x0035, 0x003c, 0x003d, // RSA
    0xd001, 0xccac, 0xc037, 0xc035, 0xc036, // ECDHE with PSK
    0x00aa, 0xccad, 0x0090, 0x0091, // DHE with PSK
    0x00a8, 0x00a9, 0xccab, 0xc0a4, 0xc0a8, 0x00ae, 0x008c, 0x008d, // PSK
    0xc05c, 0xc060, 0xc07a, 0xc086, 0xc08a, 0x0041, 0x0084, // ARIA, Camellia
    0xc012, 0xc008, 0x0016, 0x000a, 0x008b, 0xc034, // 3DES
    0xc011, 0xc007, 0x0005, 0x0004, // RC4
    0x0015, 0x0009, 0x0007, 0x0096, // DES, IDEA, SEED
    0x0014, 0x0008, 0x0006, 0x0003, // EXPORT
    0xc018, 0x0034, // nobody authenticated
    0xc010, 0x003b, 0x0002, // NULL
];
/// What fits into a question of less than 256 bytes, for servers that take no longer one.
pub const FEW: [u16; 16] = [
    0xc02b, 0xc02f, 0xc013, 0xc009, 0x009e, 0x0033, 0x009c, 0x002f, 0x0035, 0x003c, 0xc0a8, 0x00a8,
    0x008c, 0x000a, 0x0005, 0x0004,
];
/// Those of TLS 1.3 (RFC 8446 §B.4, and those that came later).
pub const NEW: [u16; 11] = [
    0x1301, 0x1302, 0x1303, 0x1304, 0x1305, 0x1306, 0x1307, 0x00c6, 0x00c7, 0xc0b4, 0xc0b5,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_every_suite_a_question_offers_is_in_it() {
        assert_eq!(all().count(), LIST.lines().count());
        assert!(all().is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(all().filter(|it| is_new(it.1)).count(), NEW.len());
        for number in USUAL.iter().chain(&FEW).chain(&NEW) {
            assert!(name(*number).is_some(), "{number:04x}");
        }
        let once: std::collections::BTreeSet<_> = USUAL.iter().collect();
        assert_eq!(once.len(), USUAL.len());
    }

    #[test]
    fn what_is_wrong_with_a_suite_is_told_by_its_name() {
        for (name, expected) in [
            ("TLS_RSA_WITH_RC4_128_MD5", Some("RC4")),
            ("TLS_RSA_WITH_NULL_SHA256", Some("no encryption")),
            ("TLS_SHA256_SHA256", Some("no encryption")),
            (
                "TLS_DH_anon_WITH_AES_128_GCM_SHA256",
                Some("nobody is authenticated"),
            ),
            (
                "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA",
                Some("keys of 56 bits or fewer"),
            ),
            (
                "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA",
                Some("3DES, blocks of 64 bits"),
            ),
            ("TLS_DHE_RSA_WITH_DES_CBC_SHA", Some("DES, keys of 56 bits")),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
            ("TLS_AES_128_GCM_SHA256", None),
        ] {
            assert_eq!(weak(name), expected, "{name}");
        }
        assert_eq!(
            dated("TLS_RSA_WITH_AES_128_GCM_SHA256"),
            Some("no forward secrecy")
        );
        assert_eq!(dated("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"), Some("CBC"));
        assert_eq!(dated("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), None);
        // RFC 7925 §4.2: what devices with a shared key must offer.
        assert_eq!(dated("TLS_PSK_WITH_AES_128_CCM_8"), None);
    }
}
