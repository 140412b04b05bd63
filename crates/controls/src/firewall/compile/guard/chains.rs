//! The guard's table for packets, without devices.

use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::{Direction, Family};

use super::super::super::decide::{DNS, is_link_rule};
use super::super::super::nft::{
    Chain, ChainKind, Comment, Family as TableFamily, Field, Hook, Ident, Kind, MapSource,
    Policy as End, Rule, Set, Statement, States, Table, Value, Verdict,
};
use super::super::super::policy::{Allow, Policy};
use super::super::super::surroundings::Group;
use super::super::device::{encrypted_dns, redirects};
use super::super::line::{Scope, group_set, lines};
use super::super::link::{
    advertised, errors, established, link_messages, link_rules, source_routes,
};
use super::super::{
    GUARD_LOG_GROUP, GUARD_TABLE, accept, base, chain, goto, named, plain_set, refusal,
};
use super::ports::written;
use super::{GuardPlan, set};

/// What the chains of a role begin with.
pub(super) enum Prefix<'p> {
    Model(&'p str),
    Quarantine(&'p str),
    Nobody,
}

impl Prefix<'_> {
    /// The chain of a role and a direction.
    pub(super) fn chain(&self, direction: Direction) -> Ident {
        Ident::made(&self.text(), direction.as_str())
    }

    fn text(&self) -> String {
        match self {
            // No model's name has a colon's place here: `._` ends it, and the words behind it are ours.
            Prefix::Model(model) => format!("m_{model}._"),
            Prefix::Quarantine(model) => format!("q_{model}._"),
            Prefix::Nobody => "quarantine_".to_owned(),
        }
    }
}

pub(super) fn trusted(direction: Direction) -> Ident {
    Ident::made("trusted_", direction.as_str())
}

pub(super) fn name(name: &str) -> Ident {
    Ident::made(name, "")
}

fn vmap(key: &[Field], map: &str) -> Statement {
    Statement::Map {
        key: key.to_vec(),
        map: MapSource::Named(name(map)),
    }
}

/// The guard's rules as they are written.
pub(super) struct Writer<'w> {
    pub(super) plan: &'w GuardPlan,
    pub(super) groups: &'w BTreeMap<Group, usize>,
}

