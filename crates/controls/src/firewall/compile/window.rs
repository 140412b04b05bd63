//! The rules of `UPnP` while its owner has it on, and those that keep plain services behind their TLS fronts.

use stockade_profile::{Family, Protocol, Transport};

use super::super::decide::{ERRORS4, SSDP, SSDP_GROUP, UPNP};
use super::super::nft::{
    Chain, Comment, Field, Ident, Limit, Rule, Statement, States, Unit, Value,
};
use super::super::policy::{Fronted, Window};
use super::line::spans;
use super::{accept, chain, goto};

/// Questions to the daemon: more are a flood.
const ASKED: Limit = Limit {
    rate: 20,
    per: Unit::Second,
    burst: 40,
};

/// From elsewhere nobody reaches what stands behind a TLS front.
pub(super) fn fronts_in(fronted: &Fronted, refused: &Ident) -> Option<Rule> {
    let to = tcp(fronted.inward.iter().copied())?;
    Some(Rule::new([to, goto(refused)]).said(Comment::made("behind its TLS front")))
}

/// On this host the agent alone does.
pub(super) fn fronts_here(fronted: &Fronted, refused: &Ident) -> Option<Rule> {
    let (ports, agent) = fronted.local.as_ref()?;
    let here = Statement::is(Field::DestinationType, [Value::number(2_u32)]);
    let others = Statement::is_not(Field::SocketUser, [Value::number(*agent)]);
    let rule = Rule::new([here, tcp(ports.iter().copied())?, others, goto(refused)]);
    Some(rule.said(Comment::made("behind its TLS front")))
}

/// What comes in: questions to the daemon, and to whom groups are brought.
pub(super) fn input(window: &Window) -> Vec<Rule> {
    let asked = |field, port: u16| {
        vec![
            Statement::is(field, [Value::number(port)]),
            Statement::Limit(ASKED),
        ]
    };
    let questions = [
        asked(Field::UdpDestination, SSDP),
        asked(Field::TcpDestination, window.place.control),
        vec![igmp()],
    ];
    let near = [
        by(Field::InputInterface, window.place.lan.clone()),
        lan(window, Field::Ip4Source),
    ];
    let rules = questions.into_iter().map(|question| {
        let statements = near.iter().cloned().chain(question);
        ours(statements.chain([accept()]))
    });
    rules.collect()
}

/// What goes out of this host's own: joining the group of SSDP.
pub(super) fn output(window: &Window) -> Rule {
    let groups = Value::Ip4([224, 0, 0, 0].into(), [239, 255, 255, 255].into());
    ours([
        by(Field::OutputInterface, window.place.lan.clone()),
        Statement::is(Field::Ip4Destination, [groups]),
        igmp(),
        accept(),
    ])
}

/// Whatever the daemon sends, and nothing else.
pub(super) fn to_daemon(window: &Window, name: &Ident) -> Rule {
    let user = Statement::is(Field::SocketUser, [Value::number(window.place.user)]);
    Rule::new([user, goto(name)])
}

/// What the daemon may send.
pub(super) fn daemon(window: &Window, name: Ident, refused: &Ident) -> Chain {
    let new = || Statement::state(States::NEW);
    let exit = || by(Field::OutputInterface, window.place.lan.clone());
    let port = || [Value::number(SSDP)];
    let rules = vec![
        Rule::new([Statement::state(States::ESTABLISHED), accept()]),
        ours([
            new(),
            exit(),
            lan(window, Field::Ip4Destination),
            Statement::is(Field::UdpSource, port()),
            accept(),
        ]),
        ours([
            new(),
            exit(),
            Statement::is(Field::Ip4Destination, [Value::ip4(SSDP_GROUP)]),
            Statement::is(Field::UdpDestination, port()),
            accept(),
        ]),
        Rule::new([goto(refused)]),
    ];
    chain(name, rules)
}

/// What passes through: flows that came in by a mapping of the profile, and what is said about them.
pub(super) fn forward(window: &Window) -> Vec<Rule> {
    let mapped = || Statement::exists(Field::CtDnat);
    let (inner, outer) = (&window.place.lan, &window.place.outside);
    let way = |from: &_, to: &_| {
        [
            by(Field::InputInterface, Clone::clone(from)),
            by(Field::OutputInterface, Clone::clone(to)),
            mapped(),
        ]
    };
    let mut rules = Vec::new();
    for (transport, to, from) in [
        (Transport::Tcp, Field::TcpDestination, Field::TcpSource),
        (Transport::Udp, Field::UdpDestination, Field::UdpSource),
    ] {
        let ports = window.ports(transport);
        let ports = || ports.iter().copied().map(Value::number);
        if ports().next().is_none() {
            continue;
        }
        let states = States::NEW.or(States::ESTABLISHED);
        rules.push(ours(way(outer, inner).into_iter().chain([
            Statement::state(states),
            lan(window, Field::Ip4Destination),
            Statement::is(to, ports()),
            accept(),
        ])));
        rules.push(ours(way(inner, outer).into_iter().chain([
            Statement::state(States::ESTABLISHED),
            lan(window, Field::Ip4Source),
            Statement::is(from, ports()),
            accept(),
        ])));
    }
    for way in [way(outer, inner), way(inner, outer)] {
        let errors = ERRORS4.iter().map(|kind| Value::number(*kind));
        rules.push(ours(way.into_iter().chain([
            Statement::state(States::RELATED),
            Statement::is(Field::IcmpType, errors),
            accept(),
        ])));
    }
    rules
}

fn ours(statements: impl IntoIterator<Item = Statement>) -> Rule {
    Rule::new(statements).said(Comment::made(&UPNP.to_string()))
}

fn by(field: Field, interface: stockade_profile::InterfaceName) -> Statement {
    Statement::is(field, [Value::Interface(interface)])
}

fn lan(window: &Window, field: Field) -> Statement {
    Statement::is(field, spans(&window.place.networks, Family::Ipv4))
}

fn igmp() -> Statement {
    Statement::is(Field::L4Proto, Protocol::Igmp.number().map(Value::number))
}

fn tcp(ports: impl Iterator<Item = u16>) -> Option<Statement> {
    let ports: Vec<Value> = ports.map(Value::number).collect();
    (!ports.is_empty()).then(|| Statement::is(Field::TcpDestination, ports))
}
