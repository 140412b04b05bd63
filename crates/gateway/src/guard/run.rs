//! The guard's process: one loop in which everything that can happen is told to the core, and what the core says is done.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stockade_host::capture::CaptureError;
use stockade_host::chain;
use stockade_host::dns::Event;
use stockade_host::fetch::{FetchError, Fetcher};
use stockade_host::surroundings::system_resolvers;
use stockade_profile::{HttpsUrl, LinkAddress};
use stockade_store::{DataDir, DataDirError, Sqlite, StoreError};
use time::OffsetDateTime;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::blocked;
use super::core::{Action, Core, Standing};
use super::facts::{self, FactsError};
use super::fetch;
use super::isolation::{Isolation, IsolationError};
use super::kept::{Kept, KeptError};
use super::kernel::{GROUP, Kernel, KernelError};
use super::mud::Fetched;
use super::names::{self, Names};
use super::request::{Reply, Request};
use super::seeing::{Ears, Seen};
use super::settings::GuardSettings;
use super::socket::{self, Asked};
use crate::events::{EventLog, Happening, Outcome};

pub use super::rights::{RightsError, give_up_rights};

/// How often what runs out is looked at, and what was lost is tried again.
const TICK: Duration = Duration::from_secs(10);
/// How often the bridge is looked at for new ports: until one is isolated, what is behind it reaches its neighbours.
const PORTS: Duration = Duration::from_secs(1);
/// Frames and blocked packets that wait to be looked at.
const QUEUE: usize = 1_024;
/// MUD files that are fetched at once.
const FETCHES: usize = 4;

