//! What a release must reach.

/// How different the sensitive values of a class must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Diversity {
    /// So many different values (Machanavajjhala et al., TKDD 2007).
    Distinct(u32),
    /// An entropy of at least the logarithm of this (ibid., §4.1).
    Entropy(f64),
    /// Recursive (c, l): the most frequent value less frequent than c times all from the l-th on (ibid., §4.1).
    Recursive {
        /// The factor.
        c: f64,
        /// From which value on they are counted.
        l: u32,
    },
}

/// What each class of a release must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// At least so many distinct subjects.
    pub k: u32,
    /// The values of each sensitive column so different, if asked for; of a table without one this asks nothing.
    pub l: Option<Diversity>,
    /// The values of each sensitive column distributed as in the whole table, but for this distance, if asked for.
    pub t: Option<f64>,
    /// The share of the rows that may be left out, from 0 to 1.
    pub suppress: f64,
}
