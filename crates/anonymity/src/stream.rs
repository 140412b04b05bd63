//! Rows that come one by one and leave in groups: nobody waits longer than the delay, and nothing leaves that is not with the
//! rows of k subjects.
//!
//! From CASTLE (Cao et al., *CASTLE: Continuously Anonymizing Data Streams*, TDSC 8(3), 2011, doi 10.1109/tdsc.2009.47) come the
//! delay bound, emission when a row falls due, and suppression of outliers. Three things differ. k counts subjects, not rows.
//! Clusters are not grown row by row: when a row falls due, all who wait for a group are cut into groups at once (as Mondrian
//! cuts: `LeFevre` et al., ICDE 2006), which needs none of CASTLE's parameters. And groups are *sticky*:
//!
//! - A subject is cut into a group once, together with at least k + spare subjects of which none was ever released.
//! - From then on its rows leave with those of that group only; nobody joins a group later.
//! - The *core* of a group are the members that were in each of its emissions. A group emits only what leaves at least k
//!   subjects in the core. Otherwise the rows that are due are suppressed, and the core stays.
//!
//! So however many emissions are laid over one another, each subject stays among at least k. What this does not hide is that
//! somebody stopped: the difference of two emissions.

mod cut;
mod domain;
mod settings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::number::{code, place};

pub use self::domain::{Cell, Domain, Span};
use self::domain::{Compiled, Range};
pub use self::settings::{Emission, Group, Out, Row, Sensitive, Settings, SettingsFault, Tally};

/// A subject, as far as the stream knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Its group; none if it was never released.
    group: Option<usize>,
    /// Its rows that wait.
    waiting: usize,
}

/// How often there is each code of each sensitive column.
type Counts = Vec<Vec<u64>>;

/// A row that waits.
#[derive(Debug)]
struct Held {
    row: Row,
    due: u64,
}

/// Takes rows and the time, and gives emissions. Its caller owns the clock, the rows' other fields and what is remembered.
#[derive(Debug)]
pub struct Stream {
    settings: Settings,
    quasi: Vec<Compiled>,
    known: Vec<Known>,
    /// Rows of subjects without a group.
    pool: BTreeMap<u32, Vec<Held>>,
    /// How often each sensitive code is in the pool.
    in_pool: Counts,
    groups: Vec<Group>,
    /// Rows of each group.
    held: Vec<Vec<Held>>,
    /// When something falls due, and whose; times only grow.
    due: VecDeque<(u64, u32)>,
    waiting: usize,
    now: u64,
    /// How often each code of each sensitive column came.
    seen: Counts,
    out: VecDeque<Emission>,
    tally: Tally,
}

