//! Many rules about ports as one lookup: the ports fall into classes, and each class has its own short chain.

use std::collections::BTreeMap;

use stockade_profile::Protocol;

use super::super::super::nft::{
    Chain, Field, Ident, MapSource, Rule, Set, Statement, Value, Verdict,
};
use super::super::super::policy::Allow;
use super::super::chain;
use super::super::line::{Scope, lines};

/// Up to so many rules are asked one after the other.
const FEW: usize = 4;

/// Rules, with the chains and sets that they need.
#[derive(Default)]
pub(super) struct Written {
    pub(super) rules: Vec<Rule>,
    pub(super) chains: Vec<Chain>,
    pub(super) sets: Vec<Set>,
}

/// The rules for these allowed flows; where there are many, by classes of ports. `name` is what the chains' names begin with.
pub(super) fn written(allows: &[&Allow], scope: &Scope<'_>, name: &str) -> Written {
    let mut written = Written::default();
    for (protocol, field, letter) in [
        (Protocol::Tcp, Field::TcpDestination, 't'),
        (Protocol::Udp, Field::UdpDestination, 'u'),
    ] {
        let of = |allow: &&&Allow| allow.traffic.protocol == protocol;
        let some: Vec<&Allow> = allows.iter().filter(of).copied().collect();
        if some.len() <= FEW {
            written.ask(&some, scope, true);
        } else {
            written.classes(&some, scope, field, &format!("{name}{letter}"));
        }
    }
    let others = |allow: &&&Allow| !allow.traffic.protocol.has_ports();
    let others: Vec<&Allow> = allows.iter().filter(others).copied().collect();
    written.ask(&others, scope, true);
    written
}

impl Written {
    /// One after the other.
    fn ask(&mut self, allows: &[&Allow], scope: &Scope<'_>, ports: bool) {
        for allow in allows {
            let (rules, sets) = lines(allow, scope, ports);
            self.rules.extend(rules);
            self.sets.extend(sets);
        }
    }

    /// A map from ports to chains, each with the rules about its ports. Who is not there comes back.
    fn classes(&mut self, allows: &[&Allow], scope: &Scope<'_>, field: Field, name: &str) {
        let mut chains: BTreeMap<Vec<usize>, Ident> = BTreeMap::new();
        let mut elements = Vec::new();
        for (first, last, rules) in segments(allows) {
            let number = chains.len().to_string();
            let target = chains
                .entry(rules)
                .or_insert_with(|| Ident::made(name, &number));
            let ports = Value::Number(first.into(), last.into());
            elements.push((vec![ports], Verdict::Jump(target.clone())));
        }
        for (rules, target) in chains {
            let mut class = Self::default();
            let some: Vec<&Allow> = rules
                .iter()
                .filter_map(|it| allows.get(*it).copied())
                .collect();
            class.ask(&some, scope, false);
            self.chains.push(chain(target, class.rules));
            // A rule about several classes needs its set once.
            for set in class.sets {
                if self.sets.iter().all(|it| it.name != set.name) {
                    self.sets.push(set);
                }
            }
        }
        self.rules.push(Rule::new([Statement::Map {
            key: vec![field],
            map: MapSource::Anonymous(elements),
        }]));
    }
}

/// The ports that any rule is about, cut where rules begin and end: first and last port, and the rules' places. Neighbours
/// with the same rules are one.
fn segments(allows: &[&Allow]) -> Vec<(u16, u16, Vec<usize>)> {
    let range = |allow: &&Allow| {
        let port = allow.traffic.port;
        port.map_or((0, u16::MAX), |port| (port.first(), port.last()))
    };
    let ranges: Vec<(u16, u16)> = allows.iter().map(range).collect();
    let mut cuts: Vec<u32> = ranges
        .iter()
        .flat_map(|(first, last)| [u32::from(*first), u32::from(*last).saturating_add(1)])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut segments: Vec<(u16, u16, Vec<usize>)> = Vec::new();
    for (from, next) in cuts.iter().zip(cuts.iter().skip(1)) {
        let last = u16::try_from(next.saturating_sub(1));
        let (Ok(first), Ok(last)) = (u16::try_from(*from), last) else {
            continue;
        };
        let covers = |range: &(u16, u16)| range.0 <= first && last <= range.1;
        let rules: Vec<usize> = (0..ranges.len())
            .filter(|place| ranges.get(*place).is_some_and(covers))
            .collect();
        if rules.is_empty() {
            continue;
        }
        match segments.last_mut() {
            Some(before) if before.2 == rules && before.1.checked_add(1) == Some(first) => {
                before.1 = last;
            }
            _ => segments.push((first, last, rules)),
        }
    }
    segments
}
