//! What holds below IP, or before a flow is known: neighbours, ARP, frames, ways that can not be.

use core::net::IpAddr;

use stockade_profile::{Direction, Family, Frame, InterfaceName, LinkAddress};

use super::super::decide::{ERRORS4, ERRORS6, LINK_MESSAGES, is_link_rule};
use super::super::nft::{
    Base, Chain, ChainKind, Comment, Family as TableFamily, Field, Hook, Ident, Policy as End,
    Rule, Statement, States, Table, Value, Verdict,
};
use super::super::policy::{Policy, RuleId};
use super::line::{Scope, lines};
use super::{accept, base, chain, goto};

/// `icmpv6 type { ... }`: neighbour and listener discovery.
pub(super) fn link_messages() -> Statement {
    let kinds = LINK_MESSAGES.iter();
    Statement::is(
        Field::Icmp6Type,
        kinds.map(|kinds| Value::Number((*kinds.start()).into(), (*kinds.end()).into())),
    )
}

/// Packets that say themselves how they are routed.
pub(super) fn source_routes(refused: &Ident) -> Vec<Rule> {
    [
        Field::LooseSourceRoute,
        Field::StrictSourceRoute,
        Field::RoutingHeader,
    ]
    .map(|field| Rule::new([Statement::exists(field), goto(refused)]))
    .into()
}

/// Packets of an open flow pass.
pub(super) fn established() -> Rule {
    Rule::new([Statement::state(States::ESTABLISHED), accept()])
}

/// Errors about open flows pass; what is left behind these rules opens a flow.
pub(super) fn errors(refused: &Ident) -> Vec<Rule> {
    let number = |kind: &u8| Value::number(*kind);
    let errors6 = Value::Number((*ERRORS6.start()).into(), (*ERRORS6.end()).into());
    let related = || Statement::state(States::RELATED);
    let errors4 = Statement::is(Field::IcmpType, ERRORS4.iter().map(number));
    let errors6 = Statement::is(Field::Icmp6Type, [errors6]);
    vec![
        Rule::new([related(), errors4, accept()]),
        Rule::new([related(), errors6, accept()]),
        Rule::new([
            Statement::state(States::RELATED.or(States::UNTRACKED)),
            goto(refused),
        ]),
    ]
}

/// The rules about neighbours that a policy writes out.
pub(super) fn link_rules(policy: &Policy, direction: Direction, scope: &Scope<'_>) -> Vec<Rule> {
    let of = |allow: &&_| is_link_rule(allow) && allow.direction == direction;
    let mut rules = Vec::new();
    for allow in policy.allow.iter().filter(of) {
        rules.extend(lines(allow, scope, true).0);
    }
    rules
}

/// `icmpv6 type 136` (RFC 4861 §4.4) for one of these addresses.
pub(super) fn advertised(addresses: &[IpAddr]) -> Option<[Statement; 2]> {
    let targets: Vec<Value> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V6(address) => Some(Value::ip6(*address)),
            IpAddr::V4(_) => None,
        })
        .collect();
    if targets.is_empty() {
        return None;
    }
    let target = Statement::is(Field::NdTarget, targets);
    Some([
        Statement::is(Field::Icmp6Type, [Value::number(136_u32)]),
        target,
    ])
}

/// The addresses of IPv4 among these.
pub(super) fn of_v4(addresses: &[IpAddr]) -> Vec<Value> {
    addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(Value::ip4(*address)),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// The ARP of a host: nobody claims its own addresses, and the gateway's only the gateway.
pub(super) fn arp_rules(
    own: &[IpAddr],
    gateway: &[IpAddr],
    link: Option<LinkAddress>,
) -> Vec<Rule> {
    let refuse = || [Statement::Counter, Verdict::Drop.into()];
    let own = of_v4(own);
    let gateway = of_v4(gateway);
    let mut rules = Vec::new();
    if !own.is_empty() {
        let claims = [Statement::is(Field::ArpSourceIp, own)];
        let why = Comment::made("claims an address of this host");
        rules.push(Rule::new(claims.into_iter().chain(refuse())).said(why));
    }
    if let (Some(link), false) = (link, gateway.is_empty()) {
        let claims = [
            Statement::is(Field::ArpSourceIp, gateway),
            Statement::is_not(Field::ArpSourceEther, [Value::Mac(link.bytes())]),
        ];
        let why = Comment::made("claims the gateway's address");
        rules.push(Rule::new(claims.into_iter().chain(refuse())).said(why));
    }
    rules
}

/// A table for ARP with these rules behind its hook.
pub(super) fn arp_table(name: &str, inner: &Ident, rules: Vec<Rule>) -> Table {
    let mut input = base("input", ChainKind::Filter, Hook::Input, 0, End::Accept);
    input.rules.push(Rule::new([goto(inner)]));
    Table {
        family: TableFamily::Arp,
        name: Ident::made(name, ""),
        sets: Vec::new(),
        chains: vec![input, chain(inner.clone(), rules)],
    }
}

/// The rules for frames one way: IP and ARP are judged elsewhere, of the others those that the profile names pass.
pub(super) fn frame_rules(frames: &[(RuleId, Frame)], direction: Direction) -> Vec<Rule> {
    let known = [0x0800_u32, 0x0806, 0x86dd].map(Value::number);
    let mut rules = vec![Rule::new([Statement::is(Field::Protocol, known), accept()])];
    for (id, frame) in frames
        .iter()
        .filter(|(_, frame)| frame.direction == direction)
    {
        let station = match direction {
            Direction::In => Field::EtherSource,
            Direction::Out => Field::EtherDestination,
        };
        let peer = frame
            .peer
            .map(|peer| Statement::is(station, [Value::Mac(peer.bytes())]));
        let kind = Statement::is(Field::EtherType, [Value::number(frame.ethertype.get())]);
        let statements = peer.into_iter().chain([kind, accept()]);
        rules.push(Rule::new(statements).said(Comment::made(&id.to_string())));
    }
    rules.push(Rule::new([Statement::Counter, Verdict::Drop.into()]));
    rules
}

/// The hooks for frames of these interfaces, each with the rules of its way.
pub(super) fn frame_hooks(interfaces: &[InterfaceName], ways: &[(Hook, Vec<Rule>)]) -> Vec<Chain> {
    let mut chains = Vec::new();
    for interface in interfaces {
        for (hook, rules) in ways {
            let ours = match hook {
                Hook::Egress => "egress_",
                _ => "ingress_",
            };
            chains.push(Chain {
                name: Ident::made(ours, interface.as_str()),
                base: Some(Base {
                    kind: ChainKind::Filter,
                    hook: *hook,
                    priority: -300,
                    device: Some(interface.clone()),
                    policy: End::Drop,
                }),
                rules: rules.clone(),
            });
        }
    }
    chains
}

/// `ip saddr != 0.0.0.0 fib saddr type != local`, and the same for IPv6: a sender that is not this host.
pub(super) fn foreign_sources(spoofed: &Ident) -> Vec<Rule> {
    let local = || Statement::is_not(Field::SourceType, [Value::number(2_u32)]);
    [Family::Ipv4, Family::Ipv6]
        .map(|family| {
            let some = match family {
                Family::Ipv4 => {
                    let none = Value::ip4(core::net::Ipv4Addr::UNSPECIFIED);
                    Statement::is_not(Field::Ip4Source, [none])
                }
                Family::Ipv6 => {
                    let none = Value::ip6(core::net::Ipv6Addr::UNSPECIFIED);
                    Statement::is_not(Field::Ip6Source, [none])
                }
            };
            Rule::new([some, local(), goto(spoofed)])
        })
        .into()
}
