//! Full-domain generalisation: each column at one level, the best of all combinations (Samarati 2001; Incognito, `LeFevre` et al. 2005; Flash,
//! Kohlmayer et al. 2012).

use crate::loss::geometric;
use crate::number::{code, place, real, whole_part};
use crate::partition::{Groups, partition};
use crate::search::units::{Dimension, Units, Verdict};

/// More combinations of levels than this are not gone through one by one.
const MOST_NODES: usize = 1 << 20;
/// Rows that are looked at in all combinations together, at most: half a minute.
const MOST_VISITS: usize = 2_000_000_000;

/// A level for each column.
pub(super) type Node = Vec<usize>;

/// What releasing at a node would mean.
struct Checked {
    left_out: usize,
    /// How many rows finer nodes leave out at least.
    hopeless: usize,
    loss: f64,
}

/// The best node found.
#[derive(Debug)]
pub(super) struct Best {
    pub(super) node: Node,
    pub(super) loss: f64,
    /// Whether no node is better.
    pub(super) proven: bool,
}

pub(super) struct Search<'u, 'a> {
    units: &'u mut Units<'a>,
    all: usize,
    allowed: usize,
    checks: usize,
    groups: Groups,
    best: Option<Best>,
}

impl<'u, 'a> Search<'u, 'a> {
    pub(super) fn new(units: &'u mut Units<'a>, allowed: usize) -> Self {
        Self {
            all: units.of_rows.len(),
            allowed,
            checks: 0,
            groups: Groups::for_keys(units.rows.len()),
            best: None,
            units,
        }
    }

    /// The node of least loss that leaves out no more rows than allowed; none if not even the coarsest does.
    pub(super) fn run(mut self) -> Option<Best> {
        self.descend();
        let proven = self.exhaust();
        self.best.map(|best| Best { proven, ..best })
    }

    /// From the coarsest node to the best finer neighbour, as long as there is one: a first bound.
    fn descend(&mut self) {
        let mut node: Node = self
            .units
            .dimensions
            .iter()
            .map(|it| it.levels() - 1)
            .collect();
        if !self.consider(&node) {
            return;
        }
        loop {
            let mut next: Option<(f64, Node)> = None;
            for at in 0..node.len() {
                if node[at] == 0 || self.is_tired() {
                    continue;
                }
                let mut finer = node.clone();
                finer[at] -= 1;
                let checked = self.check(&finer);
                if checked.left_out <= self.allowed {
                    self.keep(&finer, checked.loss);
                    if next.as_ref().is_none_or(|(loss, _)| checked.loss < *loss) {
                        next = Some((checked.loss, finer));
                    }
                }
            }
            match next {
                Some((_, finer)) => node = finer,
                None => return,
            }
        }
    }

    /// All nodes that could be better than the best: whether none was left out.
    fn exhaust(&mut self) -> bool {
        let levels: Vec<usize> = self
            .units
            .dimensions
            .iter()
            .map(Dimension::levels)
            .collect();
        let count = levels
            .iter()
            .try_fold(1_usize, |count, it| count.checked_mul(*it));
        let Some(count) = count.filter(|count| *count <= MOST_NODES) else {
            return false;
        };
        let bound = |best: &Option<Best>| best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        let mut candidates: Vec<(f64, usize)> = (0..count)
            .map(|number| (self.at_least(&node_of(number, &levels)), number))
            .filter(|(least, _)| *least < bound(&self.best))
            .collect();
        // From the coarse to the fine: where a node fails, all finer ones do, which hear of it from their coarser neighbours.
        let sum = |number: usize| node_of(number, &levels).iter().sum::<usize>();
        candidates.sort_by(|a, b| {
            let coarse = || sum(b.1).cmp(&sum(a.1));
            b.0.total_cmp(&a.0).then_with(coarse).then(a.1.cmp(&b.1))
        });
        let mut fails = vec![false; count];
        for (least, number) in candidates {
            let node = node_of(number, &levels);
            let mut stride = 1;
            for (level, levels) in std::iter::zip(&node, &levels) {
                fails[number] |= level + 1 < *levels && fails[number + stride];
                stride *= levels;
            }
            if fails[number] || least >= bound(&self.best) {
                continue;
            }
            if self.is_tired() {
                return false;
            }
            fails[number] = !self.consider(&node);
        }
        true
    }

    /// Whether enough was looked at.
    const fn is_tired(&self) -> bool {
        self.checks.saturating_mul(self.units.rows.len()) >= MOST_VISITS
    }

