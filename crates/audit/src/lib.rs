//! Proof from outside: images, hosts and live systems, judged by the controls' rules; and the reports of it.
#![forbid(unsafe_code)]

mod audited;
mod diff;
mod elf;
#[doc(hidden)]
pub mod fuzzing;
pub mod harden;
mod host;
pub mod image;
mod kernel;
mod live;
pub mod output;
mod report;
pub mod rules;
mod signed;
mod software;
pub mod standards;
mod waivers;

pub use audited::{
    AuditError, Audited, ByProfile, Data, DataSource, PartRow, PortRow, Spent, Target, TargetKind,
};
pub use diff::{Change, Diff, Unlike, compare};
pub use host::host;
pub use live::live;
pub use report::{
    Baseline, FORM, FindingReport, Gone, IdleWaiver, NoReport, NotAudited, ProtocolReport, Report,
    RuleReport, Since, Software, Stand, TargetReport, Tool, Waived,
};
pub use software::{Advisories, bill, compare_software, document, recheck};
pub use waivers::{BadWaivers, Waivers};

/// `1 finding`, `2 findings`.
pub(crate) fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