impl Writer<'_> {
    pub(super) fn lan(&self, field: Field) -> Statement {
        let interfaces = self.plan.interfaces.iter().cloned();
        Statement::is(field, interfaces.map(Value::Interface))
    }

    pub(super) fn packets(&self) -> Table {
        let mut sets = self.sets();
        let mut chains = self.hooks();
        chains.extend([
            from_lan(),
            out_lan(),
            self.deliver(),
            self.link_from(),
            self.link_to(),
            self.unknown(),
        ]);
        chains.extend(to_lan());
        chains.push(other("other_out", "link_from", "out_refused"));
        chains.push(other("other_in", "link_to", "in_refused"));
        chains.extend(Self::trusted());
        let mut write = |prefix: &Prefix<'_>, policy: &Policy| {
            for direction in [Direction::Out, Direction::In] {
                let (more, own) = self.role(prefix, policy, direction);
                chains.extend(more);
                sets.extend(own);
            }
        };
        for (model, rules) in &self.plan.models {
            write(&Prefix::Model(model.as_str()), &rules.policy);
            write(&Prefix::Quarantine(model.as_str()), &rules.quarantine);
        }
        write(&Prefix::Nobody, &self.plan.quarantine(None));
        for (ours, prefix) in [
            ("out_refused", "stk:out:refused"),
            ("in_refused", "stk:in:refused"),
            ("in_spoofed", "stk:in:spoofed"),
            ("unknown_refused", "stk:out:unknown"),
        ] {
            chains.push(refusal(name(ours), prefix, GUARD_LOG_GROUP));
        }
        Table {
            family: TableFamily::Inet,
            name: name(GUARD_TABLE),
            sets,
            chains,
        }
    }

    fn sets(&self) -> Vec<Set> {
        let (mac, ip4, ip6) = (Kind::Mac, Kind::Ip4, Kind::Ip6);
        let mut sets = vec![
            plain_set(name(set::FROM4), vec![mac, ip4], true),
            plain_set(name(set::FROM6), vec![mac, ip6], true),
            plain_set(name(set::TO4), vec![ip4], true),
            plain_set(name(set::TO6), vec![ip6], true),
            plain_set(name(set::TRUSTED), vec![mac], false),
            plain_set(name(set::KNOWN6), vec![ip6], false),
            plain_set(name(set::TARGET), vec![Kind::Target], false),
            plain_set(name(set::CLAIM), vec![mac, Kind::Target], false),
        ];
        for number in self.groups.values() {
            sets.push(plain_set(
                group_set(*number, Family::Ipv4),
                vec![ip4],
                false,
            ));
            sets.push(plain_set(
                group_set(*number, Family::Ipv6),
                vec![ip6],
                false,
            ));
        }
        let models = self.plan.models.values();
        let policies = models.flat_map(|model| [&model.policy, &model.quarantine]);
        let names: BTreeSet<_> = policies.flat_map(Policy::names).collect();
        for name in names {
            sets.push(named(name, Family::Ipv4));
            sets.push(named(name, Family::Ipv6));
        }
        sets
    }

    /// Only what comes from the network or goes to it is judged; what other tables say holds beside this.
    fn hooks(&self) -> Vec<Chain> {
        let hook = |name, hook, rules| Chain {
            rules,
            ..base(name, ChainKind::Filter, hook, 0, End::Accept)
        };
        let from = || Rule::new([self.lan(Field::InputInterface), goto(&name("from_lan"))]);
        let to = |chain| Rule::new([self.lan(Field::OutputInterface), goto(&name(chain))]);
        let mut hooks = vec![
            hook("input", Hook::Input, vec![from()]),
            hook("forward", Hook::Forward, vec![from(), to("to_lan")]),
            hook("output", Hook::Output, vec![to("out_lan")]),
        ];
        if let Some(port) = self.plan.around.forwarder {
            let mut dns = base("dns", ChainKind::Nat, Hook::Prerouting, -100, End::Accept);
            // Every new flow comes by here: what is no question is through after two rules.
            for field in [Field::UdpDestination, Field::TcpDestination] {
                let question = Statement::is(field, [Value::number(DNS)]);
                let lan = self.lan(Field::InputInterface);
                dns.rules
                    .push(Rule::new([lan, question, goto(&name("dns_lan"))]));
            }
            let own = Statement::in_set([Field::EtherSource], name(set::TRUSTED));
            let mut asked = vec![Rule::new([own, accept()])];
            asked.extend(redirects(&self.plan.direct(), port, &[]));
            hooks.push(dns);
            hooks.push(chain(name("dns_lan"), asked));
        }
        hooks
    }

    /// What the sender's rules allow: to another device it needs that one's rules as well.
    fn deliver(&self) -> Chain {
        let interfaces = self.plan.interfaces.iter().cloned();
        let beyond = Statement::is_not(Field::OutputInterface, interfaces.map(Value::Interface));
        // Most goes beyond: that is asked once.
        let rules = vec![
            Rule::new([beyond, accept()]),
            Rule::new([vmap(&[Field::Ip4Destination], set::TO4)]),
            Rule::new([vmap(&[Field::Ip6Destination], set::TO6)]),
            Rule::new([goto(&name("in_refused"))]),
        ];
        chain(name("deliver"), rules)
    }

    /// Neighbour messages of a device: no claim to the gateway's addresses or to another device's.
    fn link_from(&self) -> Chain {
        let refused = name("out_refused");
        let mut rules = Vec::new();
        if let Some(claim) = advertised(&self.plan.around.own) {
            rules.push(Rule::new(claim.into_iter().chain([goto(&refused)])));
        }
        let kind = Statement::is(Field::Icmp6Type, [Value::number(136_u32)]);
        let target = [Field::EtherSource, Field::NdTarget];
        rules.push(Rule::new([
            kind,
            Statement::in_set([Field::NdTarget], name(set::TARGET)),
            Statement::not_in_set(target, name(set::CLAIM)),
            goto(&refused),
        ]));
        rules.extend(self.link_rules(Direction::Out));
        rules.push(Rule::new([goto(&refused)]));
        chain(name("link_from"), rules)
    }

    fn link_to(&self) -> Chain {
        let mut rules = self.link_rules(Direction::In);
        rules.push(Rule::new([goto(&name("in_refused"))]));
        chain(name("link_to"), rules)
    }

    /// These are the same for every model.
    fn link_rules(&self, direction: Direction) -> Vec<Rule> {
        let scope = self.scope(String::new(), Verdict::Accept);
        link_rules(&self.plan.quarantine(None), direction, &scope)
    }

    fn scope(&self, prefix: String, verdict: Verdict) -> Scope<'_> {
        Scope {
            prefix,
            shared: true,
            verdict,
            groups: self.groups,
        }
    }

    /// Who is in no map: an address, and the console's notice. No flow of somebody else's: only what is said here, packet by
    /// packet, and nothing from an IPv6 address that is somebody's.
    fn unknown(&self) -> Chain {
        let refused = name("unknown_refused");
        let policy = Policy::unknown(&self.plan.around, self.plan.notice);
        let known = Statement::in_set([Field::Ip6Source], name(set::KNOWN6));
        let mut rules = source_routes(&refused);
        rules.extend([
            Rule::new([known, goto(&refused)]),
            Rule::new([link_messages(), goto(&name("link_from"))]),
            Rule::new([Statement::state(States::INVALID), goto(&refused)]),
        ]);
        let scope = self.scope("unknown_".to_owned(), Verdict::Accept);
        let of = |allow: &&Allow| allow.direction == Direction::Out && !is_link_rule(allow);
        for allow in policy.allow.iter().filter(of) {
            rules.extend(lines(allow, &scope, true).0);
        }
        rules.push(Rule::new([goto(&refused)]));
        chain(name("unknown"), rules)
    }

    /// The owner's devices: out to everything; in from each other and from the gateway.
    fn trusted() -> [Chain; 2] {
        let inward = name("in_refused");
        let mut from = before_rules(Direction::Out);
        from.push(Rule::new([goto(&name("deliver"))]));
        let mut to = before_rules(Direction::In);
        let gateway = Statement::is(Field::SourceType, [Value::number(2_u32)]);
        let each_other = Statement::in_set([Field::EtherSource], name(set::TRUSTED));
        to.push(Rule::new([each_other, accept()]));
        to.push(Rule::new([gateway, accept()]));
        to.push(Rule::new([goto(&inward)]));
        [
            chain(trusted(Direction::Out), from),
            chain(trusted(Direction::In), to),
        ]
    }

    /// The chains of a role one way.
    fn role(
        &self,
        prefix: &Prefix<'_>,
        policy: &Policy,
        direction: Direction,
    ) -> (Vec<Chain>, Vec<Set>) {
        let deliver = Verdict::Goto(name("deliver"));
        let (refused, verdict) = match direction {
            Direction::Out => (name("out_refused"), deliver),
            Direction::In => (name("in_refused"), Verdict::Accept),
        };
        let mut rules = before_rules(direction);
        let scope = self.scope(prefix.text(), verdict);
        let of = |allow: &&Allow| allow.direction == direction && !is_link_rule(allow);
        let all = policy.allow.iter().filter(of);
        let (broad, narrow): (Vec<&Allow>, Vec<&Allow>) = all.partition(|allow| allow.is_broad());
        let way = prefix.chain(direction);
        let narrow = written(&narrow, &scope, &format!("{way}_n"));
        rules.extend(narrow.rules);
        if direction == Direction::Out && !broad.is_empty() {
            rules.extend(encrypted_dns(&refused));
        }
        let broad = written(&broad, &scope, &format!("{way}_b"));
        rules.extend(broad.rules);
        if direction == Direction::Out && policy.forwarded {
            rules.extend(self.forwarded());
        }
        rules.push(Rule::new([goto(&refused)]));
        let mut chains = vec![chain(way, rules)];
        chains.extend(narrow.chains);
        chains.extend(broad.chains);
        let mut sets = narrow.sets;
        sets.extend(broad.sets);
        (chains, sets)
    }

    /// Questions whose destination became our forwarder.
    fn forwarded(&self) -> Vec<Rule> {
        let Some(port) = self.plan.around.forwarder else {
            return Vec::new();
        };
        [Field::UdpDestination, Field::TcpDestination]
            .map(|field| {
                let here = Statement::is(field, [Value::number(port)]);
                let changed = Statement::exists(Field::CtDnat);
                Rule::new([changed, here, accept()]).said(Comment::made("builtin-dns"))
            })
            .into()
    }
}

