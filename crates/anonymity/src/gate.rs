//! What must hold before a release leaves: searched for, then measured and attacked as it is, not as it was meant.

mod suspect;

use std::fmt;

use crate::attack::intersection;
use crate::attack::linkage::{self, Linkage};
use crate::fold::Rows;
use crate::number::{code, place, share};
use crate::{
    Classes, Column, Diversity, Goal, Loss, Recoding, Report, Role, SearchFault, Table, report,
    search,
};

/// What came of it. `release` may leave only if there are no `reasons` why not.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The k that was searched with: larger than asked where the linkage test needed it.
    pub k: u32,
    /// The rows that may be shown.
    pub release: Table,
    /// Which of the subjects they are of, in the same order.
    pub subjects: Vec<u32>,
    /// For each subject the class it is released in, `None` if it is left out: for the ledger.
    pub classes: Vec<Option<u32>>,
    /// The data as it was.
    pub before: Report,
    /// The release, measured.
    pub after: Report,
    /// What was lost by the search.
    pub loss: Loss,
    /// The same by column.
    pub lost: Vec<(String, f64)>,
    /// Whether no other release of this kind loses less.
    pub optimal: bool,
    /// What was left out, and why.
    pub suppressed: Suppressed,
    /// The fewest that anybody is still among when all releases are laid over one another; none where it is the first.
    pub crowd: Option<u32>,
    /// How well the linkage test did; none with fewer than two subjects.
    pub linked: Option<Linked>,
    /// Why it may not leave.
    pub reasons: Vec<Reason>,
}

/// Subjects left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// There were too few like them.
    pub alone: usize,
    /// Earlier releases and this one together would have left them among too few.
    pub overlaid: usize,
}

/// The linkage test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linked {
    /// What it found.
    pub linkage: Linkage,
    /// The same on the rows as they were: what the release protects from.
    pub before: Linkage,
    /// What the attacker was given.
    pub knows: Knows,
}

/// What the attacker of the linkage test knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knows {
    /// Of everybody what they sent in the first half of the time, exactly: all but sensitive words.
    Half,
    /// Of everybody all quasi-identifiers, exactly.
    Quasi,
}

/// Why a release may not leave, with the number.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// A class has too few subjects.
    K {
        /// The smallest one's.
        is: u32,
        /// What was asked.
        wanted: u32,
    },
    /// A class has too few different values.
    L {
        /// Of this column.
        column: String,
        /// The fewest.
        is: u32,
        /// What was asked.
        wanted: u32,
    },
    /// A class is too unlike the rest.
    T {
        /// In this column.
        column: String,
        /// The farthest.
        is: f64,
        /// What was asked.
        wanted: f64,
    },
    /// Too many had to be left out.
    Suppressed {
        /// Which part.
        is: f64,
        /// Which part might.
        wanted: f64,
    },
    /// The linkage test found too many.
    Linked {
        /// Which part.
        is: f64,
        /// Which part it might.
        wanted: f64,
    },
    /// Everybody would have been left out.
    Nobody,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::K { is, wanted } => {
                write!(
                    f,
                    "somebody is among {is} subjects only, and not among {wanted}: a higher --suppress or coarser hierarchies help"
                )
            }
            Self::L { column, is, wanted } => {
                write!(
                    f,
                    "somewhere `{column}` has {is} different values only, and not {wanted}: who is known to be there is known; a larger --k helps, or leaving the column out"
                )
            }
            Self::T { column, is, wanted } => {
                write!(
                    f,
                    "somewhere `{column}` is {is:.3} away from all of it, and may be {wanted:.3}: a larger --k helps, or coarser values in the profile"
                )
            }
            Self::Suppressed { is, wanted } => {
                write!(
                    f,
                    "{:.1} % of the subjects would have to be left out, and {:.1} % may be: a smaller set of quasi-identifiers or coarser hierarchies help",
                    is * 100.0,
                    wanted * 100.0
                )
            }
            Self::Linked { is, wanted } => {
                write!(
                    f,
                    "the linkage test found {:.1} % of the subjects again, and may find {:.1} %: larger groups do not help enough: give the columns that stay the same week after week the role quasi, or make them coarser; an aggregate (`stockade vault stat`) shows no rows at all",
                    is * 100.0,
                    wanted * 100.0
                )
            }
            Self::Nobody => f.write_str("nobody is left to be released"),
        }
    }
}

/// Classes of k are found again by one in k; where the linkage test allows less than that, k is taken larger, so often at most.
const MOST_TRIES: u32 = 6;

