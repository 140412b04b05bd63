//! Updates of the whole system: looked for in time, installed when somebody says so, kept if the new system is healthy.
//!
//! A user without rights fetches; a part without a network judges and installs (`stockade-update`, which the runner starts). Here
//! is what is asked of both, when, and what is remembered of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stockade_api::helper::{Answer, Refusal, Refused, UpdateRequest, UpdateStatus, Weight};
use stockade_api::update::{Errand, Job, Offer, Phase, Slots, Standing};
use stockade_controls::engine::{Host as _, Transport, UnixSeconds};
use stockade_controls::services;
use stockade_controls::updates::{Looked, Offered, Returned, Slot, State, Trial};
use stockade_host::view::Live;
use stockade_profile::{self as profile, Updates};

use crate::device::Device;
use crate::events::By;
use crate::refusal::{failed, refused};
use crate::runner::{self, Came};
use crate::{files, launcher};

/// How often what goes on is looked at.
const BEAT: Duration = Duration::from_secs(5);
/// The longest that a fetch may take.
const FETCH: Duration = Duration::from_hours(12);
/// After a look that failed the next one waits so long.
const AGAIN: u64 = 60 * 60;
/// A new system is healthy for so long before it stays.
const STEADY: Duration = Duration::from_secs(20);

/// What goes on.
#[derive(Debug, Default)]
pub(crate) struct Going {
    doing: Option<String>,
    failed: Option<String>,
    /// No look by ourselves before this time.
    not_before: UnixSeconds,
    /// Since when the new system is healthy.
    healthy: Option<Instant>,
    /// The gateway was reached since the start of this program.
    reached: bool,
    /// It is known where things stand.
    settled: bool,
}

/// What goes on, for whoever asks and whoever does it.
pub(crate) type Keeper = Mutex<Going>;

fn lock(keeper: &Keeper) -> MutexGuard<'_, Going> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks after updates, for good.
pub(crate) fn watch(device: &Arc<Device>) {
    loop {
        device.beat();
        std::thread::park_timeout(BEAT);
    }
}

impl Device {
    fn updates(&self) -> Result<Updates, Refused> {
        let updates = self.need_profile()?.updates.clone();
        let none = || {
            let why =
                "the profile names no slots for whole systems: packages are updated by other means";
            refused(Refusal::Profile, why, "")
        };
        updates.filter(|it| it.slots.is_some()).ok_or_else(none)
    }

    /// Begins what is asked for; it goes on after the answer.
    pub(crate) fn update(self: &Arc<Self>, what: UpdateRequest, by: By) -> Result<Answer, Refused> {
        self.updates()?;
        if matches!(what, UpdateRequest::Bundle { .. }) && by != By::Root {
            return Err(refused(
                Refusal::Forbidden,
                "only root may name a bundle",
                "",
            ));
        }
        self.begin(what, by)?;
        Ok(Answer::Done)
    }

    fn begin(self: &Arc<Self>, what: UpdateRequest, by: By) -> Result<(), Refused> {
        {
            let mut going = lock(&self.going);
            if let Some(doing) = &going.doing {
                let why = format!("an update is going on already: {doing}");
                return Err(refused(Refusal::Busy, why, "try again when it is done"));
            }
            going.doing = Some("beginning".to_owned());
            going.failed = None;
        }
        let device = Arc::clone(self);
        let started = std::thread::Builder::new().spawn(move || {
            let done = device.carry_out(&what, by);
            let mut going = lock(&device.going);
            going.doing = None;
            going.failed = done.as_ref().err().map(|why| why.why.clone());
            drop(going);
            // A look of ours that failed is in the state: a source may be away for days.
            if let Err(why) = done
                && by != By::Helper
            {
                device.note(Weight::Warning, by, "update-failed", &why.why);
            }
        });
        if started.is_err() {
            lock(&self.going).doing = None;
        }
        started.map(|_| ()).map_err(|why| failed(&why))
    }

    fn doing(&self, what: &str) {
        lock(&self.going).doing = Some(what.to_owned());
    }

