//! The ways in and out: USB devices are judged as they come, and what whoever is logged in works with is changed on trial.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stockade_api::helper::{PortsState, Refusal, Refused, UsbSeen, Way, Weight, Which};
use stockade_controls::engine::{Action, HostPath, Plan, Unseen};
use stockade_controls::ports::usb::{Fate, UsbDevice, UsbVerdict, decide};
use stockade_controls::ports::{UsbMemory, ways};
use stockade_host::apply::{Applier, RunState, set};
use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::uevents::{Heard, Uevents};
use stockade_host::usb::{Bus, Held};
use stockade_host::view::Live;
use stockade_host::{console, files};
use stockade_profile::{Profile, UsbMode};

use crate::blocked::Tally;
use crate::device::Device;
use crate::events::By;
use crate::refusal::{failed, refused};
use crate::runner::Errand;

/// How long a change of what is in use is on trial.
const TRIAL: Duration = Duration::from_mins(1);
/// How long it takes until the kernel can be listened to, if it can not be now.
const AGAIN: Duration = Duration::from_mins(1);
/// How often events that were held back are looked at, and settings that a new start took back.
const LOOK: Duration = Duration::from_secs(30);

/// What the helper remembers of the ways in and out.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    memory: Mutex<UsbMemory>,
    /// The settings of plans that are in effect.
    settings: Mutex<BTreeMap<HostPath, String>>,
    trial: Mutex<Option<(Trial, Instant)>>,
}

/// A plan on trial, as it is on disk while nobody said that it may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Trial {
    form: u32,
    /// The number of the plan.
    run: u64,
    /// Only the network is changed: a session with the gateway shows that the device can still be reached.
    network: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Judges what is plugged in, for good.
pub(crate) fn watch(device: &Arc<Device>) {
    let started = Instant::now();
    loop {
        let Err(why) = listen(device, started);
        device.trouble("ports", &format!("what is plugged in is not judged: {why}"));
        device.end_trial_in_time();
        std::thread::park_timeout(AGAIN);
    }
}

fn listen(device: &Arc<Device>, started: Instant) -> Result<Infallible, NetlinkError> {
    let mut uevents = Uevents::open()?;
    device.mended("ports");
    let mut tally = Tally::new(Instant::now());
    let mut note = |(kind, weight, says): (String, Weight, String)| {
        if tally.is_news(&kind, &says, Instant::now()) {
            device.note(weight, By::Helper, "usb", &says);
        }
        for says in tally.due(Instant::now()) {
            device.note(Weight::Note, By::Helper, "usb", &says);
        }
    };
    // What came before this began is judged too.
    device.judge_all().into_iter().for_each(&mut note);
    let mut looked = Instant::now();
    loop {
        // While somebody else is at work, the end of a trial is tried again in a second.
        let wait = |left: Duration| left.clamp(Duration::from_secs(1), LOOK);
        match uevents.next(device.trial_left().map_or(LOOK, wait))? {
            Heard::Event(event) if event.kind == "usb_device" && event.action == "add" => {
                let port = event.path.rsplit('/').next().unwrap_or_default();
                let now = started.elapsed().as_secs();
                let came = device.judge(port, Some(now));
                came.into_iter().for_each(&mut note);
            }
            Heard::Lost => device.judge_all().into_iter().for_each(&mut note),
            Heard::Event(_) | Heard::Nothing => (),
        }
        device.end_trial_in_time();
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            // What was missed, or could not be judged.
            device.judge_all().into_iter().for_each(&mut note);
            device.settings_again();
        }
    }
}

/// What happened to a device: of which kind it is, how much it matters, and a sentence.
type News = (String, Weight, String);

impl Device {
    fn bus(&self) -> Bus {
        Bus::below(self.places.root())
    }

    /// Whether a plan is in effect that has the kernel ask first. Until then nothing is kept out: it may be the owner's keyboard.
    fn asks_first(&self) -> bool {
        let controller = |path: &HostPath| path.name() == b"authorized_default";
        lock(&self.ports.settings).keys().any(controller)
    }

