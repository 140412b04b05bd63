//! `stockade grant`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::time::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Let one device ask another directly, beyond what its profile says
    Give {
        /// Who may ask
        from: String,
        /// Who is asked
        to: String,
        /// What: a path and its methods, for example /siren/sound=GET,PUT; may be given more than once
        #[arg(long, required = true)]
        scope: Vec<String>,
        /// For how long
        #[arg(long = "for", default_value = "1h", value_parser = time)]
        life: Duration,
    },
    /// Who may ask what of whom, by profiles and by the operator
    List,
    /// Make every grant for a device void that was given so far
    Revoke {
        /// Who is asked
        device: String,
    },
    /// The key that grants are verified with, in PEM
    Key,
    /// Judge a grant that a peer with a certificate showed: needs no gateway
    Verify {
        /// The key of the gateway, in PEM
        #[arg(long, value_name = "FILE")]
        authority: PathBuf,
        /// Who is asked: model/device
        #[arg(long = "as", value_name = "NAME")]
        us: String,
        /// The certificate that the peer proved to own, in PEM
        #[arg(long, value_name = "FILE")]
        peer: PathBuf,
        /// The grant
        file: PathBuf,
    },
}
