//! What a maker sees of a profile that is wrong.

use stockade_profile::{Fault, Severity, check, parse, render};

/// A sound profile to break; `%` is where the case goes, at the end of the root table or as sections after it.
const SOUND: &str = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 1\nclass = \"linux\"\n";

/// Each fault of the sound profile with these sections, one a line: place, message, help. Line 7 is the case's first.
fn faults(sections: &str) -> String {
    lines(&check(&format!("{SOUND}{sections}")).faults)
}

fn lines(faults: &[Fault]) -> String {
    faults
        .iter()
        .flat_map(|fault| {
            [
                fault.to_string(),
                "
"
                .to_owned(),
            ]
        })
        .collect()
}

fn only(sections: &str, expected: &str) {
    assert_eq!(faults(sections).trim_end(), expected, "{sections}");
}

#[test]
fn a_file_with_many_faults_shows_them_all_at_once() {
    let source = include_str!("data/fifteen.toml");
    let checked = check(source);
    assert!(checked.profile.is_none());
    insta::assert_snapshot!(render(source, "profiles/cam-2.toml", &checked.faults));
}

#[test]
fn faults_come_in_the_order_of_the_text() {
    let faults = parse(include_str!("data/fifteen.toml")).unwrap_err();
    let places: Vec<(usize, usize)> = faults
        .iter()
        .map(|fault| (fault.line, fault.column))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(faults.len() >= 15);
}

#[test]
fn a_sound_profile_has_no_faults() {
    only("", "");
}

