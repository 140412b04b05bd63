//! What single rules become.

use stockade_profile::mud::{ImportOptions, import, read};

use crate::{fates, file, imported, listed};

const CLOUD_FROM: &str = r#""ipv4": {"ietf-acldns:dst-dnsname": "cloud.acme.example", "protocol": 6}, "tcp": {"ietf-mud:direction-initiated": "from-device", "destination-port": {"operator": "eq", "port": 443}}"#;
const CLOUD_TO: &str = r#""ipv4": {"ietf-acldns:src-dnsname": "cloud.acme.example", "protocol": 6}, "tcp": {"source-port": {"operator": "eq", "port": 443}}"#;

fn udp(end: &str, ports: &str) -> String {
    format!(
        r#""ipv4": {{"ietf-acldns:{end}-dnsname": "a.example", "protocol": 17}}, "udp": {{{ports}}}"#
    )
}

fn to_port(port: u16) -> String {
    format!(r#""destination-port": {{"operator": "eq", "port": {port}}}"#)
}

fn from_port(port: u16) -> String {
    format!(r#""source-port": {{"operator": "eq", "port": {port}}}"#)
}

#[test]
fn an_answer_is_covered_by_the_rule_that_opens() {
    insta::assert_snapshot!(fates(&file(&[CLOUD_FROM], &[CLOUD_TO])));
}

#[test]
fn a_direction_that_nobody_opens_is_refused() {
    let against = CLOUD_TO.replace(
        r#""tcp": {"#,
        r#""tcp": {"ietf-mud:direction-initiated": "from-device", "#,
    );
    let other = CLOUD_FROM.replace("cloud", "other");
    insta::assert_snapshot!(fates(&file(&[&other], &[&against])));
}

#[test]
fn the_side_that_names_the_port_it_goes_to_opens() {
    let client = (udp("dst", &to_port(123)), udp("src", &from_port(123)));
    insta::assert_snapshot!("client", fates(&file(&[&client.0], &[&client.1])));
    let server = (udp("dst", &from_port(161)), udp("src", &to_port(161)));
    insta::assert_snapshot!("server", fates(&file(&[&server.0], &[&server.1])));
    let both = |to, from| format!("{}, {}", to_port(to), from_port(from));
    let pair = (udp("dst", &both(67, 68)), udp("src", &both(68, 67)));
    insta::assert_snapshot!("pair", fates(&file(&[&pair.0], &[&pair.1])));
}

#[test]
fn a_rule_that_is_its_own_mirror_opens_both_ways() {
    let (from, to) = (udp("dst", ""), udp("src", ""));
    insta::assert_snapshot!(fates(&file(&[&from], &[&to])));
}

#[test]
fn an_answer_without_its_question_opens_and_says_so() {
    insta::assert_snapshot!(fates(&file(&[CLOUD_FROM], &[&udp("src", &from_port(80))])));
}

#[test]
fn an_echo_reply_is_covered_by_its_request() {
    let echo = |end: &str, kind: u8| {
        format!(
            r#""ipv4": {{"{end}-ipv4-network": "192.0.2.1/32", "protocol": 1}}, "icmp": {{"type": {kind}, "code": 0}}"#
        )
    };
    let (request, reply) = (echo("destination", 8), echo("source", 0));
    insta::assert_snapshot!("echo", fates(&file(&[&request], &[&reply])));
    let stranger = reply.replace("192.0.2.1", "192.0.2.2");
    insta::assert_snapshot!("echo_of_nobody", fates(&file(&[&request], &[&stranger])));
}

#[test]
fn read_literally_every_rule_without_a_direction_opens() {
    let text = file(
        &[CLOUD_FROM, &udp("dst", &to_port(123))],
        &[CLOUD_TO, &udp("src", &from_port(123))],
    );
    let options = ImportOptions {
        literal: true,
        ..ImportOptions::default()
    };
    let report = import(&read(text.as_bytes()).unwrap(), &options).report(true);
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn the_same_rule_for_both_families_is_one() {
    let profile = imported(&crate::files::fixture("both-families.json")).profile;
    assert_eq!(profile.firewall.outward.len(), 1);
    assert_eq!(profile.firewall.outward[0].traffic.family, None);
    assert!(profile.firewall.inward.is_empty());
}

#[test]
fn operators_of_ports_become_ranges() {
    let ports = |operator: &str| udp("dst", &format!(r#""destination-port": {{{operator}}}"#));
    let rules = [
        r#""operator": "lte", "port": 100"#,
        r#""operator": "gte", "port": 60000"#,
        r#""operator": "neq", "port": 25"#,
        r#""lower-port": 1, "upper-port": 9"#,
        r#""port": 7"#,
        r#""operator": "range", "lower-port": 3, "upper-port": 4"#,
        r#""operator": "eq", "port": 0"#,
        r#""lower-port": 9, "upper-port": 1"#,
        r#""operator": "lt", "port": 1"#,
        r#""operator": "eq", "port": 65536"#,
        r#""operator": "eq", "port": "7""#,
    ]
    .map(ports);
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    insta::assert_snapshot!(fates(&file(&rules, &[])));
}

#[test]
fn what_a_profile_can_not_say_refuses_the_rule_by_name() {
    let rules = [
        r#""ipv4": {"ttl": 64}"#,
        r#""ipv4": {"protocol": 256}"#,
        r#""ipv4": {"protocol": 17}, "tcp": {}"#,
        r#""tcp": {}, "udp": {}"#,
        r#""tcp": {"flags": "syn"}"#,
        r#""ipv4": {"protocol": 47}, "udp": {}"#,
        r#""ipv4": {"source-ipv4-network": "10.0.0.0/8"}"#,
        r#""ipv4": {"ietf-acldns:src-dnsname": "me.example"}"#,
        r#""ipv4": {"ietf-acldns:dst-dnsname": "*.acme.example"}"#,
        r#""ipv4": {"ietf-acldns:dst-dnsname": "localhost"}"#,
        r#""ipv4": {"ietf-acldns:s:qrc-dnsname": "a.example"}"#,
        r#""ipv4": {"ietf-acldns:dst-dnsname": "a.example", "destination-ipv4-network": "10.0.0.0/8"}"#,
        r#""ipv4": {"destination-ipv4-network": "10.0.0.0/33"}"#,
        r#""ipv4": {"destination-ipv4-network": "fd00::/8"}"#,
        r#""ipv4": {"destination-ipv4-network": "0.0.0.0/32"}"#,
        r#""ipv6": {"protocol": 6}"#,
        r#""ipv4": {"protocol": 58}"#,
        r#""icmp": {"code": 0}"#,
        r#""icmp": {"type": 8, "rest-of-header": "AAA="}"#,
        r#""ietf-mud:mud": {"local-networks": [null], "my-controller": [null]}"#,
        r#""ietf-mud:mud": {"local-networks": [null]}, "ipv4": {"destination-ipv4-network": "10.0.0.0/8"}"#,
        r#""ietf-mud:mud": {"local-networks": false}"#,
        r#""ietf-mud:mud": {"manufacturer": "acme"}"#,
        r#""ietf-mud:mud": {"model": "http://acme.example/x"}"#,
        r#""ietf-mud:mud": {"controller": "no uri"}"#,
        r#""ietf-mud:mud": {"neighbours": [null]}"#,
        r#""ietf-mud:mud": {"same-manufacturer": [null], "controller": 7}"#,
        r#""eth": {"ethertype": "0x888e"}, "ipv4": {"protocol": 6}"#,
        r#""eth": {"ethertype": "0x8100"}"#,
        r#""eth": {"destination-mac-address": "02:00:00:00:00:01"}, "ipv4": {"protocol": 6}"#,
        r#""eth": {"destination-mac-address": "02:00:00:00:00:01"}"#,
        r#""eth": {"source-mac-address": "02:00:00:00:00:01", "ethertype": "0x888e"}"#,
        r#""egress-interface": "eth0""#,
        r#""vendor:ipv4": {}"#,
        r#""ipv4": 7"#,
        r#""tcp": {"ietf-mud:direction-initiated": "sideways"}"#,
    ];
    insta::assert_snapshot!(fates(&file(&rules, &[])));
}

#[test]
fn odd_spellings_are_read_with_a_warning() {
    let rules = [
        r#""ipv4": {"dst-dnsname": "Cloud.Acme.Example."}"#,
        r#""ipv4": {"destination-ipv4-network": "192.0.2.1"}"#,
        r#""ipv4": {"destination-ipv4-network": "192.0.2.1/24"}"#,
        r#""ipv4": {"destination-ipv4-network": "0.0.0.0/0", "protocol": 6}"#,
        r#""ipv4-acl": {"protocol": 6, "destination-port-range": {"lower-port": 80, "upper-port": 81}}"#,
        r#""ietf-mud:mud-acl": {"my-controller": null}"#,
        r#""ietf-mud:same-manufacturer": []"#,
        r#""ietf-mud:mud": {"controller": "urn:ietf:params:mud:gateway"}, "udp": {}"#,
        r#""ietf-mud:mud": {"controller": "urn:ietf:params:mud:dns"}, "udp": {}"#,
        r#""ietf-mud:mud": {"local-networks": [null]}, "ipv4": {"protocol": 2, "destination-ipv4-network": "224.0.0.22/32"}"#,
        r#""eth": {"ethertype": "0x0800", "destination-mac-address": "FF-FF-FF-FF-FF-FF"}, "ietf-mud:mud": {"local-networks": [null]}, "udp": {}"#,
        r#""udp": {"ietf-mud:direction-initiated": "from-device"}"#,
        r#""ietf-access-control-list:ipv4": {"ietf-access-control-list:protocol": 47}"#,
        "ACCEPT! \"ipv4\": {\"protocol\": 132}",
        "",
    ];
    insta::assert_snapshot!(fates(&file(&rules, &[])));
}

#[test]
fn a_rule_says_once_what_becomes_of_its_packets() {
    let rule =
        |rest: &str| format!(r#"{{"name": "x", "matches": {{"ipv4": {{"protocol": 6}}}}{rest}}}"#);
    let actions = |rest: &str| {
        let text = file(&["marker"], &[]);
        let whole =
            r#"{"name": "rule-1", "matches": {marker}, "actions": {"forwarding": "accept"}}"#;
        assert!(text.contains(whole));
        fates(&text.replace(whole, &rule(rest)))
    };
    let all: Vec<String> = [
        "",
        r#", "actions": null"#,
        r#", "actions": {}"#,
        r#", "actions": {"forwarding": "mirror"}"#,
        r#", "actions": {"forwarding": "accept", "colour": 1}"#,
        r#", "actions": {"forwarding": "accept", "logging": "log-syslog"}"#,
        r#", "actions": {"forwarding": "ietf-access-control-list:accept"}"#,
        r#", "actions": {"permit": [null]}"#,
        r#", "weight": 7"#,
    ]
    .map(actions)
    .into();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn frames_and_arp_have_their_own_place() {
    let rules = [
        r#""eth": {"ethertype": "0x888e"}, "ietf-mud:mud": {"local-networks": [null]}"#,
        r#""eth": {"ethertype": "0x88cc", "destination-mac-address": "01:80:c2:00:00:0e"}"#,
        r#""eth": {"ethertype": "0x0006"}"#,
        r#""eth": {"ethertype": "0x0806"}"#,
        r#""eth": {"ethertype": 34958}, "ietf-mud:mud": {"my-controller": [null]}"#,
        "drop! \"eth\": {\"ethertype\": \"0x88cc\"}",
        r#""eth": {"ethertype": "0x88cc", "destination-mac-address": "01:80:c2:00:00:03"}"#,
    ];
    insta::assert_snapshot!(fates(&listed("eth-acl-type", &rules, &[])));
}

#[test]
fn an_earlier_drop_is_cut_out_of_what_is_accepted() {
    let rules = [
        "drop! \"ipv4\": {\"destination-ipv4-network\": \"10.1.0.0/16\"}",
        "reject! \"udp\": {\"destination-port\": {\"operator\": \"eq\", \"port\": 53}}",
        r#""ipv4": {"destination-ipv4-network": "10.0.0.0/14"}, "tcp": {"destination-port": {"port": 80}}"#,
        r#""ipv4": {"destination-ipv4-network": "10.2.0.0/16"}, "udp": {"destination-port": {"lower-port": 50, "upper-port": 60}}"#,
        r#""ipv4": {"destination-ipv4-network": "10.2.0.0/16"}"#,
        r#""ipv4": {"destination-ipv4-network": "10.1.2.0/24"}, "tcp": {}"#,
        r#""ipv4": {"ietf-acldns:dst-dnsname": "a.example"}, "tcp": {}"#,
        r#""ipv4": {"destination-ipv4-network": "192.0.2.0/24"}, "tcp": {}"#,
    ];
    insta::assert_snapshot!(fates(&file(&rules, &[])));
}

#[test]
fn a_drop_that_can_not_be_read_refuses_what_follows_it() {
    let odd = "drop! \"ipv4\": {\"ttl\": 1}";
    insta::assert_snapshot!(
        "odd_drop",
        fates(&file(&[CLOUD_FROM, odd, &udp("dst", "")], &[CLOUD_TO]))
    );
    insta::assert_snapshot!(
        "odd_drop_last",
        fates(&file(&[CLOUD_FROM, odd], &[CLOUD_TO]))
    );
    let answers = r#"drop! "tcp": {"ietf-mud:direction-initiated": "to-device"}"#;
    insta::assert_snapshot!("drop_of_answers", fates(&file(&[answers, CLOUD_FROM], &[])));
}

#[test]
fn the_answers_of_a_refused_rule_are_refused() {
    let from = CLOUD_FROM.replace(r#""protocol": 6"#, r#""protocol": 6, "ttl": 7"#);
    insta::assert_snapshot!("unreadable", fates(&file(&[&from], &[CLOUD_TO])));
    let drop = "drop! \"ipv4\": {\"protocol\": 6}";
    insta::assert_snapshot!("dropped", fates(&file(&[drop, CLOUD_FROM], &[CLOUD_TO])));
}

#[test]
fn an_unread_rule_does_not_turn_its_answers_into_openings() {
    let odd = udp("dst", &to_port(123)).replace("17", r#"17, "ttl": 7"#);
    let rules = [udp("src", &from_port(123)), udp("src", &to_port(161))];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    insta::assert_snapshot!(fates(&file(&[&odd], &rules)));
}

#[test]
fn a_file_does_not_choose_where_it_came_from() {
    let url = |text: &str| text.parse().unwrap();
    let mut imported = imported(&file(
        &[r#""ietf-mud:mud": {"same-manufacturer": [null]}"#],
        &[],
    ));
    let quiet = imported.warnings.len();
    imported.came_from(&url("https://acme.example/cam-2.json"));
    assert_eq!(imported.warnings.len(), quiet, "it came from where it says");
    imported.came_from(&url("https://evil.example/cam-2.json"));
    let about = imported.profile.mud.unwrap();
    assert_eq!(about.url, Some(url("https://evil.example/cam-2.json")));
    assert_eq!(
        imported.warnings.last().unwrap(),
        "the file says that it is https://acme.example/cam-2.json, and came from \
         https://evil.example/cam-2.json, which counts"
    );
}

#[test]
fn tls_profiles_are_kept() {
    let text = crate::files::fixture("tls.json");
    let imported = imported(&text);
    insta::assert_snapshot!(imported.report(true).join("\n"));
    insta::assert_snapshot!("tls_profile", imported.profile.to_toml());
}
