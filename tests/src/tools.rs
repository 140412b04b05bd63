//! Programs of others.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder cargo builds into: the test program lies in `<target>/<profile>/deps`.
pub fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    own.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .context("this program is not where cargo puts tests")
}

/// The program under test: `STOCKADE_BIN`, or what cargo built beside this test.
pub fn stockade() -> Result<PathBuf> {
    let path = match std::env::var_os("STOCKADE_BIN") {
        Some(path) => PathBuf::from(path),
        None => built()?.join("stockade"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: `cargo build -p stockade-cli` makes it",
        path.display()
    );
    Ok(path)
}

/// Whether the tests go on without these programs. `cargo xtask test` names what it could not install; anything else
/// that is absent fails the test which needs it. The line printed here is counted in its table.
#[must_use = "the test is to end here when this is true"]
pub fn without(programs: &[&str]) -> bool {
    let absent = std::env::var("STOCKADE_TESTS_WITHOUT").unwrap_or_default();
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| absent.split(',').any(|its| its == *name))
        .collect();
    if missing.is_empty() {
        return false;
    }
    say(&format!("skipped: no {}", missing.join(", ")));
    true
}

/// A line for whoever reads the report of the tests.
pub fn say(text: &str) {
    use std::io::Write as _;
    // Straight to the stream: the test runner keeps it with the test.
    drop(writeln!(std::io::stdout(), "[stockade-e2e] {text}"));
}

/// The Python that has the pinned clients.
pub fn python() -> Result<PathBuf> {
    let target = built()?;
    let python = target
        .parent()
        .unwrap_or(&target)
        .join("test-venv/bin/python");
    ensure!(
        python.exists(),
        "{} is not there: `cargo xtask test --only e2e` makes it",
        python.display()
    );
    Ok(python)
}

/// A script of `tests/clients`.
pub fn script(name: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(root().join("tests/clients").join(name));
    Ok(command)
}

/// A script of `tests/clients` that needs what `tests/link-peers.txt` lists.
pub fn peer_script(name: &str) -> Result<Command> {
    let mut command = script(name)?;
    command.env("PYTHONPATH", crate::real::link_peers()?);
    Ok(command)
}

/// Runs to its end, which must come within `patience`; standard input is closed.
pub fn finish(command: &mut Command, patience: Duration) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let id = child.id();
    let guard = Deadline::start(id, patience);
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))?;
    ensure!(
        !guard.hit(),
        "{program} did not end within {patience:?}: {}",
        text(&output)
    );
    Ok(output)
}

/// Runs to its end and must succeed; what it printed on standard output.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = finish(command, Duration::from_secs(30))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        text(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Both streams of a program that ended.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// Asks until the answer is there; what was missing is said when it never comes.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(
            Instant::now() < until,
            "still not so after {patience:?}: {what}"
        );
        pause(Duration::from_millis(20));
    }
}

/// Lets other processes go on for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own thread waits for another process"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Sends a signal by name.
pub fn signal(name: &str, process: u32) -> Result<()> {
    succeed(
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(process.to_string()),
    )
    .map(drop)
}

/// Kills a program that takes too long.
struct Deadline {
    over: std::sync::mpsc::SyncSender<()>,
    watch: Option<std::thread::JoinHandle<bool>>,
}

impl Deadline {
    fn start(process: u32, patience: Duration) -> Self {
        let (over, ended) = std::sync::mpsc::sync_channel(1);
        let watch = std::thread::spawn(move || {
            let late = ended.recv_timeout(patience).is_err();
            if late {
                // It may have ended by itself this very moment.
                drop(
                    Command::new("kill")
                        .arg("-KILL")
                        .arg(process.to_string())
                        .status(),
                );
            }
            late
        });
        Self {
            over,
            watch: Some(watch),
        }
    }

    fn hit(mut self) -> bool {
        // The watcher is gone when the time ran out.
        let _ = self.over.send(());
        self.watch
            .take()
            .is_some_and(|watch| watch.join().unwrap_or(true))
    }
}
