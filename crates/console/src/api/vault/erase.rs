//! One device's data: handed out, and erased.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stockade_gateway::name::DeviceName;
use stockade_vault::{Access, Cursor, Erased, Export, Forgotten, Role, Subject};
use tokio::runtime::Handle;

use crate::api::records::{vault, vault_problem};
use crate::api::{Asked, Body};
use crate::fleet;
use crate::gate::By;
use crate::http::Problem;
use crate::state::{App, Shared};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseBody {
    pub(crate) device: String,
    /// Needed for a device that the gateway no longer knows.
    pub(crate) model: Option<String>,
    /// For the log.
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) defer: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportAsked {
    device: String,
    model: Option<String>,
    /// Where the piece before ended.
    schema: Option<String>,
    after: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct ExportBody {
    product: &'static str,
    #[serde(flatten)]
    export: Export,
}

pub(crate) async fn erase(
    State(app): State<Shared>,
    by: By,
    Body(body): Body<EraseBody>,
) -> Result<Json<Erased>, Problem> {
    erased(&app, by.0, body).await.map(Json)
}

pub(crate) async fn erased(
    app: &Shared,
    access: Access,
    body: EraseBody,
) -> Result<Erased, Problem> {
    if !stockade_vault::is_name(&body.reason) {
        return Err(Problem::bad(
            "`reason` is for the log, which takes names only",
            "one word of letters, digits, `.`, `_` and `-`, for example gdpr-17 or a ticket's number; no person's name",
        ));
    }
    let access = Access {
        purpose: Some(body.reason),
        ..access
    };
    let subject = subject(app, &access, body.device, body.model)?;
    app.blocking(move |app| {
        let broker = || forgotten(app, &subject);
        let erased = vault(app)?.erase(&access, &subject, body.defer, broker, app.now());
        erased.map_err(vault_problem)
    })
    .await
}

/// Has the broker forget the device, where it runs in this process. Blocks.
fn forgotten(app: &App, subject: &Subject) -> Result<Option<Forgotten>, String> {
    let device = DeviceName::new(&subject.model, &subject.device);
    match (&app.state.forget, device) {
        (Some(forget), Ok(device)) => Handle::current().block_on(forget(device)).map(Some),
        // What is no name of a device has nothing there.
        _ => Ok(None),
    }
}

pub(crate) async fn export(
    State(app): State<Shared>,
    By(access): By,
    Asked(asked): Asked<ExportAsked>,
) -> Result<Json<ExportBody>, Problem> {
    let subject = subject(&app, &access, asked.device, asked.model)?;
    let from = match (asked.schema, asked.after) {
        (Some(schema), Some(after)) => Some(Cursor { schema, after }),
        (None, None) => None,
        _ => {
            return Err(Problem::bad(
                "`schema` and `after` belong together",
                "both are in `next` of the piece before",
            ));
        }
    };
    let export = app
        .blocking(move |app| {
            let export = vault(app)?.export(&access, &subject, from.as_ref(), app.now());
            export.map_err(vault_problem)
        })
        .await?;
    Ok(Json(ExportBody {
        product: "pseudonymised: still personal data",
        export,
    }))
}

/// The device that is meant: one that the gateway knows, the one that a token is for, or one that is named with its model.
pub(crate) fn subject(
    app: &Shared,
    access: &Access,
    device: String,
    model: Option<String>,
) -> Result<Subject, Problem> {
    match (&access.role, model) {
        (_, Some(model)) => Ok(Subject { model, device }),
        // Whether there is another's is not theirs to know: they may not either way.
        (Role::Subject(own), None) => Ok(Subject {
            model: own.model.clone(),
            device,
        }),
        (_, None) => fleet::subject(&app.state, &device, app.now()),
    }
}