    /// Judges every device that is plugged in.
    pub(crate) fn judge_all(&self) -> Vec<News> {
        let asked = if self.asks_first() {
            self.bus().ask_first()
        } else {
            Ok(())
        };
        let ports = match asked.and_then(|()| self.bus().devices()) {
            Ok(ports) => ports,
            Err(why) => {
                self.trouble("ports", &format!("the USB devices can not be seen: {why}"));
                return Vec::new();
            }
        };
        ports
            .iter()
            .filter_map(|port| self.judge(port, None))
            .collect()
    }

    /// Judges the device at a port, and lets in what may be; `came`: it came at this moment.
    fn judge(&self, port: &str, came: Option<u64>) -> Option<News> {
        let profile = self.profile()?;
        let asks_first = self.asks_first();
        let enforced = asks_first && profile.ports.usb.mode == UsbMode::Enforce;
        let mut name = port.to_owned();
        let mut judged = || -> io::Result<Option<(UsbVerdict, bool)>> {
            // A new controller has a default of its own.
            if asks_first {
                self.bus().ask_first()?;
            }
            let Some(held) = self.bus().hold(port)? else {
                return Ok(None);
            };
            let seen = match held.read() {
                Err(Unseen::Absent) => return Ok(None),
                seen => seen.map_err(io::Error::other)?,
            };
            name = format!("{} at {port}", seen.what());
            let verdict = self.verdict(&profile, &seen, came);
            let changed = if enforced {
                enforce(&held, &seen, &verdict)?
            } else if asks_first && !seen.authorized {
                held.authorize(true)?;
                true
            } else {
                false
            };
            Ok(Some((verdict, changed)))
        };
        match judged() {
            Ok(Some((verdict, changed))) if changed || came.is_some() => {
                Some(news(&name, &verdict, enforced))
            }
            Ok(_) => None,
            Err(why) => {
                let says = format!("The USB device {name} could not be judged: {why}");
                Some((name, Weight::Warning, says))
            }
        }
    }

    /// What becomes of a device: one that lies about itself is kept out whatever the profile says.
    fn verdict(&self, profile: &Profile, device: &UsbDevice, came: Option<u64>) -> UsbVerdict {
        let mut memory = lock(&self.ports.memory);
        let suspicion = match came {
            Some(now) => memory.came(device, now),
            None => memory.lies(device),
        };
        match suspicion {
            Some(why) => UsbVerdict {
                fate: Fate::Denied,
                why,
            },
            None => decide(&profile.ports, device),
        }
    }

    /// The plans that are in effect are these: USB is judged by them.
    pub(crate) fn settings_now(&self, applier: &Applier) {
        let before = self.asks_first();
        *lock(&self.ports.settings) = applier.settings();
        if before && !self.asks_first() {
            self.let_all_in();
        }
        for (_, weight, says) in self.judge_all() {
            self.note(weight, By::Helper, "usb", &says);
        }
    }

    /// Nothing is kept out any more: what came meanwhile is let in, as the kernel would have done.
    fn let_all_in(&self) {
        let bus = self.bus();
        for port in bus.devices().unwrap_or_default() {
            let let_in = bus.hold(&port).and_then(|held| match held {
                Some(held) if held.read().is_ok_and(|it| !it.authorized) => held.authorize(true),
                _ => Ok(()),
            });
            if let Err(why) = let_in {
                self.note(
                    Weight::Warning,
                    By::Helper,
                    "usb",
                    &format!("{port} stays out: {why}"),
                );
            }
        }
    }

