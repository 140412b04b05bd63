//! The case of the device: what its sensors say, what was noticed, what was done, who cleared it and why.

use stockade_controls::engine::UnixSeconds;
use stockade_controls::tamper::{Latch, Says, Seen};

use super::view::{Words, moment};

/// The section of the overview; there is none where nothing watches the case.
#[derive(Debug)]
pub(super) struct CaseView {
    /// The look of its badge, and what it says.
    pub(super) badge: (&'static str, &'static str),
    /// Each sensor and what it says now.
    pub(super) sensors: Vec<(String, String)>,
    /// What was noticed, and what was done.
    pub(super) noticed: Vec<String>,
    /// What could not be done.
    pub(super) troubles: Vec<Words>,
    /// Who cleared it last, and why.
    pub(super) cleared: Option<Words>,
}

impl CaseView {
    pub(super) fn of(seen: &Seen) -> Self {
        let open = seen.sensors.values().any(|it| *it == Says::Open);
        let unseen = |it: &Says| matches!(it, Says::Unseen(_));
        let badge = match &seen.record.latch {
            _ if open => ("revoked", "open now"),
            Some(_) => ("revoked", "was opened"),
            None if seen.sensors.values().any(unseen) => ("quarantined", "cannot be judged"),
            None => ("active", "closed"),
        };
        let says = |it: &Says| match it {
            Says::Closed => "closed".to_owned(),
            Says::Open => "open".to_owned(),
            Says::Unseen(why) => format!("says nothing: {why}"),
        };
        let sensors = seen.sensors.iter();
        Self {
            badge,
            sensors: sensors.map(|(name, it)| (name.clone(), says(it))).collect(),
            noticed: seen.record.latch.as_ref().map(noticed).unwrap_or_default(),
            troubles: seen.troubles.iter().cloned().map(Words).collect(),
            cleared: seen.record.cleared.as_ref().map(|it| {
                let what = it.latch.sensors();
                let by = match it.by.as_str() {
                    "root" => "root of this device",
                    "gateway" => "the operator of the gateway",
                    by => by,
                };
                let at = time(it.at);
                Words(format!("Cleared by {by} at {at} ({what}): {}", it.reason))
            }),
        }
    }
}

/// What was noticed and what was done, in the order of time.
fn noticed(latch: &Latch) -> Vec<String> {
    let mut all: Vec<(UnixSeconds, String)> = latch
        .opened
        .iter()
        .map(|(sensor, at)| (*at, format!("opened: {sensor}")))
        .collect();
    let isolated = "nothing but the gateway is reached".to_owned();
    all.extend(latch.isolated.map(|at| (at, isolated)));
    all.extend(
        latch
            .erased
            .map(|at| (at, "the keys were erased".to_owned())),
    );
    all.sort();
    all.into_iter()
        .map(|(at, what)| format!("{}: {what}", time(at)))
        .collect()
}

fn time(at: UnixSeconds) -> String {
    moment(i64::try_from(at).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use askama::Template;
    use stockade_controls::tamper::Record;

    use super::*;

    #[derive(Template)]
    #[template(path = "case.html")]
    struct Part {
        case: Option<CaseView>,
    }

    fn shown(sensors: &[(&str, Says)], record: Record) -> String {
        let sensors = sensors.iter();
        let seen = Seen {
            sensors: sensors
                .map(|(name, says)| ((*name).to_owned(), says.clone()))
                .collect(),
            record,
            troubles: Vec::new(),
        };
        let case = Some(CaseView::of(&seen));
        Part { case }.render().unwrap()
    }

    #[test]
    fn the_page_says_what_was_noticed_what_was_done_and_who_cleared_it() {
        let mut record = Record::default();
        record.opened("line CASE_OPEN", 1_795_392_000);
        if let Some(latch) = &mut record.latch {
            latch.isolated = Some(1_795_392_001);
            latch.erased = Some(1_795_392_001);
        }
        let open = [
            ("line CASE_OPEN", Says::Open),
            (
                "chassis",
                Says::Unseen("the board has <no> sensor".to_owned()),
            ),
        ];
        let latched = shown(&open, record.clone());
        record.clear(1_795_395_600, "root", "battery <changed>");
        let cleared = shown(&[("line CASE_OPEN", Says::Closed)], record);
        insta::assert_snapshot!(format!("{latched}\n----\n{cleared}"));
    }

    #[test]
    fn a_sensor_that_says_nothing_is_not_a_closed_case() {
        let held = [("line A", Says::Unseen("it is held".to_owned()))];
        assert!(shown(&held, Record::default()).contains("cannot be judged"));
    }
}
