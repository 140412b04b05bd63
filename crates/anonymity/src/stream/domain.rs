//! What a quasi-identifier can be, what covers several of its cells, and what is lost by it.

use crate::number::{code, place};
use crate::{Hierarchy, Level};

/// What a quasi-identifier can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// A number of a range; becomes an interval.
    Number {
        /// The smallest there is.
        low: f64,
        /// The greatest there is.
        high: f64,
    },
    /// A value of a hierarchy's first level; becomes the lowest name that covers all.
    Category(Hierarchy),
}

/// One value of a quasi-identifier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    /// Of a [`Domain::Number`].
    Number(f64),
    /// Of a [`Domain::Category`]: the code on its first level.
    Code(u32),
}

/// What the cells of an emission become.
#[derive(Debug, Clone, PartialEq)]
pub enum Span {
    /// From the smallest to the greatest, both of them cells.
    Number(f64, f64),
    /// A name of the hierarchy.
    Name(String),
}

/// A domain, prepared.
#[derive(Debug)]
pub(super) enum Compiled {
    Number {
        low: f64,
        high: f64,
    },
    Category {
        levels: Vec<Level>,
        leaves: Vec<Vec<u32>>,
        order: Vec<u32>,
    },
}

/// What covers some cells.
#[derive(Debug)]
pub(super) enum Range {
    Number(f64, f64),
    /// A code of a level.
    Name {
        level: usize,
        code: u32,
    },
    /// There were no cells of this domain.
    Nothing,
}

impl Compiled {
    pub(super) fn of(domain: &Domain) -> Option<Self> {
        match domain {
            Domain::Number { low, high } => {
                let sound =
                    low.is_finite() && high.is_finite() && (high - low).is_finite() && low < high;
                sound.then_some(Self::Number {
                    low: *low,
                    high: *high,
                })
            }
            Domain::Category(hierarchy) => {
                let levels = hierarchy.levels().to_vec();
                let leaves = levels
                    .iter()
                    .map(|level| {
                        let mut leaves = vec![0; level.dictionary().len()];
                        for name in level.codes() {
                            leaves[place(*name)] += 1;
                        }
                        leaves
                    })
                    .collect();
                let count = levels.first()?.codes().len();
                if count == 0 {
                    return None;
                }
                let mut sorted: Vec<usize> = (0..count).collect();
                sorted.sort_by_key(|leaf| -> Vec<u32> {
                    levels
                        .iter()
                        .rev()
                        .map(|level| level.codes()[*leaf])
                        .collect()
                });
                let mut order = vec![0; count];
                for (rank, leaf) in sorted.into_iter().enumerate() {
                    order[leaf] = code(rank);
                }
                Some(Self::Category {
                    levels,
                    leaves,
                    order,
                })
            }
        }
    }

    pub(super) fn holds(&self, cell: Cell) -> bool {
        match (self, cell) {
            // Not what is no number either.
            (Self::Number { low, high }, Cell::Number(number)) => (*low..=*high).contains(&number),
            (Self::Category { order, .. }, Cell::Code(code)) => place(code) < order.len(),
            _ => false,
        }
    }

    /// Where in the domain a cell is, 0 to 1; neighbours are alike.
    pub(super) fn position(&self, cell: Cell) -> f64 {
        match (self, cell) {
            (Self::Number { low, high }, Cell::Number(number)) => (number - low) / (high - low),
            (Self::Category { order, .. }, Cell::Code(code)) => {
                f64::from(order[place(code)]) / f64::from(self::code(order.len()))
            }
            _ => 0.0,
        }
    }

    pub(super) fn around(&self, cells: impl Iterator<Item = Cell>) -> Range {
        cells.fold(Range::Nothing, |range, cell| match (self, range, cell) {
            (_, Range::Nothing, Cell::Number(number)) => Range::Number(number, number),
            (Self::Category { levels, .. }, Range::Nothing, Cell::Code(leaf)) => Range::Name {
                level: 0,
                code: levels[0].codes()[place(leaf)],
            },
            (_, Range::Number(low, high), Cell::Number(number)) => {
                Range::Number(low.min(number), high.max(number))
            }
            (Self::Category { levels, .. }, Range::Name { level, code }, Cell::Code(leaf)) => {
                up_to(levels, level, code, leaf)
            }
            (_, range, _) => range,
        })
    }

    /// What is lost (normalised certainty penalty: Xu et al., KDD 2006, §2): the part of the range, or of the leaves, that is
    /// covered, where one leaf alone loses nothing.
    pub(super) fn loss(&self, range: &Range) -> f64 {
        match (self, range) {
            (Self::Number { low, high }, Range::Number(from, to)) => (to - from) / (high - low),
            (Self::Category { leaves, order, .. }, Range::Name { level, code }) => {
                let covered = leaves[*level][place(*code)];
                if covered < 2 {
                    0.0
                } else {
                    f64::from(covered) / f64::from(self::code(order.len()))
                }
            }
            _ => 0.0,
        }
    }

    pub(super) fn span(&self, range: &Range) -> Span {
        match (self, range) {
            (Self::Category { levels, .. }, Range::Name { level, code }) => {
                Span::Name(levels[*level].dictionary()[place(*code)].clone())
            }
            (_, Range::Number(low, high)) => Span::Number(*low, *high),
            _ => Span::Name(crate::ANY.to_owned()),
        }
    }
}

/// The lowest name that covers a name and a leaf. The last level has one name only.
fn up_to(levels: &[Level], level: usize, code: u32, leaf: u32) -> Range {
    // Any leaf of the name stands for it.
    let own = levels[level]
        .codes()
        .iter()
        .position(|name| *name == code)
        .unwrap_or(0);
    let level = (level..levels.len())
        .find(|level| levels[*level].codes()[own] == levels[*level].codes()[place(leaf)])
        .unwrap_or(levels.len() - 1);
    Range::Name {
        level,
        code: levels[level].codes()[own],
    }
}
