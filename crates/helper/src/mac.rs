//! Mandatory access control: what is learnt of services from the kernel's log, policies loaded by the runner, attempts from inside.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stockade_api::helper::Weight;
use stockade_controls::engine::{Framework, Host};
use stockade_controls::mac::{Attempt, Known, MOST, Need, domain, enforced, labels};
use stockade_host::apply::Policies;
use stockade_host::mac::heard::Log;
use stockade_profile::{Profile, ServiceName};

use crate::device::Device;
use crate::events::By;
use crate::files;
use crate::runner::{Came, Errand};

/// What came of attempts is believed for this long: each leaves lines in the kernel's log.
const BELIEVED: Duration = Duration::from_hours(1);
/// How often what is learnt is written to disk at most.
const WRITTEN: Duration = Duration::from_secs(2);
/// The most policies that are learnt for.
const MOST_POLICIES: usize = 64;

type Needs = BTreeMap<String, BTreeSet<Need>>;
type Tried = Result<Vec<Attempt>, String>;

/// What is learnt.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    needs: Needs,
    /// When it was written last, if not all of it is.
    unwritten: Option<Instant>,
    /// Whether nothing can be learnt.
    deaf: bool,
    tried: BTreeMap<(Framework, String), (Instant, Tried)>,
}

impl Device {
    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the services that the profile wants confined; nothing if it can not be known.
    pub(crate) fn known_of_mac(&self, host: &dyn Host, profile: &Profile) -> Option<Known> {
        let mut known = Known::default();
        if profile.mac.is_none() {
            return Some(known);
        }
        {
            let mut learnt = self.learnt();
            self.write_learnt(&mut learnt, Duration::ZERO);
            known.learnt = (!learnt.deaf).then(|| learnt.needs.clone());
        }
        let labels = labels(host, profile);
        if !labels.is_empty() {
            let Ok(Came::Permissive(found)) =
                self.hands.run(Errand::Permissive(labels), &mut |_| ())
            else {
                return None;
            };
            known.permissive = found.iter().filter_map(|it| domain(it)).collect();
        }
        for subject in enforced(host, profile, &known.permissive) {
            let tried = self.tried(&subject);
            known.attempts.insert(subject.1, tried);
        }
        Some(known)
    }

    fn tried(&self, subject: &(Framework, String)) -> Tried {
        if let Some((at, tried)) = self.learnt().tried.get(subject)
            && at.elapsed() < BELIEVED
        {
            return tried.clone();
        }
        let (framework, label) = subject.clone();
        let tried = match self
            .hands
            .run(Errand::Attempt(framework, label), &mut |_| ())
        {
            Ok(Came::Attempts(attempts)) => Ok(attempts),
            Ok(other) => Err(format!("an answer that makes no sense: {other:?}")),
            Err(why) => Err(why.to_string()),
        };
        let mut learnt = self.learnt();
        if tried.is_ok() {
            learnt.tried.retain(|_, (at, _)| at.elapsed() < BELIEVED);
            let now = (Instant::now(), tried.clone());
            learnt.tried.insert(subject.clone(), now);
        }
        tried
    }

    /// What was learnt before the helper ended.
    pub(crate) fn recover_learnt(&self) {
        match files::read_json::<Needs>(&self.places.helper_state().join("mac.json")) {
            Ok(needs) => self.learnt().needs = needs.unwrap_or_default(),
            Err(why) => self.trouble(
                "mac",
                &format!("what was learnt of services is lost: {why}"),
            ),
        }
    }

    fn write_learnt(&self, learnt: &mut Learnt, most: Duration) {
        if learnt.unwritten.is_none_or(|at| at.elapsed() < most) {
            return;
        }
        let path = self.places.helper_state().join("mac.json");
        match files::put_json(&path, &learnt.needs) {
            Ok(()) => learnt.unwritten = None,
            Err(why) => self.trouble("mac", &why.to_string()),
        }
    }
}

/// Learns for good, of every service that has a policy of ours.
pub(crate) fn learn(device: &Arc<Device>) {
    let Err(why) = listen(device);
    // What has no such log has no policies either, most of the time: it is told where policies are wanted.
    device.learnt().deaf = true;
    if device.profile().is_some_and(|it| it.mac.is_some()) {
        device.trouble("mac", &format!("the kernel's log is not heard: {why}"));
    }
}

fn listen(device: &Arc<Device>) -> io::Result<Infallible> {
    let log = Log::open()?;
    loop {
        let Some(heard) = log.wait()? else {
            let says =
                "The kernel's log came too fast: something that a service did was not learnt";
            device.note(Weight::Warning, By::Helper, "mac", says);
            continue;
        };
        let ours = ["stockade.", "stockade_"]
            .iter()
            .any(|it| heard.policy.starts_with(it));
        if !heard.allowed || !ours || heard.needs.is_empty() {
            continue;
        }
        let mut learnt = device.learnt();
        if learnt.needs.len() >= MOST_POLICIES && !learnt.needs.contains_key(&heard.policy) {
            continue;
        }
        let known = learnt.needs.entry(heard.policy).or_default();
        let before = known.len();
        // One more than fits: whoever makes the policy sees that it is too much.
        let room = MOST.saturating_add(1).saturating_sub(before);
        known.extend(heard.needs.into_iter().take(room));
        if known.len() > before {
            learnt.unwritten.get_or_insert_with(Instant::now);
            device.write_learnt(&mut learnt, WRITTEN);
        }
    }
}

/// Loads and unloads policies by the runner.
pub(crate) struct Loader(pub(crate) Arc<Device>);

impl Loader {
    fn ask(&self, errand: Errand) -> Result<(), String> {
        // Whatever was tried was tried under another policy.
        self.0.learnt().tried.clear();
        let came = self.0.hands.run(errand, &mut |_| ());
        came.map(drop).map_err(|why| why.to_string())
    }
}

impl Policies for Loader {
    fn load(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String> {
        self.ask(Errand::LoadPolicy(framework, service.clone()))
    }

    fn unload(&mut self, framework: Framework, service: &ServiceName) -> Result<(), String> {
        self.ask(Errand::UnloadPolicy(framework, service.clone()))
    }
}

/// What [`Device`] holds of it.
pub(crate) type Held = Mutex<Learnt>;
