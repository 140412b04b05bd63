//! The gateway's registry and profiles, as the console tells of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_gateway::name::{DeviceId, ModelName};
use stockade_gateway::registry::{DeviceRecord, State};
use stockade_profile::{Control, Profile};
use stockade_vault::{Query, Subject, VaultError};
use time::OffsetDateTime;

use crate::http::{Operator, Problem};
use crate::state::ConsoleState;
use crate::view::{Piece, SchemaView, StateWord, WordGroup, control_title};

/// What records are looked at for on the console's pages.
const OPERATION: &str = "operation";
/// Records shown of each data set.
const NEWEST: usize = 3;

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) model: String,
    /// It comes by the link, with the key of its label.
    pub(crate) constrained: bool,
    pub(crate) state: StateWord,
    pub(crate) reasons: Vec<String>,
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) seen: Option<OffsetDateTime>,
    pub(crate) violations_minute: u64,
    pub(crate) violations_total: u64,
}

impl From<&DeviceRecord> for Device {
    fn from(record: &DeviceRecord) -> Self {
        let state = match &record.state {
            State::Pending => StateWord::Pending,
            State::Active => StateWord::Active,
            State::Quarantined { .. } => StateWord::Quarantined,
            State::Revoked { .. } => StateWord::Revoked,
        };
        Self {
            id: record.name.id.to_string(),
            model: record.name.model.to_string(),
            constrained: record.link.is_some(),
            state,
            reasons: record.state.reasons(),
            since: record.state.since(),
            seen: record.last_seen,
            violations_minute: record.violations_last_minute.into(),
            violations_total: record.violations,
        }
    }
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) manufacturer: String,
    pub(crate) version: u64,
    pub(crate) devices: usize,
}

/// All devices, by name.
pub(crate) fn devices(state: &ConsoleState, now: OffsetDateTime) -> Vec<Device> {
    state.registry.list(now).iter().map(Device::from).collect()
}

/// The record of one device.
pub(crate) fn record(
    state: &ConsoleState,
    id: &str,
    now: OffsetDateTime,
) -> Result<DeviceRecord, Problem> {
    let unknown = || {
        Problem::not_found(
            format!("there is no device `{}`", id.escape_default()),
            "`stockade device list` shows all",
        )
    };
    let id = DeviceId::new(id).map_err(|_not_a_name| unknown())?;
    state.registry.get(&id, now).ok_or_else(unknown)
}

/// One device, as the vault names it.
pub(crate) fn subject(
    state: &ConsoleState,
    id: &str,
    now: OffsetDateTime,
) -> Result<Subject, Problem> {
    let name = record(state, id, now)?.name;
    Ok(Subject {
        model: name.model.to_string(),
        device: name.id.to_string(),
    })
}

/// All models, by name.
pub(crate) fn models(state: &ConsoleState) -> Vec<Model> {
    let mut devices: BTreeMap<ModelName, usize> = BTreeMap::new();
    for record in state.registry.list(state.clock.now()) {
        *devices.entry(record.name.model).or_default() += 1;
    }
    state
        .registry
        .models()
        .iter()
        .map(|model| Model {
            name: model.name.to_string(),
            manufacturer: model.profile.device.manufacturer.to_string(),
            version: model.profile.device.version,
            devices: devices.get(&model.name).copied().unwrap_or_default(),
        })
        .collect()
}

/// The profile of a model.
pub(crate) fn profile(state: &ConsoleState, model: &str) -> Result<Arc<Profile>, Problem> {
    let unknown = || {
        Problem::not_found(
            format!(
                "no profile is installed for the model `{}`",
                model.escape_default()
            ),
            "`stockade profile install FILE` installs one",
        )
    };
    let name = ModelName::new(model).map_err(|_not_a_name| unknown())?;
    state.registry.profile(&name).ok_or_else(unknown)
}

/// Why the gateway does not hold devices to what a profile says of the control by itself; none where it does.
pub(crate) fn not_here(control: &str) -> Option<&'static str> {
    let is = |known: &Control| known.as_str() == control;
    let gateway = [Control::Comms, Control::Protocols, Control::Data];
    if gateway.iter().any(is) {
        None
    } else if is(&Control::Firewall) {
        Some("by the device's firewall or the LAN guard")
    } else {
        Some("by the agent on the device")
    }
}

/// What a profile allows, in sentences with their controls.
pub(crate) fn sentences(profile: &Profile, device: Option<&str>) -> Vec<(&'static str, String)> {
    profile
        .words(device)
        .into_iter()
        .map(|sentence| (sentence.control.as_str(), sentence.text))
        .collect()
}

/// The same for a page, by control; what becomes of data has a place of its own there.
pub(crate) fn words(profile: &Profile, device: Option<&str>) -> Vec<WordGroup> {
    let mut groups: Vec<WordGroup> = Vec::new();
    for (control, text) in sentences(profile, device) {
        if control == Control::Data.as_str() {
            continue;
        }
        let pieces = Piece::all(&text);
        match groups.iter_mut().find(|group| group.control == control) {
            Some(group) => group.sentences.push(pieces),
            None => groups.push(WordGroup {
                title: control_title(control),
                control: control.to_owned(),
                not_here: not_here(control),
                sentences: vec![pieces],
            }),
        }
    }
    groups
}

/// What the vault does with each field that a profile names.
pub(crate) fn schemas(profile: &Profile) -> Vec<SchemaView> {
    profile
        .data
        .iter()
        .map(|(name, schema)| SchemaView {
            name: name.to_string(),
            stored: None,
            newest: Vec::new(),
            closed: false,
            fields: schema
                .iter()
                .map(|(name, field)| (name.to_string(), field.treatment.words().replace('`', "")))
                .collect(),
        })
        .collect()
}

/// Adds what the vault has of these data sets: how many, and the newest. Blocks.
///
/// An operator who looks at a page asks for the purpose [`OPERATION`], as the log tells; where the profile does not allow it,
/// the page says so instead.
pub(crate) fn newest(
    state: &ConsoleState,
    schemas: &mut [SchemaView],
    subject: Option<&Subject>,
) -> Result<(), Problem> {
    let Some(vault) = &state.vault else {
        return Ok(());
    };
    let counters = vault.counters();
    for schema in schemas {
        schema.stored = Some(
            counters
                .get(&schema.name)
                .map_or(0, |counters| counters.stored),
        );
        if schema.stored == Some(0) {
            continue;
        }
        let query = Query {
            schema: schema.name.clone(),
            subject: subject.cloned(),
            limit: NEWEST,
            newest_first: true,
            ..Query::default()
        };
        let access = Operator::access(Some(OPERATION.to_owned()));
        let page = match vault.query(&access, &query, state.clock.now()) {
            Ok(page) => page,
            Err(VaultError::Refused(_)) => {
                schema.closed = true;
                continue;
            }
            Err(error) => return Err(Problem::ours("read the vault", &error)),
        };
        schema.newest = page
            .records
            .iter()
            .map(|record| {
                serde_json::to_string(&record.fields)
                    .map_err(|error| Problem::ours("show a record", &error))
            })
            .collect::<Result<_, _>>()?;
    }
    Ok(())
}
