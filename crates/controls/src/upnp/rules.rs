//! The rules of `upnp`.

use stockade_profile::Control;

use crate::engine::{Rule, Severity};

pub(super) static LISTENER: Rule = Rule {
    id: "upnp/listener",
    control: Control::Upnp,
    title: "Nothing listens for UPnP, NAT-PMP or PCP",
    why: "Whoever is on the network, a web page in a browser too, has ports opened and the network described without being asked who he is; its daemons have been taken over time and again (CVE-2013-0230, CVE-2020-12695).",
    severity: Severity::High,
    advice: "stop the program and keep it stopped (`systemctl mask --now NAME`)",
    standards: &[
        "EN 303 645 5.6-1",
        "EN 303 645 5.6-5",
        "CRA I.I(2)(b)",
        "CRA I.I(2)(j)",
        "NISTIR 8425 interface access control",
        "IEC 62443-4-2 CR 7.7",
    ],
};

pub(super) static PROGRAM: Rule = Rule {
    id: "upnp/program",
    control: Control::Upnp,
    title: "No program that speaks UPnP runs or is started",
    why: "A server answers everybody; a client opens ways in from outside that nobody decided on.",
    severity: Severity::High,
    advice: "stop the program and keep it stopped (`systemctl mask --now NAME`)",
    standards: &[
        "EN 303 645 5.6-1",
        "EN 303 645 5.6-5",
        "CRA I.I(2)(j)",
        "NISTIR 8425 interface access control",
        "IEC 62443-4-2 CR 7.7",
    ],
};

pub(super) static INSTALLED: Rule = Rule {
    id: "upnp/installed",
    control: Control::Upnp,
    title: "No program that speaks UPnP is installed, but for the one that the profile needs",
    why: "What is there can be started, by an update or by an intruder.",
    severity: Severity::Low,
    advice: "remove its package",
    standards: &["EN 303 645 5.6-5", "CRA I.I(2)(j)", "ISVS 3.2.2"],
};

pub(super) static SETTINGS: Rule = Rule {
    id: "upnp/settings",
    control: Control::Upnp,
    title: "No program is set to have a router open ports",
    why: "The program's port is then open to the internet, whoever stands between thought it was not.",
    severity: Severity::Medium,
    advice: "switch UPnP and NAT-PMP off in the program's settings",
    standards: &["EN 303 645 5.1-1", "EN 303 645 5.6-1", "CRA I.I(2)(b)"],
};

pub(super) static WINDOW: Rule = Rule {
    id: "upnp/window",
    control: Control::Upnp,
    title: "UPnP is on no longer than the profile allows, and only because the owner wants it",
    why: "What is meant to be open for an hour must not be open for good.",
    severity: Severity::High,
    advice: "switch it off on the device's page",
    standards: &[
        "EN 303 645 5.6-1",
        "CRA I.I(2)(b)",
        "NISTIR 8425 product configuration",
    ],
};

pub(super) static ALL: [&Rule; 5] = [&LISTENER, &PROGRAM, &INSTALLED, &SETTINGS, &WINDOW];
