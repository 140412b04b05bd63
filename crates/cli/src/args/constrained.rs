//! `stockade device add --constrained`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Constrained {
    /// A microcontroller: it enrols by its key, over the link
    #[arg(long)]
    pub(crate) constrained: bool,
    /// Its public key: a PEM file, its label (stockade:1/…), or the 64 digits of its thumbprint
    #[arg(long, requires = "constrained", conflicts_with = "new_key")]
    pub(crate) key: Option<String>,
    /// Make a key for it, and write this file to build its firmware with: it holds the private key
    #[arg(long, value_name = "FILE", requires = "constrained")]
    pub(crate) new_key: Option<PathBuf>,
    /// Write what its firmware needs besides its key
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) provision: Option<PathBuf>,
    /// Write the QR code of its label
    #[arg(long, value_name = "FILE.svg", requires = "constrained")]
    pub(crate) qr: Option<PathBuf>,
}
