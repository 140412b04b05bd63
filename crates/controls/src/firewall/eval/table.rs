//! One table made ready: names resolved, sets indexed, statements reduced to what they mean for a packet.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::nft::{
    CgroupPath, Chain, ChainKind, Family, Field, Hook, Ident, MapSource, Match, Policy, Set,
    Statement, Table as Source, To, Value, Verdict,
};
use super::EvalError;
use super::span::{Table, number, of_value};

/// A set or map: what is behind a key, if the key is in it.
type Lookup = Table<Option<Body>>;

/// What a rule says once all of it holds.
#[derive(Debug)]
pub(super) enum Body {
    Verdict(Verdict),
    Redirect(u16),
}

/// One statement, as far as it matters to a packet.
#[derive(Debug)]
pub(super) enum Step<'r> {
    If(Condition<'r>),
    /// A rate: taken to hold.
    Limit,
    /// A set that the packet's key is put into, with or without a rate: the packet must have the fields.
    Put {
        key: &'r [Field],
        limited: bool,
    },
    Lookup {
        key: &'r [Field],
        set: Rc<Lookup>,
    },
    End(Body),
}

/// A condition.
#[derive(Debug)]
pub(super) enum Condition<'r> {
    /// One of these bits is set, or none of them.
    Any {
        field: Field,
        bits: u128,
        negated: bool,
    },
    /// The key is in the set.
    In {
        key: &'r [Field],
        set: Rc<Lookup>,
        negated: bool,
    },
    /// Something is there, or is not.
    There { field: Field, there: bool },
    /// The socket is below this cgroup.
    Cgroup {
        path: &'r CgroupPath,
        level: u8,
        negated: bool,
    },
}

/// Where packets enter.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) hook: Hook,
    pub(super) priority: i32,
    pub(super) nat: bool,
    pub(super) device: Option<u128>,
    pub(super) chain: usize,
}

/// A table.
#[derive(Debug)]
pub(super) struct Program<'r> {
    pub(super) family: Family,
    pub(super) name: Ident,
    source: &'r Source,
    chains: Vec<Vec<Vec<Step<'r>>>>,
    names: BTreeMap<&'r str, usize>,
}

impl<'r> Program<'r> {
    pub(super) fn new(source: &'r Source) -> Result<Self, EvalError> {
        let names = source.chains.iter().enumerate();
        let names: BTreeMap<&str, usize> = names
            .map(|(index, chain)| (chain.name.as_str(), index))
            .collect();
        let sets: BTreeMap<&str, Rc<Lookup>> = source
            .sets
            .iter()
            .map(|set| (set.name.as_str(), Rc::new(index(set))))
            .collect();
        let reader = Reader {
            source,
            names: &names,
            sets: &sets,
        };
        let chains = source.chains.iter().map(|chain| reader.chain(chain));
        let chains = chains.collect::<Result<Vec<_>, _>>()?;
        circles(source, &names)?;
        Ok(Self {
            family: source.family,
            name: source.name.clone(),
            source,
            chains,
            names,
        })
    }

    pub(super) fn entrances(&self) -> impl Iterator<Item = Entrance> {
        let chains = self.source.chains.iter().enumerate();
        let bases = chains.filter_map(|(chain, its)| Some((chain, its.base.as_ref()?)));
        bases.map(|(chain, base)| {
            let device = base.device.as_ref();
            Entrance {
                hook: base.hook,
                priority: base.priority,
                nat: base.kind == ChainKind::Nat,
                device: device.map(|name| number(name.as_str().as_bytes())),
                chain,
            }
        })
    }

    pub(super) fn chain_name(&self, chain: usize) -> Ident {
        let found = self.source.chains.get(chain);
        found.map_or_else(|| self.name.clone(), |chain| chain.name.clone())
    }

    pub(super) fn policy(&self, chain: usize) -> Policy {
        let base = self
            .source
            .chains
            .get(chain)
            .and_then(|chain| chain.base.as_ref());
        base.map_or(Policy::Drop, |base| base.policy)
    }

    pub(super) fn rules(&self, chain: usize) -> &[Vec<Step<'r>>] {
        self.chains.get(chain).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, name: &Ident) -> Option<usize> {
        self.names.get(name.as_str()).copied()
    }
}

fn spans(key: &[Value]) -> Vec<super::Span> {
    key.iter().map(of_value).collect()
}

fn index(set: &Set) -> Lookup {
    let elements = set.elements.iter();
    Table::new(elements.map(|element| {
        (
            spans(&element.key),
            element.verdict.clone().map(Body::Verdict),
        )
    }))
}

struct Reader<'a, 'r> {
    source: &'r Source,
    names: &'a BTreeMap<&'r str, usize>,
    sets: &'a BTreeMap<&'r str, Rc<Lookup>>,
}

