//! What a class gives away of a sensitive value: l-diversity and t-closeness.

use crate::goal::Diversity;
use crate::hierarchy::Hierarchy;
use crate::number::{place, real, share};

/// How far apart two values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// All are equally far apart.
    Equal,
    /// By their places in an order.
    Ordered,
    /// By the level at which they have one name.
    Hierarchical,
}

/// How the values of one column are distributed, against which classes are held.
#[derive(Debug)]
pub(crate) struct Sensitive<'a> {
    /// The share of each value.
    whole: Vec<f64>,
    /// Sums of shares up to each value, and sums of those, as an ordered distance needs them.
    sums: Vec<f64>,
    sums_of_sums: Vec<f64>,
    /// The share of each name at each level, as a hierarchical distance needs it.
    names: Vec<Vec<f64>>,
    hierarchy: Option<&'a Hierarchy>,
    pub(crate) ground: Ground,
    /// How often each value is in the class that is looked at: nought between classes.
    counts: Vec<u32>,
    scratch: Vec<Vec<f64>>,
}

/// What one class gives away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exposure {
    pub(crate) distinct: u32,
    /// The exponential of the entropy.
    pub(crate) entropy: f64,
    /// The most frequent value's count, over that of all others together; infinite where there are none.
    pub(crate) dominance: f64,
}

impl<'a> Sensitive<'a> {
    /// Held against all `values`; by a hierarchy where there is one, else by order where values have one.
    pub(crate) fn new(
        values: &[u32],
        domain: usize,
        ordered: bool,
        hierarchy: Option<&'a Hierarchy>,
    ) -> Self {
        let mut counts = vec![0_usize; domain];
        for value in values {
            counts[place(*value)] += 1;
        }
        let whole: Vec<f64> = counts.iter().map(|it| share(*it, values.len())).collect();
        let sums: Vec<f64> = whole.iter().copied().scan(0.0, running).collect();
        let sums_of_sums = std::iter::once(0.0)
            .chain(sums.iter().copied().scan(0.0, running))
            .collect();
        let mut names = Vec::new();
        for level in hierarchy.into_iter().flat_map(Hierarchy::levels) {
            let mut of_level = vec![0.0; level.dictionary().len()];
            for (name, share) in level.codes().iter().zip(&whole) {
                of_level[place(*name)] += share;
            }
            names.push(of_level);
        }
        let ground = match hierarchy {
            Some(_) => Ground::Hierarchical,
            None if ordered => Ground::Ordered,
            None => Ground::Equal,
        };
        Self {
            scratch: names.iter().map(|level| vec![0.0; level.len()]).collect(),
            whole,
            sums,
            sums_of_sums,
            names,
            hierarchy,
            ground,
            counts: vec![0; domain],
        }
    }

    /// Which values a class has, each once, in order; their counts are kept until [`Self::forget`].
    fn count(&mut self, class: &[u32]) -> Vec<u32> {
        let mut touched = Vec::new();
        for value in class {
            let count = &mut self.counts[place(*value)];
            if *count == 0 {
                touched.push(*value);
            }
            *count += 1;
        }
        touched.sort_unstable();
        touched
    }

    fn forget(&mut self, touched: &[u32]) {
        for value in touched {
            self.counts[place(*value)] = 0;
        }
    }

    /// How different the values of a class are.
    pub(crate) fn diversity(&mut self, class: &[u32]) -> Exposure {
        let touched = self.count(class);
        let counts = touched.iter().map(|value| self.counts[place(*value)]);
        let all = real(class.len());
        let most = counts.clone().max().unwrap_or_default();
        let entropy: f64 = counts
            .map(|count| f64::from(count) / all)
            .map(|share| -share * share.ln())
            .sum();
        let exposure = Exposure {
            distinct: u32::try_from(touched.len()).unwrap_or(u32::MAX),
            entropy: entropy.exp(),
            dominance: f64::from(most) / (all - f64::from(most)),
        };
        self.forget(&touched);
        exposure
    }

    /// Whether a class is as diverse as asked.
    pub(crate) fn is_diverse(&mut self, class: &[u32], wanted: Diversity) -> bool {
        match wanted {
            Diversity::Distinct(l) => self.diversity(class).distinct >= l,
            // A class of l equally frequent values has exactly that entropy: rounding must not fail it.
            Diversity::Entropy(l) => self.diversity(class).entropy >= l * (1.0 - 1e-12),
            Diversity::Recursive { c, l } => {
                let touched = self.count(class);
                let mut counts: Vec<u32> = touched
                    .iter()
                    .map(|value| self.counts[place(*value)])
                    .collect();
                self.forget(&touched);
                counts.sort_unstable_by(|a, b| b.cmp(a));
                let from = place(l.saturating_sub(1));
                let rest: u32 = counts.iter().skip(from).sum();
                let most = counts.first().copied().unwrap_or_default();
                f64::from(most) < c * f64::from(rest)
            }
        }
    }

    /// The earth mover's distance between a class and the whole (Li, Li, Venkatasubramanian: t-Closeness, ICDE 2007, §4).
    pub(crate) fn distance(&mut self, class: &[u32]) -> f64 {
        let touched = self.count(class);
        let all = real(class.len());
        let distance = match self.ground {
            Ground::Equal => self.equal(&touched, all),
            Ground::Ordered => self.ordered(&touched, all),
            Ground::Hierarchical => self.hierarchical(&touched, all),
        };
        self.forget(&touched);
        distance
    }

