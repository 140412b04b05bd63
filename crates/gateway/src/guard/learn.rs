//! What the guard learns from sightings: who is there, and whose an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stockade_profile::LinkAddress;
use time::{Duration, OffsetDateTime};

use super::core::{Action, Complaint, Core, MAX_DEVICES, MAX_LEARNED, MAX_UNKNOWN, tell};
use super::device::{Binding, By, Device};
use super::sighting::Sighting;
use crate::events::Outcome;

/// An address claimed by neighbour discovery and unused for so long may make room for another of its device.
const IDLE: Duration = Duration::hours(1);
/// New devices told by name in a minute; more is a flood.
const NEW_A_MINUTE: u32 = 30;

impl Core {
    /// Learns from what was seen on the LAN.
    pub fn handle_sighting(&mut self, seen: &Sighting, now: OffsetDateTime) -> Vec<Action> {
        let mac = seen.mac();
        let mut actions = Vec::new();
        if mac == self.standing.mac || !is_card(mac) {
            return actions;
        }
        if !self.devices.contains_key(&mac) && !self.welcome(mac, now, &mut actions) {
            return actions;
        }
        if let Some(device) = self.devices.get_mut(&mac) {
            device.last_seen = now;
            if let Some(name) = seen.hostname()
                && device.hostname.as_ref() != Some(name)
            {
                device.hostname = Some(name.clone());
            }
            self.unsaved.insert(mac);
        }
        match seen {
            Sighting::Lease {
                address, seconds, ..
            } => self.leased(mac, *address, *seconds, now, &mut actions),
            Sighting::Arp { says, address, .. } => {
                self.arp(mac, *says, *address, now, &mut actions);
            }
            Sighting::Neighbour { address, .. } => {
                self.claimed(mac, *address, now, &mut actions);
            }
            Sighting::Frame { .. }
            | Sighting::DhcpClient { .. }
            | Sighting::Dhcp6Client { .. }
            | Sighting::Lldp { .. } => {}
        }
        if let Some((via, url)) = seen.mud() {
            self.announced(mac, via, url, now, &mut actions);
        }
        actions
    }

    /// Makes room for a device that was never seen before.
    fn welcome(
        &mut self,
        mac: LinkAddress,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) -> bool {
        if self.devices.len() >= MAX_DEVICES || self.unknown().count() >= MAX_UNKNOWN {
            let oldest = self.unknown().min_by_key(|d| d.last_seen).map(|d| d.mac);
            let Some(oldest) = oldest else { return false };
            self.forget(oldest, actions);
        }
        self.devices.insert(mac, Device::new(mac, now));
        self.unwritten.insert(mac);
        if now - self.new_devices.0 > Duration::MINUTE {
            self.new_devices = (now, 0);
        }
        self.new_devices.1 = self.new_devices.1.saturating_add(1);
        match self.new_devices.1 {
            ..=NEW_A_MINUTE => tell(
                actions,
                Outcome::Refused,
                Some(mac),
                format!(
                    "a device nobody knows: it gets DHCP and the console's notice, nothing else; \
                     `stockade guard add {mac} --model MODEL` if it is yours"
                ),
            ),
            n if n == NEW_A_MINUTE + 1 => tell(
                actions,
                Outcome::Alarm,
                None,
                format!(
                    "more than {NEW_A_MINUTE} unknown devices in a minute: somebody invents addresses, or a large \
                     network was joined; no more of them are told one by one"
                ),
            ),
            _ => {}
        }
        true
    }

    /// RFC 2131 §3.1: the server decided whose the address is.
    fn leased(
        &mut self,
        mac: LinkAddress,
        address: IpAddr,
        seconds: u32,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        if !self.may_be_a_devices(address) {
            self.complain((mac, Complaint::OffLink, address), now, actions, || {
                format!("was leased {address}, which is no address of a device on this LAN; not believed")
            });
            return;
        }
        if let Some(&owner) = self.owners.get(&address)
            && owner != mac
        {
            if self.by_hand(owner, address) {
                self.complain((mac, Complaint::OthersAddress, address), now, actions, || {
                    format!("was leased {address}, which an operator gave to {owner}; the operator's word holds")
                });
                return;
            }
            self.change(owner, actions, |device| {
                device.addresses.retain(|b| b.address != address);
            });
        }
        let until = now + Duration::seconds(i64::from(seconds));
        self.change(mac, actions, |device| {
            let found = device.addresses.iter_mut().find(|b| b.address == address);
            match found {
                Some(binding) if binding.by == By::Hand => binding.seen = now,
                Some(binding) => {
                    binding.by = By::Lease { until };
                    binding.seen = now;
                }
                None => {
                    make_room(device, address.is_ipv4());
                    device.addresses.push(Binding {
                        address,
                        by: By::Lease { until },
                        seen: now,
                    });
                }
            }
        });
    }

