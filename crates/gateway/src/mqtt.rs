//! The MQTT listener: connections, timers and the disk around the broker's core.
//!
//! One task a connection; the core is behind one lock, taken once for all packets of one read. What
//! must wait for the disk waits in the connection's outbox: one task watches what is durable and
//! wakes who waits. The rest of the tasks: accepting, time, changes of the registry, reports.

mod accept;
mod connection;
mod duties;
mod forget;
mod reports;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_store::{Bus, Seq, Stream};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::forget::ForgetError;
pub use crate::broker::Forgotten;
use crate::broker::{
    Broker, Counters, CountersNow, Limits, Now, OperatorError, Outbox, Output, Replay, ReplayError,
    Report,
};
use crate::events::EventLog;
use crate::name::{DeviceId, DeviceName};
use crate::policy::Policy;
use crate::registry::{Registry, State};
use crate::tls::{Clock, DeviceVerifier, Gate, GateSettings, Refusals, Refused, TlsSettings};

/// Reports that may wait to be told.
const REPORTS: usize = 1_024;
/// How long connections have to end in good order when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(3);
/// Records read back at a time.
const REPLAY: usize = 1_024;

/// How the listener works.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// What the broker bounds.
    pub limits: Limits,
    /// What handshakes under way are bounded by.
    pub gate: GateSettings,
    /// The most connections; fewer if the limit on open files is lower.
    pub max_connections: usize,
    /// Open files kept for everything else (the journal, the store, the console, enrolment), or half of them if there
    /// are fewer than twice as many.
    pub reserved_files: u64,
}

impl MqttSettings {
    /// The defaults, listening here.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            limits: Limits::default(),
            gate: GateSettings::default(),
            max_connections: 100_000,
            reserved_files: 4096,
        }
    }
}

/// What the listener works with.
#[derive(Debug, Clone)]
pub struct Around {
    /// Who may come in.
    pub registry: Arc<Registry>,
    /// Where is told what happens.
    pub events: Arc<EventLog>,
    /// Where is written what must survive.
    pub bus: Arc<dyn Bus>,
    /// The wall clock.
    pub clock: Clock,
}