    /// Sets a setting of the kernel; what this process has no right to, the part does that has.
    pub(crate) fn set(&self, path: &HostPath, value: &str) -> io::Result<()> {
        match set(path, value) {
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                let errand = Errand::Set(path.clone(), value.to_owned());
                self.hands.run(errand, &mut |_| ()).map(|_| ())
            }
            done => done,
        }
    }

    /// Sets again what a plan had set and the plan of now wants too: a new start of the system took it back, or somebody did.
    pub(crate) fn settings_again(&self) {
        let settings = lock(&self.ports.settings).clone();
        // What is on trial is not looked at: its end may be near.
        if settings.is_empty() || lock(&self.ports.trial).is_some() {
            return;
        }
        let (Ok(_work), Ok(looked)) = (self.work(), self.look(false)) else {
            return;
        };
        let in_use = console::in_use().unwrap_or_default();
        let mut again = false;
        for step in &looked.plan.steps {
            let Action::Setting { path, value } = &step.step.action else {
                continue;
            };
            if settings.get(path) != Some(value) || console::touches(&step.step.action, &in_use) {
                continue;
            }
            let says = match self.set(path, value) {
                Ok(()) => format!("{path} was not {value} any more, and is again"),
                Err(why) => format!("{path} is not {value} any more: {why}"),
            };
            self.note(Weight::Warning, By::Helper, "ports", &says);
            again = true;
        }
        if again {
            self.forget_look();
        }
    }

    /// What there is, and what becomes of it.
    pub(crate) fn ports_state(&self) -> Result<PortsState, Refused> {
        let profile = self.need_profile()?;
        let mut usb = Vec::new();
        for port in self.bus().devices().map_err(|why| failed(&why))? {
            let Some(held) = self.bus().hold(&port).map_err(|why| failed(&why))? else {
                continue;
            };
            let device = match held.read() {
                Err(Unseen::Absent) => continue,
                device => device.map_err(|why| failed(&why))?,
            };
            let verdict = self.verdict(&profile, &device, None);
            usb.push(UsbSeen {
                what: device.what(),
                works: device.authorized,
                allowed: verdict.fate == Fate::Allowed,
                why: verdict.why,
                port,
            });
        }
        let host = Live::in_root(self.places.root()).map_err(|why| failed(&why))?;
        let interfaces = ways::interfaces(&host, &profile.ports).map_err(|why| failed(&why))?;
        let radios = ways::radios(&host, &profile.ports).map_err(|why| failed(&why))?;
        let ways = interfaces.into_iter().chain(radios).map(|way| Way {
            kind: match way.radio {
                Some(radio) => format!("radio ({radio})"),
                None => "network interface".to_owned(),
            },
            name: way.name,
            open: way.open,
            allowed: way.allowed,
        });
        Ok(PortsState {
            enforced: self.asks_first() && profile.ports.usb.mode == UsbMode::Enforce,
            usb,
            ways: ways.collect(),
            trial: self.trial_left().map(|left| left.as_secs()),
        })
    }

    /// What is changed while a plan is on trial has nobody to keep it.
    pub(crate) fn no_trial(&self) -> Result<(), Refused> {
        match &*lock(&self.ports.trial) {
            None => Ok(()),
            Some(_) => Err(refused(
                Refusal::Busy,
                "what was changed last is on trial",
                "keep it with `stockade device ports keep`, or take it back",
            )),
        }
    }

    /// Before a plan is carried out: whether it takes away what somebody works with. It is on trial then, on disk first.
    pub(crate) fn begin_trial(&self, plan: &Plan, applier: &Applier) -> Result<bool, Refused> {
        let in_use: BTreeSet<PathBuf> = console::in_use().map_err(|why| failed(&why))?;
        let actions = plan.steps.iter().map(|planned| &planned.step.action);
        let touched: Vec<&Action> = actions
            .filter(|action| console::touches(action, &in_use))
            .collect();
        if touched.is_empty() {
            return Ok(false);
        }
        let of_network = |action: &&Action| matches!(action, Action::Setting { path, .. } if path.name() == b"flags" || path.name() == b"soft");
        let trial = Trial {
            form: 1,
            run: applier
                .history()
                .last()
                .map_or(1, |run| run.number.saturating_add(1)),
            network: touched.iter().all(of_network),
        };
        files::put_json(&self.trial_file(), &trial).map_err(|why| failed(&why))?;
        *lock(&self.ports.trial) = Some((trial, Instant::now() + TRIAL));
        Ok(true)
    }

    /// The plan is carried out, and its trial runs from now on: what whoever had it done is told.
    pub(crate) fn run_trial(&self) -> String {
        if let Some((_, until)) = &mut *lock(&self.ports.trial) {
            *until = Instant::now() + TRIAL;
        }
        let seconds = TRIAL.as_secs();
        format!(
            "It is on trial, as somebody works with what it takes away: all of it is taken back in {seconds} seconds unless `stockade device ports keep` is run"
        )
    }

    fn trial_left(&self) -> Option<Duration> {
        let trial = lock(&self.ports.trial);
        trial
            .as_ref()
            .map(|(_, until)| until.saturating_duration_since(Instant::now()))
    }

    fn end_trial_in_time(self: &Arc<Self>) {
        if self.trial_left() != Some(Duration::ZERO) {
            return;
        }
        match self.undo(Which::Last, By::Helper, &mut |_| ()) {
            Ok(_) => {
                let says = "Nobody kept what was on trial: it was taken back";
                self.note(Weight::Warning, By::Helper, "ports", says);
            }
            // It is tried again soon.
            Err(why) if why.kind == Refusal::Busy => (),
            Err(why) => {
                let says = format!("what was on trial could not be taken back: {}", why.why);
                self.trouble("ports", &says);
            }
        }
    }

    /// The trial is over: what was changed stays, or is taken back already.
    pub(crate) fn forget_trial(&self) -> Result<(), Refused> {
        match std::fs::remove_file(self.trial_file()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(&why)),
            _ => (),
        }
        *lock(&self.ports.trial) = None;
        Ok(())
    }

    /// What is on trial stays.
    pub(crate) fn keep_ports(&self, by: By) -> Result<(), Refused> {
        // Whoever takes it back now must be done first.
        let _work = self.work()?;
        if lock(&self.ports.trial).is_none() {
            return Err(refused(Refusal::Failed, "nothing is on trial", ""));
        }
        self.forget_trial()?;
        self.note(Weight::Change, by, "ports", "What was on trial stays");
        Ok(())
    }

    /// The gateway was reached: so it is after what changed in the network.
    pub(crate) fn keep_network(&self) -> Result<(), Refused> {
        let network = matches!(&*lock(&self.ports.trial), Some((trial, _)) if trial.network);
        if network {
            self.keep_ports(By::Agent)
        } else {
            Ok(())
        }
    }

    /// Whatever ended the helper during a trial, nobody said that it may stay.
    pub(crate) fn recover_trial(self: &Arc<Self>, applier: &Applier) -> Result<bool, Refused> {
        let trial: Option<Trial> =
            files::read_json(&self.trial_file()).map_err(|why| failed(&why))?;
        let Some(trial) = trial else {
            return Ok(false);
        };
        let history = applier.history();
        let last = history
            .iter()
            .rev()
            .find(|run| run.state == RunState::Applied);
        if last.is_some_and(|run| run.number == trial.run) {
            return Ok(true);
        }
        self.forget_trial()?;
        Ok(false)
    }

    fn trial_file(&self) -> PathBuf {
        self.places.helper_state().join("trial.json")
    }
}

