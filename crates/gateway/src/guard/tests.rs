//! The guard's decisions, without a network.

use std::net::IpAddr;

use stockade_profile::{HttpsUrl, LinkAddress, ModelName, Network, Profile};
use time::{Duration, OffsetDateTime};

use super::core::{Action, Core, MAX_LEARNED, MAX_UNKNOWN, Standing};
use super::device::{By, Place, Role, Via};
use super::mud::{Accept, Fetched, FileState, MudPolicy};
use super::request::{Add, Reason, RegistryId};
use super::sighting::{Sighting, mud_url};
use super::text::WireText;
use crate::events::Outcome;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn mac(n: u8) -> LinkAddress {
    LinkAddress::new([2, 0, 0, 0, 0, n])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> Network {
    text.parse().unwrap()
}

fn guard(accept: Accept) -> Core {
    let standing = Standing {
        mac: mac(1),
        index: 1,
        own: vec![ip("192.0.2.1"), ip("fe80::1"), ip("2001:db8::1")],
        lan: vec![net("192.0.2.0/24"), net("2001:db8::/64")],
    };
    Core::new(
        standing,
        MudPolicy {
            fetch: true,
            accept,
        },
    )
}

fn profile(model: &str, version: u64) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"{model}\"\nversion = {version}\nclass = \"agentless\"\n\
         [[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = {port}\n",
        port = 8000 + version
    );
    stockade_profile::parse(&text).unwrap()
}

fn add(n: u8, model: &str) -> Add {
    Add {
        mac: mac(n),
        model: Some(ModelName::new(model).unwrap()),
        trusted: false,
        addresses: Vec::new(),
        device: None,
    }
}

fn lease(n: u8, address: &str, seconds: u32) -> Sighting {
    Sighting::Lease {
        mac: mac(n),
        address: ip(address),
        seconds,
    }
}

fn claim(n: u8, address: &str) -> Sighting {
    Sighting::Neighbour {
        mac: mac(n),
        address: address.parse().unwrap(),
    }
}

fn arp(n: u8, says: u8, address: &str) -> Sighting {
    Sighting::Arp {
        mac: mac(n),
        says: mac(says),
        address: ip(address),
    }
}

fn places(actions: &[Action]) -> Vec<(LinkAddress, String, Place)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Place {
                mac,
                address,
                place,
                ..
            } => Some((*mac, address.to_string(), place.clone())),
            _ => None,
        })
        .collect()
}

fn told(actions: &[Action]) -> Vec<(Outcome, String)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell { outcome, text, .. } => Some((*outcome, text.clone())),
            _ => None,
        })
        .collect()
}

fn cam() -> Place {
    Place::Model(ModelName::new("cam").unwrap())
}

/// A guard that knows the model `cam`, and device 5 as one with a lease.
fn with_camera() -> Core {
    let mut core = guard(Accept::Ask);
    core.install(profile("cam", 1), NOW).unwrap();
    core.add(&add(5, "cam"), NOW).unwrap();
    core.handle_sighting(&lease(5, "192.0.2.5", 3600), NOW);
    core
}

#[test]
fn a_new_device_is_told_once_and_is_nobody() {
    let mut core = guard(Accept::Ask);
    let first = core.handle_sighting(&Sighting::Frame { mac: mac(7) }, NOW);
    assert_eq!(told(&first).len(), 1);
    assert!(places(&first).is_empty());
    let second = core.handle_sighting(&Sighting::Frame { mac: mac(7) }, NOW);
    assert!(second.is_empty());
    assert_eq!(core.device(mac(7)).unwrap().role, Role::Unknown);
    // The gateway's own card and group addresses are nobody's.
    assert!(
        core.handle_sighting(&Sighting::Frame { mac: mac(1) }, NOW)
            .is_empty()
    );
    let group = LinkAddress::new([0xff; 6]);
    assert!(
        core.handle_sighting(&Sighting::Frame { mac: group }, NOW)
            .is_empty()
    );
    assert_eq!(core.devices().len(), 1);
}

#[test]
fn a_lease_puts_a_known_device_in_its_place_after_it_is_written() {
    let mut core = guard(Accept::Ask);
    core.install(profile("cam", 1), NOW).unwrap();
    core.add(&add(5, "cam"), NOW).unwrap();
    let actions = core.handle_sighting(&lease(5, "192.0.2.5", 60), NOW);
    assert_eq!(places(&actions), [(mac(5), "192.0.2.5".to_owned(), cam())]);
    let saved = actions.iter().position(|a| *a == Action::Save(mac(5)));
    let placed = actions
        .iter()
        .position(|a| matches!(a, Action::Place { .. }));
    assert!(saved < placed, "rights are written before they hold");
    // When it runs out, so do the rights.
    let actions = core.handle_tick(NOW + Duration::seconds(61));
    assert_eq!(
        places(&actions),
        [(mac(5), "192.0.2.5".to_owned(), Place::Unknown)]
    );
    assert!(core.owner(ip("192.0.2.5")).is_none());
}