    /// §4.1: half of the sum of all differences, which is the sum of those in one direction.
    fn equal(&self, touched: &[u32], all: f64) -> f64 {
        let more = |value: &u32| {
            let share = f64::from(self.counts[place(*value)]) / all;
            (share - self.whole[place(*value)]).max(0.0)
        };
        touched.iter().map(more).sum()
    }

    /// §4.1: the differences of the sums up to each value, together, over the longest way. Between two values of the class its own sum does
    /// not change, and the whole's only grows: where they cross is found by halving.
    fn ordered(&self, touched: &[u32], all: f64) -> f64 {
        let domain = self.whole.len();
        if domain < 2 {
            return 0.0;
        }
        let between = |from: usize, to: usize, sum: f64| {
            let crossing = from + self.sums[from..to].partition_point(|it| *it < sum);
            let whole = |from: usize, to: usize| self.sums_of_sums[to] - self.sums_of_sums[from];
            let below = real(crossing - from) * sum - whole(from, crossing);
            let above = whole(crossing, to) - real(to - crossing) * sum;
            below + above
        };
        let (mut from, mut sum, mut distance) = (0, 0.0, 0.0);
        for value in touched {
            distance += between(from, place(*value), sum);
            from = place(*value);
            sum += f64::from(self.counts[from]) / all;
        }
        distance += between(from, domain, sum);
        distance / real(domain - 1)
    }

    /// §4.2: at each name, what its parts must exchange, over the height at which they do. Names without a value of the class only give.
    fn hierarchical(&mut self, touched: &[u32], all: f64) -> f64 {
        let levels = self.hierarchy.map_or(&[][..], Hierarchy::levels);
        let height = levels.len().saturating_sub(1);
        let mut parts: Vec<(u32, f64, u32)> = touched
            .iter()
            .map(|value| (*value, f64::from(self.counts[place(*value)]) / all, *value))
            .collect();
        let mut distance = 0.0;
        for (at, level) in levels.iter().enumerate().skip(1) {
            let more = &mut self.scratch[at];
            let mut named: Vec<(u32, f64, u32)> = Vec::new();
            for (part, share, value) in &parts {
                let name = level.codes()[place(*value)];
                let extra = (share - self.names[at - 1][place(*part)]).max(0.0);
                more[place(name)] += extra;
                named.push((name, *share, *value));
            }
            named.sort_by_key(|(name, ..)| *name);
            named.dedup_by(|next, first| {
                let same = next.0 == first.0;
                if same {
                    first.1 += next.1;
                }
                same
            });
            for (name, share, _) in &named {
                let positive = std::mem::take(&mut more[place(*name)]);
                let extra = share - self.names[at][place(*name)];
                distance += real(at) / real(height) * positive.min(positive - extra).max(0.0);
            }
            parts = named;
        }
        distance
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `scan` asks for")]
fn running(sum: &mut f64, next: f64) -> Option<f64> {
    *sum += next;
    Some(*sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Role};

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found}, not {wanted}");
    }

    /// The salaries 3k to 11k of the paper's §4, whose classes' distances it prints.
    #[test]
    fn ordered_distances_are_those_of_the_paper() {
        let salaries: Vec<u32> = (0..9).collect();
        let mut judge = Sensitive::new(&salaries, 9, true, None);
        near(judge.distance(&[0, 1, 2]), 0.375);
        near(judge.distance(&[3, 5, 8]), 1.0 / 6.0);
    }

    /// The diseases of the paper's table 3 and figure 1, §4.2: distance 0.278 by the hierarchy of respiratory and digestive diseases.
    #[test]
    fn equal_and_hierarchical_distances_are_those_of_their_definitions() {
        let names = [
            "ulcer",
            "gastritis",
            "cancer",
            "flu",
            "bronchitis",
            "pneumonia",
        ];
        let column = Column::new("disease", Role::Sensitive, names);
        let kinds = column.dictionary().iter().map(|name| match name.as_str() {
            "flu" | "bronchitis" | "pneumonia" => "respiratory".to_owned(),
            _ => "digestive".to_owned(),
        });
        let names = vec![column.dictionary().to_vec(), kinds.collect()];
        let hierarchy = Hierarchy::of_names(&column, names).unwrap();
        let codes: Vec<u32> = column.codes().to_vec();
        let mut judge = Sensitive::new(&codes, 6, false, Some(&hierarchy));
        // All digestive: half of the mass crosses the root, at height 2 of 2, and nothing moves below it.
        near(judge.distance(&codes[..3]), 0.5);
        // One value of each kind: each gives two thirds of a half to its own kind, at height 1 of 2.
        near(judge.distance(&[codes[0], codes[3]]), 1.0 / 3.0);
        let mut judge = Sensitive::new(&codes, 6, false, None);
        near(judge.distance(&codes[..3]), 0.5);
        near(judge.distance(&codes), 0.0);
    }

    #[test]
    fn diversity_is_counted_in_all_three_ways() {
        let mut judge = Sensitive::new(&[0, 1, 2], 3, false, None);
        let class = [0, 0, 0, 0, 1, 1, 2];
        assert_eq!(judge.diversity(&class).distinct, 3);
        near(judge.diversity(&class).dominance, 4.0 / 3.0);
        near(judge.diversity(&[0, 1]).entropy, 2.0);
        assert!(judge.is_diverse(&[0, 1], Diversity::Entropy(2.0)));
        assert!(!judge.is_diverse(&[0, 0, 1], Diversity::Entropy(2.0)));
        assert!(judge.is_diverse(&class, Diversity::Recursive { c: 4.1, l: 3 }));
        assert!(!judge.is_diverse(&class, Diversity::Recursive { c: 4.0, l: 3 }));
    }
}