#[test]
fn an_empty_text_misses_its_two_keys() {
    let shown = lines(&check("").faults);
    insta::assert_snapshot!(shown, @r#"
    1:1: error: missing key `schema` (for example `schema = 1`)
    1:1: error: missing key `device` (for example `device = { model = "cam-2", ... }`)
    "#);
}

#[test]
fn another_schema_is_refused_alone() {
    let shown = check("schema = 2\nnews = true\n").faults;
    assert_eq!(shown.len(), 1);
    assert_eq!(
        shown[0].to_string(),
        "1:10: error: this reads schema 1, not 2"
    );
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    only(
        "[fierwall]",
        "7:2: error: unknown key `fierwall` (did you mean `firewall`?)",
    );
    only(
        "[ports]\nserial_console = \"off\"",
        "8:1: error: unknown key `serial_console` (did you mean `serial-console`?)",
    );
    only(
        "[tamper]\nzzz = 1",
        "8:1: error: unknown key `zzz` (known here: `inputs`, `response`, `debounce`, `erase-with-one-input`)",
    );
}

#[test]
fn a_mistyped_required_key_is_not_reported_as_missing_too() {
    only(
        "[[firewall.out]]\ntoo = \"gateway\"\nprotocol = \"tcp\"\nport = 1",
        "8:1: error: unknown key `too` (did you mean `to`?)",
    );
    only(
        "[[comms.publish]]\ntopic = \"a\"\nmax-bytes = 1\nschema = \"x\"\n[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 1\n[data.x]\nplace = { ues = \"keep\" }",
        "16:11: error: unknown key `ues` (did you mean `use`?)",
    );
}

#[test]
fn a_wrong_type_says_which_one_is_wanted() {
    insta::assert_snapshot!(
        faults("[comms]\nkey = 1\npublish = \"x\"\n[upnp]\nallow-enable = \"true\"\n[ports]\nusb = [1]\n[boot]\nmeasured = \"0-7\"\n[firewall]\nin = { port = 1 }\n[credentials]\nssh = 1.5\npassword-logins = [1979-05-27]"),
        @r#"
    8:7: error: this must be text, not a whole number (in quotes: "1")
    9:11: error: this must be a list, not text (in brackets: [...])
    11:16: error: this must be true or false, not text (without quotes: true)
    13:7: error: this must be a table, not a list (in single brackets: [...])
    15:12: error: this must be a list, not text (in brackets: [...])
    17:6: error: this must be a list, not a table (in double brackets: [[...]])
    19:7: error: this must be text, not a number with a fraction
    20:20: error: this must be text, not a date or a time
    "#);
}

/// A publish rule with this topic, and the rule that lets it out.
fn publish(topic: &str) -> String {
    let out = "[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 8883";
    format!("[[comms.publish]]\ntopic = '{topic}'\nmax-bytes = 1\n{out}")
}

#[test]
fn a_topic_to_publish_to_is_one_that_a_broker_takes() {
    let cases = [
        ("", "a topic can not be empty"),
        (
            "a/+",
            "a topic to publish to has no `+` and no `#` (write one [[comms.publish]] for each topic)",
        ),
        (
            "a/#",
            "a topic to publish to has no `+` and no `#` (write one [[comms.publish]] for each topic)",
        ),
        (
            "a/b#",
            "a wildcard must fill its level: `b#` (for example `a/+/b` or `a/#`)",
        ),
        (
            "a/#/b",
            "`#` can only be the last level (`+` stands for one level in the middle)",
        ),
        (
            "$SYS/a",
            "a topic can not begin with `$` (such topics belong to the server)",
        ),
        (
            "stockade/x",
            "topics below `stockade/` are the gateway's own (choose another first level, for example the model)",
        ),
        (
            "stockade",
            "topics below `stockade/` are the gateway's own (choose another first level, for example the model)",
        ),
        (
            "#",
            "`#` as the first level would cover the gateway's own topics (name the first level)",
        ),
        (
            "+/a",
            "`+` as the first level would cover the gateway's own topics (name the first level)",
        ),
        (
            "a/${devcie}",
            "unknown placeholder `${devcie}` (did you mean `${device}`?)",
        ),
        (
            "a/${model}",
            "unknown placeholder `${model}` (the only one is `${device}`)",
        ),
        (
            "a/${device",
            "`${` without its `}` (the only one is `${device}`)",
        ),
        (
            "a/x${device}",
            "`${device}` must fill its level: `x${device}` (for example `cam-2/${device}/motion`)",
        ),
        (
            "a/\u{ffff}",
            "a topic has no control characters and no non-characters",
        ),
    ];
    for (topic, expected) in cases {
        only(&publish(topic), &format!("8:9: error: {expected}"));
    }
    for good in [
        "a",
        "/a",
        "a//b",
        "${device}/x",
        "a/${device}",
        "ä/ö",
        "a/$x",
        "stockades/x",
        "a b",
    ] {
        only(&publish(good), "");
    }
}

#[test]
fn a_duration_has_one_notation_and_its_bounds() {
    let life = |text: &str| faults(&format!("[comms]\ncertificate-life = {text}"));
    for (text, expected) in [
        ("\"0s\"", "8:20: error: a duration can not be zero\n"),
        (
            "\"5\"",
            "8:20: error: `5` is not a duration (a number and s, min, h or d: \"30s\", \"10min\", \"24h\", \"7d\")\n",
        ),
        (
            "\"24hours\"",
            "8:20: error: `hours` is not a unit of time (did you mean \"24h\"?)\n",
        ),
        (
            "\"59min\"",
            "8:20: error: `certificate-life` must be from 1h to 90d\n",
        ),
        (
            "\"91d\"",
            "8:20: error: `certificate-life` must be from 1h to 90d\n",
        ),
        (
            "\"99999999999999999999d\"",
            "8:20: error: `99999999999999999999d` is not a duration (a number and s, min, h or d: \"30s\", \"10min\", \"24h\", \"7d\")\n",
        ),
        (
            "\"999999999999999999d\"",
            "8:20: error: a duration is at most ten years (3660d)\n",
        ),
        ("\"1h\"", ""),
        ("\"90d\"", ""),
    ] {
        assert_eq!(life(text), expected, "{text}");
    }
}

#[test]
fn a_rule_has_ports_that_exist_and_a_rate_above_zero() {
    let rule = |port: &str, rate: &str| {
        faults(&format!(
            "[[firewall.in]]\nfrom = \"local-network\"\nprotocol = \"tcp\"\nport = {port}\nrate = \"{rate}\""
        ))
    };
    for (port, rate, expected) in [
        (
            "0",
            "1/s",
            "10:8: error: 0 is not a port (a port is a whole number from 1 to 65535)\n",
        ),
        (
            "-1",
            "1/s",
            "10:8: error: -1 is not a port (a port is a whole number from 1 to 65535)\n",
        ),
        (
            "65536",
            "1/s",
            "10:8: error: 65536 is not a port (a port is a whole number from 1 to 65535)\n",
        ),
        (
            "\"9-8\"",
            "1/s",
            "10:8: error: a range goes from the lower to the higher port (\"8-9\")\n",
        ),
        (
            "\"x\"",
            "1/s",
            "10:8: error: `x` is not a port range (for example 443 or \"40000-40010\")\n",
        ),
        (
            "1",
            "0/s",
            "11:8: error: a rate of zero (leave the rule out instead)\n",
        ),
        (
            "1",
            "2 / s",
            "11:8: error: `2 / s` is not a rate (did you mean \"2/s\"?)\n",
        ),
        (
            "1",
            "2/m",
            "11:8: error: `2/m` is not a rate (a number, `/` and a time: \"2/s\", \"10/min\", \"100/h\", \"5/15min\")\n",
        ),
        ("\"1-65534\"", "5/15min", ""),
        (
            "\"1-65535\"",
            "5/15min",
            "10:8: warning: every port is open by this rule (name the ports that are needed)\n",
        ),
        (
            "\"any\"",
            "5/15min",
            "10:8: warning: every port is open by this rule (name the ports that are needed)\n",
        ),
    ] {
        assert_eq!(rule(port, rate), expected, "{port} {rate}");
    }
}

#[test]
fn an_endpoint_is_a_word_a_name_an_address_or_a_model() {
    let rule = |to: &str| {
        faults(&format!(
            "[[firewall.out]]\nto = \"{to}\"\nprotocol = \"tcp\"\nport = 1"
        ))
    };
    for good in [
        "gateway",
        "local-network",
        "pool.ntp.org",
        "192.168.1.7",
        "10.0.0.0/8",
        "fd00::/8",
        "::1",
        "model:cam-2",
        "same-manufacturer",
        "manufacturer:acme.example",
        "my-controller",
        "controller:urn:ietf:params:mud:dns",
        "controller:https://hubs.example.org/class?of=7",
        "mud:https://acme.example/cam-2.json",
    ] {
        assert_eq!(rule(good), "", "{good}");
    }
    insta::assert_snapshot!(
        ["", "gateways", "internet", "a..b", "-a.b", "1.2.3", "300.1.1.1", "10.0.0.1/8", "10.0.0.0/33", "fd00::1/8", "10.0.0.0/x", "model:", "model:A", "0.0.0.0", "::", "0.0.0.0/0", "any", "my-controler", "manufacturer:acme", "controller:dns", "controller:urn:a b", "mud:http://acme.example/x"]
            .map(rule).concat(),
        @r#"
    8:6: error: an endpoint can not be empty (gateway, local-network, a host name, an address, a network, model:<model>, same-manufacturer, manufacturer:<host>, my-controller, controller:<uri>, mud:<https url> or any)
    8:6: error: `gateways` is not an endpoint (did you mean "gateway"?)
    8:6: error: `internet` is not an endpoint (gateway, local-network, a host name, an address, a network, model:<model>, same-manufacturer, manufacturer:<host>, my-controller, controller:<uri>, mud:<https url> or any)
    8:6: error: `a..b` is not a host name (letters, digits and `-`, in parts joined by dots)
    8:6: error: `-a.b` is not a host name (letters, digits and `-`, in parts joined by dots)
    8:6: error: `1.2.3` is not a host name (an address has four numbers from 0 to 255)
    8:6: error: `300.1.1.1` is not a host name (an address has four numbers from 0 to 255)
    8:6: error: the address has bits set beyond the prefix (the network is "10.0.0.0/8")
    8:6: error: a prefix here is at most 32 bits
    8:6: error: the address has bits set beyond the prefix (the network is "fd00::/8")
    8:6: error: `10.0.0.0/x` is not a network (for example "192.168.0.0/16" or "fd00::/8")
    8:6: error: a model can not be empty
    8:6: error: `A` can not be a model (did you mean "model:a"?)
    8:6: error: 0.0.0.0 is nobody's address (gateway, local-network, a host name, an address, a network, model:<model>, same-manufacturer, manufacturer:<host>, my-controller, controller:<uri>, mud:<https url> or any)
    8:6: error: :: is nobody's address (gateway, local-network, a host name, an address, a network, model:<model>, same-manufacturer, manufacturer:<host>, my-controller, controller:<uri>, mud:<https url> or any)
    8:6: warning: `0.0.0.0/0` is the whole internet (name the hosts or the networks that are needed)
    8:6: warning: `any` is the whole internet (name the hosts or the networks that are needed)
    8:6: error: `my-controler` is not an endpoint (did you mean "my-controller"?)
    8:6: error: `acme` is not a host name (a name needs its domain: `ntp.example.org`)
    8:6: error: `dns` can not be a class of controllers (a URI: "urn:ietf:params:mud:dns" or "https://example.org/hubs")
    8:6: error: `urn:a b` can not be a class of controllers (did you mean "controller:urn:ab"?)
    8:6: error: `http://acme.example/x` is not protected on its way ("https://acme.example/x")
    "#);
}

#[test]
fn a_rule_says_only_what_its_protocol_has() {
    let rule = |keys: &str| {
        faults(&format!(
            "[[firewall.out]]\nto = \"a.example\"\n{}",
            keys.replace("; ", "\n")
        ))
    };
    for good in [
        "protocol = \"tcp\"; port = 443; source-port = 5353; family = \"ipv6\"",
        "protocol = \"icmp\"; icmp-type = 8; icmp-code = 0; family = \"ipv4\"",
        "protocol = \"icmpv6\"; icmp-type = 128",
        "protocol = \"igmp\"",
        "protocol = \"ip:47\"; rate = \"2/s\"; service = \"camera\"",
    ] {
        assert_eq!(rule(good), "", "{good}");
    }
    insta::assert_snapshot!(
        [
            "protocol = \"any\"",
            "protocol = \"sctp\"; port = 1",
            "protocol = \"ip:256\"",
            "protocol = \"udp\"",
            "protocol = \"icmp\"; port = 1",
            "protocol = \"any\"; source-port = 1",
            "protocol = \"tcp\"; port = 1; icmp-type = 8",
            "protocol = \"icmp\"; icmp-code = 0",
            "protocol = \"icmp\"; icmp-type = 256",
            "protocol = \"icmp\"; family = \"ipv6\"",
            "protocol = \"tcp\"; port = 1; family = \"v6\"",
            "protocol = \"tcp\"; port = 1; service = \"a b\"",
        ]
        .map(rule)
        .concat()
    );
}

#[test]
fn a_rule_that_no_packet_can_meet_is_refused() {
    let rule = |to: &str, keys: &str| {
        faults(&format!(
            "[[firewall.out]]\nto = \"{to}\"\n{}",
            keys.replace("; ", "\n")
        ))
    };
    for (to, keys) in [
        ("10.0.0.1", "protocol = \"icmpv6\""),
        ("fd00::/8", "protocol = \"igmp\""),
        ("fd00::1", "protocol = \"tcp\"; port = 1; family = \"ipv4\""),
    ] {
        let shown = rule(to, keys);
        assert!(shown.contains("the rule would allow nothing"), "{shown}");
    }
    assert_eq!(rule("10.0.0.1", "protocol = \"icmp\""), "");
}

#[test]
fn two_rules_that_differ_in_their_rate_only_are_one_said_twice() {
    let rule = |more: &str| {
        format!("[[firewall.out]]\nto = \"a.example\"\nprotocol = \"udp\"\nport = 1\n{more}\n")
    };
    let second = |more: &str| faults(&format!("{}{}", rule(""), rule(more)));
    for other in [
        "source-port = 1",
        "family = \"ipv4\"",
        "service = \"camera\"",
    ] {
        assert_eq!(second(other), "", "{other}");
    }
    assert!(second("rate = \"1/s\"").contains("said twice"));
}

#[test]
fn a_rule_for_a_service_wants_an_agent_and_that_service() {
    let service = "[[firewall.out]]\nto = \"a.example\"\nprotocol = \"udp\"\nport = 1\nservice = \"camera\"\n";
    only(
        &format!("{service}[programs]\nservices = [\"cam\"]"),
        "11:11: warning: `camera` is not among the services of [programs] (add it there, or remove the rule)",
    );
    let agentless = format!("{SOUND}{service}").replace("linux", "agentless");
    assert_eq!(
        lines(&check(&agentless).faults).trim_end(),
        "11:11: warning: only the agent can tell services apart, and this class of device has none \
         (leave `service` out, or the rule allows nothing)"
    );
}

#[test]
fn a_frame_is_one_that_no_other_rule_speaks_of() {
    let frame = |keys: &str| {
        faults(&format!(
            "[[firewall.frame]]\ndirection = \"out\"\n{}",
            keys.replace("; ", "\n")
        ))
    };
    for good in [
        "ethertype = 0x888e",
        "ethertype = 6; peer = \"01:80:c2:00:00:03\"",
    ] {
        assert_eq!(frame(good), "", "{good}");
    }
    insta::assert_snapshot!(
        [
            "",
            "ethertype = 0x0800",
            "ethertype = 0x86dd",
            "ethertype = 0x0806",
            "ethertype = 0x8100",
            "ethertype = 0x10000",
            "ethertype = -1",
            "ethertype = \"0x888e\"",
            "ethertype = 0x888e; peer = \"1:2:3:4:5:6\"",
            "ethertype = 0x888e; peer = \"01:80:c2:00:00\"",
            "ethertype = 0x888e; peer = \"01:80:c2:00:00:03:04\"",
        ]
        .map(frame)
        .concat()
    );
}

#[test]
fn old_tls_can_not_be_written() {
    let tls = |list: &str| faults(&format!("[protocols]\ntls = [{list}]"));
    for broken in ["1.1", "1.0", "TLSv1", "tls1.1"] {
        let expected = format!(
            "8:8: error: `{broken}` can not be allowed by any profile (it is broken (RFC 8996); write \"1.3\")\n"
        );
        assert_eq!(tls(&format!("\"{broken}\"")), expected);
    }
    for broken in ["ssl", "SSLv3", "ssl2"] {
        let expected = format!(
            "8:8: error: `{broken}` can not be allowed by any profile (it is broken (RFC 7568); write \"1.3\")\n"
        );
        assert_eq!(tls(&format!("\"{broken}\"")), expected);
    }
    assert_eq!(
        tls("\"TLSv1.3\""),
        "8:8: error: `TLSv1.3` is not a version (did you mean \"1.3\"?)\n"
    );
    assert_eq!(
        tls("1.3"),
        "8:8: error: this must be text, not a number with a fraction\n"
    );
    assert_eq!(
        tls(""),
        "8:7: error: `tls` must have \"1.3\" (\"1.2\" may only be added to it)\n"
    );
    assert_eq!(
        tls("\"1.2\""),
        "8:7: error: `tls` must have \"1.3\" (\"1.2\" may only be added to it)\n"
    );
    assert_eq!(tls("\"1.2\", \"1.3\""), "");
}

#[test]
fn what_is_said_twice_is_refused() {
    only(
        "[programs]\nservices = [\"a\", \"b\", \"a\"]",
        "8:23: error: this is said twice (remove one of the two)",
    );
    only(
        "[comms]\nkey = \"tpm\"\nkey = \"file\"",
        "9:1: error: this key is said twice (remove one of the two)",
    );
    only(
        "[upnp]\n[upnp]",
        "8:2: error: this key is said twice (remove one of the two)",
    );
    let rule = |bytes| format!("[[comms.publish]]\ntopic = \"a\"\nmax-bytes = {bytes}\n");
    let out = "[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 1\n";
    only(
        &format!("{}{}{out}", rule(1), rule(2)),
        "10:1: error: this is said twice (remove one of the two)",
    );
    only(
        &format!("{out}{out}"),
        "11:1: error: this is said twice (remove one of the two)",
    );
    let other = out.replace("port = 1", "port = 1\nrate = \"1/s\"");
    only(
        &format!("{out}{other}"),
        "11:1: error: this is said twice (remove one of the two)",
    );
    let front = |port| format!("[[protocols.front]]\nlisten = 443\nto = \"127.0.0.1:{port}\"\n");
    let way = "[[firewall.in]]\nfrom = \"gateway\"\nprotocol = \"tcp\"\nport = 443\n";
    only(
        &format!("{}{}{way}", front(1), front(2)),
        "10:1: error: this is said twice (remove one of the two)",
    );
}

#[test]
fn sections_must_fit_together() {
    insta::assert_snapshot!(
        faults("[[comms.publish]]\ntopic = \"a\"\nmax-bytes = 1\nschema = \"moton\"\n[[protocols.front]]\nlisten = 443\nto = \"127.0.0.1:80\"\n[privileges]\nroot-services = [\"camara\"]\n[programs]\nservices = [\"camera\"]\n[mac]\nsystem = \"selinux\"\nconfine = [\"x\"]\n[data.motion]\n"),
        @r#"
    7:1: warning: the firewall has no way out to the gateway (add [[firewall.out]] with `to = "gateway"`, `protocol = "tcp"`, `port = 8883`)
    10:10: error: there is no data set `moton` (did you mean "motion"?)
    12:10: warning: the firewall lets nobody in to port 443 (add [[firewall.in]] with `protocol = "tcp"`, `port = 443`)
    15:18: warning: `camara` is not among the services of [programs] (did you mean "camera"?)
    20:12: warning: `x` is not among the services of [programs] (add it there, or remove it here)
    21:7: warning: no topic fills the data set `motion` (name it in a [[comms.publish]]: `schema = "motion"`)
    "#);
}

#[test]
fn a_rule_that_can_do_nothing_is_warned_of() {
    insta::assert_snapshot!(
        faults("[upnp]\nmax-duration = \"1h\"\n[ports]\nusb = { default = \"allow\", allow = [\"class:09\"] }\n[tamper]\nresponse = [\"report\"]\n[updates]\nsource = \"https://a.example\"\nmax-age = \"1d\"\nsecurity-within = \"2h\"\nhealth = { tcp = [80] }"),
        @r#"
    7:1: warning: UPnP is never on, so the rest of this section does nothing (remove it, or write `allow-enable = true`)
    10:36: warning: every USB device is allowed, so this list does nothing (write `default = "deny"`)
    12:12: warning: nothing watches the case, so there is no response (name the sensors in `inputs`)
    17:10: warning: no whole system is installed, so none is checked (name the `slots`)
    "#);
    let agentless = SOUND.replace("linux", "agentless") + "[boot]\nsecure-boot = \"required\"\n";
    let checked = check(&agentless);
    assert!(checked.profile.is_some(), "a warning refuses nothing");
    assert_eq!(checked.faults[0].severity, Severity::Warning);
    assert_eq!(
        checked.faults[0].message,
        "an agentless device can not be held to [boot]"
    );
}

#[test]
fn the_other_sections_say_what_they_take() {
    insta::assert_snapshot!(faults(
        "[upnp]\nallow-enable = true\n[[upnp.mapping]]\nprotocol = \"tcp\"\nexternal-ports = 1\ninternal-port = \"x\"\n[boot]\nsecure-boot = \"yes\"\nmeasured = [24, \"7-0\", true, \"1-3\", 2]\n[credentials]\nssh = \"on\"\npassword-logins = [\"a b\"]\n[privileges]\nsetuid = [\"bin/su\", \"/bin/../su\"]\n[updates]\nsource = \"https://user@x.example/\"\nmax-age = \"1d\"\nsecurity-within = \"2h\"\n[mac]\nsystem = \"tomoyo\"\nconfine = []\n[ports]\nusb = { allow = [\"class:9\", \"46d:825\", \"046D:0825\", \"046d:0825\"] }\nnetwork = [\"a-very-long-interface\"]\nradios = [\"wi-fi\"]\n[tamper]\ninputs = [{ kind = \"gpio\" }, { kind = \"laser\" }]\nresponse = [\"erase\"]\n[data.Motion]\n[data.x]\na = { use = \"seal\", readers = [] }\nb = { use = \"generalise\" }\nc = { use = \"generalise\", to = \"0\" }\nd = \"keep\"\ne = { use = \"keep\", to = \"1km\" }"
    ),);
}

#[test]
fn slots_are_two_devices_or_raucs() {
    let slots = |slots: &str| {
        faults(&format!(
            "[updates]\nsource = \"https://a.example\"\nmax-age = \"1d\"\nsecurity-within = \"2h\"\nslots = {slots}"
        ))
    };
    for good in [
        "{ kind = \"rauc\" }",
        "{ kind = \"uboot-env\", a = \"/dev/a\", b = \"/dev/b\" }",
    ] {
        assert_eq!(slots(good), "", "{good}");
    }
    insta::assert_snapshot!(slots("{ kind = \"rauc\", a = \"/dev/a\" }"), @"11:26: error: unknown key `a` (known here: `kind`)");
    insta::assert_snapshot!(slots("{ kind = \"uboot-env\", a = \"/dev/a\" }"), @"11:9: error: missing key `b` (for example `b = \"/dev/mmcblk0p3\"`)");
    insta::assert_snapshot!(slots("{ kind = \"uboot-env\", a = \"/dev/a\", b = \"/dev/a\" }"), @"11:49: error: slot A and slot B are the same device");
}

#[test]
fn an_update_source_is_https_and_has_a_host() {
    let source = |url: &str| {
        faults(&format!(
            "[updates]\nsource = \"{url}\"\nmax-age = \"1d\"\nsecurity-within = \"2h\""
        ))
    };
    for good in [
        "https://a.example",
        "https://a.example:8443/x/y",
        "https://[fd00::1]:1/",
        "https://10.0.0.1/",
    ] {
        assert_eq!(source(good), "", "{good}");
    }
    for bad in [
        "",
        "http://a.example",
        "ftp://a.example",
        "https://",
        "https:///x",
        "https://a",
        "https://a.example:0",
        "https://a.example:x",
        "https://[fd00::1",
        "https://[zz]/",
        "https://[fd00::1]x",
        "https://u@a.example",
        "https://a.example/?q",
        "https://a.example/#f",
        "https://a.example/ b",
        "https://ä.example",
    ] {
        assert!(
            source(bad).contains("8:10: error: "),
            "{bad}: {}",
            source(bad)
        );
    }
}

#[test]
fn broken_notation_does_not_hide_other_faults() {
    insta::assert_snapshot!(faults(
        "[comms]\nkey = \nkeys = 1\ncertificate-life = \"1\n[protocols]\ntls = [\"1.1\"]\n"
    ));
}

#[test]
fn a_column_counts_characters() {
    only(
        "[data.'ä']\n",
        "7:7: error: `ä` can not be a data set (a-z, 0-9, `.`, `_` and `-`; the first is a letter or a digit)\n7:7: warning: no topic fills the data set `ä` (name it in a [[comms.publish]]: `schema = \"ä\"`)",
    );
    let shown = faults("[tamper]\ninputs = [{ kind = 'chassis' }]\nresponse = [ 'ääää', 'x' ]");
    assert!(
        shown.contains("9:14: ") && shown.contains("9:22: "),
        "{shown}"
    );
}

#[test]
fn a_fault_is_marked_where_it_is_on_a_line_of_any_length_and_content() {
    let long = format!(
        "schema = 1\r\nservices = [{}\"\u{1b}[31m\"]\n",
        "\"x\", ".repeat(100)
    );
    let fault = |line, column, length| Fault {
        line,
        column,
        length,
        message: "here".to_owned(),
        help: None,
        severity: Severity::Error,
    };
    let shown = render(
        &long,
        "a\u{1b}b.toml",
        &[fault(1, 1, 6), fault(2, 513, 7), fault(9, 4, 0)],
    );
    assert!(
        !shown.contains('\u{1b}'),
        "no control character of the file reaches the terminal"
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn a_profile_has_bounds() {
    let many = |count: usize| {
        let list: Vec<String> = (0..count).map(|number| format!("\"s{number}\"")).collect();
        faults(&format!("[programs]\nservices = [{}]", list.join(",")))
    };
    assert_eq!(many(256), "");
    assert_eq!(
        many(257),
        "8:12: error: 257 entries; at most 256 are taken\n"
    );
    let large = check(&format!("#{}", " ".repeat(256 * 1024)));
    assert_eq!(large.faults.len(), 1);
    assert_eq!(
        large.faults[0].message,
        "a profile has at most 262144 bytes, this has 262145"
    );
    let deep = faults(&format!(
        "[data.x]\na = {}1{}",
        "[".repeat(60),
        "]".repeat(60)
    ));
    assert!(deep.contains("nested too deeply"), "{deep}");
    let all = check(&"x = 1\n".repeat(20_000)).faults;
    assert_eq!(all.len(), 1_001);
    assert_eq!(all[1_000].message, "and 19002 more faults");
}

#[test]
fn hostile_text_ends_soon_and_never_panics() {
    let full = |part: &str| part.repeat(256 * 1024 / part.len() - 1);
    for part in [
        "[[a]]\n", "a=1\n", "= \n", "\"", "a = \"\n", "1,", "a.", "\0", "\r", "{a=", "'''",
        "[a.b]\n",
    ] {
        for source in [
            full(part),
            format!("a={}", full(part)),
            format!("[{}a]", full(part)),
        ] {
            let checked = check(&source);
            assert!(!checked.faults.is_empty());
            assert!(!render(&source, "x", &checked.faults).is_empty());
        }
    }
}
