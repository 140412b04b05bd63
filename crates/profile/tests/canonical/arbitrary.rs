//! Any sound profile.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use crate::firewall::{
    any_of, distinct, endpoints, firewall, port_ranges, rates, set, system_names, texts,
};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use stockade_profile::mud::{Mud, TlsRule};
use stockade_profile::{
    Alphabet, Boot, Budget, Category, Class, Comms, Contribution, Credentials, DataSetUse,
    Debounce, Decimal, Demand, Device, Direction, Distance, Field, FieldRole, Front,
    Generalisation, Health, Hierarchy, KeyStore, Level, Mac, MacSystem, Mapping, Peer, Percent,
    Permission, Ports, Privileges, Profile, Programs, Protocol, Protocols, Publish, PurposeName,
    Radio, Range, ReleaseGoal, Response, Schema, SchemaName, Scope, Slots, Ssh, Subscribe, Switch,
    SwitchName, Tamper, TamperInput, TlsVersion, TopicTemplate, Transport, Treatment, Updates,
    Upnp, Usb, UsbMode, UsbRule,
};

fn identifiers<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    texts("[a-z0-9][a-z0-9._-]{0,8}")
}

fn labels<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    texts("[a-zA-Zäß☃][a-zA-Z ä☃.]{0,8}[a-z]")
}

fn durations(bounds: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    bounds.prop_map(Duration::from_secs)
}

fn device() -> impl Strategy<Value = Device> {
    (
        labels(),
        identifiers(),
        1_u64..9_007_199_254_740_991,
        any_of(Class::ALL),
    )
        .prop_map(|(manufacturer, model, version, class)| Device {
            manufacturer,
            model,
            version,
            class,
        })
}

fn publish(schemas: Vec<SchemaName>) -> impl Strategy<Value = Publish> {
    let schema = match schemas.as_slice() {
        [] => Just(None).boxed(),
        _ => option::of(select(schemas)).boxed(),
    };
    (
        texts::<TopicTemplate>("[a-z]{1,4}/(\\$\\{device\\}|[a-zä]{0,3})(/x)?"),
        1_u32..16_777_216,
        option::of(rates()),
        schema,
    )
        .prop_map(|(topic, max_bytes, rate, schema)| Publish {
            topic,
            max_bytes,
            rate,
            schema,
        })
}

fn comms(schemas: Vec<SchemaName>) -> impl Strategy<Value = Comms> {
    let subscribe =
        texts::<TopicTemplate>("[a-z]{1,4}(/\\+|/[a-z]{1,3}|/\\$\\{device\\}){0,3}(/#)?");
    let peer =
        (identifiers(), set(identifiers()), identifiers()).prop_map(|(model, mut scope, one)| {
            if scope.is_empty() {
                scope.push(one);
            }
            Peer { model, scope }
        });
    (
        any_of(KeyStore::ALL),
        durations(3_600..=90 * 86_400),
        distinct(publish(schemas), |rule| rule.topic.clone()),
        set(subscribe.prop_map(|topic| Subscribe { topic })),
        distinct(peer, |peer| peer.model.clone()),
    )
        .prop_map(|(key, certificate_life, publish, subscribe, peers)| Comms {
            key,
            certificate_life,
            publish,
            subscribe,
            peers,
        })
}

fn protocols() -> impl Strategy<Value = Protocols> {
    use TlsVersion::{V1_2, V1_3};
    let tls = select(vec![vec![V1_3], vec![V1_2, V1_3], vec![V1_3, V1_2]]);
    let to = texts("(127\\.0\\.0\\.[1-9]|\\[::1\\]):[1-9][0-9]{0,3}");
    let front = (1_u16.., to).prop_map(|(listen, to)| Front {
        listen: listen.try_into().unwrap(),
        to,
    });
    (tls, distinct(front, |front| front.listen)).prop_map(|(tls, fronts)| Protocols { tls, fronts })
}

fn upnp() -> impl Strategy<Value = Upnp> {
    let mapping = (any_of(Transport::ALL), port_ranges(), 1_u16..).prop_map(
        |(protocol, external_ports, internal)| Mapping {
            protocol,
            external_ports,
            internal_port: internal.try_into().unwrap(),
        },
    );
    (
        any::<bool>(),
        durations(60..=86_400),
        any::<bool>(),
        set(mapping),
    )
        .prop_map(|(allow_enable, limit, limited, mappings)| Upnp {
            allow_enable,
            max_duration: (allow_enable || limited).then_some(limit),
            mappings,
        })
}

