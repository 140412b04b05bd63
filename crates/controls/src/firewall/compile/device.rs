//! The rules of a device for itself.

use std::collections::BTreeMap;

use stockade_profile::{Direction, Family, Network, Protocol};

use super::super::decide::{DNS, DNS_OVER_TLS, HTTPS, is_link_rule};
use super::super::names;
use super::super::nft::{
    Chain, ChainKind, Comment, Family as TableFamily, Field, Hook, Ident, Policy as End, Rule,
    Ruleset, Set, Statement, States, Table, Value, Verdict,
};
use super::super::policy::{Allow, Policy};
use super::super::surroundings::{Group, Surroundings};
use super::line::{Scope, lines, spans};
use super::link::{
    advertised, arp_rules, arp_table, errors, established, foreign_sources, frame_hooks,
    frame_rules, link_messages, link_rules, source_routes,
};
use super::window;
use super::{LOG_GROUP, Slot, TABLE, accept, base, chain, goto, named, refusal};

/// All of a device's tables, in one of the two slots.
pub fn device(policy: &Policy, around: &Surroundings, slot: Slot) -> Ruleset {
    let writer = Writer {
        policy,
        around,
        slot,
    };
    let mut tables = vec![writer.packets()];
    tables.extend(writer.arp());
    tables.extend(writer.frames());
    Ruleset { tables }
}

struct Writer<'w> {
    policy: &'w Policy,
    around: &'w Surroundings,
    slot: Slot,
}

