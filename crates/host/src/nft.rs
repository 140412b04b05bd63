//! The program `nft`: found at a known place, run with bounds, and its complaints put in relation to our rules.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use stockade_controls::firewall::nft::Family;

pub use self::child::{Answer, Bounds};
pub use self::message::Complaint;

pub(crate) mod child;
mod message;
mod probe;

/// Where distributions put it. A user's `PATH` is never asked: this runs as root.
const PLACES: [&str; 6] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/bin/nft",
    "/usr/local/sbin/nft",
    "/usr/local/bin/nft",
];
/// Loading 10,000 devices takes a third of a second; a slow device may take a hundred times that.
const PATIENCE: Duration = Duration::from_mins(1);
/// A list of 10,000 devices is 34 MB of JSON.
const MOST_OUTPUT: usize = 256 * 1024 * 1024;
/// The longest ruleset that is handed over.
const MOST_INPUT: usize = 256 * 1024 * 1024;

/// What went wrong with `nft`.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It is not installed.
    #[error("there is no `nft` on this machine: install the package nftables")]
    NotInstalled,
    /// It could not be started.
    #[error("cannot run {program}")]
    Start {
        /// Which one.
        program: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// It did not end in time.
    #[error("{program} did not end within {} seconds and was stopped", .after.as_secs())]
    TooSlow {
        /// Which one.
        program: PathBuf,
        /// How long it had.
        after: Duration,
    },
    /// It said more than a firewall of ours can be.
    #[error("{program} printed more than {most} bytes and was stopped")]
    TooMuch {
        /// Which one.
        program: PathBuf,
        /// How much it may print.
        most: usize,
    },
    /// The ruleset is longer than one may be.
    #[error("the ruleset is longer than {MOST_INPUT} bytes")]
    TooLong,
    /// This process may not do it.
    #[error("the kernel lets only root (CAP_NET_ADMIN) change the firewall: run this as root")]
    NotAllowed,
    /// The kernel can not do what a rule needs.
    #[error("this kernel can not do what the rules need: {}; {complaint}", .missing.join(", "))]
    Kernel {
        /// What it lacks, in words with the name of the option.
        missing: Vec<String>,
        /// What `nft` said.
        complaint: Complaint,
    },
    /// It refused the ruleset.
    #[error("nft refuses the rules: {complaint}")]
    Refused {
        /// What it said, and about which line.
        complaint: Complaint,
    },
    /// It died, or ended with an error without a word.
    #[error("{program} ended without a word ({how})")]
    Died {
        /// Which one.
        program: PathBuf,
        /// The exit status.
        how: String,
    },
}

/// The program `nft` of this machine.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    bounds: Bounds,
}

impl Nft {
    /// Finds it.
    pub fn find() -> Result<Self, NftError> {
        let place = PLACES.iter().map(Path::new).find(|place| place.is_file());
        place.map(Self::at).ok_or(NftError::NotInstalled)
    }

