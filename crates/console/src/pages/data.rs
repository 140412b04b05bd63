//! What the vault has: its data sets, what became of them, and what can be asked of them.

mod ask;
mod exposed;
mod log;

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use stockade_profile::{FieldRole, Treatment};

use self::ask::{Told, Wanted};
pub(super) use self::ask::{measure, records, release, stat};
use self::exposed::Exposed;
pub(super) use self::log::show as log;
use super::{Page, Refused};
use crate::data::{self, DataSet, Steps};
use crate::http::{Operator, Problem, html, sentence};
use crate::plot::{self, Bar, Tone};
use crate::state::Shared;
use crate::view::{Moment, Nav, Shell, percent, span};

#[derive(Template)]
#[template(path = "data.html")]
pub(crate) struct DataPage {
    pub(crate) shell: Shell,
    pub(crate) sets: Vec<Row>,
    /// Messages that are of no data set, by why they were refused.
    pub(crate) strays: Vec<(String, u64)>,
}

/// A data set in the table of all.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) stored: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) purposes: Vec<String>,
    pub(crate) kept: String,
    /// What is left for aggregates, in words, and as a share of it.
    pub(crate) left: Option<(String, f64)>,
    pub(crate) released: Option<Moment>,
}

#[derive(Template)]
#[template(path = "data_set.html")]
pub(crate) struct SetPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) stored: u64,
    pub(crate) refused: Vec<(String, u64)>,
    pub(crate) unnamed: Vec<(String, u64)>,
    pub(crate) uses: Vec<UseRow>,
    pub(crate) fields: Vec<FieldRow>,
    pub(crate) purposes: Vec<String>,
    pub(crate) budget: Option<BudgetView>,
    /// Number and time, the newest first.
    pub(crate) releases: Vec<(u32, Moment)>,
    pub(crate) wanted: Wanted,
    pub(crate) told: Option<Told>,
    pub(crate) risk: Option<Exposed>,
    pub(crate) tried: Option<Exposed>,
    pub(crate) wrong: Option<Wrong>,
}

/// Why one of the page's forms was refused.
pub(crate) struct Wrong {
    pub(crate) form: Form,
    pub(crate) text: String,
    pub(crate) help: String,
}

/// The forms of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Risk,
    Stat,
    Release,
}

/// What one model's profile lets a data set be used for.
pub(crate) struct UseRow {
    pub(crate) model: String,
    pub(crate) purposes: Vec<String>,
    pub(crate) kept: String,
    pub(crate) release: String,
    pub(crate) counts: String,
}

/// What becomes of a field.
pub(crate) struct FieldRow {
    pub(crate) name: String,
    pub(crate) model: String,
    pub(crate) becomes: String,
    pub(crate) role: &'static str,
    pub(crate) lost: Vec<String>,
}

/// A budget, drawn.
pub(crate) struct BudgetView {
    pub(crate) words: String,
    pub(crate) bar: String,
    pub(crate) steps: Option<String>,
    pub(crate) full_again: Option<Moment>,
    pub(crate) answers: u64,
    pub(crate) refused: u64,
}

impl SetPage {
    /// Why the form was refused, if it was this one.
    fn wrong(&self, form: Form) -> Option<&Wrong> {
        self.wrong.as_ref().filter(|wrong| wrong.form == form)
    }
}

pub(super) async fn list(State(app): State<Shared>, operator: Operator) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let now = app.now();
    let (sets, strays) = app
        .blocking(|app| {
            let sets = data::all(app, &Operator::access(None))?;
            Ok((sets, data::strays(app)?))
        })
        .await
        .map_err(|p| Refused::new(p, &shell))?;
    let row = |set: DataSet| Row {
        href: href(&set.name),
        stored: set.counters.stored,
        refused: set.counters.refused.values().sum(),
        lost: [
            &set.counters.unnamed,
            &set.counters.dropped,
            &set.counters.wrong_shape,
            &set.counters.sealed,
        ]
        .into_iter()
        .flat_map(BTreeMap::values)
        .sum(),
        purposes: set.purposes(),
        kept: kept(&set),
        left: set.budget.as_ref().map(|budget| {
            let share = f64::from(budget.left) / f64::from(budget.epsilon);
            (format!("{} of {}", budget.left, budget.epsilon), share)
        }),
        released: set.releases.last().map(|(_, at)| Moment::new(*at, now)),
        name: set.name,
    };
    Ok(html(&DataPage {
        shell,
        sets: sets.into_iter().map(row).collect(),
        strays,
    }))
}

pub(super) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let page = set_page(&app, &operator, &name).await;
    Ok(html(&page.map_err(|p| Refused::new(p, &shell))?))
}

/// Somebody reloads where a form was sent to.
pub(super) async fn back(_operator: Operator, Path(name): Path<String>) -> Response {
    Redirect::to(&href(&name)).into_response()
}

