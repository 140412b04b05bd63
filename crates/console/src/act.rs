//! What an operator can have done, by page or by API.

use serde::Serialize;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_gateway::registry::{AddError, ChangeError, EnrolmentCode, InstallError};
use stockade_profile::{Fault, Profile};

use crate::findings::{self, Findings};
use crate::http::Problem;
use crate::posture;
use crate::state::{App, Command, Shared};

/// What to do about a model that is not there.
pub(crate) const WHICH_MODELS: &str =
    "`stockade profile list`, or the page Models, shows which there are";

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// A change of a device's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Quarantine,
    Release,
    Revoke,
    /// The case was opened, and that was looked after: the device is released and told so.
    ClearTamper,
}

impl Action {
    const ALL: [Self; 4] = [
        Self::Quarantine,
        Self::Release,
        Self::Revoke,
        Self::ClearTamper,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Revoke => "revoke",
            Self::ClearTamper => "clear-tamper",
        }
    }

    /// What to say when it was done; from a closed list, as the word comes from an address.
    pub(crate) fn done(word: &str) -> Option<&'static str> {
        let action = Self::ALL
            .into_iter()
            .find(|action| action.as_str() == word)?;
        Some(match action {
            Self::Quarantine => {
                "The device is in quarantine: it keeps only what it needs to be mended."
            }
            Self::Release => "The device was released and may do again what its profile says.",
            Self::Revoke => "The device was revoked: its certificate lets it in no more.",
            Self::ClearTamper => {
                "The device was released. It is told that the opening of its case is cleared, as soon as it can be reached."
            }
        })
    }
}

/// Changes the state of a device.
pub(crate) async fn on_device(
    app: &Shared,
    id: &str,
    action: Action,
    reason: &str,
) -> Result<DeviceId, Problem> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() {
        return Err(Problem::bad(
            "a reason is missing",
            "say in a few words why: it is kept with the device",
        ));
    }
    if reason.chars().count() > MAX_REASON {
        return Err(Problem::bad(
            "the reason is too long",
            "200 characters are kept",
        ));
    }
    let now = app.now();
    let id = crate::fleet::record(&app.state, id, now)?.name.id;
    app.blocking(move |app| {
        let registry = &app.state.registry;
        match action {
            Action::Quarantine => registry.quarantine(&id, &reason, now),
            Action::Release => registry.release(&id, &reason, now),
            Action::Revoke => registry.revoke(&id, &reason, now),
            Action::ClearTamper => {
                let judge = app.state.judge.as_ref().ok_or_else(posture::not_judged)?;
                let told = judge.clear_tamper(&id, &reason, now);
                told.map_err(posture::not_asked)?;
                match registry.release(&id, &reason, now) {
                    // Its evidence will say so; there is nothing to wait for here.
                    Err(ChangeError::NotQuarantined { .. }) => Ok(()),
                    released => released,
                }
            }
        }
        .map_err(change_problem)?;
        tracing::info!(device = %id, action = action.as_str(), reason, "console: the operator changed a device");
        Ok(id)
    })
    .await
}

/// Gives a device another code; the one before is void.
pub(crate) async fn renew_code(
    app: &Shared,
    id: &str,
) -> Result<(DeviceName, EnrolmentCode), Problem> {
    let now = app.now();
    let name = crate::fleet::record(&app.state, id, now)?.name;
    app.blocking(move |app| {
        let code = app
            .state
            .registry
            .renew_code(&name.id, now)
            .map_err(change_problem)?;
        tracing::info!(device = %name, "console: the operator made a new enrolment code");
        Ok((name, code))
    })
    .await
}

/// Forgets a device.
pub(crate) async fn remove(app: &Shared, id: &str) -> Result<(), Problem> {
    let now = app.now();
    let id = crate::fleet::record(&app.state, id, now)?.name.id;
    app.blocking(move |app| {
        app.state
            .registry
            .remove(&id, now)
            .map_err(change_problem)?;
        tracing::info!(device = %id, "console: the operator removed a device");
        Ok(())
    })
    .await
}

fn change_problem(error: ChangeError) -> Problem {
    let text = error.to_string();
    match error {
        ChangeError::Unknown(_) => Problem::not_found(text, "`stockade device list` shows all"),
        ChangeError::Revoked { .. } => Problem::conflict(text, "revoking is for good"),
        ChangeError::NotQuarantined { .. } => {
            Problem::conflict(text, "there is nothing to release it from")
        }
        ChangeError::ByKey(_) => Problem::conflict(
            text,
            "if its key was lost, remove it and add it with its new one",
        ),
        ChangeError::Randomness(error) => Problem::ours("make a code", &error),
        // What took rights away holds all the same: saying that nothing changed would be wrong.
        ChangeError::Store(error) => {
            let mut problem = Problem::ours("write the change to disk", &error);
            "what takes rights away holds until the gateway stops, and is written as soon as that works"
                .clone_into(&mut problem.help);
            problem
        }
    }
}

pub(crate) fn add_problem(error: AddError) -> Problem {
    let text = error.to_string();
    match error {
        AddError::Exists(_) => Problem::conflict(text, "choose another name"),
        AddError::NoModel(_) => Problem::conflict(text, WHICH_MODELS),
        AddError::NotConstrained(_) => Problem::conflict(text, "add it without --constrained"),
        AddError::KeyInUse(_) => Problem::conflict(text, "read the label again"),
        AddError::NoNames => Problem::conflict(text, "remove devices that are no more"),
        AddError::Randomness(error) => Problem::ours("make a code", &error),
        AddError::Store(error) => Problem::ours("add the device", &error),
    }
}

/// A device that was added, and the code it enrols with.
pub(crate) struct Added {
    pub(crate) code: EnrolmentCode,
}

