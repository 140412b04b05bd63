//! The errands of the part that installs: it has rights, and no network.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use futures_util::StreamExt as _;
use rustix::fs::{FlockOperation, flock};
use stockade_api::Places;
use stockade_api::update::{Errand, Job, Offer, Phase, Slot, SlotState, Standing};
use stockade_controls::engine::UnixSeconds;
use stockade_host::files;

use crate::counter::{Counter, CounterError};
use crate::journal::{Journal, Kept};
use crate::repository::{Checked, Offered, RepositoryError, check, told};
use crate::shelf::Shelf;
use crate::slots::{SlotError, Slots, rauc};
use crate::target::Kind;

/// Why an errand was not done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The slots.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The TPM's counter.
    #[error(transparent)]
    Counter(#[from] CounterError),
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not fit.
    #[error("{0}")]
    Unfit(String),
}

fn unfit(why: impl Into<String>) -> InstallError {
    InstallError::Unfit(why.into())
}

/// What is needed for any errand. While it is there, no other process has the same.
struct Desk<'a> {
    places: &'a Places,
    job: &'a Job,
    kept: Kept,
    journal: Journal,
    counter: Counter,
    slots: Option<Rc<Slots>>,
    _lock: File,
}

/// Does an errand. `doing` hears what is done, as half sentences.
pub fn carry_out(
    places: &Places,
    job: &Job,
    doing: &mut dyn FnMut(String),
) -> Result<Standing, InstallError> {
    let mut desk = Desk::open(places, job)?;
    desk.settle()?;
    let newest = match &job.errand {
        Errand::Settle => None,
        Errand::Look => desk.look(&Shelf::open(&places.spool())?)?,
        Errand::Install { version, bundle } => {
            let shelf = match bundle {
                Some(path) => Shelf::open(Path::new(path))?,
                None => Shelf::open(&places.spool())?,
            };
            Some(desk.install(&shelf, *version, doing)?)
        }
        Errand::Confirm => desk.confirm().map(|()| None)?,
        Errand::Fail { why } => desk.fail(why).map(|()| None)?,
    };
    desk.standing(newest)
}

/// Forgets what stands against older systems: for a device that is set up anew. Root says so, by hand.
pub fn reset(places: &Places) -> Result<(), InstallError> {
    Counter::open(places)?.remove()?;
    match fs_err::remove_dir_all(places.update_state()) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why.into()),
        _ => Ok(()),
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
}

