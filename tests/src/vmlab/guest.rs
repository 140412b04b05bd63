//! A machine that runs.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::machine::Machine;
use super::must;
use super::qmp::Qmp;
use crate::tools::{eventually, say};

/// A boot takes seconds; on a machine that does much else, minutes.
const BOOT: Duration = Duration::from_mins(5);
/// How long a script may take unless the test says otherwise.
const SCRIPT: Duration = Duration::from_mins(2);

/// A machine with power on. Dropped, it is killed.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    qemu: Mutex<Child>,
    tpm: Option<Child>,
    jobs: Mutex<UnixStream>,
    qmp: Mutex<Qmp>,
    number: AtomicU32,
}

/// What a script left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Both its streams.
    pub text: String,
}

/// A script that runs in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job(u32);

impl Guest {
    pub(super) fn boot(machine: &Machine) -> Result<Self> {
        let guest = Self::power(machine)?;
        let up = guest.share().join(".vm/up");
        let booted = guest.until("the guest is up", BOOT, || Ok(up.exists().then_some(())));
        booted.with_context(|| guest.last_lines())?;
        Ok(guest)
    }

    pub(super) fn refused(machine: &Machine) -> Result<String> {
        let guest = Self::power(machine)?;
        let up = guest.share().join(".vm/up");
        guest.until("the firmware refuses", BOOT, || {
            ensure!(!up.exists(), "it boots");
            let said = guest.console();
            Ok(said.contains("Access Denied").then_some(said))
        })
    }

    fn power(machine: &Machine) -> Result<Self> {
        let folder = machine.folder();
        let own = machine.share().join(".vm");
        // Jobs of an earlier boot are not to be taken for those of this one.
        drop(fs_err::remove_dir_all(&own));
        fs_err::create_dir_all(&own)?;
        fs_err::write(own.join("settings"), machine.settings()?)?;
        let mut command = machine.qemu();
        machine.start_of(&mut command)?;
        let mut tpm = machine.tpm.as_ref().map(super::Tpm::start).transpose()?;
        for old in ["console", "jobs.sock", "qmp.sock"] {
            drop(fs_err::remove_file(folder.join(old)));
        }
        let complaint = fs_err::File::create(folder.join("qemu.log"))?;
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(complaint.file().try_clone()?)
            .stderr(complaint.into_parts().0)
            .spawn()
            .context("cannot run qemu-system-x86_64")?;
        let reach = |name: &str| folder.join(name);
        let connected = eventually("QEMU listens", Duration::from_secs(30), || {
            if let Some(status) = qemu.try_wait()? {
                let said = fs_err::read_to_string(reach("qemu.log"))?;
                bail!("QEMU ended with {status}: {said}");
            }
            Ok(UnixStream::connect(reach("jobs.sock"))
                .ok()
                .zip(Qmp::connect(&reach("qmp.sock")).ok()))
        });
        let (jobs, qmp) = connected.inspect_err(|_| {
            for child in [Some(&mut qemu), tpm.as_mut()].into_iter().flatten() {
                drop(child.kill());
            }
        })?;
        Ok(Self {
            machine: machine.clone(),
            qemu: Mutex::new(qemu),
            tpm,
            jobs: Mutex::new(jobs),
            qmp: Mutex::new(qmp),
            number: AtomicU32::new(0),
        })
    }

    /// Runs a script of `sh` as root and waits for its end.
    #[track_caller]
    pub fn run(&self, script: &str) -> Output {
        self.run_within(script, SCRIPT)
    }

    /// Runs a script that may take so long.
    #[track_caller]
    pub fn run_within(&self, script: &str, patience: Duration) -> Output {
        let job = self.start(script);
        self.wait(job, patience)
    }

