//! `stockade profile from-mud` and `to-mud`

use std::path::PathBuf;

use clap::Args;
use stockade_profile::{HttpsUrl, ModelName};

#[derive(Debug, Args)]
pub(crate) struct FromMud {
    /// The MUD file; - for standard input
    pub(crate) file: PathBuf,
    /// Where to write the profile; without it, it goes to standard output and the report to standard error
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// The model's name [default: what the file says]
    #[arg(long)]
    pub(crate) model: Option<ModelName>,
    /// Let each rule to the device open flows, also one that looks like the answers to another rule
    #[arg(long)]
    pub(crate) literal: bool,
    /// Say what became of each rule, not only of those refused
    #[arg(long)]
    pub(crate) full: bool,
    /// The file's signature (CMS) [default: FILE with .p7s in place of .json, where it exists and --trust is given]
    #[arg(long, value_name = "P7S", requires = "trust")]
    pub(crate) signature: Option<PathBuf>,
    /// Certificates of authorities whose signers are trusted (PEM or DER)
    #[arg(long, value_name = "CA")]
    pub(crate) trust: Vec<PathBuf>,
    /// Refuse a file without a signature
    #[arg(long, requires = "trust")]
    pub(crate) require_signature: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ToMud {
    /// A profile in TOML
    pub(crate) file: PathBuf,
    /// The address the MUD file will have, which devices announce
    /// [default: that of the MUD file it was made from]
    #[arg(long)]
    pub(crate) url: Option<HttpsUrl>,
    /// Where to write it [default: FILE with .json in place of .toml]; the signature goes beside it as .p7s
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Sign it with this private key (PKCS#8 PEM)
    #[arg(long, requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// The key's certificate, then those between it and the authority (PEM)
    #[arg(long, requires = "key", value_name = "CERT")]
    pub(crate) certificate: Option<PathBuf>,
}
