//! A ruleset applied to one packet, as the kernel does it: hooks, chains by priority, jumps, sets and maps.
//!
//! Shares no code with the compiler or with [`super::decide`]: it is what they are compared by. Every value is a number here
//! (an address, a port, a name of an interface as its bytes), so that a set is a list of ranges of numbers.

mod facts;
mod span;
mod table;

use super::nft::{CgroupPath, Family, Field, Hook, Ident, Policy, Ruleset, Verdict};
use facts::Facts;
use table::{Body, Condition, Entrance, Program, Step};

pub(super) use span::{Span, number, of_value};

/// Why a ruleset can not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A rule speaks of a chain or set that its table does not have.
    #[error("{place} speaks of `{name}`, which is not there")]
    Dangling {
        /// The chain.
        place: String,
        /// What is missing.
        name: String,
    },
    /// Chains lead back to themselves.
    #[error("the chains go in a circle at {0}")]
    Circle(String),
}

/// What is known of a packet: a field that it does not have is absent, and a condition about it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packet {
    facts: Facts,
    /// The cgroup of the socket that it belongs to.
    pub cgroup: Option<CgroupPath>,
    /// What it becomes when it is sent to a port of this host: the facts that differ then.
    pub redirected: Vec<(Field, u128)>,
}

impl Packet {
    /// Sets a field.
    pub fn set(&mut self, field: Field, value: impl Into<u128>) {
        self.facts.set(field, Some(value.into()));
    }

    /// Takes a field away.
    pub fn unset(&mut self, field: Field) {
        self.facts.set(field, None);
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<u128> {
        self.facts.get(field)
    }
}

/// What becomes of a packet at one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it passes.
    pub passes: bool,
    /// The port of this host that it is sent to instead.
    pub redirected: Option<u16>,
    /// What decided: the drop, or the last accept.
    pub by: Option<Place>,
    /// Whether a rate was asked; the packet was taken to be within it.
    pub limited: bool,
}

/// A place in a ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: Ident,
    /// The chain.
    pub chain: Ident,
    /// The rule's place in the chain, from 0; none is the chain's policy.
    pub rule: Option<usize>,
}

/// A ruleset made ready for many packets.
#[derive(Debug)]
pub struct Machine<'r> {
    programs: Vec<Program<'r>>,
    /// Where packets enter which of the programs, by priority.
    entrances: Vec<(usize, Entrance)>,
}

impl<'r> Machine<'r> {
    /// Resolves every name once. Elements of sets hold, whatever their time.
    pub fn new(ruleset: &'r Ruleset) -> Result<Self, EvalError> {
        let programs = ruleset.tables.iter().map(Program::new);
        let programs: Vec<Program<'r>> = programs.collect::<Result<_, _>>()?;
        let mut entrances: Vec<(usize, Entrance)> = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            entrances.extend(program.entrances().map(|entrance| (index, entrance)));
        }
        entrances.sort_by_key(|(_, entrance)| entrance.priority);
        Ok(Self {
            programs,
            entrances,
        })
    }

    /// Sends a packet through the base chains of these hooks, one hook after the other, in the order of their priorities.
    ///
    /// The first drop is the end; an accept goes on with the next base chain. Chains that change addresses see only the first
    /// packet of a flow.
    pub fn run(&self, family: Family, hooks: &[Hook], packet: &Packet) -> Outcome {
        let mut outcome = Outcome {
            passes: true,
            redirected: None,
            by: None,
            limited: false,
        };
        let mut changed = None::<Packet>;
        for hook in hooks {
            for (program, chain) in self.hooked(family, *hook, packet) {
                let mut run = Run {
                    program,
                    packet: changed.as_ref().unwrap_or(packet),
                    limited: &mut outcome.limited,
                };
                let (end, place) = run.base(chain);
                outcome.by = Some(place);
                match end {
                    End::Accept => {}
                    End::Drop => {
                        outcome.passes = false;
                        return outcome;
                    }
                    End::Redirect(port) => {
                        outcome.redirected = Some(port);
                        redirect(changed.get_or_insert_with(|| packet.clone()), port);
                    }
                }
            }
        }
        outcome
    }

    fn hooked<'m>(
        &'m self,
        family: Family,
        hook: Hook,
        packet: &Packet,
    ) -> impl Iterator<Item = (&'m Program<'r>, usize)> + use<'m, 'r> {
        let new = packet.get(Field::CtState) == Some(8);
        let device = match hook {
            Hook::Ingress => packet.get(Field::InputInterface),
            Hook::Egress => packet.get(Field::OutputInterface),
            Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output => None,
        };
        self.entrances.iter().filter_map(move |(program, base)| {
            let program = self.programs.get(*program)?;
            let here = program.family == family
                && base.hook == hook
                && (!base.nat || new)
                && (base.device.is_none() || base.device == device);
            here.then_some((program, base.chain))
        })
    }
}

