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
    match run::run(cli) {
        Ok(code) => code,
        Err(error) => {
            out::complain(&error);
            ExitCode::from(run::USAGE)
        }
    }
}
