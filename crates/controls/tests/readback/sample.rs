//! A ruleset with something of everything that we can write.

use stockade_controls::firewall::nft::{
    Base, CgroupPath, Chain, ChainKind, Comment, Element, Family, Field, Hook, Ident, Kind, Limit,
    MapSource, Match, Policy, Rule, Ruleset, Set, Statement, States, Table, To, Unit, Value,
    Verdict,
};

pub(crate) fn ident(name: &str) -> Ident {
    Ident::new(name).expect("a name")
}

pub(crate) fn ip4(text: &str) -> Value {
    Value::ip4(text.parse().expect("an address"))
}

fn ip6(text: &str) -> Value {
    Value::ip6(text.parse().expect("an address"))
}

fn number(number: u32) -> Value {
    Value::number(number)
}

pub(crate) fn set(name: &str, key: &[Kind], elements: Vec<Element>) -> Set {
    Set {
        name: ident(name),
        key: key.to_vec(),
        map: elements.iter().any(|element| element.verdict.is_some()),
        interval: false,
        dynamic: false,
        timeout: false,
        default_timeout: None,
        size: None,
        elements,
    }
}

pub(crate) fn element(key: Vec<Value>) -> Element {
    Element {
        key,
        timeout: None,
        verdict: None,
    }
}

fn to(key: Vec<Value>, verdict: Verdict) -> Element {
    Element {
        verdict: Some(verdict),
        ..element(key)
    }
}

pub(crate) fn chain(name: &str, base: Option<Base>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: ident(name),
        base,
        rules,
    }
}