/// Why the guard does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where it is to stand.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// What was written down.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its directory.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// The rules.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The interface's settings.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// Listening on the LAN.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Fetching MUD files.
    #[error("MUD files can not be fetched")]
    Fetch(#[from] FetchError),
    /// The DNS forwarder.
    #[error(transparent)]
    Names(#[from] names::NamesError),
    /// The system's name servers.
    #[error("cannot find out which name servers this machine asks; name them in [guard] resolvers")]
    Resolvers(#[source] std::io::Error),
    /// The socket.
    #[error("cannot make the socket {path}")]
    Socket {
        /// Where.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop; the rules stay.
    Stopped,
    /// An operator took the rules away.
    Off,
}

/// The guard, running.
#[derive(Debug)]
pub struct Guard {
    pub(super) settings: GuardSettings,
    pub(super) core: Core,
    pub(super) kept: Kept,
    pub(super) kernel: Kernel,
    pub(super) isolation: Option<Isolation>,
    pub(super) events: Arc<EventLog>,
    pub(super) blocked: blocked::Recent,
    pub(super) names: Option<Names>,
    /// What is not as it should be, for `status`.
    pub(super) troubles: Troubles,
    fetcher: Option<Arc<Fetcher>>,
    fetches: JoinSet<(HttpsUrl, Result<Fetched, String>)>,
    waiting: Vec<HttpsUrl>,
    questions: Option<mpsc::Receiver<Event>>,
    ears: Ears,
    seen: mpsc::Receiver<Seen>,
    listener: Option<UnixListener>,
}

/// What was decided and could not be done.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// It is not written down.
    pub(super) disk: Option<String>,
    /// The kernel did not take it.
    pub(super) rules: Option<String>,
}

/// What is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The kernel has other rules than it should, or could not be asked.
    pub(super) rules: Option<String>,
    /// What was decided and is not on disk.
    pub(super) disk: Option<String>,
    /// Where nothing is heard.
    pub(super) deaf: Option<String>,
    /// Ports that are not isolated.
    pub(super) isolation: Option<String>,
    /// Where the guard stands can not be seen.
    pub(super) standing: Option<String>,
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl Guard {
    /// Loads the rules and isolates the ports; from then on the LAN is guarded.
    pub async fn start(dir: &DataDir, settings: GuardSettings) -> Result<Self, StartError> {
        let interface = settings.interface.as_str().to_owned();
        let standing = facts::standing(&interface)?;
        let settings = with_resolvers(settings, &standing)?;
        let kept = Kept::new(Arc::new(Sqlite::open(&dir.join("guard.sqlite"))?));
        let mut core = Core::new(standing, settings.mud.policy);
        kept.restore(&mut core)?;
        let mut kernel = Kernel::open(settings.clone())?;
        let names = Names::start(&settings, core.standing(), kernel.admit())?;
        let (names, questions) = names.unzip();
        kernel.forward_to(names.as_ref().map(Names::port));
        // Rules that are there from before stay in force until these have taken their place.
        kernel.load(&core, names.as_ref())?;
        let isolation = isolate(&settings, &kept)?;
        let fetcher = if settings.mud.policy.fetch {
            Some(Arc::new(Fetcher::new(fetch::settings(&settings.mud))?))
        } else {
            None
        };
        let (to, seen) = mpsc::channel(QUEUE);
        let mut ears = Ears::new(to);
        ears.listen(&interface, false)?;
        let path = dir.join("guard.sock");
        let listener = bind(&path).await?;
        let mut guard = Self {
            settings,
            core,
            kept,
            kernel,
            isolation,
            events: Arc::new(EventLog::default()),
            blocked: blocked::Recent::default(),
            names,
            troubles: Troubles::default(),
            fetcher,
            fetches: JoinSet::new(),
            waiting: Vec::new(),
            questions,
            ears,
            seen,
            listener: Some(listener),
        };
        guard.name_rights();
        guard.look_after();
        Ok(guard)
    }

    /// What a person wants to know at the start.
    pub fn banner(&self) -> String {
        format!(
            "guarding {}: {} devices, {} models; {}",
            self.settings.interface,
            self.core.devices().len(),
            self.core.models().len(),
            self.kernel.words(),
        )
    }

    /// What happens.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// Runs until `stop`, or until an operator says off.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Ended, StartError> {
        let (ask, mut asked) = mpsc::channel(16);
        let serving = self.listener.take().map(|listener| {
            let serve = socket::serve(listener, ask);
            tokio::spawn(serve)
        });
        let mut stop = std::pin::pin!(stop);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ports = interval(PORTS);
        ports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            // In this order: an operator's word goes before what strangers can cause.
            tokio::select! {
                biased;
                () = &mut stop => break Ended::Stopped,
                Some(asked) = asked.recv() => {
                    if self.answer(asked) {
                        break Ended::Off;
                    }
                }
                _ = tick.tick() => self.tick(),
                _ = ports.tick() => {
                    self.isolate_ports();
                    self.bring_back();
                }
                Some(done) = self.fetches.join_next() => self.fetched(done),
                Some(event) = question(&mut self.questions) => self.asked_for_a_name(&event),
                Some(seen) = self.seen.recv() => self.saw(seen),
            }
        };
        if let Some(serving) = serving {
            serving.abort();
        }
        // What was only seen is worth a write. Places are for the next start: rules that were taken away stay so.
        let mut last = self.core.handle_tick(now());
        last.retain(is_write);
        self.perform(last);
        Ok(ended)
    }

    /// Answers one request; true if it was the last.
    fn answer(&mut self, asked: Asked) -> bool {
        let off = asked.request == Request::Off;
        let reply = match self.reply(&asked.request) {
            Ok(value) => Reply::Done(value),
            Err(refusal) => Reply::Refused(refusal),
        };
        let done = off && matches!(reply, Reply::Done(_));
        // Who went away before the answer has it done all the same.
        let _gone = asked.reply.send(reply);
        done
    }

    fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Sightings(sightings) => {
                for one in sightings {
                    let actions = self.core.handle_sighting(&one, now());
                    self.perform(actions);
                }
            }
            Seen::Blocked(packets) => {
                for packet in packets {
                    let told = self
                        .kernel
                        .explain(&self.core, self.names.as_ref(), &packet);
                    if let Some(blocked) = told {
                        self.blocked.add(blocked);
                    }
                }
            }
            Seen::BlockedLost => self.blocked.lost(),
            Seen::Deaf(interface, why) => {
                self.alarm(format!(
                    "nothing is heard from {interface}: {why}; the rules stay in force"
                ));
            }
            Seen::DeafToBlocked(why) => {
                self.alarm(format!("blocked packets are not told of any more: {why}"));
            }
        }
    }

    fn tick(&mut self) {
        let actions = self.core.handle_tick(now());
        self.perform(actions);
        self.look_after();
    }

    /// Whatever may have been lost is tried again: ears, ports, the standing, rules that did not load.
    fn look_after(&mut self) {
        let interface = self.settings.interface.as_str().to_owned();
        match facts::standing(&interface) {
            Ok(standing) => {
                self.troubles.standing = None;
                self.stand(standing);
            }
            Err(error) => {
                let why = chain(&error);
                if self.troubles.standing.as_ref() != Some(&why) {
                    self.alarm(format!("{why}; the rules stay in force"));
                }
                self.troubles.standing = Some(why);
            }
        }
        self.troubles.deaf = self
            .ears
            .listen(&interface, false)
            .err()
            .map(|error| chain(&error));
        self.isolate_ports();
        if let Err(error) = self.ears.listen_to_blocked(GROUP) {
            tracing::debug!(%error, "guard: blocked packets are not told of");
        }
        if self.troubles.rules.is_some() {
            self.load();
        }
    }

    /// Rules that somebody took away are loaded again, and that is told.
    fn bring_back(&mut self) {
        // What can not be loaded is tried again with everything else that is lost, and told once.
        if self.troubles.rules.is_none() && self.kernel.gone() {
            self.alarm(
                "somebody took the guard's rules out of the kernel (`nft flush ruleset` does): they are loaded anew"
                    .to_owned(),
            );
            self.load();
        }
    }

    /// Isolates ports that came since, and listens on them.
    fn isolate_ports(&mut self) {
        if let Some(isolation) = &self.isolation {
            let isolated = isolation.now().map_err(|error| chain(&error));
            let isolated = isolated.and_then(|now| {
                self.kept.remember(&now).map_err(|error| chain(&error))?;
                isolation.apply().map_err(|error| chain(&error))
            });
            let ports = isolation.ports().unwrap_or_default();
            self.troubles.isolation = isolated.err();
            for port in ports {
                // A port that goes away between two looks is no fault.
                if let Err(error) = self.ears.listen(&port, true) {
                    tracing::debug!(port, %error, "guard: no LLDP from a port");
                }
            }
        }
    }

    fn stand(&mut self, standing: Standing) {
        if let Some(names) = &mut self.names {
            names.stand(&standing);
        }
        let actions = self.core.moved(standing);
        self.perform(actions);
    }

    /// Does what the core decided, in its order; says what could not be done.
    pub(super) fn perform(&mut self, actions: Vec<Action>) -> Undone {
        let mut undone = Undone::default();
        let mut rest = actions.into_iter().peekable();
        while let Some(action) = rest.next() {
            match action {
                Action::Tell { outcome, mac, text } => self.tell(outcome, mac, text),
                Action::Fetch(url) => self.fetch(url),
                Action::Load => {
                    let failed = self.load();
                    undone.rules = undone.rules.or(failed);
                }
                Action::Place { .. } | Action::Cut { .. } => {
                    // What could not be written down must not give rights: after a restart nobody would know why.
                    if undone.disk.is_some() && action.gives_rights() {
                        continue;
                    }
                    let done = tokio::task::block_in_place(|| {
                        self.kernel
                            .carry_out(&self.core, self.names.as_ref(), &action)
                    });
                    if let (Action::Place { address, place, .. }, Some(names)) =
                        (&action, &self.names)
                    {
                        names.place(*address, place);
                    }
                    if let Err(error) = done {
                        undone.rules = Some(self.rules_trouble(&error));
                    }
                }
                _ => {
                    let mut writes = vec![action];
                    while let Some(next) = rest.next_if(is_write) {
                        writes.push(next);
                    }
                    let failed = self.write(&writes);
                    undone.disk = undone.disk.or(failed);
                }
            }
        }
        undone
    }

    /// What every device may look up, after the tables were loaded.
    fn name_rights(&mut self) {
        if let Some(names) = &mut self.names {
            let mut places = BTreeMap::new();
            for device in self.core.devices() {
                for binding in &device.addresses {
                    places.insert(binding.address, device.place());
                }
            }
            names.replace(self.kernel.rights(), places);
        }
    }

    fn asked_for_a_name(&mut self, event: &Event) {
        let (client, outcome, text) = names::told(event);
        let mac = client
            .and_then(|client| self.core.owner(client))
            .map(|device| device.mac);
        let text = match (client, mac) {
            (Some(client), None) => format!("{client} {text}"),
            _ => text,
        };
        self.tell(outcome, mac, text);
    }

    fn write(&mut self, writes: &[Action]) -> Option<String> {
        let written = tokio::task::block_in_place(|| self.kept.write(&self.core, writes));
        match written {
            Ok(()) => {
                self.troubles.disk = None;
                None
            }
            Err(error) => {
                let why = chain(&error);
                if self.troubles.disk.is_none() {
                    self.alarm(format!("what was decided can not be written down: {why}"));
                }
                self.troubles.disk = Some(why.clone());
                Some(why)
            }
        }
    }

    /// Loads the whole table; on failure what was in force stays so.
    pub(super) fn load(&mut self) -> Option<String> {
        let loaded =
            tokio::task::block_in_place(|| self.kernel.load(&self.core, self.names.as_ref()));
        match loaded {
            Ok(()) => {
                self.name_rights();
                self.troubles.rules = None;
                None
            }
            Err(error) => Some(self.rules_trouble(&error)),
        }
    }

    fn rules_trouble(&mut self, error: &KernelError) -> String {
        let why = chain(error);
        if self.troubles.rules.as_ref() != Some(&why) {
            self.alarm(format!(
                "{why}; the rules from before stay in force, and this is tried again"
            ));
        }
        self.troubles.rules = Some(why.clone());
        why
    }

    fn alarm(&mut self, text: String) {
        self.tell(Outcome::Alarm, None, text);
    }

    pub(super) fn tell(&mut self, outcome: Outcome, mac: Option<LinkAddress>, reason: String) {
        let device = mac.map(|mac| mac.to_string());
        let happening = Happening {
            outcome,
            control: stockade_profile::Control::Firewall,
            device,
            peer: None,
            reason,
        };
        self.events.record(now(), happening);
    }

    fn fetch(&mut self, url: HttpsUrl) {
        if self.fetches.len() >= FETCHES {
            // As many as files are known: the core asks for each once.
            self.waiting.push(url);
            return;
        }
        let Some(fetcher) = self.fetcher.clone() else {
            return;
        };
        let signers = self.settings.mud.signers.clone();
        self.fetches.spawn(async move {
            let got = fetch::get(&fetcher, &signers, &url).await;
            (url, got)
        });
    }

    fn fetched(
        &mut self,
        done: Result<(HttpsUrl, Result<Fetched, String>), tokio::task::JoinError>,
    ) {
        match done {
            Ok((url, got)) => {
                let actions = self.core.handle_fetched(&url, got, now());
                self.perform(actions);
            }
            Err(error) => self.alarm(format!("fetching a MUD file broke off: {error}")),
        }
        if let Some(next) = self.waiting.pop() {
            self.fetch(next);
        }
    }
}

