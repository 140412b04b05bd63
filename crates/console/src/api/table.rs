//! Who may call what: one line a route. What has no line is closed to everybody.

use axum::http::{Method, StatusCode};
use stockade_vault::{Action, RoleName};

use crate::http::Problem;

/// To whom a route is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// To everybody who is somebody.
    All,
    /// To all but the subjects.
    Staff,
    /// To operators.
    Operators,
    /// To those who may do this with the vault.
    For(Action),
}

impl Open {
    /// The roles.
    pub(crate) const fn to(self) -> &'static [RoleName] {
        use RoleName::{Analyst, Auditor, Operator, Subject};
        match self {
            Self::All => &[Operator, Analyst, Auditor, Subject],
            Self::Staff => &[Operator, Analyst, Auditor],
            Self::Operators => &[Operator],
            Self::For(action) => action.open_to(),
        }
    }
}

/// Path as the router has it, methods, and to whom.
type Line = (&'static str, &'static str, Open);

pub(crate) const TABLE: &[Line] = &[
    ("/api/v1/status", "GET", Open::Staff),
    ("/api/v1/session", "GET", Open::All),
    ("/api/v1/devices", "GET POST", Open::Operators),
    ("/api/v1/devices/{id}", "GET DELETE", Open::Operators),
    ("/api/v1/devices/{id}/code", "POST", Open::Operators),
    ("/api/v1/devices/{id}/quarantine", "POST", Open::Operators),
    ("/api/v1/devices/{id}/release", "POST", Open::Operators),
    ("/api/v1/devices/{id}/revoke", "POST", Open::Operators),
    ("/api/v1/devices/{id}/clear-tamper", "POST", Open::Operators),
    ("/api/v1/devices/{id}/posture", "GET", Open::Operators),
    ("/api/v1/devices/{id}/command", "POST", Open::Operators),
    ("/api/v1/devices/{id}/attestation", "GET", Open::Operators),
    (
        "/api/v1/devices/{id}/attestation/record",
        "POST",
        Open::Operators,
    ),
    (
        "/api/v1/devices/{id}/attestation/reset",
        "POST",
        Open::Operators,
    ),
    ("/api/v1/references", "GET PUT DELETE", Open::Operators),
    ("/api/v1/models", "GET", Open::Operators),
    ("/api/v1/models/{name}", "GET", Open::Operators),
    ("/api/v1/profiles", "PUT", Open::Operators),
    ("/api/v1/rollouts", "GET POST", Open::Operators),
    ("/api/v1/rollouts/{id}", "GET", Open::Operators),
    ("/api/v1/rollouts/{id}/halt", "POST", Open::Operators),
    ("/api/v1/rollouts/{id}/resume", "POST", Open::Operators),
    ("/api/v1/grants", "GET POST", Open::Operators),
    ("/api/v1/grants/revoke", "POST", Open::Operators),
    ("/api/v1/link", "GET", Open::Operators),
    ("/api/v1/constrained", "POST", Open::Operators),
    ("/api/v1/events", "GET", Open::Operators),
    ("/api/v1/events/stream", "GET", Open::Operators),
    ("/api/v1/publish", "POST", Open::Operators),
    ("/api/v1/tokens", "GET POST", Open::For(Action::Tokens)),
    ("/api/v1/tokens/{name}", "DELETE", Open::For(Action::Tokens)),
    ("/api/v1/vault/records", "GET", Open::For(Action::Query)),
    ("/api/v1/vault/counters", "GET", Open::For(Action::Counters)),
    ("/api/v1/vault/release", "POST", Open::For(Action::Release)),
    ("/api/v1/vault/streams", "GET", Open::For(Action::Counters)),
    (
        "/api/v1/vault/stream/{data_set}",
        "GET",
        Open::For(Action::Release),
    ),
    (
        "/api/v1/vault/stream/{data_set}",
        "POST",
        Open::For(Action::Stream),
    ),
    ("/api/v1/vault/risk", "GET", Open::For(Action::Risk)),
    ("/api/v1/vault/stat", "POST", Open::For(Action::Stat)),
    ("/api/v1/vault/budgets", "GET", Open::For(Action::Budgets)),
    ("/api/v1/vault/erase", "POST", Open::For(Action::Erase)),
    ("/api/v1/vault/export", "GET", Open::For(Action::Export)),
    ("/api/v1/vault/keys", "GET", Open::For(Action::RotateKeys)),
    (
        "/api/v1/vault/keys/rotate",
        "POST",
        Open::For(Action::RotateKeys),
    ),
    (
        "/api/v1/vault/readers",
        "GET POST",
        Open::For(Action::Readers),
    ),
    ("/api/v1/vault/reveal", "POST", Open::For(Action::Readers)),
    ("/api/v1/vault/backup", "GET", Open::For(Action::Maintain)),
    ("/api/v1/vault/fsck", "POST", Open::For(Action::Maintain)),
    ("/api/v1/vault/log", "GET", Open::For(Action::Log)),
    ("/api/v1/vault/log/{*path}", "GET", Open::For(Action::Log)),
    // That there is no such address.
    ("/api/{*rest}", "GET POST PUT DELETE PATCH", Open::All),
];

/// To whom a route is open, by the path that the router matched.
pub(crate) fn open(method: &Method, path: &str) -> Result<Open, Problem> {
    // Whatever answers GET answers HEAD.
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut lines = TABLE.iter().filter(|line| line.0 == path).peekable();
    if lines.peek().is_none() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this address is open to nobody",
            "each has a line in crates/console/src/api/table.rs",
        ));
    }
    lines
        .find(|line| line.1.split(' ').any(|it| it == method))
        .map(|line| line.2)
        .ok_or_else(super::no_such_method)
}