/// The address of a data set's page. The log has the address of one that is called so.
fn href(name: &str) -> String {
    if name == "log" {
        return "/data/%6Cog".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let escaped = name.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("/data/{}", escaped.collect::<String>())
}

/// The page of a data set before anything was asked.
async fn set_page(app: &Shared, operator: &Operator, name: &str) -> Result<SetPage, Problem> {
    let name = name.to_owned();
    let (set, steps) = app
        .blocking(move |app| {
            let set = data::one(app, &Operator::access(None), &name)?;
            let steps = data::steps(app, &set)?;
            Ok((set, steps))
        })
        .await?;
    let now = app.now();
    let counted = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().map(|(name, count)| (name.clone(), *count));
        counts.collect::<Vec<_>>()
    };
    Ok(SetPage {
        shell: operator.shell(app, Nav::Data),
        csrf: operator.0.csrf(),
        href: href(&set.name),
        stored: set.counters.stored,
        refused: counted(&set.counters.refused),
        unnamed: counted(&set.counters.unnamed),
        uses: uses(&set),
        fields: fields(&set),
        purposes: set.purposes(),
        budget: budget(&set, steps, now),
        releases: set
            .releases
            .iter()
            .rev()
            .map(|(number, at)| (*number, Moment::new(*at, now)))
            .collect(),
        wanted: Wanted::default(),
        told: None,
        risk: None,
        tried: None,
        wrong: None,
        name: set.name,
    })
}

/// The page with what came of a form; one that was refused says so at the form.
fn answered(mut page: SetPage, form: Form, came: Result<(), Problem>) -> Response {
    let Err(problem) = came else {
        return html(&page);
    };
    let status: StatusCode = problem.status;
    page.wrong = Some(Wrong {
        form,
        text: sentence(&problem.error),
        help: sentence(&problem.help),
    });
    (status, html(&page)).into_response()
}

fn kept(set: &DataSet) -> String {
    let mut all: Vec<_> = set.said().map(|(_, _, usage)| usage.retention()).collect();
    all.sort();
    all.dedup();
    all.into_iter().map(span).collect::<Vec<_>>().join(" or ")
}

fn uses(set: &DataSet) -> Vec<UseRow> {
    let row = |(model, _, usage): (&str, _, stockade_profile::DataSetUse)| {
        let goal = usage.release();
        let counts = usage.contribution();
        UseRow {
            model: model.to_owned(),
            purposes: usage.purposes.iter().map(ToString::to_string).collect(),
            kept: span(usage.retention()),
            release: format!(
                "k {}, l {}, t {}, at most {} left out",
                goal.k,
                goal.l,
                goal.t,
                percent(f64::from(goal.suppress.parts()) / 100.0)
            ),
            counts: format!("{} records in {}", counts.records, span(counts.per)),
        }
    };
    set.said().map(row).collect()
}

fn fields(set: &DataSet) -> Vec<FieldRow> {
    let lost = |name: &str| {
        let counters = &set.counters;
        let reasons = [
            (&counters.dropped, "dropped, as the profile says"),
            (
                &counters.wrong_shape,
                "dropped: not of the shape that its treatment needs",
            ),
            (&counters.sealed, "withheld: there is no key of its reader"),
        ];
        let counted = reasons.into_iter().filter_map(|(counts, why)| {
            let count = counts.get(name)?;
            Some(format!("{count} {why}"))
        });
        counted.collect()
    };
    set.said()
        .flat_map(|(model, fields, _)| fields.iter().map(move |field| (model, field)))
        .map(|(model, (name, field))| FieldRow {
            name: name.to_string(),
            model: model.to_owned(),
            becomes: field.treatment.words().replace('`', ""),
            role: match field.role() {
                _ if field.treatment == Treatment::Drop => "is in nothing that is stored",
                FieldRole::Direct => "names somebody: in no release",
                FieldRole::Quasi => "may single somebody out: made coarser",
                FieldRole::Sensitive => "is not to be learned of anybody",
                FieldRole::Free => "says nothing about people",
            },
            lost: lost(name.as_str()),
        })
        .collect()
}

fn budget(set: &DataSet, steps: Option<Steps>, now: time::OffsetDateTime) -> Option<BudgetView> {
    let budget = set.budget.as_ref()?;
    let share = f64::from(budget.left) / f64::from(budget.epsilon);
    let words = format!(
        "{} of {} is left, for {}",
        budget.left,
        budget.epsilon,
        span(set.per())
    );
    let left = Bar {
        label: "left".to_owned(),
        share,
        value: format!("{} of {}", budget.left, budget.epsilon),
        tone: if share < 0.1 { Tone::Bad } else { Tone::Good },
    };
    let steps = steps.map(|steps| {
        let end = Moment::new(budget.full_again.unwrap_or(now), now).absolute;
        let title = format!("What was spent of the budget since {}", steps.from.date());
        let day = |text: &str| text.chars().take(10).collect::<String>();
        plot::steps(
            &title,
            &steps.from.date().to_string(),
            &format!("full again {}", day(&end)),
            &steps.points,
        )
    });
    Some(BudgetView {
        bar: plot::bars(&format!("Budget: {words}"), &[left]),
        words,
        steps,
        full_again: budget.full_again.map(|at| Moment::new(at, now)),
        answers: budget.answers,
        refused: budget.refused,
    })
}

#[cfg(test)]
mod tests {
    use super::href;

    #[test]
    fn a_data_set_has_an_address_whatever_it_is_called() {
        assert_eq!(href("motion"), "/data/motion");
        assert_eq!(href("log"), "/data/%6Cog");
        assert_eq!(href("a/b c"), "/data/a%2Fb%20c");
    }
}