    fn carry_out(&self, what: &UpdateRequest, by: By) -> Result<(), Refused> {
        let updates = self.updates()?;
        let source = updates.source.to_string();
        match what {
            UpdateRequest::Look => {
                let looked = self.fetch(&source, &[]).and_then(|()| {
                    self.doing("judging what was fetched");
                    self.errand(Errand::Look)
                });
                self.remember(|state| match &looked {
                    Ok(standing) => self.saw(state, standing, &source),
                    Err(why) => state.failing = Some(why.why.clone()),
                })?;
                looked.map(|_| ())
            }
            UpdateRequest::Install { version } => {
                let wanted = version.map_or_else(
                    || vec!["--newest".to_owned()],
                    |it| vec!["--version".to_owned(), it.to_string()],
                );
                self.fetch(&source, &wanted)?;
                let version = *version;
                self.install(
                    Errand::Install {
                        version,
                        bundle: None,
                    },
                    &source,
                    by,
                )
            }
            UpdateRequest::Bundle { path } => {
                let bundle = Some(path.clone());
                self.install(
                    Errand::Install {
                        version: None,
                        bundle,
                    },
                    path,
                    by,
                )
            }
            UpdateRequest::Confirm => self.confirm(by),
        }
    }

    fn install(&self, errand: Errand, source: &str, by: By) -> Result<(), Refused> {
        let _work = self.work()?;
        let standing = self.errand(errand)?;
        self.remember(|state| self.saw(state, &standing, source))?;
        let Phase::Ready { version, slot } = standing.phase else {
            return Err(refused(Refusal::Failed, "nothing was installed", ""));
        };
        let says = format!(
            "Version {version} is in slot {}: the device starts again to try it",
            slot.letter()
        );
        self.note(Weight::Change, by, "update-installed", &says);
        self.restart()
    }

    fn restart(&self) -> Result<(), Refused> {
        if self.places.root() != std::path::Path::new("/") {
            // Another root than this system's is started by somebody else.
            return Ok(());
        }
        self.doing("starting again");
        let ran = self.hands.run(runner::Errand::Restart, &mut |_| ());
        ran.map(|_| ()).map_err(|why| failed(&why))
    }

    fn confirm(&self, by: By) -> Result<(), Refused> {
        let standing = self.errand(Errand::Confirm)?;
        let version = standing.confirmed;
        self.remember(|_| ())?;
        let says = format!("Version {version} is healthy, and stays");
        self.note(Weight::Change, by, "update-kept", &says);
        Ok(())
    }

    /// Has it fetched by the user that may do nothing else.
    fn fetch(&self, source: &str, more: &[String]) -> Result<(), Refused> {
        self.doing("fetching");
        let mut arguments = vec![
            "fetch".to_owned(),
            "--root".to_owned(),
            self.places.root().display().to_string(),
            "--source".to_owned(),
            source.to_owned(),
            "--model".to_owned(),
            self.settings.model.clone(),
        ];
        arguments.extend_from_slice(more);
        self.hands.fetch(arguments).map_err(|why| failed(&why))?;
        let until = Instant::now() + FETCH;
        loop {
            std::thread::park_timeout(BEAT / 10);
            match self.hands.fetched().map_err(|why| failed(&why))? {
                launcher::Fetch::Going if Instant::now() < until => (),
                launcher::Fetch::Done => return Ok(()),
                launcher::Fetch::Going => {
                    let why = "what was to be fetched did not come in half a day";
                    return Err(refused(Refusal::Failed, why, ""));
                }
                launcher::Fetch::Failed => {
                    // Its own words, from where it may write: shown, and no more.
                    let said = files::read(&self.places.spool().join("failed"));
                    let said = said.ok().flatten().unwrap_or_default();
                    let said: String = String::from_utf8_lossy(&said)
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(400)
                        .collect();
                    return Err(refused(
                        Refusal::Failed,
                        format!("nothing was fetched: {said}"),
                        "",
                    ));
                }
            }
        }
    }