impl<'a> Desk<'a> {
    fn open(places: &'a Places, job: &'a Job) -> Result<Self, InstallError> {
        let folder = places.update_state();
        let kept = Kept::at(&folder)?;
        let lock: File = fs_err::File::create(folder.join("lock"))?.into_parts().0;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| unfit("another update is going on"))?;
        let mut counter = Counter::open(places)?;
        let journal = if let Some(journal) = kept.read()? {
            journal
        } else {
            let journal = Journal {
                counter: counter.begin()?,
                ..Journal::default()
            };
            kept.put(&journal)?;
            journal
        };
        counter.agrees(journal.counter)?;
        let slots = job.slots.as_ref();
        let slots = slots.map(|it| Slots::open(places.root(), it)).transpose()?;
        Ok(Self {
            places,
            job,
            kept,
            journal,
            counter,
            slots: slots.map(Rc::new),
            _lock: lock,
        })
    }

    fn put(&mut self, change: impl FnOnce(&mut Journal)) -> io::Result<()> {
        let mut next = self.journal.clone();
        change(&mut next);
        self.kept.put(&next)?;
        self.journal = next;
        Ok(())
    }

    /// The version that runs: as the system says, or as it was written into its slot.
    fn runs(&self, running: Option<Slot>) -> Option<u64> {
        let said = files::image_version(self.places.root());
        said.and_then(|it| it.parse().ok())
            .or_else(|| self.journal.versions.get(&running?).copied())
    }

    /// Finds out where things stand, and finishes what a power cut left half done.
    fn settle(&mut self) -> Result<(), InstallError> {
        let Some(slots) = self.slots.clone() else {
            return Ok(());
        };
        let seen = slots.look()?;
        match self.journal.phase {
            Phase::Idle => slots.mark_good(seen.running)?,
            // Nothing starts from the half-written slot; the next installation begins anew.
            Phase::Writing { .. } => {
                slots.mark_good(seen.running)?;
                self.put(|it| it.phase = Phase::Idle)?;
            }
            Phase::Ready { version, slot } if seen.running == slot => {
                let said = files::image_version(self.places.root());
                self.put(|it| it.phase = Phase::Trying { version, slot })?;
                if let Some(said) = said.filter(|it| it.parse() != Ok(version)) {
                    self.fail(&format!(
                        "it was signed as version {version}, and says that it is `{said}`"
                    ))?;
                }
            }
            Phase::Ready { slot, .. } if seen.first != slot => slots.start_next(slot)?,
            // It waits for a restart.
            Phase::Ready { slot, .. } if seen.is_good(slot) => (),
            Phase::Trying { slot, .. } if seen.running == slot => (),
            Phase::Ready { version, slot } => {
                slots.mark_bad(slot)?;
                self.returned(version, "it did not start")?;
            }
            Phase::Trying { version, slot } => {
                slots.mark_bad(slot)?;
                self.returned(version, "it did not stay up, or was not healthy in time")?;
            }
        }
        Ok(())
    }

    fn returned(&mut self, version: u64, why: &str) -> io::Result<()> {
        self.put(|it| {
            it.phase = Phase::Idle;
            it.bad.insert(version);
            it.returned = Some((version, why.to_owned()));
        })
    }

    /// The latest time that is known to be over.
    fn now(&self) -> UnixSeconds {
        self.job.now.max(self.journal.seen)
    }

    fn checked(
        &mut self,
        shelf: &Shelf,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Checked, InstallError> {
        let root = self.places.etc().join("update/root.json");
        let (folder, model, now) = (self.places.update_state(), &self.job.model, self.now());
        let checked =
            runtime.block_on(Box::pin(check(shelf.clone(), &folder, &root, model, now)))?;
        // Metadata held good at this time: it is not before it. A clock that is ahead does not stay believed for longer than
        // the metadata holds.
        self.put(|it| it.seen = now)?;
        Ok(checked)
    }

    fn look(&mut self, shelf: &Shelf) -> Result<Option<Offer>, InstallError> {
        let checked = self.checked(shelf, &runtime()?)?;
        let newest = checked.offers.last();
        Ok(newest.map(|it| self.offer(it, &checked.offers)))
    }

    fn offer(&self, one: &Offered, all: &[Offered]) -> Offer {
        let running = self.slots.as_ref().and_then(|it| it.look().ok());
        let runs = self.runs(running.map(|it| it.running)).unwrap_or(0);
        let until = one.system.version;
        let between = all
            .iter()
            .map(|it| &it.system)
            .filter(|it| it.version > runs && it.version <= until);
        Offer {
            version: until,
            name: one.system.name.clone(),
            security: between.clone().any(|it| it.security),
            size: one.size,
        }
    }

    fn install(
        &mut self,
        shelf: &Shelf,
        version: Option<u64>,
        doing: &mut dyn FnMut(String),
    ) -> Result<Offer, InstallError> {
        doing("checking signatures".to_owned());
        let runtime = runtime()?;
        let checked = self.checked(shelf, &runtime)?;
        let offered = self.choose(&checked.offers, version)?;
        let offer = self.offer(&offered, &checked.offers);
        let none = || {
            unfit("this device takes packages only: its profile names no slots for whole systems")
        };
        let slots = self.slots.clone().ok_or_else(none)?;
        let (version, slot) = (offered.system.version, slots.look()?.running.other());
        self.put(|it| {
            it.phase = Phase::Writing { version, slot };
            it.versions.remove(&slot);
        })?;
        slots.mark_bad(slot)?;
        let written = runtime.block_on(Box::pin(write(
            self.places,
            &slots,
            &checked,
            &offered,
            doing,
        )));
        if let Err(why) = written {
            self.put(|it| it.phase = Phase::Idle)?;
            return Err(why);
        }
        self.put(|it| {
            it.phase = Phase::Ready { version, slot };
            it.versions.insert(slot, version);
        })?;
        slots.start_next(slot)?;
        doing(format!(
            "version {version} is in slot {}, and starts next",
            slot.letter()
        ));
        Ok(offer)
    }

    /// The system that is to be installed, if it may be.
    fn choose(&self, offers: &[Offered], version: Option<u64>) -> Result<Offered, InstallError> {
        let slots = self.slots.as_ref();
        let running = slots.map(|it| it.look()).transpose()?.map(|it| it.running);
        if let Phase::Trying { version, .. } = self.journal.phase {
            return Err(unfit(format!(
                "version {version} is on trial: first it stays, or goes"
            )));
        }
        let found = match version {
            Some(wanted) => offers.iter().find(|it| it.system.version == wanted),
            None => offers.last(),
        };
        let model = &self.job.model;
        let found = found.ok_or_else(|| {
            unfit(match version {
                Some(wanted) => format!("there is no version {wanted} for {model}"),
                None => format!("there is nothing for {model}"),
            })
        })?;
        let newest = found.system.version;
        if version.is_none() && self.journal.bad.contains(&newest) {
            return Err(unfit(format!(
                "version {newest} was tried here and did not stay: name it to try it again"
            )));
        }
        let version = found.system.version;
        let runs = self.runs(running);
        if let Some(runs) = runs.filter(|it| *it >= version) {
            return Err(unfit(format!(
                "version {runs} runs: {version} is not newer, and no way leads back"
            )));
        }
        let confirmed = self.journal.confirmed;
        if version < confirmed {
            return Err(unfit(format!(
                "version {confirmed} ran here before: {version} is older, and no way leads back"
            )));
        }
        Ok(found.clone())
    }

    /// The system that runs stays. Each step may be the last one, and is done again then.
    fn confirm(&mut self) -> Result<(), InstallError> {
        let (Phase::Trying { version, slot }, Some(slots)) =
            (self.journal.phase, self.slots.clone())
        else {
            return Err(unfit("no new system is on trial"));
        };
        slots.mark_good(slot)?;
        let next = Counter::next(self.journal.counter);
        self.put(|it| {
            it.phase = Phase::Idle;
            it.confirmed = it.confirmed.max(version);
            it.counter = next;
            it.returned = None;
            it.bad.retain(|bad| *bad > version);
        })?;
        Ok(self.counter.agrees(next)?)
    }

    /// The system that runs does not stay: the other one is started next.
    fn fail(&mut self, why: &str) -> Result<(), InstallError> {
        let (Phase::Trying { version, slot }, Some(slots)) =
            (self.journal.phase, self.slots.clone())
        else {
            return Err(unfit("no new system is on trial"));
        };
        slots.mark_bad(slot)?;
        Ok(self.returned(version, why)?)
    }

    fn standing(&self, newest: Option<Offer>) -> Result<Standing, InstallError> {
        let seen = self.slots.as_ref().map(|it| it.look()).transpose()?;
        let runs = self.runs(seen.map(|it| it.running));
        let slots = seen.map(|seen| {
            Slot::ALL.map(|slot| SlotState {
                slot,
                version: if slot == seen.running {
                    runs
                } else {
                    self.journal.versions.get(&slot).copied()
                },
                running: slot == seen.running,
                good: seen.is_good(slot),
            })
        });
        Ok(Standing {
            runs,
            slots: slots.map(Vec::from).unwrap_or_default(),
            confirmed: self.journal.confirmed,
            phase: self.journal.phase,
            returned: self.journal.returned.clone(),
            newest,
        })
    }
}

