//! What the helper knows of the device, and what it remembers.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use stockade_api::events::Came;
use stockade_api::helper::{Refusal, Refused, Weight};
use stockade_api::{Places, Settings};
use stockade_controls::engine::UnixSeconds;
use stockade_host::upnp::Mapped;
use stockade_profile::{Profile, VerifyingKey};

use crate::events::{By, Events};
use crate::launcher::Hands;
use crate::look::Looked;
use crate::password::Keeper;
use crate::refusal::{failed, refused};
use crate::tamper::Case;
use crate::{Arguments, clock, files, mac};

/// How long somebody waits for a change that another is making.
const MOMENT: Duration = Duration::from_secs(3);
/// How long somebody waits for an event that cannot wait.
const URGENT: Duration = Duration::from_secs(20);
/// The most keys that may sign.
const MOST_KEYS: usize = 16;

/// Numbers that must never go back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Numbers {
    form: u32,
    /// The last command.
    pub(crate) command: u64,
    /// The last evidence.
    pub(crate) evidence: u64,
    /// A time that is over for sure.
    pub(crate) seen: UnixSeconds,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) places: Places,
    pub(crate) arguments: Arguments,
    pub(crate) settings: Settings,
    pub(crate) hands: Hands,
    /// Held by whatever changes the system; nothing else waits for it.
    work: Mutex<()>,
    profile: Mutex<Option<Arc<Profile>>>,
    keeper: Mutex<Keeper>,
    events: Mutex<Events>,
    numbers: Mutex<Numbers>,
    pub(crate) looked: Mutex<Option<Arc<Looked>>>,
    /// What was looked at is not so any more.
    pub(crate) changed: AtomicBool,
    pub(crate) learnt: mac::Held,
    troubles: Mutex<BTreeSet<String>>,
    /// The mappings that were noted, while `UPnP` is on.
    window: Mutex<Option<BTreeSet<Mapped>>>,
    pub(crate) ports: crate::ports::Keeper,
    pub(crate) going: crate::update::Keeper,
    case: Mutex<Case>,
    /// The number of the last event that cannot wait.
    urgent: (Mutex<u64>, Condvar),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// Reads what root said and what was remembered. A profile whose signature does not hold any more is none.
    pub(crate) fn open(
        places: Places,
        arguments: &Arguments,
        hands: Hands,
    ) -> anyhow::Result<Self> {
        let path = places.settings();
        let text = fs_err::read_to_string(&path)?;
        let settings = Settings::parse(&text).with_context(|| path.display().to_string())?;
        let folder = places.helper_state();
        files::private_directory(&folder)?;
        let keeper = Keeper::open(&folder)?;
        let events = Events::open(&folder)?;
        let numbers = files::read_json(&folder.join("numbers.json"))?.unwrap_or_default();
        let device = Self {
            places,
            arguments: arguments.clone(),
            settings,
            hands,
            work: Mutex::new(()),
            profile: Mutex::new(None),
            keeper: Mutex::new(keeper),
            events: Mutex::new(events),
            numbers: Mutex::new(numbers),
            looked: Mutex::new(None),
            changed: AtomicBool::new(false),
            learnt: mac::Held::default(),
            troubles: Mutex::new(BTreeSet::new()),
            window: Mutex::new(None),
            case: Mutex::new(Case::open(&folder)?),
            urgent: Default::default(),
            going: crate::update::Keeper::default(),
            ports: crate::ports::Keeper::default(),
        };
        device.load_profile();
        Ok(device)
    }

    /// Brings the device back to a known state after whatever ended the helper before.
    pub(crate) fn recover(self: &Arc<Self>) {
        self.recover_learnt();
        if let Err(why) = self.recover_plan() {
            self.trouble("plan", &why.why);
        }
        if let Err(why) = self.recover_upnp() {
            self.trouble("upnp", &why.why);
        }
        if let Err(why) = self.settle_firewall() {
            self.trouble("firewall", &why.why);
        }
        self.follow_up(true);
        self.note(
            Weight::Note,
            By::Helper,
            "started",
            "The helper has started",
        );
    }

    /// The keys that may sign profiles and commands: those that root put there.
    pub(crate) fn trusted(&self) -> Result<Vec<VerifyingKey>, Refused> {
        let read = || -> io::Result<Vec<VerifyingKey>> {
            let mut keys = Vec::new();
            for entry in fs_err::read_dir(self.places.trust())?.take(MOST_KEYS) {
                let path = entry?.path();
                if path.extension().is_none_or(|it| it != "pub") {
                    continue;
                }
                let text = fs_err::read_to_string(&path)?;
                let key = VerifyingKey::from_pem(&text);
                keys.push(
                    key.map_err(|why| io::Error::other(format!("{}: {why}", path.display())))?,
                );
            }
            Ok(keys)
        };
        read().map_err(|why| failed(&why))
    }

    pub(crate) fn profile(&self) -> Option<Arc<Profile>> {
        lock(&self.profile).clone()
    }

    /// The profile, which most requests need.
    pub(crate) fn need_profile(&self) -> Result<Arc<Profile>, Refused> {
        self.profile().ok_or_else(|| {
            // Not `Refusal::Profile`: that is for what a profile forbids, and is noted.
            refused(
                Refusal::Failed,
                "this device has no profile yet",
                "it comes from the gateway: see whether the agent reaches it",
            )
        })
    }

    pub(crate) fn set_profile(&self, profile: Profile) {
        *lock(&self.profile) = Some(Arc::new(profile));
        self.forget_look();
        self.judge_all();
    }

    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        lock(&self.keeper)
    }

    pub(crate) fn window(&self) -> MutexGuard<'_, Option<BTreeSet<Mapped>>> {
        lock(&self.window)
    }

    pub(crate) fn case(&self) -> MutexGuard<'_, Case> {
        lock(&self.case)
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Events> {
        lock(&self.events)
    }

    /// The right to change the system, for one at a time. What takes a moment is waited for: at the start of a session the agent
    /// says that it is connected, and hands over commands.
    pub(crate) fn work(&self) -> Result<MutexGuard<'_, ()>, Refused> {
        let until = Instant::now() + MOMENT;
        loop {
            match self.work.try_lock() {
                Ok(held) => return Ok(held),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(MOMENT / 100);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(refused(
                        Refusal::Busy,
                        "something else is being changed on this device",
                        "try again when it is done",
                    ));
                }
            }
        }
    }

    pub(crate) fn numbers(&self) -> Numbers {
        lock(&self.numbers).clone()
    }

    /// Changes the numbers: on disk first, so that nothing is done twice whatever dies.
    pub(crate) fn count<T>(
        &self,
        change: impl FnOnce(&mut Numbers) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut held = lock(&self.numbers);
        let mut next = held.clone();
        next.form = 1;
        let came = change(&mut next)?;
        let path = self.places.helper_state().join("numbers.json");
        files::put_json(&path, &next).map_err(|why| failed(&why))?;
        *held = next;
        Ok(came)
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        clock::now(lock(&self.numbers).seen)
    }

    pub(crate) fn note(&self, weight: Weight, by: By, kind: &str, says: &str) {
        let now = self.now();
        self.events().note(now, weight, by, kind, says);
    }

    /// Notes what came of something that the gateway sent.
    pub(crate) fn note_came(&self, came: &Came, by: By) {
        self.note(came.weight(), by, came.kind(), &came.sentence());
    }

    /// Notes an event that cannot wait, and wakes who waits for one.
    pub(crate) fn alarm(&self, kind: &str, says: &str) {
        self.note(Weight::Warning, By::Helper, kind, says);
        *lock(&self.urgent.0) = self.events().last();
        self.urgent.1.notify_all();
    }

    /// Waits until an event that cannot wait comes after this one, for a while; whether one came.
    pub(crate) fn wait_for_urgent(&self, after: u64) -> bool {
        let (number, news) = &self.urgent;
        let waited = news.wait_timeout_while(lock(number), URGENT, |last| *last <= after);
        let (last, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *last > after
    }

    /// Something that lasts and that somebody should mend: in the status, and once in the log.
    pub(crate) fn trouble(&self, what: &str, says: &str) {
        let mut troubles = lock(&self.troubles);
        if troubles.insert(format!("{what}: {says}")) {
            drop(troubles);
            self.note(Weight::Warning, By::Helper, what, says);
        }
    }

    /// What is no trouble any more.
    pub(crate) fn mended(&self, what: &str) {
        let of = format!("{what}: ");
        lock(&self.troubles).retain(|it| !it.starts_with(&of));
    }

    pub(crate) fn troubles(&self) -> Vec<String> {
        lock(&self.troubles).iter().cloned().collect()
    }
}
