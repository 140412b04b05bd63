use std::vec::Vec;

use super::*;
use crate::crypto::rust::RustCrypto;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4) | pair[1])
        .collect()
}

type NoRandom = fn(&mut [u8]) -> Result<(), CryptoError>;

fn crypto() -> RustCrypto<NoRandom> {
    RustCrypto::new(|_| Err(CryptoError::Failed))
}

/// `CRED_R` of RFC 9529, section 3.3.
const CCS: &str = "a2026b6578616d706c652e65647508a101a501020241322001215820bbc34960526ea4d32e940cad2a234148ddc21791a12afbcbac93622046dd44f02258204519e257236b2a0ce2023f0931f1f386ca7afda64fcde0108c224c51eabf6072";

/// `CRED_R` of RFC 9529, section 2.3.
const CERTIFICATE: &str = "58f13081ee3081a1a003020102020462319ec4300506032b6570301d311b301906035504030c124544484f4320526f6f742045643235353139301e170d3232303331363038323433365a170d3239313233313233303030305a30223120301e06035504030c174544484f4320526573706f6e6465722045643235353139302a300506032b6570032100a1db47b95184854ad12a0c1a354e418aace33aa0f2c662c00b3ac55de92f9359300506032b6570034100b723bc01eab0928e8b2b6c98de19cc3823d46e7d6987b032478fecfaf14537a1af14cc8be829c6b73044101837eb4abc949565d86dce51cfae52ab82c152cb02";

#[test]
fn the_claims_set_of_rfc_9529_is_read_and_written_again() {
    let bytes = hex(CCS);
    let credential = Credential::read(&bytes).unwrap();
    assert_eq!(credential.subject, Some("example.edu"));
    assert_eq!(credential.kid, Some([0x32].as_slice()));
    let mut buffer = [0; 128];
    let again = ccs(
        &mut buffer,
        credential.subject,
        credential.kid,
        &credential.key,
    );
    assert_eq!(again.unwrap(), bytes);
}

#[test]
fn the_certificate_of_rfc_9529_is_named_by_its_hash() {
    let bytes = hex(CERTIFICATE);
    let credential = Credential::read(&bytes).unwrap();
    let key = hex("a1db47b95184854ad12a0c1a354e418aace33aa0f2c662c00b3ac55de92f9359");
    assert_eq!(credential.key, PublicKey::Ed25519(key.try_into().unwrap()));
    let id = hex("a11822822e4879f2a41b510c1f9b");
    let mut reader = Reader::new(&id);
    let id = IdCred::read(&mut reader).unwrap();
    reader.end().unwrap();
    assert!(id.names(&mut crypto(), &credential).unwrap());
    let other = hex(CCS);
    let other = Credential::read(&other).unwrap();
    assert!(!id.names(&mut crypto(), &other).unwrap());
}

#[test]
fn the_thumbprint_is_that_of_rfc_9679() {
    // RFC 9679, section 6: the same thumbprint whatever else is in the key.
    let key = PublicKey::P256 {
        x: hex("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d")
            .try_into()
            .unwrap(),
        y: Y::Full(
            hex("1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c")
                .try_into()
                .unwrap(),
        ),
    };
    assert_eq!(
        thumbprint(&mut crypto(), &key).unwrap().to_vec(),
        hex("496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec")
    );
}

#[test]
fn names_have_one_encoding() {
    for (bytes, id) in [
        ("32", Some(IdCred::Kid(&[0x32]))),
        ("17", Some(IdCred::Kid(&[0x17]))),
        ("4118", Some(IdCred::Kid(&[0x18]))),
        ("420102", Some(IdCred::Kid(&[1, 2]))),
        ("40", Some(IdCred::Kid(&[]))),
        // RFC 9529, section 4: surplus map and byte string encodings of ID_CRED.
        ("a1044132", None),
        ("4132", None),
        ("1818", None),
        ("a2044132182200", None),
        ("a1182182410041", None),
        ("a118218141aa", None),
        ("f6", None),
        ("", None),
    ] {
        let bytes = hex(bytes);
        let read = IdCred::read(&mut Reader::new(&bytes)).ok();
        assert_eq!(read, id, "{bytes:02x?}");
        if let Some(id) = id {
            let mut buffer = [0; 16];
            let mut writer = Writer::new(&mut buffer);
            id.write(&mut writer);
            assert_eq!(writer.finish().unwrap(), bytes);
        }
    }
}

#[test]
fn a_chain_gives_its_certificates_in_order() {
    let bytes = hex("a118218241aa41bb");
    let id = IdCred::read(&mut Reader::new(&bytes)).unwrap();
    let certificates: Vec<_> = id.certificates().collect();
    assert_eq!(certificates, [[0x41, 0xaa], [0x41, 0xbb]]);
}

#[test]
fn keys_that_are_too_much_or_too_little_are_refused() {
    let x = "bbc34960526ea4d32e940cad2a234148ddc21791a12afbcbac93622046dd44f0";
    for (key, error) in [
        // A private key; no x; a P-521 curve; no curve; keys twice; keys out of order.
        (
            std::format!("a401022001215820{x}2340"),
            CredentialError::PrivateKey,
        ),
        ("a201022001".into(), CredentialError::Malformed),
        (
            std::format!("a301022003215820{x}"),
            CredentialError::Unsupported,
        ),
        (
            std::format!("a20102215820{x}"),
            CredentialError::Unsupported,
        ),
        (
            std::format!("a4010220012001215820{x}"),
            CredentialError::Malformed,
        ),
        (
            std::format!("a3200101022158{}{x}", "20"),
            CredentialError::Malformed,
        ),
        (
            std::format!("a30102200121581f{x}"),
            CredentialError::Malformed,
        ),
    ] {
        let bytes = hex(&std::format!("a108a101{key}"));
        assert_eq!(Credential::read(&bytes), Err(error), "{key}");
    }
}

#[test]
fn a_sign_decides_between_two_keys_of_one_x() {
    let key = |y| PublicKey::P256 { x: [7; 32], y };
    let mut odd = [0; 32];
    odd[31] = 1;
    assert!(same_key(&key(Y::Unknown), &key(Y::Full(odd))));
    assert!(same_key(&key(Y::Odd(true)), &key(Y::Full(odd))));
    assert!(!same_key(&key(Y::Odd(false)), &key(Y::Full(odd))));
    assert!(!same_key(
        &PublicKey::X25519([7; 32]),
        &PublicKey::Ed25519([7; 32])
    ));
}