/// Writes the system as it is read: that it is the one that was signed is known at its last byte, and nothing starts from
/// the slot before.
async fn write(
    places: &Places,
    slots: &Slots,
    checked: &Checked,
    offered: &Offered,
    doing: &mut dyn FnMut(String),
) -> Result<(), InstallError> {
    let size = offered.size;
    let slot = slots.look()?.running.other();
    let stream = checked
        .repository
        .read_target(&offered.target)
        .await
        .map_err(told)?;
    let missing = || RepositoryError::Missing(offered.target.raw().to_owned());
    let mut stream = pin!(stream.ok_or_else(missing)?);
    let mut to = match (slots, offered.system.kind) {
        (Slots::Uboot(uboot), Kind::Image) => To::Device(uboot.writer(slot, size)?),
        (Slots::Rauc, Kind::Rauc) => To::Bundle(Bundle::begin(places)?),
        (_, kind) => {
            return Err(unfit(format!(
                "a system of kind `{kind}` does not fit this device's kind of slots"
            )));
        }
    };
    let mut digest = Digest::new(&SHA256);
    let (mut written, mut told_of) = (0_u64, 0);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(told)?;
        digest.update(&piece);
        to.write(&piece)?;
        written = written.saturating_add(piece.len() as u64);
        let percent = written.saturating_mul(100) / size.max(1);
        if percent >= told_of + 5 {
            told_of = percent;
            doing(format!("writing slot {}: {percent} %", slot.letter()));
        }
    }
    if written != size {
        return Err(unfit(format!(
            "the system is cut short: {written} bytes of {size}"
        )));
    }
    match to {
        To::Device(writer) => {
            doing("reading it back".to_owned());
            Ok(writer.finish(size, digest.finish().as_ref())?)
        }
        To::Bundle(bundle) => {
            doing("RAUC installs it".to_owned());
            bundle.file.sync_all()?;
            let installed = rauc::install(&bundle.path);
            fs_err::remove_file(&bundle.path)?;
            Ok(installed?)
        }
    }
}

/// Where a system is written to.
enum To {
    Device(crate::slots::Writer),
    Bundle(Bundle),
}

/// A copy that nobody else can change, for RAUC.
struct Bundle {
    path: PathBuf,
    file: fs_err::File,
}

impl Bundle {
    fn begin(places: &Places) -> io::Result<Self> {
        let path = places.update_state().join("bundle.raucb");
        let file = fs_err::File::create(&path)?;
        Ok(Self { path, file })
    }
}

impl To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Device(writer) => writer.write(bytes),
            Self::Bundle(bundle) => io::Write::write_all(&mut bundle.file, bytes),
        }
    }
}