    /// Has the part without a network do something, and remembers how things stand then.
    fn errand(&self, errand: Errand) -> Result<Standing, Refused> {
        let updates = self.updates()?;
        let job = Job {
            errand,
            model: self.settings.model.clone(),
            slots: updates.slots.as_ref().map(|slots| match slots {
                profile::Slots::Rauc => Slots::Rauc,
                profile::Slots::UbootEnv { a, b } => Slots::UbootEnv {
                    a: a.to_string(),
                    b: b.to_string(),
                },
            }),
            now: self.now(),
        };
        let root = self.places.root().display().to_string();
        let errand = runner::Errand::Update(root, job);
        let came = self.hands.run(errand, &mut |line| self.doing(line));
        match came.map_err(|why| failed(&why))? {
            Came::Update(standing) => {
                self.remember(|state| self.stands(state, &standing))?;
                Ok(*standing)
            }
            _ => Err(refused(
                Refusal::Failed,
                "the runner answered something else",
                "",
            )),
        }
    }

    pub(crate) fn update_state(&self) -> State {
        let read = files::read_json(&self.places.helper_state().join("updates.json"));
        read.ok().flatten().unwrap_or_default()
    }

    fn remember(&self, change: impl FnOnce(&mut State)) -> Result<(), Refused> {
        let mut state = self.update_state();
        change(&mut state);
        let path = self.places.helper_state().join("updates.json");
        files::put_json(&path, &state).map_err(|why| failed(&why))
    }

    /// What a look found.
    fn saw(&self, state: &mut State, standing: &Standing, source: &str) {
        let at = self.now();
        state.looked = Some(Looked {
            at,
            source: source.to_owned(),
        });
        state.failing = None;
        let runs = standing.runs.unwrap_or(0);
        let newest = standing.newest.as_ref().filter(|it| it.version > runs);
        state.offered = newest.map(|it| offered(state.offered.as_ref(), it, at));
    }

    /// How the slots stand.
    fn stands(&self, state: &mut State, standing: &Standing) {
        let now = self.now();
        state.running = standing.runs;
        let slots = standing.slots.iter().map(|it| Slot {
            name: it.slot.letter().to_lowercase(),
            version: it.version,
            running: it.running,
            good: it.good,
        });
        state.slots = slots.collect();
        state.trial = match standing.phase {
            Phase::Ready { version, .. } => Some(Trial {
                version,
                until: None,
            }),
            Phase::Trying { version, .. } => {
                let left = self
                    .updates()
                    .map_or(Duration::ZERO, |it| left(it.health.within));
                let until = Some(now.saturating_add(left.as_secs()));
                Some(Trial { version, until })
            }
            Phase::Idle | Phase::Writing { .. } => None,
        };
        let known = state.returned.take();
        state.returned = standing.returned.as_ref().map(|(version, why)| {
            let at = known
                .as_ref()
                .filter(|it| it.version == *version)
                .map_or(now, |it| it.at);
            Returned {
                version: *version,
                at,
                why: why.clone(),
            }
        });
        let runs = standing.runs.unwrap_or(0);
        state.offered = state.offered.take().filter(|it| it.version > runs);
    }

    /// Finds out where things stand, after what may have been a start of the system.
    fn settle_updates(&self) -> Result<(), Refused> {
        let before = self.update_state().returned;
        self.errand(Errand::Settle)?;
        lock(&self.going).settled = true;
        self.mended("updates-slots");
        if let Some(returned) = self
            .update_state()
            .returned
            .filter(|it| Some(it) != before.as_ref())
        {
            let says = format!(
                "The device came back from version {}: {}",
                returned.version, returned.why
            );
            self.note(Weight::Warning, By::Helper, "update-returned", &says);
        }
        Ok(())
    }

    /// The gateway was reached.
    pub(crate) fn update_reached(&self) {
        lock(&self.going).reached = true;
    }

    fn beat(self: &Arc<Self>) {
        let Ok(updates) = self.updates() else {
            return;
        };
        let settled = lock(&self.going).settled;
        if !settled && let Err(why) = self.settle_updates() {
            self.trouble("updates-slots", &why.why);
            return;
        }
        let state = self.update_state();
        if state.trial.as_ref().is_some_and(|it| it.until.is_some()) {
            match self.try_out(&updates) {
                Ok(()) => self.mended("update-trial"),
                Err(why) => self.trouble("update-trial", &why.why),
            }
            return;
        }
        let now = self.now();
        if now < lock(&self.going).not_before {
            return;
        }
        // The sources of many devices are not asked by all of them at once.
        let often = updates.max_age.as_secs() / 4;
        let spread = spread(&self.settings.device, often / 4);
        let due = state
            .looked
            .map_or(0, |it| it.at.saturating_add(often).saturating_sub(spread));
        if now >= due {
            lock(&self.going).not_before = now.saturating_add(AGAIN);
            // Somebody else's errand is a look too.
            drop(self.begin(UpdateRequest::Look, By::Helper));
        }
    }