/// After `redirect` the packet goes to this host, and its ports say so.
fn redirect(packet: &mut Packet, port: u16) {
    for (field, value) in std::mem::take(&mut packet.redirected) {
        packet.set(field, value);
    }
    for field in [
        Field::TcpDestination,
        Field::UdpDestination,
        Field::TransportDestination,
    ] {
        if packet.get(field).is_some() {
            packet.set(field, port);
        }
    }
}

enum End {
    Accept,
    Drop,
    Redirect(u16),
}

/// How a chain ends for a packet.
enum Way {
    Final(End, usize, Option<usize>),
    Back,
}

struct Run<'a, 'r> {
    program: &'a Program<'r>,
    packet: &'a Packet,
    limited: &'a mut bool,
}

impl Run<'_, '_> {
    fn base(&mut self, chain: usize) -> (End, Place) {
        let place = |chain: usize, rule| Place {
            table: self.program.name.clone(),
            chain: self.program.chain_name(chain),
            rule,
        };
        match self.chain(chain) {
            Way::Final(end, chain, rule) => (end, place(chain, rule)),
            Way::Back => {
                let end = match self.program.policy(chain) {
                    Policy::Accept => End::Accept,
                    Policy::Drop => End::Drop,
                };
                (end, place(chain, None))
            }
        }
    }

    /// Chains form no circle (the machine was built), so this ends.
    fn chain(&mut self, chain: usize) -> Way {
        let program = self.program;
        for (number, rule) in program.rules(chain).iter().enumerate() {
            let Some(body) = self.rule(rule) else {
                continue;
            };
            match body {
                Body::Redirect(port) => {
                    return Way::Final(End::Redirect(*port), chain, Some(number));
                }
                Body::Verdict(Verdict::Accept) => {
                    return Way::Final(End::Accept, chain, Some(number));
                }
                Body::Verdict(Verdict::Drop) => {
                    return Way::Final(End::Drop, chain, Some(number));
                }
                Body::Verdict(Verdict::Return) => return Way::Back,
                Body::Verdict(Verdict::Goto(name)) => {
                    return program.find(name).map_or(Way::Back, |to| self.chain(to));
                }
                Body::Verdict(Verdict::Jump(name)) => {
                    let way = program.find(name).map_or(Way::Back, |to| self.chain(to));
                    if let Way::Final(..) = way {
                        return way;
                    }
                }
            }
        }
        Way::Back
    }

    /// What the rule says in the end, if all of it holds.
    fn rule<'s>(&mut self, steps: &'s [Step<'s>]) -> Option<&'s Body> {
        for step in steps {
            match step {
                Step::If(condition) => {
                    if !self.holds(condition) {
                        return None;
                    }
                }
                Step::Limit => *self.limited = true,
                Step::Lookup { key, set } => {
                    let key = self.key(key)?;
                    return set.get(&key)?.as_ref();
                }
                Step::Put { key, limited } => {
                    self.key(key)?;
                    *self.limited |= limited;
                }
                Step::End(body) => return Some(body),
            }
        }
        None
    }

    fn key(&self, fields: &[Field]) -> Option<Vec<u128>> {
        fields.iter().map(|field| self.packet.get(*field)).collect()
    }

    fn holds(&self, condition: &Condition<'_>) -> bool {
        match condition {
            Condition::Any {
                field,
                bits,
                negated,
            } => self
                .packet
                .get(*field)
                .is_some_and(|value| (value & bits != 0) != *negated),
            Condition::In { key, set, negated } => {
                let key = self.key(key);
                key.is_some_and(|key| set.get(&key).is_some() != *negated)
            }
            Condition::There { field, there } => self
                .packet
                .get(*field)
                .is_some_and(|value| (value != 0) == *there),
            Condition::Cgroup {
                path,
                level,
                negated,
            } => {
                let cgroup = self.packet.cgroup.as_ref();
                cgroup.is_some_and(|cgroup| below(cgroup, path, *level) != *negated)
            }
        }
    }
}

/// Whether the ancestor of a cgroup at that level is the one of the path.
fn below(cgroup: &CgroupPath, path: &CgroupPath, level: u8) -> bool {
    let ancestor: Vec<&str> = cgroup.as_str().split('/').take(level.into()).collect();
    let wanted: Vec<&str> = path.as_str().split('/').collect();
    ancestor == wanted
}
