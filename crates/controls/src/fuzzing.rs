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
