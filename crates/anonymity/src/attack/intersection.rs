//! Several releases of the same people: whoever knows in which class somebody is in each of them looks for those who are in
//! all of these classes.

use std::collections::BTreeMap;

/// Histories, and how many subjects have each.
type Members<'h> = Vec<(&'h [Option<u32>], u32)>;

/// For each subject: how many subjects (itself among them) were with it wherever it was. `releases` has one entry a release,
/// each with the class of every subject, or `None` where it was not in the release. A subject that was never released has 0.
///
/// A group of k has failed for everybody with less than k here. What is *not* covered: that somebody's leaving shows in the
/// difference of two releases.
pub fn candidates(releases: &[Vec<Option<u32>>]) -> Vec<u32> {
    let subjects = releases.iter().map(Vec::len).max().unwrap_or(0);
    // Those with the same history are one to the attacker: there are far fewer histories than subjects.
    let mut histories: BTreeMap<Vec<Option<u32>>, u32> = BTreeMap::new();
    let history = |subject: usize| -> Vec<Option<u32>> {
        releases
            .iter()
            .map(|classes| classes.get(subject).copied().flatten())
            .collect()
    };
    for subject in 0..subjects {
        let count = histories.entry(history(subject)).or_default();
        *count = count.saturating_add(1);
    }
    // Whoever was with a history is among those of the smallest class that it was in.
    let mut in_class: BTreeMap<(usize, u32), Members<'_>> = BTreeMap::new();
    for (history, count) in &histories {
        for class in classes(history) {
            let members = in_class.entry(class).or_default();
            members.push((history, *count));
        }
    }
    let together: BTreeMap<&[Option<u32>], u32> = histories
        .keys()
        .map(|own| {
            let smallest = classes(own).filter_map(|class| in_class.get(&class));
            let smallest = smallest.min_by_key(|members| members.len());
            (
                own.as_slice(),
                with(own, smallest.map_or(&[], Vec::as_slice)),
            )
        })
        .collect();
    (0..subjects)
        .map(|subject| {
            let history = history(subject);
            together.get(history.as_slice()).copied().unwrap_or(0)
        })
        .collect()
}

/// The classes of a history, by release.
fn classes(history: &[Option<u32>]) -> impl Iterator<Item = (usize, u32)> {
    let releases = history.iter().enumerate();
    releases.filter_map(|(release, class)| Some((release, (*class)?)))
}

/// How many of `others` were in the same class in each release that `own` was in.
fn with(own: &[Option<u32>], others: &[(&[Option<u32>], u32)]) -> u32 {
    let same = |other: &[Option<u32>]| {
        std::iter::zip(own, other).all(|(own, other)| own.is_none() || own == other)
    };
    let others = others.iter().filter(|(other, _)| same(other));
    others.fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_releases_of_three_and_three_leave_one() {
        let first = vec![Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)];
        assert_eq!(candidates(std::slice::from_ref(&first)), [3; 6]);
        let second = vec![Some(0), Some(1), Some(1), Some(0), Some(0), Some(1)];
        assert_eq!(candidates(&[first, second]), [1, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn who_was_away_hides_among_those_of_the_releases_it_was_in() {
        let first = vec![Some(0), Some(0), Some(0), None];
        let second = vec![Some(0), Some(0), None, None];
        assert_eq!(candidates(&[first, second]), [2, 2, 3, 0]);
    }
}