#[test]
fn quarantine_moves_one_device_and_cuts_it_before_it_is_written() {
    let mut core = with_camera();
    core.add(&add(6, "cam"), NOW).unwrap();
    core.handle_sighting(&lease(6, "192.0.2.6", 3600), NOW);
    let why = Reason::new("odd traffic").unwrap();
    let actions = core.quarantine(mac(5), &why, NOW).unwrap();
    let model = ModelName::new("cam").unwrap();
    let isolated = Place::Quarantine(Some(model));
    assert_eq!(
        places(&actions),
        [(mac(5), "192.0.2.5".to_owned(), isolated)]
    );
    let cut = Action::Cut {
        address: ip("192.0.2.5"),
        before: cam(),
    };
    let at = |wanted: &Action| actions.iter().position(|a| a == wanted);
    assert!(at(&cut).is_some() && at(&cut) < at(&Action::Save(mac(5))));
    let back = core.release(mac(5)).unwrap();
    assert_eq!(places(&back), [(mac(5), "192.0.2.5".to_owned(), cam())]);
    assert!(
        core.release(mac(5)).is_err(),
        "it is not quarantined any more"
    );
}

#[test]
fn the_registry_isolates_and_an_operator_can_not_undo_it_here() {
    let mut core = with_camera();
    let mut bound = add(5, "cam");
    bound.device = Some(RegistryId::new("porch").unwrap());
    core.add(&bound, NOW).unwrap();
    let (porch, why) = (
        RegistryId::new("porch").unwrap(),
        Reason::new("breaches").unwrap(),
    );
    let actions = core.gateway(&porch, Some(&why), NOW);
    assert_eq!(places(&actions).len(), 1);
    let refused = core.release(mac(5)).unwrap_err();
    assert!(
        refused
            .help
            .unwrap()
            .contains("stockade device release porch")
    );
    // An operator's own quarantine stays when the registry releases.
    core.quarantine(mac(5), &why, NOW).unwrap();
    let actions = core.gateway(&porch, None, NOW);
    assert!(places(&actions).is_empty());
    assert!(core.device(mac(5)).unwrap().is_quarantined());
    let nobody = RegistryId::new("hall").unwrap();
    assert!(core.gateway(&nobody, Some(&why), NOW).is_empty());
}

#[test]
fn an_address_in_use_gives_nobody_a_right() {
    let mut core = with_camera();
    // Another device that uses the camera's address, its ARP name, the gateway's, or one nobody leased.
    for (seen, outcome) in [
        (arp(9, 9, "192.0.2.5"), Outcome::Refused),
        (arp(9, 5, "192.0.2.5"), Outcome::Refused),
        (arp(9, 9, "192.0.2.1"), Outcome::Alarm),
        (arp(9, 9, "192.0.2.77"), Outcome::Refused),
    ] {
        core.handle_sighting(&Sighting::Frame { mac: mac(9) }, NOW);
        let actions = core.handle_sighting(&seen, NOW);
        assert!(places(&actions).is_empty(), "{seen:?}");
        assert_eq!(
            told(&actions).first().map(|t| t.0),
            Some(outcome),
            "{seen:?}"
        );
        // Once is enough.
        assert!(
            told(&core.handle_sighting(&seen, NOW)).is_empty(),
            "{seen:?}"
        );
    }
    assert_eq!(core.owner(ip("192.0.2.5")).unwrap().mac, mac(5));
}

#[test]
fn a_claimed_address_stays_with_who_came_first() {
    let mut core = with_camera();
    let actions = core.handle_sighting(&claim(5, "2001:db8::5"), NOW);
    assert_eq!(
        places(&actions),
        [(mac(5), "2001:db8::5".to_owned(), cam())]
    );
    core.handle_sighting(&Sighting::Frame { mac: mac(9) }, NOW);
    for stolen in ["2001:db8::5", "2001:db8::1", "2620:fe::fe", "ff02::1"] {
        let actions = core.handle_sighting(&claim(9, stolen), NOW);
        assert!(places(&actions).is_empty(), "{stolen}");
        assert!(
            core.owner(ip(stolen)).is_none_or(|d| d.mac == mac(5)),
            "{stolen}"
        );
    }
    // A day unused, and it is free.
    core.handle_tick(NOW + Duration::hours(25));
    core.handle_sighting(&claim(9, "2001:db8::5"), NOW + Duration::hours(25));
    assert_eq!(core.owner(ip("2001:db8::5")).unwrap().mac, mac(9));
}