impl<'r> Reader<'_, 'r> {
    fn chain(&self, chain: &'r Chain) -> Result<Vec<Vec<Step<'r>>>, EvalError> {
        let rules = chain.rules.iter();
        rules
            .map(|rule| {
                let steps = rule.statements.iter();
                let steps = steps.filter_map(|statement| self.step(statement, chain).transpose());
                steps.collect()
            })
            .collect()
    }

    fn step(&self, statement: &'r Statement, chain: &Chain) -> Result<Option<Step<'r>>, EvalError> {
        Ok(Some(match statement {
            Statement::Match(condition) => Step::If(self.condition(condition, chain)?),
            Statement::Map { key, map } => Step::Lookup {
                key,
                set: match map {
                    MapSource::Named(name) => self.set(name, chain)?,
                    MapSource::Anonymous(elements) => {
                        for (_, verdict) in elements {
                            self.known(verdict, chain)?;
                        }
                        let elements = elements.iter();
                        let elements = elements.map(|(key, verdict)| {
                            (spans(key), Some(Body::Verdict(verdict.clone())))
                        });
                        Rc::new(Table::new(elements))
                    }
                },
            },
            Statement::Limit(_) => Step::Limit,
            Statement::Meter { set, key, .. } => {
                self.set(set, chain)?;
                Step::Put { key, limited: true }
            }
            Statement::Update { set, key } => {
                self.set(set, chain)?;
                Step::Put {
                    key,
                    limited: false,
                }
            }
            Statement::Log { .. } | Statement::Counter => return Ok(None),
            Statement::Redirect { port } => Step::End(Body::Redirect(*port)),
            Statement::Verdict(verdict) => {
                self.known(verdict, chain)?;
                Step::End(Body::Verdict(verdict.clone()))
            }
        }))
    }

    fn condition(&self, condition: &'r Match, chain: &Chain) -> Result<Condition<'r>, EvalError> {
        let Match { key, negated, to } = condition;
        let first = key.first().copied();
        Ok(match (to, first) {
            (To::Value(Value::States(states)), Some(field)) => Condition::Any {
                field,
                bits: states.bits().into(),
                negated: *negated,
            },
            (To::Value(value), _) => Condition::In {
                key,
                set: Rc::new(Table::new([(vec![of_value(value)], None)].into_iter())),
                negated: *negated,
            },
            (To::Anonymous(keys), _) => Condition::In {
                key,
                set: Rc::new(Table::new(keys.iter().map(|key| (spans(key), None)))),
                negated: *negated,
            },
            (To::Set(name), _) => Condition::In {
                key,
                set: self.set(name, chain)?,
                negated: *negated,
            },
            (To::Exists | To::Missing, Some(field)) => Condition::There {
                field,
                there: (*to == To::Exists) != *negated,
            },
            (To::Cgroup(path), Some(Field::SocketCgroup(level))) => Condition::Cgroup {
                path,
                level,
                negated: *negated,
            },
            (To::Exists | To::Missing | To::Cgroup(_), _) => {
                return Err(dangling(self.source, chain, "nothing"));
            }
        })
    }

    fn set(&self, name: &Ident, chain: &Chain) -> Result<Rc<Lookup>, EvalError> {
        let found = self.sets.get(name.as_str()).map(Rc::clone);
        found.ok_or_else(|| dangling(self.source, chain, name.as_str()))
    }

    fn known(&self, verdict: &Verdict, chain: &Chain) -> Result<(), EvalError> {
        match verdict {
            Verdict::Jump(to) | Verdict::Goto(to) if !self.names.contains_key(to.as_str()) => {
                Err(dangling(self.source, chain, to.as_str()))
            }
            _ => Ok(()),
        }
    }
}

fn dangling(table: &Source, chain: &Chain, name: &str) -> EvalError {
    EvalError::Dangling {
        place: format!("{} {} {}", table.family, table.name, chain.name),
        name: name.to_owned(),
    }
}

/// Where a chain leads to, by its rules and by the maps that they ask.
fn targets<'r>(source: &'r Source, chain: &'r Chain) -> Vec<&'r Verdict> {
    let mut found = Vec::new();
    for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Verdict(verdict) => found.push(verdict),
            Statement::Map {
                map: MapSource::Anonymous(elements),
                ..
            } => {
                found.extend(elements.iter().map(|(_, verdict)| verdict));
            }
            Statement::Map {
                map: MapSource::Named(name),
                ..
            } => {
                let set = source.set(name.as_str());
                let elements = set.into_iter().flat_map(|set| &set.elements);
                found.extend(elements.filter_map(|element| element.verdict.as_ref()));
            }
            _ => {}
        }
    }
    found
}

/// The kernel refuses chains that lead back to themselves; so do we, or a packet would never end.
fn circles<'r>(source: &'r Source, names: &BTreeMap<&'r str, usize>) -> Result<(), EvalError> {
    let next: Vec<Vec<usize>> = source
        .chains
        .iter()
        .map(|chain| {
            let mut to: Vec<usize> = targets(source, chain)
                .into_iter()
                .filter_map(|verdict| match verdict {
                    Verdict::Jump(to) | Verdict::Goto(to) => names.get(to.as_str()).copied(),
                    Verdict::Accept | Verdict::Drop | Verdict::Return => None,
                })
                .collect();
            to.sort_unstable();
            to.dedup();
            to
        })
        .collect();
    // Take away chains that lead nowhere any more, again and again; what is left goes in a circle.
    let mut left: Vec<bool> = vec![true; next.len()];
    loop {
        let ends = |chain: &usize| {
            let to = next.get(*chain);
            let leads =
                to.is_some_and(|to| to.iter().any(|it| left.get(*it).copied().unwrap_or(false)));
            left.get(*chain).copied().unwrap_or(false) && !leads
        };
        let gone: Vec<usize> = (0..next.len()).filter(ends).collect();
        if gone.is_empty() {
            break;
        }
        for chain in gone {
            if let Some(it) = left.get_mut(chain) {
                *it = false;
            }
        }
    }
    match left
        .iter()
        .position(|it| *it)
        .and_then(|chain| source.chains.get(chain))
    {
        None => Ok(()),
        Some(chain) => Err(EvalError::Circle(format!(
            "{} {} {}",
            source.family, source.name, chain.name
        ))),
    }
}
