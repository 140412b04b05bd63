//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use crate::firewall::check::differences;
use crate::firewall::eval::{Machine, Packet};
use crate::firewall::nft::{Family, Field, Hook};
use crate::firewall::readback::{devices, from_json};

/// Reads a listing of nft's, as JSON and as text, and runs what it says on a packet.
pub fn nft_readback(data: &[u8]) {
    let Ok(mut ruleset) = from_json(data) else {
        return;
    };
    let text = ruleset.to_string();
    drop(devices(&mut ruleset, &text));
    assert_eq!(differences(&ruleset, &ruleset), [], "it is what it is");
    let Ok(machine) = Machine::new(&ruleset) else {
        return;
    };
    let mut packet = Packet::default();
    packet.set(Field::L4Proto, 6_u8);
    packet.set(Field::TransportDestination, 80_u16);
    packet.set(Field::CtState, 8_u8);
    for family in [Family::Inet, Family::Arp, Family::Netdev] {
        for hook in [
            Hook::Ingress,
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
        ] {
            machine.run(family, &[hook], &packet);
        }
    }
}

/// Any bytes as a certificate.
pub fn certificate_read(data: &[u8]) {
    crate::comms::fuzz(data);
}

/// Any bytes as files of accounts, as the configuration of sshd, and as a file that may hold secrets.
pub fn credential_files(data: &[u8]) {
    crate::credentials::fuzz(data);
}

/// Any bytes as a database of packages.
pub fn package_database(data: &[u8]) {
    crate::programs::fuzz(data);
}

/// Takes the data as a unit of systemd.
pub fn systemd_unit(data: &[u8]) {
    let read = crate::services::unit::parse(data);
    let length: usize = read.iter().fold(0, |sum, it| {
        sum.saturating_add(it.key.len())
            .saturating_add(it.value.len())
    });
    // What is no text grows to three bytes.
    let most = data.len().saturating_mul(3);
    assert!(length <= most, "no more came out than went in");
}

/// Takes the data as what says who has which rights: sudoers, a crontab, a file capability.
pub fn privileges_texts(data: &[u8]) {
    crate::privileges::fuzz(data);
}

/// Any text as settings of a program that may switch `UPnP` on.
pub fn upnp_settings(data: &[u8]) {
    crate::upnp::settings::fuzz(data);
}

/// Any text as what managers of packages keep of updates.
pub fn update_sources(data: &[u8]) {
    crate::updates::fuzz(data);
}

/// Any bytes as the environment of U-Boot, and as the file that says where it is.
pub fn uboot_env(data: &[u8]) {
    crate::boot::uboot::fuzz(data);
}

/// Any bytes as a record of the kernel's audit log: what comes of it can be written into a policy, and read back.
pub fn mac_record(data: &[u8]) {
    crate::mac::fuzz(data);
}

/// Any bytes as a USB device's descriptors: what was read can be judged.
pub fn usb_descriptors(data: &[u8]) {
    crate::ports::usb::fuzz(data);
}
