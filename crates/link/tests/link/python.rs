//! Peers written in Python, with the libraries that `cargo xtask test` puts beside what cargo builds.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a peer may take for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line for who reads the report of the tests.
#[expect(
    clippy::print_stdout,
    reason = "the runner keeps what a test prints with the test"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A peer, which ends with the test.
pub(crate) struct Peer {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Peer {
    /// Starts a script of this folder; nothing where there are no libraries for it.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let libraries = here.join("../../target/labs/python-link-peers-1");
        if libraries.is_dir() {
            return Some(Self::with(
                &libraries,
                &here.join("tests/link").join(script),
                arguments,
            ));
        }
        say("skipped: no target/labs/python-link-peers-1, which `cargo xtask test` makes");
        None
    }

    fn with(libraries: &Path, script: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .env("PYTHONPATH", libraries)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let (says, said) = mpsc::sync_channel(100);
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if says.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, said }
    }

    /// The next line it says.
    pub(crate) fn line(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// What it has said that was not read yet, without waiting.
    pub(crate) fn heard(&self) -> Option<String> {
        self.said.try_recv().ok()
    }

    /// Whether it has ended, and well.
    pub(crate) fn ended(&mut self) -> Option<bool> {
        let status = self.child.try_wait().expect("a process of our own");
        status.map(|status| status.success())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
