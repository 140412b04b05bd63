//! The rules of `protocols`; an audit over the network judges some of them, too.

use stockade_profile::Control;

use crate::engine::{Rule, Severity};

/// No listener accepts a version of before TLS 1.2.
pub static OLD_TLS: Rule = Rule {
    id: "protocols/old-tls",
    control: Control::Protocols,
    title: "No listener accepts SSL 2.0, SSL 3.0, TLS 1.0 or TLS 1.1",
    why: "Whoever is on the way can have both ends fall back to them, and break what protects them (RFC 8996, RFC 7568, RFC 6176).",
    severity: Severity::High,
    advice: "set the program's lowest version to TLS 1.3 (nginx: `ssl_protocols TLSv1.3;`, mosquitto: `tls_version tlsv1.3`), or put the profile's front before it",
    standards: &[
        "EN 303 645 5.5-1",
        "EN 303 645 5.5-3",
        "CRA I.I(2)(e)",
        "NISTIR 8425 data protection",
        "ISVS 4.1.2",
    ],
};

/// Listeners accept the versions of the profile only.
pub static VERSIONS: Rule = Rule {
    id: "protocols/tls-version",
    control: Control::Protocols,
    title: "Listeners accept the versions of TLS that the profile names, and no others",
    why: "TLS 1.2 can be set up safely and often is not; a profile that does without it need not trust each set-up.",
    severity: Severity::Medium,
    advice: "set the program's lowest version to TLS 1.3, or add \"1.2\" to `[protocols] tls` if a client needs it",
    standards: &["EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 4.2.1"],
};

/// No service in plain text can be reached.
pub static PLAIN: Rule = Rule {
    id: "protocols/plain",
    control: Control::Protocols,
    title: "No service in plain text can be reached from outside",
    why: "Passwords and data are there for everybody on the network to read and to change.",
    severity: Severity::High,
    advice: "make the service listen on 127.0.0.1 only, behind a front of the profile",
    standards: &[
        "EN 303 645 5.5-1",
        "EN 303 645 5.5-5",
        "EN 303 645 5.5-7",
        "CRA I.I(2)(e)",
        "ISVS 4.1.1",
    ],
};

pub(super) static FRONT: Rule = Rule {
    id: "protocols/front",
    control: Control::Protocols,
    title: "The TLS fronts of the profile listen",
    why: "A service whose front is missing is cut off, and somebody will open its plain port instead.",
    severity: Severity::Medium,
    advice: "see that stockade-agent runs (its log says why a front does not), and that nothing else holds the port",
    standards: &["EN 303 645 5.5-1"],
};

pub(super) static ALL: [&Rule; 4] = [&OLD_TLS, &VERSIONS, &PLAIN, &FRONT];