/// Makes the kernel have it so; whether that was a change. A device in use is left to a plan, which is carried out on trial.
fn enforce(held: &Held, device: &UsbDevice, verdict: &UsbVerdict) -> io::Result<bool> {
    match &verdict.fate {
        Fate::Allowed if !device.authorized => held.authorize(true)?,
        Fate::Partly(numbers) if !device.authorized => held.authorize_only(numbers)?,
        Fate::Denied | Fate::Partly(_) if device.authorized => {
            let place = fs_err::canonicalize(held.place()?)?;
            if console::in_use()?.iter().any(|it| it.starts_with(&place)) {
                return Ok(false);
            }
            match &verdict.fate {
                Fate::Partly(numbers) if held.uses_others(numbers)? => {
                    held.authorize_only(numbers)?;
                }
                Fate::Partly(_) => return Ok(false),
                _ => held.authorize(false)?,
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn news(name: &str, verdict: &UsbVerdict, enforced: bool) -> News {
    let would = if enforced { "is" } else { "would be" };
    let (weight, what) = match verdict.fate {
        Fate::Allowed => (Weight::Note, "let in"),
        Fate::Partly(_) => (Weight::Warning, "let in in part"),
        Fate::Denied => (Weight::Warning, "kept out"),
    };
    let says = format!("The USB device {name} {would} {what}: {}", verdict.why);
    (name.to_owned(), weight, says)
}
