//! What is asked of a data set, by its page's forms.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use stockade_vault::{Formulas, Query, Release};

use super::exposed::Exposed;
use super::{Form, SetPage, answered, href, set_page};
use crate::api::records::{vault, vault_problem};
use crate::api::vault::release::{ReleaseAsked, made, measured};
use crate::api::vault::stat::{AskBody, told};
use crate::data;
use crate::fleet;
use crate::http::{Operator, Problem, ProtectedForm, attachment, html};
use crate::pages::{Page, Refused};
use crate::plot::{self, Around};
use crate::state::Shared;
use crate::view::{Moment, Nav, Shell, number};

/// Numbers that are drawn of one answer.
const DRAWN: usize = 40;
/// Numbers that are shown of one answer.
const SHOWN: usize = 500;
/// Records on one page.
const RECORDS: usize = 50;

/// What stands in the forms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) question: String,
    pub(crate) epsilon: String,
    pub(crate) release: ReleaseForm,
}

/// An answer, drawn.
pub(crate) struct Told {
    pub(crate) question: String,
    pub(crate) plot: Option<String>,
    /// Of what, the number, from and to.
    pub(crate) cells: Vec<[String; 4]>,
    pub(crate) more: usize,
    /// What it cost, and what was promised: name and text.
    pub(crate) facts: Vec<(&'static str, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatForm {
    question: String,
    epsilon: String,
}

/// A release as the form says it; what is empty is as the profile says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseForm {
    pub(crate) k: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// `on`, or nothing.
    #[serde(default)]
    pub(crate) local: String,
    /// `make`, or anything else.
    pub(crate) act: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsForm {
    purpose: String,
    device: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "data_records.html")]
pub(crate) struct RecordsPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) purpose: String,
    pub(crate) device: String,
    pub(crate) records: Vec<RecordRow>,
    pub(crate) damaged: Vec<String>,
    pub(crate) next: Option<u64>,
}

/// A record as it is shown.
pub(crate) struct RecordRow {
    pub(crate) number: u64,
    pub(crate) stored: String,
    pub(crate) fields: String,
    pub(crate) withheld: String,
}

pub(in crate::pages) async fn measure(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    form.agreed(&operator.0).map_err(refused)?;
    let mut page = set_page(&app, &operator, &name).await.map_err(refused)?;
    let asked = ReleaseAsked {
        schema: name,
        ..ReleaseAsked::default()
    };
    let came = measured(&app, Operator::access(None), asked).await;
    let came = came.map(|risk| page.risk = Some(Exposed::of_risk(&risk)));
    Ok(answered(page, Form::Risk, came))
}

pub(in crate::pages) async fn stat(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: StatForm = form.open(&operator.0).map_err(refused)?;
    // It says whether there is such a data set, before anything is paid.
    let wanted = name.clone();
    app.blocking(move |app| data::one(app, &Operator::access(None), &wanted).map(drop))
        .await
        .map_err(refused)?;
    let epsilon = asked.epsilon.trim();
    let body = AskBody {
        schema: name.clone(),
        question: asked.question.clone(),
        epsilon: (!epsilon.is_empty()).then(|| epsilon.to_owned()),
        again: false,
    };
    let came = told(&app, Operator::access(None), body).await;
    let mut page = set_page(&app, &operator, &name).await.map_err(refused)?;
    page.wanted.question = asked.question;
    page.wanted.epsilon = asked.epsilon;
    let came = came.map(|answer| page.told = Some(Told::of(&answer, app.now())));
    Ok(answered(page, Form::Stat, came))
}

pub(in crate::pages) async fn release(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: ReleaseForm = form.open(&operator.0).map_err(refused)?;
    let mut page: SetPage = set_page(&app, &operator, &name).await.map_err(refused)?;
    let came = match asked.clone().asked(name) {
        Ok(wanted) => made(&app, Operator::access(None), wanted).await,
        Err(problem) => Err(problem),
    };
    page.wanted.release = asked;
    let came = match came {
        Ok(release) if release.number.is_some() => return download(&release).map_err(refused),
        Ok(release) => {
            page.tried = Some(Exposed::of_release(&release));
            Ok(())
        }
        Err(problem) => Err(problem),
    };
    Ok(answered(page, Form::Release, came))
}

/// The rows as a file: they are given once.
fn download(release: &Release) -> Result<Response, Problem> {
    let number = release.number.unwrap_or_default();
    let name = format!("{}-release-{number}.csv", release.data_set);
    let headers = attachment(&name, "text/csv; charset=utf-8")?;
    Ok((headers, release.csv(Formulas::Defused)).into_response())
}

