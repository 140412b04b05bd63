//! `stockade audit …`

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use stockade_controls::engine::Severity;

use super::time::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// A firmware image, an archive or a root directory, read where it lies: nothing is unpacked, mounted or run
    Image(Image),
    /// A device over the network, or a range of devices: few, small and harmless questions
    Host(Host),
    /// This system
    Live(Live),
    /// Two reports: what got better, what got worse, what can no longer be judged
    Diff(Diff),
    /// Advisories that software is compared with
    #[command(subcommand)]
    Db(Db),
    /// A list of software (CycloneDX) anew by the advisories of today
    Recheck(Recheck),
    /// All rules, or one of them: why it matters, how to mend it, which provisions it touches
    Rules {
        /// The rule, as in `credentials/default-password`
        id: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// A file of any kind, or a root directory
    pub(crate) path: PathBuf,
    /// What the model is for; without it, only what holds for every device is judged
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Print what would mend the findings, too
    #[arg(long)]
    pub(crate) plan: bool,
    /// Write a mended copy of a root directory or a tar here; the input stays as it is
    #[arg(long, value_name = "OUT")]
    pub(crate) harden: Option<PathBuf>,
    /// How long it may take; what is left is then not audited
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    pub(crate) max_time: Duration,
    /// How deep images may lie in images
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) max_depth: u8,
    #[command(flatten)]
    pub(crate) advisories: Advisories,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

#[derive(Debug, Args)]
pub(crate) struct Host {
    /// ADDRESS, NAME, ADDRESS:PORT, FIRST-LAST or NETWORK/BITS
    pub(crate) target: String,
    /// What the model is for: its ports are compared with those that are open
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Which TCP ports to ask, as in `22,80,8000-8100`; `all`: every one [default: those that devices use]
    #[arg(long)]
    pub(crate) ports: Option<String>,
    /// Ask for every cipher suite by name: more connections
    #[arg(long)]
    pub(crate) ciphers: bool,
    /// Try a few passwords that makers ship; a device may lock its owner out
    #[arg(long)]
    pub(crate) try_credentials: bool,
    /// Ask questions that change something for a minute: map a port of a router to this machine, and take it back
    #[arg(long)]
    pub(crate) active: bool,
    /// The most connections at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) max_conns: u16,
    /// The most connections and datagrams in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: Option<u32>,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// A second address of this machine, in another network: a callback counts when it comes there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) callback_address: Option<std::net::IpAddr>,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

#[derive(Debug, Args)]
pub(crate) struct Live {
    /// What the model is for; without it, only what holds for every device is judged
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Print what would mend the findings, too
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) advisories: Advisories,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

#[derive(Debug, Args)]
pub(crate) struct Recheck {
    /// CycloneDX, as JSON
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) advisories: Advisories,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The earlier report (JSON)
    pub(crate) old: PathBuf,
    /// The later report (JSON)
    pub(crate) new: PathBuf,
    /// What got worse and is at least as bad as this makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::High)]
    pub(crate) fail_on: FailOn,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Take in advisories: OSV, NVD, CVE, KEV and EPSS, as files, archives or directories; nothing is ever downloaded
    Import {
        /// Files and directories
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        db: DbPlace,
    },
    /// Which advisories there are, of which day
    Status(DbPlace),
    /// Forget a source, as `status` names it
    Remove {
        /// The source
        name: String,
        #[command(flatten)]
        db: DbPlace,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DbPlace {
    /// Where advisories are kept [default: stockade/advisories.db in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "FILE", env = "STOCKADE_ADVISORIES")]
    pub(crate) db: Option<PathBuf>,
}

/// How software is compared with advisories.
#[derive(Debug, Args)]
pub(crate) struct Advisories {
    #[command(flatten)]
    pub(crate) db: DbPlace,
    /// What is known not to matter here: OpenVEX or CycloneDX
    #[arg(long, value_name = "FILE")]
    pub(crate) vex: Vec<PathBuf>,
    /// Do not compare software with advisories; the report says so
    #[arg(long)]
    pub(crate) no_vulnerabilities: bool,
}

/// What becomes of the report.
#[derive(Debug, Args)]
pub(crate) struct Reporting {
    /// FORMAT or FORMAT=FILE; may be given several times. term, json, sarif, junit, html, cyclonedx [default: term]
    #[arg(short, long, value_name = "FORMAT[=FILE]")]
    pub(crate) output: Vec<Output>,
    /// Findings at least as bad as this make the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::High)]
    pub(crate) fail_on: FailOn,
    /// An earlier report (JSON): only what is new or worse counts
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Findings that somebody lives with, each with a reason and a last day
    #[arg(long, value_name = "FILE")]
    pub(crate) waivers: Option<PathBuf>,
}

/// What makes the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    Info,
    Low,
    Medium,
    High,
    Critical,
    /// Nothing does
    None,
}

impl FailOn {
    pub(crate) fn severity(self) -> Option<Severity> {
        match self {
            Self::Info => Some(Severity::Info),
            Self::Low => Some(Severity::Low),
            Self::Medium => Some(Severity::Medium),
            Self::High => Some(Severity::High),
            Self::Critical => Some(Severity::Critical),
            Self::None => None,
        }
    }
}

/// A form of the report, and where it goes; without a file: to standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) file: Option<PathBuf>,
}

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Term,
    Json,
    Sarif,
    Junit,
    Html,
    CycloneDx,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((_, "")) => return Err("there is no file after the `=`".to_owned()),
            Some((format, file)) => (format, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let format = match format {
            "term" => Format::Term,
            "json" => Format::Json,
            "sarif" => Format::Sarif,
            "junit" => Format::Junit,
            "html" => Format::Html,
            "cyclonedx" => Format::CycloneDx,
            other => {
                return Err(format!(
                    "`{other}` is no format: term, json, sarif, junit, html or cyclonedx"
                ));
            }
        };
        Ok(Self { format, file })
    }
}
