//! One allowed flow as rules.

use core::net::IpAddr;
use std::collections::BTreeMap;

use stockade_profile::{Direction, Family, Network, PortRange, Protocol, Rate, Traffic};

use super::super::nft::{
    Comment, Field, Ident, Kind, Limit, Match, Rule, Set, Statement, To, Unit, Value, Verdict,
};
use super::super::policy::{Allow, Peer, RuleId};
use super::super::surroundings::Group;
use super::name_set;

/// Where the rules of a policy are written.
pub(super) struct Scope<'s> {
    /// What the names of its chains and sets begin with.
    pub prefix: String,
    /// Whether many devices share the rules, so that each has a rate of its own.
    pub shared: bool,
    /// What becomes of an allowed packet.
    pub verdict: Verdict,
    /// The numbers of the groups' sets.
    pub groups: &'s BTreeMap<Group, usize>,
}

/// Both families, the one that a rule is held to, or the one that its peers have.
const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// The rules that let a flow be opened, and the sets that they need. `ports` says whether the port is still to be asked.
pub(super) fn lines(allow: &Allow, scope: &Scope<'_>, ports: bool) -> (Vec<Rule>, Vec<Set>) {
    let traffic = &allow.traffic;
    let held = |family: &Family| traffic.held_to().is_none_or(|held| held == *family);
    let metered = traffic.rate.is_some() && (scope.shared || allow.direction == Direction::In);
    let mut rules = Vec::new();
    let mut sets = Vec::new();
    // One rule does for both families, if nothing in it is of one family.
    if allow.peer == Peer::Any && traffic.held_to().is_none() && !metered {
        rules.push(line(allow, scope, None, (Vec::new(), ports)));
        return (rules, sets);
    }
    for family in FAMILIES.into_iter().filter(held) {
        let Some(peer) = peer(allow, family, scope) else {
            continue;
        };
        if metered {
            sets.push(meter(allow, family, scope));
        }
        rules.push(line(allow, scope, Some(family), (peer, ports)));
    }
    (rules, sets)
}

fn line(
    allow: &Allow,
    scope: &Scope<'_>,
    family: Option<Family>,
    (peer, ports): (Vec<Statement>, bool),
) -> Rule {
    let traffic = &allow.traffic;
    let mut statements = Vec::new();
    if let Some(service) = &allow.service {
        statements.push(Statement::Match(Match {
            key: vec![Field::SocketCgroup(service.cgroup.level())],
            negated: false,
            to: To::Cgroup(service.cgroup.clone()),
        }));
    }
    if let Some(mark) = allow.mark {
        statements.push(Statement::is(Field::Mark, [Value::number(mark)]));
    }
    let each = traffic.rate.is_some() && (scope.shared || allow.direction == Direction::In);
    let icmp = matches!(traffic.protocol, Protocol::Icmp | Protocol::Icmpv6);
    // An address says its family, and so does a kind of ICMP: nft does not say it twice.
    let implied = !peer.is_empty() || icmp || each;
    if let (Some(family), false) = (family, implied) {
        statements.push(of_family(family));
    }
    statements.extend(peer);
    statements.extend(packet(traffic, ports));
    if allow.on_link {
        statements.push(Statement::is(Field::HopLimit, [Value::number(255_u32)]));
    }
    if let Some(rate) = traffic.rate {
        let limit = bucket(rate);
        statements.push(match family {
            Some(family) if each => Statement::Meter {
                set: meter_name(allow, family, scope),
                key: meter_key(allow, family, scope),
                limit,
            },
            Some(_) | None => Statement::Limit(limit),
        });
    }
    statements.push(scope.verdict.clone().into());
    Rule::new(statements).said(Comment::made(&allow.id.to_string()))
}

/// `meta nfproto`, by the numbers of the kernel.
pub(super) fn of_family(family: Family) -> Statement {
    let number: u32 = match family {
        Family::Ipv4 => 2,
        Family::Ipv6 => 10,
    };
    Statement::is(Field::NfProto, [Value::number(number)])
}