    /// Keeps a node if it is the best so far; false if it and all finer ones leave out too many rows.
    fn consider(&mut self, node: &Node) -> bool {
        let checked = self.check(node);
        if checked.left_out <= self.allowed {
            self.keep(node, checked.loss);
        }
        checked.hopeless <= self.allowed
    }

    fn keep(&mut self, node: &Node, loss: f64) {
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            self.best = Some(Best {
                node: node.clone(),
                loss,
                proven: false,
            });
        }
    }

    /// The loss of a node that leaves out nothing.
    fn at_least(&self, node: &Node) -> f64 {
        let columns = std::iter::zip(&self.units.dimensions, node);
        let losses: Vec<f64> = columns
            .map(|(it, level)| it.totals[*level] / real(self.all))
            .collect();
        geometric(&losses)
    }

    fn check(&mut self, node: &Node) -> Checked {
        self.checks += 1;
        let (of_units, count) = classes(self.units, node, &mut self.groups);
        let judged = judge(self.units, &of_units, count, self.allowed);
        let mut more_lost: Vec<f64> = vec![0.0; node.len()];
        if judged.left_out <= self.allowed {
            for (unit, class) in of_units.iter().enumerate() {
                if judged.verdicts[place(*class)] == Verdict::Passes {
                    continue;
                }
                let rows = f64::from(self.units.rows[unit]);
                let columns = std::iter::zip(&self.units.dimensions, node);
                for (sum, (column, level)) in more_lost.iter_mut().zip(columns) {
                    *sum += rows * (1.0 - column.loss(*level, code(unit)));
                }
            }
        }
        let columns = std::iter::zip(&self.units.dimensions, node).zip(&more_lost);
        let losses: Vec<f64> = columns
            .map(|((it, level), more)| (it.totals[*level] + more) / real(self.all))
            .collect();
        Checked {
            left_out: judged.left_out,
            hopeless: judged.hopeless,
            loss: geometric(&losses),
        }
    }
}

/// The class of each unit at a node, and how many classes there are.
pub(super) fn classes(units: &Units<'_>, node: &Node, groups: &mut Groups) -> (Vec<u32>, usize) {
    let levels = std::iter::zip(&units.dimensions, node).map(|(it, level)| {
        let level = &it.hierarchy.levels()[*level];
        (it, level, level.dictionary().len())
    });
    let mut range = 1_u64;
    let mut tables: Vec<(&[u32], Vec<u64>)> = Vec::new();
    for (column, level, names) in levels.clone().filter(|(_, _, names)| *names > 1) {
        let scale = range;
        let names = u64::try_from(names).unwrap_or(u64::MAX);
        range = range.saturating_mul(names);
        let key = |name: &u32| u64::from(*name).wrapping_mul(scale);
        tables.push((&column.codes, level.codes().iter().map(key).collect()));
    }
    if range == u64::MAX {
        let named: Vec<(Vec<u32>, usize)> = levels
            .map(|(column, level, names)| {
                let name = |value: &u32| level.codes()[place(*value)];
                (column.codes.iter().map(name).collect(), names)
            })
            .collect();
        let lists: Vec<_> = named
            .iter()
            .map(|(codes, names)| (&codes[..], *names))
            .collect();
        return partition(&lists, units.rows.len());
    }
    let mut keys = vec![0_u64; units.rows.len()];
    for (codes, table) in &tables {
        for (key, value) in keys.iter_mut().zip(*codes) {
            *key += table[place(*value)];
        }
    }
    groups.clear();
    let of_units = keys.into_iter().map(|key| groups.number(key).0).collect();
    (of_units, groups.len())
}

/// What becomes of the classes of a node.
pub(super) struct Judged {
    pub(super) verdicts: Vec<Verdict>,
    /// Rows of classes that do not pass.
    left_out: usize,
    /// Rows that no finer node keeps, at least.
    hopeless: usize,
}