#[test]
fn a_device_claims_eight_addresses_and_no_more_while_it_uses_them() {
    let mut core = with_camera();
    for n in 0..MAX_LEARNED + 4 {
        core.handle_sighting(&claim(5, &format!("2001:db8::100:{n}")), NOW);
    }
    let six = |core: &Core| {
        let device = core.device(mac(5)).unwrap();
        device
            .addresses
            .iter()
            .filter(|b| b.address.is_ipv6())
            .count()
    };
    assert_eq!(six(&core), MAX_LEARNED);
    assert!(core.owner(ip("2001:db8::100:0")).is_some());
    // Privacy addresses come and go (RFC 8981): an idle one makes room.
    let later = NOW + Duration::hours(2);
    core.handle_sighting(&claim(5, "2001:db8::200:0"), later);
    assert_eq!(six(&core), MAX_LEARNED);
    assert!(core.owner(ip("2001:db8::200:0")).is_some());
}

#[test]
fn the_server_moves_a_lease_but_not_what_an_operator_gave() {
    let mut core = with_camera();
    let mut fixed = add(6, "cam");
    fixed.addresses = vec![ip("192.0.2.6")];
    core.add(&fixed, NOW).unwrap();
    let actions = core.handle_sighting(&lease(8, "192.0.2.5", 60), NOW);
    assert_eq!(
        places(&actions),
        [(mac(5), "192.0.2.5".to_owned(), Place::Unknown)]
    );
    assert_eq!(core.owner(ip("192.0.2.5")).unwrap().mac, mac(8));
    let actions = core.handle_sighting(&lease(8, "192.0.2.6", 60), NOW);
    assert!(places(&actions).is_empty());
    assert_eq!(core.owner(ip("192.0.2.6")).unwrap().mac, mac(6));
    // The gateway's own address and one of another network are not to be had.
    for odd in ["192.0.2.1", "198.51.100.9"] {
        core.handle_sighting(&lease(8, odd, 60), NOW);
        assert!(core.owner(ip(odd)).is_none(), "{odd}");
    }
}

#[test]
fn a_flood_of_invented_cards_takes_bounded_memory_and_hits_no_known_device() {
    let mut core = with_camera();
    let mut alarms = 0;
    for n in 0..5_000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let invented = LinkAddress::new([6, 1, a, b, c, d]);
        let later = NOW + Duration::milliseconds(i64::from(n));
        let actions = core.handle_sighting(&Sighting::Frame { mac: invented }, later);
        alarms += told(&actions)
            .iter()
            .filter(|t| t.0 == Outcome::Alarm)
            .count();
    }
    assert_eq!(alarms, 1);
    assert_eq!(core.devices().len(), MAX_UNKNOWN + 1);
    assert_eq!(core.device(mac(5)).unwrap().place(), cam());
}

fn announces(n: u8, url: &str) -> Sighting {
    Sighting::DhcpClient {
        mac: mac(n),
        hostname: Some(WireText::of_bytes(b"$(reboot)\x1b[2J")),
        mud: Some(mud_url(url.as_bytes())),
    }
}

fn fetched(model: &str, signer: Option<&str>) -> Fetched {
    Fetched {
        profile: profile(model, 1),
        signer: signer.map(str::to_owned),
        represented: 3,
        rules: 3,
        report: vec!["3 of 3 rules".to_owned()],
        valid_for: Duration::hours(48),
    }
}

const URL: &str = "https://mud.example.com/cam.json";

fn url() -> HttpsUrl {
    URL.parse().unwrap()
}

#[test]
fn a_mud_file_is_fetched_once_and_waits_for_the_operator() {
    let mut core = guard(Accept::Ask);
    core.handle_sighting(&lease(5, "192.0.2.5", 3600), NOW);
    let actions = core.handle_sighting(&announces(5, URL), NOW);
    assert!(actions.contains(&Action::Fetch(url())));
    let again = core.handle_sighting(&announces(6, URL), NOW);
    assert!(!again.contains(&Action::Fetch(url())), "asked for already");
    assert!(
        core.accept(mac(5), NOW).is_err(),
        "nothing is there to accept"
    );
    let actions = core.handle_fetched(&url(), Ok(fetched("cam", Some("Acme"))), NOW);
    assert!(places(&actions).is_empty(), "nobody said yes");
    assert_eq!(told(&actions).len(), 2, "both devices wait");
    let actions = core.accept(mac(5), NOW).unwrap();
    assert!(actions.contains(&Action::Load));
    assert_eq!(places(&actions), [(mac(5), "192.0.2.5".to_owned(), cam())]);
    assert_eq!(core.device(mac(6)).unwrap().role, Role::Unknown);
    // Within its validity nobody fetches it again.
    let tick = core.handle_tick(NOW + Duration::hours(47));
    assert!(!tick.contains(&Action::Fetch(url())));
    let tick = core.handle_tick(NOW + Duration::hours(49));
    assert!(tick.contains(&Action::Fetch(url())));
}