/// The field with the other end's address.
pub(super) fn peer_field(direction: Direction, family: Family) -> Field {
    match (direction, family) {
        (Direction::In, Family::Ipv4) => Field::Ip4Source,
        (Direction::In, Family::Ipv6) => Field::Ip6Source,
        (Direction::Out, Family::Ipv4) => Field::Ip4Destination,
        (Direction::Out, Family::Ipv6) => Field::Ip6Destination,
    }
}

/// The condition on the other end; none if it has no address in this family.
fn peer(allow: &Allow, family: Family, scope: &Scope<'_>) -> Option<Vec<Statement>> {
    let field = peer_field(allow.direction, family);
    match &allow.peer {
        Peer::Any => Some(Vec::new()),
        Peer::Networks(networks) => {
            let values = spans(networks, family);
            if values.iter().any(is_whole) {
                // Every address is the family alone, which the line says where nothing else does.
                return Some(Vec::new());
            }
            (!values.is_empty()).then(|| vec![Statement::is(field, values)])
        }
        Peer::Name(name) => Some(vec![Statement::in_set([field], name_set(name, family))]),
        Peer::Group(group) => {
            let number = scope.groups.get(group)?;
            Some(vec![Statement::in_set([field], group_set(*number, family))])
        }
    }
}

/// Whether it is all addresses of its family.
fn is_whole(value: &Value) -> bool {
    match value {
        Value::Ip4(first, last) => first.to_bits() == 0 && last.to_bits() == u32::MAX,
        Value::Ip6(first, last) => first.to_bits() == 0 && last.to_bits() == u128::MAX,
        Value::Mac(_) | Value::Number(..) | Value::Interface(_) | Value::States(_) => false,
    }
}

/// The set of the addresses of a group's devices.
pub(super) fn group_set(number: usize, family: Family) -> Ident {
    let ours = match family {
        Family::Ipv4 => "group4_",
        Family::Ipv6 => "group6_",
    };
    Ident::made(ours, &number.to_string())
}

/// The networks of a family as ranges of addresses.
pub(super) fn spans(networks: &[Network], family: Family) -> Vec<Value> {
    networks
        .iter()
        .filter_map(|network| match (network.address(), family) {
            (IpAddr::V4(first), Family::Ipv4) => {
                let host = u32::MAX.checked_shr(network.prefix().into());
                let last = first.to_bits() | host.unwrap_or_default();
                Some(Value::Ip4(first, last.into()))
            }
            (IpAddr::V6(first), Family::Ipv6) => {
                let host = u128::MAX.checked_shr(network.prefix().into());
                let last = first.to_bits() | host.unwrap_or_default();
                Some(Value::Ip6(first, last.into()))
            }
            (IpAddr::V4(_), Family::Ipv6) | (IpAddr::V6(_), Family::Ipv4) => None,
        })
        .collect()
}

pub(super) fn port_values(range: PortRange) -> Value {
    Value::Number(range.first().into(), range.last().into())
}

/// The conditions on protocol, ports and kinds of ICMP. The source port first: that is the order in the packet.
fn packet(traffic: &Traffic, ports: bool) -> Vec<Statement> {
    let mut statements = Vec::new();
    let fields = match traffic.protocol {
        Protocol::Tcp => Some((Field::TcpSource, Field::TcpDestination)),
        Protocol::Udp => Some((Field::UdpSource, Field::UdpDestination)),
        Protocol::Icmp
        | Protocol::Icmpv6
        | Protocol::Igmp
        | Protocol::Number(_)
        | Protocol::Any => None,
    };
    if let Some((source, destination)) = fields {
        let source_port = traffic.source_port.map(port_values);
        let port = traffic.port.filter(|_| ports).map(port_values);
        statements.extend(source_port.map(|port| Statement::is(source, [port])));
        statements.extend(port.map(|port| Statement::is(destination, [port])));
        return statements;
    }
    let types = match traffic.protocol {
        Protocol::Icmp => Some((Field::IcmpType, Field::IcmpCode)),
        Protocol::Icmpv6 => Some((Field::Icmp6Type, Field::Icmp6Code)),
        Protocol::Tcp | Protocol::Udp | Protocol::Igmp | Protocol::Number(_) | Protocol::Any => {
            None
        }
    };
    match (types, traffic.icmp) {
        (Some((kind, code)), Some(icmp)) => {
            statements.push(Statement::is(kind, [Value::number(icmp.kind)]));
            statements.extend(icmp.code.map(|it| Statement::is(code, [Value::number(it)])));
        }
        // Every type, because this way of saying it holds to the family too: of `meta nfproto ipv4 meta l4proto icmp` nft
        // lists the second half alone.
        (Some((kind, _)), None) => statements.push(Statement::is(kind, [Value::Number(0, 255)])),
        (None, _) => {
            let number = traffic.protocol.number().map(Value::number);
            statements.extend(number.map(|it| Statement::is(Field::L4Proto, [it])));
        }
    }
    statements
}