/// What a device sends: to the gateway, to another device, or beyond. Who is in no map is unknown.
fn from_lan() -> Chain {
    let from4 = vmap(&[Field::EtherSource, Field::Ip4Source], set::FROM4);
    let from6 = vmap(&[Field::EtherSource, Field::Ip6Source], set::FROM6);
    let unknown = goto(&name("unknown"));
    let rules = [from4, from6, unknown].map(|it| Rule::new([it]));
    chain(name("from_lan"), rules.into())
}

/// What comes from beyond. A flow's first packet must come from where its source is reached.
fn to_lan() -> [Chain; 2] {
    let (refused, spoofed) = (name("in_refused"), name("in_spoofed"));
    let new = Verdict::Jump(name("to_lan_new")).into();
    let rules = vec![
        Rule::new([Statement::state(States::NEW), new]),
        Rule::new([vmap(&[Field::Ip4Destination], set::TO4)]),
        Rule::new([vmap(&[Field::Ip6Destination], set::TO6)]),
        Rule::new([goto(&refused)]),
    ];
    let astray = Statement::missing(Field::ReversePath);
    let unicast = Statement::is_not(Field::SourceType, [Value::number(1_u32)]);
    let first = vec![
        Rule::new([astray, goto(&spoofed)]),
        Rule::new([unicast, goto(&spoofed)]),
    ];
    [
        chain(name("to_lan"), rules),
        chain(name("to_lan_new"), first),
    ]
}

