//! Add a device, and show its one-time code once.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use stockade_gateway::name::ModelName;
use stockade_gateway::registry::EnrolmentCode;
use stockade_profile::Profile;

use super::{Page, Refused};
use crate::act;
use crate::findings::{self, Findings};
use crate::fleet;
use crate::http::{Operator, ProtectedForm, html, sentence};
use crate::state::{Info, Shared};
use crate::view::{Choice, Moment, Nav, Shell};

#[derive(Template)]
#[template(path = "add.html")]
pub(crate) struct AddPage {
    pub(crate) shell: Shell,
    pub(crate) csrf: String,
    pub(crate) fault: Option<String>,
    /// Whether the chosen model's policy is refused, which was said then: the operator may go on all the same.
    pub(crate) policy: bool,
    pub(crate) models: Vec<Choice>,
    pub(crate) id: String,
}

#[derive(Template)]
#[template(path = "added.html")]
pub(crate) struct AddedPage {
    pub(crate) shell: Shell,
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) expires: Moment,
    pub(crate) ca_fingerprint: String,
    pub(crate) get_ca: String,
    pub(crate) make_key: String,
    pub(crate) enrol: String,
    pub(crate) connect: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wish {
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AddForm {
    model: String,
    id: String,
    /// A box that was checked.
    #[serde(default)]
    allow_policy_findings: String,
}

fn draw(
    app: &Shared,
    operator: &Operator,
    model: &str,
    id: String,
    fault: Option<String>,
) -> Response {
    let models = fleet::models(&app.state);
    html(&AddPage {
        shell: operator.shell(app, Nav::Fleet),
        csrf: operator.0.csrf(),
        policy: fault.is_some()
            && profile_of(app, model).is_some_and(|profile| !findings::of(&profile).is_empty()),
        fault,
        models: models
            .into_iter()
            .map(|m| Choice::new(m.name.clone(), m.name, model))
            .collect(),
        id,
    })
}

pub(super) async fn form(
    State(app): State<Shared>,
    operator: Operator,
    Query(wish): Query<Wish>,
) -> Response {
    draw(&app, &operator, &wish.model, String::new(), None)
}

pub(super) async fn submit(
    State(app): State<Shared>,
    operator: Operator,
    form: ProtectedForm,
) -> Page {
    let shell = operator.shell(&app, Nav::Fleet);
    let AddForm {
        model,
        id,
        allow_policy_findings,
    } = form
        .open(&operator.0)
        .map_err(|p| Refused::new(p, &shell))?;
    let findings = Findings::allowed(!allow_policy_findings.is_empty());
    let added = match act::add(&app, &model, &id, findings).await {
        Ok(added) => added,
        Err(problem) => {
            let fault = format!("{} {}", sentence(&problem.error), sentence(&problem.help));
            let page = draw(
                &app,
                &operator,
                &model,
                id.chars().take(64).collect(),
                Some(fault),
            );
            return Ok((problem.status, page).into_response());
        }
    };
    Ok(show_code(&app, shell, &model, id.trim(), &added.code))
}

fn profile_of(app: &Shared, model: &str) -> Option<Arc<Profile>> {
    let model = ModelName::new(model).ok()?;
    app.state.registry.profile(&model)
}

/// The page that shows a code once.
pub(super) fn show_code(
    app: &Shared,
    shell: Shell,
    model: &str,
    id: &str,
    code: &EnrolmentCode,
) -> Response {
    let info = &app.state.info;
    let profile = profile_of(app, model);
    let commands = Commands::new(info, profile.as_deref(), id, code.reveal());
    html(&AddedPage {
        shell,
        id: id.to_owned(),
        code: code.reveal().to_owned(),
        expires: Moment::new(code.expires(), app.now()),
        ca_fingerprint: info.ca_fingerprint.clone(),
        get_ca: commands.get_ca,
        make_key: commands.make_key,
        enrol: commands.enrol,
        connect: commands.connect,
    })
}

/// What to type on a device that has `openssl`, `curl` and a client of MQTT.
pub(crate) struct Commands {
    pub(crate) get_ca: String,
    pub(crate) make_key: String,
    pub(crate) enrol: String,
    pub(crate) connect: String,
}

impl Commands {
    pub(crate) fn new(info: &Info, profile: Option<&Profile>, id: &str, code: &str) -> Self {
        let est = &info.est_url;
        Self {
            get_ca: format!(
                "curl --insecure {est}/cacerts \\\n  \
                 | base64 -d | openssl pkcs7 -inform DER -print_certs -out ca.pem\n\
                 openssl x509 -in ca.pem -noout -fingerprint -sha256"
            ),
            make_key: format!(
                "umask 077\n\
                 openssl ecparam -name prime256v1 -genkey -noout -out {id}.key\n\
                 openssl req -new -key {id}.key -subj /CN={id} -outform DER \\\n  \
                 | base64 -w 0 > {id}.csr"
            ),
            enrol: format!(
                "curl --cacert ca.pem --user {id}:{code} \\\n  \
                 -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' \\\n  \
                 --data-binary @{id}.csr \\\n  \
                 {est}/simpleenroll \\\n  \
                 | base64 -d | openssl pkcs7 -inform DER -print_certs -out {id}.pem"
            ),
            connect: connect(info, profile, id),
        }
    }
}

/// The first thing that the profile lets the device do.
fn connect(info: &Info, profile: Option<&Profile>, id: &str) -> String {
    let (host, port) = info
        .mqtt_address
        .rsplit_once(':')
        .unwrap_or((&info.mqtt_address, "8883"));
    let comms = profile.map(|profile| &profile.comms);
    let publish = comms.and_then(|comms| comms.publish.first());
    let subscribe = comms.and_then(|comms| comms.subscribe.first());
    let (program, rest) = match (publish, subscribe) {
        (Some(publish), _) => (
            "mosquitto_pub",
            format!("-t '{}' -m '{{}}'", publish.topic.expand(id)),
        ),
        (None, Some(subscribe)) => (
            "mosquitto_sub",
            format!("-t '{}'", subscribe.topic.expand(id)),
        ),
        (None, None) => ("mosquitto_sub", format!("-t stockade/{id}/repair")),
    };
    format!(
        "{program} -h {host} -p {port} --cafile ca.pem \\\n  \
         --cert {id}.pem --key {id}.key -V mqttv5 -i {id} -q 1 \\\n  {rest}"
    )
}
