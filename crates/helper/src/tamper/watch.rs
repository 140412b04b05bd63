//! The thread that listens to the sensors, for good.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stockade_controls::tamper::{Says, Watch};
use stockade_host::gpio::{Change, Line, Switch, now};
use stockade_profile::{Level, SwitchName, TamperInput};

use crate::device::Device;

/// Between two looks at what sensors say, whether or not the kernel told of a change.
const LOOK: Duration = Duration::from_millis(250);
/// The same where nothing is watched: a profile may come.
const IDLE: Duration = Duration::from_secs(2);
/// Between two tries at what should follow and failed, and between two looks whether the firewall still isolates.
const AGAIN: Duration = Duration::from_secs(5);
/// The shortest time between two looks: a line that never rests does not take the processor.
const REST: Duration = Duration::from_millis(5);

/// Between two tries to find a sensor that is not there.
const SEEK: Duration = Duration::from_secs(2);

/// A sensor of the profile and, while it can be read, the way to it.
struct Eye {
    input: TamperInput,
    name: String,
    source: Result<Source, String>,
    sought: Duration,
}

enum Source {
    Line(Line),
    Switches(Vec<Switch>),
    Chassis,
}

/// Watches the sensors of the profile that is installed, whichever that is.
pub(crate) fn watch(device: &Arc<Device>) {
    let mut tried = Duration::ZERO;
    loop {
        let section = device.section();
        device.sensors_are(&section);
        let mut believed = Watch::new(section.debounce);
        let root = device.places.root();
        let eyes = section.inputs.iter().map(|input| Eye::of(root, input));
        let mut eyes: Vec<Eye> = eyes.collect();
        while device.section() == section {
            for eye in &mut eyes {
                look(device, eye, &mut believed);
            }
            for (sensor, says) in believed.poll(now()) {
                device.sensed(&sensor, &says, now());
            }
            let again = now().saturating_sub(tried) > AGAIN;
            if again {
                tried = now();
            }
            device.follow_up(again);
            wait(&eyes, &believed);
        }
    }
}

/// Hears what changed since the last look, and what is the case now.
fn look(device: &Device, eye: &mut Eye, believed: &mut Watch) {
    let heard = eye.hear(device.places.root());
    let mut tell = |at, says| {
        for says in believed.handle(&eye.name, at, says) {
            device.sensed(&eye.name, &says, at);
        }
    };
    match heard {
        Ok((changes, open)) => {
            for (at, open) in changes {
                tell(at, said(open));
            }
            tell(now(), said(open));
        }
        Err(why) => tell(now(), Says::Unseen(why)),
    }
}

fn said(open: bool) -> Says {
    if open { Says::Open } else { Says::Closed }
}

/// Until the kernel tells of a change, or it is time to look.
fn wait(eyes: &[Eye], believed: &Watch) {
    let longest = if eyes.is_empty() { IDLE } else { LOOK };
    let next = believed.next().map(|next| next.saturating_sub(now()));
    let longest = next.map_or(longest, |next| next.clamp(REST, longest));
    let told: Vec<BorrowedFd<'_>> = eyes.iter().flat_map(Eye::descriptors).collect();
    let mut told: Vec<PollFd<'_>> = told
        .into_iter()
        .map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN))
        .collect();
    // A signal only makes it look sooner.
    let _heard = poll(&mut told, Timespec::try_from(longest).ok().as_ref());
    std::thread::park_timeout(REST);
}

impl Eye {
    fn of(root: &Path, input: &TamperInput) -> Self {
        Self {
            source: Source::find(root, input),
            name: input.to_string(),
            input: input.clone(),
            sought: now(),
        }
    }

