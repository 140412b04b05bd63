//! Programs of the system that do what only they know how to: run to their end, with bounds.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::nft::child::{Fault, run};
use crate::nft::{Answer, Bounds};

/// Where programs of the system are. A user's `PATH` is never asked: this runs as root.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// Why a program did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("there is no program `{0}` on this machine")]
    Missing(&'static str),
    /// It could not be run.
    #[error("cannot run {command}: {why}")]
    Start {
        /// The program with its arguments.
        command: String,
        /// Why.
        why: io::Error,
    },
    /// It did not end in time, or printed without end.
    #[error("{command} did not end in time and was stopped")]
    TooSlow {
        /// The program with its arguments.
        command: String,
    },
    /// It said no.
    #[error("{command} failed: {said}")]
    Failed {
        /// The program with its arguments.
        command: String,
        /// What it complained, shortened.
        said: String,
    },
}

/// Finds a program of the system.
pub fn find(name: &'static str) -> Result<PathBuf, ProgramError> {
    let places = PLACES.iter().map(|place| PathBuf::from(place).join(name));
    let mut found = places.filter(|path| path.is_file());
    found.next().ok_or(ProgramError::Missing(name))
}

/// Runs a program to its end, whatever it answers.
pub fn ask(command: Command, patience: Duration) -> Result<Answer, ProgramError> {
    let mut command = command;
    command
        .env_clear()
        .env("PATH", PLACES.join(":"))
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null());
    let shown = shown(&command);
    let bounds = Bounds {
        patience,
        output: MOST_OUTPUT,
    };
    run(command, bounds).map_err(|fault| match fault {
        Fault::Io(why) => ProgramError::Start {
            command: shown,
            why,
        },
        Fault::TooSlow | Fault::TooMuch => ProgramError::TooSlow { command: shown },
    })
}

/// Runs a program that has to succeed; what it printed.
pub fn succeed(command: Command, patience: Duration) -> Result<Vec<u8>, ProgramError> {
    let shown = shown(&command);
    let answer = ask(command, patience)?;
    if answer.status.success() {
        return Ok(answer.stdout);
    }
    let said = if answer.stderr.is_empty() {
        answer.stdout
    } else {
        answer.stderr
    };
    let said: String = String::from_utf8_lossy(&said)
        .trim()
        .chars()
        .take(500)
        .collect();
    let said = if said.is_empty() {
        answer.status.to_string()
    } else {
        said.replace('\n', "; ")
    };
    Err(ProgramError::Failed {
        command: shown,
        said,
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
