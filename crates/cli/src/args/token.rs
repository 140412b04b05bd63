//! The arguments of `stockade token …`, and those that use a token.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// How a gateway elsewhere is asked.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Remote {
    /// Ask the gateway at https://HOST:8443, with a token, instead of the one on this machine
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "STOCKADE_REMOTE",
        requires = "token_file"
    )]
    pub(crate) remote: Option<String>,
    /// The file with the token (stockade token add)
    #[arg(long, global = true, value_name = "FILE", env = "STOCKADE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate of the gateway's CA, and no other is believed [default: DIR/ca.pem]
    #[arg(long, global = true, value_name = "FILE", env = "STOCKADE_CA")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token: printed now, and never again
    Add {
        /// A name, which the log shows: a-z, 0-9, `.`, `_`, `-`
        name: String,
        /// operator, analyst, auditor, or subject:DEVICE
        #[arg(long)]
        role: String,
        /// How long it lives
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
    },
    /// All tokens that live
    List,
    /// Take a token back, at once
    Revoke {
        /// The token's name
        name: String,
    },
}
