//! The judge at work: woken by the journal, by changes of the registry, by an operator's wish, and by time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::Judge;
use crate::mqtt::MqttHandle;
use crate::name::DeviceId;
use crate::tls::Clock;

/// Between two looks at what time alone changes.
const LOOK: Duration = Duration::from_secs(15);
/// Between two looks for new messages: they gather meanwhile, and are judged together.
const GATHER: Duration = Duration::from_millis(200);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Judges, and sends what waits, until `stop`.
pub async fn run(
    judge: Arc<Judge>,
    mqtt: MqttHandle,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut durable = judge.bus.durable();
    let mut changes = judge.registry.changes();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut to = Vec::new();
    loop {
        let all = || {
            judge
                .registry
                .list(clock.now())
                .into_iter()
                .map(|it| it.name.id)
                .collect()
        };
        let mut looks = false;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            more = async { tokio::time::sleep(GATHER).await; durable.changed().await } => if more.is_err() {
                return;
            },
            changed = changes.recv() => match changed {
                Ok(id) => to.push(id),
                Err(RecvError::Lagged(_)) => to = all(),
                Err(RecvError::Closed) => return,
            },
            () = judge.news.notified() => to = all(),
            _ = look.tick() => looks = true,
        }
        // A profile for many devices is many changes at once.
        while let Ok(id) = changes.try_recv() {
            to.push(id);
        }
        let (worker, now) = (Arc::clone(&judge), clock.now());
        let worked = tokio::task::spawn_blocking(move || {
            let heard = worker.take_available(now)?;
            if looks {
                worker.look(now)?;
            }
            Ok::<_, super::JudgeError>(heard)
        });
        match worked.await {
            Ok(Ok(heard)) => to.extend(heard),
            Ok(Err(error)) => {
                tracing::error!(%error, "evidence is not judged; it waits in the journal");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            Err(error) => {
                tracing::error!(%error, "the judging of evidence failed");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
        for id in std::mem::take(&mut to) {
            send(&judge, &mqtt, &clock, &id).await;
        }
    }
}

/// Sends a device what waits for it. One that is not there says so when it comes: it is sent again then.
async fn send(judge: &Judge, mqtt: &MqttHandle, clock: &Clock, id: &DeviceId) {
    let topic = format!("stockade/{id}/repair");
    for signed in judge.waiting(id, clock.now()) {
        if let Err(error) = mqtt.publish_from_operator(&topic, &signed, 1, false).await {
            tracing::warn!(%error, %topic, "what waits for a device was not sent");
        }
    }
}