impl Writer<'_> {
    fn name(&self, name: &str) -> Ident {
        Ident::made(self.slot.prefix(), name)
    }

    fn packets(&self) -> Table {
        let mut sets = Vec::new();
        for name in self.policy.names() {
            sets.push(named(name, Family::Ipv4));
            sets.push(named(name, Family::Ipv6));
        }
        let mut chains = Vec::new();
        for (name, hook) in [
            ("input", Hook::Input),
            ("forward", Hook::Forward),
            ("output", Hook::Output),
        ] {
            let mut base = base(name, ChainKind::Filter, hook, 0, End::Drop);
            base.rules.push(Rule::new([goto(&self.name(name))]));
            chains.push(base);
        }
        chains.extend(self.redirect());
        let (input, more) = self.input();
        chains.extend(input);
        sets.extend(more);
        let mut forward = Vec::new();
        if let Some(window) = &self.policy.window {
            forward = window::forward(window);
            let refused = self.name("out_refused");
            chains.push(window::daemon(window, self.name("upnp"), &refused));
        }
        forward.push(Rule::new([goto(&self.name("forward_refused"))]));
        chains.push(chain(self.name("forward"), forward));
        let (output, more) = self.output();
        chains.extend(output);
        sets.extend(more);
        for (name, prefix) in [
            ("in_spoofed", "stk:in:spoofed"),
            ("in_refused", "stk:in:refused"),
            ("out_spoofed", "stk:out:spoofed"),
            ("out_refused", "stk:out:refused"),
            ("forward_refused", "stk:forward:refused"),
        ] {
            chains.push(refusal(self.name(name), prefix, LOG_GROUP));
        }
        Table {
            family: TableFamily::Inet,
            name: Ident::made(TABLE, ""),
            sets,
            chains,
        }
    }

    fn scope<'g>(&self, groups: &'g BTreeMap<Group, usize>) -> Scope<'g> {
        Scope {
            prefix: self.slot.prefix().to_owned(),
            shared: false,
            verdict: Verdict::Accept,
            groups,
        }
    }

    fn input(&self) -> (Vec<Chain>, Vec<Set>) {
        let (refused, spoofed) = (self.name("in_refused"), self.name("in_spoofed"));
        let link = self.name("in_link");
        let lo = "lo".parse().ok().map(Value::Interface);
        let mut rules: Vec<Rule> = lo
            .map(|lo| Rule::new([Statement::is(Field::InputInterface, [lo]), accept()]))
            .into_iter()
            .collect();
        rules.extend(source_routes(&refused));
        rules.push(Rule::new([link_messages(), goto(&link)]));
        rules.push(Rule::new([
            Statement::state(States::INVALID),
            goto(&refused),
        ]));
        rules.push(Rule::new([
            Statement::missing(Field::ReversePath),
            goto(&spoofed),
        ]));
        let unicast = Statement::is_not(Field::SourceType, [Value::number(1_u32)]);
        rules.push(Rule::new([unicast, goto(&spoofed)]));
        rules.push(established());
        rules.extend(errors(&refused));
        rules.extend(window::fronts_in(&self.policy.fronted, &refused));
        rules.extend(self.policy.window.iter().flat_map(window::input));
        let (allowed, sets) = self.allowed(Direction::In, &refused);
        rules.extend(allowed);
        rules.push(Rule::new([goto(&refused)]));
        let chains = vec![
            chain(self.name("input"), rules),
            chain(link, self.in_link()),
        ];
        (chains, sets)
    }

    /// Neighbours and listeners: from a source that can be one, and no claim to what is not the sender's.
    fn in_link(&self) -> Vec<Rule> {
        let (refused, spoofed) = (self.name("in_refused"), self.name("in_spoofed"));
        let odd = Statement::is(Field::SourceType, [2_u32, 3, 4, 5].map(Value::number));
        let mut rules = vec![Rule::new([odd, goto(&spoofed)])];
        if let Some(claim) = advertised(&self.around.own) {
            rules.push(Rule::new(claim.into_iter().chain([goto(&refused)])));
        }
        if let (Some(link), Some(claim)) =
            (self.around.gateway_link, advertised(&self.around.gateway))
        {
            let other = Statement::is_not(Field::EtherSource, [Value::Mac(link.bytes())]);
            rules.push(Rule::new(claim.into_iter().chain([other, goto(&refused)])));
        }
        let groups = BTreeMap::new();
        rules.extend(link_rules(self.policy, Direction::In, &self.scope(&groups)));
        rules.push(Rule::new([goto(&refused)]));
        rules
    }

    fn output(&self) -> (Vec<Chain>, Vec<Set>) {
        let (refused, spoofed) = (self.name("out_refused"), self.name("out_spoofed"));
        let link = self.name("out_link");
        // A question that goes to our forwarder has its new destination here, but still its old interface.
        let here = Statement::is(Field::DestinationType, [Value::number(2_u32)]);
        let mut rules = Vec::new();
        if let Some(window) = &self.policy.window {
            rules.push(window::to_daemon(window, &self.name("upnp")));
        }
        rules.extend(window::fronts_here(&self.policy.fronted, &refused));
        rules.push(Rule::new([here, accept()]));
        rules.extend(source_routes(&refused));
        rules.push(Rule::new([link_messages(), goto(&link)]));
        rules.push(Rule::new([
            Statement::state(States::INVALID),
            goto(&refused),
        ]));
        rules.extend(foreign_sources(&spoofed));
        rules.push(established());
        rules.extend(errors(&refused));
        rules.extend(self.policy.window.iter().map(window::output));
        let (allowed, sets) = self.allowed(Direction::Out, &refused);
        rules.extend(allowed);
        rules.push(Rule::new([goto(&refused)]));
        let groups = BTreeMap::new();
        let mut messages = link_rules(self.policy, Direction::Out, &self.scope(&groups));
        messages.push(Rule::new([goto(&refused)]));
        (
            vec![chain(self.name("output"), rules), chain(link, messages)],
            sets,
        )
    }

    /// The policy's rules one way; those about every address last, behind what they do not mean.
    fn allowed(&self, direction: Direction, refused: &Ident) -> (Vec<Rule>, Vec<Set>) {
        let groups = BTreeMap::new();
        let scope = self.scope(&groups);
        let of = |allow: &&Allow| allow.direction == direction && !is_link_rule(allow);
        let (broad, narrow): (Vec<&Allow>, Vec<&Allow>) = self
            .policy
            .allow
            .iter()
            .filter(of)
            .partition(|allow| allow.is_broad());
        let (mut rules, mut sets) = (Vec::new(), Vec::new());
        let mut write = |rules: &mut Vec<Rule>, allow: &Allow| {
            let (lines, more) = lines(allow, &scope, true);
            rules.extend(lines);
            sets.extend(more);
        };
        for allow in narrow {
            write(&mut rules, allow);
        }
        if direction == Direction::Out && !broad.is_empty() {
            rules.extend(encrypted_dns(refused));
        }
        for allow in broad {
            write(&mut rules, allow);
        }
        (rules, sets)
    }

    /// Questions to any DNS server go to our forwarder, but for its own and for servers that the profile names by address.
    fn redirect(&self) -> Vec<Chain> {
        let Some(port) = self.around.forwarder else {
            return Vec::new();
        };
        let inner = self.name("redirect");
        let mut hook = base("dns", ChainKind::Nat, Hook::Output, -100, End::Accept);
        hook.rules.push(Rule::new([goto(&inner)]));
        let own = Statement::is(Field::Mark, [Value::number(names::MARK)]);
        let mut rules = vec![Rule::new([own, accept()])];
        rules.extend(redirects(&self.policy.direct, port, &[]));
        vec![hook, chain(inner, rules)]
    }

    fn arp(&self) -> Option<Table> {
        let around = self.around;
        let rules = arp_rules(&around.own, &around.gateway, around.gateway_link);
        (!rules.is_empty()).then(|| arp_table(TABLE, &self.name("arp"), rules))
    }

    fn frames(&self) -> Option<Table> {
        if self.around.interfaces.is_empty() {
            return None;
        }
        let names = [self.name("ingress"), self.name("egress")];
        let [ingress, egress] = names.clone().map(|name| vec![Rule::new([goto(&name)])]);
        let ways = [(Hook::Ingress, ingress), (Hook::Egress, egress)];
        let mut chains = frame_hooks(&self.around.interfaces, &ways);
        for (direction, name) in [Direction::In, Direction::Out].into_iter().zip(names) {
            chains.push(chain(name, frame_rules(&self.policy.frames, direction)));
        }
        Some(Table {
            family: TableFamily::Netdev,
            name: Ident::made(TABLE, ""),
            sets: Vec::new(),
            chains,
        })
    }
}

