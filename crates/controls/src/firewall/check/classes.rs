//! Which values of a field need to be tried: one for each way of answering all the tests about it.
//!
//! Each test about a field is a set of ranges. Between two neighbouring ends of ranges nothing changes, so the first value of
//! each such stretch stands for it; of those that answer every test alike, one is enough.

use std::collections::{BTreeMap, BTreeSet};

use super::super::eval::{Span, of_value};
use super::super::nft::{
    CgroupPath, Chain, Family as TableFamily, Field, Hook, Ident, MapSource, Match, Rule, Ruleset,
    Statement, Table, To, Value, Verdict,
};

/// The tests about each field.
#[derive(Debug, Default)]
pub(super) struct Tests {
    tests: BTreeMap<Field, BTreeSet<Vec<Span>>>,
    /// The fields that each rule has conditions on.
    together: BTreeSet<BTreeSet<Field>>,
    /// The kinds of ICMP for IPv6 whose target some rule asks for.
    targeted: Vec<Span>,
    /// The cgroups that rules speak of.
    cgroups: BTreeSet<CgroupPath>,
}

impl Tests {
    /// The tests that packets meet at these hooks, in a ruleset's tables of this family.
    pub(super) fn of(ruleset: &Ruleset, family: TableFamily, hooks: &[Hook]) -> Self {
        let mut tests = Self::default();
        let tables = ruleset.tables.iter();
        for table in tables.filter(|table| table.family == family) {
            for rule in reached(table, hooks).iter().flat_map(|chain| &chain.rules) {
                let mut fields = BTreeSet::new();
                for statement in &rule.statements {
                    tests.statement(table, statement);
                    if let Statement::Match(Match { key, .. }) | Statement::Map { key, .. } =
                        statement
                    {
                        fields.extend(key.iter().copied());
                    }
                }
                if fields.contains(&Field::NdTarget) {
                    tests.targeted.extend(kinds(rule));
                }
                tests.together.insert(fields);
            }
        }
        tests
    }

    /// One more test.
    pub(super) fn add(&mut self, field: Field, spans: impl IntoIterator<Item = Span>) {
        let spans: Vec<Span> = spans.into_iter().collect();
        self.tests.entry(field).or_default().insert(spans);
    }