/// Before a role's own rules. An open flow first, for most packets are of one: who sends them is known by then, and a way
/// that they say themselves the kernel does not go. Then a new flow, which goes on to those rules.
fn before_rules(direction: Direction) -> Vec<Rule> {
    let (other, refused) = match direction {
        Direction::Out => ("other_out", name("out_refused")),
        Direction::In => ("other_in", name("in_refused")),
    };
    let neither = States::INVALID.or(States::RELATED).or(States::UNTRACKED);
    let neither = Rule::new([Statement::state(neither), goto(&name(other))]);
    let mut rules = vec![established(), neither];
    rules.extend(source_routes(&refused));
    rules
}

/// What is neither of an open flow nor opens one: neighbour messages, errors, and what can not be.
fn other(chain_name: &str, link: &str, refused: &str) -> Chain {
    let refused = name(refused);
    let mut rules = source_routes(&refused);
    rules.push(Rule::new([link_messages(), goto(&name(link))]));
    rules.push(Rule::new([
        Statement::state(States::INVALID),
        goto(&refused),
    ]));
    rules.extend(errors(&refused));
    rules.push(Rule::new([goto(&refused)]));
    chain(name(chain_name), rules)
}

/// What the gateway itself sends: a device's rules hold for it too; whom it does not guard it may reach.
fn out_lan() -> Chain {
    // Who is told that a neighbour is nearer than the gateway (RFC 4861 §4.5) would go past the guard; the kernel sends
    // such redirects before any hook of forwarding, and has no switch for IPv6.
    let redirect = Statement::is(Field::Icmp6Type, [Value::number(137_u32)]);
    let rules = vec![
        Rule::new([redirect, Statement::Counter, Verdict::Drop.into()]),
        Rule::new([link_messages(), accept()]),
        Rule::new([vmap(&[Field::Ip4Destination], set::TO4)]),
        Rule::new([vmap(&[Field::Ip6Destination], set::TO6)]),
        Rule::new([accept()]),
    ];
    chain(name("out_lan"), rules)
}