fn mud() -> impl Strategy<Value = Mud> {
    let told = (
        option::of(texts("https://[a-z]{1,3}\\.example/[a-z]{1,3}")),
        option::of(texts(
            "20[0-9]{2}-0[1-9]-1[0-9]T1[0-9]:[0-5][0-9]:00(Z|[+-]0[0-9]:[0-5]0|\\.[0-9]{1,3}Z)",
        )),
        1_u8..=168,
        any::<bool>(),
        option::of(labels()),
        option::of(texts("https?://[a-z]{1,3}\\.example/[a-z]{1,3}\\?x=[0-9]")),
    );
    let tls = (
        any_of(Direction::ALL),
        endpoints(),
        any_of(&[Protocol::Tcp, Protocol::Udp]),
        option::of(port_ranges()),
        texts("\\{\"[a-z]{1,3}\": ?\\[[1-9],\"[a-z'ä]\",true,null,\\{\\}\\]\\}"),
    )
        .prop_map(|(direction, peer, protocol, port, profiles)| TlsRule {
            direction,
            peer,
            protocol,
            port,
            profiles,
        });
    let key = |rule: &TlsRule| {
        let TlsRule {
            direction,
            peer,
            protocol,
            port,
            ..
        } = rule;
        (*direction, peer.clone(), *protocol, *port)
    };
    (told, set(labels()), any::<bool>(), distinct(tls, key)).prop_map(
        |(
            (url, last_update, cache_validity, is_supported, line, documentation),
            extensions,
            tls_profiles,
            tls,
        )| Mud {
            url,
            last_update,
            cache_validity,
            is_supported,
            systeminfo: line.clone(),
            mfg_name: line.clone(),
            model_name: None,
            firmware_rev: line.clone(),
            software_rev: line,
            documentation,
            extensions,
            tls_profiles,
            tls,
        },
    )
}

fn boot() -> impl Strategy<Value = Boot> {
    let demand = || option::of(any_of(Demand::ALL));
    let kernel = (demand(), demand(), demand());
    (demand(), any::<u32>(), demand(), kernel).prop_map(|(secure_boot, bits, verity, kernel)| {
        Boot {
            secure_boot,
            measured: (0_u8..24).filter(|pcr| bits >> pcr & 1 == 1).collect(),
            verity,
            lockdown: kernel.0,
            module_signatures: kernel.1,
            bootloader_locked: kernel.2,
        }
    })
}

fn inside() -> impl Strategy<Value = (Credentials, Privileges, Programs, Option<Mac>)> {
    let credentials =
        (set(system_names()), any_of(Ssh::ALL)).prop_map(|(password_logins, ssh)| Credentials {
            password_logins,
            ssh,
        });
    let privileges = (
        set(system_names()),
        set(texts("/[a-z]{1,5}(/[a-zA-Z.-]{3,8})?")),
    )
        .prop_map(|(root_services, setuid)| Privileges {
            root_services,
            setuid,
        });
    let programs = (set(system_names()), set(system_names()))
        .prop_map(|(packages, services)| Programs { packages, services });
    let mac = (
        any_of(MacSystem::ALL),
        system_names(),
        durations(10..=2_592_000),
    )
        .prop_map(|(system, service, learn)| Mac {
            system,
            confine: vec![service],
            learn,
        });
    (credentials, privileges, programs, option::of(mac))
}

fn updates() -> impl Strategy<Value = Option<Updates>> {
    let times = || durations(3_600..=366 * 86_400);
    let source = texts("https://[a-z]{1,5}\\.example(:[1-9][0-9]{0,3})?(/[a-z~%0-9.-]{0,5}){0,2}");
    let slots = prop_oneof![
        Just(Slots::Rauc),
        (texts("/dev/[a-m]{1,5}"), texts("/dev/[n-z]{1,5}"))
            .prop_map(|(a, b)| Slots::UbootEnv { a, b }),
    ];
    let health = (
        set(identifiers()),
        set(any::<NonZeroU16>()),
        any::<bool>(),
        durations(10..=3_600),
    );
    let health = health.prop_map(|(services, tcp, gateway, within)| Health {
        services,
        tcp,
        gateway,
        within,
    });
    let updates = (source, times(), times(), option::of(slots), health);
    let updates = updates.prop_map(
        |(source, max_age, security_within, slots, health)| Updates {
            source,
            max_age,
            security_within,
            slots,
            health,
        },
    );
    option::of(updates)
}

