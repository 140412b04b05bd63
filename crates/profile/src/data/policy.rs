//! What is known to fail in how a profile treats data: why, and what to write instead.

use std::time::Duration;

use super::{DataSetUse, Decimal, Field, FieldRole, Percent, Schema, SchemaName, Scope, Treatment};
use crate::Profile;
use crate::units::{Generalisation, spoken};

/// How bad a fault of a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicySeverity {
    /// It is known to fail.
    Refused,
    /// It holds less than it seems to.
    Warned,
}

impl PolicySeverity {
    /// `refused` or `warned`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Warned => "warned",
        }
    }
}

/// One thing in a profile that does not protect people as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Where it is: `data.motion.location`.
    pub place: String,
    /// How bad it is.
    pub severity: PolicySeverity,
    /// What is wrong, and who says so.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

/// Fewer values than this can be tried one by one, or told apart by how often they come. FF1 asks for as many
/// (NIST SP 800-38G r1).
const SMALL_DOMAIN: i64 = 1_000_000;
/// A place is precise below this, in metres: four of them single out nine in ten ships.
const PRECISE_METRES: u32 = 1_000;
/// The same in millionths of a degree.
const PRECISE_DEGREES: u64 = 10_000;
/// A time is precise below this.
const PRECISE_TIME: Duration = Duration::from_hours(1);
/// Above this an answer may be 22,000 times as likely with somebody as without (e^10): nothing that anybody could rely on. The number
/// is ours; NIST SP 800-226 names none.
const MOST_EPSILON: Decimal = Decimal::whole(10);

/// What fields that hold places are called.
const PLACES: &[&str] = &[
    "location",
    "position",
    "place",
    "gps",
    "geo",
    "coordinates",
    "lat",
    "latitude",
    "lon",
    "lng",
    "longitude",
];
/// What fields that hold times are called.
const TIMES: &[&str] = &["time", "timestamp", "ts", "at", "date"];
/// What fields that name somebody are called.
const NAMES: &[&str] = &[
    "device", "serial", "mac", "imei", "imsi", "ip", "ssid", "name", "owner", "user", "email",
    "phone", "address", "account", "plate",
];

/// What in `profile` does not protect people as it should; what is refused first.
pub fn policy(profile: &Profile) -> Vec<PolicyFault> {
    let mut faults = Found(Vec::new());
    for (name, schema) in &profile.data {
        let usage = profile.vault.get(name);
        for (field, said) in schema {
            let place = format!("data.{name}.{field}");
            identifying(&place, field.as_str(), said, &mut faults);
            small_domain(&place, said, &mut faults);
            pseudonym(&place, said, &mut faults);
            noise(&place, said, &mut faults);
            if usage.is_some_and(|usage| usage.release.is_some()) {
                releasable(&place, said, &mut faults);
            }
        }
        place_and_time(name, schema, &mut faults);
        let kept = |field: &Field| !matches!(field.treatment, Treatment::Drop);
        if schema.values().any(kept) {
            usage_of(name, schema, usage, &mut faults);
        }
    }
    faults.0.sort_by_key(|fault| fault.severity);
    faults.0
}

struct Found(Vec<PolicyFault>);

impl Found {
    fn refuse(&mut self, place: &str, what: impl Into<String>, instead: impl Into<String>) {
        self.push(place, PolicySeverity::Refused, what.into(), instead.into());
    }

    fn warn(&mut self, place: &str, what: impl Into<String>, instead: impl Into<String>) {
        self.push(place, PolicySeverity::Warned, what.into(), instead.into());
    }

    fn push(&mut self, place: &str, severity: PolicySeverity, what: String, instead: String) {
        self.0.push(PolicyFault {
            place: place.to_owned(),
            severity,
            what,
            instead,
        });
    }
}

