//! What a release lost: metrics of the literature, by the names that ARX uses, so that numbers can be compared.

use crate::hierarchy::Hierarchy;
use crate::number::{place, real, share};

/// What was lost on the way from a table to a release; 0 is nothing, 1 everything, unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// For each quasi-identifier, in the order of the table: its mean loss over all rows of the table. The loss of a name is
    /// `(values it may stand for - 1) / (values - 1)` (Iyengar, KDD 2002; the normalised certainty penalty of Xu et al., KDD 2006); a row that
    /// was left out loses all of it.
    pub columns: Vec<f64>,
    /// Their geometric mean, by way of `1 + loss`: ARX's "Loss", which [`crate::search`] makes small.
    pub geometric: f64,
    /// Their mean.
    pub mean: f64,
    /// Discernibility (Bayardo, Agrawal, ICDE 2005): the squares of the classes' rows, and for each row left out the number of all rows.
    pub discernibility: f64,
    /// Average class size (`LeFevre` et al., ICDE 2006): rows of a class over k, on average; 1 is the best.
    pub class_size: f64,
    /// Non-uniform entropy (de Waal, Willenborg 1999; Prasser et al. 2016): the information about the values that is gone, over all there was.
    pub entropy: f64,
}

/// Of the columns' losses one: see [`Loss::geometric`].
pub(crate) fn geometric(columns: &[f64]) -> f64 {
    if columns.is_empty() {
        return 0.0;
    }
    let product: f64 = columns.iter().map(|loss| 1.0 + loss).product();
    product.powf(1.0 / real(columns.len())) - 1.0
}

/// For each level of a hierarchy, the loss of each of its names.
pub(crate) fn of_names(hierarchy: &Hierarchy) -> Vec<Vec<f64>> {
    let size: u32 = hierarchy
        .levels()
        .last()
        .map_or(0, |level| level.leaves().iter().sum());
    let of_leaves = |leaves: &u32| {
        if size < 2 {
            return 0.0;
        }
        f64::from(leaves.saturating_sub(1)) / f64::from(size - 1)
    };
    let levels = hierarchy.levels().iter();
    levels
        .map(|level| level.leaves().iter().map(of_leaves).collect())
        .collect()
}

/// The entropy that is lost where each row of a column becomes a name: for each row the code of its value and of what is now said of it, which
/// may stand for values of other rows only if they are said so too.
pub(crate) fn entropy(values: &[(u32, u32)], domain: usize, names: usize) -> (f64, f64) {
    let (mut of_values, mut of_names) = (vec![0_usize; domain], vec![0_usize; names]);
    for (value, name) in values {
        of_values[place(*value)] += 1;
        of_names[place(*name)] += 1;
    }
    let (mut lost, mut all) = (0.0, 0.0);
    let mut pairs: Vec<(u32, u32)> = values.to_vec();
    pairs.sort_unstable();
    for run in pairs.chunk_by(|a, b| a == b) {
        let Some((value, name)) = run.first() else {
            continue;
        };
        let rows = real(run.len());
        lost -= rows * share(run.len(), of_names[place(*name)]).log2();
        all -= rows * share(of_values[place(*value)], values.len()).log2();
    }
    (lost, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_as_it_is_and_everything_where_nothing_is_said() {
        let as_it_is = [(0, 0), (0, 0), (1, 1), (2, 2)];
        let (lost, all) = entropy(&as_it_is, 3, 3);
        assert!(lost.abs() < 1e-12 && (all - 6.0).abs() < 1e-12);
        let nothing = as_it_is.map(|(value, _)| (value, 0));
        let (lost, all) = entropy(&nothing, 3, 1);
        assert!((lost - all).abs() < 1e-12);
        assert!((geometric(&[1.0, 1.0]) - 1.0).abs() < 1e-12);
    }
}
