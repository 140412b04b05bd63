//! The values of a packet's fields, by number of the field.

use super::super::nft::Field;

/// How many fields there are.
const COUNT: usize = 42;

/// A value for each field, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts([Option<u128>; COUNT]);

impl Default for Facts {
    fn default() -> Self {
        Self([None; COUNT])
    }
}

impl Facts {
    pub(super) fn get(&self, field: Field) -> Option<u128> {
        self.0.get(place(field)?).copied().flatten()
    }

    pub(super) fn set(&mut self, field: Field, value: Option<u128>) {
        let place = place(field).and_then(|place| self.0.get_mut(place));
        if let Some(fact) = place {
            *fact = value;
        }
    }
}

/// The cgroup is no number, so it has no place here.
fn place(field: Field) -> Option<usize> {
    Some(match field {
        Field::NfProto => 0,
        Field::Protocol => 1,
        Field::L4Proto => 2,
        Field::InputInterface => 3,
        Field::OutputInterface => 4,
        Field::Mark => 5,
        Field::SocketUser => 6,
        Field::PacketType => 7,
        Field::EtherSource => 8,
        Field::EtherDestination => 9,
        Field::EtherType => 10,
        Field::Ip4Source => 11,
        Field::Ip4Destination => 12,
        Field::Ip6Source => 13,
        Field::Ip6Destination => 14,
        Field::HopLimit => 15,
        Field::TcpSource => 16,
        Field::TcpDestination => 17,
        Field::UdpSource => 18,
        Field::UdpDestination => 19,
        Field::TransportSource => 20,
        Field::TransportDestination => 21,
        Field::IcmpType => 22,
        Field::IcmpCode => 23,
        Field::Icmp6Type => 24,
        Field::Icmp6Code => 25,
        Field::NdTarget => 26,
        Field::ArpOperation => 27,
        Field::ArpHardware => 28,
        Field::ArpProtocol => 29,
        Field::ArpSourceEther => 30,
        Field::ArpSourceIp => 31,
        Field::ArpTargetIp => 32,
        Field::CtState => 33,
        Field::CtDirection => 34,
        Field::CtDnat => 35,
        Field::ReversePath => 36,
        Field::SourceType => 37,
        Field::DestinationType => 38,
        Field::LooseSourceRoute => 39,
        Field::StrictSourceRoute => 40,
        Field::RoutingHeader => 41,
        Field::SocketCgroup(_) => return None,
    })
}