/// The next event of the forwarder; never, where there is none.
async fn question(questions: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

fn is_write(action: &Action) -> bool {
    matches!(
        action,
        Action::Save(_)
            | Action::Forget(_)
            | Action::SaveModel(_)
            | Action::ForgetModel(_)
            | Action::SaveFile(_)
            | Action::ForgetFile(_)
    )
}

/// The system's name servers, where none are named.
fn with_resolvers(
    mut settings: GuardSettings,
    standing: &Standing,
) -> Result<GuardSettings, StartError> {
    if settings.resolvers.is_empty() {
        settings.resolvers = system_resolvers(&standing.own).map_err(StartError::Resolvers)?;
    }
    Ok(settings)
}

/// Isolates the ports, once it is written down how they were.
fn isolate(settings: &GuardSettings, kept: &Kept) -> Result<Option<Isolation>, StartError> {
    if !settings.isolate_ports {
        return Ok(None);
    }
    let isolation = Isolation::of(settings.interface.as_str(), Path::new("/"));
    kept.remember(&isolation.now()?)?;
    isolation.apply()?;
    Ok(Some(isolation))
}

async fn bind(path: &Path) -> Result<UnixListener, StartError> {
    socket::bind(path)
        .await
        .map_err(|source| StartError::Socket {
            path: path.display().to_string(),
            source,
        })
}