    /// An IPv4 address in use proves nothing about whose it is: only the server's lease or the operator's word do.
    fn arp(
        &mut self,
        mac: LinkAddress,
        says: LinkAddress,
        address: IpAddr,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        // RFC 5227 §2.1.1: a probe has no sender's address.
        if address.is_unspecified() {
            return;
        }
        if says != mac {
            self.complain((mac, Complaint::ForgedArp, address), now, actions, || {
                format!("says by ARP that {address} is at {says}: forged, dropped")
            });
        } else if self.standing.own.contains(&address) {
            self.gateways_address(mac, address, now, actions);
        } else if let Some(&owner) = self.owners.get(&address) {
            if owner != mac {
                self.complain(
                    (mac, Complaint::OthersAddress, address),
                    now,
                    actions,
                    || format!("uses {address}, which is {owner}'s: dropped"),
                );
            } else if let Some(binding) = self
                .devices
                .get_mut(&mac)
                .and_then(|d| d.addresses.iter_mut().find(|b| b.address == address))
            {
                binding.seen = now;
            }
        } else if !is_link_local(address) {
            self.complain((mac, Complaint::NoLease, address), now, actions, || {
                format!(
                    "uses {address} without a lease of the gateway: dropped; if it is right: \
                     `stockade guard add {mac} --address {address}`"
                )
            });
        }
    }

    /// RFC 4862 §5.4: who finds no duplicate has the address. The first who claims it keeps it.
    fn claimed(
        &mut self,
        mac: LinkAddress,
        address: Ipv6Addr,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        let address = IpAddr::V6(address);
        if address.is_unspecified() || address.is_multicast() {
            return;
        }
        if self.standing.own.contains(&address) {
            self.gateways_address(mac, address, now, actions);
            return;
        }
        if !self.may_be_a_devices(address) {
            self.complain((mac, Complaint::OffLink, address), now, actions, || {
                format!("claims {address}, which is in no network of this LAN: not believed")
            });
            return;
        }
        match self.owners.get(&address) {
            Some(&owner) if owner != mac => {
                self.complain(
                    (mac, Complaint::OthersAddress, address),
                    now,
                    actions,
                    || format!("claims {address}, which is {owner}'s: dropped"),
                );
                return;
            }
            Some(_) => {
                let device = self.devices.get_mut(&mac);
                let binding =
                    device.and_then(|d| d.addresses.iter_mut().find(|b| b.address == address));
                if let Some(binding) = binding {
                    binding.seen = now;
                }
                return;
            }
            None => {}
        }
        let full = self.devices.get(&mac).is_some_and(|device| {
            let mine = device.addresses.iter().filter(|b| b.address.is_ipv6());
            mine.clone().count() >= MAX_LEARNED
                && !mine
                    .clone()
                    .any(|b| b.by == By::Claim && now - b.seen > IDLE)
        });
        if full {
            self.complain((mac, Complaint::TooMany, address), now, actions, || {
                format!(
                    "claims {address} beside {MAX_LEARNED} addresses that it uses: not believed"
                )
            });
            return;
        }
        self.change(mac, actions, |device| {
            make_room(device, false);
            device.addresses.push(Binding {
                address,
                by: By::Claim,
                seen: now,
            });
        });
    }

    fn gateways_address(
        &mut self,
        mac: LinkAddress,
        address: IpAddr,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        if self.repeats((mac, Complaint::GatewaysAddress, address), now) {
            return;
        }
        tell(
            actions,
            Outcome::Alarm,
            Some(mac),
            format!("says that the gateway's address {address} is its own: dropped"),
        );
    }

    fn may_be_a_devices(&self, address: IpAddr) -> bool {
        let on_link = self.standing.lan.iter().any(|net| net.contains(address));
        let special = address.is_loopback()
            || address.is_multicast()
            || address.is_unspecified()
            || address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || self.standing.own.contains(&address);
        !special && (on_link || (address.is_ipv6() && is_link_local(address)))
    }

    fn by_hand(&self, mac: LinkAddress, address: IpAddr) -> bool {
        self.device(mac).is_some_and(|device| {
            let mut bindings = device.addresses.iter();
            bindings.any(|b| b.address == address && b.by == By::Hand)
        })
    }
}

/// Drops the learned address that was unused longest, if all places of its family are taken.
fn make_room(device: &mut Device, ipv4: bool) {
    let of_family = |b: &&Binding| b.address.is_ipv4() == ipv4;
    if device.addresses.iter().filter(of_family).count() < MAX_LEARNED {
        return;
    }
    let oldest = device
        .addresses
        .iter()
        .filter(of_family)
        .filter(|b| b.by != By::Hand)
        .min_by_key(|b| b.seen)
        .map(|b| b.address);
    device.addresses.retain(|b| Some(b.address) != oldest);
}

/// An address that one card can have: not a group's (IEEE 802 §8.2) and not all zeroes.
fn is_card(mac: LinkAddress) -> bool {
    let bytes = mac.bytes();
    bytes[0] & 1 == 0 && bytes != [0; 6]
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