/// DNS to anybody goes to this port of ours; `only` are conditions before that.
pub(super) fn redirects(
    direct: &[(Protocol, Network)],
    port: u16,
    only: &[Statement],
) -> Vec<Rule> {
    let mut rules = Vec::new();
    let dns = || [Value::number(DNS)];
    for (protocol, field) in [
        (Protocol::Udp, Field::UdpDestination),
        (Protocol::Tcp, Field::TcpDestination),
    ] {
        let of = direct.iter().filter(|it| it.0 == protocol);
        let of: Vec<_> = of.map(|it| it.1).collect();
        for (family, destination) in [
            (Family::Ipv4, Field::Ip4Destination),
            (Family::Ipv6, Field::Ip6Destination),
        ] {
            let named = spans(&of, family);
            if !named.is_empty() {
                let direct = Statement::is(destination, named);
                rules.push(Rule::new([direct, Statement::is(field, dns()), accept()]));
            }
        }
    }
    for field in [Field::UdpDestination, Field::TcpDestination] {
        let statements = only.iter().cloned();
        let ours = [Statement::is(field, dns()), Statement::Redirect { port }];
        rules.push(Rule::new(statements.chain(ours)));
    }
    rules
}

/// What a rule about every address does not mean: DNS that nobody can see (RFC 7858, RFC 8484, RFC 9250).
pub(super) fn encrypted_dns(refused: &Ident) -> Vec<Rule> {
    let known: Vec<_> = names::known_networks().collect();
    let mut rules = Vec::new();
    for field in [Field::TcpDestination, Field::UdpDestination] {
        let over_tls = Statement::is(field, [Value::number(DNS_OVER_TLS)]);
        let why = || Comment::made("DNS over TLS");
        rules.push(Rule::new([over_tls, goto(refused)]).said(why()));
        for (family, destination) in [
            (Family::Ipv4, Field::Ip4Destination),
            (Family::Ipv6, Field::Ip6Destination),
        ] {
            let to = spans(&known, family);
            if !to.is_empty() {
                let https = Statement::is(field, [Value::number(HTTPS)]);
                let rule = Rule::new([Statement::is(destination, to), https, goto(refused)]);
                rules.push(rule.said(Comment::made("DNS over HTTPS")));
            }
        }
    }
    rules
}
