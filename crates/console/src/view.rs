//! What the templates are made of.

use std::fmt;

use stockade_gateway::events::Event;
use stockade_gateway::name::DeviceId;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::assets::{AssetUrls, urls};

const ABSOLUTE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
const SHORT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const MACHINE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// The part of the console a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nav {
    /// None: the visitor may not go anywhere yet.
    None,
    /// Some page that is not in the menu.
    Other,
    Fleet,
    Events,
    Models,
    Rollouts,
    Data,
}

/// What surrounds every page.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) nav: Nav,
    /// For the log-out form; there is none for strangers.
    pub(crate) csrf: Option<String>,
    pub(crate) version: String,
}

impl Shell {
    #[expect(
        clippy::unused_self,
        reason = "templates reach functions through their fields"
    )]
    pub(crate) fn assets(&self) -> &'static AssetUrls {
        urls()
    }
}

/// A point in time, as people and as programs read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) relative: String,
    pub(crate) absolute: String,
    pub(crate) short: String,
    pub(crate) machine: String,
}

impl Moment {
    pub(crate) fn new(at: OffsetDateTime, now: OffsetDateTime) -> Self {
        let at = at.to_offset(UtcOffset::UTC);
        // These formats cannot fail for a date that exists.
        let format = |items| at.format(items).unwrap_or_default();
        Self {
            relative: relative(at, now),
            absolute: format(ABSOLUTE),
            short: format(SHORT),
            machine: format(MACHINE),
        }
    }
}

fn relative(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let passed = now - at;
    let (span, future) = if passed.is_negative() {
        (-passed, true)
    } else {
        (passed, false)
    };
    let text = if span < Duration::seconds(2) {
        return "now".to_owned();
    } else if span < Duration::minutes(2) {
        format!("{} s", span.whole_seconds())
    } else if span < Duration::hours(2) {
        format!("{} min", span.whole_minutes())
    } else if span < Duration::days(2) {
        format!("{} h", span.whole_hours())
    } else {
        format!("{} days", span.whole_days())
    };
    if future {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

/// A number with six significant digits at most.
pub(crate) fn number(number: f64) -> String {
    let whole = number.abs().max(1.0).log10().floor();
    let fits = [5_usize, 4, 3, 2, 1].into_iter().zip(0_u8..);
    let decimals = fits
        .filter(|(_, place)| f64::from(*place) >= whole)
        .map(|it| it.0);
    let text = format!("{number:.*}", decimals.max().unwrap_or(0));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A part of one, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number((share * 1_000.0).round() / 10.0))
}

/// How long, in its largest whole unit.
pub(crate) fn span(long: std::time::Duration) -> String {
    let seconds = long.as_secs();
    let units = [
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (count, unit) = units
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
        .map_or((seconds, "second"), |(unit, name)| (seconds / unit, name));
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A device's state, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateWord {
    Active,
    Pending,
    Quarantined,
    Revoked,
}

impl StateWord {
    pub(crate) const ALL: [Self; 4] = [
        Self::Active,
        Self::Pending,
        Self::Quarantined,
        Self::Revoked,
    ];

    /// As it stands in addresses, JSON and style classes.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.class() == text)
    }
}

impl fmt::Display for StateWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "Active",
            Self::Pending => "Pending",
            Self::Quarantined => "Quarantined",
            Self::Revoked => "Revoked",
        })
    }
}

/// One `<option>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) chosen: bool,
}

impl Choice {
    pub(crate) fn new(value: impl Into<String>, label: impl Into<String>, chosen: &str) -> Self {
        let value = value.into();
        Self {
            chosen: value == chosen,
            value,
            label: label.into(),
        }
    }
}

/// One row of a table of events.
#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    pub(crate) at: Moment,
    pub(crate) outcome: &'static str,
    /// The device, as text to be shown where there is no link.
    pub(crate) device: String,
    /// The device, where it is a name that an address may hold.
    pub(crate) link: Option<DeviceId>,
    pub(crate) peer: String,
    pub(crate) control: String,
    pub(crate) reason: Vec<Piece>,
}