/// Adds a device; one whose data would be kept against the policy's check, only if the operator says so.
pub(crate) async fn add(
    app: &Shared,
    model: &str,
    id: &str,
    findings: Findings,
) -> Result<Added, Problem> {
    let name = DeviceName::new(model, id.trim()).map_err(|error| {
        Problem::bad(
            error.to_string(),
            "choose another name, for example `porch`",
        )
    })?;
    let now = app.now();
    app.blocking(move |app| {
        let passed = may_add(app, &name, findings)?;
        let code = app.state.registry.add(&name, now).map_err(add_problem)?;
        tracing::info!(device = %name, "console: the operator added a device");
        was_added(app, &name, passed);
        Ok(Added { code })
    })
    .await
}

/// That the policy of the device's profile holds, or the operator's word. A model without a profile is the registry's to refuse.
pub(crate) fn may_add(
    app: &App,
    name: &DeviceName,
    findings: Findings,
) -> Result<Option<findings::Passed>, Problem> {
    let Some(profile) = app.state.registry.profile(&name.model) else {
        return Ok(None);
    };
    findings::check(&profile, findings)
        .map(Some)
        .map_err(|found| findings::not_added(name.model.as_str(), &found))
}

/// Tells of a device that was added against the policy's check.
pub(crate) fn was_added(app: &App, name: &DeviceName, passed: Option<findings::Passed>) {
    if let Some(passed) = passed {
        passed.tell(app, Some(name.id.as_str()), &format!("{name} was added"));
    }
}

/// A profile that was installed, or was there already.
#[derive(Debug)]
pub(crate) struct InstalledProfile {
    pub(crate) model: String,
    pub(crate) version: u64,
    pub(crate) changed: bool,
    /// What `vault policy check` refuses in it: the operator said that it is installed all the same.
    pub(crate) policy: Vec<FaultView>,
}

/// One fault of a profile, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultView {
    /// `line:column`, where it has a place.
    pub(crate) place: Option<String>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        Self {
            place: Some(format!("{}:{}", fault.line, fault.column)),
            message: fault.message.clone(),
            help: fault.help.clone(),
        }
    }
}

/// Why a profile was not installed.
#[derive(Debug)]
pub(crate) enum NotInstalled {
    Faults(Vec<FaultView>),
    /// It is sound, and what it says of its data is known to fail.
    Policy(Vec<FaultView>),
    Problem(Problem),
}

/// Installs a profile from its text.
pub(crate) async fn install_text(
    app: &Shared,
    source: String,
    findings: Findings,
) -> Result<InstalledProfile, NotInstalled> {
    let parsed = app
        .blocking(move |_app| Ok(stockade_profile::parse(&source)))
        .await;
    match parsed.map_err(NotInstalled::Problem)? {
        Ok(profile) => install(app, profile, findings).await,
        Err(faults) => Err(NotInstalled::Faults(
            faults.iter().map(FaultView::from).collect(),
        )),
    }
}

/// Installs a profile that one of the trusted keys has signed.
pub(crate) async fn install_signed(
    app: &Shared,
    bytes: Vec<u8>,
    findings: Findings,
) -> Result<InstalledProfile, NotInstalled> {
    if app.state.signers.is_empty() {
        return Err(NotInstalled::Problem(Problem::conflict(
            "this gateway trusts no key for profiles",
            "name the maker's public key in stockade.toml, or install the profile's text",
        )));
    }
    let verified = stockade_profile::verify(&bytes, &app.state.signers).map_err(|error| {
        NotInstalled::Problem(Problem::bad(
            error.to_string(),
            "`stockade profile verify` says more of the signature",
        ))
    })?;
    install(app, verified.into_profile(), findings).await
}

async fn install(
    app: &Shared,
    profile: Profile,
    findings: Findings,
) -> Result<InstalledProfile, NotInstalled> {
    let (model, version) = (profile.device.model.to_string(), profile.device.version);
    let passed = findings::check(&profile, findings).map_err(NotInstalled::Policy)?;
    let now = app.now();
    let work = app.blocking(move |app| Ok(app.state.registry.install_profile(profile, now)));
    match work.await.map_err(NotInstalled::Problem)? {
        Ok(installed) => {
            tracing::info!(model, version, "console: the operator installed a profile");
            let what = format!("profile of {model} version {version} was installed");
            let policy = passed.tell(app, None, &what);
            Ok(InstalledProfile {
                model,
                version,
                changed: installed.changed,
                policy,
            })
        }
        Err(InstallError::Store(error)) => Err(NotInstalled::Problem(Problem::ours(
            "keep the profile",
            &error,
        ))),
        Err(error @ InstallError::Rollback { .. }) => Err(NotInstalled::Faults(vec![FaultView {
            place: None,
            message: error.to_string(),
            help: Some("raise `version` in [device] with every change".to_owned()),
        }])),
        Err(error @ (InstallError::Name(_) | InstallError::Canonical { .. })) => {
            Err(NotInstalled::Faults(vec![FaultView {
                place: None,
                message: error.to_string(),
                help: None,
            }]))
        }
    }
}

/// Publishes a command.
pub(crate) async fn publish(app: &Shared, command: Command) -> Result<(), Problem> {
    let Some(publisher) = &app.state.publisher else {
        return Err(Problem::conflict(
            "no broker runs in this process",
            "publish where the gateway runs",
        ));
    };
    if command.qos > 2 {
        return Err(Problem::bad("`qos` is 0, 1 or 2", "leave it out for 0"));
    }
    publisher(command).await.map_err(|error| {
        let help = "nothing was sent; a topic has no wildcards, for example `cam-2/porch/command`";
        Problem::bad(error, help)
    })
}
