//! Chores of the project. `cargo xtask` lists them.

mod bench;
mod command;
mod firmware;
mod fuzz;
mod out;
mod prepare;
mod test;
mod tidy;
mod vmlab;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <chore>

  prepare                       install what the tests need, and say what could not be had
  test [--fast] [--only NAME]   install what the tests need, then run every check
  tidy                          crate directions, pure crates, file sizes, links, decisions, fuzz targets
  fuzz [--seconds N] [TARGET]   fuzz one target or each in turn (needs a nightly toolchain)
  vmlab [NAME]                  boot the guests of the tests, or those of tests/vmlab/NAME.rs
  firmware [--provision FILE OUT | --where]
                                build the constrained device of firmware/; put an individual's block into its sensor
  bench gateway [--quick]       measure the gateway beside other brokers, on the loopback
  bench agent                   measure the agent and its helper: memory, page, a look at a system
  bench audit                   measure audits beside sslscan, Lynis and checksec
  bench link                    measure the link beside lakers and liboscore
  bench vault                   measure what the vault does to data beside pycanon and anjana
  bench firewall [--quick]      measure rulesets and their packets in network namespaces (needs root)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chore(&arguments) {
        Ok(code) => code,
        Err(error) => {
            out::problem(&format!("xtask: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn chore(arguments: &[String]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        out::text(USAGE);
        return Ok(ExitCode::from(2));
    };
    match name.as_str() {
        "prepare" => Ok(prepare::run()),
        "test" => test::run(rest),
        "tidy" => Ok(tidy::run()),
        "fuzz" => fuzz::run(rest),
        "vmlab" => vmlab::run(rest),
        "firmware" => firmware::run(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            out::text(USAGE);
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no chore `{other}`; `cargo xtask` lists them"),
    }
}