    /// What changed, and whether the sensor says now that the case is open.
    fn hear(&mut self, root: &Path) -> Result<(Vec<Change>, bool), String> {
        if self.source.is_err() && now().saturating_sub(self.sought) > SEEK {
            *self = Self::of(root, &self.input);
        }
        let source = self.source.as_mut().map_err(|why| why.clone())?;
        let (changes, high) = source.hear(root).inspect_err(|why| {
            self.source = Err(why.clone());
        })?;
        let active = match &self.input {
            TamperInput::Gpio { active, .. } | TamperInput::Switch { active, .. } => *active,
            TamperInput::Chassis => Level::High,
        };
        let open = |high| high == (active == Level::High);
        let changes = changes.into_iter().map(|(at, high)| (at, open(high)));
        Ok((changes.collect(), open(high)))
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match &self.source {
            Ok(Source::Line(line)) => vec![line.as_fd()],
            Ok(Source::Switches(switches)) => switches.iter().map(|it| it.as_fd()).collect(),
            Ok(Source::Chassis) | Err(_) => Vec::new(),
        }
    }
}

impl Source {
    fn find(root: &Path, input: &TamperInput) -> Result<Self, String> {
        match input {
            TamperInput::Gpio { line, .. } => {
                let line = Line::hold(&root.join("dev"), line.as_str());
                line.map(Self::Line).map_err(|why| why.to_string())
            }
            TamperInput::Switch { name, .. } => {
                let found = Switch::all(root, code(*name)).map_err(|why| why.to_string())?;
                if found.is_empty() {
                    return Err(format!("no input device has the switch {name}"));
                }
                Ok(Self::Switches(found))
            }
            TamperInput::Chassis => chassis(root).map(|_| Self::Chassis),
        }
    }

    fn hear(&mut self, root: &Path) -> Result<(Vec<Change>, bool), String> {
        match self {
            Self::Line(line) => {
                let heard = line.changes().and_then(|it| Ok((it, line.level()?)));
                heard.map_err(|why| why.to_string())
            }
            Self::Switches(switches) => {
                let (mut changes, mut high) = (Vec::new(), false);
                for switch in switches {
                    let heard = switch.changes().and_then(|it| Ok((it, switch.level()?)));
                    let (its, level) = heard.map_err(|why| why.to_string())?;
                    changes.extend(its);
                    high |= level;
                }
                changes.sort_unstable();
                Ok((changes, high))
            }
            Self::Chassis => Ok((Vec::new(), chassis(root)?)),
        }
    }
}

/// `linux/input-event-codes.h`.
fn code(name: SwitchName) -> u16 {
    match name {
        SwitchName::Lid => 0x00,
        SwitchName::Dock => 0x05,
        SwitchName::CameraLensCover => 0x09,
        SwitchName::KeypadSlide => 0x0a,
        SwitchName::MachineCover => 0x10,
    }
}

/// The alarms of the board's sensors: `intrusionN_alarm` (`Documentation/hwmon/sysfs-interface.rst`).
fn alarms(root: &Path) -> Vec<PathBuf> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let listed = fs_err::read_dir(folder).into_iter().flatten();
        listed.filter_map(|it| Some(it.ok()?.path())).collect()
    };
    let chips = listed(&root.join("sys/class/hwmon"));
    let mut found: Vec<PathBuf> = chips.iter().flat_map(|chip| listed(chip)).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("intrusion") && name.ends_with("_alarm")
    });
    found
}

/// Whether one of them says that the case is, or was, open.
pub(super) fn chassis(root: &Path) -> Result<bool, String> {
    let alarms = alarms(root);
    if alarms.is_empty() {
        return Err("the board has no sensor of its case that the kernel knows".to_owned());
    }
    let mut open = false;
    for path in alarms {
        let says = fs_err::read_to_string(&path).map_err(|why| why.to_string())?;
        open |= says.trim() != "0";
    }
    Ok(open)
}

/// Has the board's sensors forget; one that cannot goes on saying that the case is open.
pub(super) fn reset_chassis(root: &Path) {
    for path in alarms(root) {
        drop(fs_err::write(path, "0"));
    }
}
