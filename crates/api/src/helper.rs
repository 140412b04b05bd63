//! What may be asked of the helper. The list is closed, and each request is checked again by the helper.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stockade_controls::engine::{Plan, Report, UnixSeconds};
use stockade_controls::updates::State;

use crate::{Blob, Secret};

/// One request. The name of a variant stands outside of its content: a tag inside would make serde copy passwords aside.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the device stands, in short.
    Status,
    /// What the controls find; looked at again if asked for, and if the last look is old.
    Assess {
        /// Whether to look again.
        again: bool,
    },
    /// What would mend what is found. Nothing is changed.
    Plan,
    /// Do what the plan of this digest says; refused if the plan is another one by now.
    Apply {
        /// The plan's digest, as [`Answer::Plan`] gave it.
        digest: String,
        /// Who says so.
        authority: Authority,
    },
    /// Take back what was applied.
    Undo {
        /// How much.
        which: Which,
        /// Who says so.
        authority: Authority,
    },
    /// Whether this is the administrator's password.
    LogIn {
        /// The password.
        password: Tried,
    },
    /// Another password for the administrator.
    ChangePassword {
        /// The one until now.
        old: Tried,
        /// The new one.
        new: Secret,
    },
    /// A new random password for the administrator, which must be changed; only root may ask.
    ResetPassword,
    /// Switch `UPnP` on.
    UpnpOn {
        /// The administrator's password.
        password: Tried,
        /// The interface to the home network.
        interface: String,
        /// For how long.
        seconds: u64,
    },
    /// Switch `UPnP` off.
    UpnpOff,
    /// Install a signed profile.
    InstallProfile {
        /// The profile, signed.
        signed: Blob,
    },
    /// Do what a signed command says.
    Command {
        /// The command, signed.
        signed: Blob,
    },
    /// The device's posture, signed by its key.
    Evidence {
        /// What the gateway wants to see in it.
        nonce: Option<String>,
    },
    /// A listening socket; it comes with the answer.
    Listen {
        /// Which.
        what: Socket,
    },
    /// Open the firewall for addresses of names that the profile names.
    Admit {
        /// Addresses that names have now.
        put: Vec<Admission>,
        /// Addresses that names no longer have.
        gone: Vec<(String, IpAddr)>,
    },
    /// The session with the gateway is up: rules of a firewall on trial hold for good.
    Connected,
    /// The ways in and out, and what becomes of each.
    Ports,
    /// What was changed on trial holds for good: whoever asks still gets in.
    KeepPorts {
        /// Who says so.
        authority: Authority,
    },
    /// What happened after the event of this number.
    Events {
        /// The number.
        after: u64,
    },
    /// Answered with [`Answer::Events`] as soon as something happened after this event that cannot wait, and otherwise with
    /// [`Answer::Done`] after a while.
    Urgent {
        /// The number of the last event that is known.
        after: u64,
    },
    /// It is known that the case was opened, and it is looked after; only root may say so here.
    ClearTamper {
        /// Why, for whoever looks later.
        reason: String,
    },
    /// Look for updates, or install one. It goes on after the answer: [`Status::updates`] says how far it is.
    Update {
        /// What.
        what: UpdateRequest,
        /// Who says so.
        authority: Authority,
    },
}

/// What of an update is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UpdateRequest {
    /// Ask the source what is there.
    Look,
    /// Install from the source, and start the new system.
    Install {
        /// The version; none for the newest.
        version: Option<u64>,
    },
    /// Install from a bundle on this device; only root may name one.
    Bundle {
        /// The bundle: a file or a directory.
        path: String,
    },
    /// The new system is healthy, whatever the profile's check says.
    Confirm,
}

/// On whose word something is changed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// Root's, who asks.
    Root,
    /// The administrator's, whose password this is.
    Password(Tried),
}

/// A password, and where it was tried: who guesses from there keeps nobody elsewhere waiting.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tried {
    /// The password.
    pub secret: Secret,
    /// The address that it came from, as the caller says; none if it was typed on this device.
    pub from: Option<IpAddr>,
}

/// How much is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// The last plan.
    Last,
    /// All.
    All,
}

/// A listening socket that the helper opens for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Socket {
    /// The device's own page.
    Page,
    /// The front of this number, in the order of the profile.
    Front(usize),
}

/// An address that a name has for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Admission {
    /// The name, as the profile says it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// For how many seconds new flows to it are allowed.
    pub keep: u64,
}

/// One answer. [`Answer::Progress`] may come before the last one; all others are last.
#[expect(
    clippy::large_enum_variant,
    reason = "one answer at a time, and none of them is kept"
)]
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is done.
    Done,
    /// How the device stands.
    Status(Status),
    /// What the controls find.
    Report {
        /// The report.
        report: Report,
        /// How many seconds ago it was looked at.
        age: u64,
    },
    /// What would mend what is found.
    Plan {
        /// The plan.
        plan: Plan,
        /// Its digest, for [`Request::Apply`].
        digest: String,
    },
    /// A step of what is going on.
    Progress(Progress),
    /// It was applied or taken back.
    Applied(Outcome),
    /// The password is right.
    LoggedIn {
        /// Whether nothing but a change of the password is allowed to this person.
        must_change: bool,
    },
    /// A new password, told this once.
    Password {
        /// The password.
        password: Secret,
    },
    /// Until when `UPnP` is on.
    Upnp {
        /// Seconds that are left.
        seconds: u64,
    },
    /// A signed profile is in force.
    Installed {
        /// Its version.
        version: u64,
        /// Whether it was there already.
        known: bool,
        /// Seconds until its firewall is taken back unless the gateway is reached.
        trial: Option<u64>,
    },
    /// The posture, signed.
    Evidence {
        /// The statement ([`signed::Evidence`](crate::signed::Evidence)).
        signed: Blob,
    },
    /// The socket comes with this answer.
    Listening,
    /// What happened.
    Events {
        /// The events, in order; as many as fit.
        events: Vec<Event>,
        /// The number of the oldest event that is still there.
        oldest: u64,
    },
    /// The ways in and out.
    Ports(PortsState),
    /// The agent is to renew its certificate: a command said so.
    Renew,
    /// It is not done.
    Refused(Refused),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refused {
    /// Which kind of refusal.
    pub kind: Refusal,
    /// Why, as a sentence for a person.
    pub why: String,
    /// What can be done about it; empty if nothing.
    pub next: String,
}