/// How many sources a rate remembers at a time; when it is full, those who are new are refused.
const METERED: u32 = 8192;

fn meter(allow: &Allow, family: Family, scope: &Scope<'_>) -> Set {
    let kind = match family {
        Family::Ipv4 => Kind::Ip4,
        Family::Ipv6 => Kind::Ip6,
    };
    let parts = meter_key(allow, family, scope).len();
    Set {
        name: meter_name(allow, family, scope),
        key: vec![kind; parts],
        map: false,
        interval: false,
        dynamic: true,
        timeout: true,
        default_timeout: Some(remembered(allow.traffic.rate)),
        size: Some(METERED),
        elements: Vec::new(),
    }
}

/// How long a bucket is kept: until it would be full again, so that forgetting it gives nothing away; a day at most.
fn remembered(rate: Option<Rate>) -> u32 {
    let seconds = rate.map_or(60, |rate| rate.per.as_secs());
    u32::try_from(seconds.clamp(60, 86_400)).unwrap_or(86_400)
}

fn meter_name(allow: &Allow, family: Family, scope: &Scope<'_>) -> Ident {
    let number = match family {
        Family::Ipv4 => '4',
        Family::Ipv6 => '6',
    };
    let prefix = &scope.prefix;
    let builtin = match allow.direction {
        Direction::In => "",
        Direction::Out => "-out",
    };
    // A builtin rule may be there in both directions.
    let suffix = match allow.id {
        RuleId::Builtin(_) => builtin,
        RuleId::In(_) | RuleId::Out(_) | RuleId::Frame(_) => "",
    };
    Ident::made(
        &format!("{prefix}rate{number}."),
        &format!("{}{suffix}", allow.id),
    )
}

/// Whose rate it is: the other end's on a device; each device's, and each other end's towards it, at the guard.
fn meter_key(allow: &Allow, family: Family, scope: &Scope<'_>) -> Vec<Field> {
    let (source, destination) = match family {
        Family::Ipv4 => (Field::Ip4Source, Field::Ip4Destination),
        Family::Ipv6 => (Field::Ip6Source, Field::Ip6Destination),
    };
    match (allow.direction, scope.shared) {
        (Direction::In, true) => vec![source, destination],
        (Direction::In, false) | (Direction::Out, _) => vec![source],
    }
}

/// The kernel's units, in seconds.
const UNITS: [(Unit, u64); 5] = [
    (Unit::Second, 1),
    (Unit::Minute, 60),
    (Unit::Hour, 3_600),
    (Unit::Day, 86_400),
    (Unit::Week, 604_800),
];

/// The bucket of a rate: as many at once as the rate says, refilled just as fast; where no unit of nft divides it, a little slower.
pub(super) fn bucket(rate: Rate) -> Limit {
    let count = u64::from(rate.count);
    let per = rate.per.as_secs().max(1);
    let whole = UNITS.iter().find(|(_, size)| {
        count
            .checked_mul(*size)
            .is_some_and(|many| many.checked_rem(per) == Some(0))
    });
    let (unit, size) = whole.copied().unwrap_or((Unit::Week, 604_800));
    let many = count.saturating_mul(size).checked_div(per);
    Limit {
        rate: many.unwrap_or_default().max(1),
        per: unit,
        burst: rate.count,
    }
}
