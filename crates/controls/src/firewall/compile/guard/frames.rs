//! The guard's tables for what is not IP: ARP and other frames.

use stockade_profile::Direction;

use super::super::super::nft::{
    Comment, Family as TableFamily, Field, Hook, Kind, Rule, Statement, Table, Value, Verdict,
};
use super::super::link::{arp_rules, arp_table, frame_hooks};
use super::super::{GUARD_TABLE, accept, plain_set};
use super::chains::{Writer, name};
use super::set;

/// The key exchange of Wi-Fi and of wired ports (IEEE 802.1X §11.1).
pub(super) const EAPOL: u16 = 0x888e;

impl Writer<'_> {
    /// ARP that reaches the gateway: its own addresses are nobody else's, and a device's are its own.
    pub(super) fn arp(&self) -> Table {
        let mut rules = arp_rules(&self.plan.around.own, &[], None);
        let pair = [Field::ArpSourceEther, Field::ArpSourceIp];
        let claims = [
            self.lan(Field::InputInterface),
            Statement::in_set([Field::ArpSourceIp], name(set::KNOWN4)),
            Statement::not_in_set(pair, name(set::BOUND4)),
            Statement::Counter,
            Verdict::Drop.into(),
        ];
        rules.push(Rule::new(claims).said(Comment::made("claims another device's address")));
        let mut table = arp_table(GUARD_TABLE, &name("claims"), rules);
        table.sets = vec![
            plain_set(name(set::KNOWN4), vec![Kind::Ip4], false),
            plain_set(name(set::BOUND4), vec![Kind::Mac, Kind::Ip4], false),
        ];
        table
    }

    /// Frames: IP, ARP and key exchanges pass; of the others those that a profile names.
    pub(super) fn frames(&self) -> Table {
        let always = || {
            let ip4 = [Value::number(0x0800_u32)];
            let others = [0x0806_u16, 0x86dd, EAPOL].map(Value::number);
            [
                Rule::new([Statement::is(Field::Protocol, ip4), accept()]),
                Rule::new([Statement::is(Field::Protocol, others), accept()]),
            ]
        };
        let within = |key: &[Field], set| Rule::new([Statement::in_set(key, name(set)), accept()]);
        let (source, destination) = (Field::EtherSource, Field::EtherDestination);
        let kind = Field::EtherType;
        let dropped = || Rule::new([Statement::Counter, Verdict::Drop.into()]);
        let ingress = always().into_iter().chain([
            within(&[source, kind], set::FRAMES_OUT),
            within(&[source, kind, destination], set::FRAMES_OUT_TO),
            dropped(),
        ]);
        let egress = always().into_iter().chain([
            within(&[destination, kind], set::FRAMES_IN),
            within(&[destination, kind, source], set::FRAMES_IN_FROM),
            dropped(),
        ]);
        let mut ways = vec![(Hook::Ingress, ingress.collect())];
        // What the gateway sends is its own affair until a profile speaks of it; not every kernel has this hook.
        if self.speaks_of_frames_in() {
            ways.push((Hook::Egress, egress.collect()));
        }
        let chains = frame_hooks(&self.plan.interfaces, &ways);
        let (mac, ethertype) = (Kind::Mac, Kind::EtherType);
        let set = |set, key: &[Kind]| plain_set(name(set), key.to_vec(), false);
        Table {
            family: TableFamily::Netdev,
            name: name(GUARD_TABLE),
            sets: vec![
                set(set::FRAMES_OUT, &[mac, ethertype]),
                set(set::FRAMES_OUT_TO, &[mac, ethertype, mac]),
                set(set::FRAMES_IN, &[mac, ethertype]),
                set(set::FRAMES_IN_FROM, &[mac, ethertype, mac]),
            ],
            chains,
        }
    }

    fn speaks_of_frames_in(&self) -> bool {
        let models = self.plan.models.values();
        let mut frames = models.flat_map(|model| &model.policy.frames);
        frames.any(|(_, frame)| frame.direction == Direction::In && frame.ethertype.get() != EAPOL)
    }
}
