//! Devices with the certificate that they have for TLS.

use std::net::IpAddr;

use rcgen::{CertificateParams, KeyPair};
use stockade_link::cbor::{Reader, Writer};
use stockade_link::coap::message::Code;
use stockade_link::credential::IdCred;
use stockade_link::crypto::Secret;
use stockade_link::edhoc::Method;
use time::Duration;

use super::super::handshake::moment;
use super::abuse::next;
use super::commands::{acknowledge, observe};
use super::world::{Device, Show, World, id};
use crate::name::DeviceName;
use crate::pki::Request;
use crate::registry::{Issued, Renewal};
use crate::tls::sha256;

const CAMERA: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[[comms.publish]]
topic = "cam-2/${device}/motion"
max-bytes = 64
[[comms.subscribe]]
topic = "cam-2/${device}/command"
"#;
/// SHA-256, and its first 8 bytes, as COSE numbers them.
const SHA256: i64 = -16;
const SHA256_64: i64 = -15;
/// What somebody is told who may not come in.
const REFUSED: Result<(), Option<Code>> = Err(Some(Code::BAD_REQUEST));

fn world() -> World {
    let world = World::new();
    let profile = stockade_profile::parse(CAMERA).unwrap();
    world
        .registry
        .install_profile(profile, moment(world.now))
        .unwrap();
    world
}

/// A device with a new key, and its request for a certificate.
fn with_request(of: &str) -> (Device, Request) {
    let pair = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&pair)
        .unwrap();
    // Where PKCS #8 has the number that the key is.
    let secret = Secret::new(*pair.serialized_der()[36..].first_chunk().unwrap());
    let mut device = Device::of(of, &secret);
    device.method = Method::SignStatic;
    (device, Request::read(csr.der()).unwrap())
}

fn encoded(der: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    let mut writer = Writer::new(&mut buffer);
    writer.bytes(der);
    writer.finish().unwrap().to_vec()
}

fn issue(world: &World, of: &DeviceName, request: &Request) -> Issued {
    let life = Duration::days(1);
    world
        .pki
        .issue(of, request, life, moment(world.now))
        .unwrap()
}

/// A device that enrolled as devices with TLS do, with a code.
fn enrolled(world: &World, of: &str) -> Device {
    let (mut device, request) = with_request(of);
    let (name, now) = (DeviceName::new("cam-2", of).unwrap(), moment(world.now));
    let code = world.registry.add(&name, now).unwrap();
    let here = IpAddr::from([192, 0, 2, 1]);
    let proof = (world.registry.check_code(of, code.reveal(), here, now)).unwrap();
    let issued = (world.registry)
        .enrol(
            proof,
            sha256(of.as_bytes()),
            now,
            Box::new(|it| Ok(issue(world, it, &request))),
        )
        .unwrap();
    device.certificate = encoded(&issued.der);
    device
}

/// What the operator was told of who did not get in.
fn told(world: &mut World) -> Vec<String> {
    let strangers = std::mem::take(&mut world.core.strangers);
    strangers.iter().map(|it| it.why.to_string()).collect()
}

#[test]
fn a_certificate_of_the_gateway_is_a_way_in_whole_and_then_by_its_hash() {
    let mut world = world();
    let mut porch = enrolled(&world, "porch");
    porch.shake_hands(&mut world, Show::Certificate).unwrap();
    assert_eq!(porch.post(&mut world, "motion", b"1"), Code::CHANGED);
    assert_eq!(porch.post(&mut world, "door", b"1"), Code::FORBIDDEN);
    assert_eq!(porch.get(&mut world, "command").code, Code::CONTENT);
    // As to a device with TLS: with the key that grants are verified with.
    assert_eq!(porch.get(&mut world, "grants").payload[0], 0x84);
    for algorithm in [SHA256, SHA256_64] {
        porch
            .shake_hands(&mut world, Show::Hash(algorithm))
            .unwrap();
        assert_eq!(porch.post(&mut world, "motion", b"2"), Code::CHANGED);
    }
    assert_eq!(world.core.counters().sessions, 1);
    // The gateway starts anew: the hash alone says nothing to it, until the certificate was there once.
    world.restart_link();
    let refused = porch.shake_hands(&mut world, Show::Hash(SHA256));
    assert_eq!(refused, REFUSED);
    porch.shake_hands(&mut world, Show::Certificate).unwrap();
    porch.shake_hands(&mut world, Show::Hash(SHA256)).unwrap();
    assert_eq!(porch.post(&mut world, "motion", b"3"), Code::CHANGED);
    // A hash of another length, or of another kind.
    assert_eq!(porch.shake_hands(&mut world, Show::Hash(-43)), REFUSED);
}

