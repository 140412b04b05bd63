//! `cargo xtask bench firewall`: rulesets in the kernel of network namespaces, ours beside what others do.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::machine;
use crate::command::{cargo, program, succeed, target};
use crate::{out, prepare};

/// What the bench runs, beside our own.
const PROGRAMS: [&str; 3] = ["nft", "ip", "conntrack"];

/// Builds and runs it.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode> {
    if let Some(other) = arguments.iter().find(|argument| *argument != "--quick") {
        bail!("`bench firewall` knows --quick, not `{other}`");
    }
    for name in PROGRAMS {
        if !prepare::installed(name) {
            bail!("{name} is not installed: `apt-get install nftables iproute2 conntrack`");
        }
    }
    succeed(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "stockade-bench",
    ]))?;
    out::line(&format!("\n{}", machine("sender and kernel")));
    succeed(
        program(
            &target()
                .join("release/stockade-bench")
                .display()
                .to_string(),
        )
        .args(arguments),
    )?;
    Ok(ExitCode::SUCCESS)
}
