//! How exposed the devices of a data set are, drawn.

use std::collections::BTreeMap;

use stockade_vault::{Asked, Count, Linkage, Measured, Release, Risk};

use crate::http::sentence;
use crate::plot::{self, Bar, Tone};
use crate::view::{number, percent};

/// What was measured: plots, and the same as text.
pub(crate) struct Exposed {
    pub(crate) verdict: String,
    pub(crate) good: bool,
    pub(crate) why: Vec<String>,
    /// Its heading and the picture.
    pub(crate) plots: Vec<(&'static str, String)>,
    /// What, as it is stored, as it would be released.
    pub(crate) rows: Vec<[String; 3]>,
    pub(crate) notes: Vec<String>,
}

impl Exposed {
    pub(super) fn of_risk(risk: &Risk) -> Self {
        let released = risk.released.as_ref();
        let refused = released.map(|it| it.refused.as_slice()).unwrap_or_default();
        let (verdict, good) = match (released, &risk.unreachable) {
            (Some(it), _) if refused.is_empty() => (
                format!(
                    "A release would pass, and lose {} of the information.",
                    percent(it.loss)
                ),
                true,
            ),
            (Some(_), _) => ("A release would be refused.".to_owned(), false),
            (None, why) => (
                format!(
                    "There is no release: {}.",
                    why.as_deref().unwrap_or("none was found")
                ),
                false,
            ),
        };
        let after = released.map(|it| &it.after);
        let mut notes = Vec::new();
        if let Some(share) = risk.singled_out {
            notes.push(format!(
                "{} of the devices are singled out by somebody who knows {} of their records as stored.",
                percent(share), risk.points_known
            ));
        }
        notes.extend(rest(
            risk.linkage.as_ref(),
            &risk.omitted,
            risk.missing_blocks,
        ));
        Self {
            verdict,
            good,
            why: refused.iter().map(|it| sentence(it)).collect(),
            plots: plots(&risk.goal, &risk.stored, after),
            rows: rows(&risk.stored, after),
            notes,
        }
    }

