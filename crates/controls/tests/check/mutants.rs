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

/// Where a change is made: the chain's place and the rule's.
type At = (usize, usize);

fn rules(ruleset: &mut Ruleset, chain: usize) -> &mut Vec<Rule> {
    &mut ruleset.tables[0].chains[chain].rules
}

/// Mutants, as they are made.
struct Nest<'n> {
    ruleset: &'n Ruleset,
    found: Vec<Mutant>,
}

impl Nest<'_> {
    fn add(&mut self, what: String, change: impl FnOnce(&mut Ruleset)) {
        let mut changed = self.ruleset.clone();
        change(&mut changed);
        if changed != *self.ruleset {
            self.found.push(Mutant {
                what,
                ruleset: changed,
            });
        }
    }

    fn hook(&mut self, chain: usize, name: &str) {
        self.add(format!("{name}: the policy is turned"), |changed| {
            let base = changed.tables[0].chains[chain].base.as_mut();
            let base = base.expect("it is hooked");
            base.policy = match base.policy {
                Policy::Accept => Policy::Drop,
                Policy::Drop => Policy::Accept,
            };
        });
        self.add(format!("{name}: no longer hooked in"), |changed| {
            changed.tables[0].chains[chain].base = None;
        });
    }

    fn rule(&mut self, (chain, place): At, rule: &Rule, name: &str) {
        self.add(format!("{name} {place}: dropped `{rule}`"), |changed| {
            rules(changed, chain).remove(place);
        });
        self.add(format!("{name} {place}: widened `{rule}`"), |changed| {
            rules(changed, chain)[place] = widened(rule);
        });
        self.add(
            format!("{name} {place}: all passes before `{rule}`"),
            |changed| {
                let open = Rule::new([Statement::Verdict(Verdict::Accept)]);
                rules(changed, chain).insert(place, open);
            },
        );
        if place > 0 {
            self.add(format!("{name} {place}: earlier `{rule}`"), |changed| {
                rules(changed, chain).swap(place - 1, place);
            });
        }
        for (number, statement) in rule.statements.iter().enumerate() {
            let what = format!("{name} {place}: `{statement}` in `{rule}`");
            self.statement((chain, place), number, statement, &what);
        }
    }

    fn statement(&mut self, (chain, place): At, number: usize, statement: &Statement, what: &str) {
        if let Statement::Verdict(verdict) = statement
            && let Some(other) = opposite(verdict)
        {
            self.add(format!("{what} turned"), |changed| {
                rules(changed, chain)[place].statements[number] = Statement::Verdict(other);
            });
            return;
        }
        self.add(format!("{what} left out"), |changed| {
            rules(changed, chain)[place].statements.remove(number);
        });
        if let Statement::Match(its) = statement {
            let turned = Match {
                negated: !its.negated,
                ..its.clone()
            };
            self.add(format!("{what} turned"), |changed| {
                rules(changed, chain)[place].statements[number] = Statement::Match(turned);
            });
        }
    }
}

/// Every mutant of the table for packets.
pub(crate) fn all(ruleset: &Ruleset) -> Vec<Mutant> {
    let mut nest = Nest {
        ruleset,
        found: Vec::new(),
    };
    for (number, chain) in ruleset.tables[0].chains.iter().enumerate() {
        let name = chain.name.as_str();
        if chain.base.is_some() {
            nest.hook(number, name);
        }
        for (place, rule) in chain.rules.iter().enumerate() {
            nest.rule((number, place), rule, name);
        }
    }
    nest.found
}
