//! Those who wait for a group, cut into groups: through the middle of the widest column, as long as both sides can stand alone
//! (`LeFevre` et al., *Mondrian*, ICDE 2006, over subjects instead of rows).

use super::Stream;

/// A subject, and where its rows are, column by column.
#[derive(Debug, Clone)]
struct Point {
    subject: u32,
    at: Vec<f64>,
}

impl Stream {
    /// All of the pool in groups of at least `enough` subjects; the pool has as many.
    pub(super) fn cut(&self, enough: usize) -> Vec<Vec<u32>> {
        let all = self.pool.iter().map(|(subject, rows)| {
            // The first row and the last one say where it is well enough.
            let ends = || rows.first().into_iter().chain(rows.last());
            let columns = self.quasi.iter().enumerate();
            let at = columns
                .map(|(column, domain)| {
                    ends()
                        .map(|held| domain.position(held.row.quasi[column]))
                        .sum()
                })
                .collect();
            Point {
                subject: *subject,
                at,
            }
        });
        let mut parts: Vec<Vec<Point>> = vec![all.collect()];
        let mut groups = Vec::new();
        while let Some(part) = parts.pop() {
            match self.halves(&part, enough) {
                Some(halves) => parts.extend(halves),
                None => groups.push(part.into_iter().map(|point| point.subject).collect()),
            }
        }
        groups
    }

    fn halves(&self, part: &[Point], enough: usize) -> Option<[Vec<Point>; 2]> {
        if part.len() < enough.saturating_mul(2) {
            return None;
        }
        let width = |column: usize| {
            let ends = part.iter().map(|point| point.at[column]);
            ends.clone().fold(f64::MIN, f64::max) - ends.fold(f64::MAX, f64::min)
        };
        let mut columns: Vec<(f64, usize)> = (0..self.quasi.len())
            .map(|column| (width(column), column))
            .collect();
        columns.retain(|(width, _)| *width > 0.0);
        columns.sort_by(|a, b| b.0.total_cmp(&a.0));
        let halves = columns.into_iter().map(|(_, column)| {
            let mut low = part.to_vec();
            let middle = low.len() / 2;
            low.select_nth_unstable_by(middle, |a, b| {
                let by_place = a.at[column].total_cmp(&b.at[column]);
                by_place.then(a.subject.cmp(&b.subject))
            });
            let high = low.split_off(middle);
            [low, high]
        });
        let alone = |half: &Vec<Point>| {
            let rows = half
                .iter()
                .filter_map(|point| self.pool.get(&point.subject));
            self.diverse(&self.counted(rows.flatten()))
        };
        halves.into_iter().find(|halves| halves.iter().all(alone))
    }
}