#[test]
fn a_flood_of_mud_files_is_told_once() {
    let mut core = guard(Accept::Ask);
    let mut refused = 0;
    for n in 0..600_u16 {
        let [high, low] = n.to_be_bytes();
        let seen = Sighting::DhcpClient {
            mac: LinkAddress::new([2, 0, 0, 7, high, low]),
            hostname: None,
            mud: Some(mud_url(format!("https://m{n}.example.com/x").as_bytes())),
        };
        let actions = core.handle_sighting(&seen, NOW);
        refused += told(&actions)
            .iter()
            .filter(|event| event.1.contains("not fetched"))
            .count();
    }
    assert_eq!(refused, 1);
}

#[test]
fn a_signature_is_what_the_policy_asks_for() {
    for (accept, signer, taken) in [
        (Accept::Ask, Some("Acme"), false),
        (Accept::Signed, None, false),
        (Accept::Signed, Some("Acme"), true),
        (Accept::Any, None, true),
    ] {
        let mut core = guard(accept);
        core.handle_sighting(&announces(5, URL), NOW);
        core.handle_fetched(&url(), Ok(fetched("cam", signer)), NOW);
        let role = &core.device(mac(5)).unwrap().role;
        assert_eq!(role.model().is_some(), taken, "{accept:?} {signer:?}");
    }
}

#[test]
fn a_device_can_not_become_another_model_by_saying_so() {
    let mut core = guard(Accept::Any);
    core.handle_sighting(&announces(5, URL), NOW);
    core.handle_fetched(&url(), Ok(fetched("cam", None)), NOW);
    let actions = core.handle_sighting(&announces(5, "https://evil.example/all.json"), NOW);
    assert_eq!(told(&actions).len(), 1);
    assert!(!actions.iter().any(|a| matches!(a, Action::Fetch(_))));
    let device = core.device(mac(5)).unwrap();
    assert_eq!(device.role.as_str(), "cam");
    assert_eq!(device.mud.as_ref().unwrap().url, url());
    assert_eq!(device.mud.as_ref().unwrap().via, Via::Dhcp);
}

#[test]
fn a_mud_file_does_not_replace_a_profile_from_elsewhere() {
    let mut core = guard(Accept::Any);
    core.install(profile("cam", 3), NOW).unwrap();
    core.handle_sighting(&announces(5, URL), NOW);
    let actions = core.handle_fetched(&url(), Ok(fetched("cam", None)), NOW);
    assert!(
        told(&actions)
            .iter()
            .any(|t| t.1.contains("from elsewhere"))
    );
    assert_eq!(core.device(mac(5)).unwrap().role, Role::Unknown);
    assert_eq!(
        core.models()[&ModelName::new("cam").unwrap()]
            .profile
            .device
            .version,
        3
    );
}

#[test]
fn a_changed_mud_file_waits_or_replaces_as_the_policy_says() {
    for (accept, replaced) in [(Accept::Ask, false), (Accept::Any, true)] {
        let mut core = guard(accept);
        core.handle_sighting(&announces(5, URL), NOW);
        core.handle_fetched(&url(), Ok(fetched("cam", None)), NOW);
        if accept == Accept::Ask {
            core.accept(mac(5), NOW).unwrap();
        }
        // The same file again changes nothing.
        let same = core.handle_fetched(&url(), Ok(fetched("cam", None)), NOW);
        assert!(!same.contains(&Action::Load));
        let mut changed = fetched("cam", None);
        changed.profile = profile("cam", 2);
        changed.profile.device.version = 1;
        let actions = core.handle_fetched(&url(), Ok(changed), NOW);
        assert_eq!(actions.contains(&Action::Load), replaced, "{accept:?}");
        if accept == Accept::Ask {
            let actions = core.accept(mac(5), NOW).unwrap();
            assert!(actions.contains(&Action::Load));
        }
        let name = ModelName::new("cam").unwrap();
        assert_eq!(core.models()[&name].profile.device.version, 2);
    }
}

