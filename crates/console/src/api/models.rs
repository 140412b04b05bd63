//! Models and their profiles.

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::{Asked, Named};
use crate::act::{self, FaultView, NotInstalled};
use crate::findings::Findings;
use crate::fleet;
use crate::http::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(super) struct WordBody {
    control: &'static str,
    /// Whether the gateway holds devices to it.
    enforced: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_here: Option<&'static str>,
    text: String,
}

pub(super) fn word_bodies(
    profile: &stockade_profile::Profile,
    device: Option<&str>,
) -> Vec<WordBody> {
    let sentences = fleet::sentences(profile, device);
    sentences
        .into_iter()
        .map(|(control, text)| {
            let not_here = fleet::not_here(control);
            WordBody {
                control,
                enforced: not_here.is_none(),
                not_here,
                text,
            }
        })
        .collect()
}

#[derive(Serialize)]
pub(super) struct ModelBody {
    model: String,
    manufacturer: String,
    version: u64,
    devices: usize,
}

#[derive(Serialize)]
pub(super) struct ModelsBody {
    models: Vec<ModelBody>,
}

pub(super) async fn list(State(app): State<Shared>) -> Json<ModelsBody> {
    let models = fleet::models(&app.state)
        .into_iter()
        .map(|m| ModelBody {
            model: m.name,
            manufacturer: m.manufacturer,
            version: m.version,
            devices: m.devices,
        })
        .collect();
    Json(ModelsBody { models })
}

#[derive(Serialize)]
pub(super) struct ModelShownBody {
    model: String,
    manufacturer: String,
    version: u64,
    words: Vec<WordBody>,
}

pub(super) async fn show(
    State(app): State<Shared>,
    Named(name): Named,
) -> Result<Json<ModelShownBody>, Problem> {
    let profile = fleet::profile(&app.state, &name)?;
    Ok(Json(ModelShownBody {
        model: profile.device.model.to_string(),
        manufacturer: profile.device.manufacturer.to_string(),
        version: profile.device.version,
        words: word_bodies(&profile, None),
    }))
}

#[derive(Serialize)]
pub(super) struct InstalledBody {
    model: String,
    version: u64,
    changed: bool,
    /// What `vault policy check` refuses in it, and the operator took all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policy: Vec<FaultView>,
}

#[derive(Serialize)]
pub(super) struct FaultsBody {
    error: String,
    help: String,
    faults: Vec<FaultView>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct InstallQuery {
    #[serde(default)]
    allow_policy_findings: bool,
}

pub(super) async fn install(
    State(app): State<Shared>,
    Asked(asked): Asked<InstallQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let bytes = axum::body::Bytes::from_request(request, &app)
        .await
        .map_err(|rejection| {
            Problem::new(
                rejection.status(),
                rejection.body_text(),
                "a profile is at most 512 KiB long",
            )
        })?;
    let findings = Findings::allowed(asked.allow_policy_findings);
    let outcome = match essence.as_str() {
        "text/toml" | "application/toml" => match String::from_utf8(bytes.into()) {
            Ok(source) => act::install_text(&app, source, findings).await,
            Err(_not_text) => {
                return Err(Problem::bad("the profile is not UTF-8", "save it as UTF-8"));
            }
        },
        "application/cose" => act::install_signed(&app, bytes.into(), findings).await,
        _ => {
            let help = "send text/toml, or application/cose for a signed profile";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "no profile of this content type",
                help,
            ));
        }
    };
    match outcome {
        Ok(installed) => {
            let body = InstalledBody {
                model: installed.model,
                version: installed.version,
                changed: installed.changed,
                policy: installed.policy,
            };
            Ok(Json(body).into_response())
        }
        Err(why) => not_installed(why),
    }
}

fn not_installed(why: NotInstalled) -> Result<Response, Problem> {
    let (error, help, faults) = match why {
        NotInstalled::Problem(problem) => return Err(problem),
        NotInstalled::Policy(faults) => (
            "what the profile says of its data is known to fail; nothing was installed".to_owned(),
            "write what is said there, or go on all the same: --allow-policy-findings".to_owned(),
            faults,
        ),
        NotInstalled::Faults(faults) => {
            let (error, help) = match faults.as_slice() {
                // Sound in itself; `profile check` would find nothing.
                [only] if only.place.is_none() => {
                    (only.message.clone(), only.help.clone().unwrap_or_default())
                }
                _ => (
                    format!(
                        "the profile has {} faults; nothing was installed",
                        faults.len()
                    ),
                    "`stockade profile check FILE` shows each with its place".to_owned(),
                ),
            };
            (error, help, faults)
        }
    };
    let body = FaultsBody {
        error,
        help,
        faults,
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
}
