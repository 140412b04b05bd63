//! The semantic checker: rules that are the policy's are found the same, and every change that matters is found.

mod mutants;
mod mutation;
mod places;

use stockade_controls::firewall::check::{Verdict, compare};
use stockade_controls::firewall::compile::{Slot, device, trial};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::nft::Ruleset;
use stockade_controls::firewall::policy::{Policy, Side};
use stockade_controls::firewall::surroundings::Surroundings;

pub(crate) fn policy(text: &str, around: &Surroundings) -> Policy {
    let profile = stockade_profile::parse(text).unwrap_or_else(|faults| panic!("{faults:?}"));
    Policy::of(&profile, around, Side::Device)
}

fn compiled(text: &str, around: &Surroundings) -> (Policy, Ruleset) {
    let policy = policy(text, around);
    let ruleset = device(&policy, around, Slot::A);
    (policy, ruleset)
}

#[track_caller]
fn same(text: &str, around: &Surroundings) {
    let (policy, ruleset) = compiled(text, around);
    match compare(&ruleset, &policy, around, &World::default()) {
        Verdict::Same { classes } => {
            assert!(classes > 100_000, "only {classes} classes");
        }
        other => panic!("{other}\n{ruleset}"),
    }
}

#[test]
fn every_profile_we_ship_is_compiled_to_what_it_means() {
    for file in fs_err::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles"))
        .expect("they are there")
    {
        let text = fs_err::read_to_string(file.expect("a file").path()).expect("it can be read");
        same(&text, &places::home());
        same(&text, &places::bare());
    }
}

#[test]
fn a_profile_with_something_of_everything_is_compiled_to_what_it_means() {
    same(places::RICH, &places::home());
    same(places::RICH, &places::bare());
}

#[test]
fn upnp_while_it_is_on_is_compiled_to_what_it_means_and_a_front_too() {
    same(places::MAPPED, &places::open());
    // The rules without it are another matter.
    let (policy, _) = compiled(places::MAPPED, &places::open());
    let (_, closed) = compiled(places::MAPPED, &places::home());
    let told = compare(&closed, &policy, &places::open(), &World::default());
    assert!(matches!(told, Verdict::Differs(_)), "{told}");
}

#[test]
fn on_trial_the_new_rules_rule_and_after_it_the_old_ones() {
    let around = places::home();
    let (new, written) = compiled(places::RICH, &around);
    let old = policy(places::POOR, &around);
    let other = device(&old, &around, Slot::B);
    let both = trial(&other, &written, 60);
    let judged =
        |ruleset: &Ruleset, policy: &Policy| compare(ruleset, policy, &around, &World::default());
    assert!(
        matches!(judged(&both, &new), Verdict::Same { .. }),
        "{}",
        judged(&both, &new)
    );
    assert!(matches!(judged(&both, &old), Verdict::Differs(_)));
    let mut over = both;
    for set in over.tables.iter_mut().flat_map(|table| &mut table.sets) {
        if set.name.as_str() == "trial" {
            set.elements.clear();
        }
    }
    assert!(
        matches!(judged(&over, &old), Verdict::Same { .. }),
        "{}",
        judged(&over, &old)
    );
    assert!(matches!(judged(&over, &new), Verdict::Differs(_)));
}

#[test]
fn a_counter_example_says_which_packet_and_which_rule() {
    let around = places::home();
    let (policy, mut ruleset) = compiled(places::POOR, &around);
    let table = ruleset.tables.first_mut().expect("there is a table");
    let output = table
        .chains
        .iter_mut()
        .find(|chain| chain.name.as_str() == "a_output")
        .expect("it is there");
    let rule = output
        .rules
        .iter_mut()
        .find(|rule| rule.to_string().contains("8883"))
        .expect("it is there");
    *rule = mutants::widened(rule);
    let told = compare(&ruleset, &policy, &around, &World::default()).to_string();
    insta::assert_snapshot!(told);
}

#[test]
fn rules_that_ask_what_ours_never_ask_are_not_called_the_same() {
    use stockade_controls::firewall::nft::{Field, Rule, Statement, Value, Verdict as End};
    let around = places::home();
    let (policy, mut ruleset) = compiled(places::POOR, &around);
    let table = ruleset.tables.first_mut().expect("there is a table");
    let output = table
        .chains
        .iter_mut()
        .find(|chain| chain.name.as_str() == "a_output")
        .expect("it is there");
    let reply = Statement::is(Field::CtDirection, [Value::number(0_u32)]);
    output
        .rules
        .insert(0, Rule::new([reply, Statement::Verdict(End::Accept)]));
    let told = compare(&ruleset, &policy, &around, &World::default()).to_string();
    assert_eq!(
        told,
        "could not be judged: the rules ask for `ct direction`, which ours never do here"
    );
}

#[test]
fn an_address_that_somebody_gave_a_name_for_ever_is_a_difference() {
    use stockade_controls::firewall::check::differences;
    use stockade_controls::firewall::nft::{Element, Value};
    let (_, written) = compiled(places::RICH, &places::home());
    let with = |timeout| {
        let mut found = written.clone();
        let sets = found.tables.iter_mut().flat_map(|table| &mut table.sets);
        let mut names = sets.filter(|set| set.name.as_str().starts_with("n4"));
        let set = names.next().expect("the profile names a host");
        set.elements.push(Element {
            key: vec![Value::ip4([6, 6, 6, 6].into())],
            timeout,
            verdict: None,
        });
        let told = differences(&written, &found);
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(with(Some(90)), Vec::<String>::new());
    let told = with(None);
    assert!(
        told.len() == 1 && told[0].contains("6.6.6.6"),
        "somebody else's address was not named: {told:?}"
    );
}