fn ports() -> impl Strategy<Value = Ports> {
    let rule = (
        option::of(any::<(u16, u16)>()),
        option::of(any::<u8>()),
        option::of(texts("[!-~]{1,12}")),
        option::of(texts("[1-9]-[1-9](\\.[1-9][0-9]?){0,5}")),
    );
    let usb = rule.prop_filter_map("no word", |(product, class, serial, port)| {
        let rule = UsbRule {
            product,
            class,
            serial,
            port,
        };
        (rule != UsbRule::default()).then_some(rule)
    });
    (
        (any_of(Permission::ALL), set(usb), any_of(UsbMode::ALL)).prop_map(
            |(default, allow, mode)| Usb {
                default,
                allow,
                mode,
            },
        ),
        any_of(Switch::ALL),
        any_of(Switch::ALL),
        any_of(Permission::ALL),
        set(texts("[a-z]{1,8}[0-9]")),
        set(any_of(Radio::ALL)),
    )
        .prop_map(
            |(usb, serial_console, debug, storage, network, radios)| Ports {
                usb,
                serial_console,
                debug,
                storage,
                network,
                radios,
            },
        )
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let input = prop_oneof![
        Just(TamperInput::Chassis),
        (system_names(), any_of(Level::ALL))
            .prop_map(|(line, active)| TamperInput::Gpio { line, active }),
        (any_of(SwitchName::ALL), any_of(Level::ALL))
            .prop_map(|(name, active)| TamperInput::Switch { name, active }),
    ];
    let inputs = set(input).prop_map(|mut inputs| {
        let mut seen = std::collections::BTreeSet::new();
        inputs.retain(|input| seen.insert(input.to_string()));
        inputs
    });
    (
        inputs,
        set(any_of(Response::ALL)),
        (1_u16..=10_000).prop_map(|millis| Debounce::from_millis(millis).unwrap()),
        any::<bool>(),
    )
        .prop_map(
            |(inputs, response, debounce, erase_with_one_input)| Tamper {
                inputs,
                response,
                debounce,
                erase_with_one_input,
            },
        )
}