impl ReleaseForm {
    fn asked(self, schema: String) -> Result<ReleaseAsked, Problem> {
        let k = match self.k.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_not_a_number| {
                Problem::bad(
                    "k is a whole number",
                    "leave it empty for what the profile says",
                )
            })?),
        };
        // A browser's field of a day has no time.
        let day = |text: String| match text.len() {
            10 => format!("{text}T00:00:00Z"),
            _ => text,
        };
        Ok(ReleaseAsked {
            schema,
            k,
            local: !self.local.is_empty(),
            from: day(self.from),
            to: day(self.to),
            dry_run: self.act != "make",
            ..ReleaseAsked::default()
        })
    }
}

impl Told {
    fn of(told: &stockade_vault::Told, now: time::OffsetDateTime) -> Self {
        let (answer, statement) = (&told.answer, &told.answer.statement);
        let (mut drawn, mut cells) = (Vec::new(), Vec::new());
        for cell in answer.cells.iter().take(SHOWN) {
            let step = cell.step.map(|step| format!("from {}", number(step)));
            let parts = [cell.group.clone(), cell.time.clone(), step];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            let label = if parts.is_empty() {
                "all".to_owned()
            } else {
                parts.join(", ")
            };
            if let (Some(low), Some(value), Some(high)) = (cell.low, cell.value, cell.high)
                && drawn.len() < DRAWN
            {
                drawn.push(Around {
                    label: plot::short(&label),
                    low,
                    value,
                    high,
                    text: number(value),
                });
            }
            let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
            let value = cell
                .value
                .map_or_else(|| "too few to tell".to_owned(), number);
            cells.push([label, value, shown(cell.low), shown(cell.high)]);
        }
        let cost = if told.again {
            let at = Moment::new(told.at, now).absolute;
            format!("nothing: it is the answer of {at}, which was paid then")
        } else {
            format!("epsilon {}, delta {}", statement.epsilon, statement.delta)
        };
        let mut facts = vec![
            ("Cost", cost),
            ("Protected", statement.unit.clone()),
            (
                "Promise",
                format!(
                    "the answer would be much the same {} (epsilon {}, delta {})",
                    statement.neighbours, statement.epsilon, statement.delta
                ),
            ),
            ("By", statement.mechanism.clone()),
            ("Error", statement.error.clone()),
        ];
        if told.missing_blocks > 0 {
            let many = told.missing_blocks;
            let text = format!("{many} blocks could not be read: stockade vault fsck");
            facts.push(("Missing", text));
        }
        Self {
            question: answer.question.clone(),
            plot: (!drawn.is_empty())
                .then(|| plot::errors("The answer with its error bars, as in the table", &drawn)),
            more: answer.cells.len().saturating_sub(SHOWN),
            cells,
            facts,
        }
    }
}

pub(in crate::pages) async fn records(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Data);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: RecordsForm = form.open(&operator.0).map_err(refused)?;
    let device = asked.device.trim().to_owned();
    let subject = if device.is_empty() {
        None
    } else {
        let subject = fleet::subject(&app.state, &device, app.now());
        Some(subject.map_err(refused)?)
    };
    let query = Query {
        schema: name.clone(),
        subject,
        after: asked.after.parse().ok(),
        limit: RECORDS,
        newest_first: true,
        ..Query::default()
    };
    let access = Operator::access(Some(asked.purpose.clone()));
    let found = app
        .blocking(move |app| {
            let page = vault(app)?.query(&access, &query, app.now());
            page.map_err(vault_problem)
        })
        .await
        .map_err(refused)?;
    let row = |record: &stockade_vault::StoredRecord| {
        let fields = serde_json::to_string(&record.fields)
            .map_err(|error| Problem::ours("show a record", &error))?;
        Ok(RecordRow {
            number: record.number,
            stored: record.stored.clone(),
            fields,
            withheld: record.withheld.join(", "),
        })
    };
    let rows: Result<_, Problem> = found.records.iter().map(row).collect();
    Ok(html(&RecordsPage {
        csrf: operator.0.csrf(),
        href: href(&name),
        name,
        purpose: asked.purpose,
        device,
        records: rows.map_err(refused)?,
        damaged: found
            .damaged
            .iter()
            .map(|it| it.block.to_string())
            .collect(),
        next: found.next,
        shell: shell.clone(),
    }))
}