impl EventRow {
    pub(crate) fn new(event: &Event, now: OffsetDateTime) -> Self {
        Self {
            at: Moment::new(event.at, now),
            outcome: event.outcome.as_str(),
            link: event
                .device
                .as_deref()
                .and_then(|device| DeviceId::new(device).ok()),
            device: event
                .device
                .clone()
                .unwrap_or_else(|| "not known".to_owned()),
            peer: event.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            control: event.control.to_owned(),
            reason: Piece::all(&event.reason),
        }
    }
}

/// Sentences of a profile that belong to one control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordGroup {
    pub(crate) title: &'static str,
    pub(crate) control: String,
    /// Why the gateway does not enforce them, if it does not.
    pub(crate) not_here: Option<&'static str>,
    pub(crate) sentences: Vec<Vec<Piece>>,
}

/// A piece of a sentence: words, or a name to be read letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) literal: bool,
}

impl Piece {
    /// Takes a sentence apart at its backticks.
    pub(crate) fn all(sentence: &str) -> Vec<Self> {
        let piece = |(n, text): (usize, &str)| Self {
            text: text.to_owned(),
            literal: n % 2 == 1,
        };
        sentence
            .split('`')
            .enumerate()
            .map(piece)
            .filter(|piece| !piece.text.is_empty())
            .collect()
    }
}

/// What the vault does with each field of one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaView {
    pub(crate) name: String,
    /// Messages stored so far, where the vault runs in this process.
    pub(crate) stored: Option<u64>,
    /// The newest of them, as they are stored.
    pub(crate) newest: Vec<String>,
    /// They are not shown: the profile does not allow it.
    pub(crate) closed: bool,
    pub(crate) fields: Vec<(String, String)>,
}

/// The protocol that a control belongs to, in a person's words (DESIGN section 1).
pub(crate) fn control_title(control: &str) -> &'static str {
    match control {
        "comms" => "Communication",
        "protocols" => "Protocol versions",
        "upnp" => "UPnP",
        "firewall" => "Firewall",
        "boot" => "Protected boot",
        "credentials" => "Credentials",
        "privileges" => "Privileges",
        "programs" => "Programs",
        "updates" => "Updates",
        "mac" => "Mandatory access control",
        "data" => "Data",
        "ports" => "Ports",
        "tamper" => "Tamper protection",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_spans_whole() {
        let told = [0.0, 1.023_456_7, 99.995, 23_456.78, 123_456_789.0, -2.5].map(number);
        assert_eq!(
            told,
            ["0", "1.02346", "99.995", "23456.8", "123456789", "-2.5"]
        );
        assert_eq!(
            [0.05, 1.0, 1.0 / 3.0].map(percent),
            ["5 %", "100 %", "33.3 %"]
        );
        let spans =
            [0, 1, 90, 3_600, 86_400 * 30].map(|it| span(std::time::Duration::from_secs(it)));
        assert_eq!(
            spans,
            ["0 seconds", "1 second", "90 seconds", "1 hour", "30 days"]
        );
    }

    #[test]
    fn times_are_told_in_utc_and_relative_to_now() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let told = |ago| Moment::new(now - ago, now).relative;
        assert_eq!(told(Duration::ZERO), "now");
        assert_eq!(told(Duration::seconds(119)), "119 s ago");
        assert_eq!(told(Duration::minutes(90)), "90 min ago");
        assert_eq!(told(Duration::hours(47)), "47 h ago");
        assert_eq!(told(Duration::days(9)), "9 days ago");
        assert_eq!(told(Duration::hours(-24)), "in 24 h");
        let east = now.to_offset(UtcOffset::from_hms(5, 30, 0).unwrap());
        let moment = Moment::new(east, now);
        assert_eq!(moment.absolute, "2027-01-15 08:00:00 UTC");
        assert_eq!(moment.machine, "2027-01-15T08:00:00Z");
    }
}