fn decimals(range: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = Decimal> {
    range.prop_map(|millionths| {
        let sign = if millionths < 0 { "-" } else { "" };
        let plain = millionths.unsigned_abs();
        let text = format!("{sign}{}.{:06}", plain / 1_000_000, plain % 1_000_000);
        text.parse().unwrap()
    })
}

fn treatments() -> impl Strategy<Value = Treatment> {
    let to = prop_oneof![
        durations(1..=86_400 * 366).prop_map(Generalisation::Duration),
        (1_u32..=20_000_000)
            .prop_map(|metres| Generalisation::Distance(Distance::from_metres(metres).unwrap())),
        texts("[1-9][0-9]{0,5}(\\.[0-9]{1,6})?|0\\.[0-9]{0,5}[1-9]"),
    ];
    let steps = texts("[1-9][0-9]{0,5}(\\.[0-9]{1,6})?").prop_map(|to| match to {
        Generalisation::Step(step) => step,
        other => unreachable!("{other:?} is no step"),
    });
    let lasting = [
        Scope::Device,
        Scope::Dataset,
        Scope::Model,
        Scope::Fleet,
        Scope::Purpose,
    ];
    prop_oneof![
        Just(Treatment::Keep),
        Just(Treatment::Drop),
        to.prop_map(|to| Treatment::Generalise { to }),
        select(lasting.to_vec()).prop_map(|scope| Treatment::Pseudonym {
            scope,
            window: None
        }),
        durations(1..=86_400 * 366).prop_map(|window| Treatment::Pseudonym {
            scope: Scope::Window,
            window: Some(window)
        }),
        any_of(Alphabet::ALL).prop_map(|alphabet| Treatment::FormatPreserving { alphabet }),
        Just(Treatment::Token),
        (steps, decimals(1..=100_000_000))
            .prop_map(|(to, epsilon)| Treatment::Noise { to, epsilon }),
        identifiers().prop_map(|reader| Treatment::Seal {
            readers: vec![reader]
        }),
    ]
}

fn hierarchies() -> impl Strategy<Value = Hierarchy> {
    // The second level hangs on the first, so that what is joined stays joined.
    btree_map(texts::<Category>("[a-z]{0,6}[0-9]"), 0_u8..4, 1..5).prop_map(|rows| {
        let rows = rows.into_iter().map(|(value, group)| {
            let levels = [
                format!("group {group}"),
                format!("half {}", group / 2),
                "all".into(),
            ];
            (value, levels.map(|level| level.parse().unwrap()).to_vec())
        });
        Hierarchy::new(rows).unwrap()
    })
}

fn fields() -> impl Strategy<Value = Field> {
    let plain = (
        treatments(),
        option::of(any_of(FieldRole::ALL)),
        (
            decimals(-1_000_000_000..=0),
            decimals(1..=1_000_000_000_000),
        ),
        any::<bool>(),
        option::of(hierarchies()),
    );
    plain.prop_map(|(treatment, role, (min, max), ranged, hierarchy)| {
        let of_numbers = !matches!(
            treatment,
            Treatment::Generalise {
                to: Generalisation::Duration(_) | Generalisation::Distance(_)
            }
        );
        let needed = matches!(treatment, Treatment::Noise { .. });
        let treatment = match (&hierarchy, treatment) {
            (Some(_), Treatment::Keep) => Treatment::Generalise {
                to: Generalisation::Level(3),
            },
            (_, treatment) => treatment,
        };
        Field {
            treatment,
            role,
            range: (needed || ranged && of_numbers).then_some(Range { min, max }),
            hierarchy,
        }
    })
}

fn usages() -> impl Strategy<Value = DataSetUse> {
    let release = (
        1_u32..100,
        0_u32..10,
        decimals(0..=1_000_000),
        0_u8..=100,
        durations(1..=86_400),
    )
        .prop_map(|(k, l, t, suppress, delay)| ReleaseGoal {
            k,
            l,
            t,
            suppress: Percent::new(suppress).unwrap(),
            delay,
        });
    let contribution = (durations(1..=86_400), 1_u32..=1_000_000)
        .prop_map(|(per, records)| Contribution { per, records });
    let budget = (decimals(1..=1_000_000_000), durations(1..=86_400 * 366))
        .prop_map(|(epsilon, per)| Budget { epsilon, per });
    (
        set(identifiers::<PurposeName>()),
        option::of(durations(1..=86_400 * 366)),
        option::of(contribution),
        option::of(release),
        option::of(budget),
    )
        .prop_map(
            |(purposes, retention, contribution, release, budget)| DataSetUse {
                purposes,
                retention,
                contribution,
                release,
                budget,
            },
        )
}

fn data() -> impl Strategy<Value = BTreeMap<SchemaName, (Schema, Option<DataSetUse>)>> {
    let schema = btree_map(labels(), fields(), 0..4);
    btree_map(identifiers(), (schema, option::of(usages())), 0..3)
}

/// Any sound profile.
pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    data().prop_flat_map(|data| {
        let schemas: Vec<SchemaName> = data.keys().cloned().collect();
        let network = (
            comms(schemas),
            protocols(),
            upnp(),
            firewall(),
            option::of(mud()),
        );
        (
            device(),
            network,
            boot(),
            inside(),
            updates(),
            ports(),
            tamper(),
        )
            .prop_map(
                move |(device, network, boot, inside, updates, ports, tamper)| {
                    let (comms, protocols, upnp, firewall, mud) = network;
                    let (credentials, privileges, programs, mac) = inside;
                    let of = |it: &(Schema, Option<DataSetUse>)| it.clone();
                    let vault = data
                        .iter()
                        .filter_map(|(name, it)| Some((name.clone(), of(it).1?)));
                    let schemas = data.iter().map(|(name, it)| (name.clone(), of(it).0));
                    Profile {
                        device,
                        comms,
                        protocols,
                        upnp,
                        firewall,
                        mud,
                        boot,
                        credentials,
                        privileges,
                        programs,
                        updates,
                        mac,
                        ports,
                        tamper,
                        data: schemas.collect(),
                        vault: vault.collect(),
                    }
                },
            )
    })
}
