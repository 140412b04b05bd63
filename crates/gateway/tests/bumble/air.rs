//! Virtual air: `tests/clients/ble_world.py`, whose controllers and devices are Bumble's. Included by `#[path]`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The air, with a controller for the gateway in it.
pub(crate) struct Air {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The gateway's controller.
    pub(crate) settings: String,
}

impl Air {
    /// None, and a line that says so, where Bumble is not installed. The controller is at a TCP port, or at the end of a line of this name.
    pub(crate) fn new(terminal: Option<&Path>) -> Option<Self> {
        let program = std::env::current_exe().ok()?;
        let target = program.ancestors().nth(3)?;
        let python = target.join("test-venv/bin/python");
        let libraries = target.join("labs/python-link-peers-1");
        let has = Command::new(&python)
            .env("PYTHONPATH", &libraries)
            .args(["-c", "import bumble"])
            .status();
        if !has.is_ok_and(|status| status.success()) {
            let line = "[stockade-e2e] skipped: no Bumble (`cargo xtask test` installs it)";
            drop(writeln!(std::io::stdout(), "{line}"));
            return None;
        }
        let world = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/clients/ble_world.py"
        );
        let mut child = Command::new(python)
            .env("PYTHONPATH", libraries)
            .arg(world)
            .args(terminal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take())?;
        let mut air = Self {
            child,
            input,
            output: BufReader::new(output),
            settings: String::new(),
        };
        let said = air.line();
        let place = said.strip_prefix("controller ")?;
        air.settings = match terminal {
            None => format!("hci-tcp:127.0.0.1:{place}"),
            Some(_) => format!("h4:{place}@1000000"),
        };
        Some(air)
    }

    /// Says a line; what is answered.
    pub(crate) fn ask(&mut self, words: &str) -> String {
        writeln!(self.input, "{words}").expect("the air hears");
        self.line()
    }

    /// Another device; the UDP port of its radio.
    pub(crate) fn add(&mut self, name: &str, number: u8, how: &str) -> u16 {
        let said = self.ask(&format!("add {name} F0:F1:F2:F3:F4:{number:02X} {how}"));
        let port = said.strip_prefix(name).map(str::trim);
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the air has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