/// Judges classes, until finer nodes would leave out more rows than allowed.
pub(super) fn judge(
    units: &mut Units<'_>,
    of_units: &[u32],
    count: usize,
    allowed: usize,
) -> Judged {
    let (mut rows, mut subjects) = (vec![0_u32; count], vec![0_u32; count]);
    let mut last = vec![u32::MAX; count];
    for (unit, class) in of_units.iter().enumerate() {
        let class = place(*class);
        rows[class] += units.rows[unit];
        match units.subject(unit) {
            None => subjects[class] += units.rows[unit],
            Some(subject) if last[class] == subject => {}
            Some(subject) => {
                last[class] = subject;
                subjects[class] += 1;
            }
        }
    }
    let mut judged = Judged {
        verdicts: vec![Verdict::Passes; count],
        left_out: 0,
        hopeless: 0,
    };
    for class in 0..count {
        if subjects[class] < units.least() {
            judged.verdicts[class] = Verdict::Fails;
            judged.left_out += place(rows[class]);
        }
    }
    judged.hopeless = judged.left_out;
    if !units.secretive() || judged.hopeless > allowed {
        return judged;
    }
    let (members, ends) = by_class(of_units, count);
    let (mut from, mut hopeless) = (0, real(judged.hopeless));
    for (class, end) in ends.iter().enumerate() {
        let members = &members[std::mem::replace(&mut from, place(*end))..place(*end)];
        if judged.verdicts[class] != Verdict::Passes {
            continue;
        }
        let verdict = units.judge(members);
        judged.verdicts[class] = verdict;
        let rows = rows[class];
        match verdict {
            Verdict::Passes => continue,
            Verdict::Fails => hopeless += f64::from(rows),
            Verdict::Unlike(share) => hopeless += share * f64::from(rows),
        }
        judged.left_out += place(rows);
        judged.hopeless = whole_part(hopeless);
        if judged.hopeless > allowed {
            break;
        }
    }
    judged
}

/// The units class by class, and where those of each end.
fn by_class(of_units: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0; count];
    for class in of_units {
        ends[place(*class)] += 1;
    }
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut members = vec![0; of_units.len()];
    for (unit, class) in of_units.iter().enumerate() {
        let end = &mut ends[place(*class)];
        members[place(*end)] = code(unit);
        *end += 1;
    }
    (members, ends)
}

fn node_of(number: usize, levels: &[usize]) -> Node {
    let mut rest = number;
    let mut digit = |levels: &usize| {
        let level = rest % levels;
        rest /= levels;
        level
    };
    levels.iter().map(&mut digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::Xorshift;
    use crate::goal::{Diversity, Goal};
    use crate::hierarchy::Hierarchy;
    use crate::table::{Column, Role, Table};

    #[test]
    fn no_node_that_is_passed_over_is_better() {
        let mut random = Xorshift::new(5);
        let (mut finer, mut spared) = (0, 0);
        for round in 0..60 {
            let rows = 60 + random.below(80);
            let mut column = |name, role, most| {
                let value = |_| {
                    let below = 1 + random.below(most);
                    random.below(below).to_string()
                };
                let values: Vec<String> = (0..rows).map(value).collect();
                Column::new(name, role, values.iter().map(String::as_str))
            };
            let columns = vec![
                column("a", Role::Quasi, 16),
                column("b", Role::Quasi, 8),
                column("secret", Role::Sensitive, 3),
            ];
            let hierarchies: Vec<Hierarchy> = std::iter::zip(&columns, [8.0, 4.0])
                .map(|(column, widest)| Hierarchy::of_numbers(column, &[2.0, widest]).unwrap())
                .collect();
            let of = code(rows) / (1 + round % 2);
            let table = Table::new(columns, (0..code(rows)).map(|row| row % of).collect()).unwrap();
            let quasi: Vec<_> = table.of_role(Role::Quasi).zip(&hierarchies).collect();
            let goal = Goal {
                k: 2,
                l: (round % 3 == 0).then_some(Diversity::Entropy(1.5)),
                t: Some(0.15 * random.unit()),
                suppress: 0.2,
            };
            let mut units = Units::of(&table, &quasi, |_| None, &goal);
            let mut search = Search::new(&mut units, rows / 5);
            let mut least = f64::INFINITY;
            for number in 0..16 {
                let checked = search.check(&node_of(number, &[4, 4]));
                if checked.left_out <= rows / 5 {
                    least = least.min(checked.loss);
                }
            }
            search.checks = 0;
            assert!(search.exhaust());
            spared += 16_usize.saturating_sub(search.checks);
            let loss = search.best.as_ref().map_or(f64::INFINITY, |it| it.loss);
            assert!(
                loss.total_cmp(&least).is_eq(),
                "{round}: {loss}, not {least}"
            );
            finer += usize::from(least < 0.99);
        }
        assert!(finer > 20 && spared > 20, "{finer}, {spared}");
    }
}