#[test]
fn two_devices_with_certificates_and_one_with_a_label_have_a_session_each() {
    let mut world = world();
    let mut devices = [enrolled(&world, "porch"), enrolled(&world, "yard")];
    let mut bed = world.enrolled("bed");
    for device in &mut devices {
        device.shake_hands(&mut world, Show::Certificate).unwrap();
    }
    assert_eq!(world.core.counters().sessions, 3);
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
    let [porch, yard] = &mut devices;
    assert_eq!(
        porch.post(&mut world, "cam-2/yard/motion", b"1"),
        Code::FORBIDDEN
    );
    (world
        .registry
        .revoke(&id("porch"), "stolen", moment(world.now)))
    .unwrap();
    world.apply("porch");
    assert_eq!(world.core.counters().sessions, 2);
    assert_eq!(yard.post(&mut world, "motion", b"1"), Code::CHANGED);
    told(&mut world);
    assert_eq!(porch.shake_hands(&mut world, Show::Hash(SHA256)), REFUSED);
    assert!(told(&mut world)[0].starts_with("is revoked since"));
    // Removed, it is out before it asks.
    (world.registry.remove(&id("yard"), moment(world.now))).unwrap();
    world.apply("yard");
    assert_eq!(world.core.counters().sessions, 1);
    assert_eq!(yard.shake_hands(&mut world, Show::Certificate), REFUSED);
    assert_eq!(told(&mut world), ["is not in the registry"]);
}

#[test]
fn a_key_that_signs_agrees_on_no_keys_and_no_other_certificate_is_a_way_in() {
    let mut world = world();
    let mut porch = enrolled(&world, "porch");
    porch.method = Method::StaticStatic;
    assert_eq!(porch.shake_hands(&mut world, Show::Certificate), REFUSED);
    let why = told(&mut world);
    assert_eq!(
        why,
        ["shows a certificate, whose key only signs, where it does not sign"]
    );
    porch.method = Method::SignStatic;

    // Somebody else's certificate, without its key.
    let (mut thief, request) = with_request("thief");
    thief.certificate = porch.certificate.clone();
    assert_eq!(thief.shake_hands(&mut world, Show::Certificate), REFUSED);
    assert!(told(&mut world)[0].ends_with("the peer is not authentic"));
    // Of a CA of its own, with the device's name.
    let name = DeviceName::new("cam-2", "porch").unwrap();
    let other = self::world();
    thief.certificate = encoded(&issue(&other, &name, &request).der);
    assert_eq!(thief.shake_hands(&mut world, Show::Certificate), REFUSED);
    assert!(told(&mut world)[0].contains("a CA that is not this gateway's"));
    // Of the gateway's CA, for a device nobody added, and one the registry does not know of a device that it knows.
    for (id, why) in [
        ("shed", "is not in the registry"),
        (
            "porch",
            "shows a certificate that the registry does not know",
        ),
    ] {
        let name = DeviceName::new("cam-2", id).unwrap();
        thief.certificate = encoded(&issue(&world, &name, &request).der);
        assert_eq!(thief.shake_hands(&mut world, Show::Certificate), REFUSED);
        assert_eq!(told(&mut world), [why]);
    }
    // A page's certificate, which is for servers.
    let here = IpAddr::from([192, 0, 2, 1]);
    let (life, now) = (Duration::days(1), moment(world.now));
    let page = (world.pki.issue_page(&name, here, &request, life, now)).unwrap();
    thief.certificate = encoded(&page.der);
    assert_eq!(thief.shake_hands(&mut world, Show::Certificate), REFUSED);
    assert_eq!(told(&mut world), ["its certificate is not for clients"]);
    assert_eq!(world.core.counters().sessions, 0);
    assert_eq!(world.core.counters().handshakes_under_way, 0);
    porch.shake_hands(&mut world, Show::Certificate).unwrap();
}

