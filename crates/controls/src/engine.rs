//! The loop of the device: facts → findings → plan → apply → facts, as far as it is pure.
//!
//! A control reads facts through [`Host`], judges them by the profile and says, finding by finding, which [`Action`]s would mend
//! it. Nothing here changes anything.

mod action;
mod assess;
mod control;
mod finding;
mod host;
mod memory;
mod path;
mod plan;
mod posture;
mod report;

pub use action::{Account, Action, Framework, Health, PackageManager, ServiceChange, Stage, Step};
pub use assess::{Assessment, CONTROLS, Judged, Outcome, Verdict, assess};
pub use control::{Case, Check, Own};
pub use finding::{Confidence, Control, Evidence, Finding, Remedy, Rule, Severity, rules};
pub use host::{
    Entry, FirewallState, Host, InitSystem, Inventory, Kind, Listener, Name, Notable, Process,
    Standing, TlsAnswers, Transport, UnixSeconds, Unseen,
};
pub use memory::MemoryHost;
pub(crate) use path::names;
pub use path::{HostPath, NotAPath, follow};
pub use plan::{Plan, PlannedStep};
pub use posture::{PROTOCOLS, Posture, ProtocolVerdict, RuleState, Standard};
pub use report::{FindingReport, Report, RuleReport};
