//! What goes on in the background: the vault's intake, the registry's counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_console::{Command, Forget, Publisher};
use stockade_gateway::mqtt::MqttHandle;
use stockade_gateway::name::ModelName;
use stockade_gateway::registry::{DeviceRecord, Registry, State};
use stockade_gateway::tls::Refusals;
use stockade_profile::Profile;
use stockade_store::Bus;
use stockade_vault::{Forgotten, Keys, Profiles, Subject, Vault};
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Between two looks for new telemetry: records gather meanwhile, and are stored together.
const GATHER: Duration = Duration::from_millis(200);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Between two looks for what was kept long enough in the vault.
const TIDY_VAULT: Duration = Duration::from_hours(1);
/// Between two looks at what is due in a stream of released rows.
const STREAM: Duration = Duration::from_secs(1);
/// Devices whose keys are made in one commit.
const KEYS: usize = 256;
/// Between two rounds of tidying.
const TIDY: Duration = Duration::from_secs(1);

/// The vault asks the registry what a model's data may become.
#[derive(Debug)]
pub(crate) struct OfRegistry(pub(crate) Arc<Registry>);

impl Profiles for OfRegistry {
    fn profile(&self, model: &str) -> Option<Arc<Profile>> {
        self.0.profile(&ModelName::new(model).ok()?)
    }
}

/// Feeds the vault until `stop`; what came before it is still taken.
pub(crate) async fn feed_vault(
    vault: Arc<Vault>,
    bus: Arc<dyn Bus>,
    mut stop: watch::Receiver<bool>,
) {
    let mut durable = bus.durable();
    let mut tidied: Option<Instant> = None;
    loop {
        let stopping = *stop.borrow();
        durable.borrow_and_update();
        let worker = Arc::clone(&vault);
        let taken =
            tokio::task::spawn_blocking(move || worker.ingest_available(OffsetDateTime::now_utc()))
                .await;
        let pause = match taken {
            Ok(Ok(_)) => GATHER,
            Ok(Err(error)) => {
                tracing::error!(%error, "the vault does not take telemetry; it waits in the journal");
                AFTER_FAILURE
            }
            Err(error) => {
                tracing::error!(%error, "the vault's intake failed");
                AFTER_FAILURE
            }
        };
        if stopping {
            let worker = Arc::clone(&vault);
            let kept = tokio::task::spawn_blocking(move || worker.remember_log()).await;
            if let Ok(Err(error)) = kept {
                tracing::error!(%error, "the keyring does not remember the newest entries of the vault's log");
            }
            return;
        }
        if tidied.is_none_or(|at| at.elapsed() >= TIDY_VAULT) {
            tidied = Some(Instant::now());
            let worker = Arc::clone(&vault);
            let now = OffsetDateTime::now_utc();
            tokio::task::spawn_blocking(move || {
                match worker.settle(now).and_then(|()| worker.tidy(now)) {
                    Ok(done) => tracing::debug!(?done, "the vault is tidy"),
                    Err(error) => {
                        tracing::error!(%error, "the vault keeps what should go; it tries again in an hour");
                    }
                }
            });
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            more = async {
                tokio::time::sleep(pause).await;
                // What failed is tried again, whether or not something came.
                if pause == AFTER_FAILURE { Ok(()) } else { durable.changed().await }
            } => {
                if more.is_err() {
                    return;
                }
            }
        }
    }
}

/// Lets time pass for the vault's streams of released rows until `stop`. What waits then is in the store.
pub(crate) async fn stream_vault(vault: Arc<Vault>, mut stop: watch::Receiver<bool>) {
    loop {
        let worker = Arc::clone(&vault);
        let done =
            tokio::task::spawn_blocking(move || worker.go_on_streaming(OffsetDateTime::now_utc()))
                .await;
        let pause = match done {
            Ok(Ok(true)) => Duration::ZERO,
            Ok(Ok(false)) => STREAM,
            Ok(Err(error)) => {
                tracing::error!(%error, "a stream of releases stands still; it is tried again");
                AFTER_FAILURE
            }
            Err(error) => {
                tracing::error!(%error, "the vault's streams of releases failed");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Makes the vault's keys of devices when they are enrolled, until `stop`; those that have none at the start get theirs then. So
/// no first message of a device has to wait for them in the broker.
pub(crate) async fn make_keys(
    keys: Arc<Keys>,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) {
    // Watched before all are looked at, so that nobody falls between.
    let mut changes = registry.changes();
    let mut news = registry.list(OffsetDateTime::now_utc());
    loop {
        let devices: Vec<_> = news.iter().filter_map(enrolled).collect();
        let worker = Arc::clone(&keys);
        let made = tokio::task::spawn_blocking(move || {
            let mut made = devices.chunks(KEYS).map(|some| worker.introduce(some));
            made.try_for_each(|made| made.map(drop))
        })
        .await;
        match made {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the vault's keys of a device are made with its first message");
            }
            Err(error) => tracing::error!(%error, "making keys of devices failed"),
        }
        let change = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            change = changes.recv() => change,
        };
        let now = OffsetDateTime::now_utc();
        news = match change {
            Ok(id) => registry.get(&id, now).into_iter().collect(),
            Err(RecvError::Lagged(_)) => registry.list(now),
            Err(RecvError::Closed) => return,
        };
    }
}

/// The subject of a device that may send.
fn enrolled(record: &DeviceRecord) -> Option<Subject> {
    match record.state {
        State::Active | State::Quarantined { .. } => Some(Subject {
            model: record.name.model.to_string(),
            device: record.name.id.to_string(),
        }),
        State::Pending | State::Revoked { .. } => None,
    }
}

/// Writes the registry's counters and sums up refusals now and then, and once more at the end.
pub(crate) async fn tidy(
    registry: Arc<Registry>,
    refusals: Arc<Refusals>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stopping = *stop.borrow();
        let (worker, refusals) = (Arc::clone(&registry), Arc::clone(&refusals));
        let written = tokio::task::spawn_blocking(move || {
            let now = OffsetDateTime::now_utc();
            refusals.sweep(worker.events(), now);
            worker.flush(now)
        });
        // Why it was not written, the registry has told.
        let _written = written.await;
        if stopping {
            return;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(TIDY) => {}
        }
    }
}

/// How the console's operators reach devices.
pub(crate) fn publisher(mqtt: MqttHandle) -> Publisher {
    Arc::new(move |command: Command| {
        let mqtt = mqtt.clone();
        Box::pin(async move {
            let Command {
                topic,
                payload,
                qos,
            } = command;
            let sent = mqtt
                .publish_from_operator(&topic, &payload, qos, false)
                .await;
            sent.map(|_recipients| ())
                .map_err(|error| error.to_string())
        })
    })
}

/// How the broker is told to forget a device that is erased.
pub(crate) fn forget(mqtt: MqttHandle) -> Forget {
    Arc::new(move |device| {
        let mqtt = mqtt.clone();
        Box::pin(async move {
            let gone = mqtt.forget(&device).await;
            let gone = gone.map_err(|error| error.to_string())?;
            Ok(Forgotten {
                sessions: gone.sessions,
                wills: gone.wills,
                waiting: gone.waiting,
                retained: gone.retained,
                cleared: gone.cleared,
            })
        })
    })
}