pub(crate) fn base(kind: ChainKind, hook: Hook, priority: i32, policy: Policy) -> Base {
    Base {
        kind,
        hook,
        priority,
        device: None,
        policy,
    }
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn sets() -> Vec<Set> {
    let range = |from: &str, last: &str| match (ip4(from), ip4(last)) {
        (Value::Ip4(from, _), Value::Ip4(last, _)) => Value::Ip4(from, last),
        _ => unreachable!("both are IPv4"),
    };
    vec![
        Set {
            interval: true,
            ..set(
                "nets",
                &[Kind::Ip4],
                vec![
                    element(vec![ip4("1.2.3.4")]),
                    element(vec![range("10.0.0.0", "10.255.255.255")]),
                    element(vec![range("192.168.1.5", "192.168.1.9")]),
                ],
            )
        },
        Set {
            interval: true,
            ..set(
                "flows",
                &[Kind::Ip4, Kind::Protocol, Kind::Port],
                vec![
                    element(vec![
                        range("10.0.0.0", "10.255.255.255"),
                        number(6),
                        Value::Number(80, 90),
                    ]),
                    element(vec![ip4("1.2.3.4"), number(17), number(53)]),
                ],
            )
        },
        Set {
            dynamic: true,
            timeout: true,
            default_timeout: Some(60),
            size: Some(4096),
            ..set("noisy", &[Kind::Ip6], Vec::new())
        },
        Set {
            timeout: true,
            ..set(
                "trial",
                &[Kind::EtherType],
                vec![
                    Element {
                        timeout: Some(600),
                        ..element(vec![number(0x0800)])
                    },
                    Element {
                        timeout: Some(600),
                        ..element(vec![number(0x86dd)])
                    },
                ],
            )
        },
        set(
            "from",
            &[Kind::Mac, Kind::Ip4],
            vec![to(
                vec![Value::Mac([2, 0, 0, 0, 0, 1]), ip4("10.0.0.2")],
                Verdict::Goto(ident("model")),
            )],
        ),
        set(
            "ports",
            &[Kind::Interface],
            vec![element(vec![Value::Interface(
                "lan".parse().expect("a name"),
            )])],
        ),
        set(
            "kinds",
            &[Kind::IcmpType],
            vec![
                element(vec![number(3)]),
                element(vec![number(8)]),
                element(vec![number(42)]),
            ],
        ),
    ]
}

/// One condition for each field, with a value of its kind.
fn fields() -> Vec<Rule> {
    let accept = || Statement::Verdict(Verdict::Accept);
    let one = |field: Field, value: Value| Rule::new([Statement::is(field, [value]), accept()]);
    let lan = || Value::Interface("lan".parse().expect("a name"));
    let mac = || Value::Mac([2, 0, 0, 0, 0, 1]);
    vec![
        one(Field::NfProto, number(2)),
        one(Field::Protocol, number(0x86dd)),
        one(Field::L4Proto, number(132)),
        one(Field::InputInterface, lan()),
        one(Field::Mark, number(0x5354_4b44)),
        one(Field::PacketType, number(1)),
        one(Field::EtherSource, mac()),
        one(Field::EtherDestination, mac()),
        one(Field::Ip4Source, ip4("10.0.0.1")),
        one(Field::Ip4Destination, ip4("10.0.0.1")),
        one(Field::Ip6Source, ip6("2001:db8::1")),
        one(Field::Ip6Destination, ip6("2001:db8::1")),
        one(Field::HopLimit, number(255)),
        one(Field::TcpSource, Value::Number(1024, 65535)),
        one(Field::TcpDestination, number(443)),
        one(Field::UdpSource, number(53)),
        one(Field::UdpDestination, number(53)),
        one(Field::IcmpType, number(8)),
        Rule::new([
            Statement::is(Field::IcmpType, [number(3)]),
            Statement::is(Field::IcmpCode, [number(4)]),
            accept(),
        ]),
        one(Field::Icmp6Type, number(128)),
        one(Field::NdTarget, ip6("fe80::1")),
        one(Field::NdTarget, ip6("::1")),
        Rule::new([
            Statement::is(Field::Icmp6Type, [number(1)]),
            Statement::is(Field::Icmp6Code, [number(4)]),
            accept(),
        ]),
        one(Field::CtDirection, number(1)),
        one(Field::SourceType, number(2)),
        Rule::new([
            Statement::is(Field::DestinationType, [number(3), number(5)]),
            accept(),
        ]),
        Rule::new([
            Statement::state(States::ESTABLISHED.or(States::RELATED)),
            accept(),
        ]),
        Rule::new([Statement::exists(Field::CtDnat), accept()]),
        Rule::new([Statement::missing(Field::CtDnat), accept()]),
        Rule::new([Statement::missing(Field::ReversePath), accept()]),
        Rule::new([Statement::exists(Field::ReversePath), accept()]),
        Rule::new([Statement::exists(Field::LooseSourceRoute), accept()]),
        Rule::new([Statement::exists(Field::StrictSourceRoute), accept()]),
        Rule::new([Statement::exists(Field::RoutingHeader), accept()]),
    ]
}

fn statements() -> Vec<Rule> {
    let limit = Limit {
        rate: 20,
        per: Unit::Minute,
        burst: 7,
    };
    let transport = || vec![Field::L4Proto, Field::TransportDestination];
    vec![
        Rule::new([
            Statement::is_not(Field::TcpDestination, [number(0)]),
            Statement::Counter,
            Statement::Verdict(Verdict::Drop),
        ]),
        Rule::new([
            Statement::is_not(Field::Ip4Source, [ip4("1.1.1.1"), ip4("2.2.2.2")]),
            Statement::Verdict(Verdict::Return),
        ]),
        Rule::new([
            Statement::in_set(
                vec![
                    Field::Ip4Destination,
                    Field::L4Proto,
                    Field::TransportDestination,
                ],
                ident("flows"),
            ),
            Statement::Verdict(Verdict::Accept),
        ])
        .said(Comment::new("out-1: may ask").expect("a comment")),
        Rule::new([Statement::Map {
            key: transport(),
            map: MapSource::Anonymous(vec![
                (vec![number(6), number(80)], Verdict::Accept),
                (vec![number(6), Value::Number(90, 99)], Verdict::Drop),
                (vec![number(17), number(53)], Verdict::Jump(ident("model"))),
            ]),
        }]),
        Rule::new([Statement::Map {
            key: vec![Field::CtState],
            map: MapSource::Anonymous(vec![
                (vec![Value::States(States::INVALID)], Verdict::Drop),
                (vec![Value::States(States::ESTABLISHED)], Verdict::Accept),
                (
                    vec![Value::States(States::RELATED)],
                    Verdict::Goto(ident("model")),
                ),
            ]),
        }]),
        Rule::new([Statement::Map {
            key: vec![Field::EtherSource, Field::Ip4Source],
            map: MapSource::Named(ident("from")),
        }]),
        Rule::new([Statement::Match(Match {
            key: transport(),
            negated: false,
            to: To::Anonymous(vec![
                vec![number(6), number(1)],
                vec![number(17), Value::Number(2, 3)],
            ]),
        })]),
        Rule::new([
            Statement::Limit(limit),
            Statement::Log {
                group: 53,
                prefix: Comment::new("stk:in").expect("a prefix"),
                snaplen: 96,
            },
        ]),
        Rule::new([
            Statement::Meter {
                set: ident("noisy"),
                key: vec![Field::Ip6Source],
                limit,
            },
            Statement::Verdict(Verdict::Accept),
        ]),
        Rule::new([Statement::Update {
            set: ident("noisy"),
            key: vec![Field::Ip6Source],
        }]),
    ]
}

/// All of it.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(crate) fn ruleset() -> Ruleset {
    let model = chain(
        "model",
        None,
        vec![Rule::new([Statement::Verdict(Verdict::Return)])],
    );
    let mut rules = fields();
    rules.extend(statements());
    let input = chain(
        "input",
        Some(base(ChainKind::Filter, Hook::Input, -5, Policy::Drop)),
        rules,
    );
    let cgroup = CgroupPath::new("stk/camera").expect("a path");
    let output = vec![
        Rule::new([
            Statement::is(
                Field::OutputInterface,
                [Value::Interface("wan".parse().expect("a name"))],
            ),
            Statement::Verdict(Verdict::Jump(ident("model"))),
        ]),
        Rule::new([
            Statement::is(Field::SocketUser, [number(0), number(65534)]),
            Statement::Verdict(Verdict::Accept),
        ]),
        Rule::new([
            Statement::Match(Match {
                key: vec![Field::SocketCgroup(2)],
                negated: false,
                to: To::Cgroup(cgroup),
            }),
            Statement::Verdict(Verdict::Accept),
        ]),
    ];
    let output = chain(
        "output",
        Some(base(ChainKind::Filter, Hook::Output, 0, Policy::Accept)),
        output,
    );
    let redirect = Rule::new([
        Statement::is_not(Field::Mark, [number(1)]),
        Statement::is(Field::UdpDestination, [number(53)]),
        Statement::Redirect { port: 5353 },
    ]);
    let nat = chain(
        "names",
        Some(base(ChainKind::Nat, Hook::Output, -100, Policy::Accept)),
        vec![redirect],
    );
    let arp = Rule::new([
        Statement::is(Field::ArpOperation, [number(2)]),
        Statement::is(Field::ArpSourceIp, [ip4("10.0.0.1")]),
        Statement::is_not(Field::ArpSourceEther, [Value::Mac([2, 0, 0, 0, 0, 1])]),
        Statement::Verdict(Verdict::Drop),
    ]);
    let arp = chain(
        "input",
        Some(base(ChainKind::Filter, Hook::Input, 0, Policy::Accept)),
        vec![arp],
    );
    let frames = Rule::new([
        Statement::is(
            Field::EtherType,
            [number(0x0800), number(0x0806), number(0x888e)],
        ),
        Statement::Verdict(Verdict::Accept),
    ]);
    let ingress = Base {
        device: Some("lan".parse().expect("a name")),
        ..base(ChainKind::Filter, Hook::Ingress, 0, Policy::Drop)
    };
    let table = |family, sets, chains| Table {
        family,
        name: ident("stockade"),
        sets,
        chains,
    };
    Ruleset {
        tables: vec![
            table(Family::Inet, sets(), vec![model, input, output, nat]),
            table(Family::Arp, Vec::new(), vec![arp]),
            table(
                Family::Netdev,
                Vec::new(),
                vec![chain("ingress", Some(ingress), vec![frames])],
            ),
        ],
    }
}