#[test]
fn a_file_that_can_not_be_had_is_asked_for_again_an_hour_later() {
    let mut core = guard(Accept::Any);
    core.handle_sighting(&announces(5, URL), NOW);
    core.handle_fetched(&url(), Err("no route".to_owned()), NOW);
    assert!(matches!(
        core.file(URL).unwrap().state,
        FileState::Failed { .. }
    ));
    let soon = core.handle_sighting(&announces(6, URL), NOW + Duration::minutes(5));
    assert!(!soon.contains(&Action::Fetch(url())));
    let later = core.handle_tick(NOW + Duration::minutes(61));
    assert!(later.contains(&Action::Fetch(url())));
}

#[test]
fn an_operator_is_told_why_not() {
    let mut core = with_camera();
    assert!(
        core.add(&add(7, "nosuch"), NOW)
            .unwrap_err()
            .help
            .unwrap()
            .contains("install")
    );
    let mut own = add(7, "cam");
    own.addresses = vec![ip("192.0.2.1")];
    assert!(core.add(&own, NOW).is_err());
    own.addresses = vec![ip("203.0.113.1")];
    assert!(core.add(&own, NOW).is_err());
    assert!(
        core.quarantine(mac(99), &Reason::new("x").unwrap(), NOW)
            .is_err()
    );
    assert!(
        core.uninstall(&ModelName::new("cam").unwrap()).is_err(),
        "a device is of it"
    );
    assert!(
        core.install(profile("cam", 1), NOW).is_ok(),
        "the very same"
    );
    core.install(profile("cam", 4), NOW).unwrap();
    assert!(core.install(profile("cam", 3), NOW).is_err(), "older");
    // Two cards are not one device.
    let mut porch = add(5, "cam");
    porch.device = Some(RegistryId::new("porch").unwrap());
    core.add(&porch, NOW).unwrap();
    porch.mac = mac(6);
    assert!(core.add(&porch, NOW).is_err());
}

#[test]
fn a_change_that_can_not_be_written_is_taken_back() {
    let mut core = with_camera();
    let before = core.device(mac(5)).cloned();
    core.handle_sighting(&claim(5, "2001:db8::5"), NOW);
    core.put_back(mac(5), before.clone());
    assert_eq!(core.device(mac(5)), before.as_ref());
    assert!(core.owner(ip("2001:db8::5")).is_none());
    assert_eq!(core.owner(ip("192.0.2.5")).unwrap().mac, mac(5));
}

#[test]
fn what_is_written_down_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = stockade_store::Sqlite::open(&dir.path().join("s")).unwrap();
    let kept = super::kept::Kept::new(std::sync::Arc::new(store));
    let mut core = guard(Accept::Any);
    let mut all = core.install(profile("cam", 1), NOW).unwrap();
    all.extend(core.add(&add(5, "cam"), NOW).unwrap());
    all.extend(core.handle_sighting(&lease(5, "192.0.2.5", 3600), NOW));
    all.extend(core.handle_sighting(&announces(6, URL), NOW));
    all.extend(core.handle_fetched(&url(), Ok(fetched("tv", None)), NOW));
    all.extend(
        core.quarantine(mac(5), &Reason::new("r").unwrap(), NOW)
            .unwrap(),
    );
    kept.write(&core, &all).unwrap();
    let mut again = guard(Accept::Any);
    kept.restore(&mut again).unwrap();
    assert!(again.devices().eq(core.devices()));
    assert_eq!(again.file(URL), core.file(URL));
    assert_eq!(again.owner(ip("192.0.2.5")).unwrap().mac, mac(5));
    assert!(matches!(
        again.device(mac(5)).unwrap().addresses[0].by,
        By::Lease { .. }
    ));
    let model = ModelName::new("tv").unwrap();
    assert_eq!(
        again.models()[&model].profile,
        core.models()[&model].profile
    );
    // What is forgotten is gone.
    let gone = core.remove(mac(5)).unwrap();
    kept.write(&core, &gone).unwrap();
    let mut again = guard(Accept::Any);
    kept.restore(&mut again).unwrap();
    assert!(again.device(mac(5)).is_none());
}

#[test]
fn settings_of_the_interface_are_remembered_from_before_the_first_start_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = stockade_store::Sqlite::open(&dir.path().join("s")).unwrap();
    let kept = super::kept::Kept::new(std::sync::Arc::new(store));
    let of = |value: &str| [("a".to_owned(), value.to_owned())].into();
    kept.remember(&of("0")).unwrap();
    kept.remember(&of("1")).unwrap();
    assert_eq!(kept.before().unwrap(), of("0"));
    kept.restored().unwrap();
    assert!(kept.before().unwrap().is_empty());
}
