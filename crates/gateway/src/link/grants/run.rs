//! Grants that became void, found as soon as the registry changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::Grants;
use crate::name::DeviceId;
use crate::tls::Clock;

/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Raises epochs as devices lose rights, until `stop`.
pub async fn run(grants: Arc<Grants>, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut changes = grants.registry.changes();
    // At first all: what changed while nobody looked.
    let mut changed: Option<BTreeSet<DeviceId>> = None;
    loop {
        let (worker, now) = (Arc::clone(&grants), clock.now());
        let done = tokio::task::spawn_blocking(move || worker.settle_where(changed.as_ref(), now));
        let settled = match done.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "grants that are void are not noted");
                false
            }
            Err(error) => {
                tracing::error!(%error, "looking for grants that are void failed");
                false
            }
        };
        let next = async {
            if settled {
                changes.recv().await
            } else {
                tokio::time::sleep(AFTER_FAILURE).await;
                Err(RecvError::Lagged(0))
            }
        };
        changed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            first = next => match first {
                Ok(id) => Some(BTreeSet::from([id])),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            },
        };
        // A profile that is installed changes many at a time.
        loop {
            match changes.try_recv() {
                Ok(id) => changed.as_mut().map(|ids| ids.insert(id)),
                Err(TryRecvError::Lagged(_)) => {
                    changed = None;
                    continue;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
        }
    }
}
