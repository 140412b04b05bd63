//! How a device started, by its TPM, for the page and the API.

use std::sync::Arc;

use serde::Serialize;
use stockade_attest::Algorithm;
use stockade_attest::log::EventLog;
use stockade_attest::reference::Reference;
use stockade_gateway::attest::{AttestError, Attested, Attester, Key, Standing};
use stockade_gateway::evidence::{Judge, JudgeError};
use stockade_gateway::name::{DeviceId, ModelName};
use stockade_gateway::registry::DeviceRecord;
use stockade_web::secret::hex;
use time::OffsetDateTime;

use crate::http::Problem;
use crate::state::{ConsoleState, Shared};
use crate::view::Moment;

/// How it stands with the TPM's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyWord {
    /// None is known, and none is taken.
    None,
    /// One may be made known.
    Awaited,
    /// It was proved to be in the TPM that was there at the enrolment.
    Known,
    /// The TPM's maker vouches for it, too.
    Certified,
}

/// How a device started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    /// The registers that its profile names.
    pub(crate) registers: Vec<u8>,
    pub(crate) key: KeyWord,
    /// What is wrong; nothing if it started as it should, or never said.
    pub(crate) wrong: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) came: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) since: Option<OffsetDateTime>,
    /// Whether its TPM signed what was said last.
    pub(crate) proved: bool,
}

impl Start {
    pub(crate) fn words(&self) -> &'static str {
        match (self.came, self.wrong.is_empty()) {
            (None, _) => "it did not say so far",
            (Some(_), true) => "as it should",
            (Some(_), false) => "not as it should",
        }
    }

    pub(crate) fn class(&self) -> &'static str {
        match (self.came, self.wrong.is_empty()) {
            (None, _) => "pending",
            (Some(_), true) => "active",
            (Some(_), false) => "revoked",
        }
    }

    pub(crate) fn key_words(&self) -> &'static str {
        match self.key {
            KeyWord::None => "No TPM of it is known here.",
            KeyWord::Awaited => "Its TPM has not been made known so far.",
            KeyWord::Known => "The key is the one that was made known at its enrolment.",
            KeyWord::Certified => {
                "The key was made known at its enrolment, by a TPM that its maker certified."
            }
        }
    }

    pub(crate) fn came(&self, now: OffsetDateTime) -> Option<Moment> {
        self.came.map(|came| Moment::new(came, now))
    }

    pub(crate) fn since(&self, now: OffsetDateTime) -> Option<Moment> {
        self.since.map(|since| Moment::new(since, now))
    }
}

fn key(key: Option<Key>) -> KeyWord {
    match key.map(|it| it.stands) {
        None => KeyWord::None,
        Some(Standing::Awaited) => KeyWord::Awaited,
        Some(Standing::Known { certified, .. }) if certified => KeyWord::Certified,
        Some(Standing::Known { .. }) => KeyWord::Known,
    }
}

/// How a device started; none if its profile does not ask for it.
pub(crate) fn of(state: &ConsoleState, record: &DeviceRecord) -> Option<Start> {
    let judge = state.judge.as_ref()?;
    let profile = state.registry.profile(&record.name.model)?;
    let registers: Vec<u8> = profile.boot.measured.iter().collect();
    if registers.is_empty() {
        return None;
    }
    let kept = judge.kept(&record.name.id);
    let said = kept.as_ref().and_then(|kept| kept.attested.as_ref());
    Some(Start {
        registers,
        key: key(judge.attester().key(&record.name.id)),
        wrong: said.map_or_else(Vec::new, |it| it.verdict.wrong.clone()),
        came: said.map(|it| it.came),
        since: said.map(|it| it.since),
        proved: said.is_some_and(|it| it.verdict.proved),
    })
}

/// A register, as it is and as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Register {
    pub(crate) register: u8,
    pub(crate) value: String,
    pub(crate) should_be: Option<String>,
}

/// An event of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) register: u8,
    pub(crate) component: String,
    pub(crate) digest: Option<String>,
}

/// All that a device's TPM said last.
#[derive(Debug, Serialize)]
pub(crate) struct Whole {
    pub(crate) version: String,
    pub(crate) registers: Vec<Register>,
    pub(crate) events: Vec<Event>,
}

impl Whole {
    pub(crate) fn of(attested: &Attested, references: &[Arc<Reference>], model: &str) -> Self {
        let reference = references
            .iter()
            .find(|it| it.model == model && it.version == attested.version);
        let quoted = attested.quoted.as_ref();
        let values = quoted.into_iter().flat_map(|it| &it.quote.registers);
        let registers = values.map(|(register, value)| Register {
            register: *register,
            value: hex(&value.0),
            should_be: reference
                .and_then(|it| it.registers.get(register))
                .map(|it| it.value.to_string()),
        });
        let log = quoted.and_then(|it| EventLog::read(&it.log.0).ok());
        let events = log.as_ref().map(|log| log.extends().map(event).collect());
        Self {
            version: attested.version.clone(),
            registers: registers.collect(),
            events: events.unwrap_or_default(),
        }
    }
}

fn event(event: &stockade_attest::log::Event<'_>) -> Event {
    Event {
        register: event.pcr,
        component: event.component(),
        digest: event.digest(Algorithm::Sha256).map(hex),
    }
}