/// Why the listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for MQTT")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The sessions cannot be read.
    #[error("cannot read the sessions from the journal")]
    Journal(#[from] stockade_store::BusError),
    /// The sessions were read but not understood.
    #[error("cannot restore the sessions from the journal")]
    Replay(#[from] ReplayError),
    /// The task that reads the sessions was stopped.
    #[error("restoring the sessions was interrupted")]
    Interrupted,
}

/// The running listener.
#[derive(Debug)]
pub struct Mqtt {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// A way to the broker that can be cloned and handed out.
#[derive(Debug, Clone)]
pub struct MqttHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    broker: Mutex<Broker>,
    around: Around,
    tls: TlsSettings,
    gate: Gate,
    refusals: Refusals,
    told: reports::Told,
    counters: Arc<Counters>,
    reports: mpsc::Sender<(Now, Report)>,
    /// Everything up to here is on disk.
    pub(crate) durable: AtomicU64,
    /// Connections with bytes that wait for the disk.
    parked: Mutex<Vec<Arc<Outbox>>>,
    started: Instant,
    next_conn: AtomicU64,
    open: AtomicUsize,
    max_connections: usize,
}

impl Mqtt {
    /// Restores the sessions and starts to listen.
    pub async fn start(
        settings: MqttSettings,
        around: Around,
        tls: TlsSettings,
    ) -> Result<Self, StartError> {
        let listener = accept::bind(settings.listen).map_err(|source| StartError::Listen {
            address: settings.listen,
            source,
        })?;
        let local_addr = listener.local_addr().map_err(|source| StartError::Listen {
            address: settings.listen,
            source,
        })?;
        let counters = Arc::<Counters>::default();
        let broker = Broker::new(
            settings.limits.clone(),
            Arc::clone(&around.bus),
            Arc::clone(&counters),
        );
        let (reports, told) = mpsc::channel(REPORTS);
        let durable = around.bus.durable();
        let reached = durable.borrow().get();
        let shared = Arc::new(Shared {
            broker: Mutex::new(broker),
            tls,
            gate: Gate::new(settings.gate),
            refusals: Refusals::default(),
            told: reports::Told::default(),
            counters,
            reports,
            durable: AtomicU64::new(reached),
            parked: Mutex::default(),
            started: Instant::now(),
            next_conn: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            max_connections: accept::max_connections(&settings),
            around,
        });
        // Watched from before the replay on: no change falls between.
        let changes = shared.around.registry.changes();
        let restoring = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || restoring.restore())
            .await
            .map_err(|_| StartError::Interrupted)??;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(duties::watch_durable(Arc::clone(&shared), durable));
        tasks.spawn(duties::tick(Arc::clone(&shared)));
        tasks.spawn(duties::watch_registry(Arc::clone(&shared), changes));
        tasks.spawn(reports::tell(Arc::clone(&shared), told));
        tasks.spawn(accept::accept(Arc::clone(&shared), listener, stopped));
        Ok(Self {
            shared,
            local_addr,
            stop,
            tasks,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A handle to hand out.
    pub fn handle(&self) -> MqttHandle {
        MqttHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Tells every client that the gateway stops, and waits until what was accepted is on disk.
    pub async fn shutdown(mut self) {
        let _listening = self.stop.send(true);
        self.shared.turn(Broker::shut_down);
        let ended = async {
            while self.shared.open.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let last = self.shared.around.bus.last();
            let mut durable = self.shared.around.bus.durable();
            let _reached = durable.wait_for(|seq| *seq >= last).await;
        };
        // A disk that does not answer must not keep the gateway from stopping.
        let _in_time = tokio::time::timeout(FAREWELL, ended).await;
        self.tasks.shutdown().await;
    }
}

impl MqttHandle {
    /// Publishes a message of the operator; returns how many sessions get it, once it is on disk.
    pub async fn publish_from_operator(
        &self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> Result<usize, OperatorError> {
        let message = (topic, payload);
        let (seq, recipients) = self
            .shared
            .turn(|broker, out| broker.publish_from_operator(message, qos, retain, out))?;
        let mut durable = self.shared.around.bus.durable();
        let _reached = durable.wait_for(|reached| *reached >= Seq::new(seq)).await;
        Ok(recipients)
    }

    /// The counters now.
    pub fn counters(&self) -> CountersNow {
        self.shared.counters.now()
    }

    /// What the link beside the listener works with.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Journal records that are not on disk yet.
    pub fn behind(&self) -> u64 {
        let bus = &self.shared.around.bus;
        bus.last()
            .get()
            .saturating_sub(bus.durable().borrow().get())
    }

    /// The most connections taken, after the limit on open files.
    pub fn max_connections(&self) -> usize {
        self.shared.max_connections
    }

    /// TCP connections open now, handshakes included.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Who judges the certificates of devices.
    pub(crate) const fn devices(&self) -> &Arc<DeviceVerifier> {
        self.tls.devices()
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.around.registry
    }

    pub(crate) fn now(&self) -> Now {
        let unix = self.around.clock.now().unix_timestamp_nanos() / 1_000_000;
        Now {
            mono: u64::try_from(self.started.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
            unix: i64::try_from(unix).unwrap_or(0),
        }
    }

    /// One turn of the core: under its lock, then what it leaves to do.
    pub(crate) fn turn<R>(&self, f: impl FnOnce(&mut Broker, &mut Output) -> R) -> R {
        let mut out = Output::at(self.now());
        let result = f(
            &mut self.broker.lock().unwrap_or_else(PoisonError::into_inner),
            &mut out,
        );
        self.settle(out);
        result
    }

    /// Wakes the connections with something new, and passes on what is to be told.
    pub(crate) fn settle(&self, out: Output) {
        for outbox in out.dirty {
            if let Some(seq) = outbox.flush(self.durable.load(Ordering::Acquire)) {
                self.park(outbox, seq);
            }
        }
        for report in out.reports {
            if let Err(mpsc::error::TrySendError::Full((now, report))) =
                self.reports.try_send((out.now, report))
            {
                // Nothing is left untold; who causes the flood waits for it.
                reports::tell_one(self, now, report);
            }
        }
    }

    /// Tells of somebody who was not let in.
    pub(crate) fn refuse(&self, peer: SocketAddr, refused: &Refused) {
        accept::refuse(self, peer, refused);
    }

    /// Puts a connection on the list of those who wait for the disk.
    pub(crate) fn park(&self, outbox: Arc<Outbox>, seq: u64) {
        let again = Arc::clone(&outbox);
        self.parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(outbox);
        // It may have been reached just before the connection was on the list.
        let durable = self.durable.load(Ordering::Acquire);
        if durable >= seq {
            again.flush(durable);
        }
    }

    /// Reads the sessions back from the journal and gives each device its policy.
    fn restore(&self) -> Result<(), StartError> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replay = Replay::default();
        let mut after = Seq::ZERO;
        loop {
            let records = self.around.bus.read(Stream::Sessions, after, REPLAY)?;
            let Some((last, _)) = records.last() else {
                break;
            };
            after = *last;
            let now = self.now();
            for (seq, record) in &records {
                broker.handle_replay(&mut replay, seq.get(), record, now)?;
            }
        }
        let mut out = Output::at(self.now());
        broker.finish_replay(&mut out);
        let devices: Vec<_> = broker
            .devices()
            .map(|policy| policy.device().id.clone())
            .collect();
        for id in devices {
            self.apply(&mut broker, &id, &mut out);
        }
        drop(broker);
        self.settle(out);
        Ok(())
    }

    /// Makes the broker do what the registry says of a device now.
    fn apply(&self, broker: &mut Broker, id: &DeviceId, out: &mut Output) {
        apply(
            &self.around.registry,
            broker,
            id,
            self.around.clock.now(),
            out,
        );
    }
}

/// Makes the broker do what the registry says of a device now.
pub(crate) fn apply(
    registry: &Registry,
    broker: &mut Broker,
    id: &DeviceId,
    now: OffsetDateTime,
    out: &mut Output,
) {
    let record = registry.get(id, now);
    let Some(record) = record.filter(|r| !matches!(r.state, State::Revoked { .. })) else {
        broker.revoke(id, out);
        return;
    };
    let quarantined = matches!(record.state, State::Quarantined { .. });
    let policy = match registry.profile(&record.name.model) {
        Some(profile) => Policy::compile(&profile, &record.name, quarantined),
        None => Arc::new(Policy::nothing(DeviceName::clone(&record.name))),
    };
    broker.set_policy(&policy, out);
    for (handle, fingerprint) in broker.certificates(id) {
        // The certificate may have been superseded; a constrained device has a key instead.
        if registry.admit(&record.name, &fingerprint, now).is_err()
            && registry.admit_link(id, &fingerprint).is_err()
        {
            broker.close_unauthorized(handle, out);
        }
    }
}