    /// The program at a given place, for tests of how it fails.
    #[doc(hidden)]
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            bounds: Bounds {
                patience: PATIENCE,
                output: MOST_OUTPUT,
            },
        }
    }

    /// With another limit of time.
    #[doc(hidden)]
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.bounds.patience = patience;
        self
    }

    /// With another limit of output.
    #[doc(hidden)]
    #[must_use]
    pub fn printing_at_most(mut self, bytes: usize) -> Self {
        self.bounds.output = bytes;
        self
    }

    /// Which `nft` this is: `nftables v1.0.6 (Lester Gooch #5)`.
    pub fn version(&self) -> Result<String, NftError> {
        let answer = self.run(&["--version"], None)?;
        Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }

    /// Whether nft and the kernel take a ruleset; nothing is changed.
    pub fn check(&self, ruleset: &str) -> Result<(), NftError> {
        self.load(&["--check", "--file", "-"], ruleset)
    }

    /// Loads a ruleset in one transaction: all of it holds, or nothing changed. It is checked before.
    pub fn apply(&self, ruleset: &str) -> Result<(), NftError> {
        self.check(ruleset)?;
        self.commit(ruleset)
    }

    /// Loads a ruleset that `check` has passed.
    pub fn commit(&self, ruleset: &str) -> Result<(), NftError> {
        self.load(&["--file", "-"], ruleset)
    }

    /// A table as nft's JSON; nothing if there is no such table. Only tables of ours are ever asked for.
    pub fn list(&self, family: Family, table: &str) -> Result<Option<Vec<u8>>, NftError> {
        // By number: the words for protocols are whatever the system's /etc/protocols says.
        let family = family.to_string();
        self.listed(&[
            "--json",
            "--numeric-protocol",
            "list",
            "table",
            &family,
            table,
        ])
    }

    /// A table as text; nothing if there is no such table.
    pub fn list_text(&self, family: Family, table: &str) -> Result<Option<Vec<u8>>, NftError> {
        self.listed(&["list", "table", &family.to_string(), table])
    }

    fn listed(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>, NftError> {
        let answer = self.run(arguments, None)?;
        if answer.status.success() {
            return Ok(Some(answer.stdout));
        }
        let complaint = Complaint::read(&answer.stderr, "");
        match complaint {
            Some(complaint) if complaint.is_missing() => Ok(None),
            Some(complaint) if complaint.is_permission() => Err(NftError::NotAllowed),
            Some(complaint) => Err(NftError::Refused { complaint }),
            None => Err(self.died(&answer)),
        }
    }

    fn load(&self, arguments: &[&str], ruleset: &str) -> Result<(), NftError> {
        let answer = self.run(arguments, Some(ruleset))?;
        if answer.status.success() {
            return Ok(());
        }
        let Some(complaint) = Complaint::read(&answer.stderr, ruleset) else {
            return Err(self.died(&answer));
        };
        if complaint.is_permission() {
            return Err(NftError::NotAllowed);
        }
        // nft says "No such file or directory" for a kernel that lacks an expression: ask the kernel which.
        let missing = self.missing_features();
        if missing.is_empty() {
            Err(NftError::Refused { complaint })
        } else {
            Err(NftError::Kernel { missing, complaint })
        }
    }

    /// What our rules may need and this kernel does not have, in words; each is tried without changing anything.
    pub fn missing_features(&self) -> Vec<String> {
        let lacks = |rules: &str| {
            self.run(&["--check", "--file", "-"], Some(rules))
                .is_ok_and(|answer| !answer.status.success())
        };
        probe::missing(lacks)
    }

    fn died(&self, answer: &Answer) -> NftError {
        NftError::Died {
            program: self.program.clone(),
            how: answer.status.to_string(),
        }
    }

    fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<Answer, NftError> {
        let start = |why: io::Error| match why.kind() {
            io::ErrorKind::NotFound => NftError::NotInstalled,
            _ => NftError::Start {
                program: self.program.clone(),
                why,
            },
        };
        let input = match input {
            Some(text) if text.len() > MOST_INPUT => return Err(NftError::TooLong),
            Some(text) => Stdio::from(whole(text).map_err(start)?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(input);
        child::run(command, self.bounds).map_err(|fault| match fault {
            child::Fault::Io(why) => start(why),
            child::Fault::TooSlow => NftError::TooSlow {
                program: self.program.clone(),
                after: self.bounds.patience,
            },
            child::Fault::TooMuch => NftError::TooMuch {
                program: self.program.clone(),
                most: self.bounds.output,
            },
        })
    }
}

/// A file in memory that holds the whole text. Through a pipe, a death of this process in the middle would hand nft the
/// first half of the rules, and half of our rules may well be valid rules.
fn whole(text: &str) -> io::Result<OwnedFd> {
    use std::io::{Seek as _, Write as _};

    let memory = memfd_create(
        "stockade-rules",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