    /// A new system runs: it stays once it is healthy for a while, and goes if it is not in time.
    fn try_out(&self, updates: &Updates) -> Result<(), Refused> {
        let sick = self.sick(&updates.health).err();
        let steady = {
            let mut going = lock(&self.going);
            going.healthy = match sick {
                None => going.healthy.or_else(|| Some(Instant::now())),
                Some(_) => None,
            };
            going
                .healthy
                .is_some_and(|since| since.elapsed() >= STEADY.min(updates.health.within / 2))
        };
        if steady {
            return self.confirm(By::Helper);
        }
        let Some(why) = sick.filter(|_| left(updates.health.within).is_zero()) else {
            return Ok(());
        };
        let says = format!("The new system is not healthy ({why}): the old one comes back");
        self.note(Weight::Warning, By::Helper, "update-failed", &says);
        self.errand(Errand::Fail { why })?;
        self.restart()
    }

    /// What is wrong with the system that runs, as half a sentence.
    fn sick(&self, health: &profile::Health) -> Result<(), String> {
        if health.gateway && !lock(&self.going).reached {
            return Err("the gateway was not reached".to_owned());
        }
        let host = Live::in_root(self.places.root()).map_err(|why| why.to_string())?;
        if !health.services.is_empty() {
            let all = services::list(&host).map_err(|why| why.to_string())?;
            for wanted in &health.services {
                let runs = |it: &services::Service| {
                    it.name == wanted.as_str()
                        && it.processes.as_ref().is_some_and(|it| !it.is_empty())
                };
                if !all.iter().any(runs) {
                    return Err(format!("`{wanted}` does not run"));
                }
            }
        }
        for port in &health.tcp {
            let listeners = host.listeners().map_err(|why| why.to_string())?;
            let takes = |it: &stockade_controls::engine::Listener| {
                it.transport == Transport::Tcp && it.address.port() == port.get()
            };
            if !listeners.iter().any(takes) {
                return Err(format!("nothing takes connections on port {port}"));
            }
        }
        Ok(())
    }

    pub(crate) fn update_status(&self) -> Option<UpdateStatus> {
        self.profile()?.updates.as_ref()?;
        let going = lock(&self.going);
        Some(UpdateStatus {
            state: self.update_state(),
            doing: going.doing.clone(),
            failed: going.failed.clone(),
        })
    }
}

/// What is offered now; what was offered before keeps its time.
fn offered(before: Option<&Offered>, now: &Offer, at: UnixSeconds) -> Offered {
    let kept = before.filter(|it| it.security || !now.security);
    Offered {
        version: now.version,
        name: now.name.clone(),
        security: now.security,
        since: kept.map_or(at, |it| it.since.min(at)),
    }
}

/// What is left of this time since the system started.
fn left(within: Duration) -> Duration {
    // proc_uptime(5). What can not be told leaves no time: the old system is the one that is known.
    let text = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split('.').next().and_then(|it| it.parse().ok());
    within.saturating_sub(up.map_or(Duration::MAX, Duration::from_secs))
}

/// A part of the time that differs from device to device, and stays the same on one.
fn spread(device: &str, most: u64) -> u64 {
    let sum = device.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    sum.checked_rem(most).unwrap_or(0)
}

/// The program that fetches and installs: it lies beside this one.
pub(crate) fn program() -> io::Result<std::path::PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("stockade-update"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_keeps_its_time_until_it_is_of_security() {
        let offer = |version, security| Offer {
            version,
            name: None,
            security,
            size: 1,
        };
        let first = offered(None, &offer(2, false), 100);
        assert_eq!(first.since, 100);
        let second = offered(Some(&first), &offer(3, false), 200);
        assert_eq!((second.version, second.since), (3, 100));
        let third = offered(Some(&second), &offer(4, true), 300);
        assert_eq!((third.security, third.since), (true, 300));
        assert_eq!(offered(Some(&third), &offer(5, true), 400).since, 300);
    }
}
