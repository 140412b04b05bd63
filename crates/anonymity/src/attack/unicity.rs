//! Uniqueness by a few points (de Montjoye et al., *Unique in the Crowd*, Sci. Rep. 3, 1376, 2013): whoever knows a few points
//! of somebody's trace, and nothing else, is the trace with all of them the only one?

use std::collections::BTreeMap;

use super::Xorshift;

/// How many traces a few of their points single out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unicity {
    /// Traces with enough points to know some of them.
    pub tried: u32,
    /// Those that no other trace shares the known points with.
    pub unique: u32,
}

impl Unicity {
    /// The part that is singled out, 0 to 1.
    pub fn share(self) -> f64 {
        if self.tried == 0 {
            0.0
        } else {
            f64::from(self.unique) / f64::from(self.tried)
        }
    }
}

/// Tries every trace once, with `points` of its own, different points, chosen by `seed`. A point is whatever its caller makes a
/// number of: a cell and an hour, a reading and its time.
pub fn unicity(traces: &[Vec<u64>], points: usize, seed: u64) -> Unicity {
    let mut random = Xorshift::new(seed);
    let traces: Vec<Vec<u64>> = traces
        .iter()
        .map(|trace| {
            let mut trace = trace.clone();
            trace.sort_unstable();
            trace.dedup();
            trace
        })
        .collect();
    let mut at: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (subject, trace) in traces.iter().enumerate() {
        for point in trace {
            at.entry(*point).or_default().push(subject);
        }
    }
    let mut result = Unicity {
        tried: 0,
        unique: 0,
    };
    for trace in traces {
        if points == 0 || trace.len() < points {
            continue;
        }
        let mut known = trace;
        // The first of a shuffle (Fisher and Yates).
        for place in 0..points {
            let other = place.saturating_add(random.below(known.len().saturating_sub(place)));
            known.swap(place, other);
        }
        known.truncate(points);
        let mut postings = known.iter().filter_map(|point| at.get(point));
        let mut left: Vec<usize> = postings.next().cloned().unwrap_or_default();
        for others in postings {
            left.retain(|subject| others.binary_search(subject).is_ok());
        }
        result.tried = result.tried.saturating_add(1);
        if left.len() == 1 {
            result.unique = result.unique.saturating_add(1);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_alone_is_unique_and_who_goes_in_a_crowd_is_not() {
        let crowd = vec![vec![1, 2, 3, 4, 5]; 9];
        let found = unicity(&crowd, 4, 7);
        assert_eq!((found.tried, found.unique), (9, 0));
        let mut one_more = crowd;
        one_more.push(vec![11, 12, 13, 14]);
        one_more.push(vec![1, 2]);
        let found = unicity(&one_more, 4, 7);
        assert_eq!((found.tried, found.unique), (10, 1));
    }
}
