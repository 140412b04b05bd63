//! Local recoding: rows are said as coarsely as their own neighbourhood needs, top down (as Mondrian, `LeFevre` et al. 2006, and top-down
//! specialisation, Fung et al. 2005, on hierarchies).

use crate::number::{code, place};
use crate::search::units::{Units, Verdict};
use crate::search::whole::Node;

/// Parts that join those which may not be released by themselves, at most: where more would have to, a piece stays whole.
const MOST_JOINED: usize = 32;

/// Units that are released under the same names.
pub(super) struct Piece {
    pub(super) node: Node,
    /// In order.
    pub(super) units: Vec<u32>,
}

/// All units in pieces that may be released; none if not even all together may.
pub(super) fn run(units: &mut Units<'_>) -> Option<Vec<Piece>> {
    let node = units.dimensions.iter().map(|it| it.levels() - 1).collect();
    let whole: Vec<u32> = (0..code(units.rows.len())).collect();
    if units.judge(&whole) != Verdict::Passes {
        return None;
    }
    let mut open = vec![Piece { node, units: whole }];
    let mut done = Vec::new();
    while let Some(piece) = open.pop() {
        let mut best: Option<(f64, Vec<Piece>)> = None;
        for at in 0..piece.node.len() {
            if let Some((gain, pieces)) = split(units, &piece, at)
                && best.as_ref().is_none_or(|(most, _)| gain > *most)
            {
                best = Some((gain, pieces));
            }
        }
        match best {
            Some((_, pieces)) => open.extend(pieces),
            None => done.push(piece),
        }
    }
    Some(done)
}

/// A piece in parts of which all but one are said one level finer in one column, and what that spares. Parts that may not be released by
/// themselves stay together as they were called, with so many of the others, the smallest first, as they need.
fn split(units: &mut Units<'_>, piece: &Piece, at: usize) -> Option<(f64, Vec<Piece>)> {
    let level = piece.node[at].checked_sub(1)?;
    let column = &units.dimensions[at];
    let mut named: Vec<(u32, u32)> = piece
        .units
        .iter()
        .map(|unit| (column.name(level, *unit), *unit))
        .collect();
    named.sort_unstable();
    let parts: Vec<Vec<u32>> = named
        .chunk_by(|a, b| a.0 == b.0)
        .map(|part| part.iter().map(|(_, unit)| *unit).collect())
        .collect();
    let (mut passing, mut rest) = (Vec::new(), Vec::new());
    for part in parts {
        match units.judge(&part) {
            Verdict::Passes => passing.push(part),
            Verdict::Fails | Verdict::Unlike(_) => rest.extend(part),
        }
    }
    passing.sort_by_key(|part| std::cmp::Reverse(part.len()));
    rest.sort_unstable();
    let least = passing.len().saturating_sub(MOST_JOINED);
    while !rest.is_empty() && units.judge(&rest) != Verdict::Passes {
        rest.extend(passing.pop().filter(|_| passing.len() >= least)?);
        rest.sort_unstable();
    }
    if passing.is_empty() {
        return None;
    }
    let column = &units.dimensions[at];
    let spared = |unit: &u32| {
        let loss = column.loss(level + 1, *unit) - column.loss(level, *unit);
        loss * f64::from(units.rows[place(*unit)])
    };
    let gain = passing.iter().flatten().map(spared).sum();
    let mut finer = piece.node.clone();
    finer[at] = level;
    let mut pieces: Vec<Piece> = passing
        .into_iter()
        .map(|units| Piece {
            node: finer.clone(),
            units,
        })
        .collect();
    if !rest.is_empty() {
        pieces.push(Piece {
            node: piece.node.clone(),
            units: rest,
        });
    }
    Some((gain, pieces))
}
