//! What is written comes back from the kernel as it was; what is not ours is named.

mod kernel;
mod sample;

use stockade_controls::firewall::check::differences;
use stockade_controls::firewall::eval::{EvalError, Machine, Packet};
use stockade_controls::firewall::nft::{Family, Hook, Policy, Rule, Ruleset, Statement, Verdict};
use stockade_controls::firewall::readback::{ReadbackError, devices, from_json};

/// Loaded into the kernel and read back, with what nft's JSON leaves out.
fn through_the_kernel(ruleset: &Ruleset) -> Ruleset {
    let (json, text) = kernel::loaded(&ruleset.to_string());
    let mut found = from_json(&json).unwrap_or_else(|error| panic!("{error}\n{text}"));
    devices(&mut found, &text).expect("the text tells the devices");
    found
}

#[test]
fn what_is_written_is_read_back_from_the_kernel() {
    if kernel::absent() {
        return;
    }
    let written = sample::ruleset();
    let found = through_the_kernel(&written);
    let named: Vec<String> = differences(&written, &found)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(named, Vec::<String>::new());
    for (table, other) in written.tables.iter().zip(&found.tables) {
        assert_eq!(table.chains, other.chains);
    }
}

#[test]
fn a_strangers_rule_in_the_kernel_is_named_with_its_handle() {
    if kernel::absent() {
        return;
    }
    let rules =
        "table inet stockade { chain input { ct state new accept; tcp flags syn accept;\n }\n }\n";
    let (json, _) = kernel::loaded(rules);
    let error = from_json(&json)
        .expect_err("we never ask for flags")
        .to_string();
    assert!(
        error.starts_with("not written by us: inet stockade input, handle "),
        "{error}"
    );
    assert!(error.contains("flags"), "{error}");
}