/// Whether a word of the field's name is in the list.
fn called(name: &str, words: &[&str]) -> bool {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Who it is may not be stored as it is.
fn identifying(place: &str, name: &str, field: &Field, faults: &mut Found) {
    let readable = match field.treatment {
        Treatment::Keep | Treatment::Generalise { .. } | Treatment::Noise { .. } => true,
        Treatment::Drop
        | Treatment::Pseudonym { .. }
        | Treatment::FormatPreserving { .. }
        | Treatment::Token
        | Treatment::Seal { .. } => false,
    };
    if !readable {
        return;
    }
    let instead = "use = \"pseudonym\", scope = \"dataset\"; or drop it";
    if field.role == Some(FieldRole::Direct) {
        faults.refuse(
            place,
            "a direct identifier is stored readable: the data is not even pseudonymised (GDPR Art. 4(5), EDPB 01/2025)",
            instead,
        );
    } else if field.role.is_none() && name == "device" {
        faults.refuse(
            place,
            "the gateway puts in which device it was, and it is stored readable (EDPB 01/2025)",
            instead,
        );
    } else if field.role.is_none() && called(name, NAMES) {
        faults.warn(
            place,
            "by its name it may be a direct identifier, and it is stored readable",
            format!("{instead}; or say `role = \"free\"` if it names nobody"),
        );
    }
}

/// What has few values is guessed, whatever replaces them.
fn small_domain(place: &str, field: &Field, faults: &mut Found) {
    let by_range = field.range.map(|range| {
        let span = range
            .max
            .millionths()
            .saturating_sub(range.min.millionths());
        // Whole numbers: a finer step than one says nothing about how many values really come.
        span.checked_div(1_000_000)
            .unwrap_or_default()
            .saturating_add(1)
    });
    let by_hierarchy = field
        .hierarchy
        .as_ref()
        .and_then(|hierarchy| i64::try_from(hierarchy.rows().count()).ok());
    let Some(values) = by_hierarchy
        .or(by_range)
        .filter(|values| *values < SMALL_DOMAIN)
    else {
        return;
    };
    match field.treatment {
        Treatment::FormatPreserving { .. } => faults.refuse(
            place,
            format!("FF1 over {values} values is undone by trying them (SP 800-38G r1 asks for 1000000)"),
            "use = \"generalise\" with a hierarchy or a step, or `seal`",
        ),
        Treatment::Pseudonym { .. } | Treatment::Token => faults.refuse(
            place,
            format!("{values} values are told apart by how often they come, whatever replaces them (ENISA 2019, guesswork)"),
            "use = \"generalise\" with a hierarchy or a step, or `seal`",
        ),
        Treatment::Keep
        | Treatment::Drop
        | Treatment::Generalise { .. }
        | Treatment::Noise { .. }
        | Treatment::Seal { .. } => {}
    }
}

fn pseudonym(place: &str, field: &Field, faults: &mut Found) {
    let Treatment::Pseudonym { scope, window } = &field.treatment else {
        return;
    };
    match scope {
        Scope::Model | Scope::Fleet => faults.warn(
            place,
            "a device's secret is in its pseudonyms: this joins no more than one device's data",
            "scope = \"device\"; or \"dataset\", which joins less",
        ),
        Scope::Window => {
            let window = window.map(spoken).unwrap_or_default();
            faults.warn(
                place,
                format!(
                    "new pseudonyms every {window} make nothing anonymous: of 537 homes 34 to 73 % were found again by \
                     their curves"
                ),
                "coarser values and times beside it, or only aggregates",
            );
        }
        Scope::Device | Scope::Dataset | Scope::Purpose => {}
    }
}

/// Noise per event adds up to nothing for a person.
fn noise(place: &str, field: &Field, faults: &mut Found) {
    let Treatment::Noise { epsilon, .. } = &field.treatment else {
        return;
    };
    let instead =
        "use = \"generalise\", and answers from `stockade vault stat` under a [vault.*] budget";
    if *epsilon > MOST_EPSILON {
        faults.refuse(
            place,
            format!("noise of \u{3b5} = {epsilon} hides nothing: what is seen may be e^{epsilon} times as likely for one value as for another"),
            instead,
        );
    }
    match field.role {
        Some(FieldRole::Direct | FieldRole::Quasi | FieldRole::Sensitive) => faults.refuse(
            place,
            "noise on each event is no privacy for a person: \u{3b5} adds up with every event (SP 800-226, unit of privacy)",
            instead,
        ),
        None => faults.warn(
            place,
            "noise on each event is private for one event, not for a person (SP 800-226, unit of privacy)",
            "say `role = \"free\"` if it is about nobody",
        ),
        Some(FieldRole::Free) => {}
    }
}

/// What a release would have to make coarser, and can not.
fn releasable(place: &str, field: &Field, faults: &mut Found) {
    let kept = field.treatment == Treatment::Keep;
    if field.role.is_none() && kept {
        faults.warn(
            place,
            "its role is not said, so a release takes it for a quasi-identifier",
            "role = \"direct\", \"quasi\", \"sensitive\" or \"free\"",
        );
    }
    if kept
        && field.role == Some(FieldRole::Quasi)
        && field.hierarchy.is_none()
        && field.range.is_none()
    {
        faults.refuse(
            place,
            "a quasi-identifier is kept as it is, and nothing says how a release may make it coarser",
            "use = \"generalise\"; or a `range` for a number, a `hierarchy` for words",
        );
    }
}

/// Where and when together are a person's track.
fn place_and_time(name: &SchemaName, schema: &Schema, faults: &mut Found) {
    let mut place = None;
    let mut time = None;
    for (field, said) in schema {
        let (is_place, is_time) = (
            called(field.as_str(), PLACES),
            called(field.as_str(), TIMES),
        );
        match &said.treatment {
            Treatment::Keep if is_place => place = Some(true),
            Treatment::Keep if is_time => time = Some(Duration::ZERO),
            Treatment::Generalise { to } => match to {
                Generalisation::Distance(cell) => {
                    place = Some(place == Some(true) || cell.metres() < PRECISE_METRES);
                }
                Generalisation::Step(step) if is_place => {
                    place = Some(place == Some(true) || step.millionths() < PRECISE_DEGREES);
                }
                Generalisation::Duration(step) => time = Some(time.unwrap_or(*step).min(*step)),
                Generalisation::Step(_) | Generalisation::Level(_) => {}
            },
            Treatment::Keep
            | Treatment::Drop
            | Treatment::Pseudonym { .. }
            | Treatment::FormatPreserving { .. }
            | Treatment::Token
            | Treatment::Noise { .. }
            | Treatment::Seal { .. } => {}
        }
    }
    let at = format!("data.{name}");
    match (place, time) {
        (Some(true), Some(time)) if time < PRECISE_TIME => faults.refuse(
            &at,
            "a precise place and a precise time are stored together: four such points single out nine in ten",
            "the place to \"10km\" and the time to \"1d\"; or `seal` the place",
        ),
        (Some(_), Some(time)) if time < Duration::from_hours(24) => faults.warn(
            &at,
            "a place and a time are stored together: at 1 km and one hour, four points still singled out 90 % of ships",
            "treat the track as an identifier: release cohorts, not tracks",
        ),
        _ => {}
    }
}

/// What the stored data may be used for.
fn usage_of(name: &SchemaName, schema: &Schema, usage: Option<&DataSetUse>, faults: &mut Found) {
    let at = format!("vault.{name}");
    let said = usage.cloned().unwrap_or_default();
    if said.retention.is_none() {
        faults.warn(
            &at,
            "how long the data is kept is not said; it is erased after 30 days (GDPR Art. 5(1)(e))",
            "retention = \"90d\"",
        );
    }
    if said.purposes.is_empty() {
        faults.warn(
            &at,
            "no purpose is named: nobody can look at one device's data (GDPR Art. 5(1)(b))",
            "purposes = [\"maintenance\"]",
        );
    }
    if said.contribution.is_none() && (said.release.is_some() || said.budget.is_some()) {
        faults.warn(
            &at,
            "how many records of one device count is not said: 24 a day do",
            "contribution = { per = \"1d\", records = 96 }",
        );
    }
    if let Some(budget) = said.budget
        && budget.epsilon > MOST_EPSILON
    {
        let what = format!(
            "a budget of \u{3b5} = {0} promises nothing: an answer may be e^{0} times as likely with somebody as without",
            budget.epsilon
        );
        faults.refuse(&at, what, "budget = { epsilon = \"1\", per = \"30d\" }");
    }
    if said.release.is_some() {
        release(&at, schema, &said, faults);
    }
}

fn release(at: &str, schema: &Schema, said: &DataSetUse, faults: &mut Found) {
    let goal = said.release();
    let sensitive = schema
        .values()
        .any(|field| field.role == Some(FieldRole::Sensitive));
    if goal.k < 2 {
        let what = format!("k = {} lets everybody be singled out", goal.k);
        faults.refuse(at, what, "k = 10");
    } else if goal.k < 5 {
        let what = format!(
            "k = {}: somebody is found with one guess in {}",
            goal.k, goal.k
        );
        faults.warn(at, what, "k = 10");
    }
    if goal.l == 0 || goal.l > goal.k {
        let what = format!(
            "l = {}: {} alike have from 1 to {} values",
            goal.l, goal.k, goal.k
        );
        faults.refuse(at, what, "l = 3, and k no less");
    } else if goal.l == 1 && sensitive {
        faults.warn(
            at,
            "l = 1: all that are alike may share the sensitive value; of Adult's rows with k = 5 a tenth did",
            "l = 3",
        );
    }
    if goal.t == Decimal::whole(0) {
        faults.refuse(at, "t = 0 lets nothing be released", "t = \"0.3\"");
    } else if goal.t == Decimal::whole(1) && sensitive {
        faults.warn(at, "t = 1 asks for nothing", "t = \"0.3\"");
    }
    if goal.suppress > Percent::HALF {
        let what = format!(
            "a release that may leave out {} says little about anybody",
            goal.suppress
        );
        faults.refuse(at, what, "suppress = \"5%\"");
    }
}