#[test]
fn the_session_ends_with_the_certificate_and_a_newer_one_supersedes_it() {
    let mut world = world();
    let mut porch = enrolled(&world, "porch");
    porch.shake_hands(&mut world, Show::Certificate).unwrap();
    let now = moment(world.now);
    let record = world.registry.get(&id("porch"), now).unwrap();
    let old = record.certificate.unwrap();
    // A new key and its certificate: the first use of it ends what the old one may do.
    let (mut renewed, request) = with_request("porch");
    let shown = Renewal {
        name: record.name,
        fingerprint: old.fingerprint,
        not_after: old.not_after,
    };
    let issued = (world.registry)
        .reenrol(
            &shown,
            [9; 32],
            now,
            Box::new(|it| Ok(issue(&world, it, &request))),
        )
        .unwrap();
    renewed.certificate = encoded(&issued.der);
    assert_eq!(porch.post(&mut world, "motion", b"1"), Code::CHANGED);
    renewed.shake_hands(&mut world, Show::Certificate).unwrap();
    world.apply("porch");
    assert_eq!(porch.post(&mut world, "motion", b"2"), Code::UNAUTHORIZED);
    told(&mut world);
    assert_eq!(porch.shake_hands(&mut world, Show::Certificate), REFUSED);
    let why = "shows a certificate that a newer one has superseded";
    assert_eq!(told(&mut world), [why]);
    // The hash of the old one is known no more.
    assert_eq!(porch.shake_hands(&mut world, Show::Hash(SHA256)), REFUSED);
    assert_eq!(renewed.post(&mut world, "motion", b"3"), Code::CHANGED);

    // A minute before its end, and after it.
    world.pass(24 * 3_600_000 - 60_000);
    assert_eq!(renewed.post(&mut world, "motion", b"4"), Code::CHANGED);
    world.pass(61_000);
    assert_eq!(renewed.post(&mut world, "motion", b"5"), Code::UNAUTHORIZED);
    assert_eq!(world.core.counters().sessions, 0);
    told(&mut world);
    for show in [Show::Certificate, Show::Hash(SHA256)] {
        assert_eq!(renewed.shake_hands(&mut world, show), REFUSED);
        assert!(told(&mut world)[0].contains("expired on"));
    }
}

#[test]
fn an_observation_outlives_what_changes_about_its_device_and_not_the_certificate() {
    let mut world = world();
    let mut porch = enrolled(&world, "porch");
    porch.shake_hands(&mut world, Show::Certificate).unwrap();
    let mut asked = observe(&mut world, &mut porch, "command");
    world.apply("porch");
    world.command("cam-2/porch/command", b"look");
    let out = world.poll();
    assert_eq!(porch.read(&mut asked, &out[0].bytes).payload, b"look");
    acknowledge(&mut world, &porch, &out[0]);

    // Active to the end of its certificate, which nothing is sent after.
    world.pass(24 * 3_600_000 - 60_000);
    let mut asked = observe(&mut world, &mut porch, "command");
    world.command("cam-2/porch/command", b"up");
    let out = world.poll();
    assert_eq!(porch.read(&mut asked, &out[0].bytes).payload, b"up");
    acknowledge(&mut world, &porch, &out[0]);
    world.pass(61_000);
    world.command("cam-2/porch/command", b"down");
    assert_eq!(world.poll(), []);
}

#[test]
fn no_mutation_of_a_chain_is_a_certificate() {
    let world = world();
    let (porch, yard) = (enrolled(&world, "porch"), enrolled(&world, "yard"));
    let chain = [&[0x82], &porch.certificate[..], &yard.certificate].concat();
    let mut seed = 0x1234_5678_9abc_def1;
    for original in [&porch.certificate, &chain] {
        let whole = IdCred::X5chain(original);
        assert!(world.core.certified.judge(&whole, world.now).is_ok());
        let mut buffer = vec![0; 4_096];
        let mut writer = Writer::new(&mut buffer);
        whole.write(&mut writer);
        let whole = writer.finish().unwrap();
        // Of the device's own: what is beside it, nobody signed.
        let end = whole.len() - original.len() + porch.certificate.len();
        for _ in 0..2_000 {
            let mut bytes = whole.to_vec();
            let at = usize::try_from(next(&mut seed)).unwrap() % end;
            match next(&mut seed) % 4 {
                0 => bytes[at] ^= 1 << (next(&mut seed) % 8),
                1 => bytes.truncate(at),
                2 => bytes[at] = !bytes[at],
                _ => bytes.insert(at, next(&mut seed).to_be_bytes()[0]),
            }
            let Ok(id_cred) = IdCred::read(&mut Reader::new(&bytes)) else {
                continue;
            };
            // A byte before an equal one is no change.
            if id_cred.certificates().next() == Some(&porch.certificate) {
                continue;
            }
            let judged = world.core.certified.judge(&id_cred, world.now);
            assert!(judged.is_err(), "{bytes:02x?}");
        }
    }
}