fn problem(error: &AttestError) -> Problem {
    let text = error.to_string();
    match error {
        AttestError::NotProved(_) => Problem::conflict(
            text,
            "wait until it has answered, or look at `stockade attest show`",
        ),
        AttestError::Log(_) | AttestError::Unknown(_) => {
            Problem::conflict(text, "its TPM has to say so again")
        }
        AttestError::Version | AttestError::Form => Problem::bad(
            text,
            "a version is what IMAGE_VERSION of os-release(5) says",
        ),
        AttestError::Store(_) | AttestError::Damaged(_) => {
            Problem::ours("keep reference values", error)
        }
    }
}

fn judged(error: &JudgeError) -> Problem {
    Problem::ours("ask the devices again", error)
}

fn judge(app: &Shared) -> Result<Arc<Judge>, Problem> {
    app.state.judge.clone().ok_or_else(|| {
        Problem::conflict(
            "evidence is not judged in this process",
            "ask where the gateway runs",
        )
    })
}

/// What a device's TPM said last.
pub(crate) async fn last(app: &Shared, id: DeviceId) -> Result<Option<Attested>, Problem> {
    let judge = judge(app)?;
    app.blocking(move |_app| judge.attester().last(&id).map_err(|error| problem(&error)))
        .await
}

/// What is right, by model and version.
pub(crate) fn references(app: &Shared) -> Result<Vec<Arc<Reference>>, Problem> {
    Ok(judge(app)?.attester().references())
}

/// Changes what is right for a model, and asks its devices again where that may matter.
async fn change(
    app: &Shared,
    model: ModelName,
    what: impl FnOnce(&Attester) -> Result<Arc<Reference>, AttestError> + Send + 'static,
) -> Result<Arc<Reference>, Problem> {
    let (judge, now) = (judge(app)?, app.now());
    app.blocking(move |_app| {
        let reference = what(judge.attester()).map_err(|error| problem(&error))?;
        judge
            .ask_again(&model, now)
            .map_err(|error| judged(&error))?;
        let (model, version) = (&reference.model, &reference.version);
        tracing::info!(
            model,
            version,
            "console: the operator said what is right of a start"
        );
        Ok(reference)
    })
    .await
}

/// What a device that is known to be good said last becomes right for its model.
pub(crate) async fn record(
    app: &Shared,
    id: &str,
    version: Option<String>,
) -> Result<Arc<Reference>, Problem> {
    let name = crate::fleet::record(&app.state, id, app.now())?.name;
    let model = name.model.clone();
    change(app, model, move |attester| {
        attester.record(&name.id, &name.model, version.as_deref())
    })
    .await
}

/// These values become right for their model.
pub(crate) async fn add(app: &Shared, reference: Reference) -> Result<Arc<Reference>, Problem> {
    let model = model(&reference.model)?;
    change(app, model, move |attester| attester.add(reference)).await
}

fn model(name: &str) -> Result<ModelName, Problem> {
    ModelName::new(name)
        .map_err(|error| Problem::bad(error.to_string(), "`stockade profile list` shows all"))
}

/// What was right for a model's version is not any more.
pub(crate) async fn forget(app: &Shared, name: &str, version: String) -> Result<(), Problem> {
    let (judge, model) = (judge(app)?, model(name)?);
    app.blocking(move |_app| {
        let there = judge.attester().forget_reference(&model, &version);
        if !there.map_err(|error| problem(&error))? {
            let text = format!("there is no reference for version {version} of {model}");
            return Err(Problem::not_found(text, "`stockade attest list` shows all"));
        }
        tracing::info!(%model, version, "console: the operator withdrew what is right of a start");
        Ok(())
    })
    .await
}

/// The device's TPM may be made known anew.
pub(crate) async fn reset(app: &Shared, id: &str) -> Result<(), Problem> {
    let (judge, now) = (judge(app)?, app.now());
    let id = crate::fleet::record(&app.state, id, now)?.name.id;
    app.blocking(move |_app| {
        judge
            .attester()
            .await_key(&id, now)
            .map_err(|error| problem(&error))?;
        tracing::info!(device = %id, "console: the operator lets a device make its TPM known anew");
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use askama::Template;
    use time::Duration;

    use super::*;

    /// The part of the device's page that tells how it started.
    #[derive(Template)]
    #[template(path = "attestation.html")]
    struct Part {
        start: Option<Start>,
        now: OffsetDateTime,
    }

    #[test]
    fn the_page_says_how_the_device_started_and_what_differs() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let start = |came, wrong: &[&str]| Start {
            registers: vec![4, 11],
            key: KeyWord::Known,
            wrong: wrong.iter().map(|it| (*it).to_owned()).collect(),
            came,
            since: came,
            proved: true,
        };
        let came = Some(now - Duration::minutes(3));
        let page = |start| Part { start, now }.render().unwrap();
        insta::assert_snapshot!(page(Some(start(
            came,
            &[
                "kernel command line `<b>`, and should be: kernel command line `quiet` (register 12)"
            ]
        ))));
        assert!(page(Some(start(came, &[]))).contains("as it should"));
        assert!(page(Some(start(None, &[]))).contains("did not say so far"));
        assert_eq!(page(None).trim(), "");
    }
}