    /// The fields that there are tests about.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        self.tests.keys().copied()
    }

    /// Whether there are tests about a field.
    pub(super) fn asks(&self, field: Field) -> bool {
        self.tests.contains_key(&field)
    }

    /// One value for each way of answering the tests about a field; the highest that it can have is `most`. A way that one of
    /// the `usual` values answers is answered by that one, and comes first.
    pub(super) fn values(&self, field: Field, most: u128, usual: &[u128]) -> Vec<u128> {
        let none = BTreeSet::new();
        let tests = self.tests.get(&field).unwrap_or(&none);
        let mut starts = BTreeSet::from([0]);
        for (first, last) in tests.iter().flatten() {
            starts.insert(*first);
            starts.extend(last.checked_add(1));
        }
        let starts = starts.into_iter().filter(|start| *start <= most);
        let mut seen: BTreeSet<Vec<bool>> = BTreeSet::new();
        let mut values = Vec::new();
        for value in usual.iter().copied().chain(starts) {
            let holds = |spans: &Vec<Span>| {
                let mut spans = spans.iter();
                spans.any(|(first, last)| (first..=last).contains(&&value))
            };
            if seen.insert(tests.iter().map(holds).collect()) {
                values.push(value);
            }
        }
        values
    }

    /// Whether every rule with a condition on `field` has one on `other` as well, so that it matters to those packets alone.
    pub(super) fn only_with(&self, field: Field, other: Field) -> bool {
        self.together
            .iter()
            .all(|fields| !fields.contains(&field) || fields.contains(&other))
    }

    /// The cgroups that rules speak of.
    pub(super) fn cgroups(&self) -> impl Iterator<Item = &CgroupPath> {
        self.cgroups.iter()
    }

    /// Whether some rule asks for the target of a message of this kind.
    pub(super) fn asks_target(&self, kind: u8) -> bool {
        self.targeted
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&kind.into()))
    }

    fn statement(&mut self, table: &Table, statement: &Statement) {
        match statement {
            Statement::Match(Match { key, to, .. }) => match to {
                To::Value(value) => self.keys(key, [std::slice::from_ref(value)].into_iter()),
                To::Anonymous(keys) => self.keys(key, keys.iter().map(Vec::as_slice)),
                To::Set(name) => self.named(table, key, name),
                To::Cgroup(path) => {
                    self.cgroups.insert(path.clone());
                    for field in key {
                        self.tests.entry(*field).or_default();
                    }
                }
                To::Exists | To::Missing => {
                    for field in key {
                        self.add(*field, [(1, 1)]);
                    }
                }
            },
            Statement::Map { key, map } => match map {
                MapSource::Named(name) => self.mapped(table, key, name),
                MapSource::Anonymous(elements) => {
                    for (values, _) in elements {
                        self.keys(key, [values.as_slice()].into_iter());
                    }
                }
            },
            Statement::Meter { key, .. } | Statement::Update { key, .. } => {
                for field in key {
                    self.tests.entry(*field).or_default();
                }
            }
            Statement::Limit(_)
            | Statement::Log { .. }
            | Statement::Counter
            | Statement::Redirect { .. }
            | Statement::Verdict(_) => {}
        }
    }

    /// Keys of one part are one test together; of keys with several parts each is one.
    fn keys<'v>(&mut self, fields: &[Field], keys: impl Iterator<Item = &'v [Value]>) {
        if let [field] = fields {
            self.add(*field, keys.flatten().map(of_value));
            return;
        }
        for key in keys {
            for (field, value) in fields.iter().zip(key) {
                self.add(*field, [of_value(value)]);
            }
        }
    }

    fn named(&mut self, table: &Table, key: &[Field], name: &Ident) {
        if let Some(set) = table.set(name.as_str()) {
            let elements = set.elements.iter();
            self.keys(key, elements.map(|element| element.key.as_slice()));
        }
    }

    fn mapped(&mut self, table: &Table, key: &[Field], name: &Ident) {
        if let Some(set) = table.set(name.as_str()) {
            for element in &set.elements {
                self.keys(key, [element.key.as_slice()].into_iter());
            }
        }
    }
}

/// The kinds of ICMP for IPv6 that a rule is held to; all, unless it says so by plain values.
fn kinds(rule: &Rule) -> Vec<Span> {
    for statement in &rule.statements {
        if let Statement::Match(Match {
            key,
            negated: false,
            to,
        }) = statement
            && key.as_slice() == [Field::Icmp6Type]
        {
            match to {
                To::Value(value) => return vec![of_value(value)],
                To::Anonymous(keys) => return keys.iter().flatten().map(of_value).collect(),
                To::Set(_) | To::Exists | To::Missing | To::Cgroup(_) => {}
            }
        }
    }
    vec![(0, 255)]
}

/// The chains that packets come to from these hooks.
fn reached<'r>(table: &'r Table, hooks: &[Hook]) -> Vec<&'r Chain> {
    let hooked = |chain: &&Chain| {
        let base = chain.base.as_ref();
        base.is_some_and(|base| hooks.contains(&base.hook))
    };
    let mut found: Vec<&Chain> = table.chains.iter().filter(hooked).collect();
    let mut next = 0;
    while let Some(chain) = found.get(next) {
        next = next.saturating_add(1);
        for to in leads(table, chain) {
            if let Some(chain) = table.chain(to.as_str())
                && found.iter().all(|its| its.name != chain.name)
            {
                found.push(chain);
            }
        }
    }
    found
}

fn leads<'r>(table: &'r Table, chain: &'r Chain) -> Vec<&'r Ident> {
    let mut verdicts = Vec::new();
    for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Verdict(verdict) => verdicts.push(verdict),
            Statement::Map { map, .. } => match map {
                MapSource::Named(name) => {
                    let elements = table.set(name.as_str()).into_iter();
                    let elements = elements.flat_map(|set| &set.elements);
                    verdicts.extend(elements.filter_map(|element| element.verdict.as_ref()));
                }
                MapSource::Anonymous(elements) => {
                    verdicts.extend(elements.iter().map(|(_, verdict)| verdict));
                }
            },
            _ => {}
        }
    }
    let to = verdicts.into_iter().filter_map(|verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(to),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    });
    to.collect()
}