    /// Runs a script that must succeed; what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let Output { code, text } = self.run(script);
        assert!(code == 0, "`{script}` ended with {code}: {text}");
        text
    }

    /// Starts a script and returns at once.
    #[track_caller]
    pub fn start(&self, script: &str) -> Job {
        let job = Job(self.number.fetch_add(1, Ordering::Relaxed));
        must(fs_err::write(self.of(job, "sh"), script).map_err(Into::into));
        must(self.say(&job.0.to_string()));
        job
    }

    /// What a script that was started has printed so far.
    pub fn so_far(&self, job: Job) -> String {
        String::from_utf8_lossy(&fs_err::read(self.of(job, "out")).unwrap_or_default()).into_owned()
    }

    /// Waits until a script that was started ends.
    #[track_caller]
    pub fn wait(&self, job: Job, patience: Duration) -> Output {
        let path = self.of(job, "code");
        let code = must(self.until("the script ends", patience, || {
            Ok(fs_err::read_to_string(&path).ok())
        }));
        Output {
            code: code.trim().parse().unwrap_or(-1),
            text: self.so_far(job),
        }
    }

    /// Waits until that text is on the console.
    #[track_caller]
    pub fn wait_for(&self, text: &str, patience: Duration) {
        let console = self.machine.folder().join("console");
        let what = format!("`{text}` on the console");
        let seen = || Ok(read(&console).contains(text).then_some(()));
        must(self.until(&what, patience, seen));
    }

    /// All the console has shown since power came.
    pub fn console(&self) -> String {
        read(&self.machine.folder().join("console"))
    }

    /// The folder the guest sees as `/lab`.
    pub fn share(&self) -> PathBuf {
        self.machine.share()
    }

    /// Plugs in a USB stick of 8 MiB with that serial number; the name to [`Guest::unplug`] it by.
    #[track_caller]
    pub fn plug_usb_storage(&self, serial: &str) -> String {
        let image = self.machine.folder().join(format!("usb-{serial}"));
        if !image.exists() {
            must(super::disk::empty(&image, 8));
        }
        let node = format!("image{}", self.number.fetch_add(1, Ordering::Relaxed));
        let file = json!({"driver": "file", "node-name": node, "filename": image});
        must(self.ask("blockdev-add", &file));
        self.plug("usb-storage", &[("serial", serial), ("drive", &node)])
    }

    /// Plugs in a USB keyboard.
    #[track_caller]
    pub fn plug_usb_keyboard(&self) -> String {
        self.plug("usb-kbd", &[])
    }

    /// Plugs in any USB device QEMU has (`usb-mouse`, `usb-net`, …) with properties of it, such as `("port", "2")`.
    #[track_caller]
    pub fn plug(&self, driver: &str, properties: &[(&str, &str)]) -> String {
        let id = format!("plugged{}", self.number.fetch_add(1, Ordering::Relaxed));
        let mut device = json!({"driver": driver, "id": id, "bus": "usb.0"});
        for &(name, value) in properties {
            device[name] = json!(value);
        }
        must(self.ask("device_add", &device));
        id
    }

    /// Pulls a device out.
    #[track_caller]
    pub fn unplug(&self, id: &str) {
        must(self.ask("device_del", &json!({"id": id})));
        let plugged = json!({"path": "/machine/peripheral"});
        must(eventually(
            "the device is out",
            Duration::from_secs(30),
            || {
                let all = self.ask("qom-list", &plugged)?;
                let mut all = all.as_array().into_iter().flatten();
                Ok((!all.any(|device| device["name"] == id)).then_some(()))
            },
        ));
    }

    /// Pulls a line of [`Machine::gpio`] up or down.
    #[track_caller]
    pub fn gpio_line(&self, name: &str, high: bool) {
        let pull = if high { "up" } else { "down" };
        self.sh(&format!("echo pull-{pull} >/run/gpio/{name}"));
    }

    /// Cuts the power: what was not on the disk is lost. The machine, to be booted again.
    pub fn cut(self) -> Machine {
        self.machine.clone()
    }

    /// Syncs, unmounts disks and switches off.
    #[track_caller]
    pub fn power_off(self) -> Machine {
        must(self.say("off"));
        must(self.ended(Duration::from_mins(1)));
        self.machine.clone()
    }

    /// Syncs, unmounts disks, and boots the same machine again.
    #[track_caller]
    #[must_use = "dropped, it is off"]
    pub fn reboot(self) -> Self {
        self.power_off().boot()
    }

    /// Waits until the guest itself switches off or restarts; its machine is off then.
    #[track_caller]
    pub fn wait_off(self, patience: Duration) -> Machine {
        must(self.ended(patience));
        self.machine.clone()
    }

    /// The end of what the console has shown.
    fn last_lines(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(40)..)
            .unwrap_or_default();
        format!("console of {}:\n{}", self.machine.name, last.join("\n"))
    }

    fn ended(&self, patience: Duration) -> Result<()> {
        eventually("the guest is off", patience, || {
            Ok(lock(&self.qemu).try_wait()?.map(drop))
        })
    }

    /// Asks until there is an answer, which does not come once QEMU has ended.
    fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ask: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        eventually(what, patience, || {
            let over = lock(&self.qemu).try_wait()?;
            let answer = ask()?;
            ensure!(
                answer.is_some() || over.is_none(),
                "the guest is off, and not so: {what}"
            );
            Ok(answer)
        })
    }

    fn say(&self, line: &str) -> Result<()> {
        let said = lock(&self.jobs).write_all(format!("{line}\n").as_bytes());
        said.context("the guest is gone")
    }

    fn ask(&self, command: &str, arguments: &serde_json::Value) -> Result<serde_json::Value> {
        lock(&self.qmp).ask(command, arguments)
    }

    fn of(&self, job: Job, kind: &str) -> PathBuf {
        self.share().join(format!(".vm/{}.{kind}", job.0))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut qemu = lock(&self.qemu);
        drop(qemu.kill());
        drop(qemu.wait());
        if let Some(mut tpm) = self.tpm.take() {
            // It ends by itself, and is not to be stopped while it writes.
            let over = || Ok(tpm.try_wait()?);
            if eventually("swtpm ends", Duration::from_secs(10), over).is_err() {
                drop(tpm.kill());
                drop(tpm.wait());
            }
        }
        if std::thread::panicking() {
            say(&self.last_lines());
        }
    }
}

fn read(path: &std::path::Path) -> String {
    String::from_utf8_lossy(&fs_err::read(path).unwrap_or_default()).into_owned()
}

/// The lock, whoever panicked with it.
fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