    pub(super) fn of_release(release: &Release) -> Self {
        let good = release.refused.is_empty();
        let verdict = if good {
            "It would pass. Nothing was given out or remembered yet."
        } else {
            "Refused: it may not leave."
        };
        let mut notes = vec![
            format!(
                "Left out: {} because too few were like them, {} because of {} earlier releases.",
                release.alone, release.overlaid, release.earlier
            ),
            format!("Lost: {} of the information.", percent(release.loss)),
        ];
        if release.k != release.goal.k {
            notes.push(format!("k {} was needed for the linkage test.", release.k));
        }
        if let Some(crowd) = release.crowd {
            notes.push(format!(
                "In all releases together everybody stands among {crowd} at least."
            ));
        }
        notes.extend(rest(
            release.linkage.as_ref(),
            &release.omitted,
            release.missing_blocks,
        ));
        Self {
            verdict: verdict.to_owned(),
            good,
            why: release.refused.iter().map(|it| sentence(it)).collect(),
            plots: plots(&release.goal, &release.before, Some(&release.after)),
            rows: rows(&release.before, Some(&release.after)),
            notes,
        }
    }
}

/// The linkage test, and what is not in it.
fn rest(linkage: Option<&Linkage>, omitted: &[String], missing: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(test) = linkage {
        notes.push(format!(
            "Linkage test: somebody who knows of everybody {} finds {} of the devices (in the rows as stored: {}; guessing: {}; allowed in a release: {}).",
            test.knows,
            percent(test.found),
            percent(test.before),
            percent(test.chance),
            percent(test.limit)
        ));
    }
    if !omitted.is_empty() {
        notes.push(format!("In no row: {}.", omitted.join(", ")));
    }
    if missing > 0 {
        notes.push(format!(
            "{missing} blocks could not be read, and are missing: stockade vault fsck says which."
        ));
    }
    notes
}

fn plots(
    goal: &Asked,
    stored: &Measured,
    released: Option<&Measured>,
) -> Vec<(&'static str, String)> {
    let mut all = vec![("How many are alike, as stored", sizes(goal.k, stored))];
    all.extend(released.map(|it| ("How many are alike, released", sizes(goal.k, it))));
    all.push((
        "Against what a release must reach, as stored",
        goals(goal, stored),
    ));
    all.extend(released.map(|it| {
        (
            "Against what a release must reach, released",
            goals(goal, it),
        )
    }));
    all
}

/// Devices by how many share their values: alone, too few, enough.
fn sizes(k: u32, measured: &Measured) -> String {
    // Each bar goes up to the next; none has some that are too few and some that are enough.
    let k = k.max(1);
    let mut starts: Vec<u32> = [1, 2, 5].into_iter().filter(|it| *it < k).collect();
    starts.extend([k, k.saturating_mul(2), k.saturating_mul(4)]);
    let mut devices: BTreeMap<u32, u64> = starts.iter().map(|start| (*start, 0)).collect();
    for (size, classes) in &measured.sizes {
        let among = devices.range_mut(..=*size).next_back();
        if let Some((_, count)) = among {
            let classes = u64::try_from(*classes).unwrap_or(u64::MAX);
            *count = count.saturating_add(u64::from(*size).saturating_mul(classes));
        }
    }
    let all = wide(measured.subjects).max(1);
    let bar = |(at, (start, count)): (usize, (&u32, &u64))| {
        let last = starts.get(at + 1).map(|next| next - 1);
        let label = match last {
            _ if *start == 1 => "alone".to_owned(),
            Some(last) if last == *start => format!("{start} alike"),
            Some(last) => format!("{start} to {last} alike"),
            None => format!("{start} or more alike"),
        };
        Bar {
            label,
            share: share(*count, all),
            value: format!("{count} of {}", measured.subjects),
            tone: if *start < k { Tone::Bad } else { Tone::Good },
        }
    };
    let bars: Vec<Bar> = devices.iter().enumerate().map(bar).collect();
    plot::bars(
        "Devices by how many share all that may single them out",
        &bars,
    )
}

/// What was measured against what must be reached.
fn goals(goal: &Asked, measured: &Measured) -> String {
    let reached = |yes: bool| if yes { Tone::Good } else { Tone::Bad };
    let mut bars = vec![Bar {
        label: "k".to_owned(),
        share: share(wide(measured.k), goal.k.into()),
        value: format!("{}, goal {}", measured.k, goal.k),
        tone: reached(wide(measured.k) >= goal.k.into()),
    }];
    for given in &measured.sensitive {
        if let Some(l) = goal.l {
            bars.push(Bar {
                label: plot::short(&format!("l of {}", given.column)),
                share: share(given.l.into(), l.into()),
                value: format!("{}, goal {l}", given.l),
                tone: reached(given.l >= l),
            });
        }
        if let Some(t) = goal.t {
            bars.push(Bar {
                label: plot::short(&format!("t of {}", given.column)),
                share: given.t,
                value: format!(
                    "{}, goal {}",
                    number((given.t * 1_000.0).round() / 1_000.0),
                    number(t)
                ),
                tone: reached(given.t <= t),
            });
        }
    }
    plot::bars(
        "What was measured, against what a release must reach",
        &bars,
    )
}

fn wide(count: Count) -> u64 {
    u64::try_from(count.number()).unwrap_or(u64::MAX)
}

/// A part of a whole; both are far below what is exact.
fn share(part: u64, whole: u64) -> f64 {
    let real = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    real(part) / real(whole.max(1))
}

fn rows(stored: &Measured, released: Option<&Measured>) -> Vec<[String; 3]> {
    let row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
        let other = released.map(cell).unwrap_or_default();
        [name.to_owned(), cell(stored), other]
    };
    let mut rows = vec![
        row("Devices", &|it| it.subjects.to_string()),
        row("Kinds of them", &|it| it.classes.to_string()),
        row("Fewest of a kind (k)", &|it| it.k.to_string()),
        row("The only one of their kind", &|it| it.unique.to_string()),
        row("Highest risk to be found", &|it| percent(it.highest_risk)),
        row("Average risk", &|it| percent(it.average_risk)),
    ];
    for given in &stored.sensitive {
        let of = |it: &Measured, show: &dyn Fn(&stockade_vault::Given) -> String| {
            let same = it
                .sensitive
                .iter()
                .find(|other| other.column == given.column);
            same.map(show).unwrap_or_default()
        };
        let name = &given.column;
        rows.push(row(
            &format!("Fewest values of {name} in a kind (l)"),
            &|it| of(it, &|given| given.l.to_string()),
        ));
        rows.push(row(
            &format!("Farthest distribution of {name} (t)"),
            &|it| of(it, &|given| number((given.t * 1_000.0).round() / 1_000.0)),
        ));
        rows.push(row(&format!("Kinds with one value of {name}"), &|it| {
            of(it, &|given| given.homogeneous.to_string())
        }));
    }
    rows
}
