//! One device's data: handed out as a file, and erased with a proof.

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use stockade_vault::{Cursor, Erased, Export, Subject};

use super::{Page, Refused};
use crate::api::records::{vault, vault_problem};
use crate::api::vault::erase::{EraseBody, erased, subject};
use crate::fleet;
use crate::http::{Operator, Problem, ProtectedForm, attachment, html};
use crate::state::Shared;
use crate::view::{Nav, Shell};

#[derive(Template)]
#[template(path = "erase.html")]
pub(crate) struct ConfirmPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) id: String,
    pub(crate) wrong: Option<Problem>,
}

#[derive(Template)]
#[template(path = "erased.html")]
pub(crate) struct ErasedPage {
    pub(crate) shell: Shell,
    pub(crate) id: String,
    pub(crate) erased: Erased,
    pub(crate) subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EraseForm {
    reason: String,
    #[serde(default)]
    defer: String,
}

pub(super) async fn confirm(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let record = fleet::record(&app.state, &id, app.now()).map_err(|p| Refused::new(p, &shell))?;
    Ok(html(&ConfirmPage {
        shell,
        csrf: operator.0.csrf(),
        id: record.name.id.to_string(),
        wrong: None,
    }))
}

pub(super) async fn erase(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    let asked: EraseForm = form.open(&operator.0).map_err(refused)?;
    let record = fleet::record(&app.state, &id, app.now()).map_err(refused)?;
    let id = record.name.id.to_string();
    let body = EraseBody {
        device: id.clone(),
        model: None,
        reason: asked.reason.trim().to_owned(),
        defer: !asked.defer.is_empty(),
    };
    match erased(&app, Operator::access(None), body).await {
        Ok(erased) => {
            let commitment = erased.proof.subject.map(serde_json::to_value);
            let commitment = commitment.and_then(Result::ok);
            Ok(html(&ErasedPage {
                shell: shell.clone(),
                id,
                subject: commitment.and_then(|it| it.as_str().map(str::to_owned)),
                erased,
            }))
        }
        Err(problem) => {
            let status = problem.status;
            let page = ConfirmPage {
                shell: shell.clone(),
                csrf: operator.0.csrf(),
                id,
                wrong: Some(problem),
            };
            Ok((status, html(&page)).into_response())
        }
    }
}

/// All that is stored of a device, a record a line. What cannot be read is a line that says so.
pub(super) async fn export(
    State(app): State<Shared>,
    operator: Operator,
    Path(id): Path<String>,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let refused = |problem| Refused::new(problem, &shell);
    form.agreed(&operator.0).map_err(refused)?;
    let subject = subject(&app, &Operator::access(None), id, None).map_err(refused)?;
    let file = format!("{}-export.jsonl", subject.device);
    let headers = attachment(&file, "application/jsonl").map_err(refused)?;
    // The first piece is there before the answer begins: a refusal is a page.
    let first = piece(&app, &subject, None).await.map_err(refused)?;
    let next = first.next.clone();
    let begun = (app, subject, Some(first), next);
    let pieces = stream::try_unfold(begun, |(app, subject, here, next)| async move {
        let here = match (here, next) {
            (Some(here), _) => here,
            (None, None) => return Ok(None),
            // The browser says that the file is not whole.
            (None, from) => piece(&app, &subject, from)
                .await
                .map_err(|problem| std::io::Error::other(problem.error))?,
        };
        let next = here.next.clone();
        Ok::<_, std::io::Error>(Some((lines(&here)?, (app, subject, None, next))))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn piece(app: &Shared, subject: &Subject, from: Option<Cursor>) -> Result<Export, Problem> {
    let subject = subject.clone();
    app.blocking(move |app| {
        let export =
            vault(app)?.export(&Operator::access(None), &subject, from.as_ref(), app.now());
        export.map_err(vault_problem)
    })
    .await
}

fn lines(export: &Export) -> Result<Bytes, std::io::Error> {
    let mut out = Vec::new();
    for record in &export.records {
        serde_json::to_writer(&mut out, record)?;
        out.push(b'\n');
    }
    for damage in &export.damaged {
        let line =
            json!({ "missing": damage.block, "schema": damage.schema, "why": damage.detail });
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(Bytes::from(out))
}
