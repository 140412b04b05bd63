//! From a policy to a ruleset.
//!
//! [`device`] writes the rules of a device for itself, [`guard`] those of a gateway for its whole network. [`trial`] puts two
//! rulesets into one, of which the kernel itself takes the older one again when the trial's time is over.

mod device;
mod guard;
mod line;
mod link;
mod trial;
mod window;

use stockade_profile::{Family, HostName};

use super::nft::{
    Base, Chain, ChainKind, Comment, Hook, Ident, Kind, Limit, Policy as End, Rule, Ruleset, Set,
    Statement, Unit, Verdict,
};

pub use device::device;
pub use guard::{Change, GuardPlan, Guarded, Model, Role, elements, guard};
pub use trial::{TRIAL, trial};

/// The name of a device's own tables.
pub const TABLE: &str = "stockade";
/// The name of the guard's tables.
pub const GUARD_TABLE: &str = "stockade_guard";
/// The group of a device's logged packets.
pub const LOG_GROUP: u16 = 53;
/// The group of the guard's logged packets.
pub const GUARD_LOG_GROUP: u16 = 54;

/// How much of a refused packet is copied to those who watch: enough for the headers.
const SNAPLEN: u32 = 128;

/// Which of two places for a device's rules: a new generation takes the one that the old one does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// What the names of its chains begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::A => "a_",
            Self::B => "b_",
        }
    }

    /// The slot that a ruleset's chains are in, if they are all in one.
    pub fn of(ruleset: &Ruleset) -> Option<Self> {
        let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
        let inner = chains.filter(|chain| chain.base.is_none());
        let slots = inner.map(|chain| match chain.name.as_str().get(..2) {
            Some("a_") => Some(Self::A),
            Some("b_") => Some(Self::B),
            _ => None,
        });
        slots.reduce(|all, one| if all == one { all } else { None })?
    }
}

/// The set that holds the addresses of a name in a family; the same in every generation.
///
/// A host name has at most 253 bytes, so it fits behind two.
pub fn name_set(name: &HostName, family: Family) -> Ident {
    Ident::made(
        match family {
            Family::Ipv4 => "n4",
            Family::Ipv6 => "n6",
        },
        name.as_str(),
    )
}

impl Ruleset {
    /// The text of one transaction that puts these tables in the place of any of the same names; `gone` are tables of ours
    /// that are no longer wanted.
    pub fn replacing(&self, gone: &Self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let kept = |family, name: &Ident| self.table(family, name.as_str()).is_some();
        let old = gone.tables.iter().filter(|it| !kept(it.family, &it.name));
        for table in self.tables.iter().chain(old) {
            let (family, name) = (table.family, &table.name);
            // A table is made first so that deleting it does not fail where there is none.
            let _: std::fmt::Result =
                writeln!(text, "table {family} {name}\ndelete table {family} {name}");
        }
        let _: std::fmt::Result = write!(text, "{self}");
        text
    }
}

impl Ruleset {
    /// The same tables without the elements of bulk sets, which may be many: nft needs a kilobyte and more for each that it
    /// reads, the kernel's own messages a tenth.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut bare = self.clone();
        let sets = bare.tables.iter_mut().flat_map(|table| &mut table.sets);
        for set in sets.filter(|set| set.is_bulk()) {
            set.elements = Vec::new();
        }
        bare
    }
}

impl Set {
    /// Whether its elements can be put in one by one after it was made: single keys that do not run out.
    pub fn is_bulk(&self) -> bool {
        !self.timeout && !self.interval
    }
}

/// The set of a name's addresses, empty.
fn named(name: &HostName, family: Family) -> Set {
    Set {
        name: name_set(name, family),
        key: vec![match family {
            Family::Ipv4 => Kind::Ip4,
            Family::Ipv6 => Kind::Ip6,
        }],
        map: false,
        interval: false,
        dynamic: false,
        timeout: true,
        default_timeout: None,
        size: Some(1024),
        elements: Vec::new(),
    }
}

/// A set without flags.
fn plain_set(name: Ident, key: Vec<Kind>, map: bool) -> Set {
    Set {
        name,
        key,
        map,
        interval: false,
        dynamic: false,
        timeout: false,
        default_timeout: None,
        size: None,
        elements: Vec::new(),
    }
}

fn chain(name: Ident, rules: Vec<Rule>) -> Chain {
    Chain {
        name,
        base: None,
        rules,
    }
}

fn base(name: &str, kind: ChainKind, hook: Hook, priority: i32, policy: End) -> Chain {
    Chain {
        name: Ident::made(name, ""),
        base: Some(Base {
            kind,
            hook,
            priority,
            device: None,
            policy,
        }),
        rules: Vec::new(),
    }
}

fn goto(chain: &Ident) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.clone()))
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

/// The chain at the end of a way: a copy to those who watch, not too many, and the packet is gone.
fn refusal(name: Ident, prefix: &str, group: u16) -> Chain {
    let limit = Limit {
        rate: 20,
        per: Unit::Second,
        burst: 100,
    };
    let log = Statement::Log {
        group,
        prefix: Comment::made(prefix),
        snaplen: SNAPLEN,
    };
    let rules = vec![
        Rule::new([Statement::Limit(limit), log]),
        Rule::new([Statement::Counter, Verdict::Drop.into()]),
    ];
    chain(name, rules)
}