impl Stream {
    /// A stream that goes on from `groups`: those of earlier releases of the same subjects.
    pub fn new(settings: Settings, groups: Vec<Group>) -> Result<Self, SettingsFault> {
        if settings.k < 2 {
            return Err(SettingsFault::K(settings.k));
        }
        if !(0.0..=1.0).contains(&settings.t) {
            return Err(SettingsFault::T);
        }
        for (name, zero) in [
            ("the delay", settings.delay == 0),
            (
                "the number of rows of a subject",
                settings.rows_per_subject == 0,
            ),
            ("the number of waiting rows", settings.waiting == 0),
            ("the number of quasi-identifiers", settings.quasi.is_empty()),
        ] {
            if zero {
                return Err(SettingsFault::Zero(name));
            }
        }
        let mut quasi = Vec::new();
        for (at, domain) in settings.quasi.iter().enumerate() {
            quasi.push(Compiled::of(domain).ok_or(SettingsFault::Range(at))?);
        }
        let mut known = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            if !group.core.is_subset(&group.members) {
                return Err(SettingsFault::Group);
            }
            for member in &group.members {
                match known_of(&mut known, *member, settings.subjects) {
                    Some(known) if known.group.is_none() => known.group = Some(number),
                    _ => return Err(SettingsFault::Group),
                }
            }
        }
        let seen: Counts = settings
            .sensitive
            .iter()
            .map(|column| vec![0; place(column.codes)])
            .collect();
        Ok(Self {
            quasi,
            known,
            pool: BTreeMap::new(),
            in_pool: seen.clone(),
            held: groups.iter().map(|_| Vec::new()).collect(),
            groups,
            due: VecDeque::new(),
            waiting: 0,
            now: 0,
            seen,
            out: VecDeque::new(),
            tally: Tally::default(),
            settings,
        })
    }

    /// A row comes in, and time passes. A time before the last one counts as that.
    pub fn handle_row(&mut self, now: u64, row: Row) {
        self.handle_time(now);
        self.tally.taken += 1;
        if !self.fits(&row) {
            self.tally.shapeless += 1;
            return;
        }
        let full = self.waiting >= self.settings.waiting;
        let Some(known) =
            known_of(&mut self.known, row.subject, self.settings.subjects).filter(|_| !full)
        else {
            self.tally.full += 1;
            return;
        };
        if known.waiting >= self.settings.rows_per_subject {
            self.tally.crowded += 1;
            return;
        }
        known.waiting += 1;
        self.waiting += 1;
        add(&mut self.seen, &row);
        let due = self.now.saturating_add(self.settings.delay);
        self.due.push_back((due, row.subject));
        let to = if let Some(group) = known.group {
            &mut self.held[group]
        } else {
            add(&mut self.in_pool, &row);
            self.pool.entry(row.subject).or_default()
        };
        to.push(Held { row, due });
    }

    /// A row that left before this stream began: its sensitive codes are among those of all rows, for t.
    pub fn handle_earlier(&mut self, sensitive: &[u32]) {
        let columns = self.seen.iter_mut().zip(sensitive);
        for (counts, code) in columns {
            if let Some(count) = counts.get_mut(place(*code)) {
                *count += 1;
            }
        }
    }

    /// Time passes: what is due by now leaves, or is suppressed.
    pub fn handle_time(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some((due, subject)) = self.due.front().copied() {
            if due > self.now {
                break;
            }
            self.due.pop_front();
            match self.known.get(place(subject)).and_then(|known| known.group) {
                Some(group) => self.fall_due(group, due),
                None => self.found(subject, due),
            }
        }
    }

    /// The last row has come: everything leaves, or is suppressed.
    pub fn finish(&mut self) {
        self.handle_time(u64::MAX);
    }

    /// What left and was not fetched yet.
    pub fn poll_emission(&mut self) -> Option<Emission> {
        self.out.pop_front()
    }

    /// When [`Self::handle_time`] has something to do next.
    pub fn poll_time(&self) -> Option<u64> {
        self.due.front().map(|(due, _)| *due)
    }

    /// What became of the rows so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The groups there are, for whoever goes on later: without them the next stream would join what must stay apart.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Groups that lost so many members that they can never be released again.
    pub fn silent(&self) -> usize {
        let k = place(self.settings.k);
        self.groups
            .iter()
            .filter(|group| group.core.len() < k)
            .count()
    }

    fn fits(&self, row: &Row) -> bool {
        row.quasi.len() == self.quasi.len()
            && self
                .quasi
                .iter()
                .zip(&row.quasi)
                .all(|(domain, cell)| domain.holds(*cell))
            && row.sensitive.len() == self.seen.len()
            && self
                .seen
                .iter()
                .zip(&row.sensitive)
                .all(|(counts, code)| place(*code) < counts.len())
    }

    /// The oldest row of a group was due at `due`.
    fn fall_due(&mut self, group: usize, due: u64) {
        let rows = std::mem::take(&mut self.held[group]);
        // It left with an earlier one.
        if rows.first().is_none_or(|first| first.due > due) {
            self.held[group] = rows;
            return;
        }
        let present: BTreeSet<u32> = rows.iter().map(|held| held.row.subject).collect();
        let core: BTreeSet<u32> = self.groups[group]
            .core
            .intersection(&present)
            .copied()
            .collect();
        let thin = core.len() < place(self.settings.k);
        if thin || !self.diverse(&self.counted(&rows)) {
            let (lost, kept): (Vec<Held>, _) = rows.into_iter().partition(|held| held.due <= due);
            self.held[group] = kept;
            let count = if thin {
                &mut self.tally.thin
            } else {
                &mut self.tally.alike
            };
            *count += count_of(lost.len());
            self.leave(&lost);
            return;
        }
        self.groups[group].core = core;
        self.emit(rows);
    }

    /// The oldest row of a subject that was never released was due at `due`: all who wait for a group are cut into groups, and leave.
    fn found(&mut self, subject: u32, due: u64) {
        let Some(own) = self.pool.get_mut(&subject) else {
            return;
        };
        if own.first().is_none_or(|first| first.due > due) {
            return;
        }
        let enough = place(self.settings.k.saturating_add(self.settings.spare));
        let few = self.pool.len() < enough;
        if few || !self.diverse(&self.in_pool) {
            let rows = self.pool.remove(&subject).unwrap_or_default();
            let (lost, kept): (Vec<Held>, Vec<Held>) =
                rows.into_iter().partition(|held| held.due <= due);
            if !kept.is_empty() {
                self.pool.insert(subject, kept);
            }
            for held in &lost {
                take(&mut self.in_pool, &held.row);
            }
            let count = if few {
                &mut self.tally.few
            } else {
                &mut self.tally.alike
            };
            *count += count_of(lost.len());
            self.leave(&lost);
            return;
        }
        for members in self.cut(enough) {
            let rows = members
                .iter()
                .filter_map(|member| self.pool.remove(member))
                .flatten()
                .collect();
            if self.settings.sticky {
                for member in &members {
                    self.known[place(*member)].group = Some(self.groups.len());
                }
                let members: BTreeSet<u32> = members.into_iter().collect();
                self.groups.push(Group {
                    core: members.clone(),
                    members,
                });
                self.held.push(Vec::new());
            }
            self.emit(rows);
        }
        for counts in &mut self.in_pool {
            counts.fill(0);
        }
    }

    fn counted<'a>(&self, rows: impl IntoIterator<Item = &'a Held>) -> Counts {
        let mut counts: Counts = self
            .seen
            .iter()
            .map(|column| vec![0; column.len()])
            .collect();
        for held in rows {
            add(&mut counts, &held.row);
        }
        counts
    }

    /// Whether rows of these sensitive values may leave together.
    fn diverse(&self, counts: &Counts) -> bool {
        let columns = self
            .settings
            .sensitive
            .iter()
            .zip(counts.iter().zip(&self.seen));
        columns.into_iter().all(|(column, (counts, seen))| {
            let different = counts.iter().filter(|count| **count > 0).count();
            different >= place(self.settings.l)
                && distance(counts, seen, column.ordered) <= self.settings.t
        })
    }

    /// These rows wait no longer.
    fn leave(&mut self, rows: &[Held]) {
        self.waiting -= rows.len();
        for held in rows {
            self.known[place(held.row.subject)].waiting -= 1;
        }
    }

    /// These rows leave: they are of k subjects at least, and diverse.
    fn emit(&mut self, mut rows: Vec<Held>) {
        self.leave(&rows);
        let ranges: Vec<Range> = self
            .quasi
            .iter()
            .enumerate()
            .map(|(column, domain)| domain.around(rows.iter().map(|held| held.row.quasi[column])))
            .collect();
        let columns = self.quasi.iter().zip(&ranges);
        let loss: f64 = columns.map(|(domain, range)| domain.loss(range)).sum();
        self.tally.released += count_of(rows.len());
        #[expect(clippy::cast_precision_loss, reason = "columns and rows, to weigh by")]
        {
            self.tally.loss += loss / ranges.len() as f64 * rows.len() as f64;
        }
        rows.sort_by(|a, b| (&a.row.sensitive, a.row.tag).cmp(&(&b.row.sensitive, b.row.tag)));
        self.out.push_back(Emission {
            spans: self
                .quasi
                .iter()
                .zip(ranges)
                .map(|(domain, range)| domain.span(&range))
                .collect(),
            subjects: code(
                rows.iter()
                    .map(|held| held.row.subject)
                    .collect::<BTreeSet<_>>()
                    .len(),
            ),
            rows: rows
                .iter()
                .map(|held| Out {
                    tag: held.row.tag,
                    subject: held.row.subject,
                })
                .collect(),
        });
    }
}

