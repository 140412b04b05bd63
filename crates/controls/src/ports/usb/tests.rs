#![expect(
    clippy::arithmetic_side_effects,
    reason = "the numbers of a test are small"
)]

use stockade_profile::{Profile, check};

use super::*;

/// The descriptors of a device with one configuration: number and class of each interface. Low numbers are text too.
pub(crate) fn descriptors(product: (u16, u16), class: u8, interfaces: &[(u8, u8)]) -> Vec<u8> {
    let mut all = vec![18, 1, 0, 2, class, 0, 0, 64];
    all.extend(product.0.to_le_bytes());
    all.extend(product.1.to_le_bytes());
    all.extend([0, 1, 1, 2, 3, 1]);
    let length = u16::try_from(9 + 16 * interfaces.len()).unwrap();
    let [low, high] = length.to_le_bytes();
    let count = u8::try_from(interfaces.len()).unwrap();
    all.extend([9, 2, low, high, count, 1, 0, 0x40, 50]);
    for (number, class) in interfaces {
        all.extend([9, 4, *number, 0, 1, *class, 0, 0, 0]);
        all.extend([7, 5, 1, 3, 8, 0, 10]);
    }
    all
}

fn device(serial: &str, class: u8, interfaces: &[(u8, u8)]) -> UsbDevice {
    UsbDevice {
        port: "1-1.2".to_owned(),
        serial: Some(serial.to_owned()),
        name: "Thing".to_owned(),
        authorized: false,
        descriptors: Descriptors::parse(&descriptors((0x46d, 0x825), class, interfaces)),
    }
}

fn ports(section: &str) -> Ports {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"a\"\nversion = 1\nclass = \"linux\"\n[ports]\n{section}"
    );
    let checked = check(&text);
    let profile: Option<Profile> = checked.profile;
    profile
        .unwrap_or_else(|| panic!("{:?}", checked.faults))
        .ports
}

#[test]
fn each_interface_needs_an_entry_whose_words_are_all_true() {
    let verdict = |section: &str, device: &UsbDevice| {
        let verdict = decide(&ports(section), device);
        format!("{:?}: {}", verdict.fate, verdict.why)
    };
    let keyboard = device("A1", 0, &[(0, 3)]);
    let stick = device("A1", 0, &[(0, 8)]);
    let both = device("A1", 0, &[(0, 3), (1, 8)]);
    let lines = [
        verdict("", &keyboard),
        verdict("usb = { allow = [\"class:03\"] }", &keyboard),
        verdict(
            "usb = { allow = [\"046d:0825 class:03 serial:A1 port:1-1.2\"] }",
            &keyboard,
        ),
        verdict("usb = { allow = [\"046d:0825 serial:A2\"] }", &keyboard),
        verdict("usb = { allow = [\"046d:0825 port:1-1\"] }", &keyboard),
        verdict("usb = { default = \"allow\" }", &keyboard),
        verdict("usb = { allow = [\"class:03\"] }", &both),
        verdict(
            "usb = { allow = [\"class:03\"] }",
            &device("A1", 2, &[(0, 3)]),
        ),
        verdict("usb = { allow = [\"046d:0825\"] }", &stick),
        verdict(
            "usb = { allow = [\"046d:0825\"] }\nstorage = \"allow\"",
            &stick,
        ),
        verdict("usb = { default = \"allow\" }", &both),
        verdict("usb = { default = \"allow\" }", &device("A1", 0, &[])),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_interface_that_changes_its_class_with_a_setting_needs_both() {
    let two = device("A1", 0, &[(0, 3), (0, 8), (1, 3)]);
    let fate = decide(&ports("usb = { allow = [\"class:03\"] }"), &two).fate;
    assert_eq!(fate, Fate::Partly(BTreeSet::from([1])));
}

#[test]
fn descriptors_that_lie_about_their_length_are_nonsense() {
    let good = descriptors((1, 2), 0, &[(0, 3)]);
    assert!(Descriptors::parse(&good).is_ok());
    for cut in 0..good.len() {
        // The device's own descriptor alone says nothing about interfaces.
        assert!(
            cut == 18 || Descriptors::parse(&good[..cut]).is_err(),
            "{cut}"
        );
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Descriptors::parse(&bytes)
    };
    for (at, to) in [
        (0, 17),
        (1, 2),
        (18, 8),
        (19, 4),
        (20, 255),
        (27, 0),
        (27, 1),
        (27, 5),
    ] {
        assert!(changed(at, to).is_err(), "{at} {to}");
    }
}

#[test]
fn what_a_device_calls_itself_can_be_shown() {
    let read = |name: &str, _: usize| match name {
        "descriptors" => Ok(descriptors((1, 2), 0, &[(0, 3)])),
        "authorized" => Ok(b"0\n".to_vec()),
        "product" => Ok([b"\x1b[2J".as_slice(), &[b'x'; 300]].concat()),
        _ => Err(Unseen::Absent),
    };
    let device = UsbDevice::read("1-1", &read).unwrap();
    assert!(!device.name.contains(char::is_control) && device.name.len() <= SHOWN);
    assert!(!device.authorized);
}