/// The kinds of refusals, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The caller may not.
    Forbidden,
    /// The password is wrong.
    Password,
    /// Too many wrong passwords: not before this many seconds.
    Wait(u64),
    /// The password has to be changed first.
    MustChange,
    /// The plan is another one by now.
    Changed,
    /// A signature, or what it is for, is wrong.
    Signature,
    /// It was there before, or is older than what is there.
    Stale,
    /// The profile does not allow it.
    Profile,
    /// Something else is going on.
    Busy,
    /// It failed.
    Failed,
}

/// How the device stands, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Status {
    /// The device's id.
    pub device: String,
    /// Its model.
    pub model: String,
    /// The version of the profile that is installed; none if there is none yet.
    pub profile_version: Option<u64>,
    /// Whether the administrator's password is the first one.
    pub must_change: bool,
    /// `UPnP`, if it is on.
    pub upnp: Option<Upnp>,
    /// Seconds that the firewall's rules are still on trial.
    pub trial: Option<u64>,
    /// The number of the last event.
    pub last_event: u64,
    /// The number of the last command that was done.
    pub done: u64,
    /// The TLS fronts of the profile, for [`Socket::Front`]: the port and where it leads.
    pub fronts: Vec<(u16, String)>,
    /// What `UPnP` could be switched on for.
    pub offer: Option<UpnpOffer>,
    /// What could not be done and lasts: a firewall that is not in force, a full disk.
    pub troubles: Vec<String>,
    /// The case; none if the profile names no sensor of it and nothing is remembered.
    #[serde(default)]
    pub tamper: Option<stockade_controls::tamper::Seen>,
    /// How updates stand; none if the profile takes none.
    #[serde(default)]
    pub updates: Option<UpdateStatus>,
}

/// How updates of the whole system stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpdateStatus {
    /// What is remembered.
    pub state: State,
    /// What is done right now, as half a sentence.
    pub doing: Option<String>,
    /// Why what was asked for last was not done.
    pub failed: Option<String>,
}

/// `UPnP` while it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upnp {
    /// The interface to the home network.
    pub interface: String,
    /// Seconds that are left.
    pub seconds: u64,
    /// The mappings that were made.
    pub mappings: Vec<UpnpMapping>,
}

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpnpMapping {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port outside.
    pub external: u16,
    /// The address and the port inside.
    pub internal: (IpAddr, u16),
}

/// What `UPnP` could be switched on for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpnpOffer {
    /// The interfaces that can be chosen.
    pub interfaces: Vec<String>,
    /// For how many seconds at most.
    pub most: u64,
    /// What would be possible, as sentences.
    pub possible: Vec<String>,
}

/// The ways in and out of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortsState {
    /// Whether USB devices that are not allowed are kept out; otherwise it is only told what would become of them.
    pub enforced: bool,
    /// The USB devices that are plugged in.
    pub usb: Vec<UsbSeen>,
    /// Everything else.
    pub ways: Vec<Way>,
    /// Seconds until what was changed on trial is taken back.
    pub trial: Option<u64>,
}

/// A USB device that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UsbSeen {
    /// Where, as the kernel names it: `1-1.2`.
    pub port: String,
    /// What it says that it is.
    pub what: String,
    /// Whether it works now.
    pub works: bool,
    /// Whether it may, all of it.
    pub allowed: bool,
    /// Why, as half a sentence.
    pub why: String,
}

/// A way in or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Way {
    /// What kind: `network interface`, `radio`, `serial console`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is open now.
    pub open: bool,
    /// Whether it may be.
    pub allowed: bool,
}

/// A step of a plan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Progress {
    /// Which, from 1.
    pub step: u32,
    /// Of how many.
    pub of: u32,
    /// What it does.
    pub says: String,
    /// What became of it.
    pub state: StepState,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It has begun.
    Begun,
    /// It is done, and was read back.
    Done,
    /// It failed: why.
    Failed(String),
    /// It was taken back.
    TakenBack,
}

/// What became of a plan.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outcome {
    /// How many steps were done.
    pub done: u32,
    /// What did not work, as sentences.
    pub failed: Vec<String>,
    /// New passwords, told this once.
    pub told: Vec<Told>,
}

/// A new password of an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Told {
    /// The account.
    pub account: String,
    /// Its password.
    pub password: Secret,
}

/// Something that happened, by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Event {
    /// Its number: it grows by one.
    pub number: u64,
    /// When, by the device's clock.
    pub at: UnixSeconds,
    /// How much it matters.
    pub weight: Weight,
    /// On whose word: `root`, `owner`, `agent`, `gateway`, `helper`.
    pub by: String,
    /// What kind, for programs: `log-in-refused`, `upnp-on`.
    pub kind: String,
    /// What happened, as a sentence.
    pub says: String,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Good to know.
    Note,
    /// Something changed.
    Change,
    /// Somebody should look.
    Warning,
}
