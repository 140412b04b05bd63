//! Settings of the kernel that runs.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use stockade_controls::engine::{Action, HostPath};

use super::RunState;
use super::error::StepError;
use super::journal::{Begun, Record};
use super::place::Root;
use super::run::Applier;

/// The longest value that is read.
const MOST: u64 = 4096;

/// Which settings a plan may change, whoever made it; `*` stands for one name.
const KNOWN: [&str; 8] = [
    "/proc/sys/kernel/*",
    "/proc/sys/kernel/yama/*",
    "/sys/bus/mmc/drivers_autoprobe",
    "/sys/bus/usb/devices/*/authorized",
    "/sys/bus/usb/devices/*/authorized_default",
    "/sys/class/net/*/flags",
    "/sys/class/rfkill/*/soft",
    "/sys/module/kgdboc/parameters/kgdboc",
];

/// Sets a setting of this machine's kernel, if it is one that a plan may change.
pub fn set(path: &HostPath, value: &str) -> io::Result<()> {
    write(&Root::open(Path::new("/"))?, path, value)
}

impl Applier {
    /// The settings of all plans that are in effect: another start of the system takes them back, and nobody else.
    pub fn settings(&self) -> BTreeMap<HostPath, String> {
        let mut all = BTreeMap::new();
        for run in self
            .history()
            .iter()
            .filter(|run| run.state == RunState::Applied)
        {
            let done = |index: usize| {
                self.journal.records.iter().any(|record| {
                    matches!(record, Record::Done { run: of, step, .. } if (*of, *step) == (run.number, index))
                })
            };
            for (index, planned) in run.plan.steps.iter().enumerate() {
                if let Action::Setting { path, value } = &planned.step.action
                    && done(index)
                {
                    all.insert(path.clone(), value.clone());
                }
            }
        }
        all
    }

    /// Sets it, and looks whether the kernel has it so.
    pub(super) fn set(&mut self, path: &HostPath, value: &str) -> Result<(), StepError> {
        match write(&self.root, path, value) {
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                let other = self.rules.as_mut().and_then(|rules| rules.set(path, value));
                let failed = || Err(StepError::at(path)(why));
                other.map_or_else(failed, |came| came.map_err(StepError::other))?;
            }
            written => written.map_err(StepError::at(path))?,
        }
        let now = read(&self.root, path)?;
        if now != value {
            let why = format!("{path} is `{now}` after `{value}` was written to it");
            return Err(StepError::other(why));
        }
        Ok(())
    }

    /// Takes it back, if it is still what was set; what could not come back.
    pub(super) fn unset(&mut self, path: &HostPath, value: &str, begun: &Begun) -> Option<String> {
        let old = begun.setting.as_deref()?;
        // What was unplugged, or another start of the system, has no old value to go back to.
        let now = read(&self.root, path).ok()?;
        if now == old || !self.root.is_live() {
            return None;
        }
        if now != value {
            return Some(format!("{path} was changed since, and stays `{now}`"));
        }
        self.set(path, old).err().map(|why| why.to_string())
    }
}

/// What it is now, without the blanks at its end.
pub(super) fn read(root: &Root, path: &HostPath) -> Result<String, StepError> {
    let read = || {
        let mut text = Vec::new();
        let handle = root.place(path, true)?.handle()?;
        let file = handle.ok_or(io::ErrorKind::NotFound)?.reader()?;
        file.take(MOST).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    };
    read().map_err(StepError::at(path))
}

fn write(root: &Root, path: &HostPath, value: &str) -> io::Result<()> {
    if !is_known(path) {
        return Err(io::Error::other("not a setting that a plan may change"));
    }
    let handle = root.place(path, true)?.handle()?;
    let handle = handle.ok_or(io::ErrorKind::NotFound)?;
    let mut file = fs_err::OpenOptions::new().write(true).open(handle.name())?;
    file.write_all(value.as_bytes())
}

fn is_known(path: &HostPath) -> bool {
    let names = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b'/')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let path = names(path.as_bytes());
    KNOWN.iter().any(|known| {
        let known = names(known.as_bytes());
        let same = known
            .iter()
            .zip(&path)
            .all(|(known, name)| known == b"*" || known == name);
        known.len() == path.len() && same
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_changes_no_other_setting() {
        let known = |path| is_known(&HostPath::of(path));
        assert!(known("/proc/sys/kernel/sysrq"));
        assert!(known("/sys/bus/usb/devices/1-1.2/authorized"));
        for other in [
            "/proc/sys/kernel",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/yama/x/y",
            "/sys/bus/usb/devices/1-1/remove",
            "/sys/class/net/eth0/device/flags",
        ] {
            assert!(!known(other), "{other}");
        }
    }
}