/// A subject, new or not; nothing beyond `limit`.
fn known_of(known: &mut Vec<Known>, subject: u32, limit: usize) -> Option<&mut Known> {
    let subject = place(subject);
    if subject >= limit {
        return None;
    }
    if known.len() <= subject {
        known.resize_with(subject + 1, Known::default);
    }
    known.get_mut(subject)
}

fn add(counts: &mut Counts, row: &Row) {
    for (counts, code) in counts.iter_mut().zip(&row.sensitive) {
        counts[place(*code)] += 1;
    }
}

fn take(counts: &mut Counts, row: &Row) {
    for (counts, code) in counts.iter_mut().zip(&row.sensitive) {
        counts[place(*code)] -= 1;
    }
}

fn count_of(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// The earth mover's distance of two distributions (Li et al., *t-Closeness*, ICDE 2007, §4), 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "counts, as parts of a whole")]
fn distance(some: &[u64], all: &[u64], ordered: bool) -> f64 {
    let whole = |counts: &[u64]| counts.iter().sum::<u64>().max(1) as f64;
    let (of_some, of_all) = (whole(some), whole(all));
    let differences = some
        .iter()
        .zip(all)
        .map(|(some, all)| *some as f64 / of_some - *all as f64 / of_all);
    if ordered {
        let mut moved = 0.0;
        let work: f64 = differences
            .map(|difference| {
                moved += difference;
                f64::abs(moved)
            })
            .sum();
        work / some.len().saturating_sub(1).max(1) as f64
    } else {
        differences.map(f64::abs).sum::<f64>() / 2.0
    }
}

#[cfg(test)]
mod tests;