fn listing(objects: &str) -> Result<Ruleset, ReadbackError> {
    from_json(format!(r#"{{"nftables": [{objects}]}}"#).as_bytes())
}

#[track_caller]
fn strange(objects: &str, expected: &str) {
    let error = listing(objects).expect_err("it is not ours").to_string();
    assert_eq!(error, format!("not written by us: {expected}"));
}

const TABLE: &str = r#"{"table": {"family": "inet", "name": "s", "handle": 1}}, {"chain": {"family": "inet", "table": "s", "name": "c", "handle": 2}}"#;

#[track_caller]
fn strange_rule(expressions: &str, expected: &str) {
    let rule = format!(
        r#"{TABLE}, {{"rule": {{"family": "inet", "table": "s", "chain": "c", "handle": 7, "expr": [{expressions}]}}}}"#
    );
    strange(&rule, &format!("inet s c, handle 7: {expected}"));
}

#[test]
fn whatever_could_change_the_meaning_is_strange() {
    strange(
        r#"{"table": {"family": "inet", "name": "s", "handle": 1, "flags": ["dormant"]}}"#,
        r#"inet  s, handle 1: `flags`: ["dormant"]"#,
    );
    strange(
        &format!(
            r#"{TABLE}, {{"flowtable": {{"family": "inet", "table": "s", "name": "f", "handle": 3}}}}"#
        ),
        r#"inet s f, handle 3: flowtable: {"family":"inet","handle":3,"name":"f","table":"s"}"#,
    );
    strange_rule(
        r#"{"limit": {"rate": 5, "burst": 5, "per": "second", "inv": true}}"#,
        "`inv`: true",
    );
    strange_rule(r#"{"queue": null}"#, "queue null");
    strange_rule(r#"{"accept": {"really": 1}}"#, r#"accept {"really":1}"#);
    strange_rule(r#"{"jump": {"target": "x", "else": 1}}"#, "`else`: 1");
    strange_rule(
        r#"{"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": "new"}}"#,
        r#"ct state == "new""#,
    );
    strange_rule(
        r#"{"match": {"op": "<", "left": {"meta": {"key": "mark"}}, "right": 5}}"#,
        "operator <",
    );
    strange_rule(
        r#"{"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 1]}, "right": 1}}"#,
        r#"& [{"meta":{"key":"mark"}},1]"#,
    );
    strange_rule(
        r#"{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "no-such-protocol"}}"#,
        r#""no-such-protocol" where a Protocol belongs"#,
    );
    strange_rule(
        r#"{"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 16, "len": 16}}, "right": 80}}"#,
        r#"payload {"base":"th","len":16,"offset":16}"#,
    );
    strange_rule(r#"{"accept": null, "drop": null}"#, "more than `accept`");
}

#[test]
fn every_strange_thing_is_named_and_not_the_first_alone() {
    let rule = |handle: u32| {
        format!(
            r#"{{"rule": {{"family": "inet", "table": "s", "chain": "c", "handle": {handle}, "expr": [{{"queue": null}}]}}}}"#
        )
    };
    let Err(ReadbackError::Foreign(named)) = listing(&format!("{TABLE}, {}, {}", rule(8), rule(9)))
    else {
        panic!("both are strange");
    };
    let handles: Vec<_> = named.iter().filter_map(|foreign| foreign.handle).collect();
    assert_eq!(handles, [8, 9]);
}

#[test]
fn what_is_no_listing_is_an_error() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"nftables\": 1}",
        "{\"nftables\": [1]}",
        "{\"nftables\": []} x",
        "{\"nftables\": [], \"nftables\": []}",
    ] {
        let read = from_json(text.as_bytes());
        assert!(
            matches!(read, Err(ReadbackError::Listing(_))),
            "{text}: {read:?}"
        );
    }
    let deep = format!("{{\"nftables\": [{{\"rule\": {}", "[".repeat(100_000));
    assert!(matches!(
        from_json(deep.as_bytes()),
        Err(ReadbackError::Listing(_))
    ));
}

/// What `differences` tells after a change to the sample.
fn told(change: impl FnOnce(&mut Ruleset)) -> Vec<String> {
    let written = sample::ruleset();
    let mut found = written.clone();
    change(&mut found);
    differences(&written, &found)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn each_difference_is_named() {
    assert_eq!(told(|_| ()), Vec::<String>::new());
    insta::assert_snapshot!(told(|found| { found.tables.pop(); }).join("\n"), @"netdev stockade: is missing");
    insta::assert_snapshot!(told(|found| {
        let mut other = found.tables[1].clone();
        other.name = sample::ident("other");
        found.tables.push(other);
    }).join("\n"), @"arp other: is there and is not ours");
    insta::assert_snapshot!(told(|found| {
        let input = found.tables[0].chains.iter_mut().find(|chain| chain.name.as_str() == "input").expect("it is there");
        input.base.as_mut().expect("it is hooked").policy = Policy::Accept;
        input.rules.remove(0);
        input.rules.insert(3, Rule::new([Statement::Verdict(Verdict::Accept)]));
    }).join("\n"), @r"
    inet stockade input: is `type filter hook input priority -5; policy accept;`, was to be `type filter hook input priority -5; policy drop;`
    inet stockade input: rule 1 is missing: meta nfproto ipv4 accept
    inet stockade input: rule 4 is not ours: accept
    ");
    insta::assert_snapshot!(told(|found| { found.tables[0].chains[1].rules.swap(2, 5); }).join("\n"), @"inet stockade input: the order has changed: rule 3 was to be: meta l4proto 132 accept");
    insta::assert_snapshot!(told(|found| {
        let sets = &mut found.tables[0].sets;
        sets[0].elements.pop();
        sets[6].elements.push(sample::element(vec![stockade_controls::firewall::nft::Value::number(5_u32)]));
        sets[2].size = Some(5);
        sets.remove(5);
    }).join("\n"), @r"
    inet stockade nets: does not hold 192.168.1.5-192.168.1.9
    inet stockade noisy: is `set noisy { type ipv6_addr size 5 flags timeout timeout 60s }`, was to be `set noisy { type ipv6_addr size 4096 flags timeout timeout 60s }`
    inet stockade ports: is missing
    inet stockade kinds: holds 5, which is not ours
    ");
}

#[test]
fn elements_that_expire_by_themselves_are_no_difference() {
    assert_eq!(
        told(|found| found.tables[0].sets[3].elements.clear()),
        Vec::<String>::new()
    );
}

#[test]
fn a_ruleset_that_leads_nowhere_or_back_to_itself_is_not_run() {
    let jump = |to: &str| Rule::new([Statement::Verdict(Verdict::Jump(sample::ident(to)))]);
    let with = |chains: Vec<_>| Ruleset {
        tables: vec![stockade_controls::firewall::nft::Table {
            family: Family::Inet,
            name: sample::ident("s"),
            sets: Vec::new(),
            chains,
        }],
    };
    let lost = with(vec![sample::chain("a", None, vec![jump("b")])]);
    assert!(matches!(
        Machine::new(&lost),
        Err(EvalError::Dangling { .. })
    ));
    let round = with(vec![
        sample::chain("a", None, vec![jump("b")]),
        sample::chain("b", None, vec![jump("a")]),
    ]);
    assert!(matches!(Machine::new(&round), Err(EvalError::Circle(_))));
    let fine = sample::ruleset();
    let machine = Machine::new(&fine).expect("it can be run");
    let outcome = machine.run(Family::Inet, &[Hook::Forward], &Packet::default());
    assert!(outcome.passes, "nothing is hooked there");
}
