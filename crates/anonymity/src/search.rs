//! A release that reaches a goal and loses little.

mod local;
mod units;
mod whole;

use std::collections::BTreeMap;

use self::local::Piece;
use self::units::{Dimension, ROUNDING, Units, Verdict};
use self::whole::{Node, Search};
use crate::goal::Goal;
use crate::hierarchy::{ANY, Hierarchy};
use crate::loss::{self, Loss};
use crate::number::{code, place, real, share, whole_part};
use crate::partition::Groups;
use crate::report::{Report, report};
use crate::table::{Column, Role, Table, TableFault};

/// How values are made coarser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recoding {
    /// All values of a column to the same level: the loss is the least there is, and rows that stand alone are left out.
    Whole,
    /// Each row as coarsely as its own neighbourhood needs: no row is left out, and less is lost; names of one column are of several levels.
    Local,
}

/// Why there is no release.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchFault {
    /// Even without any quasi-identifier the goal is missed.
    #[error(
        "the table can not reach this however coarse: it has {subjects} subjects, and all together {what}"
    )]
    Unreachable {
        /// How many there are.
        subjects: usize,
        /// What is missed.
        what: &'static str,
    },
    /// A goal that says nothing.
    #[error("{0}")]
    Goal(&'static str),
    /// A hierarchy made for another column.
    #[error("the hierarchy of `{0}` is not one of its values")]
    Hierarchy(String),
    /// A bug of ours: what was found does not measure as it should.
    #[error("the release does not reach its goal when measured again")]
    Missed,
    /// The columns make no table.
    #[error(transparent)]
    Table(#[from] TableFault),
}

/// Rows that may be shown, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Without direct identifiers and without the rows left out.
    pub table: Table,
    /// The rows of the original in the release, in order.
    pub rows: Vec<u32>,
    /// The rows left out.
    pub suppressed: usize,
    /// For each quasi-identifier, how many rows are at which level, from the values themselves on.
    pub levels: Vec<(String, Vec<usize>)>,
    /// What was lost.
    pub loss: Loss,
    /// Whether no other release of this kind loses less.
    pub optimal: bool,
    /// The release, measured again.
    pub report: Report,
}

/// Looks for the release of least loss ([`Loss::geometric`]). Columns without a hierarchy are said as they are or not at all. The same table
/// gives the same release.
pub fn search(
    table: &Table,
    hierarchies: &BTreeMap<String, Hierarchy>,
    goal: &Goal,
    recoding: Recoding,
) -> Result<Release, SearchFault> {
    check(goal)?;
    for column in table.columns() {
        let hierarchy = hierarchies.get(column.name());
        if hierarchy.is_some_and(|it| !it.suits(column)) {
            return Err(SearchFault::Hierarchy(column.name().to_owned()));
        }
    }
    let plain: Vec<Hierarchy> = table
        .of_role(Role::Quasi)
        .map(Hierarchy::all_or_nothing)
        .collect();
    let mut quasi = Vec::new();
    for (column, plain) in table.of_role(Role::Quasi).zip(&plain) {
        let hierarchy = hierarchies.get(column.name()).unwrap_or(plain);
        quasi.push((column, hierarchy));
    }
    if table.rows() == 0 {
        let what = "they are fewer than k";
        return Err(SearchFault::Unreachable { subjects: 0, what });
    }
    let known = |name: &str| hierarchies.get(name);
    let mut aim = goal.clone();
    // Classes are held against the distribution in the whole table, a release against its own: where rows left out make a difference between
    // them, the aim is taken closer by it.
    for _ in 0..8 {
        let mut units = Units::of(table, &quasi, known, &aim);
        let (pieces, optimal) =
            find(&mut units, goal, recoding).ok_or_else(|| unreachable(table, &mut units))?;
        let release = build(table, &units, &pieces, goal.k, known)?;
        if release.report.k < goal.k {
            break;
        }
        match missed(&release.report, goal) {
            None => return Ok(Release { optimal, ..release }),
            Some(over) => aim.t = aim.t.map(|t| (t - over * 1.5).max(0.0)),
        }
    }
    Err(SearchFault::Missed)
}

fn check(goal: &Goal) -> Result<(), SearchFault> {
    if goal.k == 0 {
        return Err(SearchFault::Goal("k is at least 1"));
    }
    if !(0.0..1.0).contains(&goal.suppress) {
        return Err(SearchFault::Goal(
            "the share of rows that may be left out is from 0 to below 1",
        ));
    }
    if goal.t.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
        return Err(SearchFault::Goal("t is from 0 to 1"));
    }
    Ok(())
}

/// By how much a release misses the distance that it was asked to keep; none if it does not.
fn missed(report: &Report, goal: &Goal) -> Option<f64> {
    let most = goal.t?;
    let worst = report
        .sensitive
        .iter()
        .map(|given| given.t)
        .fold(0.0, f64::max);
    (worst > most + ROUNDING).then_some(worst - most)
}

fn unreachable(table: &Table, units: &mut Units<'_>) -> SearchFault {
    let whole: Vec<u32> = (0..code(units.rows.len())).collect();
    let subjects = table.distinct_subjects();
    let what = match units.judge(&whole) {
        Verdict::Fails if subjects < place(units.least()) => "they are fewer than k",
        Verdict::Fails | Verdict::Unlike(_) => "their sensitive values are not as diverse as l",
        Verdict::Passes => "too few rows may be left out",
    };
    SearchFault::Unreachable { subjects, what }
}

