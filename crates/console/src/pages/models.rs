//! Models: what each kind of device is for, and how a new profile comes in.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::{Page, Refused};
use crate::act::{self, FaultView, NotInstalled};
use crate::findings::Findings;
use crate::fleet::{self, Model};
use crate::http::{Operator, ProtectedForm, html};
use crate::state::Shared;
use crate::view::{Nav, Piece, SchemaView, Shell, WordGroup};

#[derive(Template)]
#[template(path = "models.html")]
pub(crate) struct ModelsPage {
    pub(crate) shell: Shell,
    pub(crate) models: Vec<Model>,
}

#[derive(Template)]
#[template(path = "model.html")]
pub(crate) struct ModelPage {
    pub(crate) shell: Shell,
    pub(crate) name: String,
    pub(crate) manufacturer: String,
    pub(crate) version: u64,
    pub(crate) installed: bool,
    pub(crate) words: Vec<WordGroup>,
    pub(crate) schemas: Vec<SchemaView>,
}

#[derive(Template)]
#[template(path = "install.html")]
pub(crate) struct InstallPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) faults: Vec<FaultView>,
    /// Whether they are the policy's: then the operator may go on all the same.
    pub(crate) policy: bool,
    pub(crate) source: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Came {
    done: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct InstallForm {
    source: String,
    /// A box that was checked.
    #[serde(default)]
    allow_policy_findings: String,
}

pub(super) async fn list(State(app): State<Shared>, operator: Operator) -> Response {
    html(&ModelsPage {
        shell: operator.shell(&app, Nav::Models),
        models: fleet::models(&app.state),
    })
}

pub(super) async fn show(
    State(app): State<Shared>,
    operator: Operator,
    Path(name): Path<String>,
    Query(came): Query<Came>,
) -> Page {
    let shell = operator.shell(&app, Nav::Models);
    let refused = |problem| Refused::new(problem, &shell);
    let profile = fleet::profile(&app.state, &name).map_err(refused)?;
    let mut schemas = fleet::schemas(&profile);
    let schemas = app
        .blocking(move |app| fleet::newest(&app.state, &mut schemas, None).map(|()| schemas))
        .await
        .map_err(refused)?;
    Ok(html(&ModelPage {
        shell: shell.clone(),
        name: profile.device.model.to_string(),
        manufacturer: profile.device.manufacturer.to_string(),
        version: profile.device.version,
        installed: came.done == "installed",
        words: fleet::words(&profile, None),
        schemas,
    }))
}

pub(super) async fn install_form(State(app): State<Shared>, operator: Operator) -> Response {
    let shell = operator.shell(&app, Nav::Models);
    html(&InstallPage {
        shell,
        csrf: operator.0.csrf(),
        faults: Vec::new(),
        policy: false,
        source: String::new(),
    })
}

pub(super) async fn install(
    State(app): State<Shared>,
    operator: Operator,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Models);
    let InstallForm {
        source,
        allow_policy_findings,
    } = form
        .open(&operator.0)
        .map_err(|p| Refused::new(p, &shell))?;
    // Browsers send line ends as CR LF; places in the text are counted in characters.
    let source = source.replace("\r\n", "\n");
    let findings = Findings::allowed(!allow_policy_findings.is_empty());
    let (faults, policy) = match act::install_text(&app, source.clone(), findings).await {
        Ok(installed) => {
            let to = format!("/models/{}?done=installed", installed.model);
            return Ok(Redirect::to(&to).into_response());
        }
        Err(NotInstalled::Problem(problem)) => return Err(Refused::new(problem, &shell)),
        Err(NotInstalled::Faults(faults)) => (faults, false),
        Err(NotInstalled::Policy(faults)) => (faults, true),
    };
    let page = InstallPage {
        shell,
        csrf: operator.0.csrf(),
        faults,
        policy,
        source,
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&page)).into_response())
}
