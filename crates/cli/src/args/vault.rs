//! The arguments of `stockade vault …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stockade_vault::Formulas;

#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// Read pseudonymised telemetry, for a purpose; each asking is in the vault's log
    #[command(
        after_help = "Examples:\n  stockade vault query\n  stockade vault query --schema meter --purpose billing\n  stockade vault query --schema meter --purpose billing --from 2026-11-22T00:00:00Z --json"
    )]
    Query(Query),
    /// Ask about many devices: a differentially private answer, paid from the data set's budget
    #[command(
        after_help = "Examples:\n  stockade vault stat 'mean kwh by side from 2026-11-22 to 2026-11-23' --schema meter --epsilon 1\n  stockade vault stat 'count subjects where kwh > 0.5 per 1d from 2026-11-16 to 2026-11-23' --schema meter\n  stockade vault stat --budget"
    )]
    Stat(Stat),
    /// Make an anonymised release: one row a device, k of them alike, attacked before it leaves (exit code 1 if it is refused)
    #[command(
        after_help = "Examples:\n  stockade vault release meter --dry-run\n  stockade vault release meter --from 2026-11-22T00:00:00Z --to 2026-11-23T00:00:00Z --k 20 --out meter.csv\n  stockade vault release --input people.csv --roles roles.toml"
    )]
    Release(Release),
    /// Rows that are released as they come: each within the profile's delay, with those of k devices, or not at all
    #[command(subcommand)]
    Stream(Stream),
    /// How exposed the devices of a data set are, as it is stored and as it would be released
    #[command(
        after_help = "Examples:\n  stockade vault risk meter\n  stockade vault risk --input people.csv --roles roles.toml"
    )]
    Risk(Risk),
    /// Erase all that is stored of a device, and the keys it was sealed by; the log has the proof
    #[command(
        after_help = "Examples:\n  stockade vault export porch > porch.jsonl\n  stockade vault erase porch --reason ticket-17"
    )]
    Erase(Erase),
    /// All that is stored of a device: JSON, a record a line
    Export(Export),
    /// Begin a new epoch of keys, and destroy the old one
    RotateKeys(RotateKeys),
    /// Who looked at what, and why
    Log(Log),
    /// Who reads sealed fields
    #[command(subcommand)]
    Reader(Reader),
    /// What stands behind a token or an encrypted number: for operators, for a purpose, in the log (exit code 1: nothing does)
    #[command(
        after_help = "Examples:\n  stockade vault reveal porch --schema visits --field account --value TOKEN --purpose repair"
    )]
    Reveal(Reveal),
    /// What is known to fail in how a profile treats data
    #[command(subcommand)]
    Policy(Policy),
    /// Copy the whole store into one sealed file, while the gateway runs
    #[command(after_help = "Examples:\n  stockade vault backup /media/backup/2026-11-23.vault")]
    Backup(Backup),
    /// Put a backup into an empty store, while the gateway is stopped
    Restore(Restore),
    /// Look at every block, key and index of the store, and at the log (exit code 1: something is damaged; 3: something could
    /// not be judged)
    Fsck(Fsck),
    /// Check the log from outside: every entry, every tile, the signatures
    #[command(
        after_help = "Examples:\n  stockade vault log --key > log.pub\n  stockade vault verify-log --key log.pub --keep checkpoint\n  stockade vault verify-log /mnt/copy/log --key log.pub --old checkpoint\n  stockade --ca ca.pem --token-file auditor.token vault verify-log https://HOST:8443 --key log.pub"
    )]
    VerifyLog(VerifyLog),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check profiles, without a gateway: what is refused, why, and what to write instead (exit code 1 if anything is)
    Check {
        /// The profiles
        #[arg(required = true, value_name = "PROFILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Reader {
    /// Who there is
    List,
    /// Name a reader's public key: what comes from now on is sealed for it
    Add {
        /// As the profile names it
        name: String,
        /// Only for this device
        #[arg(long)]
        device: Option<String>,
        /// The X25519 public key: PEM (openssl pkey -pubout) or base64
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Seal nothing more for a reader; what was sealed for it stays so
    Remove {
        /// As the profile names it
        name: String,
        /// Only for this device
        #[arg(long)]
        device: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Reveal {
    /// Whose value it is
    pub(crate) device: String,
    /// The device's model, if the gateway no longer knows the device
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The data set
    #[arg(long)]
    pub(crate) schema: String,
    /// The field
    #[arg(long)]
    pub(crate) field: String,
    /// What is stored in the value's place
    #[arg(long)]
    pub(crate) value: String,
    /// What for: one of the purposes that the profile lists
    #[arg(long)]
    pub(crate) purpose: String,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The data set, as the profile names it; without it: which there are
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// What the records are for: one of the purposes that the profile lists
    #[arg(long, requires = "schema")]
    pub(crate) purpose: Option<String>,
    /// Only this device
    #[arg(long, requires = "schema")]
    pub(crate) device: Option<String>,
    /// Only records whose time is at or after this (RFC 3339)
    #[arg(long, requires = "schema", value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only records whose time is before this
    #[arg(long, requires = "schema", value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    #[command(flatten)]
    pub(crate) of: Risk,
    /// Write the rows to this file (CSV) instead of the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: Values,
    /// Only tell what would come of it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How values (CSV) are written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Values {
    /// Write values that a spreadsheet takes for a formula as they are, without an apostrophe before them
    #[arg(long)]
    raw_csv: bool,
}

impl Values {
    pub(crate) const fn formulas(self) -> Formulas {
        if self.raw_csv {
            Formulas::Raw
        } else {
            Formulas::Defused
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stream {
    /// Begin: what is stored of a data set from now on is released
    On {
        /// The data set, as the profile names it
        #[arg(value_name = "DATASET")]
        schema: String,
    },
    /// Stop; what waits is suppressed, and rows that were released can still be read
    Off {
        /// The data set
        #[arg(value_name = "DATASET")]
        schema: String,
    },
    /// Which there are, what was released, and why the rest was not
    Status,
    /// The rows: values (CSV), or JSON with --json, a row a line
    Read {
        /// The data set
        #[arg(value_name = "DATASET")]
        schema: String,
        /// Only rows behind this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
        /// Go on with what is released from now on
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        values: Values,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Risk {
    /// The data set, as the profile names it
    #[arg(value_name = "DATASET", required_unless_present = "input")]
    pub(crate) schema: Option<String>,
    /// At least so many devices alike; like the next three, never laxer than the profile
    #[arg(long)]
    pub(crate) k: Option<u32>,
    /// At least so many different sensitive values among them
    #[arg(long)]
    pub(crate) l: Option<u32>,
    /// At most so far from the distribution of all, 0 to 1
    #[arg(long)]
    pub(crate) t: Option<f64>,
    /// At most so many left out, for example 5%
    #[arg(long, value_parser = percent)]
    pub(crate) suppress: Option<f64>,
    /// Make each row only as coarse as its own neighbours need
    #[arg(long)]
    pub(crate) local: bool,
    /// Only records whose time is at or after this (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "input")]
    pub(crate) from: Option<String>,
    /// Only records whose time is before this
    #[arg(long, value_name = "TIME", conflicts_with = "input")]
    pub(crate) to: Option<String>,
    /// Try it on a file of values (CSV), without a gateway; nothing is remembered
    #[arg(
        long,
        value_name = "FILE",
        requires = "roles",
        conflicts_with = "schema"
    )]
    pub(crate) input: Option<PathBuf>,
    /// What the file's columns are (TOML, see docs/anonymised-release.md)
    #[arg(long, value_name = "FILE", requires = "input")]
    pub(crate) roles: Option<PathBuf>,
}

/// `5%` or `0.05`.
fn percent(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(parts) => parts.parse().map(|parts: f64| parts / 100.0),
        None => text.parse(),
    };
    share
        .ok()
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| "write it as 5% or 0.05; less than all".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// count, count subjects, sum F, mean F, histogram F by STEP, quantile 0.9 of F; then: by F, where F = V, per 1h,
    /// from TIME to TIME
    #[arg(requires = "schema", required_unless_present = "budget")]
    pub(crate) question: Option<String>,
    /// The data set, as the profile names it
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// What it may cost at most [default: 0.1]
    #[arg(long)]
    pub(crate) epsilon: Option<String>,
    /// Pay again for what was answered before
    #[arg(long)]
    pub(crate) again: bool,
    /// What is left of the budgets
    #[arg(long, conflicts_with_all = ["question", "schema", "epsilon", "again"])]
    pub(crate) budget: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The device
    pub(crate) device: String,
    /// Its model, for a device that was removed from the gateway
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// What the log says of why: one word, such as a ticket's number; no person's name
    #[arg(long)]
    pub(crate) reason: String,
    /// End the old epoch together with that of other erasures, within a day
    #[arg(long)]
    pub(crate) defer: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The device
    pub(crate) device: String,
    /// Its model, for a device that was removed from the gateway
    #[arg(long)]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKeys {
    /// Give up subjects whose keys are damaged in the store; a backup can not bring them back then
    #[arg(long)]
    pub(crate) give_up_damaged: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where it goes; nothing may be there
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub(crate) file: PathBuf,
    /// Restore it although the log tells of more than it has: that is forgotten then
    #[arg(long)]
    pub(crate) accept_older: bool,
    /// The configuration file [default: DIR/stockade.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Make anew what can be made from the rest: the index
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// From this entry on; without it: the last ones
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Only the public key, for whoever verifies
    #[arg(long, conflicts_with_all = ["from", "limit"])]
    pub(crate) key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyLog {
    /// The log's folder, or where it is served: https://HOST:8443 [default: DIR/vault/log]
    #[arg(value_name = "DIR|URL")]
    pub(crate) log: Option<String>,
    /// The log's public key, or a file with it (stockade vault log --key)
    #[arg(long, value_name = "FILE|TEXT")]
    pub(crate) key: String,
    /// A checkpoint from before: the log must begin with what it had then
    #[arg(long, value_name = "FILE")]
    pub(crate) old: Option<PathBuf>,
    /// Keep the checkpoint in this file, for --old the next time
    #[arg(long, value_name = "FILE")]
    pub(crate) keep: Option<PathBuf>,
    /// A witness who must have signed the checkpoint too: the key, or a file with it; may be given more than once
    #[arg(long, value_name = "FILE|TEXT")]
    pub(crate) witness: Vec<String>,
}