/// Units under the names that they are released by; units that are in no piece are left out.
fn find(units: &mut Units<'_>, goal: &Goal, recoding: Recoding) -> Option<(Vec<Piece>, bool)> {
    if recoding == Recoding::Local {
        return Some((local::run(units)?, false));
    }
    let rows = units.of_rows.len();
    // Rounded down: no row more than allowed.
    let allowed = whole_part(goal.suppress * real(rows));
    let best = Search::new(units, allowed).run()?;
    let mut groups = Groups::for_keys(units.rows.len());
    let (of_units, count) = whole::classes(units, &best.node, &mut groups);
    let judged = whole::judge(units, &of_units, count, allowed);
    let kept = of_units.iter().enumerate();
    let kept = kept.filter(|(_, class)| judged.verdicts[place(**class)] == Verdict::Passes);
    let piece = Piece {
        units: kept.map(|(unit, _)| code(unit)).collect(),
        node: best.node,
    };
    Some((vec![piece], best.proven))
}

fn build<'a>(
    table: &Table,
    units: &Units<'_>,
    pieces: &[Piece],
    k: u32,
    hierarchy: impl Fn(&str) -> Option<&'a Hierarchy>,
) -> Result<Release, SearchFault> {
    let mut of_units: Vec<Option<&Node>> = vec![None; units.rows.len()];
    for piece in pieces {
        for unit in &piece.units {
            of_units[place(*unit)] = Some(&piece.node);
        }
    }
    let nodes: Vec<Option<&Node>> = units
        .of_rows
        .iter()
        .map(|unit| of_units[place(*unit)])
        .collect();
    let kept: Vec<u32> = (0..code(table.rows()))
        .filter(|row| nodes[place(*row)].is_some())
        .collect();
    let mut quasi = units.dimensions.iter().enumerate();
    let mut columns = Vec::new();
    let mut sums = Sums::default();
    for column in table.columns() {
        match column.role() {
            Role::Direct => {}
            Role::Sensitive | Role::Free => {
                let values = kept.iter().map(|row| column.codes()[place(*row)]).collect();
                let (name, values_of) = (column.name(), column.dictionary().to_vec());
                columns.push(Column::coded(
                    name,
                    column.role(),
                    column.ordered(),
                    values,
                    values_of,
                )?);
            }
            Role::Quasi => {
                if let Some((at, dimension)) = quasi.next() {
                    let level = |row: usize| nodes[row].map(|node| node[at]);
                    let said = sums.add(column, dimension, &units.of_rows, level);
                    let values = kept.iter().map(|row| said[place(*row)]);
                    columns.push(Column::new(column.name(), Role::Quasi, values));
                }
            }
        }
    }
    let subjects = kept
        .iter()
        .map(|row| table.subjects()[place(*row)])
        .collect();
    let released = Table::new(columns, subjects)?;
    Ok(Release {
        suppressed: table.rows() - kept.len(),
        loss: measured(table, &released, &sums, k),
        report: report(&released, hierarchy),
        table: released,
        rows: kept,
        levels: sums.levels,
        optimal: false,
    })
}

/// What saying columns more coarsely adds up to.
#[derive(Default)]
struct Sums {
    levels: Vec<(String, Vec<usize>)>,
    losses: Vec<f64>,
    entropy_lost: f64,
    entropy: f64,
}

impl Sums {
    /// What is said of each row in a column, whose `level` is none where the row is left out.
    fn add<'u>(
        &mut self,
        column: &Column,
        dimension: &'u Dimension<'_>,
        of_rows: &[u32],
        level: impl Fn(usize) -> Option<usize>,
    ) -> Vec<&'u str> {
        let (mut levels, mut loss) = (vec![0; dimension.levels()], 0.0);
        let mut said: Vec<&str> = Vec::with_capacity(of_rows.len());
        for (row, unit) in of_rows.iter().enumerate() {
            if let Some(level) = level(row) {
                levels[level] += 1;
                loss += dimension.loss(level, *unit);
                let names = dimension.hierarchy.levels()[level].dictionary();
                said.push(&names[place(dimension.name(level, *unit))]);
            } else {
                loss += 1.0;
                said.push(ANY);
            }
        }
        let names = Column::new(column.name(), Role::Quasi, said.iter().copied());
        let pairs = std::iter::zip(column.codes(), names.codes()).map(|(a, b)| (*a, *b));
        let (domain, names) = (column.dictionary().len(), names.dictionary().len());
        let (lost, all) = loss::entropy(&pairs.collect::<Vec<_>>(), domain, names);
        self.entropy_lost += lost;
        self.entropy += all;
        self.losses.push(loss / real(of_rows.len()).max(1.0));
        self.levels.push((column.name().to_owned(), levels));
        said
    }
}

fn measured(table: &Table, released: &Table, sums: &Sums, k: u32) -> Loss {
    let columns = sums.losses.clone();
    let classes = crate::Classes::of(released);
    let squares: f64 = classes
        .rows()
        .iter()
        .map(|rows| f64::from(*rows) * f64::from(*rows))
        .sum();
    let left_out = real(table.rows() - released.rows());
    Loss {
        geometric: loss::geometric(&columns),
        mean: columns.iter().sum::<f64>() / real(columns.len()).max(1.0),
        columns,
        discernibility: left_out.mul_add(real(table.rows()), squares),
        class_size: share(released.rows(), classes.count()) / f64::from(k),
        entropy: if sums.entropy > 0.0 {
            sums.entropy_lost / sums.entropy
        } else {
            0.0
        },
    }
}
