//! Small changes to rules, of the kind that a mistake or an intruder makes.

use stockade_controls::firewall::nft::{
    Match, Policy, Rule, Ruleset, Statement, To, Value, Verdict,
};

/// One change and what it is.
pub(crate) struct Mutant {
    pub(crate) what: String,
    pub(crate) ruleset: Ruleset,
}

/// The rule with each of its values one wider.
pub(crate) fn widened(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for statement in &mut rule.statements {
        if let Statement::Match(Match {
            to: To::Value(value),
            ..
        }) = statement
        {
            *value = wider(value);
        }
    }
    rule
}

fn wider(value: &Value) -> Value {
    match value {
        Value::Ip4(first, last) => Value::Ip4(*first, last.to_bits().saturating_add(1).into()),
        Value::Ip6(first, last) => Value::Ip6(*first, last.to_bits().saturating_add(1).into()),
        Value::Number(first, last) => Value::Number(*first, last.saturating_add(1)),
        other => other.clone(),
    }
}

fn opposite(verdict: &Verdict) -> Option<Verdict> {
    match verdict {
        Verdict::Accept => Some(Verdict::Drop),
        Verdict::Drop | Verdict::Goto(_) => Some(Verdict::Accept),
        Verdict::Return | Verdict::Jump(_) => None,
    }
}

/// Every mutant of the tables for packets.
pub(crate) fn all(ruleset: &Ruleset) -> Vec<Mutant> {
    let mut found = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Ruleset)| {
        let mut changed = ruleset.clone();
        change(&mut changed);
        if changed != *ruleset {
            found.push(Mutant {
                what,
                ruleset: changed,
            });
        }
    };
    let table = &ruleset.tables[0];
    for (number, chain) in table.chains.iter().enumerate() {
        let name = &chain.name;
        if chain.base.is_some() {
            add(format!("{name}: the policy is turned"), &|changed| {
                let base = changed.tables[0].chains[number]
                    .base
                    .as_mut()
                    .expect("it is hooked");
                base.policy = if base.policy == Policy::Accept {
                    Policy::Drop
                } else {
                    Policy::Accept
                };
            });
            add(format!("{name}: no longer hooked in"), &|changed| {
                changed.tables[0].chains[number].base = None
            });
        }
        for (place, rule) in chain.rules.iter().enumerate() {
            add(format!("{name} {place}: dropped `{rule}`"), &|changed| {
                changed.tables[0].chains[number].rules.remove(place);
            });
            add(format!("{name} {place}: widened `{rule}`"), &|changed| {
                let rule = &mut changed.tables[0].chains[number].rules[place];
                *rule = widened(rule);
            });
            for (at, statement) in rule.statements.iter().enumerate() {
                if let Statement::Verdict(verdict) = statement
                    && let Some(other) = opposite(verdict)
                {
                    add(format!("{name} {place}: turned `{rule}`"), &|changed| {
                        changed.tables[0].chains[number].rules[place].statements[at] =
                            Statement::Verdict(other.clone());
                    });
                } else {
                    add(
                        format!("{name} {place}: without `{statement}` of `{rule}`"),
                        &|changed| {
                            changed.tables[0].chains[number].rules[place]
                                .statements
                                .remove(at);
                        },
                    );
                }
                if let Statement::Match(_) = statement {
                    add(
                        format!("{name} {place}: not `{statement}` in `{rule}`"),
                        &|changed| {
                            if let Statement::Match(its) =
                                &mut changed.tables[0].chains[number].rules[place].statements[at]
                            {
                                its.negated = !its.negated;
                            }
                        },
                    );
                }
            }
            if place > 0 {
                add(format!("{name} {place}: earlier `{rule}`"), &|changed| {
                    changed.tables[0].chains[number]
                        .rules
                        .swap(place - 1, place);
                });
            }
            add(
                format!("{name} {place}: everything passes before `{rule}`"),
                &|changed| {
                    let open = Rule::new([Statement::Verdict(Verdict::Accept)]);
                    changed.tables[0].chains[number].rules.insert(place, open);
                },
            );
        }
    }
    found
}
