//! Manufacturer Usage Descriptions (RFC 8520).

pub mod signature;

mod aces;
mod action;
mod export;
mod fields;
mod file;
mod flow;
mod import;
mod json;
mod matches;
mod naming;
mod report;
mod roles;
mod section;
mod subtract;

pub use export::{ExportOptions, ExportReport, Exported, export};
pub use file::{MudFile, read};
pub use import::{ImportOptions, Imported, Outcome, RuleReport, import};
pub use report::Count;
pub use section::{Documentation, ExtensionName, Label, LastUpdate, Mud, TlsProfiles, TlsRule};

/// The largest MUD file, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most rules that a MUD file may have.
pub const MAX_RULES: usize = 4_096;

/// The class of controllers that many files name for the gateway, which is registered nowhere.
const GATEWAY: &str = "urn:ietf:params:mud:gateway";

/// Why a file is no MUD file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MudError {
    /// It is too large.
    #[error("a MUD file has at most {MAX_BYTES} bytes, this has {0}")]
    TooLarge(usize),
    /// It is not UTF-8.
    #[error("a MUD file is UTF-8, and byte {0} of this is not")]
    Encoding(usize),
    /// It is not JSON, or more than one JSON text.
    #[error("this is not JSON: {0}")]
    Json(String),
    /// It has no container `ietf-mud:mud`.
    #[error("this is no MUD file: it has no object `ietf-mud:mud`")]
    NotMud,
    /// It has no rules.
    #[error("this MUD file has no rules: its policies name no list that has any")]
    NoRules,
    /// It has too many rules.
    #[error("a MUD file has at most {MAX_RULES} rules")]
    TooMany,
}

impl MudError {
    fn json(wrong: &serde_json::Error) -> Self {
        let text = wrong.to_string();
        let place = format!("line {}, column {}", wrong.line(), wrong.column());
        Self::Json(if text.starts_with("recursion limit exceeded") {
            format!("it is nested too deeply at {place}")
        } else if text.starts_with("trailing characters") {
            format!("something follows its end at {place}")
        } else {
            text
        })
    }
}
