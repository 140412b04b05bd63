//! The command `stockade`.

mod admin;
mod args;
mod commands;
mod config;
mod demo;
mod out;
mod run;
mod server;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are no errors; clap knows where each belongs.
            let _closed = told.print();
            return ExitCode::from(if told.use_stderr() { run::USAGE } else { 0 });
        }
    };
    // What panicked was told already, with its place.
    match std::panic::catch_unwind(|| run::run(cli)) {
        Err(_panic) => {
            out::aside("this is a bug of Stockade: what is above tells where");
            ExitCode::from(run::BUG)
        }
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            out::complain(&error);
            ExitCode::from(run::USAGE)
        }
    }
}