/// Searches for a release, takes out whom earlier releases would give away (`earlier`: for each, the class of each subject),
/// measures the rest and attacks it. If it is the linkage test alone that fails, a larger k is tried.
pub fn judge(
    rows: &Rows,
    goal: &Goal,
    recoding: Recoding,
    earlier: &[Vec<Option<u32>>],
) -> Result<Judged, SearchFault> {
    let first = try_with(goal.k, rows, goal, recoding, earlier)?;
    let mut k = goal.k;
    for _ in 1..MOST_TRIES {
        if !matches!(first.reasons.as_slice(), [Reason::Linked { .. }]) {
            break;
        }
        k = k.saturating_add(k / 2).saturating_add(1);
        match try_with(k, rows, goal, recoding, earlier) {
            Ok(judged) if judged.reasons.is_empty() => return Ok(judged),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(first)
}

fn try_with(
    k: u32,
    rows: &Rows,
    goal: &Goal,
    recoding: Recoding,
    earlier: &[Vec<Option<u32>>],
) -> Result<Judged, SearchFault> {
    let table = &rows.table;
    let tree = |name: &str| rows.hierarchies.get(name);
    let aim = Goal { k, ..goal.clone() };
    let found = search(table, &rows.hierarchies, &aim, recoding)?;
    let (kept, crowd) = keep(&found.table, goal.k, table.rows(), earlier);
    let release = only(&found.table, &kept)?;
    let after = report(&release, tree);
    let suppressed = Suppressed {
        alone: found.suppressed,
        overlaid: found.table.rows() - kept.len(),
    };
    let linked = suspect::attack(rows, &release);
    let mut classes = vec![None; table.rows()];
    for (subject, class) in release
        .subjects()
        .iter()
        .zip(Classes::of(&release).of_rows())
    {
        classes[place(*subject)] = Some(*class);
    }
    let mut judged = Judged {
        k,
        subjects: release.subjects().to_vec(),
        before: report(table, tree),
        lost: table
            .of_role(Role::Quasi)
            .map(|column| column.name().to_owned())
            .zip(found.loss.columns.iter().copied())
            .collect(),
        optimal: found.optimal,
        loss: found.loss,
        reasons: Vec::new(),
        release,
        classes,
        after,
        suppressed,
        crowd,
        linked,
    };
    judged.reasons = reasons(&judged, goal, table.rows());
    Ok(judged)
}

/// How exposed people are in rows as they are: measured, and attacked.
pub fn exposure(rows: &Rows) -> (Report, Option<Linked>) {
    let tree = |name: &str| rows.hierarchies.get(name);
    (
        report(&rows.table, tree),
        suspect::attack(rows, &rows.table),
    )
}

/// The rows that stay when those go whom this release and earlier ones together would leave among fewer than k, and then those
/// whose class lost too many; and the fewest that anybody is then among.
fn keep(
    found: &Table,
    k: u32,
    subjects: usize,
    earlier: &[Vec<Option<u32>>],
) -> (Vec<u32>, Option<u32>) {
    let classes = Classes::of(found);
    let mut kept: Vec<u32> = (0..code(found.rows())).collect();
    if earlier.is_empty() {
        return (kept, None);
    }
    loop {
        let mut now = vec![None; subjects];
        for row in &kept {
            now[place(found.subjects()[place(*row)])] = Some(classes.of_rows()[place(*row)]);
        }
        let releases: Vec<Vec<Option<u32>>> = earlier.iter().cloned().chain([now]).collect();
        let crowds = intersection::candidates(&releases);
        let crowd = |row: &u32| crowds[place(found.subjects()[place(*row)])];
        let before = kept.len();
        let fewest = kept.iter().map(crowd).min();
        kept.retain(|row| crowd(row) >= k);
        if kept.len() == before {
            return (kept, fewest);
        }
    }
}

/// Some rows of a table.
fn only(table: &Table, rows: &[u32]) -> Result<Table, SearchFault> {
    let columns = table.columns().iter().map(|column| {
        let codes = rows.iter().map(|row| column.codes()[place(*row)]).collect();
        Column::coded(
            column.name(),
            column.role(),
            column.ordered(),
            codes,
            column.dictionary().to_vec(),
        )
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Table::new(
        columns,
        rows.iter()
            .map(|row| table.subjects()[place(*row)])
            .collect(),
    )?)
}

fn reasons(judged: &Judged, goal: &Goal, subjects: usize) -> Vec<Reason> {
    /// As the search: sums of fractions are not exact.
    const ROUNDING: f64 = 1e-9;
    let mut reasons = Vec::new();
    let after = &judged.after;
    if after.rows == 0 {
        return vec![Reason::Nobody];
    }
    if after.k < goal.k {
        reasons.push(Reason::K {
            is: after.k,
            wanted: goal.k,
        });
    }
    for given in &after.sensitive {
        if let Some(Diversity::Distinct(wanted)) = goal.l
            && given.distinct < wanted
        {
            reasons.push(Reason::L {
                column: given.column.clone(),
                is: given.distinct,
                wanted,
            });
        }
        if let Some(wanted) = goal.t
            && given.t > wanted + ROUNDING
        {
            reasons.push(Reason::T {
                column: given.column.clone(),
                is: given.t,
                wanted,
            });
        }
    }
    let left_out = share(
        judged.suppressed.alone + judged.suppressed.overlaid,
        subjects,
    );
    if left_out > goal.suppress + ROUNDING {
        reasons.push(Reason::Suppressed {
            is: left_out,
            wanted: goal.suppress,
        });
    }
    if let Some(linked) = judged.linked {
        let wanted = linkage::limit(&linked.linkage);
        if linked.linkage.first > wanted {
            reasons.push(Reason::Linked {
                is: linked.linkage.first,
                wanted,
            });
        }
    }
    reasons
}

#[cfg(test)]
mod tests;
